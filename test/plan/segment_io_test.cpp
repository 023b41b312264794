#include "plan/segment_io.hpp"

#include <map>
#include <random>
#include <set>

#include "plan/branching.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

const Shape model_image{1, 3, 8, 6};
const Shape stored_image{1, 8, 6, 3};

struct Fixture {
  Graph graph = branching_graph();

  Plan plan(const std::vector<std::pair<std::string, NodeId>>& pieces) const {
    return {graph, quantised(graph), {route(pieces)}};
  }
  int fix_point(const char* name) const { return 3 + static_cast<int>(*graph.find_tensor(name)); }
  TensorSpec model(const char* name, const Shape& shape = model_image) const {
    return {.name = name, .shape = shape};
  }
  TensorSpec i8(const char* name, const char* of, const Shape& shape = stored_image) const {
    return {.name = name, .shape = shape, .dtype = DType::i8, .fix_point = fix_point(of)};
  }
  TensorSpec f16(const char* name, const Shape& shape = stored_image) const {
    return {name, shape, DType::f16};
  }
};

std::vector<TensorSpec> specs(const std::vector<EdgeTensor>& edges) {
  std::vector<TensorSpec> out;
  for (const EdgeTensor& edge : edges) {
    CHECK(edge.representation.dtype == edge.spec.dtype);
    CHECK(edge.representation.fix_point == edge.spec.fix_point);
    out.push_back(edge.spec);
  }
  return out;
}

using Specs = std::vector<TensorSpec>;

}  // namespace

TEST_CASE("a split on a DPU crosses as int8; a skipping branch crosses beside", "[segment_io]") {
  const Fixture f;
  const Plan plan = f.plan({{"dpu:0", 3}, {"gpu:0", 8}});
  const SegmentIo head = segment_io(plan, plan.head()), tail = segment_io(plan, plan.tail());
  CHECK(specs(head.inputs) == Specs{f.model("x")});
  CHECK_FALSE(head.inputs[0].representation.channels_last);
  CHECK(specs(head.outputs) == Specs{f.i8("t0", "t0"), f.i8("t2", "t2")});
  CHECK(head.outputs[0].representation.channels_last);
  CHECK(specs(tail.inputs) == Specs{f.i8("t0", "t0"), f.i8("t2", "t2")});
  CHECK(specs(tail.outputs) == Specs{f.model("t3"), f.model("t7", {1, 3})});
  CHECK_FALSE(tail.outputs[0].representation.channels_last);
}

TEST_CASE("A,B,A: a tensor consumed on both devices crosses once, as int8", "[segment_io]") {
  const Fixture f;
  const Plan plan = f.plan({{"dpu:0", 1}, {"gpu:0", 4}, {"dpu:0", 8}});
  const auto& s = plan.route(0).segments;
  CHECK(specs(segment_io(plan, s[0]).outputs) == Specs{f.i8("t0", "t0")});
  CHECK(specs(segment_io(plan, s[1]).inputs) == Specs{f.i8("t0", "t0")});
  // t3 is a graph output and read by the last segment.
  const SegmentIo middle = segment_io(plan, s[1]);
  CHECK(specs(middle.outputs) == Specs{f.model("t3"), f.i8("t3@i8", "t3")});
  CHECK(middle.outputs[0].id == middle.outputs[1].id);
  CHECK(specs(segment_io(plan, s[2]).inputs) == Specs{f.i8("t0", "t0"), f.i8("t3@i8", "t3")});
  CHECK(specs(segment_io(plan, s[2]).outputs) == Specs{f.model("t7", {1, 3})});
}

TEST_CASE("B,A,B: what passes over the DPU segment untouched stays f16", "[segment_io]") {
  const Fixture f;
  // t0 is written by the GPU, read by the DPU (t2 = t0 + t1): int8. t1 goes there, too.
  const Plan near = f.plan({{"gpu:0", 2}, {"dpu:0", 3}, {"gpu:0", 8}});
  const auto& s = near.route(0).segments;
  CHECK(specs(segment_io(near, s[0]).outputs) == Specs{f.i8("t0", "t0"), f.i8("t1", "t1")});
  CHECK(specs(segment_io(near, s[1]).outputs) == Specs{f.i8("t2", "t2")});
  CHECK(specs(segment_io(near, s[2]).inputs) == Specs{f.i8("t0", "t0"), f.i8("t2", "t2")});
  // Here the DPU only has node 3: t0 passes it from GPU to GPU.
  const Plan far = f.plan({{"gpu:0", 3}, {"dpu:0", 4}, {"gpu:0", 8}});
  const auto& t = far.route(0).segments;
  CHECK(specs(segment_io(far, t[0]).outputs) == Specs{f.f16("t0"), f.i8("t2", "t2")});
  CHECK(specs(segment_io(far, t[1]).inputs) == Specs{f.i8("t2", "t2")});
  CHECK(specs(segment_io(far, t[1]).outputs) == Specs{f.model("t3"), f.i8("t3@i8", "t3")});
  CHECK(specs(segment_io(far, t[2]).inputs) == Specs{f.f16("t0"), f.i8("t3@i8", "t3")});
}

TEST_CASE("GPU and CPU share f16, CPU and CPU f32, ranks other than 4 keep their order", "[segment_io]") {
  const Fixture f;
  const Plan mixed = f.plan({{"gpu:0", 4}, {"cpu", 7}, {"my-device", 8}});
  const auto& s = mixed.route(0).segments;
  CHECK(specs(segment_io(mixed, s[0]).outputs) == Specs{f.f16("t0"), f.model("t3"), f.f16("t3@f16")});
  CHECK(specs(segment_io(mixed, s[1]).inputs) == Specs{f.f16("t0"), f.f16("t3@f16")});
  CHECK(specs(segment_io(mixed, s[1]).outputs) == Specs{TensorSpec{"t6", {1, 3}}});
  const Plan cpu = f.plan({{"cpu", 4}, {"cpu", 8}});
  CHECK(specs(segment_io(cpu, cpu.head()).outputs) ==
        Specs{TensorSpec{"t0", stored_image}, f.model("t3"), TensorSpec{"t3@f32", stored_image}});
}

TEST_CASE("with an input transform the graph input has the first segment's type, channels last",
          "[segment_io]") {
  const Fixture f;
  for (const char* device : {"dpu:0", "gpu:0", "cpu"}) {
    Plan plan = f.plan({{device, 3}, {"cpu", 8}});
    plan.input_transform.emplace();
    const SegmentIo head = segment_io(plan, plan.head());
    REQUIRE(head.inputs.size() == 1);
    CHECK(head.inputs[0].representation.channels_last);
    const DeviceKind kind = device_kind(device);
    const TensorSpec expected = kind == DeviceKind::dpu   ? f.i8("x", "x")
                                : kind == DeviceKind::gpu ? f.f16("x")
                                                          : TensorSpec{"x", stored_image};
    CHECK(head.inputs[0].spec == expected);
  }
}

TEST_CASE("segments are found by address, then by value, else refused", "[segment_io]") {
  const Fixture f;
  // Two routes with an equal first segment but other neighbours: the address tells them apart.
  const Plan plan{f.graph,
                  quantised(f.graph),
                  {route({{"gpu:0", 3}, {"cpu", 8}}, 0.5), route({{"gpu:0", 3}, {"dpu:0", 8}}, 0.5)}};
  CHECK(segment_io(plan, plan.route(0).segments[0]).outputs[0].spec.dtype == DType::f16);
  CHECK(segment_io(plan, plan.route(1).segments[0]).outputs[0].spec.dtype == DType::i8);
  const Segment copy = plan.route(1).segments[1];
  CHECK(segment_io(plan, copy).inputs[0].spec.dtype == DType::i8);
  Segment foreign = copy;
  foreign.device = "dpu:7";
  CHECK(code_of([&] { (void)segment_io(plan, foreign); }) == Errc::bad_argument);
}

TEST_CASE("a model may already use the name of a boundary copy", "[segment_io]") {
  GraphBuilder b{"names"};
  const auto x = b.input("x@f32", {1, 2});
  const auto y = b.add({.op = Op::relu, .name = "a", .inputs = {x}}, "y");
  const auto z = b.add({.op = Op::relu, .name = "b", .inputs = {y}}, "y@f32");
  b.output(y);
  b.output(z);
  const Graph graph = std::move(b).build();
  const Plan plan{graph, {}, {route({{"cpu", 1}, {"cpu", 2}})}};
  CHECK(segment_io(plan, plan.head()).outputs[1].spec.name == "y@f32@");
  CHECK(segment_io(plan, plan.tail()).inputs[0].spec.name == "y@f32@");
}

TEST_CASE("neighbours agree on every route: each input was written before, each graph output once",
          "[segment_io]") {
  const Fixture f;
  std::mt19937_64 random{splitcnn_test::seed()};
  for (int round = 0; round < 500; ++round) {
    std::vector<std::pair<std::string, NodeId>> pieces;
    for (NodeId at = 0; at < 8;) {
      at = std::min<NodeId>(8, at + 1 + static_cast<NodeId>(random() % 4));
      pieces.emplace_back(std::array{"cpu", "dpu:0", "gpu:0"}[random() % 3], at);
    }
    Plan plan = f.plan(pieces);
    if (random() % 2) plan.input_transform.emplace();
    std::map<std::string, TensorSpec> written;
    for (const Segment& segment : plan.route(0).segments) {
      const SegmentIo io = segment_io(plan, segment);
      for (const EdgeTensor& in : io.inputs) {
        if (in.spec.name == "x") {
          written.try_emplace("x", in.spec);  // fed by the pipeline, the same for every reader
        }
        REQUIRE(written.count(in.spec.name) == 1);
        REQUIRE(written.at(in.spec.name) == in.spec);
      }
      for (const EdgeTensor& out : io.outputs) REQUIRE(written.emplace(out.spec.name, out.spec).second);
    }
    for (const char* name : {"t3", "t7"}) REQUIRE(written.at(name).dtype == DType::f32);
    REQUIRE(written.at("t3").shape == model_image);
  }
}

TEST_CASE("device kinds", "[segment_io]") {
  CHECK(device_kind("dpu:0") == DeviceKind::dpu);
  CHECK(device_kind("dpu") == DeviceKind::dpu);
  CHECK(device_kind("gpu:1") == DeviceKind::gpu);
  CHECK(device_kind("cpu") == DeviceKind::cpu);
  CHECK(device_kind("npu") == DeviceKind::cpu);
  CHECK(device_kind("") == DeviceKind::cpu);
}
