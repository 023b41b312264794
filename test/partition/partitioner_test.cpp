#include "splitcnn/partitioner.hpp"

#include "support/catch.hpp"

using namespace splitcnn;

namespace {

template <class F>
Errc code_of(F f) {
  try {
    (void)f();
  } catch (const Error& e) {
    return e.code();
  }
  return Errc::ok;
}

int count(const Plan& plan) { return static_cast<int>(plan.route(0).segments.size()); }

}  // namespace

TEST_CASE("split_at makes one or two segments that cover the graph") {
  const Partitioner parts{Graph::zoo("lenet5")};
  const int last = static_cast<int>(parts.units().size());
  for (int k = 0; k <= last; ++k) {
    const Plan plan = parts.split_at(k, "gpu:0", "cpu");
    CAPTURE(k);
    REQUIRE(count(plan) == (k == 0 || k == last ? 1 : 2));
    REQUIRE(plan.route(0).segments.front().first == 0);
    REQUIRE(plan.route(0).segments.back().last == parts.graph().nodes().size());
    if (k > 0 && k < last) {
      REQUIRE(plan.head().last == parts.cuts()[static_cast<std::size_t>(k)].node);
      REQUIRE(plan.head().device == "gpu:0");
      REQUIRE(plan.tail().device == "cpu");
    }
  }
  REQUIRE(code_of([&] { return parts.split_at(-1, "gpu:0", "cpu"); }) == Errc::bad_argument);
  REQUIRE(code_of([&] { return parts.split_at(last + 1, "gpu:0", "cpu"); }) == Errc::bad_argument);
  REQUIRE(code_of([&] { return parts.split_at(1, "dpu:0", "cpu"); }) == Errc::not_calibrated);
  REQUIRE(count(parts.split_at(1, "cpu", "cpu")) == 1);
}

TEST_CASE("illegal heads are refused with the reason") {
  const Partitioner parts{Quantizer{}.calibrate_synthetic(Graph::zoo("googlenet", {.input_size = 64}), 1)};
  bool saw_illegal = false;
  for (const Cut& cut : parts.cuts()) {
    if (cut.k == 0) continue;
    CAPTURE(cut.k, cut.reason);
    REQUIRE(code_of([&] { return parts.split_at(cut.k); }) == (cut.legal ? Errc::ok : Errc::unsupported));
    saw_illegal |= !cut.legal;
  }
  const Plan all = parts.all_on("dpu:0");
  REQUIRE(all.route(0).segments.front().device == "dpu:0");
  if (saw_illegal) REQUIRE(count(all) == 2);
  REQUIRE(count(parts.all_on("gpu:0")) == 1);
}

TEST_CASE("switched joins equal neighbours") {
  const Partitioner parts{Graph::zoo("lenet5")};
  const std::size_t n = parts.units().size();
  REQUIRE(n >= 4);
  std::vector<std::string> devices(n, "gpu:0");
  REQUIRE(count(parts.switched(devices)) == 1);
  devices[1] = devices[2] = "cpu";
  const Plan plan = parts.switched(devices);
  REQUIRE(count(plan) == 3);
  REQUIRE(plan.route(0).segments[1].first_unit == 1);
  REQUIRE(plan.route(0).segments[1].last_unit == 3);
  devices.pop_back();
  REQUIRE(code_of([&] { return parts.switched(devices); }) == Errc::bad_argument);
}
