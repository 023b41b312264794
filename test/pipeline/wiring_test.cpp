// Which tensor goes where, and what the constructor says when they do not fit.
#include <array>

#include "splitcnn/pipeline.hpp"
#include "support/catch.hpp"
#include "support/fake_stage.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

TensorSpec f32(std::string name, std::int64_t n = 1) { return {.name = std::move(name), .shape = {n}}; }

std::string error_of(std::vector<std::unique_ptr<Stage>> stages) {
  try {
    Pipeline{std::move(stages)};
  } catch (const Error& e) {
    CHECK(e.code() == Errc::mismatch);
    return e.what();
  }
  return {};
}

template <class... S>
std::vector<std::unique_ptr<Stage>> chain(S... options) {
  std::vector<std::unique_ptr<Stage>> stages;
  (stages.push_back(fake(std::move(options))), ...);
  return stages;
}

float& value(const TensorView& view) { return *reinterpret_cast<float*>(view.data); }

}  // namespace

TEST_CASE("several tensors on both sides, by name, across stages that do not touch them") {
  FakeOptions a{
      .name = "a", .device = "a", .inputs = {f32("u"), f32("v")}, .outputs = {f32("sum"), f32("diff")}};
  a.compute = [](auto in, auto out) {
    value(out[0]) = value(in[0]) + value(in[1]);
    value(out[1]) = value(in[0]) - value(in[1]);
  };
  FakeOptions b{.name = "b", .device = "b", .inputs = {f32("sum")}, .outputs = {f32("twice")}};
  b.compute = [](auto in, auto out) { value(out[0]) = 2 * value(in[0]); };
  // c reads b's output, a's second output (which only passes b) and an input of the pipeline (which passes
  // both).
  FakeOptions c{.name = "c",
                .device = "a",
                .inputs = {f32("v"), f32("twice"), f32("diff")},
                .outputs = {f32("r", 1), f32("s")}};
  c.compute = [](auto in, auto out) {
    value(out[0]) = value(in[0]) * 10000 + value(in[1]) * 100 + value(in[2]);
    value(out[1]) = value(in[2]);
  };
  Pipeline pipe{chain(a, b, c), {.depth = 4}};
  REQUIRE(pipe.inputs().size() == 2);
  REQUIRE(pipe.outputs().size() == 2);
  const auto push = [&](float u, float v) {
    const std::array<std::span<const std::byte>, 2> inputs{std::as_bytes(std::span{&u, 1}),
                                                           std::as_bytes(std::span{&v, 1})};
    return pipe.push(inputs);
  };
  for (int n = 0; n < 4; ++n) REQUIRE(push(static_cast<float>(9 + n), 4) == Push::queued);
  for (int n = 0; n < 4; ++n) {
    const auto result = pipe.pop();
    REQUIRE(result->outputs() == 2);
    CHECK(result->floats(0)[0] == static_cast<float>(40000 + 2 * (13 + n) * 100 + (5 + n)));
    CHECK(result->floats(1)[0] == static_cast<float>(5 + n));
    CHECK_THROWS_AS(result->bytes(2), Error);
  }
}

TEST_CASE("batched views are frame-major") {
  FakeOptions a{.inputs = {f32("u"), f32("v")}, .outputs = {f32("w")}, .batch = 3};
  a.compute = [](auto in, auto out) { value(out[0]) = value(in[0]) * 10 + value(in[1]); };
  Pipeline pipe{one(a), {.depth = 3, .batch_timeout = Millis{1e9}}};
  for (int n = 0; n < 3; ++n) {
    auto slot = pipe.acquire();
    value(slot->input(0)) = static_cast<float>(n);
    value(slot->input(1)) = 7;
    REQUIRE(pipe.push(std::move(*slot)) == Push::queued);
  }
  for (int n = 0; n < 3; ++n) CHECK(pipe.pop()->floats()[0] == static_cast<float>(n * 10 + 7));
}

TEST_CASE("names that are not found fall back to position; the nearest name wins") {
  FakeOptions a{.inputs = {f32("x")}, .outputs = {f32("p"), f32("q")}};
  a.compute = [](auto in, auto out) {
    value(out[0]) = value(in[0]) + 1;
    value(out[1]) = value(in[0]) + 2;
  };
  FakeOptions b{.device = "b", .inputs = {f32("first"), f32("")}, .outputs = {f32("x")}};
  b.compute = [](auto in, auto out) { value(out[0]) = value(in[0]) * value(in[1]); };
  const FakeOptions c{
      .device = "c", .inputs = {f32("x")}, .outputs = {f32("y")}};  // b's x, not the pipeline's
  Pipeline pipe{chain(a, b, c)};
  const Result result = pipe.infer(std::array<float, 1>{3});
  CHECK(result.floats()[0] == 20);
}

TEST_CASE("a mismatch names both neighbours and both specs") {
  const FakeOptions a{.name = "head",
                      .device = "dpu:0",
                      .outputs = {{.name = "mid", .shape = {1, 4}, .dtype = DType::i8, .fix_point = 3}}};
  FakeOptions b{
      .name = "tail", .device = "gpu:0", .inputs = {{.name = "mid", .shape = {1, 4}, .dtype = DType::f16}}};
  std::string text = error_of(chain(a, b));
  for (const char* part : {"head", "dpu:0", "tail", "gpu:0", "'mid'", "i8 1x4 fix_point 3", "f16 1x4"}) {
    CHECK(text.find(part) != std::string::npos);
  }
  b.inputs = {{.name = "other",
               .shape = {1, 4},
               .dtype = DType::i8,
               .fix_point = 2}};  // found by position, another scale
  text = error_of(chain(a, b));
  for (const char* part : {"fix_point 3", "fix_point 2", "'other'", "'mid'"})
    CHECK(text.find(part) != std::string::npos);
  b.inputs = {a.outputs[0], f32("nowhere")};
  text = error_of(chain(a, b));
  for (const char* part : {"tail", "head", "'nowhere'", "'mid'"}) CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("a stage nobody reads from is a mistake in the names") {
  const FakeOptions a{.name = "first"},
      b{.name = "second", .device = "b"};  // both x -> y: second would read the pipeline's x
  const std::string text = error_of(chain(a, b));
  for (const char* part : {"first", "second", "'y'"}) CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("an offer of the wrong size is refused") {
  class Confused : public FakeStage {
   public:
    using FakeStage::FakeStage;
    std::optional<std::vector<TensorView>> try_input_buffers(std::size_t) override {
      return std::vector<TensorView>(3);
    }
  };
  std::vector<std::unique_ptr<Stage>> stages;
  stages.push_back(std::make_unique<Confused>(FakeOptions{.name = "confused"}));
  CHECK(error_of(std::move(stages)).find("confused") != std::string::npos);
}
