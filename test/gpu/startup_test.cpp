// What the library says and does where there is no GPU to use: no plug-in, a wrong one, no cuDNN, no driver,
// the toolkit's stub driver.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "gpu/stage_cases.hpp"
#include "splitcnn/device.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
namespace fs = std::filesystem;

namespace {

struct Started {
  std::string backend, why, said;
  double worst = 1;
  bool insisting_throws = false;
  std::string insisting;
};

/// Starts a stage as an application does and runs three frames.
Started start(const char* device) {
  Started s;
  const Messages messages;
  (void)GpuStage::available(&s.why);
  const Graph graph = small_net(8);
  const Plan plan = on_device(graph, device);
  GpuStage stage{plan, plan.route(0).segments[0]};
  stage.prepare();
  Frames frames{graph, 3};
  for (std::size_t f = 0; f < 3; ++f)
    REQUIRE(stage.wait(frames.submit(stage, f, 1), Clock::time_point::max()).ok());
  s.worst = frames.worst();
  s.backend = stage.backend();
  s.said = messages.text();
  try {
    GpuStage insisting{plan, plan.route(0).segments[0], {.backend = GpuBackend::cudnn}};
  } catch (const Error& e) {
    s.insisting_throws = e.code() == Errc::no_device;
    s.insisting = e.what();
  }
  return s;
}

void check_stand_in(const Started& s, std::initializer_list<const char*> parts) {
  INFO(s.why << "\n" << s.said);
  CHECK(s.backend == "cpu-f16");
  CHECK(s.worst < f16_error);
  CHECK(s.insisting_throws);
  CHECK(s.said.find(s.why) != std::string::npos);
  CHECK(s.insisting.find(s.why) != std::string::npos);
  for (const char* part : parts) CHECK(s.why.find(part) != std::string::npos);
}

/// The case "child" of this program in a process of its own: the loader reads LD_LIBRARY_PATH only once.
std::string child(const std::string& environment) {
  const std::string command =
      "env " + environment + " '" + fs::read_symlink("/proc/self/exe").string() + "' '[child]' 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe);
  std::string text;
  for (int c = 0; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  const int status = pclose(pipe);
  INFO(text);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  return text;
}

void check_child(const std::string& said, std::initializer_list<const char*> parts) {
  INFO(said);
  CHECK(said.find("backend cpu-f16") != std::string::npos);
  CHECK(said.find("result right") != std::string::npos);
  for (const char* part : parts) CHECK(said.find(part) != std::string::npos);
}

const std::string plugin = SPLITCNN_CUDA_PLUGIN, stub = SPLITCNN_CUDA_STUB;

}  // namespace

TEST_CASE("child", "[.][child]") {
  const Started s = start("gpu:0");
  std::printf("%sbackend %s\nwhy %s\nresult %s\n", s.said.c_str(), s.backend.c_str(), s.why.c_str(),
              s.worst < f16_error ? "right" : "WRONG");
  CHECK(s.worst < f16_error);
}

TEST_CASE("no plug-in, or a file that is none: the CPU, with the reason") {
  const splitcnn_test::TemporaryFolder folder;
  {
    const PluginPath path{(folder / "libnone.so").string()};
    check_stand_in(start("gpu:20"), {"libnone.so: there is no such file", "SPLITCNN_GPU_PLUGIN"});
  }
  {
    const fs::path file = folder / "libtext.so";
    std::ofstream{file} << "not a library\n";
    const PluginPath path{file.string()};
    check_stand_in(start("gpu:21"), {"libtext.so: cannot be loaded"});
  }
  const PluginPath path{"libm.so.6"};
  check_stand_in(start("gpu:22"), {"libm.so.6: has no symbol splitcnn_gpu_api"});
}

TEST_CASE("a plug-in of another version: the CPU, with the reason") {
  FakePlugin fake;
  fake->wrong_abi = 1;
  check_stand_in(start("gpu:23"), {"does not speak version 1"});
}

TEST_CASE("every way in which a driver is not there gets its own sentence; the CPU computes", "[fault]") {
  FakePlugin fake;
  const std::pair<int, const char*> codes[] = {{35, "update the driver"},     {34, "stub"},
                                               {100, "CUDA_VISIBLE_DEVICES"}, {803, "different versions"},
                                               {999, "does not answer"},      {46, "no device"}};
  int number = 24;
  for (const auto& [code, part] : codes) {
    fake->native = code;
    check_stand_in(start(("gpu:" + std::to_string(number++)).c_str()), {part});
    const Devices devices = Devices::open("gpu:0");
    CHECK(devices.info("gpu:0").backend == "cpu-f16");
    CHECK(devices.info("gpu:0").why.find(part) != std::string::npos);
  }
}

TEST_CASE("the card, its libraries and numbers beyond the last GPU") {
  FakePlugin fake;
  const Devices devices = Devices::open("gpu:0");
  CHECK(devices.info("gpu:0").backend == "cudnn");
  CHECK(devices.info("gpu:0").detail == "Fake GPU, no CUDA at all");
  CHECK(devices.info("gpu:0").why.empty());
  CHECK(Devices::open("gpu:1").info("gpu:1").why.find("this machine has one GPU") != std::string::npos);
}

TEST_CASE("CUDA without a driver: error 35 in words, and the CPU's result") {
  if (plugin.empty()) SPLITCNN_SKIP("cudnn", "built without CUDA and cuDNN");
  const std::string said = child("SPLITCNN_GPU_PLUGIN='" + plugin + "'");
  if (said.find("backend cudnn") != std::string::npos) SPLITCNN_SKIP("no-gpu", "this machine has a GPU");
  check_child(said, {"NVIDIA driver: there is none", "error 35"});
}

TEST_CASE("CUDA with the toolkit's stub for a driver: error 34 in words, and the CPU's result") {
  if (plugin.empty()) SPLITCNN_SKIP("cudnn", "built without CUDA and cuDNN");
  if (stub.empty() || !fs::exists(stub)) SPLITCNN_SKIP("cudnn", "the toolkit has no stub library");
  const splitcnn_test::TemporaryFolder folder;
  fs::create_symlink(stub, folder / "libcuda.so.1");
  check_child(child("SPLITCNN_GPU_PLUGIN='" + plugin + "' LD_LIBRARY_PATH='" + folder.path().string() + "'"),
              {"toolkit's stub", "error 34"});
}

TEST_CASE("CUDA without cuDNN: which library is missing and where it comes from, and the CPU's result") {
  if (plugin.empty()) SPLITCNN_SKIP("cudnn", "built without CUDA and cuDNN");
  // The plug-in, asking for a cuDNN that no machine has.
  std::ifstream in{plugin, std::ios::binary};
  std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  std::size_t renamed = 0;
  for (std::size_t at = 0; (at = bytes.find("libcudnn.so.9", at)) != std::string::npos; ++renamed)
    bytes.replace(at, 13, "libcudnn.so.X");
  REQUIRE(renamed > 0);
  const splitcnn_test::TemporaryFolder folder;
  const fs::path copy = folder / "libsplitcnn_cuda.so";
  std::ofstream{copy, std::ios::binary} << bytes;
  check_child(child("SPLITCNN_GPU_PLUGIN='" + copy.string() + "'"),
              {"cannot be loaded", "libcudnn.so.X", "install cuDNN 9"});
}
