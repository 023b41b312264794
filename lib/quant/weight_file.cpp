#include "quant/weight_file.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/fnv1a.hpp"
#include "core/json_file.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::int64_t most_bytes = std::int64_t{2} << 30;

std::vector<std::int8_t> read_file(const std::filesystem::path& path, std::int64_t size) {
  std::ifstream in{path, std::ios::binary | std::ios::ate};
  if (!in) throw Error{Errc::io, path.string() + ": cannot be opened: " + std::strerror(errno) + "; it belongs to the sidecar, copy both"};
  if (in.tellg() != size) {
    throw Error{Errc::bad_file, fmt::format("{}: is not {} bytes long as its sidecar says; they are not of one calibration", path.string(), size)};
  }
  std::vector<std::int8_t> bytes(static_cast<std::size_t>(size));
  in.seekg(0);
  if (!in.read(reinterpret_cast<char*>(bytes.data()), size)) throw Error{Errc::io, path.string() + ": cannot be read"};
  return bytes;
}

}  // namespace

std::filesystem::path weight_file(const std::filesystem::path& sidecar) {
  std::filesystem::path path = sidecar;
  return path.replace_extension(".weights");
}

nlohmann::json save_tuned(const std::filesystem::path& sidecar, std::span<const WeightQuant> weights, nlohmann::json& entries) {
  std::string bytes;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const WeightBytes* tuned = weights[i].tuned.get();
    if (!tuned) continue;
    entries[i]["tuned"] = {bytes.size(), tuned->weights.size(), tuned->bias.size()};
    for (const auto* part : {&tuned->weights, &tuned->bias}) bytes.append(reinterpret_cast<const char*>(part->data()), part->size());
  }
  const auto path = weight_file(sidecar);
  if (bytes.empty()) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    return nullptr;
  }
  write_text(path, bytes);
  Fnv1a hash;
  hash.add({reinterpret_cast<const std::int8_t*>(bytes.data()), bytes.size()});
  return {{"bytes", bytes.size()}, {"hash", hash.hex()}};
}

TunedFile::TunedFile(const std::filesystem::path& sidecar, const nlohmann::json& about) {
  if (about.is_null()) return;
  const std::string where = sidecar.string() + ": calibration: tuned";
  const auto path = weight_file(sidecar);
  bytes_ = read_file(path, require_integer(about, "bytes", where, 0, most_bytes));
  Fnv1a hash;
  hash.add(bytes_);
  if (hash.hex() != require<std::string>(about, "hash", where))
    throw Error{Errc::bad_file, path.string() + ": is not the file its sidecar was written with; calibrate again or copy both"};
}

std::shared_ptr<const WeightBytes> TunedFile::at(const nlohmann::json& entry, const std::string& where) const {
  if (!entry.contains("tuned")) return nullptr;
  const auto& place = entry["tuned"];
  const auto number = [&](std::size_t i) { return place[i].is_number_unsigned() ? place[i].get<std::uint64_t>() : bytes_.size() + 1; };
  std::uint64_t offset = 0, weights = 0, biases = 0;
  bool fits = place.is_array() && place.size() == 3;
  if (fits) {
    offset = number(0), weights = number(1), biases = number(2);
    fits = offset <= bytes_.size() && weights <= bytes_.size() - offset && biases <= bytes_.size() - offset - weights;
  }
  if (!fits) throw Error{Errc::bad_file, where + ": 'tuned' is not a place in the file of weights"};
  const auto from = bytes_.begin() + static_cast<std::ptrdiff_t>(offset), middle = from + static_cast<std::ptrdiff_t>(weights);
  return std::make_shared<const WeightBytes>(WeightBytes{{from, middle}, {middle, middle + static_cast<std::ptrdiff_t>(biases)}});
}

}  // namespace splitcnn::inline v0
