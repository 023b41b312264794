#pragma once
/// Devices whose every segment is a FakeStage with the edges that the plan gives it. Defines the members of
/// splitcnn::Devices for the test program.
#include <functional>
#include <string>
#include <vector>

#include "splitcnn/device.hpp"
#include "support/fake_stage.hpp"

namespace splitcnn_test {

/// What Devices::load was asked for since the last clear(), and how the next stages shall behave.
struct FakeLoads {
  std::vector<std::string> loaded;  ///< "gpu:0[0,3)"
  std::function<void(FakeOptions&)> adjust;
  std::string fail_device;  ///< load throws no_device for it
};
FakeLoads& fake_loads();

splitcnn::Devices fake_devices();

/// What a fake segment computes: byte k of an output is k plus the first bytes of all inputs, f32 outputs as
/// numbers.
void fake_segment(std::span<const splitcnn::TensorView> in, std::span<const splitcnn::TensorView> out);

}  // namespace splitcnn_test
