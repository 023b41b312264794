#include "graph/zoo_net.hpp"

#include <cmath>
#include <utility>

namespace splitcnn::inline v0 {

namespace {

std::uint32_t scramble(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x21f0aaadu;
  x = (x ^ (x >> 15)) * 0x735a2d97u;
  return x ^ (x >> 15);
}

std::uint64_t hash_name(std::uint64_t seed, std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325u ^ (seed * 0x9e3779b97f4a7c15u);
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h ^ (h >> 29);
}

// The sum of the four bytes of a hashed counter: bell-shaped like trained weights, without a library's
// logarithm, which differs between machines. Integers up to the last line, so vectorised and scalar code
// agree.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "sse4.1", "default")))
#endif
void fill(float* out, std::size_t count, std::uint32_t key, std::uint32_t offset, float scale) {
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t x = static_cast<std::uint32_t>(i) * 0x9e3779b9u + key;
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    x = (x ^ (x >> 15)) + offset;
    const auto sum = static_cast<int>((x & 255u) + ((x >> 8) & 255u) + ((x >> 16) & 255u) + (x >> 24));
    out[i] = static_cast<float>(sum - 510) * scale;
  }
}

}  // namespace

std::vector<float> zoo_noise(std::uint64_t seed, std::string_view name, std::size_t count, double center,
                             double deviation) {
  const std::uint64_t key = hash_name(seed, name);
  const double byte_sum_deviation = std::sqrt(4 * (256.0 * 256.0 - 1) / 12);
  std::vector<float> values(count);
  fill(values.data(), count, static_cast<std::uint32_t>(key), scramble(static_cast<std::uint32_t>(key >> 32)),
       static_cast<float>(deviation / byte_sum_deviation));
  if (center != 0) {
    for (float& v : values) v += static_cast<float>(center);
  }
  return values;
}

ZooNet::ZooNet(std::string_view name, const ZooOptions& options, const ZooDefaults& defaults)
    : builder_{std::string{name}},
      seed_{options.seed},
      classes_{options.classes ? options.classes : defaults.classes} {
  const std::int64_t size = options.input_size ? options.input_size : defaults.size;
  image_ = builder_.input("input", {1, defaults.channels, size, size});
}

TensorId ZooNet::put(Op op, const std::string& name, Node node, std::optional<Shape> shape) {
  node.op = op;
  node.name = name;
  node.module = module_.empty() ? name : module_;
  return builder_.add(std::move(node), {}, shape);
}

TensorId ZooNet::noise(const std::string& name, const Shape& shape, double center, double deviation) {
  const auto count = static_cast<std::size_t>(shape.elements());
  return builder_.constant(name, shape, zoo_noise(seed_, name, count, center, deviation));
}

TensorId ZooNet::conv(const std::string& name, TensorId x, const ZooConv& conv) {
  const std::int64_t in = shape(x)[1] / conv.groups;
  const auto fan_in = static_cast<double>(in * conv.kernel * conv.kernel);
  Node node;
  node.inputs = {
      x, noise(name + ".weight", {conv.out, in, conv.kernel, conv.kernel}, 0, std::sqrt(conv.gain / fan_in))};
  if (conv.bias) node.inputs.push_back(noise(name + ".bias", {conv.out}, 0, 0.05));
  node.groups = conv.groups;
  node.window = {.kernel_h = conv.kernel,
                 .kernel_w = conv.kernel,
                 .stride_h = conv.stride,
                 .stride_w = conv.stride,
                 .pad_top = conv.pad,
                 .pad_left = conv.pad,
                 .pad_bottom = conv.pad,
                 .pad_right = conv.pad};
  return put(Op::conv, name, std::move(node));
}

TensorId ZooNet::batch_norm(const std::string& name, TensorId x, double gamma, float epsilon) {
  const Shape channels{shape(x)[1]};
  Node node;
  node.inputs = {x, noise(name + ".weight", channels, gamma, gamma * 0.1),
                 noise(name + ".bias", channels, 0, 0.1), noise(name + ".running_mean", channels, 0, 0.1),
                 noise(name + ".running_var", channels, 1, 0.1)};
  node.alpha = epsilon;
  return put(Op::batch_norm, name, std::move(node));
}

TensorId ZooNet::relu(const std::string& name, TensorId x) { return put(Op::relu, name, {.inputs = {x}}); }

TensorId ZooNet::relu6(const std::string& name, TensorId x) {
  return put(Op::clip, name, {.inputs = {x}, .alpha = 0, .beta = 6});
}

TensorId ZooNet::max_pool(const std::string& name, TensorId x, int kernel, int stride, int pad,
                          bool ceil_mode) {
  Node node{.inputs = {x}};
  node.window = {.kernel_h = kernel,
                 .kernel_w = kernel,
                 .stride_h = stride,
                 .stride_w = stride,
                 .pad_top = pad,
                 .pad_left = pad,
                 .pad_bottom = pad,
                 .pad_right = pad};
  node.ceil_mode = ceil_mode;
  return put(Op::max_pool, name, std::move(node));
}

TensorId ZooNet::average_pool(const std::string& name, TensorId x, int kernel, int stride) {
  Node node{.inputs = {x}};
  node.window.kernel_h = node.window.kernel_w = kernel;
  node.window.stride_h = node.window.stride_w = stride;
  return put(Op::average_pool, name, std::move(node));
}

TensorId ZooNet::global_average_pool(const std::string& name, TensorId x) {
  return put(Op::global_average_pool, name, {.inputs = {x}});
}

TensorId ZooNet::adaptive_average_pool(const std::string& name, TensorId x, int size) {
  const auto map = static_cast<int>(shape(x)[2]);
  if (map <= size) return put(Op::identity, name, {.inputs = {x}});
  Node node{.inputs = {x}};
  node.window.stride_h = node.window.stride_w = map / size;
  node.window.kernel_h = node.window.kernel_w = map - (size - 1) * (map / size);
  return put(Op::average_pool, name, std::move(node));
}

TensorId ZooNet::flatten(const std::string& name, TensorId x) {
  const Shape s = shape(x);
  return put(Op::reshape, name, {.inputs = {x}}, Shape{s[0], s.elements() / s[0]});
}

TensorId ZooNet::dropout(const std::string& name, TensorId x) {
  return put(Op::identity, name, {.inputs = {x}});
}

TensorId ZooNet::linear(const std::string& name, TensorId x, int out, double gain) {
  const std::int64_t in = shape(x).back();
  Node node{.transpose_b = true, .alpha = 1, .beta = 1};
  node.inputs = {x, noise(name + ".weight", {out, in}, 0, std::sqrt(gain / static_cast<double>(in))),
                 noise(name + ".bias", {out}, 0, 0.05)};
  return put(Op::gemm, name, std::move(node));
}

TensorId ZooNet::add(const std::string& name, TensorId a, TensorId b) {
  return put(Op::add, name, {.inputs = {a, b}});
}

TensorId ZooNet::concat(const std::string& name, std::vector<TensorId> parts) {
  return put(Op::concat, name, {.inputs = std::move(parts), .axes = {1}});
}

Graph ZooNet::finish(TensorId logits) && {
  builder_.output(logits);
  return std::move(builder_).build();
}

}  // namespace splitcnn::inline v0
