#include "dpu/remote/manifest.hpp"

#include <fmt/core.h>

#include <fstream>

#include "core/json_file.hpp"
#include "dpu/protocol/sha256.hpp"
#include "plan/calibration_hash.hpp"

namespace splitcnn::inline v0 {

namespace {

namespace fs = std::filesystem;
constexpr const char* format_name = "splitcnn-xmodel";
constexpr int format_version = 1;

std::string hex(const dpu::Digest& digest) {
  std::string text;
  for (const std::byte b : digest) text += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return text;
}

std::string hash_of(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  if (!in && bytes.empty()) throw Error{Errc::io, fmt::format("{}: cannot be read", file.string())};
  return hex(dpu::sha256(std::as_bytes(std::span{bytes.data(), bytes.size()})));
}

fs::path golden_path(const fs::path& xmodel) { return xmodel.string() + ".golden"; }

nlohmann::json tensors_json(const Graph& graph, std::span<const TensorId> ids, const auto& fix_point) {
  nlohmann::json list = nlohmann::json::array();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const GraphTensor& t = graph.tensor(ids[i]);
    std::vector<std::int64_t> dims{t.shape.begin(), t.shape.end()};
    if (dims.size() == 4) dims = {dims[0], dims[2], dims[3], dims[1]};
    list.push_back({{"name", t.name}, {"shape", dims}, {"fix_point", fix_point(i)}});
  }
  return list;
}

std::string text_of(const nlohmann::json& manifest, const char* key, const std::string& where) {
  return require<std::string>(manifest, key, where).substr(0, 128);
}

}  // namespace

fs::path manifest_path(const fs::path& xmodel) { return xmodel.string() + ".json"; }

void write_manifest(const QuantizedGraph& quant, NodeId first, NodeId last, const fs::path& xmodel) {
  DpuExecutor run{quant, first, last};
  std::ofstream golden{golden_path(xmodel), std::ios::binary | std::ios::trunc};
  std::vector<std::span<std::int8_t>> inputs;
  for (std::size_t i = 0; i < run.input_ids().size(); ++i) inputs.push_back(run.input(i));
  fill_golden(inputs);
  for (const auto in : inputs)
    golden.write(reinterpret_cast<const char*>(in.data()), static_cast<std::streamsize>(in.size()));
  run.run();
  for (std::size_t i = 0; i < run.output_ids().size(); ++i)
    golden.write(reinterpret_cast<const char*>(run.output(i).data()),
                 static_cast<std::streamsize>(run.output(i).size()));
  golden.close();
  if (!golden)
    throw Error{Errc::io,
                fmt::format("{}: cannot be written; is the disk full?", golden_path(xmodel).string())};
  const Graph& graph = quant.graph();
  write_json(manifest_path(xmodel),
             {{"format", format_name},
              {"version", format_version},
              {"graph", {{"name", graph.name()}, {"hash", graph.hash()}}},
              {"calibration", calibration_hash(quant)},
              {"first", first},
              {"last", last},
              {"after", graph.nodes()[last - 1].name},
              {"inputs",
               tensors_json(graph, run.input_ids(), [&](std::size_t i) { return run.input_fix_point(i); })},
              {"outputs",
               tensors_json(graph, run.output_ids(), [&](std::size_t i) { return run.output_fix_point(i); })},
              {"xmodel_sha256", hash_of(xmodel)},
              {"golden_sha256", hash_of(golden_path(xmodel))}});
}

fs::path choose_xmodel(const Segment& segment, std::span<const fs::path> xmodels) {
  std::string others;
  for (const fs::path& xmodel : xmodels) {
    const std::string where = manifest_path(xmodel).string();
    const nlohmann::json manifest = read_json(where);
    check_format(manifest, format_name, format_version, where);
    constexpr std::int64_t most = 1 << 30;
    const auto first = require_integer(manifest, "first", where, 0, most),
               last = require_integer(manifest, "last", where, 0, most);
    if (first == segment.first && last == segment.last) return xmodel;
    others += fmt::format("{}{} to {}", others.empty() ? "" : ", ", first, last);
  }
  throw Error{
      Errc::mismatch,
      fmt::format("{}: no xmodel is for nodes {} to {}; there are some for {}; export that segment, too",
                  segment.device, segment.first, segment.last, others)};
}

void check_manifest(const Plan& plan, const Segment& segment, const fs::path& xmodel) {
  std::error_code error;
  const fs::path path = manifest_path(xmodel);
  if (!fs::exists(path, error)) return;
  const std::string where = path.string();
  const nlohmann::json manifest = read_json(path);
  check_format(manifest, format_name, format_version, where);
  const auto refuse = [&](const std::string& what) {
    throw Error{Errc::mismatch, fmt::format("{}: {}; export the model again", where, what)};
  };
  if (const auto hash = text_of(require<nlohmann::json>(manifest, "graph", where), "hash", where);
      hash != plan.graph().hash()) {
    refuse(fmt::format("is for another graph (hash {}, this one has {})", hash, plan.graph().hash()));
  }
  if (const auto hash = text_of(manifest, "calibration", where);
      plan.quant() && hash != calibration_hash(*plan.quant()))
    refuse("was exported with another calibration");
  const auto nodes = static_cast<std::int64_t>(plan.graph().nodes().size());
  const auto first = require_integer(manifest, "first", where, 0, nodes),
             last = require_integer(manifest, "last", where, 0, nodes);
  if (first != segment.first || last != segment.last)
    refuse(fmt::format("holds nodes {} to {}, the plan wants {} to {}", first, last, segment.first,
                       segment.last));
  if (fs::exists(xmodel, error) && hash_of(xmodel) != text_of(manifest, "xmodel_sha256", where)) {
    // A compiled model stands in the place of the exported one: the golden frame at load decides.
    return;
  }
  if (fs::exists(golden_path(xmodel), error) &&
      hash_of(golden_path(xmodel)) != text_of(manifest, "golden_sha256", where))
    refuse("its golden frame is damaged");
}

}  // namespace splitcnn::inline v0
