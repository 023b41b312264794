// DpuStage with a worker process: both transports, and everything that can go wrong with the other side. The
// worker is the real one but for its runner, the double of runner_double.cpp.
#include <algorithm>
#include <fstream>
#include <random>
#include <thread>

#include "dpu/remote/manifest.hpp"
#include "dpu/worker_case.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

/// Runs `batches` batches one after another and compares every byte with the software DPU.
void run_batches(DpuWorkerCase& c, DpuStage& stage, int batches, std::size_t frames) {
  for (int b = 0; b < batches; ++b) {
    c.fill(stage.inputs(), frames);
    const Status status = c.run(stage, frames);
    INFO(status.message);
    REQUIRE(status.ok());
    REQUIRE(c.equal_to_software(frames));
  }
}

void wait_until(const DpuStage& stage, DpuWorkerState state) {
  const auto give_up = Clock::now() + std::chrono::seconds{20};
  while (stage.worker_stats().state != state && Clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  CHECK(to_string(stage.worker_stats().state) == std::string{to_string(state)});
}

}  // namespace

TEST_CASE("batches and partial batches in a worker give the bytes of the software DPU", "[dpu]") {
  for (const bool tcp : {false, true}) {
    CAPTURE(tcp);
    DpuWorkerCase c{"small 0 3 6", tcp};
    DpuStage stage{c.plan, c.plan.head(), c.options()};
    CHECK(stage.preferred_batch() == 6);
    CHECK(stage.max_in_flight() == 2);
    CHECK(stage.worker_stats().backend == "test double");
    for (const std::size_t frames : {6, 1, 3}) run_batches(c, stage, 3, frames);
    CHECK(stage.worker_stats().worker_frames == 30);
    CHECK(stage.worker_stats().fallback_frames == 0);
  }
}

TEST_CASE("two batches under way come back in order", "[dpu]") {
  for (const bool tcp : {false, true}) {
    DpuWorkerCase c{"zoo:mobilenet_v2 0 12 6", tcp};
    DpuStage stage{c.plan, c.plan.head(), c.options()};
    c.fill(stage.inputs(), 12);
    auto [in, out] = c.views(0, 6);
    const Ticket first = stage.submit({6, in, out});
    auto [in2, out2] = c.views(6, 6);
    const Ticket second = stage.submit({6, in2, out2});
    CHECK(stage.wait(second, Clock::time_point::max()).code == Errc::bad_argument);
    while (stage.wait(first, Clock::now()).code == Errc::timeout) {
    }
    CHECK(stage.wait(second, Clock::time_point::max()).ok());
    CHECK(c.equal_to_software(12));
    CHECK(stage.worker_stats().fallback_frames == 0);
  }
}

TEST_CASE("a worker that dies, hangs, is cut off or talks nonsense costs no frame", "[dpu]") {
  for (const bool tcp : {false, true}) {
    for (const char* fault :
         {"abort", "kill", "stop", "exit", "hang", "garbage", "cut", "scribble", "fail"}) {
      if (tcp && std::string{fault} == "scribble") continue;
      CAPTURE(tcp, fault);
      DpuWorkerCase c{std::string{"small 0 3 6\n"} + fault + " 4", tcp, true};
      auto options = c.options();
      options.worker.deadline = Millis{500};
      DpuStage stage{c.plan, c.plan.head(), options};
      run_batches(c, stage, 6, 6);
      const bool lives = std::string{fault} == "fail";
      if (!lives) wait_until(stage, DpuWorkerState::serving);
      run_batches(c, stage, 2, 6);
      const DpuWorkerStats s = stage.worker_stats();
      CHECK(s.fallback_frames >= 6);
      CHECK(s.worker_frames >= 12);
      CHECK(s.worker_frames + s.fallback_frames == 48);
      CHECK(s.restarts == (lives ? 0 : 1));
      CHECK(s.deaths + s.timeouts + s.garbage == s.restarts);
      CHECK(s.last_error.empty() == lives);
    }
  }
}

TEST_CASE("an idle worker that is killed is noticed and replaced", "[dpu]") {
  DpuWorkerCase c{"small 0 3 6", false};
  DpuStage stage{c.plan, c.plan.head(), c.options()};
  kill(static_cast<pid_t>(stage.worker_stats().pid), SIGKILL);
  while (stage.worker_stats().restarts == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  wait_until(stage, DpuWorkerState::serving);
  CHECK(stage.worker_stats().deaths == 1);
  CHECK(stage.worker_stats().last_error.find("Killed") != std::string::npos);
  run_batches(c, stage, 1, 6);
  CHECK(stage.worker_stats().worker_frames == 6);
}

TEST_CASE("a worker that keeps dying is given up, and comes back after reset_worker()", "[dpu]") {
  DpuWorkerCase c{"small 0 3 6\nabort 2", false};
  auto options = c.options();
  options.worker.restarts = 2;
  DpuStage stage{c.plan, c.plan.head(), options};
  for (int i = 0; i < 2000 && stage.worker_stats().state != DpuWorkerState::exhausted; ++i) {
    run_batches(c, stage, 1, 2);
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  CHECK(stage.worker_stats().state == DpuWorkerState::exhausted);
  CHECK(stage.worker_stats().restarts == 2);
  CHECK(stage.worker_stats().deaths == 3);
  run_batches(c, stage, 3, 6);
  c.write_model("small 0 3 6");
  stage.reset_worker();
  wait_until(stage, DpuWorkerState::serving);
  run_batches(c, stage, 1, 6);
  CHECK(stage.worker_stats().worker_frames == 6);
}

TEST_CASE("without a fallback the batches of a lost worker fail, for a route without the DPU", "[dpu]") {
  DpuWorkerCase c{"small 0 3 6\nabort 2", false};
  auto options = c.options();
  options.worker.fallback = DpuFallback::none;
  options.worker.restarts = 0;
  DpuStage stage{c.plan, c.plan.head(), options};
  c.fill(stage.inputs(), 6);
  CHECK(c.run(stage, 6).code == Errc::stage_failed);
  wait_until(stage, DpuWorkerState::exhausted);
  const Status status = c.run(stage, 6);
  CHECK(status.code == Errc::stage_failed);
  INFO(status.message);
  CHECK(status.message.find("Aborted") != std::string::npos);
}

TEST_CASE("what a worker cannot open is an Error with the cause", "[dpu]") {
  struct Expected {
    const char* model;
    Errc code;
    const char* words;
  };
  const Expected all[] = {{"small 0 3 6\nrefuse stripped", Errc::unsupported, "stripped"},
                          {"nonsense", Errc::bad_model, "no model of the double"},
                          {"small 0 3 6\ndie_opening", Errc::device_failed, "opening the models"},
                          {"small 0 2 6", Errc::mismatch, "exported at another cut"},
                          {"small 0 3 6\nwrong fix_point", Errc::mismatch, "no tensor of the model"},
                          {"small 0 3 6\nwrong scaled", Errc::mismatch, "scaled by 2^1"},
                          {"small 0 3 6\nwrong shifted", Errc::mismatch, "shifted by"},
                          {"small 0 3 6\nwrong transposed", Errc::mismatch, "transposed"},
                          {"small 0 3 6\nwrong other", Errc::mismatch, "another model"},
                          {"small 0 3 6\nhang 1", Errc::device_failed, "golden frame"}};
  for (const bool tcp : {false, true}) {
    for (const Expected& e : all) {
      CAPTURE(tcp, e.model);
      DpuWorkerCase c{e.model, tcp};
      auto options = c.options();
      options.worker.start_deadline = Millis{e.words == std::string{"golden frame"} ? 300 : 20000};
      options.worker.deadline = std::min(options.worker.deadline, options.worker.start_deadline);
      try {
        const DpuStage stage{c.plan, c.plan.head(), options};
        FAIL("it was accepted");
      } catch (const Error& error) {
        CHECK(to_string(error.code()) == std::string{to_string(e.code)});
        CHECK_THAT(error.what(), Catch::Matchers::Contains(e.words));
      }
    }
  }
}

TEST_CASE("addresses, keys and files that cannot be are refused by name", "[dpu]") {
  DpuWorkerCase c{"small 0 3 6", true};
  const auto refused = [&](const char* words, const auto& change) {
    auto options = c.options();
    change(options.worker);
    try {
      const DpuStage stage{c.plan, c.plan.head(), options};
      FAIL("it was accepted: " << words);
    } catch (const Error& error) {
      CHECK_THAT(error.what(), Catch::Matchers::Contains(words));
    }
  };
  refused("is no address", [](DpuWorkerOptions& w) { w.address = "pigeon"; });
  refused("has no port", [](DpuWorkerOptions& w) { w.address = "tcp://board"; });
  refused("is splitcnn-dpu-worker --listen running",
          [](DpuWorkerOptions& w) { w.address = "tcp://127.0.0.1:1"; });
  refused("asks for a key", [](DpuWorkerOptions& w) { w.key.clear(); });
  refused("another key", [&](DpuWorkerOptions& w) { w.key = c.other_key(); });
  refused("cannot be read", [](DpuWorkerOptions& w) { w.key = "/nowhere"; });
  refused("folder of models", [](DpuWorkerOptions& w) { w.xmodel = "../../../etc/passwd"; });
  refused("folder of models", [](DpuWorkerOptions& w) { w.xmodel = "missing.xmodel"; });
  refused("needs the file", [](DpuWorkerOptions& w) { w.xmodel.clear(); });
  refused("has no mode", [](DpuWorkerOptions& w) { w.mode = "dream"; });
  refused("not an executable",
          [](DpuWorkerOptions& w) { w.address = "local", w.key.clear(), w.program = "/etc/passwd"; });
}

TEST_CASE("a slow start is waited for, and a stage can be closed while its worker is being restarted",
          "[dpu]") {
  DpuWorkerCase c{"small 0 3 6\nslow_start 200\nabort 2", false};
  DpuStage stage{c.plan, c.plan.head(), c.options()};
  run_batches(c, stage, 2, 6);
  CHECK(stage.worker_stats().fallback_frames == 12);
}

TEST_CASE("each DPU segment of a plan takes the xmodel that is for it", "[dpu]") {
  const QuantizedGraph quant = double_network("small");
  const auto last = static_cast<NodeId>(quant.graph().nodes().size());
  const Plan plan{quant.graph(),
                  quant,
                  {Route{{{.device = "dpu:0", .first = 0, .last = 2},
                          {.device = "cpu", .first = 2, .last = 3},
                          {.device = "dpu:0", .first = 3, .last = last}}}}};
  DpuWorkerCase folder{"small 0 2 6", false};
  auto options = folder.options();
  std::vector<std::unique_ptr<DpuStage>> stages;
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
    const Segment& s = plan.route(0).segments[i];
    const auto file = folder.other_key().parent_path() / ("part" + std::to_string(i));
    std::ofstream{file} << "small " << s.first << ' ' << s.last << " 6";
    write_manifest(quant, s.first, s.last, file);
    options.worker.xmodels.push_back(file);
  }
  options.worker.xmodel.clear();
  for (const std::size_t i : {std::size_t{2}, std::size_t{0}})
    stages.push_back(std::make_unique<DpuStage>(plan, plan.route(0).segments[i], options));
  for (const auto& stage : stages) CHECK(stage->worker_stats().state == DpuWorkerState::serving);
  options.worker.xmodels.pop_back();
  CHECK_THROWS_WITH(DpuStage(plan, plan.route(0).segments[2], options),
                    Catch::Matchers::Contains("no xmodel is for nodes 3 to"));
}
