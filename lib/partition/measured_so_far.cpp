#include "partition/measured_so_far.hpp"

#include <cmath>

#include "core/json_file.hpp"
#include "core/log.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr const char* kept_format = "splitcnn-measuring";
constexpr int kept_version = 1;
constexpr std::int64_t most_batch = 1'000'000;

}  // namespace

MeasuredSoFar::MeasuredSoFar(std::filesystem::path path, std::string key)
    : path_{std::move(path)}, key_{std::move(key)} {
  if (!std::filesystem::exists(path_)) return;
  try {
    read();
  } catch (const Error& e) {
    pieces_.clear();
    log(LogLevel::warning, std::string{"profile: measuring from the beginning: "} + e.what());
  }
}

void MeasuredSoFar::read() {
  const nlohmann::json file = read_json(path_);
  const std::string where = path_.string();
  check_format(file, kept_format, kept_version, where);
  if (require<std::string>(file, "of", where) != key_) {
    throw Error{Errc::mismatch, where + ": is of another model, calibration, device or setting"};
  }
  const auto pieces = require<nlohmann::json>(file, "pieces", where);
  if (!pieces.is_object()) throw Error{Errc::bad_file, where + ": 'pieces' is not an object"};
  for (const auto& [name, value] : pieces.items()) {
    PieceTime time;  // NaN: the device cannot run it
    if (!value.is_null()) {
      time.ms = require_number(value, "ms", where);
      time.spread = require_number(value, "spread", where);
      time.batch = static_cast<std::size_t>(require_integer(value, "batch", where, 1, most_batch));
      if (time.ms < 0 || time.spread < 0)
        throw Error{Errc::bad_file, where + ": '" + name + "' has a negative time"};
    }
    pieces_[name] = time;
  }
}

void MeasuredSoFar::write() {
  nlohmann::json pieces = nlohmann::json::object();
  for (const auto& [name, t] : pieces_) {
    pieces[name] = std::isnan(t.ms) ? nlohmann::json{}
                                    : nlohmann::json{{"ms", t.ms}, {"spread", t.spread}, {"batch", t.batch}};
  }
  write_json(
      path_,
      {{"format", kept_format}, {"version", kept_version}, {"of", key_}, {"pieces", std::move(pieces)}});
  written_ = Clock::now();
}

std::optional<PieceTime> MeasuredSoFar::find(const std::string& piece) const {
  const auto found = pieces_.find(piece);
  return found == pieces_.end() ? std::nullopt : std::optional{found->second};
}

void MeasuredSoFar::add(const std::string& piece, const PieceTime& time) {
  pieces_[piece] = time;
  if (Clock::now() - written_ >= std::chrono::seconds{1}) write();
}

void MeasuredSoFar::finish() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace splitcnn::inline v0
