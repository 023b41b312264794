// Ops as tail ops: every operator against ONNX Runtime's values, random graphs against the float executor, convolutions
// against the error bound, the passes against themselves.
#include <cmath>
#include <cstring>
#include <fstream>

#include "core/convert.hpp"
#include "core/half.hpp"
#include "core/json_file.hpp"
#include "cpu/random_graph.hpp"
#include "gpu/tail_cases.hpp"

using namespace splitcnn;
using namespace splitcnn_test;
using gpu::TailKind;

namespace {

std::vector<float> all_values() {
  std::ifstream in{small_data() + "/ops/values.f32", std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

std::vector<float> find(const nlohmann::json& list, const std::string& name, std::span<const float> values) {
  for (const auto& item : list) {
    if (item["name"] != name) continue;
    std::size_t n = 1;
    for (const auto& d : item["shape"]) n *= d.get<std::size_t>();
    const auto part = values.subspan(item["offset"].get<std::size_t>(), n);
    return {part.begin(), part.end()};
  }
  return {};
}

std::size_t count(const gpu::TailProgram& p, TailKind kind) {
  return static_cast<std::size_t>(std::count_if(p.ops.begin(), p.ops.end(), [&](const gpu::TailOp& op) { return op.kind == kind; }));
}

/// Every pad lane of every tensor that an op has written is zero.
void check_pads(gpu::HostTail& host, std::size_t op, std::uint32_t frames) {
  const std::uint32_t y = host.ops()[op].y;
  if (y == gpu::no_tensor) return;
  const gpu::TailTensor& t = host.tensors()[y];
  const auto values = host.tensor(y, frames);
  const auto run = static_cast<std::size_t>(t.dims[t.rank - 1]), padded = static_cast<std::size_t>(t.padded);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % padded >= run && values[i] != 0) {
      CAPTURE(op, i);
      FAIL("a pad lane is not zero");
    }
  }
}

/// All ops on poisoned arenas; pad lanes are checked where the op completes its tensor (concatenations write in parts).
void run_checked(const gpu::TailProgram& program, const Values& values, const Boundary& edge, std::vector<std::vector<float>>& results) {
  gpu::TailProgram copy = program;
  gpu::HostTail host{copy.view(), 2};
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<std::vector<float>> doubled;
  for (const TensorId t : edge.inputs) {
    doubled.push_back(values.at(t));
    doubled.back().insert(doubled.back().end(), values.at(t).begin(), values.at(t).end());
    in.push_back(doubled.back().data());
  }
  results.clear();
  for (const gpu::TailIo& io : copy.outputs) results.emplace_back(2 * io.frame_bytes / sizeof(float));
  for (auto& r : results) out.push_back(r.data());
  host.bind(in, out);
  for (std::uint32_t t = 0; t < copy.tensors.size(); ++t) {
    if (copy.tensors[t].place == gpu::Place::arena) std::fill(host.tensor(t, 2).begin(), host.tensor(t, 2).end(), std::uint16_t{0xffff});
  }
  for (std::size_t i = 0; i < copy.ops.size(); ++i) {
    host.run_op(i, 2);
    if (i + 1 == copy.ops.size() || copy.ops[i + 1].y != copy.ops[i].y) check_pads(host, i, 2);
  }
  for (auto& r : results) {  // both frames alike
    REQUIRE(std::memcmp(r.data(), r.data() + r.size() / 2, r.size() * 2) == 0);
    r.resize(r.size() / 2);
  }
}

}  // namespace

TEST_CASE("every operator of every opset as tail ops computes what ONNX Runtime computes, to FP16") {
  const std::vector<float> values = all_values();
  const auto index = read_json(small_data() + "/ops/index.json");
  REQUIRE(index.size() > 300);
  std::size_t split = 0;
  for (const auto& [name, item] : index.items()) {
    INFO(name);
    const Graph graph = Graph::load(small_data() + "/ops/" + name + ".onnx");
    try {
      Tail tail{graph, gpu::TailOptions{}, false};
      REQUIRE(gpu::check_tail(tail.program) == "");
      Values in;
      for (const TensorId t : tail.edge.inputs) in[t] = find(item["inputs"], graph.tensor(t).name, values);
      std::vector<std::vector<float>> results;
      run_checked(tail.program, in, tail.edge, results);
      for (std::size_t o = 0; o < results.size(); ++o) {
        const auto expected = find(item["outputs"], graph.tensor(tail.edge.outputs[o]).name, values);
        CHECK(error(results[o], expected) <= 4e-3);
      }
    } catch (const gpu::TailUnsupported& e) {
      ++split;
      std::printf("%s: %s\n", name.c_str(), e.what());
    }
  }
  CHECK(split == 0);
}

TEST_CASE("random graphs as tails agree with the float executor and with FP16 storage on the CPU") {
  Random random{seed()};
  for (int i = 0; i < 80; ++i) {
    const Graph graph = random_graph(random, random.draw(3, 25));
    INFO("case " << i << ": " << text(graph));
    Tail tail{graph};
    REQUIRE(gpu::check_tail(tail.program) == "");
    Values full = random_inputs(graph, random), f16 = full, tails = full;
    run_all(graph, full);
    run_all(graph, f16, {.f16_storage = true});
    std::vector<std::vector<float>> results;
    run_checked(tail.program, tails, tail.edge, results);
    for (std::size_t o = 0; o < results.size(); ++o) {
      CHECK(error(results[o], full.at(tail.edge.outputs[o])) <= 4e-2);
      CHECK(error(results[o], f16.at(tail.edge.outputs[o])) <= 6e-3);  // a few units in the last place: sums round in another order
      for (const float v : results[o]) REQUIRE(v == from_half(to_half(v)));
    }
  }
}

TEST_CASE("sinking, forking and grouping change no bit") {
  Random random{seed()};
  for (int i = 0; i < 60; ++i) {
    const Graph graph = i < 50 ? random_graph(random, 20) : Graph::zoo(i % 2 ? "mobilenet_v2" : "resnet18", {.input_size = 32});
    Values a = random_inputs(graph, random), b = a;
    Tail all{graph}, none{graph, {.sink_clamps = false, .fuse_gap_fc = false, .fork = false, .group = false}};
    all.run(a);
    none.run(b);
    INFO(text(graph));
    for (const TensorId t : graph.outputs()) REQUIRE(std::memcmp(a.at(t).data(), b.at(t).data(), a.at(t).size() * sizeof(float)) == 0);
  }
}

TEST_CASE("a side op may run at its fork or as late as its join") {
  Random random{seed()};
  for (const char* name : {"resnet18", "resnet50"}) {
    const Graph graph = Graph::zoo(name, {.input_size = 32});
    Values values = random_inputs(graph, random);
    Tail tail{graph};
    std::size_t forks = 0;
    for (const gpu::TailOp& op : tail.program.ops) forks += op.lane == 1;
    CHECK(forks == (std::string{name} == "resnet18" ? 3 : 4));
    Values late = values;
    tail.run(values);
    gpu::HostTail host{tail.program.view(), 1};
    auto& out = late[tail.edge.outputs[0]];
    out.assign(values.at(tail.edge.outputs[0]).size(), 0.0f);
    const void* in = late.at(tail.edge.inputs[0]).data();
    void* to = out.data();
    host.bind({&in, 1}, {&to, 1});
    for (std::size_t i = 0; i < tail.program.ops.size(); ++i) {
      const gpu::TailOp& op = tail.program.ops[i];
      if (op.lane == 1) continue;  // runs when somebody waits for it
      if (op.wait >= 0) host.run_op(static_cast<std::size_t>(op.wait), 1);
      host.run_op(i, 1);
    }
    CHECK(out == values.at(tail.edge.outputs[0]));
  }
}

TEST_CASE("the canonical order: residual adds are the z of a convolution, ReLU6 leaves no op behind") {
  const Tail resnet{Graph::zoo("resnet50", {.input_size = 32})}, mobile{Graph::zoo("mobilenet_v2", {.input_size = 32})};
  CHECK(count(resnet.program, TailKind::elementwise) == 0);
  CHECK(count(resnet.program, TailKind::gap_fc) == 1);
  CHECK(count(mobile.program, TailKind::elementwise) == 0);
  CHECK(count(mobile.program, TailKind::depthwise) == 17);
  std::size_t z = 0, sunk = 0;
  for (const gpu::TailOp& op : resnet.program.ops) z += op.kind == TailKind::conv && op.x[1] != gpu::no_tensor;
  for (const gpu::TailOp& op : mobile.program.ops) sunk += std::isfinite(op.load_max[0]);
  CHECK(z == 16);
  CHECK(sunk == 18);  // every depthwise layer and the pool at the end
  for (const auto* p : {&resnet.program, &mobile.program}) {
    for (const gpu::TailOp& op : p->ops) {
      if (op.kind != TailKind::conv) continue;
      CHECK((op.act == gpu::TailAct::none || op.act == gpu::TailAct::relu));
      CHECK(p->tensors[op.x[0]].padded % 8 == 0);
    }
  }
  const Tail lenet{Graph::zoo("lenet5")};
  REQUIRE(lenet.program.groups.size() == 1);
  CHECK(lenet.program.groups[0].last - lenet.program.groups[0].first >= 6);
}

TEST_CASE("a convolution stays within the bound of FP16 results and f32 sums") {
  Random random{seed()};
  for (int i = 0; i < 60; ++i) {
    Maker m{random};
    const std::int64_t groups = random.pick({1, 1, 1, 2, 3}), c = groups * random.draw(1, 20), k = groups * random.draw(1, 20);
    const int kernel = random.pick({1, 3, 5}), h = random.draw(kernel, 12), w = random.draw(kernel, 12);
    const TensorId x = m.input({1, c, h, w});
    const TensorId weight = m.constant({k, c / groups, kernel, kernel}), bias = m.constant({k});
    const int pad = random.draw(0, kernel / 2), stride = random.draw(1, 2);
    const TensorId y = m.add({.op = Op::conv,
                              .inputs = {x, weight, bias},
                              .window = {kernel, kernel, stride, stride, 1, 1, pad, pad, pad, pad},
                              .groups = static_cast<int>(groups)});
    const Graph graph = m.finish(y);
    Tail tail{graph};
    Values values = random_inputs(graph, random);
    for (float& v : values.at(x)) v = from_half(to_half(v));
    tail.run(values);
    // The same in double from the rounded weights, and the sum of magnitudes.
    const Shape out = storage_shape(graph.tensor(y).shape);
    const auto ws = graph.constant(weight), bs = graph.constant(bias);
    const std::int64_t per = c / groups, terms = per * kernel * kernel;
    std::size_t at = 0;
    cpu::for_each_index(out, [&](const std::vector<std::int64_t>& o) {
      const double b = static_cast<double>(from_half(to_half(bs[static_cast<std::size_t>(o[3])])));
      double sum = b, magnitude = 0;
      for (std::int64_t t = 0; t < terms; ++t) {
        const std::int64_t ch = t / (kernel * kernel), r = o[1] * stride - pad + t / kernel % kernel, s = o[2] * stride - pad + t % kernel;
        if (r < 0 || r >= h || s < 0 || s >= w) continue;
        const double v = static_cast<double>(values.at(x)[static_cast<std::size_t>((r * w + s) * c + o[3] / (k / groups) * per + ch)]) *
                         static_cast<double>(from_half(to_half(ws[static_cast<std::size_t>(o[3] * terms + t)])));
        sum += v;
        magnitude += std::fabs(v);
      }
      const double bound = 0x1p-11 * std::fabs(sum) + 0x1p-11 * std::fabs(b) + static_cast<double>(terms) * 0x1p-23 * magnitude + 0x1p-24;
      REQUIRE(std::fabs(static_cast<double>(values.at(y)[at++]) - sum) <= 2 * bound);
    });
  }
}

TEST_CASE("ReLU6 sunk is ReLU6: every FP16 number and the floats around the steps") {
  const auto relu6 = [](float v) { return std::min(std::max(v, 0.0f), 6.0f); };
  const float six = from_half(to_half(6.0f));
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float exact = from_half(static_cast<std::uint16_t>(bits));
    if (std::isnan(exact)) continue;
    for (const float v : {exact, std::nextafter(exact, -INFINITY), std::nextafter(exact, INFINITY), exact * 1.00048828125f}) {
      const float sunk = std::min(from_half(to_half(std::max(v, 0.0f))), six);
      REQUIRE(sunk == from_half(to_half(relu6(v))));
    }
  }
}

TEST_CASE("what the device refuses goes to the CPU, with the node's name") {
  const Graph graph = Graph::zoo("resnet18", {.input_size = 32});
  const auto last = static_cast<NodeId>(graph.nodes().size());
  CHECK(gpu::split_tail(graph, 0, last, {}).size() == 1);
  const auto no_pools = [](gpu::TailProgram& p, std::size_t i) { return std::string{p.ops[i].kind == TailKind::max_pool ? "no pools here" : ""}; };
  const auto pieces = gpu::split_tail(graph, 0, last, no_pools);
  REQUIRE(pieces.size() == 3);
  CHECK(pieces[0].on_gpu);
  CHECK(!pieces[1].on_gpu);
  CHECK(pieces[2].on_gpu);
  CHECK(pieces[1].last == pieces[1].first + 1);
  CHECK(graph.nodes()[pieces[1].first].op == Op::max_pool);
  CHECK(pieces[1].reason.find(graph.nodes()[pieces[1].first].name) != std::string::npos);
  CHECK(pieces[1].reason.find("no pools here") != std::string::npos);
  const auto nothing = [](gpu::TailProgram&, std::size_t) { return std::string{"nothing at all"}; };
  const auto all_cpu = gpu::split_tail(graph, 0, last, nothing);
  REQUIRE(all_cpu.size() == 1);
  CHECK(!all_cpu[0].on_gpu);
}

TEST_CASE("check_tail finds programs that leave their memory") {
  const Tail good{Graph::zoo("resnet18", {.input_size = 32})};
  REQUIRE(gpu::check_tail(good.program) == "");
  gpu::TailProgram p = good.program;
  p.ops[1].weights = p.weights.size();
  CHECK(gpu::check_tail(p) != "");
  p = good.program;
  p.ops[0].walk[3].offset = p.tensors[p.ops[0].y].frame_elements;
  CHECK(gpu::check_tail(p) != "");
  p = good.program;
  for (std::size_t i = 1; i < p.ops.size(); ++i) {  // what is about to be added lies where the layer before writes
    if (p.ops[i].kind == TailKind::conv && p.ops[i].x[1] != gpu::no_tensor)
      p.tensors[p.ops[i].x[1]].offset = p.tensors[p.ops[i - 1].y].offset + gpu::tail_alignment;
  }
  CHECK(gpu::check_tail(p) != "");
  const auto hash = good.program.hash;
  CHECK(Tail{Graph::zoo("resnet18", {.input_size = 32})}.program.hash == hash);
  CHECK(Tail{Graph::zoo("resnet18", {.seed = 2, .input_size = 32})}.program.hash != hash);
}
