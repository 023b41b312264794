#pragma once
/// The data sets that lib/predictor/training reads: one record after the other in a binary file, and a card
/// beside it (FILE.json) that says what truth it is, of which devices, and what every predictor is told about
/// them.
#include <array>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <nlohmann/json.hpp>
#include <vector>

#include "predictor/truth.hpp"

namespace splitcnn_training {

/// Cuts that were timed as they are, in two halves whose runs took turns; lower quartile, ms per frame.
struct DirectTimes {
  std::vector<int> cuts;
  struct Half {
    std::vector<float> head_ms, tail_ms;
  };
  std::array<Half, 2> halves;
};

/// What was measured, besides the sample's times per layer, whose curves never fall.
struct Measurement {
  std::array<float, 2> spread{};  ///< run to run, head and tail: half the interquartile range over the median
  std::vector<float> head_ms, tail_ms;  ///< per cut, as measured: the stage in front of it, the stage behind
                                        ///< it; NaN where it cannot run
  DirectTimes direct;                   ///< empty where not asked for
};

/// Appends a record: eight 4-byte words ("NET1", seed, family, skeleton low, high, layers, edges, cuts), then
/// the arrays.
void write_net(std::ostream& out, const Sample& sample, std::uint32_t seed);
/// The same for measured times ("NET2"): behind the arrays the spreads, both curves, the number of direct
/// cuts, these, their times.
void write_net(std::ostream& out, const Sample& sample, std::uint32_t seed, const Measurement& measured);

/// What is in a file already. A record that is not whole (the program was stopped) does not count.
struct Written {
  std::uintmax_t bytes = 0;
  std::size_t networks = 0, direct = 0;
  std::uint32_t last_seed = 0;
};
Written read_back(const std::filesystem::path& file);

/// `device`: as plans call it. The start is per run of the batch, in microseconds.
nlohmann::json device_card(const char* device, const std::string& name, double start_us,
                           const splitcnn::BaseModel& base);
/// Throws splitcnn::Error (io).
void write_card(const std::filesystem::path& file, const nlohmann::json& card);

}  // namespace splitcnn_training
