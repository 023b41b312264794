// measure() on real stages of a small network; what it costs is not tested, what it says is.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>

#include "splitcnn/partitioner.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;

TEST_CASE("measure covers every legal piece of lenet5 on dpu and cpu") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("lenet5"), 1)};
  const Devices devices = Devices::open("dpu:0=software,cpu");
  std::size_t steps = 0, all = 0;
  const Profile p = measure(parts, devices, {.runs = 2, .progress = [&](std::size_t done, std::size_t of) {
                                               REQUIRE(done >= steps);
                                               REQUIRE(done <= of);
                                               steps = done, all = of;
                                             }});
  REQUIRE(steps == all);
  REQUIRE(p.calibration_hash.size() == 16);
  REQUIRE(p.contention.size() == 2);
  for (const Contention& c : p.contention) {
    REQUIRE(c.device != c.beside);
    REQUIRE(c.factor > 0.1);  // wide: how much is the machine's business
    REQUIRE(c.factor < 100);
  }
  REQUIRE(p.graph_hash == parts.graph().hash());
  REQUIRE(p.origin == Origin::measured);
  REQUIRE(p.devices.size() == 2);
  for (const DeviceProfile& d : p.devices) {
    CAPTURE(d.device);
    REQUIRE(d.prefix_ms.size() == parts.cuts().size());
    REQUIRE(d.suffix_ms.size() == parts.cuts().size());
    REQUIRE(d.fixed_ms >= 0);
    REQUIRE(d.prefix_ms.front() == 0);
    REQUIRE(d.suffix_ms.back() == 0);
    for (const Cut& cut : parts.cuts()) {
      const double prefix = d.prefix_ms[static_cast<std::size_t>(cut.k)];
      REQUIRE(std::isfinite(prefix) == (d.device == "cpu" || cut.legal));
      if (d.device == "cpu") REQUIRE(std::isfinite(d.suffix_ms[static_cast<std::size_t>(cut.k)]));
    }
  }
  const Plan plan = parts.search(p, {.tail = "cpu"});
  REQUIRE(plan.expected().interval_ms > 0);
}

TEST_CASE("without calibration the DPU is left out") {
  const Partitioner parts{Graph::zoo("lenet5")};
  const Profile p = measure(parts, Devices::open("dpu:0=software,cpu"), {.runs = 1});
  REQUIRE(p.devices.size() == 1);
  REQUIRE(p.devices.front().device == "cpu");
}

TEST_CASE("a batch timed inside computes what any batch computes") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("squeezenet1_1", {.input_size = 64}), 1)};
  const Devices devices = Devices::open("dpu:0=software,cpu");
  const int middle = static_cast<int>(parts.units().size()) / 2;
  const Plan plan = parts.split_at(middle, "dpu:0", "cpu");
  for (const Segment& segment : plan.route(0).segments) {
    CAPTURE(segment.device);
    const auto stage = devices.load(plan, segment);
    stage->prepare();
    Tensor in{stage->inputs()[0]}, plain{stage->outputs()[0]}, timed{stage->outputs()[0]};
    for (std::size_t i = 0; i < in.bytes().size(); i += 4) in.bytes()[i] = static_cast<std::byte>(i / 4 % 61);
    const TensorView from = in.view(), to = plain.view(), to_timed = timed.view();
    REQUIRE(stage->wait(stage->submit({1, {&from, 1}, {&to, 1}}), Clock::time_point::max()).ok());
    const std::vector<NodeTime> times = stage->time_nodes({1, {&from, 1}, {&to_timed, 1}});
    CHECK(std::equal(plain.bytes().begin(), plain.bytes().end(), timed.bytes().begin()));
    REQUIRE(times.size() > 5);
    for (std::size_t i = 0; i < times.size(); ++i) {
      CHECK(times[i].node >= segment.first);
      CHECK(times[i].node < segment.last);
      if (i > 0) CHECK(times[i].ms >= times[i - 1].ms);
    }
  }
}

TEST_CASE("measuring with hooks covers the same pieces") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("squeezenet1_1"), 1)};
  const Devices devices = Devices::open("dpu:0=software,cpu");
  const Profile direct = measure(parts, devices, {.runs = 1, .contention_cuts = 0});
  const Profile hooks =
      measure(parts, devices, {.depth = MeasureDepth::hooks, .runs = 1, .contention_cuts = 0});
  CHECK(hooks.contention.empty());
  REQUIRE(hooks.devices.size() == direct.devices.size());
  for (std::size_t d = 0; d < direct.devices.size(); ++d) {
    CAPTURE(direct.devices[d].device);
    for (const auto member : {&DeviceProfile::prefix_ms, &DeviceProfile::suffix_ms}) {
      const std::vector<double>&a = direct.devices[d].*member, &b = hooks.devices[d].*member;
      REQUIRE(a.size() == b.size());
      for (std::size_t k = 0; k < a.size(); ++k) {
        CAPTURE(k, a[k], b[k]);
        CHECK(std::isfinite(a[k]) == std::isfinite(b[k]));
        CHECK((!std::isfinite(b[k]) || b[k] >= 0));
      }
    }
  }
}

TEST_CASE("a measurement that was stopped goes on where it was") {
  const Partitioner parts{Graph::zoo("lenet5")};
  const Devices devices = Devices::open("cpu");
  const splitcnn_test::TemporaryFolder folder;
  const std::filesystem::path file = folder / "measuring.json";
  MeasureOptions options{.runs = 1, .resume = file};
  options.progress = [](std::size_t done, std::size_t) {
    if (done == 4) throw std::runtime_error{"enough"};
  };
  REQUIRE_THROWS(measure(parts, devices, options));
  REQUIRE(std::filesystem::exists(file));

  // No machine is as fast as this: the number can only come from the file.
  std::string text{std::istreambuf_iterator<char>{std::ifstream{file}.rdbuf()}, {}};
  const std::size_t at = text.find("\"ms\":"), end = text.find_first_of(",}", at);
  REQUIRE(at != std::string::npos);
  std::ofstream{file} << text.replace(at, end - at, "\"ms\": 1e-9");
  options.progress = {};
  const Profile p = measure(parts, devices, options);
  CHECK(p.devices.front().prefix_ms[1] == 1e-9);
  CHECK_FALSE(std::filesystem::exists(file));

  const auto from_the_beginning = [&](const std::string& content) {
    std::ofstream{file} << content;
    CHECK(measure(parts, devices, options).devices.front().prefix_ms[1] > 1e-8);
    std::filesystem::remove(file);
  };
  text.replace(text.find("\"of\""), 7, "\"of\":\"x");
  from_the_beginning(text);
  from_the_beginning("not json");
}

TEST_CASE("agreement: per cut, the share of frames that the DPU in front of it answers as float does") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("lenet5"), 4)};
  const Devices devices = Devices::open("dpu:0=software,cpu");
  const Shape shape = parts.graph().tensor(parts.graph().inputs()[0]).shape;
  std::mt19937 random{splitcnn_test::seed()};
  std::normal_distribution<float> normal;
  std::vector<Tensor> frames;
  for (int f = 0; f < 24; ++f) {
    for (float& v : frames.emplace_back(TensorSpec{.name = "x", .shape = shape}).as<float>()) v = normal(random);
  }
  const std::vector<double> agreement = measure_agreement(parts, devices, frames);
  REQUIRE(agreement.size() == parts.cuts().size());
  CHECK(agreement.front() == 1);
  for (const Cut& cut : parts.cuts()) {
    const double share = agreement[static_cast<std::size_t>(cut.k)];
    CAPTURE(cut.k, share);
    CHECK(std::isfinite(share) == (cut.legal || cut.k == 0));
    if (cut.legal) CHECK(share > 0.7);  // int8 on noise: close, but classes of random weights lie close, too
    CHECK(std::abs(share * 24 - std::round(share * 24)) < 1e-9);
  }
  Profile profile = measure(parts, devices, {.runs = 1, .contention_cuts = 0});
  profile.agreement = agreement, profile.agreement_frames = frames.size();
  const Choice strict = parts.choose(profile, {.limits = {.agreement = 1}, .b = "cpu"});
  CHECK(strict.chosen.agreement == 1);
  CHECK_THROWS_AS(measure_agreement(parts, devices, {}), Error);
  CHECK_THROWS_AS(measure_agreement(parts, Devices::open("cpu"), frames), Error);
}
