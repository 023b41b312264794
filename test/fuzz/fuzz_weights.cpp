// Weight files: a predictor whose forecasts are numbers, or an Error. Most bytes of such a file are its numbers, so every input runs a second
// time with two more bits changed in the header, chosen by what the numbers add up to.
#include <cmath>
#include <cstring>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "splitcnn/predictor.hpp"

using namespace splitcnn;

namespace {

void run(std::span<const std::uint8_t> bytes) {
  static const Partitioner parts{splitcnn_fuzz::small_graph()};
  splitcnn_fuzz::only_errors([&] {
    const Predictor predictor = Predictor::parse(std::as_bytes(bytes));
    const Forecast f = predictor.forecast(parts);
    splitcnn_fuzz::expect(f.k >= 0 && f.k < static_cast<int>(parts.cuts().size()), "a cut of the graph");
    splitcnn_fuzz::expect(f.head_ms.size() == parts.cuts().size() && f.tail_ms.size() == parts.cuts().size(), "times for every cut");
    for (std::size_t k = 0; k < f.head_ms.size(); ++k) splitcnn_fuzz::expect(std::isfinite(f.head_ms[k]) && std::isfinite(f.tail_ms[k]), "numbers");
    for (const double c : f.chance) splitcnn_fuzz::expect(c >= 0 && c <= 1, "a probability");
    splitcnn_fuzz::expect(std::isfinite(f.low_ms) && std::isfinite(f.high_ms) && !f.contenders.empty(), "an interval");
    splitcnn_fuzz::expect(predictor.profile(parts).devices.size() == 2, "two devices");
  });
}

std::vector<std::uint8_t> in_header(std::span<const std::uint8_t> bytes) {
  std::uint64_t length = 0;
  std::vector<std::uint8_t> out(bytes.begin(), bytes.end());
  if (bytes.size() < 64) return out;
  std::memcpy(&length, bytes.data(), 8);
  if (length == 0 || length > bytes.size() - 8) return out;
  std::uint64_t state = 0x9e3779b97f4a7c15ull;
  for (const std::uint8_t b : bytes.subspan(8 + static_cast<std::size_t>(length))) state = (state ^ b) * 0x100000001b3ull;
  for (int n = 0; n < 2; ++n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    out[8 + static_cast<std::size_t>((state >> 16) % length)] ^= static_cast<std::uint8_t>(1u << (state >> 61));
  }
  return out;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  run({data, size});
  run(in_header({data, size}));
  return 0;
}
