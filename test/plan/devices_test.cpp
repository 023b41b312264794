#include "plan/branching.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/device.hpp"
#include "splitcnn/gpu_stage.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

TEST_CASE("devices open with names, back ends and threads", "[devices]") {
  const Devices devices = Devices::open("dpu:0=software/2, GPU ,cpu/3,dpu:1");
  REQUIRE(devices.list().size() == 4);
  CHECK(devices.list()[0].name == "dpu:0");
  CHECK(devices.list()[1].name == "gpu:0");
  CHECK(devices.list()[2].name == "cpu");
  CHECK(devices.list()[3].name == "dpu:1");
  CHECK(devices.info("dpu:0").backend == "software");
  CHECK(devices.info("dpu:0").threads == 2);
  CHECK(devices.info("dpu:0").why == "asked for");
  CHECK(devices.info("dpu:0").detail.find("oneDNN") == 0);
  CHECK(devices.info("dpu:1").threads == 1);
  CHECK(devices.info("dpu:1").why.find("VART") != std::string::npos);
  CHECK(devices.info("gpu").threads == 1);
  CHECK(devices.info("cpu").backend == "cpu-f32");
  CHECK(devices.info("cpu").threads == 3);
  CHECK(devices.info("cpu").why.empty());
}

TEST_CASE("a GPU is the GPU, or the CPU with the reason", "[devices]") {
  std::string reason;
  const bool there = GpuStage::available(&reason);
  const Devices devices = Devices::open("gpu:0");
  CHECK(devices.info("gpu:0").backend == (there ? "cudnn" : "cpu-f16"));
  CHECK(devices.info("gpu:0").why.empty() == there);
  std::string message;
  const Errc code = code_of([] { (void)Devices::open("cpu,gpu:0=cudnn"); }, &message);
  CHECK(code == (there ? Errc::ok : Errc::no_device));
  if (!there) CHECK(message.find(reason) != std::string::npos);
  CHECK(Devices::open("gpu:0=cpu-f16").info("gpu:0").backend == "cpu-f16");
}

TEST_CASE("bad device lists name the position and what to do", "[devices]") {
  const auto refused = [](const char* spec, Errc expected, const char* position, const char* part) {
    std::string message;
    INFO(spec);
    CHECK(code_of([&] { (void)Devices::open(spec); }, &message) == expected);
    INFO(message);
    CHECK(message.find(std::string{"number "} + position) != std::string::npos);
    CHECK(message.find(part) != std::string::npos);
  };
  refused("", Errc::bad_argument, "1", "empty");
  refused("cpu,", Errc::bad_argument, "2", "empty");
  refused("cpu,,gpu", Errc::bad_argument, "2", "empty");
  refused("cpu,npu:0", Errc::bad_argument, "2", "npu:0");
  refused("dpu:x", Errc::bad_argument, "1", "not a device");
  refused("dpu:-1", Errc::bad_argument, "1", "not a device");
  refused("dpu:", Errc::bad_argument, "1", "not a device");
  refused("dpu:99999999999", Errc::bad_argument, "1", "not a device");
  refused("=software", Errc::bad_argument, "1", "not a device");
  refused("cpu,gpu:0,dpu:0,GPU:0", Errc::bad_argument, "4", "already number 2");
  refused("dpu,dpu:0", Errc::bad_argument, "2", "already number 1");
  for (const char* spec :
       {"cpu/0", "cpu/-1", "cpu/", "cpu/x", "cpu/1025", "cpu/2/", "dpu:0=software/99999999999"}) {
    refused(spec, Errc::bad_argument, "1", "thread count");
  }
  refused("cpu/2/3", Errc::bad_argument, "1", "not a device");
  refused("dpu:0=", Errc::bad_argument, "1", "no back end");
  refused("dpu:0=/2", Errc::bad_argument, "1", "no back end");
  refused("dpu:0=cudnn", Errc::bad_argument, "1", "unknown back end");
  refused("gpu:0=software", Errc::bad_argument, "1", "unknown back end");
  refused("cpu=cudnn", Errc::bad_argument, "1", "unknown back end");
  refused("dpu:0=pigeon://board:7700", Errc::bad_argument, "1", "tcp://HOST:PORT");
  refused("dpu:0=shm://x", Errc::bad_argument, "1", "tcp://HOST:PORT");
}

TEST_CASE("a DPU in a worker process needs the program, and its model when a segment is loaded", "[devices]") {
  for (const char* spec : {"dpu:0=vart", "dpu=local"}) {
    std::string message;
    CHECK(code_of([&] { (void)Devices::open(spec, {.program = "/etc/passwd"}); }, &message) == Errc::no_device);
    CHECK(message.find("/etc/passwd") != std::string::npos);
  }
  const Devices devices = Devices::open("cpu,dpu:0=TCP://Board:7700");  // nobody is asked before a segment is loaded
  CHECK(devices.info("dpu").backend == "vart");
  CHECK(devices.info("dpu").detail == "worker at tcp://board:7700");
  const Graph graph = branching_graph();
  const Plan plan{graph, quantised(graph), {route({{"dpu:0", 3}, {"cpu", 8}})}};
  std::string message;
  CHECK(code_of([&] { (void)devices.load(plan, plan.head()); }, &message) == Errc::bad_argument);
  CHECK(message.find("xmodel") != std::string::npos);
}

TEST_CASE("what is not open is named together with what is", "[devices]") {
  const Devices devices = Devices::open("dpu:0,cpu");
  std::string message;
  CHECK(code_of([&] { (void)devices.info("gpu:0"); }, &message) == Errc::no_device);
  CHECK(message.find("gpu:0") != std::string::npos);
  CHECK(message.find("dpu:0, cpu") != std::string::npos);
  const Graph graph = branching_graph();
  const Plan plan{graph, {}, {route({{"gpu:0", 8}})}};
  CHECK(code_of([&] { (void)devices.load(plan, plan.route(0).segments[0]); }) == Errc::no_device);
}

TEST_CASE("segments load as the stage of their device, with the edges all agree on", "[devices]") {
  set_log_handler({});  // the GPU's stand-in announces itself
  const Graph graph = branching_graph();
  // The software DPU takes relu and add; the tail has a softmax.
  const Plan plan{graph, quantised(graph), {route({{"dpu:0", 3}, {"gpu:0", 5}, {"cpu", 8}})}};
  for (const char* spec : {"dpu:0,gpu:0,cpu", "dpu:0=scalar,gpu:0=cpu-f16,cpu=cpu-f16/2"}) {
    std::vector<std::unique_ptr<Stage>> stages;
    {
      Devices devices = Devices::open(spec);
      Devices moved = std::move(devices);
      for (const Segment& segment : plan.route(0).segments) stages.push_back(moved.load(plan, segment));
    }
    for (std::size_t s = 0; s < stages.size(); ++s) {  // valid after the devices are gone
      const Segment& segment = plan.route(0).segments[s];
      const SegmentIo io = segment_io(plan, segment);
      CHECK(stages[s]->device() == segment.device);
      REQUIRE(stages[s]->inputs().size() == io.inputs.size());
      REQUIRE(stages[s]->outputs().size() == io.outputs.size());
      for (std::size_t i = 0; i < io.inputs.size(); ++i) CHECK(stages[s]->inputs()[i] == io.inputs[i].spec);
      for (std::size_t i = 0; i < io.outputs.size(); ++i)
        CHECK(stages[s]->outputs()[i] == io.outputs[i].spec);
    }
  }
}
