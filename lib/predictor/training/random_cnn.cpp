#include "predictor/training/random_cnn.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "graph/zoo_net.hpp"

namespace splitcnn_training {

namespace sc = splitcnn;

namespace {

/// splitmix64: the same on every machine, unlike the distributions of <random>.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_{seed * 0x9e3779b97f4a7c15ull + 0x1234567} {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  int between(int low, int high) { return low + static_cast<int>(next() % static_cast<std::uint64_t>(high - low + 1)); }
  double log_between(double low, double high) { return low * std::pow(high / low, unit()); }
  bool chance(double p) { return unit() < p; }
  template <class T>
  T pick(std::initializer_list<T> list) {
    return list.begin()[next() % list.size()];
  }

 private:
  std::uint64_t state_;
};

enum Activation { none, relu, relu6 };

class Writer {
 public:
  Writer(std::uint64_t seed, const RandomCnnLimits& limits, int family)
      : dice{seed}, limits_{limits}, builder_{"random_" + std::to_string(seed)}, skeleton_{static_cast<std::uint64_t>(family) + 1} {}

  Dice dice;
  sc::TensorId x = 0;

  void start() {
    const int size = dice.pick({32, 64, 96, 128, 160, 192, 224, 224, 224, 256, 299});
    x = builder_.input("image", {1, dice.chance(0.9) ? 3 : 1, size, size});
  }
  [[nodiscard]] std::int64_t channels() const { return builder_.shape(x)[1]; }
  [[nodiscard]] std::int64_t height() const { return builder_.shape(x)[2]; }

  void conv(std::int64_t out, int kernel, int stride, std::int64_t groups = 1, Activation act = relu, bool bn = true) {
    const std::int64_t in = channels(), size = height();
    const int pad = kernel / 2;
    kernel = static_cast<int>(std::min<std::int64_t>(kernel, size + 2 * pad));
    const std::int64_t weights = out * (in / groups) * kernel * kernel;
    const std::int64_t side = (size + 2 * pad - kernel) / stride + 1;
    count(weights, static_cast<double>(weights) * static_cast<double>(side * side));
    sc::Node node{.op = sc::Op::conv,
                  .inputs = {x, weights_of({out, in / groups, kernel, kernel})},
                  .window = {.kernel_h = kernel, .kernel_w = kernel, .stride_h = stride, .stride_w = stride, .pad_top = pad, .pad_left = pad,
                             .pad_bottom = pad, .pad_right = pad},
                  .groups = static_cast<int>(groups)};
    if (!bn) node.inputs.push_back(constant({out}, 0, 0.05));
    x = builder_.add(std::move(node));
    if (bn) {
      const sc::Shape each{out};
      const auto gamma = constant(each, 1, 0.1), beta = constant(each, 0, 0.1), mean = constant(each, 0, 0.1), variance = constant(each, 1, 0.1);
      x = builder_.add({.op = sc::Op::batch_norm, .inputs = {x, gamma, beta, mean, variance}, .alpha = 1e-5f});
    }
    activate(act);
    note(static_cast<std::uint64_t>(kernel * 64 + stride * 8 + (groups > 1 ? 4 : 0) + act));
  }
  void activate(Activation act) {
    if (act == relu) x = builder_.add({.op = sc::Op::relu, .inputs = {x}});
    if (act == relu6) x = builder_.add({.op = sc::Op::clip, .inputs = {x}, .alpha = 0, .beta = 6});
  }
  void pool(sc::Op op, int kernel, int stride, int pad = 0) {
    kernel = static_cast<int>(std::min<std::int64_t>(kernel, height() + 2 * pad));
    x = builder_.add({.op = op, .inputs = {x},
                      .window = {.kernel_h = kernel, .kernel_w = kernel, .stride_h = stride, .stride_w = stride, .pad_top = pad, .pad_left = pad,
                                 .pad_bottom = pad, .pad_right = pad}});
    note(7);
  }
  void add_to(sc::TensorId skip) {
    x = builder_.add({.op = sc::Op::add, .inputs = {x, skip}});
    note(11);
  }
  void concat(const std::vector<sc::TensorId>& parts) {
    x = builder_.add({.op = sc::Op::concat, .inputs = {parts.begin(), parts.end()}, .axes = {1}});
    note(13);
  }
  void dense(std::int64_t out, bool act) {
    const std::int64_t in = builder_.shape(x)[1];
    count(out * in, static_cast<double>(out * in));
    x = builder_.add({.op = sc::Op::gemm, .inputs = {x, weights_of({out, in}), constant({out}, 0, 0.05)}, .transpose_b = true, .alpha = 1, .beta = 1});
    if (act) activate(relu);
    note(17);
  }
  void head() {
    const int classes = dice.pick({10, 100, 1000, 1000});
    const bool flat = dice.chance(0.35);
    if (flat) {
      if (height() > 7 && dice.chance(0.8)) pool(sc::Op::average_pool, static_cast<int>(height() / 6), static_cast<int>(height() / 6));
    } else {
      x = builder_.add({.op = sc::Op::global_average_pool, .inputs = {x}});
    }
    const sc::Shape& s = builder_.shape(x);
    x = builder_.add({.op = sc::Op::reshape, .inputs = {x}}, {}, sc::Shape{1, s[1] * s[2] * s[3]});
    if (flat) {
      const int wide = dice.pick({128, 256, 512, 1024, 2048, 4096});
      for (int i = dice.between(0, 2); i > 0; --i) dense(wide, true);
    }
    dense(classes, false);
  }
  void note(std::uint64_t what) { skeleton_ = (skeleton_ ^ what) * 0x100000001b3ull; }
  [[nodiscard]] std::uint64_t skeleton() const noexcept { return skeleton_; }
  sc::Graph finish() && {
    builder_.output(x);
    return std::move(builder_).build();
  }

 private:
  sc::TensorId constant(const sc::Shape& shape, double center, double deviation) {
    const std::string name = "w" + std::to_string(constants_++);
    const auto count = static_cast<std::size_t>(shape.elements());
    return builder_.constant(name, shape, limits_.noise ? sc::zoo_noise(1, name, count, center, deviation) : std::vector<float>(count));
  }
  sc::TensorId weights_of(const sc::Shape& shape) {
    const double fan_in = static_cast<double>(shape.elements()) / static_cast<double>(shape[0]);
    return constant(shape, 0, std::sqrt(2 / fan_in));
  }
  void count(std::int64_t weights, double macs) {
    weights_ += static_cast<double>(weights);
    macs_ += macs;
    if (weights_ > limits_.most_weights || macs_ > limits_.most_macs) {
      throw sc::Error{sc::Errc::bad_argument, "random network: larger than the limits; draw another seed"};
    }
  }

  RandomCnnLimits limits_;
  sc::GraphBuilder builder_;
  std::uint64_t skeleton_;
  double weights_ = 0, macs_ = 0;
  int constants_ = 0;
};

/// 70 % of the widths are multiples of 8.
std::int64_t width(Dice& dice, double around) {
  const double w = std::clamp(around, 4.0, 2048.0);
  if (dice.chance(0.7)) return std::max<std::int64_t>(8, static_cast<std::int64_t>(std::lround(w / 8)) * 8);
  return std::max<std::int64_t>(4, static_cast<std::int64_t>(std::lround(w * (0.9 + 0.2 * dice.unit()))));
}

struct Plan {
  int stages = 3, units = 12;
  double stem = 32, growth = 2;
};

/// Adds the block's input to what the block made of it, through a projection where their shapes differ.
void join(Writer& w, sc::TensorId in, std::int64_t out, int stride, bool project) {
  const sc::TensorId body = w.x;
  sc::TensorId skip = in;
  if (project) {
    w.x = in;
    w.conv(out, 1, stride, 1, none);
    skip = w.x;
  }
  w.x = body;
  w.add_to(skip);
  w.activate(relu);
}

void basic_block(Writer& w, std::int64_t out, int stride) {
  const sc::TensorId in = w.x;
  const bool project = stride != 1 || w.channels() != out;
  w.conv(out, 3, stride);
  w.conv(out, 3, 1, 1, none);
  join(w, in, out, stride, project);
}

void bottleneck_block(Writer& w, std::int64_t out, int stride, std::int64_t groups) {
  const sc::TensorId in = w.x;
  const bool project = stride != 1 || w.channels() != out;
  const std::int64_t middle = std::max<std::int64_t>(4, out / 4 / groups * groups);
  w.conv(middle, 1, 1);
  w.conv(middle, 3, stride, middle % groups == 0 ? groups : 1);
  w.conv(out, 1, 1, 1, none);
  join(w, in, out, stride, project);
}

void inverted_block(Writer& w, std::int64_t out, int stride, int expand, int kernel) {
  const sc::TensorId in = w.x;
  const std::int64_t from = w.channels(), middle = from * expand;
  if (expand != 1) w.conv(middle, 1, 1, 1, relu6);
  w.conv(middle, kernel, stride, middle, relu6);
  w.conv(out, 1, 1, 1, none);
  if (stride == 1 && from == out) w.add_to(in);
}

void inception_block(Writer& w, std::int64_t out) {
  const sc::TensorId in = w.x;
  const int branches = w.dice.between(2, 4);
  const std::int64_t share = std::max<std::int64_t>(4, out / branches);
  std::vector<sc::TensorId> parts;
  for (int b = 0; b < branches; ++b) {
    w.x = in;
    if (b == 3) w.pool(sc::Op::max_pool, 3, 1, 1);
    const std::int64_t here = width(w.dice, static_cast<double>(share));
    if (b == 1 || b == 2) {
      w.conv(std::max<std::int64_t>(4, here / 2), 1, 1);
      w.conv(here, b == 1 ? 3 : w.dice.pick({3, 5}), 1);
    } else {
      w.conv(here, 1, 1);
    }
    parts.push_back(w.x);
  }
  w.concat(parts);
}

void separable_block(Writer& w, std::int64_t out, int stride) {
  w.conv(w.channels(), 3, stride, w.channels());
  w.conv(out, 1, 1);
}

/// One unit of a family; stride 2 where a stage begins.
void unit(Writer& w, int family, std::int64_t out, int stride, const std::pair<int, int>& shape) {
  if (family == 6) family = w.dice.between(0, 5);
  switch (family) {
    case 0:
      w.conv(out, w.dice.pick({3, 3, 3, 5, 1}), 1, 1, relu, shape.second != 5);
      if (stride == 2) w.pool(sc::Op::max_pool, 2, 2);
      return;
    case 1: return basic_block(w, out, stride);
    case 2: return bottleneck_block(w, std::min<std::int64_t>(out * 2, 2048), stride, shape.first == 4 ? 8 : 1);
    case 3: return inverted_block(w, out, stride, shape.first, shape.second);
    case 4:
      if (stride == 2) w.pool(sc::Op::max_pool, 3, 2, 1);
      return inception_block(w, out);
    default: return separable_block(w, out, stride);
  }
}

void stem(Writer& w, std::int64_t out) {
  const int kernel = w.dice.pick({3, 3, 5, 7}), stride = w.height() >= 96 && w.dice.chance(0.75) ? 2 : 1;
  w.conv(out, kernel, stride);
  if (w.height() >= 56 && w.dice.chance(0.5)) w.pool(sc::Op::max_pool, 3, 2, 1);
}

void body(Writer& w, int family, const Plan& plan) {
  double around = plan.stem;
  const std::pair<int, int> shape{w.dice.between(1, 6), w.dice.pick({3, 3, 5})};
  for (int stage = 0; stage < plan.stages; ++stage) {
    const int units = std::max(1, static_cast<int>(std::lround(plan.units / static_cast<double>(plan.stages) * (0.5 + w.dice.unit()))));
    const std::int64_t out = width(w.dice, around);
    for (int u = 0; u < units; ++u) {
      const bool first = u == 0 && (stage > 0 || w.dice.chance(0.3)) && w.height() >= 8;
      unit(w, family, out, first ? 2 : 1, shape);
    }
    around *= plan.growth;
    w.note(19);
  }
}

}  // namespace

const char* family_name(int family) noexcept {
  static constexpr const char* names[family_count] = {"plain", "residual", "bottleneck", "inverted", "inception", "separable", "mixed"};
  return family >= 0 && family < family_count ? names[family] : "real";
}

RandomCnn random_cnn(std::uint64_t seed, const RandomCnnLimits& limits) {
  Dice dice{seed ^ 0x5eedull};
  static constexpr double weight[family_count] = {0.2, 0.15, 0.15, 0.2, 0.15, 0.1, 0.05};
  int family = 0;
  for (double left = dice.unit() - weight[0]; left > 0 && family < family_count - 1; left -= weight[family]) ++family;
  Writer w{seed, limits, family};
  w.start();
  Plan plan;
  plan.stages = w.dice.between(2, 5);
  plan.units = static_cast<int>(std::lround(w.dice.log_between(4, 60)));
  plan.stem = w.dice.log_between(8, 64);
  plan.growth = w.dice.pick({1.5, 2.0, 2.0});
  stem(w, width(w.dice, plan.stem));
  body(w, family, plan);
  if (w.dice.chance(0.3)) w.conv(width(w.dice, std::min(2048.0, 2.0 * static_cast<double>(w.channels()))), 1, 1);
  w.head();
  const std::uint64_t skeleton = w.skeleton();
  return {std::move(w).finish(), family, skeleton};
}

}  // namespace splitcnn_training
