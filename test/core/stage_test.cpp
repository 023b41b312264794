#include "splitcnn/stage.hpp"

#include <array>

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

constexpr auto soon = [] { return Clock::now() + std::chrono::seconds{1}; };

}  // namespace

TEST_CASE("a host stage calls the function once per frame with that frame's tensors", "[stage]") {
  const std::vector<TensorSpec> in{{.name = "a", .shape = {1, 2}}, {.name = "b", .shape = {1}}};
  const std::vector<TensorSpec> out{{.name = "c", .shape = {1}}};
  HostStage stage{"sum", in, out, [](std::span<const TensorView> from, std::span<const TensorView> to) {
                    REQUIRE(from.size() == 2);
                    REQUIRE(to.size() == 1);
                    const auto* a = reinterpret_cast<const float*>(from[0].data);
                    const auto* b = reinterpret_cast<const float*>(from[1].data);
                    *reinterpret_cast<float*>(to[0].data) = a[0] + a[1] + b[0];
                  }};
  CHECK(stage.name() == "sum");
  CHECK(stage.device() == "host:sum");
  CHECK(stage.preferred_batch() == 1);
  CHECK(stage.max_in_flight() == 1);
  CHECK_FALSE(stage.try_input_buffers(0));
  std::vector<Tensor> tensors;
  std::vector<TensorView> inputs, outputs;
  tensors.reserve(9);
  for (int f = 0; f < 3; ++f) {
    for (const TensorSpec& spec : in) {
      Tensor& t = tensors.emplace_back(spec);
      for (float& x : t.as<float>()) x = static_cast<float>(f + 1);
      inputs.push_back(t.view());
    }
    outputs.push_back(tensors.emplace_back(out[0]).view());
  }
  const Ticket ticket = stage.submit({3, inputs, outputs});
  CHECK(stage.wait(ticket, soon()).ok());
  for (int f = 0; f < 3; ++f)
    CHECK(*reinterpret_cast<float*>(outputs[static_cast<std::size_t>(f)].data) == 3 * (f + 1));
  CHECK(stage.wait({ticket.id + 1}, soon()).code == Errc::bad_argument);
}

TEST_CASE("whatever a host stage's function throws fails that batch and no other", "[stage]") {
  int call = 0;
  HostStage stage{"moody",
                  {},
                  {},
                  [&](auto, auto) {
                    switch (call++) {
                      case 0:
                        throw Error{Errc::device_failed, "pulled the plug"};
                      case 1:
                        throw 42;
                      default:
                        break;
                    }
                  },
                  "cpu"};
  CHECK(stage.device() == "cpu");
  const auto run = [&] { return stage.wait(stage.submit({1, {}, {}}), soon()); };
  const Status first = run();
  CHECK(first.code == Errc::stage_failed);
  CHECK(first.message == "moody: pulled the plug");
  CHECK(run().code == Errc::stage_failed);
  CHECK(run().ok());
}

TEST_CASE("a host stage without a function is refused", "[stage]") {
  try {
    HostStage stage{"empty", {}, {}, nullptr};
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::bad_argument);
  }
}
