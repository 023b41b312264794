// Writes a data set for lib/predictor/training: features, edges and modelled times of random networks, or of the zoo.
//
//     predictor_data --first SEED --count N [--zoo] -o FILE
//
// Networks are drawn seed after seed until N are kept: every one whose best cut lies inside and gains at least 10 % over the better device
// alone, and of the others so many that they are 30 % of what is kept. The file's format: predictor/net_file.hpp.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>

#include "predictor/net_file.hpp"

namespace sc = splitcnn;
using namespace splitcnn_training;

namespace {

/// What every predictor is told of the pair; its layers' times it has to find out.
nlohmann::json card() {
  const auto dpu = sc::DpuModel::vck190_zoo();
  const auto gpu = sc::GpuModel::rtx2080_zoo();
  const auto link = sc::LinkModel::pcie_zoo();
  return {{"truth", "modelled"},
          {"batch", dpu.batch},
          {"training_noise", 0.05},
          {"head", device_card("dpu:0", "VCK190 C32B6 (modelled)", dpu.start_us, base_of(sc::DpuModel::vck190_table1()))},
          {"tail", device_card("gpu:0", "RTX 2080 (modelled)", gpu.start_us, base_of(sc::GpuModel::rtx2080_table1()))},
          {"link",
           {{"fixed_ms", link.fixed_us / 1e3 / dpu.batch},
            {"ms_per_byte", 1 / (link.bandwidth_gbs * 1e6) + 1 / (dpu.bandwidth_gbs * 1e6)},
            {"blocks_sender", true}}}};
}

struct Options {
  std::uint64_t first = 1;
  std::size_t count = 100;
  bool zoo = false;
  std::string output;
};

void random_nets(const Options& o, std::ofstream& out) {
  std::size_t kept = 0, plain = 0;
  std::map<int, std::size_t> families, ratios;
  std::uint64_t seed = o.first;
  for (; kept < o.count; ++seed) {
    try {
      const RandomCnn net = random_cnn(seed);
      const Sample s = sample(net.graph, net.family, net.skeleton);
      const Optimum best = optimum(s);
      const bool inside = best.k > 0 && best.k + 1 < static_cast<int>(s.cut_layer.size()) && best.gain >= 1.1;
      if (!inside && static_cast<double>(plain + 1) > 0.3 * static_cast<double>(kept + 1)) continue;
      plain += !inside;
      ++kept;
      ++families[net.family];
      ++ratios[static_cast<int>(std::floor(2 * std::log2(best.tail_alone_ms / best.head_alone_ms)))];
      write_net(out, s, static_cast<std::uint32_t>(seed));
    } catch (const sc::Error& e) {
      if (e.code() != sc::Errc::bad_argument) throw;
    }
    if (kept % 200 == 0) std::fprintf(stderr, "%zu networks, seed %llu\n", kept, static_cast<unsigned long long>(seed));
  }
  std::printf("{\"networks\": %zu, \"seeds\": [%llu, %llu], \"best_inside_share\": %.3f, \"families\": {", kept,
              static_cast<unsigned long long>(o.first), static_cast<unsigned long long>(seed - 1),
              1 - static_cast<double>(plain) / static_cast<double>(kept));
  for (const auto& [f, n] : families) std::printf("%s\"%s\": %zu", f == families.begin()->first ? "" : ", ", family_name(f), n);
  std::printf("}, \"gpu_over_dpu\": {");
  for (const auto& [r, n] : ratios) std::printf("%s\"2^%.1f\": %zu", r == ratios.begin()->first ? "" : ", ", r / 2.0, n);
  std::printf("}}\n");
}

void zoo_nets(std::ofstream& out) {
  std::uint32_t index = 0;
  for (const std::string& name : sc::Graph::zoo_names()) {
    std::printf("{\"seed\": %u, \"network\": \"%s\"}\n", index, name.c_str());
    write_net(out, sample(sc::Graph::zoo(name), family_count, index), index);
    ++index;
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Writes features and modelled times of random networks (or of the zoo) for training the predictor"};
  app.add_option("--first", o.first, "first seed");
  app.add_option("--count", o.count, "networks to keep");
  app.add_flag("--zoo", o.zoo, "the standard networks instead");
  app.add_option("-o", o.output, "file to write")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    std::ofstream out{o.output, std::ios::binary};
    if (o.zoo) zoo_nets(out); else random_nets(o, out);
    if (!out.flush()) throw sc::Error{sc::Errc::io, o.output + ": cannot be written"};
    write_card(o.output, card());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "predictor_data: %s\n", e.what());
    return 1;
  }
}
