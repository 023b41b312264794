#include "predictor/net_file.hpp"

#include <cstring>
#include <fstream>

namespace splitcnn_training {

namespace sc = splitcnn;

namespace {

constexpr std::size_t header_words = 8;

std::uint32_t magic(const char* four) {
  std::uint32_t word = 0;
  std::memcpy(&word, four, 4);
  return word;
}

template <class T>
void words(std::ostream& out, const std::vector<T>& values) {
  static_assert(sizeof(T) == 4);
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * 4));
}

void write(std::ostream& out, const Sample& s, std::uint32_t seed, const char* kind) {
  const auto& l = s.layers;
  words<std::uint32_t>(
      out, {magic(kind), seed, static_cast<std::uint32_t>(s.family), static_cast<std::uint32_t>(s.skeleton),
            static_cast<std::uint32_t>(s.skeleton >> 32), static_cast<std::uint32_t>(l.count),
            static_cast<std::uint32_t>(l.edges.size()), static_cast<std::uint32_t>(s.cut_layer.size())});
  words(out, l.x);
  std::vector<std::int32_t> edges;
  for (const sc::LayerEdge& e : l.edges) edges.insert(edges.end(), {e.from, e.to});
  words(out, edges);
  for (const auto* us : {&s.head_us, &s.tail_us, &l.base_us[0], &l.base_us[1]})
    words(out, std::vector<float>(us->begin(), us->end()));
  words(out, std::vector<std::int32_t>(s.cut_layer.begin(), s.cut_layer.end()));
  words(out, std::vector<float>(s.link_ms.begin(), s.link_ms.end()));
  words(out, std::vector<std::int32_t>(s.legal.begin(), s.legal.end()));
}

const char* kind_name(sc::BaseModel::Kind kind) {
  switch (kind) {
    case sc::BaseModel::Kind::dpu:
      return "dpu";
    case sc::BaseModel::Kind::gpu:
      return "gpu";
    case sc::BaseModel::Kind::cpu:
      break;
  }
  return "cpu";
}

}  // namespace

void write_net(std::ostream& out, const Sample& sample, std::uint32_t seed) {
  write(out, sample, seed, "NET1");
}

void write_net(std::ostream& out, const Sample& sample, std::uint32_t seed, const Measurement& measured) {
  write(out, sample, seed, "NET2");
  words<float>(out, {measured.spread[0], measured.spread[1]});
  words(out, measured.head_ms);
  words(out, measured.tail_ms);
  words<std::uint32_t>(out, {static_cast<std::uint32_t>(measured.direct.cuts.size())});
  words(out, std::vector<std::int32_t>(measured.direct.cuts.begin(), measured.direct.cuts.end()));
  for (const auto& half : measured.direct.halves) words(out, half.head_ms), words(out, half.tail_ms);
}

Written read_back(const std::filesystem::path& file) {
  Written w;
  std::error_code none;
  const std::uintmax_t size = std::filesystem::file_size(file, none);
  if (none) return w;
  std::ifstream in{file, std::ios::binary};
  std::array<std::uint32_t, header_words> h{};
  while (in.seekg(static_cast<std::streamoff>(w.bytes)) &&
         in.read(reinterpret_cast<char*>(h.data()), sizeof h)) {
    if (h[0] != magic("NET1") && h[0] != magic("NET2"))
      throw sc::Error{sc::Errc::bad_file, file.string() + ": is no data set; write to another file"};
    const std::uintmax_t layers = h[5], edges = h[6], cuts = h[7];
    std::uintmax_t end =
        w.bytes + 4 * (header_words + layers * (sc::feature_count + 4) + 2 * edges + 3 * cuts);
    std::uint32_t direct = 0;
    if (h[0] == magic("NET2")) {
      end += 4 * (2 + 2 * cuts);
      if (!in.seekg(static_cast<std::streamoff>(end)) || !in.read(reinterpret_cast<char*>(&direct), 4)) break;
      end += 4 * (1 + 5 * std::uintmax_t{direct});
    }
    if (end > size) break;
    w = {end, w.networks + 1, w.direct + (direct > 0), h[1]};
  }
  return w;
}

nlohmann::json device_card(const char* device, const std::string& name, double start_us,
                           const sc::BaseModel& base) {
  return {{"device", device},
          {"name", name},
          {"start_us", start_us},
          {"base",
           {{"kind", kind_name(base.kind)},
            {"batch", static_cast<int>(base.batch)},
            {"processors", static_cast<int>(base.processors)},
            {"compute_us", base.compute_us},
            {"alu_us", base.alu_us},
            {"weight_us", base.weight_us},
            {"map_us", base.map_us},
            {"layer_us", base.layer_us}}}};
}

void write_card(const std::filesystem::path& file, const nlohmann::json& card) {
  const std::filesystem::path beside = file.string() + ".json";
  std::ofstream out{beside};
  if (!(out << card.dump(1) << '\n').flush())
    throw sc::Error{sc::Errc::io, beside.string() + ": cannot be written"};
}

}  // namespace splitcnn_training
