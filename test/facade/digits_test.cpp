// The example network on its held-out frames, as cameras deliver them: float, cut everywhere, and the
// one-liner.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace sc = splitcnn;

namespace {

std::vector<std::uint8_t> read(const std::string& name) {
  std::ifstream in{splitcnn_test::example_data() + "/" + name, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

std::string model() { return splitcnn_test::example_data() + "/digits.onnx"; }

std::vector<sc::Tensor> calibration(const sc::Graph& graph) {
  const std::vector<std::uint8_t> bytes = read("digits_calibration.f32");
  std::vector<sc::Tensor> frames;
  const sc::TensorSpec spec{.name = "input", .shape = graph.tensor(graph.inputs()[0]).shape};
  for (std::size_t at = 0; at + spec.bytes() <= bytes.size(); at += spec.bytes()) {
    sc::Tensor& t = frames.emplace_back(spec);
    std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + at, spec.bytes(), t.bytes().begin());
  }
  return frames;
}

/// Classes of all 360 frames, streamed.
std::vector<int> classes(sc::Pipeline& pipe) {
  const std::vector<std::uint8_t> pixels = read("digits_test.gray");
  REQUIRE(pixels.size() == 360 * 64);
  std::jthread camera{[&] {
    for (std::size_t i = 0; i < 360; ++i) {
      (void)pipe.push(sc::CameraFrame{.format = sc::PixelFormat::gray,
                                      .width = 8,
                                      .height = 8,
                                      .planes = {&pixels[i * 64]},
                                      .strides = {8}});
    }
    pipe.close();
  }};
  std::vector<int> found;
  while (const auto result = pipe.pop()) {
    INFO(result->status().message);
    REQUIRE(result->ok());
    REQUIRE(result->id() == found.size());
    found.push_back(result->top(1).at(0).index);
  }
  return found;
}

int equal(const std::vector<int>& a, const std::vector<int>& b) {
  REQUIRE(a.size() == b.size());
  int count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] == b[i];
  return count;
}

}  // namespace

TEST_CASE("the digits network keeps its accuracy in float and at every cut") {
  const std::vector<std::uint8_t> bytes = read("digits_test.labels");
  const std::vector<int> labels{bytes.begin(), bytes.end()};
  const sc::Graph graph = sc::load_model(model());
  const auto transform = sc::Sidecar::load(sc::Sidecar::path_for(model())).input_transform;
  REQUIRE(transform);

  sc::Plan plan = sc::Partitioner{graph}.all_on("cpu");
  plan.input_transform = transform;
  sc::Pipeline pipe{plan, sc::Devices::open("cpu")};
  const std::vector<int> in_float = classes(pipe);
  CHECK(equal(in_float, labels) >= 355);  // 356 in numpy; the resampled pixel may round the other way

  const sc::Partitioner parts{sc::Quantizer{}.calibrate(graph, calibration(graph))};
  for (const sc::Cut& cut : parts.cuts()) {
    if (!cut.legal) continue;
    sc::Plan split = parts.split_at(cut.k);
    split.input_transform = transform;
    sc::Pipeline both{split, sc::Devices::open("dpu:0,gpu:0")};
    const std::vector<int> found = classes(both);
    std::printf("cut %d after %s: %d of 360 as in float, %d right\n", cut.k, cut.after.c_str(),
                equal(found, in_float), equal(found, labels));
    CHECK(equal(found, in_float) >= 356);
  }
}

TEST_CASE("one line opens the digits network, with labels and reasons") {
  sc::Pipeline pipe = sc::open(model(), "dpu:0,gpu:0",
                               {.calibration = splitcnn_test::example_data() + "/digits_calibration.f32"});
  REQUIRE(pipe.plan());
  CHECK(!pipe.plan()->why().empty());
  const std::vector<std::uint8_t> pixels = read("digits_test.gray");
  const sc::Result result = pipe.infer(sc::CameraFrame{
      .format = sc::PixelFormat::gray, .width = 8, .height = 8, .planes = {pixels.data()}, .strides = {8}});
  REQUIRE(result.ok());
  const std::vector<sc::Score> top = result.top(10);
  REQUIRE(top.size() == 10);
  CHECK(top[0].label == std::to_string(top[0].index));
  CHECK(top[0].value >= top[9].value);
}
