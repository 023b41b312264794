// cuDNN plans without a GPU: devices are descriptions, nothing is executed.
#include <chrono>
#include <cstdio>
#include <map>
#include <set>

#include "core/json_file.hpp"
#include "gpu/cuda/conv_plan.hpp"
#include "gpu/tail/build.hpp"
#include "gpu/tail_cases.hpp"

using namespace splitcnn;
using namespace splitcnn::gpu::cuda;
using splitcnn_test::small_data;

namespace {

constexpr std::uint32_t batches[] = {1, 2, 4, 8, 16};

/// Distinct shapes of all convolutions and dense layers that are not depthwise, by network.
const std::map<std::string, std::set<ConvShape>>& zoo_shapes() {
  static const auto shapes = [] {
    std::map<std::string, std::set<ConvShape>> found;
    for (const std::string& name : Graph::zoo_names()) {
      const splitcnn_test::Tail tail{Graph::zoo(name)};
      for (const gpu::TailOp& op : tail.program.ops) {
        if (op.kind == gpu::TailKind::conv) REQUIRE(is_conv(op));
        if (!is_conv(op)) continue;
        for (const std::uint32_t batch : batches) found[name].insert(conv_shape(op, batch));
      }
    }
    return found;
  }();
  return shapes;
}

std::vector<DeviceProperties> devices() {
  std::vector<DeviceProperties> list;
  for (const auto& entry : read_json(small_data() + "/gpu_devices.json"))
    list.push_back(DeviceProperties::from_json(entry.dump()));
  return list;
}

ConvShape square(std::int64_t n, std::int64_t size, std::int64_t channels, std::int64_t kernel) {
  const std::int64_t pad = kernel / 2;
  return {.n = n,
          .h = size,
          .w = size,
          .c = channels,
          .k = channels,
          .p = size,
          .q = size,
          .r = kernel,
          .s = kernel,
          .pad_top = pad,
          .pad_left = pad,
          .pad_bottom = pad,
          .pad_right = pad,
          .relu = true};
}

}  // namespace

TEST_CASE("every convolution of the zoo has a precompiled plan on four GPUs") {
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::set<ConvShape> distinct;
  std::size_t cases = 0;
  for (const auto& [name, shapes] : zoo_shapes()) {
    std::printf("%-14s %zu shapes over batches 1, 2, 4, 8, 16\n", name.c_str(), shapes.size());
    distinct.insert(shapes.begin(), shapes.end());
    cases += shapes.size();
  }
  REQUIRE(zoo_shapes().size() == Graph::zoo_names().size());
  std::printf("%zu cases, %zu distinct; networks built in %.1f s\n", cases, distinct.size(), seconds());
  const auto list = devices();
  REQUIRE(list.size() == 4);
  for (const DeviceProperties& device : list) {
    const double from = seconds();
    const std::int64_t cap = default_workspace_cap(device);
    std::int64_t largest = 0;
    std::size_t found = 0, fallback = 0, json_bytes = 0;
    PlanCensus census;
    for (const ConvShape& shape : distinct) {
      INFO(device.name() << ": " << shape.text());
      census.fallback = false;
      const auto plans =
          find_plans(ConvGraph{shape, device}, device, {.workspace_cap = cap, .most = 1}, &census);
      fallback += census.fallback;
      REQUIRE(plans.size() == 1);
      const ConvPlan& plan = plans.front();
      CHECK(!plan.traits().runtime_compiled);
      CHECK(plan.workspace() <= cap);
      const std::string json = plan.json();
      const ConvPlan again = ConvPlan::from_json(json, plan.traits(), device);
      CHECK(again.json() == json);
      CHECK(again.workspace() == plan.workspace());
      largest = std::max(largest, plan.workspace());
      json_bytes = std::max(json_bytes, json.size());
      ++found;
    }
    std::printf(
        "%-24s sm_%d: %zu of %zu have a precompiled plan (%zu by FALLBACK), workspace <= %.1f MB of %.0f MB "
        "(%zu configurations over it), "
        "JSON <= %.1f KB, %.1f s\n",
        device.name().c_str(), device.sm(), found, distinct.size(), fallback,
        static_cast<double>(largest) / 1e6, static_cast<double>(cap) / 1e6, census.too_much_workspace,
        static_cast<double>(json_bytes) / 1e3, seconds() - from);
  }
}

TEST_CASE("plans obey the cap, the number asked for and the errata") {
  for (const DeviceProperties& device : devices()) {
    INFO(device.name());
    const ConvGraph graph{square(16, 28, 256, 3), device};
    const auto all = find_plans(graph, device, {});
    REQUIRE(all.size() > 4);
    CHECK(all.size() <= 16);
    CHECK(find_plans(graph, device, {.most = 3}).size() == 3);
    bool some_need_workspace = false;
    for (const ConvPlan& p : all) some_need_workspace = some_need_workspace || p.workspace() > 0;
    PlanCensus census;
    for (const ConvPlan& p : find_plans(graph, device, {.workspace_cap = 0, .most = 64}, &census))
      CHECK(p.workspace() == 0);
    CHECK((census.too_much_workspace > 0 || !some_need_workspace));

    const std::int64_t bad = all.front().traits().engine;
    const Erratum table[] = {{90000, 100000, device.sm(), device.sm() + 1, bad, false, "made up"}};
    census = {};
    for (const ConvPlan& p : find_plans(graph, device, {.most = 64, .errata = table}, &census))
      CHECK(p.traits().engine != bad);
    CHECK(census.by_erratum > 0);
  }
}

TEST_CASE("an erratum holds for its versions, architectures, engines and kinds only") {
  const Erratum table[] = {{91900, 92301, 120, 130, -1, true, "runtime"},
                           {90000, 90100, 75, 76, 7, false, "seven"}};
  const EngineTraits runtime{.engine = 8, .runtime_compiled = true}, plain{.engine = 8}, seven{.engine = 7};
  CHECK(find_erratum(table, 91900, 120, runtime) == table[0].reason);
  CHECK(find_erratum(table, 92300, 121, runtime) == table[0].reason);
  CHECK(find_erratum(table, 92301, 120, runtime) == nullptr);
  CHECK(find_erratum(table, 91900, 90, runtime) == nullptr);
  CHECK(find_erratum(table, 91900, 120, plain) == nullptr);
  CHECK(find_erratum(table, 90000, 75, seven) == table[1].reason);
  CHECK(find_erratum(table, 90000, 75, plain) == nullptr);
  CHECK(find_erratum(table, 90100, 75, seven) == nullptr);
  for (const Erratum& e : errata()) {
    CHECK(e.from_version < e.to_version);
    CHECK(e.from_sm < e.to_sm);
    CHECK(std::string{e.reason}.size() > 20);
  }
}

TEST_CASE("a convolution that cannot be has no plan and does not throw") {
  const auto device = std::move(devices().front());
  PlanCensus census;
  CHECK(find_plans(ConvGraph{square(1, 8, 8, 3), device}, device, {.workspace_cap = -1}, &census)
            .empty());  // nothing is below it
  CHECK(census.fallback);
  CHECK_THROWS_AS(ConvPlan::from_json("{}", {}, device), CudnnError);
  CHECK_THROWS_AS(ConvPlan::from_json("no json", {}, device), CudnnError);
  CHECK_THROWS(DeviceProperties::from_json("{}"));
  ConvShape wrong = square(1, 8, 8, 3);
  wrong.p = 9;
  CHECK_THROWS_AS((ConvGraph{wrong, device}), CudnnError);
}
