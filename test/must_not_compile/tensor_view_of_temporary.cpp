// A view dies with its tensor.
#include "splitcnn/tensor.hpp"

std::size_t f(const splitcnn::TensorSpec& spec) {
#ifdef CORRECT
  splitcnn::Tensor tensor{spec};
  const splitcnn::TensorView view = tensor.view();
#else
  const splitcnn::TensorView view = splitcnn::Tensor{spec}.view();
#endif
  return view.bytes();
}
