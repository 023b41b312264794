// The parameter sets of the library against their data and against the fit that made them (bench/device_models).
#include <cmath>
#include <cstdio>

#include "device_models/table1_fit.hpp"
#include "partition/minimise.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

const FitData& data() {
  static const FitData loaded = FitData::load(SPLITCNN_DEVICE_MODEL_DATA);
  return loaded;
}

void check_close(const Models& a, const Models& b) {
  CHECK(a.dpu.efficiency == Approx(b.dpu.efficiency).epsilon(2e-3));
  CHECK(a.dpu.bandwidth_gbs == Approx(b.dpu.bandwidth_gbs).epsilon(2e-3));
  CHECK(a.dpu.weight_gbs == Approx(b.dpu.weight_gbs).epsilon(2e-3));
  CHECK(a.dpu.layer_us == Approx(b.dpu.layer_us).epsilon(2e-3));
  CHECK(a.dpu.start_us == Approx(b.dpu.start_us).epsilon(2e-3));
  CHECK(a.gpu.tflops == Approx(b.gpu.tflops).epsilon(2e-3));
  CHECK(a.gpu.start_us == Approx(b.gpu.start_us).epsilon(2e-3));
  CHECK(a.gpu.kernel_us == Approx(b.gpu.kernel_us).epsilon(2e-3));
  CHECK(a.link.bandwidth_gbs == Approx(b.link.bandwidth_gbs).epsilon(2e-3));
}

}  // namespace

TEST_CASE("minimise finds the least of functions whose least is known") {
  const std::vector<ParameterRange> ranges{{-5, 5}, {0.1, 100}, {-5, 5}};
  const auto bowl = [](std::span<const double> x) {
    return std::pow(x[0] - 1, 2) + std::pow(std::log(x[1] / 7), 2) + std::pow(x[2] + 2 * x[0], 2);
  };
  const std::vector<double> best = minimise(ranges, bowl, {.seed = splitcnn_test::seed()});
  CHECK(best[0] == Approx(1).margin(1e-3));
  CHECK(best[1] == Approx(7).margin(1e-2));
  CHECK(best[2] == Approx(-2).margin(1e-3));
  const std::vector<double> edge = minimise(ranges, [](std::span<const double> x) { return x[0]; });
  CHECK(edge[0] == Approx(-5));
}

TEST_CASE("the fits find the parameters the library has") {
  check_close(fit_table1(data(), {}), models_table1());
  check_close(fit_zoo(data()), models_zoo());
}

TEST_CASE("set table1 within its bounds on the paper's Direct speed-ups") {
  double sum = 0, worst = 0;
  for (const PaperRow& row : data().table1) {
    const SpeedUp s = best_split(row.net, models_table1(), row.direct.index);
    for (const double e : {std::abs(s.over_dpu / row.direct.over_dpu - 1), std::abs(s.over_gpu / row.direct.over_gpu - 1)}) {
      sum += e, worst = std::max(worst, e);
    }
    INFO(row.net.name);
    if (row.net.name == "lenet5") {
      CHECK(s.regret <= 0.06);
    } else {
      CHECK(std::abs(s.k - (row.direct.index - 1)) <= 2);
    }
  }
  CHECK(sum / 14 <= 0.04);
  CHECK(worst <= 0.12);
}

TEST_CASE("set zoo within its bounds on the published throughputs, fitted and held out") {
  for (const auto& [list, bound] : {std::pair{&data().fitted, 0.15}, std::pair{&data().held_out, 0.12}}) {
    for (const Throughput& t : *list) {
      const double ms = dpu_batch_ms(t.net, models_zoo().dpu);
      std::printf("modelled (zoo) %-20s %.3f ms a batch, published %.3f ms\n", t.published.c_str(), ms, 6e3 / t.fps);
      INFO(t.published);
      CHECK(std::abs(ms * t.fps / 6e3 - 1) <= bound);
    }
  }
}

TEST_CASE("the networks of the throughput table have the operations their names say") {
  // GOP as published, two per multiply-add
  for (const auto& [name, gop] : {std::pair{"resnet_v1_50", 6.97}, {"resnet_v1_101", 14.4}, {"resnet_v1_152", 21.83}, {"vgg19", 39.28},
                                  {"personreid_res50", 5.3}}) {
    double flop = 0;
    for (const GpuWork& work : make_net(name).gpu) flop += work.flop;
    INFO(name << ": " << flop / 1e9 << " GOP");
    CHECK(std::abs(flop / 1e9 / gop - 1) <= 0.02);
  }
}
