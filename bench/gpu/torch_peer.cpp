#include "torch_peer.hpp"

#include <fmt/core.h>

#include <cstdlib>
#include <fstream>

namespace bench {

using namespace splitcnn;
using nlohmann::json;

namespace {

json dims(const Shape& shape) { return std::vector<std::int64_t>{shape.begin(), shape.end()}; }

json node_json(const Node& n) {
  const Window& w = n.window;
  return {{"op", to_string(n.op)},
          {"inputs", n.inputs},
          {"outputs", n.outputs},
          {"kernel", {w.kernel_h, w.kernel_w}},
          {"stride", {w.stride_h, w.stride_w}},
          {"dilation", {w.dilation_h, w.dilation_w}},
          {"pads", {w.pad_top, w.pad_left, w.pad_bottom, w.pad_right}},
          {"groups", n.groups},
          {"count_include_pad", n.count_include_pad},
          {"ceil_mode", n.ceil_mode},
          {"transpose_a", n.transpose_a},
          {"transpose_b", n.transpose_b},
          {"alpha", n.alpha},  // an infinite one is null
          {"beta", n.beta},
          {"bias", n.bias},
          {"size", n.size},
          {"axes", n.axes},
          {"begins", n.begins},
          {"ends", n.ends},
          {"steps", n.steps}};
}

/// net.json, weights.f32 and frames.f32: the whole network in the terms of splitcnn/graph.hpp.
void write(const Case& c, const std::filesystem::path& folder) {
  const Graph& graph = c.graph();
  std::ofstream weights{folder / "weights.f32", std::ios::binary}, frames{folder / "frames.f32", std::ios::binary};
  const auto put = [](std::ofstream& file, std::span<const float> values) {
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
  };
  json tensors = json::array(), nodes = json::array();
  std::size_t offset = 0;
  for (TensorId t = 0; t < graph.tensors().size(); ++t) {
    tensors.push_back({{"shape", dims(graph.tensor(t).shape)}});
    if (!graph.tensor(t).constant) continue;
    tensors.back()["offset"] = offset;
    offset += graph.constant(t).size();
    put(weights, graph.constant(t));
  }
  for (const Node& n : graph.nodes()) nodes.push_back(node_json(n));
  for (const Tensor& t : c.inputs()) put(frames, t.as<float>());
  std::ofstream net{folder / "net.json"};
  net << json{{"inputs", std::vector<TensorId>{graph.inputs().begin(), graph.inputs().end()}},
              {"outputs", std::vector<TensorId>{graph.outputs().begin(), graph.outputs().end()}},
              {"frames", Case::frames},
              {"tensors", tensors},
              {"nodes", nodes}};
  if (!net.flush() || !weights.flush() || !frames.flush()) throw std::runtime_error{folder.string() + ": cannot be written; make room, or set TMPDIR"};
}

}  // namespace

TorchPeer::TorchPeer(const std::string& python, const std::string& device) {
  if (python.empty()) {
    missing_ = "no peer was asked for";
    return;
  }
  try {
    std::string name = (std::filesystem::temp_directory_path() / "torch_peer.XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error{"no temporary folder; set TMPDIR"};
    folder_ = name;
    process_ = std::make_unique<PeerProcess>(std::vector<std::string>{python, SPLITCNN_PEERS "/torch_tail.py", device});
    const json ready = process_->receive();
    missing_ = ready.value("missing", "");
    version_ = ready.value("version", "");
  } catch (const std::exception& e) {
    missing_ = e.what();
  }
}

TorchPeer::~TorchPeer() {
  process_.reset();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

std::string TorchPeer::open(const Case& c) {
  if (!missing_.empty()) return missing_;
  try {
    write(c, folder_);
  } catch (const std::exception& e) {
    return e.what();
  }
  process_->send("net " + folder_.string());
  return process_->receive().value("missing", "");
}

std::string TorchPeer::prepare(const std::string& variant, std::size_t batch, double seconds) {
  process_->send(fmt::format("prepare {} {} {:.0f}", variant, batch, seconds));
  return process_->receive().value("missing", "");
}

std::vector<double> TorchPeer::run(int count) {
  process_->send("run " + std::to_string(count));
  return process_->receive().value("ms", std::vector<double>{});
}

std::vector<Tensor> TorchPeer::results(const Case& c, std::size_t batch) const {
  std::vector<Tensor> out = c.room_for_results();
  std::ifstream file{folder_ / "results.f32", std::ios::binary};
  const std::size_t count = out.size() / Case::frames * batch;
  for (std::size_t t = 0; t < count; ++t) file.read(reinterpret_cast<char*>(out[t].bytes().data()), static_cast<std::streamsize>(out[t].bytes().size()));
  if (!file) throw std::runtime_error{"the peer's results: are incomplete"};
  return out;
}

}  // namespace bench
