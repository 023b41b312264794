// How often the split network (INT8 head, float tail) names the same class as the float network. Calibration images and scored
// images are never the same.
#include <algorithm>
#include <cmath>

#include "core/convert.hpp"
#include "cpu/executor.hpp"
#include "dpu/real_data.hpp"
#include "dpu/soft/executor.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

std::size_t arg_max(std::span<const float> v) { return static_cast<std::size_t>(std::max_element(v.begin(), v.end()) - v.begin()); }

std::byte* bytes_of(auto span) { return reinterpret_cast<std::byte*>(span.data()); }

/// The float class of every image.
std::vector<std::size_t> float_classes(const Graph& graph, std::span<const Tensor> images) {
  CpuExecutor run{graph, 0, static_cast<NodeId>(graph.nodes().size()), {}};
  std::vector<std::size_t> classes;
  for (const Tensor& image : images) {
    convert(graph.tensor(graph.inputs()[0]).shape, {.channels_last = false}, image.bytes().data(), {}, bytes_of(run.input(0)));
    run.run();
    classes.push_back(arg_max(run.output(0)));
  }
  return classes;
}

/// Nodes [0, node) in INT8, the rest in float; share of images with the class of the float network.
double agreement(const QuantizedGraph& quant, NodeId node, std::span<const Tensor> images, std::span<const std::size_t> expected) {
  const Graph& graph = quant.graph();
  const auto last = static_cast<NodeId>(graph.nodes().size());
  DpuExecutor head{quant, 0, node};
  std::optional<CpuExecutor> tail;
  if (node < last) tail.emplace(graph, node, last, CpuExecutorOptions{});
  const TensorId input = graph.inputs()[0];
  const Shape& shape = graph.tensor(input).shape;
  std::size_t same = 0;
  std::vector<float> scores;
  for (std::size_t i = 0; i < images.size(); ++i) {
    convert(shape, {.channels_last = false}, images[i].bytes().data(), {.dtype = DType::i8, .fix_point = quant.fix_point(input)}, bytes_of(head.input(0)));
    head.run();
    const auto value = [&](std::size_t o, std::span<float> to) {
      const float unit = std::ldexp(1.0f, -head.output_fix_point(o));
      std::transform(head.output(o).begin(), head.output(o).end(), to.begin(), [&](std::int8_t v) { return static_cast<float>(v) * unit; });
    };
    if (tail) {
      for (std::size_t t = 0; t < tail->input_ids().size(); ++t) {
        const TensorId id = tail->input_ids()[t];
        if (id == input) convert(shape, {.channels_last = false}, images[i].bytes().data(), {}, bytes_of(tail->input(t)));
        for (std::size_t o = 0; o < head.output_ids().size(); ++o) {
          if (head.output_ids()[o] == id) value(o, tail->input(t));
        }
      }
      tail->run();
      same += arg_max(tail->output(0)) == expected[i];
    } else {
      scores.resize(head.output(0).size());
      value(0, scores);
      same += arg_max(scores) == expected[i];
    }
  }
  return static_cast<double>(same) / static_cast<double>(images.size());
}

/// Prints agreement at the cuts and returns the worst.
double curve(const std::string& name, const Graph& graph, std::span<const Tensor> calibration, std::span<const Tensor> scored, std::size_t most_cuts,
             bool fine = false) {
  QuantizedGraph quant = Quantizer{}.calibrate(graph, calibration);
  if (fine) quant = fine_tune(quant, calibration);
  const auto expected = float_classes(graph, scored);
  std::vector<Cut> legal;
  for (const Cut& cut : cuts(graph)) {
    if (cut.legal && cut.k > 0) legal.push_back(cut);
  }
  double worst = 1;
  const std::size_t shown = std::min(most_cuts, legal.size());
  std::printf("%s: calibrated on %zu, scored on %zu images, %zu of %zu legal cuts\n", name.c_str(), calibration.size(), scored.size(), shown, legal.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const Cut& cut = legal[(i + 1) * legal.size() / shown - 1];
    const double same = agreement(quant, cut.node, scored, expected);
    std::printf("  cut %3d after %-40s %6.2f %%\n", cut.k, cut.after.c_str(), 100 * same);
    worst = std::min(worst, same);
  }
  std::fflush(stdout);
  return worst;
}

}  // namespace

TEST_CASE("mnist_cnn in INT8 agrees with float", "[dpu][accuracy][long]") {
  const std::string data = splitcnn_test::test_data();
  if (data.empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const auto digits = splitcnn_test::mnist_digits(data, 1128);
  REQUIRE(digits.size() == 1128);
  const std::span<const Tensor> all{digits};
  CHECK(curve("mnist_cnn", Graph::load(data + "/models/mnist_cnn.onnx"), all.first(128), all.subspan(128), 1000) >= 0.99);
}

TEST_CASE("cifar10_resnet20 in INT8 agrees with float", "[dpu][accuracy][long]") {
  const std::string data = splitcnn_test::test_data();
  if (data.empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const auto images = splitcnn_test::cifar10_images(data, 1128);
  REQUIRE(images.size() == 1128);
  const std::span<const Tensor> all{images};
  CHECK(curve("cifar10_resnet20", Graph::load(data + "/models/cifar10_resnet20.onnx"), all.first(128), all.subspan(128), 1000, true) >= 0.97);
}

TEST_CASE("mobilenet_v2 in INT8 agrees with float", "[dpu][accuracy][long]") {
  const std::string data = splitcnn_test::test_data();
  if (data.empty()) SPLITCNN_SKIP("data", "SPLITCNN_TEST_DATA is not set");
  const auto calibration = splitcnn_test::imagenet_calibration(data, 64);
  if (calibration.size() < 32) SPLITCNN_SKIP("data", "ffmpeg is needed for calibration frames");
  const auto scored = splitcnn_test::imagenet_inputs(data);
  REQUIRE(scored.size() == 200);
  CHECK(curve("mobilenet_v2", Graph::load(data + "/models/mobilenet_v2_1.0_224.onnx"), calibration, scored, 5, true) >= 0.95);
}
