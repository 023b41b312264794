#include "splitcnn/open.hpp"

#include "tool/tool.hpp"

using namespace splitcnn;

namespace {

std::vector<float> frame() {
  const Graph graph = load_model("zoo:lenet5");
  std::mt19937 random{3};
  std::uniform_real_distribution<float> unit{-1, 1};
  std::vector<float> values(static_cast<std::size_t>(graph.tensor(graph.inputs()[0]).shape.elements()));
  for (float& v : values) v = unit(random);
  return values;
}

}  // namespace

TEST_CASE("open runs a model on one line") {
  const std::vector<float> input = frame();
  const auto output = [&](std::string_view devices, const OpenOptions& options = {}) {
    Pipeline pipe = open("zoo:lenet5", devices, options);
    const Result result = pipe.infer(std::span<const float>{input});
    INFO(result.status().message);
    REQUIRE(result.ok());
    return std::vector<float>{result.floats().begin(), result.floats().end()};
  };
  const std::vector<float> reference = output("cpu");
  for (const char* devices : {"gpu", "DPU", "dpu:0,gpu:0", "DPU, GPU", "dpu,gpu,cpu"}) {
    CAPTURE(devices);
    REQUIRE(splitcnn_test::relative_error(output(devices), reference) < 0.25);
  }
  for (const int cut : {0, 1, 2})
    REQUIRE(splitcnn_test::relative_error(output("dpu,gpu", {.cut = cut}), reference) < 0.25);
  const Pipeline pipe = open("zoo:lenet5", "dpu,gpu");
  REQUIRE(pipe.plan()->why().find("measured") != std::string::npos);
}

TEST_CASE("open explains what is missing") {
  const splitcnn_test::TemporaryFolder dir;
  const std::string model = (dir / "net.onnx").string();
  Graph::zoo("lenet5").save(model);
  const auto code = [](const auto& f) {
    try {
      f();
    } catch (const Error& e) {
      return e.code();
    }
    return Errc::ok;
  };
  REQUIRE(code([&] { (void)open(model, "dpu"); }) == Errc::not_calibrated);
  REQUIRE(code([&] { (void)open(model, ""); }) == Errc::bad_argument);
  REQUIRE(code([&] { (void)open("zoo:lenet5", "dpu,gpu", {.cut = 99}); }) == Errc::bad_argument);
  REQUIRE(code([&] { (void)open((dir / "none.onnx").string(), "cpu"); }) == Errc::io);
  splitcnn_test::write_noise((dir / "frames.f32").string(), 3 * frame().size(), 5);
  REQUIRE(code([&] { (void)open(model, "dpu,gpu", {.calibration = (dir / "frames.f32").string(), .cut = 1}); }) ==
          Errc::ok);
  splitcnn_test::write_noise((dir / "frames.f32").string(), frame().size() + 1, 5);
  REQUIRE(code([&] { (void)open(model, "dpu,gpu", {.calibration = (dir / "frames.f32").string(), .cut = 1}); }) ==
          Errc::mismatch);
}
