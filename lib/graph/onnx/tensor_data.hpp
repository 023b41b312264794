#pragma once
/// TensorProto to values.
#include "graph/onnx/const_tensor.hpp"
#include "graph/onnx/external_data.hpp"

namespace splitcnn::inline v0 {

/// Shape of the tensor, checked against `max_elements`. Throws bad_model.
Shape tensor_shape(const pb::TensorProto& tensor, std::int64_t max_elements);

/// Values of the tensor: every size is checked before memory is taken. Throws bad_model, unsupported (element
/// types without a meaning here) or what ExternalData throws.
ConstTensor decode_tensor(const pb::TensorProto& tensor, std::int64_t max_elements, ExternalData& external);

/// The values as another element type of ONNX. Throws unsupported for one without a meaning here.
ConstTensor cast_constant(const ConstTensor& x, int to);

/// "float32", "int64", "string", "type 99".
std::string element_type_name(int data_type);
/// float32, float16, bfloat16 and float64.
bool is_float_type(int data_type) noexcept;

}  // namespace splitcnn::inline v0
