#include "plan/calibration_hash.hpp"

#include <bit>

#include "core/fnv1a.hpp"

namespace splitcnn::inline v0 {

std::string calibration_hash(const QuantizedGraph& quant) {
  Fnv1a hash;
  const auto tensors = quant.graph().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].constant) hash.add(std::int64_t{quant.fix_point(static_cast<TensorId>(i))});
  }
  for (const WeightQuant& w : quant.weights()) {
    for (const std::int64_t part : {std::int64_t{w.node}, std::int64_t{w.folded_through},
                                    std::int64_t{w.weight_fix_point}, std::int64_t{w.bias_fix_point}}) {
      hash.add(part);
    }
    if (w.tuned) {
      hash.add(w.tuned->weights);
      hash.add(w.tuned->bias);
    }
  }
  for (const ChannelScale& s : quant.channel_scales()) {
    for (const std::int64_t part :
         {std::int64_t{s.tensor}, std::int64_t{s.first}, std::int64_t{s.last}, std::int64_t{s.fix_point}})
      hash.add(part);
    for (const float factor : s.factors) hash.add(std::int64_t{std::bit_cast<std::int32_t>(factor)});
  }
  return hash.hex();
}

}  // namespace splitcnn::inline v0
