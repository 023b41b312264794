#pragma once
/// The network most tests of plans are about, and its modelled profile.
#include "splitcnn/device_model.hpp"
#include "splitcnn/quantizer.hpp"

namespace splitcnn_test {

inline const splitcnn::Partitioner& lenet() {
  static const splitcnn::Partitioner parts{splitcnn::Quantizer{}.calibrate_synthetic(splitcnn::Graph::zoo("lenet5"), 1)};
  return parts;
}

inline splitcnn::Profile zoo_profile() {
  return splitcnn::model(lenet(), splitcnn::DpuModel::vck190_zoo(), splitcnn::GpuModel::rtx2080_zoo(), splitcnn::LinkModel::pcie_zoo());
}

}  // namespace splitcnn_test
