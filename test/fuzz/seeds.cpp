// Writes the seed corpus: small valid files of every kind, from which the fuzzers start.
//
//     fuzz_seeds FOLDER TEST_DATA WEIGHTS     (test/data and lib/predictor/weights of the source tree)
#include <cstdio>
#include <fstream>

#include "dpu/protocol/messages.hpp"
#include "fuzz/fuzz.hpp"
#include "splitcnn/open.hpp"
#include "support/xmodel_bytes.hpp"

using namespace splitcnn;
namespace fs = std::filesystem;

namespace {

void models(const fs::path& out, const fs::path& data) {
  for (const fs::path& folder : {data, data / "ops"}) {
    for (const auto& entry : fs::directory_iterator{folder}) {
      if (entry.path().extension() != ".onnx") continue;
      fs::copy_file(entry.path(), out / entry.path().filename(), fs::copy_options::overwrite_existing);
    }
  }
  splitcnn_fuzz::small_graph().save(out / "small.onnx");
}

void plans(const fs::path& out, const Graph& graph) {
  const auto all = static_cast<NodeId>(graph.nodes().size());
  const Segment whole{.device = "cpu", .first = 0, .last = all, .last_unit = 3, .expected_ms = 1.5};
  Plan simple{graph, {}, {Route{{whole}}}, {1, 2, Origin::measured}, "one device"};
  simple.save(out / "one.json");
  simple.labels = {"cat", "dog"};
  simple.input_transform = InputTransform{.mean = {1, 2, 3}};
  simple.save(out / "camera.json");
  const Segment head{.device = "gpu:0", .first = 0, .last = 2, .last_unit = 1};
  const Segment tail{.device = "cpu", .first = 2, .last = all, .first_unit = 1, .last_unit = 3};
  Plan{graph, {}, {Route{{head, tail}, 0.25}, Route{{whole}, 0.75}}, {}, "two routes"}.save(out / "two.json");
}

void weights(const fs::path& out, const fs::path& shipped) {
  for (const auto& entry : fs::directory_iterator{shipped}) {
    if (entry.path().extension() == ".safetensors") fs::copy_file(entry.path(), out / entry.path().filename(), fs::copy_options::overwrite_existing);
  }
}

void profiles(const fs::path& out, const Graph& graph) {
  Profile p{.graph_hash = graph.hash(), .machine = "a machine"};
  const double no = std::numeric_limits<double>::quiet_NaN();
  p.devices = {{"dpu:0", "software", 1, 6, {0, 1, 2, no}, {no, 2, 1, 0}, 0.1}, {"cpu", "cpu-f32", 2, 1, {0, 3, 4, 5}, {5, 2, 1, 0}, 0}};
  p.links = {{"dpu:0", "cpu", 0.01, 1e-6}};
  p.save(out / "two_devices.json");
}

template <class T>
void message(std::ofstream& file, dpu::Kind kind, const T& body) {
  const auto bytes = dpu::encode(body);
  const auto header = dpu::encode(dpu::Header{kind, bytes.size()});
  file.write(reinterpret_cast<const char*>(header.data()), header.size());
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// Both sides of a conversation.
void conversation(const fs::path& out) {
  using namespace dpu;
  const TensorSpec tensor{.name = "x", .shape = {1, 8, 6, 3}, .dtype = DType::i8, .fix_point = -2};
  std::ofstream asking{out / "application", std::ios::binary}, answering{out / "worker", std::ios::binary};
  message(asking, Kind::hello, Hello{});
  message(answering, Kind::welcome, Welcome{.backend = "vart", .pid = 7});
  message(asking, Kind::proof, ProofMessage{});
  message(asking, Kind::load, Load{{{"head.xmodel", "run", 0}}});
  message(answering, Kind::failed, Failed{Errc::io, "head.xmodel: is not there"});
  message(answering, Kind::loaded, Loaded{{{.name = "head", .fingerprint = "1", .batch = 6, .inputs = {tensor}, .outputs = {tensor, tensor}}}});
  message(asking, Kind::ring, RingLayout{2, 4096});
  message(asking, Kind::run, Run{1, 0, 1, 6});
  message(answering, Kind::done, Done{1, 1, 6});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER TEST_DATA WEIGHTS\n");
    return 1;
  }
  const fs::path out{argv[1]};
  for (const char* kind : {"onnx", "plan", "profile", "calibration", "sidecar", "protocol", "xmodel", "weights"}) fs::create_directories(out / kind);
  const Graph& graph = splitcnn_fuzz::small_graph();
  models(out / "onnx", argv[2]);
  plans(out / "plan", graph);
  profiles(out / "profile", graph);
  weights(out / "weights", argv[3]);
  Quantizer{}.calibrate_synthetic(graph).save(out / "calibration" / "small.json");
  conversation(out / "protocol");
  std::ofstream{out / "xmodel" / "small.xmodel", std::ios::binary} << splitcnn_test::xmodel_bytes();
  Sidecar{.input_transform = InputTransform{.mean = {1, 2, 3}}, .labels = {"cat", "dog"}}.save(out / "sidecar" / "small.json");
}
