#pragma once
/// A file with the pieces measured so far, so that a long measurement that was stopped goes on where it was.
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "partition/pieces.hpp"

namespace splitcnn::inline v0 {

class MeasuredSoFar {
 public:
  /// Reads the file when it is there and was written for the same `key` (what is measured, with what, how);
  /// anything else is started anew, with a warning to the log.
  MeasuredSoFar(std::filesystem::path path, std::string key);

  [[nodiscard]] std::optional<PieceTime> find(const std::string& piece) const;
  /// Written to the file at most once a second. Throws io.
  void add(const std::string& piece, const PieceTime& time);
  /// All is measured: the file goes.
  void finish();

 private:
  void read();
  void write();

  std::filesystem::path path_;
  std::string key_;
  std::map<std::string, PieceTime> pieces_;
  Clock::time_point written_{};
};

}  // namespace splitcnn::inline v0
