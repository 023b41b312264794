#pragma once
/// Weight bytes of fine_tune(), in a file of their own beside the sidecar: net.splitcnn.json -> net.splitcnn.weights. The sidecar says
/// where in the file each layer's weights and biases are, how long it is and what its hash is.
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "splitcnn/quantizer.hpp"

namespace splitcnn::inline v0 {

[[nodiscard]] std::filesystem::path weight_file(const std::filesystem::path& sidecar);

/// Writes the file (removes an old one when nothing is tuned). `entries` are the sidecar's, one per weight: those that are tuned get
/// "tuned": [offset, weights, biases]. Returns what the sidecar says about the file, null when there is none. Throws io.
nlohmann::json save_tuned(const std::filesystem::path& sidecar, std::span<const WeightQuant> weights, nlohmann::json& entries);

/// The bytes of one sidecar, read once. Throws io, bad_file.
class TunedFile {
 public:
  /// `about` is what save_tuned() returned; null: there is no file, and no entry may ask for one.
  TunedFile(const std::filesystem::path& sidecar, const nlohmann::json& about);
  /// Null when the entry has nothing of its own.
  [[nodiscard]] std::shared_ptr<const WeightBytes> at(const nlohmann::json& entry, const std::string& where) const;

 private:
  std::vector<std::int8_t> bytes_;
};

}  // namespace splitcnn::inline v0
