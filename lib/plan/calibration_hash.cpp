#include "plan/calibration_hash.hpp"

#include <fmt/format.h>

#include <bit>

namespace splitcnn::inline v0 {

namespace {

class Fnv1a {
 public:
  void add(std::int64_t value) noexcept {
    for (int i = 0; i < 8; ++i) {
      hash_ ^= static_cast<std::uint64_t>(value) >> (8 * i) & 0xff;
      hash_ *= 0x100000001b3u;
    }
  }
  [[nodiscard]] std::string hex() const { return fmt::format("{:016x}", hash_); }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace

std::string calibration_hash(const QuantizedGraph& quant) {
  Fnv1a hash;
  const auto tensors = quant.graph().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].constant) hash.add(quant.fix_point(static_cast<TensorId>(i)));
  }
  for (const WeightQuant& w : quant.weights()) {
    for (const std::int64_t part : {std::int64_t{w.node}, std::int64_t{w.folded_through},
                                    std::int64_t{w.weight_fix_point}, std::int64_t{w.bias_fix_point}}) {
      hash.add(part);
    }
  }
  for (const ChannelScale& s : quant.channel_scales()) {
    for (const std::int64_t part :
         {std::int64_t{s.tensor}, std::int64_t{s.first}, std::int64_t{s.last}, std::int64_t{s.fix_point}})
      hash.add(part);
    for (const float factor : s.factors) hash.add(std::bit_cast<std::int32_t>(factor));
  }
  return hash.hex();
}

}  // namespace splitcnn::inline v0
