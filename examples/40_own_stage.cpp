// Your own code inside the pipeline, in the two ways there are: a function (HostStage), and a class with a
// batch and a device of its own (Stage). Behind the network, softmax turns scores into probabilities; then a
// vote over batches of frames says which of them are sure. Both overlap with the network like every other
// stage.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <thread>
#include <vector>

namespace sc = splitcnn;

namespace {

std::span<float> floats(const sc::TensorView& view) {
  return {reinterpret_cast<float*>(view.data), static_cast<std::size_t>(view.spec->shape.elements())};
}

/// The function: one frame per call. A throw would fail that frame and no other.
void softmax(std::span<const sc::TensorView> inputs, std::span<const sc::TensorView> outputs) {
  const auto scores = floats(inputs[0]), probabilities = floats(outputs[0]);
  const float top = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) sum += probabilities[i] = std::exp(scores[i] - top);
  for (float& p : probabilities) p /= sum;
}

/// The class: takes up to four frames at once, as an accelerator would, and does its work in submit. One that
/// starts its work elsewhere returns from submit at once and waits in wait.
class Sure : public sc::Stage {
 public:
  explicit Sure(sc::TensorSpec probabilities) : inputs_{std::move(probabilities)} {}

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] const std::string& device() const noexcept override { return device_; }
  [[nodiscard]] std::span<const sc::TensorSpec> inputs() const noexcept override { return {&inputs_, 1}; }
  [[nodiscard]] std::span<const sc::TensorSpec> outputs() const noexcept override { return {&outputs_, 1}; }
  [[nodiscard]] std::size_t preferred_batch() const noexcept override { return 4; }

  sc::Ticket submit(const sc::Batch& batch) override {
    for (std::size_t frame = 0; frame < batch.frames; ++frame) {
      const auto p = floats(batch.inputs[frame]);
      const auto best = std::max_element(p.begin(), p.end());
      const auto answer = floats(batch.outputs[frame]);
      answer[0] = static_cast<float>(best - p.begin());
      answer[1] = *best;
    }
    return {++last_};
  }
  sc::Status wait(sc::Ticket, sc::Clock::time_point) override { return {}; }

 private:
  std::string name_ = "sure", device_ = "host:sure";
  sc::TensorSpec inputs_;
  sc::TensorSpec outputs_{.name = "class_and_probability", .shape = {2}};
  std::uint64_t last_ = 0;
};

void run(const std::string& data) {
  const sc::Graph graph = sc::load_model(data + "/digits.onnx");
  const sc::Partitioner parts{sc::Quantizer{}.calibrate_synthetic(graph)};
  sc::Plan plan = parts.split_at(static_cast<int>(parts.cuts().size()) / 2, "dpu:0", "cpu");
  plan.input_transform = sc::Sidecar::load(sc::Sidecar::path_for(data + "/digits.onnx")).input_transform;

  const sc::TensorSpec scores{.name = "scores", .shape = {1, 10}};
  const sc::TensorSpec probabilities{.name = "probabilities", .shape = {1, 10}};
  std::vector<std::unique_ptr<sc::Stage>> after;
  after.push_back(
      std::make_unique<sc::HostStage>("softmax", std::vector{scores}, std::vector{probabilities}, softmax));
  after.push_back(std::make_unique<Sure>(probabilities));
  sc::Pipeline pipe{plan, sc::Devices::open("dpu:0,cpu"), {}, std::move(after)};

  std::ifstream file{data + "/digits_test.gray", std::ios::binary};
  const std::vector<std::uint8_t> pixels{std::istreambuf_iterator<char>{file}, {}};
  const std::size_t frames = pixels.size() / 64;
  std::jthread camera{[&] {
    for (std::size_t i = 0; i < frames; ++i) {
      (void)pipe.push(sc::CameraFrame{.format = sc::PixelFormat::gray,
                                      .width = 8,
                                      .height = 8,
                                      .planes = {&pixels[i * 64]},
                                      .strides = {8}});
    }
    pipe.close();
  }};
  int sure = 0;
  while (const auto result = pipe.pop()) {
    if (!result->ok()) {
      std::fprintf(stderr, "%s: %s\n", result->failed_stage().c_str(), result->status().message.c_str());
    } else if (result->floats()[1] > 0.9f) {
      ++sure;
    }
  }
  std::printf("%d of %zu frames sure\n", sure, frames);
  for (const sc::StageStats& s : pipe.stats().stages) {
    std::printf("  %-10s on %-10s %4llu frames in %4llu batches\n", s.name.c_str(), s.device.c_str(),
                static_cast<unsigned long long>(s.frames), static_cast<unsigned long long>(s.batches));
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 1 && std::strcmp(argv[1], "--help") == 0) {
    std::puts("usage: 40_own_stage\nRuns the digits network with two stages of its own behind it.");
    return 0;
  }
  if (argc > 1) {
    std::fprintf(stderr, "40_own_stage: '%s' is not understood; see --help\n", argv[1]);
    return 2;
  }
  run(SPLITCNN_EXAMPLE_DATA);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "40_own_stage: %s\n", e.what());
  return 1;
}
