// From a weight file to a predictor: every number is checked, so that whatever loads can be run.
#include <fmt/core.h>

#include <cmath>

#include "core/json_file.hpp"
#include "predictor/predictor_impl.hpp"

namespace splitcnn::inline v0 {

namespace {

using Json = nlohmann::json;

std::string text(const Json& value, const char* key, const std::string& where) {
  std::string s = require<std::string>(value, key, where);
  if (s.empty() || s.size() > 256) throw Error{Errc::bad_file, fmt::format("{}: '{}' is empty or too long; use a weight file that the training wrote", where, key)};
  return s;
}

double number(const Json& value, const char* key, const std::string& where, double low, double high) {
  const double n = require_number(value, key, where);
  if (n < low || n > high) throw Error{Errc::bad_file, fmt::format("{}: '{}' is outside {} to {}; use a weight file that the training wrote", where, key, low, high)};
  return n;
}

template <class T>
T one_of(const Json& value, const char* key, const std::string& where, std::initializer_list<std::pair<const char*, T>> names) {
  const auto given = require<std::string>(value, key, where);
  for (const auto& [name, meaning] : names) {
    if (given == name) return meaning;
  }
  throw Error{Errc::bad_file, fmt::format("{}: '{}' is '{}', which this version does not know; update the library", where, key, given.substr(0, 64))};
}

Json configuration(const SafeTensors& file) {
  const auto words = require<std::string>(file.metadata(), "splitcnn_predictor", file.name());
  if (words.size() > (1u << 18)) throw Error{Errc::bad_file, file.name() + ": its metadata is too long; use a weight file that the training wrote"};
  int depth = 0, deepest = 0;  // strings may hold brackets, too: then this refuses more than it must
  for (const char c : words) {
    if (c == '{' || c == '[') deepest = std::max(deepest, ++depth);
    if (c == '}' || c == ']') --depth;
  }
  Json json = deepest > 16 ? Json{} : Json::parse(words, nullptr, false);
  check_format(json, "splitcnn-predictor", 1, file.name());
  if (require_integer(json, "feature_version", file.name(), 1, INT32_MAX) != feature_version) {
    throw Error{Errc::bad_file, fmt::format("{}: was trained on other features than this library has ({}); train again", file.name(), feature_version)};
  }
  return json;
}

BaseModel base_model(const Json& json, const std::string& where) {
  BaseModel m;
  using Kind = BaseModel::Kind;
  m.kind = one_of<Kind>(json, "kind", where, {{"dpu", Kind::dpu}, {"gpu", Kind::gpu}, {"cpu", Kind::cpu}});
  m.batch = static_cast<double>(require_integer(json, "batch", where, 1, 4096));
  m.processors = static_cast<double>(require_integer(json, "processors", where, 1, 1 << 20));
  m.compute_us = number(json, "compute_us", where, 0, 1e3);
  m.alu_us = number(json, "alu_us", where, 0, 1e3);
  m.weight_us = number(json, "weight_us", where, 0, 1e3);
  m.map_us = number(json, "map_us", where, 0, 1e3);
  m.layer_us = number(json, "layer_us", where, 0, 1e6);
  return m;
}

NetWeights net(const SafeTensors& file, const std::string& prefix, int hidden, bool own) {
  NetWeights w{.inputs = feature_count, .hidden = hidden, .own = own};
  const std::int64_t h = hidden;
  for (int i = 0; i < net_depth; ++i) {
    w.conv[i] = file.tensor(fmt::format("{}.conv.{}.weight", prefix, i), {i == 0 ? feature_count : h, own ? 2 * h : h});
    w.conv_bias[i] = file.tensor(fmt::format("{}.conv.{}.bias", prefix, i), {h});
    w.linear[i] = file.tensor(fmt::format("{}.linear.{}.weight", prefix, i), {h, h});
    w.linear_bias[i] = file.tensor(fmt::format("{}.linear.{}.bias", prefix, i), {h});
  }
  w.lstm_input = file.tensor(prefix + ".lstm.input", {h, 4 * h});
  w.lstm_recurrent = file.tensor(prefix + ".lstm.recurrent", {h, 4 * h});
  w.lstm_bias = file.tensor(prefix + ".lstm.bias", {4 * h});
  w.out = file.tensor(prefix + ".out.weight", {h});
  w.out_bias = *file.tensor(prefix + ".out.bias", {1});
  return w;
}

PredictedDevice device(const SafeTensors& file, const Json& json, const char* key, int hidden, bool own) {
  const std::string where = file.name() + ": " + key;
  const auto part = require<Json>(json, key, file.name());
  PredictedDevice d{.device = text(part, "device", where), .name = text(part, "name", where)};
  d.base = base_model(require<Json>(part, "base", where), where);
  d.fixed_ms = number(part, "fixed_ms", where, 0, 1e6);
  d.scale_us = number(part, "scale_us", where, 1e-9, 1e12);
  d.net = net(file, key, hidden, own);
  return d;
}

}  // namespace

Predictor::Impl::Impl(SafeTensors numbers) : weights{std::make_shared<const SafeTensors>(std::move(numbers))} {
  const SafeTensors& file = *weights;
  const std::string& where = file.name();
  const Json json = configuration(file);
  const bool paper = one_of<bool>(json, "variant", where, {{"default", false}, {"paper", true}});
  output = one_of<NetOutput>(json, "output", where, {{"log_residual", NetOutput::log_residual}, {"cumulative", NetOutput::cumulative}});
  raw_sizes = self_loops = paper;
  info.variant = paper ? "paper" : "default";
  info.hidden = static_cast<int>(require_integer(json, "hidden", where, 8, most_hidden));
  info.truth = one_of<const char*>(json, "truth", where, {{"modelled", "modelled"}, {"measured", "measured"}});
  info.training_hash = text(json, "training_hash", where);
  info.confidence = number(json, "confidence", where, 0.5, 0.999);
  interval_factor = number(json, "interval_factor", where, 1, 100);
  devices = {device(file, json, "head", info.hidden, !paper), device(file, json, "tail", info.hidden, !paper)};
  if (devices[0].device == devices[1].device) throw Error{Errc::bad_file, where + ": both devices have one name; use a weight file that the training wrote"};
  info.head = devices[0].device;
  info.tail = devices[1].device;
  info.head_name = devices[0].name;
  info.tail_name = devices[1].name;
  if (file.has("partition.out.bias")) partition = net(file, "partition", info.hidden, !paper);
  const auto way = require<Json>(json, "link", where);
  link = {.from = info.head,
          .to = info.tail,
          .fixed_ms = number(way, "fixed_ms", where, 0, 1e6),
          .ms_per_byte = number(way, "ms_per_byte", where, 0, 1e3),
          .blocks_sender = require<bool>(way, "blocks_sender", where)};
  mean = file.tensor("mean", {feature_count});
  scale = file.tensor("scale", {feature_count});
}

Predictor Predictor::parse(std::span<const std::byte> file, const std::string& name) {
  return Predictor{std::make_shared<const Impl>(SafeTensors::parse(file, name))};
}

Predictor Predictor::load(const std::filesystem::path& path) { return parse(SafeTensors::read(path), path.string()); }

Predictor::Predictor(std::shared_ptr<const Impl> impl) noexcept : impl_{std::move(impl)} {}
const PredictorInfo& Predictor::info() const noexcept { return impl_->info; }

}  // namespace splitcnn::inline v0
