#include "splitcnn/predictor.hpp"

#include "allocations.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "predictor/predictor_impl.hpp"
#include "predictor/truth.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

Predictor shipped() { return Predictor::load(SPLITCNN_WEIGHTS); }

}  // namespace

TEST_CASE("golden: features and networks give what PyTorch gave") {
  const auto golden = nlohmann::json::parse(std::ifstream{splitcnn_test::small_data() + "/predictor/golden.json"});
  const std::vector<std::string> names = Graph::zoo_names();
  const Predictor::Impl impl{SafeTensors::parse(SafeTensors::read(SPLITCNN_WEIGHTS), "weights")};
  PredictorScratch s;
  REQUIRE(golden["networks"].size() >= 5);
  for (const auto& net : golden["networks"]) {
    const std::string name = names.at(net["index"].get<std::size_t>());
    predict_layers(impl, Graph::zoo(name), s);
    const std::vector<double> expected[2] = {net["head_us"], net["tail_us"]};
    for (int d = 0; d < 2; ++d) {
      REQUIRE(s.layer_us[d].size() == expected[d].size());
      for (std::size_t l = 0; l < expected[d].size(); ++l) {
        CAPTURE(name, d, l);
        CHECK(std::abs(s.layer_us[d][l] - expected[d][l]) <= 1e-5 * (1 + expected[d][l]));
      }
    }
  }
}

TEST_CASE("forecasts are monotone, agree with the predicted profile and know how sure they are") {
  const Predictor predictor = shipped();
  CHECK(predictor.info().truth == "modelled");
  for (const char* name : {"resnet18", "mobilenet_v2", "googlenet"}) {
    CAPTURE(name);
    const Partitioner parts{Graph::zoo(name)};
    const Forecast f = predictor.forecast(parts);
    const Profile profile = predictor.profile(parts);
    CHECK(profile.origin == Origin::predicted);
    const std::vector<Candidate> rows = parts.candidates(profile);
    REQUIRE(rows.size() == f.head_ms.size());
    for (std::size_t k = 0; k < rows.size(); ++k) {
      CHECK(rows[k].cost.interval_ms == Approx(std::max(f.head_ms[k], f.tail_ms[k])));
      if (k > 1) CHECK(profile.devices[0].prefix_ms[k] >= profile.devices[0].prefix_ms[k - 1]);
      if (k > 0) CHECK(profile.devices[1].suffix_ms[k] <= profile.devices[1].suffix_ms[k - 1]);
      CHECK(f.interval_ms <= rows[k].cost.interval_ms * (1 + 1e-12));
    }
    CHECK(f.low_ms < f.interval_ms);
    CHECK(f.high_ms > f.interval_ms);
    REQUIRE(!f.contenders.empty());
    CHECK(f.contenders.front() == f.k);
    CHECK(f.contenders.size() <= 3);
  }
}

TEST_CASE("the shipped weights cut real networks they never saw close to the modelled optimum") {
  const Predictor predictor = shipped();
  for (const std::string& name : Graph::zoo_names()) {
    const Partitioner parts{Graph::zoo(name)};
    const auto rows = parts.candidates(model(parts, DpuModel::vck190_zoo(), GpuModel::rtx2080_zoo(), LinkModel::pcie_zoo()));
    double best = 1e30;
    for (const Candidate& row : rows) best = std::min(best, row.cost.interval_ms);
    CAPTURE(name);
    CHECK(rows[static_cast<std::size_t>(predictor.forecast(parts).k)].cost.interval_ms <= 1.08 * best);
  }
}

TEST_CASE("the weights of two CPU cores say that they were measured, and predict every network of the zoo") {
  const Predictor predictor = Predictor::load(SPLITCNN_CPU_WEIGHTS);
  CHECK(predictor.info().truth == "measured");
  CHECK(predictor.info().head == "dpu:0");
  CHECK(predictor.info().tail == "cpu");
  for (const std::string& name : Graph::zoo_names()) {
    const Partitioner parts{Graph::zoo(name)};
    const Forecast f = predictor.forecast(parts);
    CAPTURE(name);
    CHECK(parts.cuts()[static_cast<std::size_t>(f.k)].legal);
    CHECK(f.head_ms.back() > 0);
    // Eight bits run faster than float on one and the same core, once there is more to do than to begin.
    if (f.tail_ms.front() > 0.1) CHECK(f.tail_ms.front() > f.head_ms.back());
    CHECK(f.interval_ms <= f.tail_ms.front());
  }
}

TEST_CASE("cuts inside a layer share its time") {
  const Predictor predictor = shipped();
  const Graph graph = Graph::zoo("resnet18");
  const Partitioner blocks{graph}, ops{graph, Granularity::op};
  const Profile coarse = predictor.profile(blocks), fine = predictor.profile(ops);
  for (std::size_t k = 0; k < blocks.cuts().size(); ++k) {
    for (std::size_t j = 0; j < ops.cuts().size(); ++j) {
      if (ops.cuts()[j].node != blocks.cuts()[k].node) continue;
      CHECK(fine.devices[0].prefix_ms[j] == Approx(coarse.devices[0].prefix_ms[k]));
      CHECK(fine.devices[1].suffix_ms[j] == Approx(coarse.devices[1].suffix_ms[k]));
    }
  }
}

TEST_CASE("a second forecast allocates nothing") {
  const Predictor predictor = shipped();
  const Partitioner parts{Graph::zoo("googlenet")}, small{Graph::zoo("lenet5")};
  Forecast f;
  predictor.forecast(parts, f);
  const std::size_t before = splitcnn_test::allocations();
  predictor.forecast(parts, f);
  predictor.forecast(small, f);
  CHECK(splitcnn_test::allocations() == before);
}

TEST_CASE("forecasts from several threads are the same") {
  const Predictor predictor = shipped();
  const Partitioner parts{Graph::zoo("squeezenet1_1")};
  const Forecast one = predictor.forecast(parts);
  std::vector<Forecast> all(4);
  {
    std::vector<std::jthread> threads;
    for (Forecast& f : all) threads.emplace_back([&] { for (int i = 0; i < 20; ++i) predictor.forecast(parts, f); });
  }
  for (const Forecast& f : all) CHECK((f.k == one.k && f.head_ms == one.head_ms && f.tail_ms == one.tail_ms));
}

TEST_CASE("predict makes a plan; with devices it measures a few cuts") {
  const Predictor predictor = shipped();
  const Graph graph = Graph::zoo("lenet5");
  CHECK_THROWS_AS(Partitioner{graph}.split_at(1), Error);
  const Partitioner parts{Quantizer{}.calibrate_synthetic(graph)};
  const Prediction p = parts.predict(predictor);
  CHECK(p.plan.expected().origin == Origin::predicted);
  CHECK(p.plan.expected().interval_ms == Approx(p.forecast.interval_ms));
  CHECK(p.runners_up.size() + 1 == p.forecast.contenders.size());
  const Plan plan = p;
  CHECK(plan.why().find("Predicted") == 0);
  const Devices devices = Devices::open("dpu:0=software,gpu:0");
  const Prediction m = parts.predict(predictor, {.devices = &devices, .runs = 1});
  if (m.forecast.contenders.size() > 1) {
    REQUIRE_FALSE(m.measured.empty());
    CHECK(m.measured.size() <= 3);
    CHECK(m.plan.expected().interval_ms == m.measured.front().cost.interval_ms);
    CHECK(m.plan.expected().origin == Origin::measured);
  } else {
    CHECK(m.measured.empty());
  }
}
