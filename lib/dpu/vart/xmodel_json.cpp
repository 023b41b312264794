#include "dpu/vart/xmodel_json.hpp"

#include <cstdio>

#include "dpu/vart/runner.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

// Written by hand: the worker is built on boards, where a JSON library would be one more thing to bring.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
      continue;
    }
    char code[8];
    std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
    out += code;
  }
  return out + '"';
}

template <class List, class Text>
std::string list(const List& items, char open, char close, const Text& text) {
  std::string out{open};
  for (const auto& item : items) out += (out.size() > 1 ? "," : "") + text(item);
  return out + close;
}

std::string tensor(const TensorSpec& t) {
  return "{\"name\":" + quoted(t.name) +
         ",\"shape\":" + list(t.shape, '[', ']', [](std::int64_t d) { return std::to_string(d); }) +
         ",\"dtype\":\"" + to_string(t.dtype) + "\",\"fix_point\":" + std::to_string(t.fix_point) + '}';
}

std::string subgraph(const SubgraphInfo& s) {
  const std::int64_t batch = s.inputs.empty() || s.inputs[0].shape.rank() == 0 ? 1 : s.inputs[0].shape[0];
  return "{\"name\":" + quoted(s.name) + ",\"device\":" + quoted(s.device) +
         ",\"dpu_name\":" + quoted(s.dpu_name) + ",\"fingerprint\":" + quoted(s.fingerprint) +
         ",\"runners\":" +
         list(s.runners, '{', '}', [](const auto& r) { return quoted(r.first) + ':' + quoted(r.second); }) +
         ",\"workload\":" + std::to_string(s.workload) + ",\"weights\":" + (s.weights ? "true" : "false") +
         ",\"batch\":" + std::to_string(batch) + ",\"inputs\":" + list(s.inputs, '[', ']', tensor) +
         ",\"outputs\":" + list(s.outputs, '[', ']', tensor) + '}';
}

}  // namespace

std::string inspect_json(const std::string& file) {
  return "{\"file\":" + quoted(file) + ",\"subgraphs\":" + list(inspect_model(file), '[', ']', subgraph) +
         '}';
}

}  // namespace splitcnn::inline v0::dpu
