// What predictor_measure does without a clock: files that are gone on with, curves shared among layers, which
// cuts are timed.
#include "predictor/measured.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
using namespace splitcnn_training;

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

double sum(const std::vector<double>& us, int first, int last) {
  return std::accumulate(us.begin() + first, us.begin() + last, 0.0);
}

RandomCnn small_net(std::uint64_t seed) {
  for (;; ++seed) {
    try {
      return random_cnn(seed, {.most_macs = 5e7, .most_weights = 1e6, .noise = true});
    } catch (const Error& e) {
      if (e.code() != Errc::bad_argument) throw;
    }
  }
}

}  // namespace

TEST_CASE("a measured curve is shared among the layers between its cuts") {
  const std::vector<double> looked{0, 1, 3, 2, 2, 5};
  const std::vector<int> cut_layer{0, 2, 4, 5};
  const std::vector<double> us = layers_of_curve(looked, cut_layer, {0, 0.008, 0.010, 0.015});
  CHECK(us[0] == 0);
  CHECK(us[1] == Approx(2));
  CHECK(us[2] == Approx(6));
  CHECK(us[3] == Approx(1));
  CHECK(us[4] == Approx(1));
  CHECK(us[5] == Approx(5));

  SECTION("unknown cuts are passed over") {
    const std::vector<double> over = layers_of_curve(looked, cut_layer, {0, unknown, 0.010, 0.015});
    CHECK(sum(over, 1, 5) == Approx(10));
    CHECK(over[2] == Approx(10 * 3.0 / 8));
  }
  SECTION("a curve that falls gets the nearest one that does not") {
    const std::vector<double> flat = layers_of_curve(looked, cut_layer, {0, 0.012, 0.010, 0.015});
    CHECK(sum(flat, 1, 3) == Approx(11));
    CHECK(sum(flat, 3, 5) == Approx(0));
    CHECK(sum(flat, 1, 6) == Approx(15));
  }
  SECTION("layers in which nothing was seen share evenly; of two cuts behind one layer the later counts") {
    const std::vector<double> even =
        layers_of_curve(std::vector<double>{0, 0, 0}, std::vector<int>{0, 2, 2}, {0, 0.003, 0.004});
    CHECK(even[1] == Approx(2));
    CHECK(even[2] == Approx(2));
  }
}

TEST_CASE("both ends and nine cuts around the crossing are timed") {
  const int last = 20;
  std::vector<double> head, tail;
  for (int k = 0; k <= last; ++k) head.push_back(k), tail.push_back(2.0 * (last - k));
  std::vector<int> legal(21, 1);
  CHECK(cuts_to_time(head, tail, legal) == std::vector<int>{0, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20});
  legal[12] = 0;
  head[15] = unknown;
  CHECK(cuts_to_time(head, tail, legal) == std::vector<int>{0, 8, 9, 10, 11, 13, 14, 16, 17, 18, 20});
  legal.back() = 0;
  CHECK(cuts_to_time(head, tail, legal).back() == 18);
  CHECK(cuts_to_time(std::vector<double>{0, 1, 2}, std::vector<double>{2, 1, 0}, std::vector<int>{1, 1, 1}) ==
        std::vector<int>{0, 1, 2});
}

TEST_CASE("a data set is gone on with behind its last whole record") {
  const splitcnn_test::TemporaryFolder dir;
  const std::filesystem::path file = dir / "nets.bin";
  CHECK(read_back(file).networks == 0);
  const RandomCnn net = small_net(1);
  const Sample s = sample(net.graph, net.family, net.skeleton);
  const std::vector<float> curve(s.cut_layer.size(), 1.0f);
  Measurement measured{.spread = {0.1f, 0.2f}, .head_ms = curve, .tail_ms = curve};
  measured.direct.cuts = {0, 2, 3};
  for (auto& half : measured.direct.halves) half = {{0, 1, 2}, {3, 2, 0}};
  std::ofstream out{file, std::ios::binary};
  write_net(out, s, 11, measured);
  measured.direct = {};
  write_net(out, s, 12, measured);
  write_net(out, s, 13);
  out.flush();
  const Written all = read_back(file);
  CHECK(all.bytes == std::filesystem::file_size(file));
  CHECK(all.networks == 3);
  CHECK(all.direct == 1);
  CHECK(all.last_seed == 13);
  std::filesystem::resize_file(file, all.bytes - 4);
  const Written cut_off = read_back(file);
  CHECK(cut_off.networks == 2);
  CHECK(cut_off.last_seed == 12);
  CHECK(cut_off.bytes < all.bytes - 4);
  std::ofstream{file, std::ios::binary} << "something else, and longer than a header of this kind";
  CHECK_THROWS_AS(read_back(file), Error);
}

TEST_CASE("a small network is measured on both devices") {
  const RandomCnn net = small_net(splitcnn_test::seed() % 1'000'000);
  const Devices devices = Devices::open("dpu:0=software,cpu");
  const MeasuredNet m = measure_net(net, devices, true, {.runs = 1, .rounds = 1});
  const Sample& s = m.sample;
  REQUIRE(s.head_us.size() == static_cast<std::size_t>(s.layers.count));
  REQUIRE(s.tail_us.size() == s.head_us.size());
  CHECK(s.cut_layer.size() == cuts(net.graph).size());
  for (const auto* us : {&s.head_us, &s.tail_us}) {
    for (const double t : *us) CHECK((std::isfinite(t) && t >= 0));
    CHECK(sum(*us, 0, s.layers.count) > 0);
  }
  CHECK(m.times.head_ms.size() == s.cut_layer.size());
  CHECK(m.times.tail_ms.size() == s.cut_layer.size());
  REQUIRE(m.times.direct.cuts.size() >= 3);
  for (const auto& half : m.times.direct.halves) {
    REQUIRE(half.head_ms.size() == m.times.direct.cuts.size());
    REQUIRE(half.tail_ms.size() == m.times.direct.cuts.size());
    CHECK(half.head_ms.front() == 0);
    CHECK(half.tail_ms.front() > 0);
    CHECK(half.head_ms.back() > 0);
  }
}
