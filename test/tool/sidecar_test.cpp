#include "splitcnn/open.hpp"
#include "tool/tool.hpp"

using namespace splitcnn;

TEST_CASE("a sidecar keeps its parts apart") {
  const splitcnn_test::TemporaryFolder dir;
  const std::filesystem::path path = dir / "net.splitcnn.json";
  REQUIRE(Sidecar::path_for(dir / "net.onnx") == path);
  REQUIRE(!Sidecar::load(path).input_transform);

  const Graph graph = Graph::zoo("lenet5");
  const QuantizedGraph quant = Quantizer{}.calibrate_synthetic(graph, 1);
  quant.save(path);
  Sidecar sidecar = Sidecar::load(path);
  REQUIRE(!sidecar.input_transform);
  sidecar.input_transform =
      InputTransform{.resize = Resize::letterbox, .order = ColorOrder::bgr, .border = 7, .mean = {1, 2, 3}};
  sidecar.labels = {"zero", "one"};
  sidecar.save(path);
  REQUIRE(Sidecar::load(path).input_transform == sidecar.input_transform);
  REQUIRE(Sidecar::load(path).labels == sidecar.labels);
  const QuantizedGraph again = QuantizedGraph::load(graph, path);
  REQUIRE(std::equal(again.fix_points().begin(), again.fix_points().end(), quant.fix_points().begin(),
                     quant.fix_points().end()));
  quant.save(path);
  REQUIRE(Sidecar::load(path).labels == sidecar.labels);
}

TEST_CASE("damaged sidecars are errors") {
  const splitcnn_test::TemporaryFolder dir;
  const std::filesystem::path path = dir / "x.splitcnn.json";
  Sidecar sidecar;
  sidecar.input_transform = InputTransform{};
  sidecar.labels = {"a"};
  sidecar.save(path);
  const std::string good = splitcnn_test::read_text(path.string());
  for (const std::string& bad :
       {std::string{"[]"}, std::string{"{"}, std::string{R"({"format":"other","version":1})"},
        std::string{R"({"labels":[1]})"}, std::string{R"({"labels":"x"})"},
        std::string{R"({"input_transform":3})"}}) {
    CAPTURE(bad);
    std::ofstream{path} << bad;
    REQUIRE_THROWS_AS(Sidecar::load(path), Error);
  }
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int round = 0; round < 1000; ++round) {
    std::string text = good;
    text[random() % text.size()] = static_cast<char>(random());
    if (random() % 2) text.erase(random() % text.size(), 1 + random() % 6);
    std::ofstream{path, std::ios::binary} << text;
    try {
      (void)Sidecar::load(path);
    } catch (const Error& e) {
      REQUIRE(e.code() == Errc::bad_file);
    }
  }
}
