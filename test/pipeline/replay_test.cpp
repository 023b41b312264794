// What is recorded is what is replayed; another device shows where it differs; no file is trusted. The
// devices are fakes.
#include "splitcnn/replay.hpp"

#include <fstream>
#include <random>

#include "pipeline/fake_devices.hpp"
#include "plan/branching.hpp"
#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

struct File {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "frames.rec";
  File() { fake_loads() = {}; }
  ~File() { fake_loads() = {}; }
  [[nodiscard]] std::string read() const {
    return {std::istreambuf_iterator<char>{std::ifstream{path, std::ios::binary}.rdbuf()}, {}};
  }
  void write(const std::string& bytes) const {
    std::ofstream{path, std::ios::binary | std::ios::trunc} << bytes;
  }
};

Plan split_plan() { return {branching_graph(), std::nullopt, {route({{"gpu:0", 4}, {"cpu", 8}})}}; }

/// Frames of different content; one stage of the user's own behind the plan.
void record(const File& file, std::size_t frames, const RecordOptions& options = {}) {
  Recorder recorder{file.path, split_plan(), options};
  PipelineOptions pipeline_options;
  pipeline_options.wrap = recorder.wrap();
  Pipeline pipe{split_plan(), fake_devices(), pipeline_options};
  for (std::size_t f = 0; f < frames; ++f) {
    std::vector<float> image(3 * 8 * 6, 0.f);
    reinterpret_cast<unsigned char*>(image.data())[0] = static_cast<unsigned char>(f);
    REQUIRE(pipe.push(image) == Push::queued);
    REQUIRE(pipe.pop()->ok());
  }
  recorder.finish();
  recorder.finish();  // again is allowed
}

Replay replay(const File& file) {
  return replay_recording(file.path, branching_graph(), std::nullopt, fake_devices());
}

}  // namespace

TEST_CASE("the same devices give the same bytes again") {
  const File file;
  fake_loads().adjust = [](FakeOptions& o) { o.batch = 2; };
  record(file, 9);
  const Replay r = replay(file);
  CHECK(r.batches >= 10);
  CHECK(r.frames == 18);  // nine through two stages
  CHECK(r.tensors >= 18);
  CHECK(r.different == 0);
  CHECK(r.failed + r.failed_now + r.skipped == 0);
  CHECK_FALSE(r.first);
}

TEST_CASE("a device that computes something else is found where it begins") {
  const File file;
  record(file, 5);
  fake_loads().adjust = [](FakeOptions& o) {
    if (o.device != "cpu") return;
    o.compute = [](std::span<const TensorView> in, std::span<const TensorView> out) {
      fake_segment(in, out);
      // Frame 3's: the fakes hand on the first byte.
      if (reinterpret_cast<const float*>(out[0].data)[0] == 0)
        reinterpret_cast<float*>(out[0].data)[2] += 0.5f;
    };
  };
  const Replay r = replay(file);
  REQUIRE(r.first);
  CHECK(r.different >= 1);
  CHECK(r.different < 5);
  CHECK(r.first->device == "cpu");
  CHECK(r.first->stage == "cpu[4,8)");
  CHECK(r.first->element == 2);
  CHECK(r.first->elements == 1);
  CHECK(r.first->largest == 0.5);
  CHECK(r.first->replayed == r.first->recorded + 0.5);
  CHECK(r.first->sentence().find("'t7' of cpu[4,8) on cpu differs in 1 element, first in number 2") !=
        std::string::npos);
}

TEST_CASE("only so many frames and bytes are recorded") {
  const File file;
  record(file, 20, {.frames = 3});
  CHECK(replay(file).frames == 6);
  record(file, 20, {.max_bytes = 4000});
  CHECK(std::filesystem::file_size(file.path) <= 4000);
  CHECK(replay(file).frames < 20);
  CHECK_THROWS_AS(Recorder(file.path, split_plan(), {.frames = 0}), Error);
  CHECK_THROWS_AS(Recorder("/nowhere/x.rec", split_plan()), Error);
}

TEST_CASE("a recording of another graph is refused, and a cut or changed file gives an Error or a result") {
  const File file;
  record(file, 3);
  CHECK_THROWS_AS(replay_recording(file.path, Graph::zoo("lenet5"), std::nullopt, fake_devices()), Error);
  CHECK_THROWS_AS(replay_recording("/nowhere/x.rec", branching_graph(), std::nullopt, fake_devices()), Error);
  const std::string good = file.read();
  for (std::size_t length = 0; length < good.size(); length += 1 + good.size() / 97) {
    file.write(good.substr(0, length));
    INFO(length);
    CHECK_THROWS_AS(replay(file), Error);
  }
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int n = 0; n < 400; ++n) {
    std::string bad = good;
    for (std::size_t flips = 1 + random() % 3; flips > 0; --flips)
      bad[random() % bad.size()] = static_cast<char>(random());
    file.write(bad);
    try {
      (void)replay(file);
    } catch (const Error&) {  // any other exception fails the test
    }
  }
}
