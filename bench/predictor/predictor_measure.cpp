// Measures random networks on this machine, the software DPU on one core and the float CPU on another, for
// lib/predictor/training: the curves of every network from timestamps inside, and for the test part of the
// data both ends and nine cuts timed as they are.
//
//     predictor_measure -o cpu.bin --count 800 --minutes 60
//
// Append-only: started again, it goes on behind the last whole record, until the file has `count` networks or
// the minutes are over. The card beside the file has a line per such chunk. Stages are timed one after the
// other, so a second busy core shows in the spread.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "predictor/measured.hpp"
#include "splitcnn/version.hpp"

namespace sc = splitcnn;
using namespace splitcnn_training;
using nlohmann::json;

namespace {

struct Options {
  std::uint64_t first = 1;
  std::size_t count = 800;
  double minutes = 60, most_gmacs = 5, most_million_weights = 40;
  bool only_test = false;
  MeasureNetOptions measure;
  std::string output;
};

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

std::string processor() {
  std::ifstream info{"/proc/cpuinfo"};
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string machine(const sc::Devices& devices) {
  std::string text = processor() + "; " + sc::build_info();
  for (const sc::DeviceInfo& d : devices.list()) text += d.name + ": " + d.backend + " " + d.detail + "; ";
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

json card_of(const sc::Devices& devices) {
  return {{"truth", "measured"},
          {"batch", 1},
          {"training_noise", 0.0},
          {"machine", machine(devices)},
          {"head", device_card("dpu:0", "software DPU, one core", 0, base_of_int8_core())},
          {"tail", device_card("cpu", "float CPU, one core", 0, base_of_float_core())},
          {"link", {{"fixed_ms", 0.0}, {"ms_per_byte", 0.0}, {"blocks_sender", false}}},
          {"chunks", json::array()}};
}

/// The card of a file that is gone on with, or a new one. Times of two machines do not mix.
json open_card(const Options& o, const sc::Devices& devices, bool resumed) {
  json fresh = card_of(devices);
  if (!resumed) return fresh;
  std::ifstream in{o.output + ".json"};
  const json before = json::parse(in, nullptr, false);
  if (before.is_discarded() || before.value("machine", "") != fresh["machine"]) {
    throw sc::Error{
        sc::Errc::mismatch,
        o.output + ": was measured on another machine or build, or its card is gone; write to another file"};
  }
  return before;
}

float median(std::vector<float> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// What one run of the program adds to the card.
class Chunk {
 public:
  explicit Chunk(const Written& before) : before_{before}, start_{now_utc()} {}
  void add(const MeasuredNet& m) {
    direct_ += !m.times.direct.cuts.empty();
    for (std::size_t d = 0; d < 2; ++d) spread_[d].push_back(m.times.spread[d]);
    double load[1] = {0};
    if (getloadavg(load, 1) == 1) load_.push_back(static_cast<float>(load[0]));
  }
  [[nodiscard]] std::size_t networks() const { return spread_[0].size(); }
  [[nodiscard]] json line() const {
    return {{"from", start_},
            {"to", now_utc()},
            {"behind", before_.networks},
            {"networks", networks()},
            {"direct", direct_},
            {"spread_median", {median(spread_[0]), median(spread_[1])}},
            {"load_median", median(load_)}};
  }

 private:
  Written before_;
  std::string start_;
  std::size_t direct_ = 0;
  std::vector<float> spread_[2], load_;
};

std::optional<RandomCnn> draw(std::uint64_t seed, const Options& o) {
  try {
    return random_cnn(
        seed, {.most_macs = o.most_gmacs * 1e9, .most_weights = o.most_million_weights * 1e6, .noise = true});
  } catch (const sc::Error& e) {
    if (e.code() != sc::Errc::bad_argument) throw;
    return std::nullopt;
  }
}

void run(const Options& o) {
  const auto end = sc::Clock::now() + std::chrono::duration_cast<sc::Clock::duration>(
                                          std::chrono::duration<double>{o.minutes * 60});
  const sc::Devices devices = sc::Devices::open("dpu:0=software,cpu");
  const Written before = read_back(o.output);
  json card = open_card(o, devices, before.networks > 0);
  if (before.networks > 0) std::filesystem::resize_file(o.output, before.bytes);
  std::ofstream out{o.output, std::ios::binary | (before.networks > 0 ? std::ios::app : std::ios::trunc)};
  Chunk chunk{before};
  card["chunks"].push_back({});
  std::uint64_t seed = before.networks > 0 ? before.last_seed + std::uint64_t{1} : o.first;
  for (; before.networks + chunk.networks() < o.count && sc::Clock::now() < end; ++seed) {
    const auto net = draw(seed, o);
    if (!net || (o.only_test && !is_test(net->skeleton))) continue;
    const auto started = sc::Clock::now();
    const MeasuredNet m = measure_net(*net, devices, is_test(net->skeleton), o.measure);
    write_net(out, m.sample, static_cast<std::uint32_t>(seed), m.times);
    if (!out.flush()) throw sc::Error{sc::Errc::io, o.output + ": cannot be written"};
    chunk.add(m);
    card["chunks"].back() = chunk.line();
    write_card(o.output, card);
    std::fprintf(stderr, "%zu: seed %llu, %s, %zu cuts%s, %.1f s\n", before.networks + chunk.networks(),
                 static_cast<unsigned long long>(seed), family_name(net->family), m.sample.cut_layer.size(),
                 m.times.direct.cuts.empty() ? "" : ", direct",
                 sc::Millis{sc::Clock::now() - started}.count() / 1e3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Measures random networks on two CPU cores for training the predictor"};
  app.add_option("--first", o.first, "first seed of a new file")->capture_default_str();
  app.add_option("--count", o.count, "networks the file shall have")->capture_default_str();
  app.add_option("--minutes", o.minutes, "stop after this long")->capture_default_str();
  app.add_option("--most-gmacs", o.most_gmacs, "no larger networks")->capture_default_str();
  app.add_option("--most-million-weights", o.most_million_weights, "no larger networks")
      ->capture_default_str();
  app.add_flag("--only-test", o.only_test, "only networks of the test part");
  app.add_option("--runs", o.measure.runs, "timed runs of a piece")->capture_default_str();
  app.add_option("--rounds", o.measure.rounds, "of five runs per half, for cuts timed directly")
      ->capture_default_str();
  app.add_option("-o", o.output, "file to append to")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "predictor_measure: %s\n", e.what());
    return 1;
  }
}
