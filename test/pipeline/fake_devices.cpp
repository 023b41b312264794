#include "pipeline/fake_devices.hpp"

#include "plan/segment_io.hpp"

namespace splitcnn_test {

FakeLoads& fake_loads() {
  static FakeLoads loads;
  return loads;
}

splitcnn::Devices fake_devices() { return splitcnn::Devices::open("fake"); }

void fake_segment(std::span<const splitcnn::TensorView> in, std::span<const splitcnn::TensorView> out) {
  int sum = 0;
  for (const auto& view : in) sum += std::to_integer<int>(view.data[0]);
  for (const auto& view : out) {
    if (view.spec->dtype == splitcnn::DType::f32) {
      auto* values = reinterpret_cast<float*>(view.data);
      for (std::size_t k = 0; k < view.bytes() / 4; ++k)
        values[k] = static_cast<float>((sum + static_cast<int>(k)) % 7);
    } else {
      for (std::size_t k = 0; k < view.bytes(); ++k)
        view.data[k] = static_cast<std::byte>(static_cast<std::size_t>(sum) + k);
    }
  }
}

}  // namespace splitcnn_test

namespace splitcnn::inline v0 {

struct Devices::Impl {
  std::vector<DeviceInfo> devices;
};

Devices::Devices(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Devices::Devices(Devices&&) noexcept = default;
Devices& Devices::operator=(Devices&&) noexcept = default;
Devices::~Devices() = default;
Devices Devices::open(std::string_view) { return Devices{std::make_unique<Impl>()}; }
std::span<const DeviceInfo> Devices::list() const noexcept { return impl_->devices; }
const DeviceInfo& Devices::info(std::string_view) const { throw Error{Errc::no_device, "fake"}; }

std::unique_ptr<Stage> Devices::load(const Plan& plan, const Segment& segment) const {
  splitcnn_test::FakeLoads& loads = splitcnn_test::fake_loads();
  const std::string name =
      segment.device + "[" + std::to_string(segment.first) + "," + std::to_string(segment.last) + ")";
  loads.loaded.push_back(name);
  if (segment.device == loads.fail_device) throw Error{Errc::no_device, segment.device + ": not there"};
  splitcnn_test::FakeOptions options{.name = name, .device = segment.device, .inputs = {}, .outputs = {}};
  const SegmentIo io = segment_io(plan, segment);
  for (const EdgeTensor& edge : io.inputs) options.inputs.push_back(edge.spec);
  for (const EdgeTensor& edge : io.outputs) options.outputs.push_back(edge.spec);
  options.compute = splitcnn_test::fake_segment;
  if (loads.adjust) loads.adjust(options);
  return splitcnn_test::fake(std::move(options));
}

}  // namespace splitcnn::inline v0
