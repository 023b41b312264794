// GpuStage on the fake plug-in: batches in flight, nodes it refuses, offered and direct memory, and devices
// that fail on schedule.
#include "splitcnn/gpu_stage.hpp"

#include <thread>

#include "gpu/stage_cases.hpp"
#include "splitcnn/pipeline.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

constexpr auto forever = Clock::time_point::max();

/// Everything through the stage, as many batches in flight as it takes.
void run_all_frames(GpuStage& stage, Frames& frames, std::size_t batch) {
  std::vector<Ticket> flying;
  std::size_t next = 0;
  while (next < frames.in.size() || !flying.empty()) {
    if (next < frames.in.size() && flying.size() < stage.max_in_flight()) {
      const std::size_t n = std::min(batch, frames.in.size() - next);
      flying.push_back(frames.submit(stage, next, n));
      next += n;
      continue;
    }
    const Status status = stage.wait(flying.front(), forever);
    INFO(status.message);
    REQUIRE(status.ok());
    flying.erase(flying.begin());
  }
}

}  // namespace

TEST_CASE("a whole network on the plug-in, in batches of every size") {
  FakePlugin fake;
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  for (const int most : {1, 2, 3, 8, 16}) {
    GpuStage stage{plan, plan.route(0).segments[0], {.max_batch = most}};
    CHECK(std::string{stage.backend()} == "cudnn");
    CHECK(stage.preferred_batch() == static_cast<std::size_t>(most));
    REQUIRE(stage.pieces().size() == 1);
    CHECK(stage.pieces()[0].find("gpu:0") == 0);
    stage.prepare();
    for (std::size_t batch = 1; batch <= static_cast<std::size_t>(most); batch += 3) {
      Frames frames{graph, 17};
      run_all_frames(stage, frames, batch);
      CHECK(frames.worst() < f16_error);
    }
  }
  CHECK(fake->runs > 17);
  CHECK_THROWS_AS((GpuStage{plan, plan.route(0).segments[0], {.max_batch = 5}}), Error);
}

TEST_CASE("batches that cannot be are refused and the stage goes on") {
  FakePlugin fake;
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  GpuStage stage{plan, plan.route(0).segments[0], {.max_batch = 2}};
  Frames frames{graph, 6};
  CHECK(stage.wait({1}, forever).code == Errc::bad_argument);  // nothing in flight
  CHECK(stage.wait(frames.submit(stage, 0, 3), forever).code == Errc::bad_argument);
  const Ticket none = stage.submit({2, {}, {}});
  CHECK(stage.wait(none, forever).code == Errc::bad_argument);
  std::vector<Ticket> tickets;
  for (std::size_t f = 0; f < 5; ++f)
    tickets.push_back(frames.submit(stage, f, 1));                    // one more than there are slots
  CHECK(stage.wait(tickets[1], forever).code == Errc::bad_argument);  // not the next one
  for (std::size_t f = 0; f < 4; ++f) REQUIRE(stage.wait(tickets[f], forever).ok());
  CHECK(stage.wait(tickets[4], forever).code == Errc::bad_argument);
  run_all_frames(stage, frames, 1);
  CHECK(frames.worst() < f16_error);
}

TEST_CASE("a deadline that passes leaves the batch in flight", "[fault]") {
  FakePlugin fake;
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  GpuStage stage{plan, plan.route(0).segments[0]};
  Frames frames{graph, 1};
  fake->hold = 1;
  const Ticket ticket = frames.submit(stage, 0, 1);
  CHECK(stage.wait(ticket, Clock::now()).code == Errc::timeout);
  fake->release();
  CHECK(stage.wait(ticket, forever).ok());
  CHECK(frames.worst() < f16_error);
}

TEST_CASE("nodes the device refuses run on the CPU between pieces on the GPU, with the reason") {
  FakePlugin fake;
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  fake->refuse_kind =
      static_cast<int>(gpu::TailKind::elementwise);  // the sigmoid, and the add that nothing can take over
  {
    const Messages messages;
    GpuStage stage{plan, plan.route(0).segments[0]};
    stage.prepare();
    INFO(messages.text());
    CHECK(messages.has("not on the fake GPU"));
    REQUIRE(stage.pieces().size() >= 3);
    CHECK(stage.pieces()[0].find("gpu:0 nodes [0, ") == 0);
    CHECK(stage.pieces()[1].find("cpu node '") == 0);
    CHECK(std::string{stage.backend()} == "cudnn");
    Frames frames{graph, 5};
    run_all_frames(stage, frames, 1);
    CHECK(frames.worst() < f16_error);
    CHECK(fake->runs > 0);
  }
  fake->poison_in_runs = 3;  // inside one of the pieces
  GpuStage stage{plan, plan.route(0).segments[0]};
  Frames frames{graph, 5};
  run_all_frames(stage, frames, 1);
  CHECK(frames.worst() < f16_error);
}

TEST_CASE("the producer writes into pinned memory of the stage") {
  FakePlugin fake;
  const Graph graph = small_net(80);
  const Plan plan = on_device(graph);
  GpuStage stage{plan, plan.route(0).segments[0]};
  Frames frames{graph, 2};
  const auto offer = stage.try_input_buffers(0);
  REQUIRE(offer);
  REQUIRE(offer->size() == 1);
  CHECK((*offer)[0].memory == Memory::pinned);
  stage.prepare();
  const int before = fake->direct_copies;
  std::copy_n(frames.in[1].view().data, frames.in[1].spec().bytes(), (*offer)[0].data);
  const TensorView to = frames.out[1].view();
  REQUIRE(stage.wait(stage.submit({1, *offer, {&to, 1}}), forever).ok());
  const bool direct = stage.transfer().starts_with("direct");  // as measured
  CHECK(fake->direct_copies == before + (direct ? 1 : 0));
  CHECK(error(frames.out[1].as<float>(), frames.expected[1]) < f16_error);
}

TEST_CASE("memory of the producer's device is offered first, then pinned memory") {
  FakePlugin fake;
  const Graph graph = small_net(80);
  const Plan plan = on_device(graph);
  Frames frames{graph, 2};
  const std::size_t bytes = frames.in[0].spec().bytes(), pages = (bytes + 4095) / 4096 * 4096;
  std::unique_ptr<std::byte, void (*)(void*)> bar{static_cast<std::byte*>(std::aligned_alloc(4096, pages)),
                                                  std::free};
  GpuStage stage{plan, plan.route(0).segments[0], {.direct = {.mapped = bar.get(), .bytes = pages}}};
  const auto first = stage.try_input_buffers(0), second = stage.try_input_buffers(1);
  REQUIRE((first && second));
  CHECK((*first)[0].data == bar.get());
  CHECK((*second)[0].data != bar.get());
  stage.prepare();
  INFO(stage.transfer());
  CHECK(stage.transfer().find(" us direct, ") != std::string::npos);
  std::copy_n(frames.in[0].view().data, bytes, bar.get());
  const TensorView to = frames.out[0].view();
  REQUIRE(stage.wait(stage.submit({1, *first, {&to, 1}}), forever).ok());
  CHECK(error(frames.out[0].as<float>(), frames.expected[0]) < f16_error);
}

TEST_CASE("a sticky error: everything is built anew once, no frame is lost, the GPU goes on", "[fault]") {
  FakePlugin fake;
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  for (const int at : {0, 1, 3, 6}) {
    fake->reset();
    fake->poison_in_runs = at;
    const Messages messages;
    GpuStage stage{plan, plan.route(0).segments[0], {.max_batch = 2}};
    const auto offer = stage.try_input_buffers(0);
    REQUIRE(offer);  // pinned memory survives
    stage.prepare();
    Frames frames{graph, 16};
    run_all_frames(stage, frames, 2);
    CHECK(frames.worst() < f16_error);
    CHECK(std::string{stage.backend()} == "cudnn");
    CHECK(messages.has("building everything anew"));
    CHECK_FALSE(messages.has("takes over"));
    CHECK(fake->opens == 3);  // to ask what it supports, to run, to run again
    const TensorView to = frames.out[1].view();
    std::copy_n(frames.in[1].view().data, frames.in[1].spec().bytes(), (*offer)[0].data);
    REQUIRE(stage.wait(stage.submit({1, *offer, {&to, 1}}), forever).ok());
    CHECK(frames.worst() < f16_error);
  }
}

TEST_CASE("a second sticky error, or a device that does not come back: the CPU goes on, no frame is lost",
          "[fault]") {
  FakePlugin fake;
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  for (int kind = 0; kind < 4; ++kind) {
    INFO("kind " << kind);
    fake->reset();
    const Messages messages;
    GpuStage stage{plan, plan.route(0).segments[0], {.max_batch = 2}};
    stage.prepare();
    fake->poison_in_runs = 3;
    if (kind == 0) fake->poisonings = 2;  // the first batch on the new device fails, too
    if (kind == 1) fake->fail_open = 1;
    if (kind == 2) fake->fail_load = 1;
    if (kind == 3) fake->fail_host_alloc = 1;
    Frames frames{graph, 16};
    run_all_frames(stage, frames, 2);
    CHECK(frames.worst() < f16_error);
    CHECK(std::string{stage.backend()} == "cpu-f16");
    CHECK(stage.transfer() == "none");
    CHECK(messages.has("the CPU takes over for good"));
    CHECK(fake->alive() == 0);  // nothing is kept on a device nobody uses
  }
}

TEST_CASE("a device that has worked for a thousand batches is trusted again", "[fault]") {
  FakePlugin fake;
  const Graph graph = small_net(4);
  const Plan plan = on_device(graph);
  GpuStage stage{plan, plan.route(0).segments[0], {.max_batch = 1}};
  Frames frames{graph, 8};
  for (int round = 0; round < 3; ++round) {
    fake->poisonings = 1;
    fake->poison_in_runs = 2;
    for (int i = 0; i < 130; ++i) run_all_frames(stage, frames, 1);
    CHECK(std::string{stage.backend()} == "cudnn");
  }
  CHECK(fake->opens == 2 + 3);
  CHECK(frames.worst() < f16_error);
}

TEST_CASE("a pipeline whose GPU fails again and again delivers every frame, in order", "[fault]") {
  FakePlugin fake;
  Random random{seed()};
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph);
  for (int round = 0; round < 6; ++round) {
    fake->reset();
    fake->poison_in_runs = random.draw(0, 12);
    fake->poisonings = random.draw(1, 2);
    Frames frames{graph, 24};
    std::vector<std::unique_ptr<Stage>> stages;
    stages.push_back(
        std::make_unique<GpuStage>(plan, plan.route(0).segments[0], GpuStageOptions{.max_batch = 3}));
    Pipeline pipe{std::move(stages)};
    std::thread camera{[&] {
      for (int lap = 0; lap < 3; ++lap) {
        for (const Tensor& frame : frames.in) (void)pipe.push(frame.as<float>());
      }
      pipe.close();
    }};
    std::size_t got = 0;
    double worst = 0;
    while (const auto result = pipe.pop()) {
      REQUIRE(result->ok());
      worst = std::max(worst, error(result->floats(), frames.expected[got % frames.in.size()]));
      ++got;
    }
    camera.join();
    CHECK(got == 3 * frames.in.size());
    CHECK(worst < f16_error);
  }
}
