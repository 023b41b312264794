#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "splitcnn/device_model.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;

namespace {

struct TempFile {
  splitcnn_test::TemporaryFolder folder;
  std::filesystem::path path = folder / "models.json";
};

Errc load_code(const std::string& text) {
  const TempFile file;
  std::ofstream{file.path} << text;
  try {
    (void)DeviceModels::load(file.path);
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("a board's file becomes a modelled profile that can be planned with") {
  const TempFile file;
  std::ofstream{file.path} << R"({"format": "splitcnn-device-models", "version": 1,
    "devices": [{"device": "dpu:0", "name": "my NPU", "batch": 2, "tops": 4, "bandwidth_gbs": 8, "layer_us": 2, "start_us": 100, "element_bytes": 1, "watts": 5},
                {"device": "gpu:0", "tops": 1.5, "bandwidth_gbs": 25, "element_bytes": 2, "fused": false, "watts": 15}],
    "links": [{"from": "dpu:0", "to": "gpu:0", "gbs": 1.5, "us": 40}]})";
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("squeezenet1_1", {.input_size = 64}), 1)};
  const Profile profile = model(parts, DeviceModels::load(file.path));
  CHECK(profile.origin == Origin::modelled);
  CHECK(profile.device("dpu:0").batch == 2);
  CHECK(profile.transfer_ms("dpu:0", "gpu:0", 1500) == Approx(0.041));
  const Choice choice = parts.choose(profile, {.objective = Objective::energy});
  CHECK(choice.plan.expected().origin == Origin::modelled);
  CHECK(std::isfinite(choice.chosen.energy_mj));
  const std::vector<double> nodes = node_ms(parts.graph(), DeviceModels::load(file.path).devices[1]);
  double sum = 0.05;
  for (const double ms : nodes) sum += ms;
  CHECK(profile.device("gpu:0").prefix_ms.back() == Approx(sum));
}

TEST_CASE("damaged model files are refused") {
  CHECK(load_code("{}") == Errc::bad_file);
  CHECK(load_code(R"({"format": "splitcnn-device-models", "version": 1, "devices": []})") == Errc::bad_file);
  CHECK(load_code(R"({"format": "splitcnn-device-models", "version": 1, "devices": [3]})") == Errc::bad_file);
  CHECK(load_code(R"({"format": "splitcnn-device-models", "version": 1, "devices": [{"device": "cpu", "tops": -1}]})") == Errc::bad_file);
  CHECK(load_code(R"({"format": "splitcnn-device-models", "version": 1, "devices": [{"device": "cpu", "batch": 0}]})") == Errc::bad_file);
  CHECK(load_code(R"({"format": "splitcnn-device-models", "version": 1, "devices": [{"device": "cpu"}], "links": [{"from": "a", "to": "b", "gbs": 0}]})") ==
        Errc::bad_file);
}

TEST_CASE("calibrate finds the parameters of a device that behaves as the model") {
  const Partitioner parts{Graph::zoo("mobilenet_v2", {.input_size = 96})};
  const DeviceModel truth{.device = "cpu", .name = "truth", .tops = 0.12, .bandwidth_gbs = 9, .layer_us = 7, .start_us = 40};
  Profile profile = model(parts, DeviceModels{{truth}, {}});
  profile.origin = Origin::measured;
  std::mt19937_64 random{splitcnn_test::seed()};
  for (double& ms : profile.devices[0].prefix_ms) {
    if (random() % 2) ms = std::nan("");  // a handful is enough
  }
  DeviceModel start = truth;
  start.tops = 1, start.bandwidth_gbs = 20, start.layer_us = 1, start.start_us = 10;
  const Calibrated c = calibrate(parts, start, profile);
  CHECK(c.mean_abs_error < 0.01);
  CHECK(c.max_abs_error < 0.03);
  CHECK(c.model.layer_us == Approx(truth.layer_us).epsilon(0.1));  // the rates may trade against each other; this one cannot
  for (double& ms : profile.devices[0].prefix_ms) ms = std::nan("");
  for (double& ms : profile.devices[0].suffix_ms) ms = std::nan("");
  CHECK_THROWS_AS(calibrate(parts, start, profile), Error);
}

TEST_CASE("a link is the line through its transfers") {
  std::vector<Transfer> transfers;
  for (const std::size_t bytes : {1000u, 50000u, 200000u, 1000000u}) transfers.push_back({bytes, 0.02 + 2.5e-7 * static_cast<double>(bytes)});
  const Link link = fit_link("dpu:0", "gpu:0", transfers);
  CHECK(link.fixed_ms == Approx(0.02));
  CHECK(link.ms_per_byte == Approx(2.5e-7));
  CHECK_THROWS_AS(fit_link("a", "b", std::vector<Transfer>{{10, 1}, {10, 2}}), Error);
}
