#pragma once
/// The reference: the formulas of docs/arithmetic.md written down, one element at a time. Everything faster is tested against this.
#include "dpu/soft/kernels.hpp"

namespace splitcnn::inline v0::soft {

void scalar_conv(const ConvSpec& spec, const std::int8_t* in, std::int8_t* out);
void scalar_add(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out);
void scalar_mul(const BinarySpec& spec, const std::int8_t* a, const std::int8_t* b, std::int8_t* out);
void scalar_pool(const PoolSpec& spec, const std::int8_t* in, std::int8_t* out);
void scalar_move(const MoveSpec& spec, const std::int8_t* in, std::int8_t* out);

}  // namespace splitcnn::inline v0::soft
