// The network in Eigen, every instruction set of this machine, against loops in double that anybody can read.
#include <cmath>
#include <random>
#include <vector>

#include "predictor/net.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

struct RandomNet {
  NetWeights w;
  std::vector<std::vector<float>> numbers;

  const float* draw(std::mt19937_64& random, int count, double scale) {
    std::normal_distribution<float> normal{0, static_cast<float>(scale)};
    numbers.emplace_back(static_cast<std::size_t>(count));
    for (float& v : numbers.back()) v = normal(random);
    return numbers.back().data();
  }

  RandomNet(std::mt19937_64& random, int inputs, int hidden, bool own) {
    w = {.inputs = inputs, .hidden = hidden, .own = own};
    const int wide = own ? 2 * hidden : hidden;
    for (int i = 0; i < net_depth; ++i) {
      const int in = i == 0 ? inputs : hidden;
      w.conv[i] = draw(random, in * wide, 1 / std::sqrt(in));
      w.conv_bias[i] = draw(random, hidden, 0.1);
      w.linear[i] = draw(random, hidden * hidden, 1 / std::sqrt(hidden));
      w.linear_bias[i] = draw(random, hidden, 0.1);
    }
    w.lstm_input = draw(random, hidden * 4 * hidden, 0.5 / std::sqrt(hidden));
    w.lstm_recurrent = draw(random, hidden * 4 * hidden, 0.5 / std::sqrt(hidden));
    w.lstm_bias = draw(random, 4 * hidden, 0.1);
    w.out = draw(random, hidden, 1 / std::sqrt(hidden));
    w.out_bias = 0.25f;
  }
};

using Vector = std::vector<double>;

Vector times(const Vector& x, const float* m, std::size_t columns, std::size_t first, std::size_t count) {
  Vector y(count, 0);
  for (std::size_t r = 0; r < x.size(); ++r) {
    for (std::size_t c = 0; c < count; ++c) y[c] += x[r] * static_cast<double>(m[r * columns + first + c]);
  }
  return y;
}

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

std::vector<double> reference(const NetWeights& w, const NetCall& call) {
  const auto h = static_cast<std::size_t>(w.hidden), rows = static_cast<std::size_t>(call.rows);
  std::vector<Vector> x(rows);
  for (std::size_t i = 0; i < rows; ++i) x[i].assign(call.x + i * static_cast<std::size_t>(w.inputs), call.x + (i + 1) * static_cast<std::size_t>(w.inputs));
  for (int layer = 0; layer < net_depth; ++layer) {
    std::vector<Vector> next(rows);
    for (std::size_t i = 0; i < rows; ++i) {
      Vector mean(x[0].size(), 0);
      const int first = call.start[i], last = call.start[i + 1];
      for (int e = first; e < last; ++e) {
        for (std::size_t c = 0; c < mean.size(); ++c) mean[c] += x[static_cast<std::size_t>(call.near[e])][c] / (last - first);
      }
      const std::size_t wide = w.own ? 2 * h : h;
      Vector y = times(mean, w.conv[layer], wide, 0, h);
      if (w.own) {
        const Vector own = times(x[i], w.conv[layer], wide, h, h);
        for (std::size_t c = 0; c < h; ++c) y[c] += own[c];
      }
      for (std::size_t c = 0; c < h; ++c) y[c] = std::max(0.0, y[c] + static_cast<double>(w.conv_bias[layer][c]));
      Vector z = times(y, w.linear[layer], h, 0, h);
      for (std::size_t c = 0; c < h; ++c) {
        z[c] = std::max(0.0, z[c] + static_cast<double>(w.linear_bias[layer][c]));
        if (w.own && layer > 0) z[c] += x[i][c];
      }
      next[i] = z;
    }
    x = next;
  }
  Vector hidden(h, 0), cell(h, 0), out(rows);
  for (std::size_t step = 0; step < rows; ++step) {
    const std::size_t i = call.backward ? rows - 1 - step : step;
    const Vector a = times(x[i], w.lstm_input, 4 * h, 0, 4 * h), b = times(hidden, w.lstm_recurrent, 4 * h, 0, 4 * h);
    out[i] = static_cast<double>(w.out_bias);
    for (std::size_t c = 0; c < h; ++c) {
      const auto gate = [&](std::size_t g) { return a[g * h + c] + b[g * h + c] + static_cast<double>(w.lstm_bias[g * h + c]); };
      cell[c] = sigmoid(gate(1)) * cell[c] + sigmoid(gate(0)) * std::tanh(gate(3));
      hidden[c] = sigmoid(gate(2)) * std::tanh(cell[c]);
      out[i] += static_cast<double>(w.out[c]) * hidden[c];
    }
  }
  return out;
}

}  // namespace

TEST_CASE("the network equals plain loops on every instruction set") {
  std::mt19937_64 random{splitcnn_test::seed()};
  std::vector<void (*)(const NetWeights&, const NetCall&)> variants{run_net_baseline};
  if (net_isa() >= NetIsa::avx2) variants.push_back(run_net_avx2);
  if (net_isa() >= NetIsa::avx512) variants.push_back(run_net_avx512);
  for (int round = 0; round < 30; ++round) {
    const int hidden = 8 + static_cast<int>(random() % 41), rows = 1 + static_cast<int>(random() % 70), inputs = 1 + static_cast<int>(random() % 40);
    const RandomNet net{random, inputs, hidden, random() % 2 == 0};
    std::normal_distribution<float> normal{0, 1};
    std::vector<float> x(static_cast<std::size_t>(rows * inputs));
    for (float& v : x) v = normal(random);
    std::vector<int> start{0}, near;
    for (int i = 0; i < rows; ++i) {
      for (auto n = random() % 4; n > 0; --n) near.push_back(static_cast<int>(random() % static_cast<unsigned>(rows)));
      start.push_back(static_cast<int>(near.size()));
    }
    std::vector<float> scratch(net_scratch(rows, hidden)), y(static_cast<std::size_t>(rows));
    NetCall call{.rows = rows, .x = x.data(), .start = start.data(), .near = near.data(), .backward = random() % 2 == 0, .scratch = scratch.data(), .y = y.data()};
    const std::vector<double> expected = reference(net.w, call);
    for (std::size_t v = 0; v < variants.size(); ++v) {
      CAPTURE(round, v, hidden, rows);
      variants[v](net.w, call);
      for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(std::abs(static_cast<double>(y[i]) - expected[i]) < 1e-5 * (1 + std::abs(expected[i])));
    }
  }
}
