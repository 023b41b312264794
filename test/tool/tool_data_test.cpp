// The tool on real trained models: the float graph against ONNX Runtime, and calibration from images.
#include <nlohmann/json.hpp>

#include "tool/tool.hpp"

using splitcnn_test::TemporaryFolder;
using splitcnn_test::test_data;
using splitcnn_test::tool;

TEST_CASE("run --devices cpu equals ONNX Runtime on all four models") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const std::string golden = test_data() + "/golden/";
  const auto index = nlohmann::json::parse(splitcnn_test::read_text(golden + "index.json"));
  REQUIRE(index.size() == 4);
  for (const auto& [name, entry] : index.items()) {
    CAPTURE(name);
    const TemporaryFolder dir;
    const auto result = tool("run " + test_data() + "/models/" + name + ".onnx --input " + golden +
                             entry.at("input").at("file").get<std::string>() +
                             " --devices cpu --output-dir " + (dir / "out").string());
    INFO(result.err);
    REQUIRE(result.exit_code == 0);
    for (std::size_t i = 0; i < entry.at("outputs").size(); ++i) {
      const auto expected =
          splitcnn_test::read_floats(golden + entry["outputs"][i].at("file").get<std::string>());
      const auto actual = splitcnn_test::read_floats((dir / "out").string() + "/" + std::to_string(i) + ".f32");
      REQUIRE(!expected.empty());
      REQUIRE(actual.size() == expected.size());
      const double error = splitcnn_test::relative_error(actual, expected);
      std::printf("%s output %zu: max|a-b|/max|b| = %.3g\n", name.c_str(), i, error);
      REQUIRE(error <= 1e-4);
    }
  }
}

TEST_CASE("a DPU without calibration is refused with the command, and runs after it") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const TemporaryFolder dir;
  const std::string model = (dir / "net.onnx").string(), frames = test_data() + "/golden/mnist_cnn.in.f32";
  std::filesystem::copy_file(test_data() + "/models/mnist_cnn.onnx", model);
  const std::string run =
      "run " + model + " --input " + frames + " --devices dpu,gpu --cut 1 --output-dir " + (dir / "out").string();
  const auto refused = tool(run);
  REQUIRE(refused.exit_code == 1);
  REQUIRE(refused.err.find("splitcnn calibrate") != std::string::npos);
  const auto calibrated = tool("calibrate " + model + " --frames " + frames);
  INFO(calibrated.err);
  REQUIRE(calibrated.exit_code == 0);
  REQUIRE(std::filesystem::exists((dir / "net.splitcnn.json").string()));
  const auto ran = tool(run);
  INFO(ran.err);
  REQUIRE(ran.exit_code == 0);
  const auto expected = splitcnn_test::read_floats(test_data() + "/golden/mnist_cnn.out0.f32");
  const auto actual = splitcnn_test::read_floats((dir / "out").string() + "/0.f32");
  REQUIRE(actual.size() == expected.size());
  for (std::size_t f = 0; f < expected.size() / 10; ++f) {
    const auto top = [&](const std::vector<float>& v) {
      const auto begin = v.begin() + static_cast<std::ptrdiff_t>(10 * f);
      return std::max_element(begin, begin + 10) - begin;
    };
    REQUIRE(top(actual) == top(expected));
  }
}

TEST_CASE("calibrate reads images through the transform and keeps it beside the model") {
  if (test_data().empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const TemporaryFolder dir;
  const std::string model = (dir / "net.onnx").string(), sidecar = (dir / "net.splitcnn.json").string();
  std::filesystem::copy_file(test_data() + "/models/mobilenet_v2_1.0_224.onnx", model);
  const auto result = tool("calibrate " + model + " --frames " + test_data() +
                           "/images/imagenet_200 --max-frames 2 --mean 128 --scale 0.0078125" +
                           " --resize center_crop --short-side 256 --labels " + test_data() +
                           "/images/imagenet_labels_1001.txt");
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const auto file = nlohmann::json::parse(splitcnn_test::read_text(sidecar));
  REQUIRE(file.at("input_transform").at("resize") == "center_crop");
  REQUIRE(file.at("labels").size() == 1001);
  REQUIRE(file.contains("calibration"));
}
