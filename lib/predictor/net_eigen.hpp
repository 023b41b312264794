// The body of run_net_<isa>(): included once by each net_<isa>.cpp, which renames Eigen's namespace first. What the compiler inlines here
// for AVX-512 must never be picked by the linker for a machine without it; so nothing of std beyond what Eigen itself uses.
#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_AUTOMATIC_RESIZING
#include <Eigen/Core>

#include "predictor/net.hpp"

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::Matrix<float, 1, Eigen::Dynamic>;
using ConstMatrix = Eigen::Map<const Matrix>;
using ConstRow = Eigen::Map<const Row>;
using Rows = Eigen::Map<Matrix>;
using Call = splitcnn::NetCall;
using Weights = splitcnn::NetWeights;

/// out = relu(mean over neighbours of x W_near + x W_own + bias). The mean comes after the product: fewer columns to add.
void convolve(const Weights& w, const Call& call, int layer, const float* x, int inputs, float* product, float* out) {
  const int h = w.hidden, wide = w.own ? 2 * h : h;
  Rows p{product, call.rows, wide};
  p.noalias() = ConstMatrix{x, call.rows, inputs} * ConstMatrix{w.conv[layer], inputs, wide};
  const ConstRow bias{w.conv_bias[layer], h};
  for (int i = 0; i < call.rows; ++i) {
    Eigen::Map<Row> y{out + static_cast<std::ptrdiff_t>(i) * h, h};
    const int first = call.start[i], last = call.start[i + 1];
    y.setZero();
    for (int e = first; e < last; ++e) y += p.row(call.near[e]).head(h);
    if (last - first > 1) y *= 1.0f / static_cast<float>(last - first);
    if (w.own) y += p.row(i).tail(h);
    y = (y + bias).cwiseMax(0.0f);
  }
}

void recur(const Weights& w, const Call& call, float* gates, float* state) {
  const int h = w.hidden;
  const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>> recurrent{w.lstm_recurrent, 4 * h, h};  // transposed
  Eigen::Map<Eigen::VectorXf> hidden{state, h}, cell{state + h, h};
  const Eigen::Map<const Eigen::VectorXf> out{w.out, h};
  hidden.setZero();
  cell.setZero();
  for (int step = 0; step < call.rows; ++step) {
    const int i = call.backward ? call.rows - 1 - step : step;
    Eigen::Map<Eigen::VectorXf> g{gates + static_cast<std::ptrdiff_t>(i) * 4 * h, 4 * h};
    if (step > 0) g.noalias() += recurrent * hidden;
    g.head(3 * h).array() = g.head(3 * h).array().logistic();
    g.tail(h).array() = g.tail(h).array().tanh();
    cell.array() = g.segment(h, h).array() * cell.array() + g.head(h).array() * g.tail(h).array();
    hidden.array() = g.segment(2 * h, h).array() * cell.array().tanh();
    call.y[i] = out.dot(hidden) + w.out_bias;
  }
}

void run(const Weights& w, const Call& call) {
  const int h = w.hidden;
  const std::ptrdiff_t block = static_cast<std::ptrdiff_t>(call.rows) * h;
  float* product = call.scratch;                     // 4 blocks: products, later the gates
  float *a = product + 4 * block, *b = a + block, *state = b + block;
  const float* x = call.x;
  int inputs = w.inputs;
  for (int layer = 0; layer < splitcnn::net_depth; ++layer) {
    convolve(w, call, layer, x, inputs, product, a);
    Rows y{product, call.rows, h};
    y.noalias() = ConstMatrix{a, call.rows, h} * ConstMatrix{w.linear[layer], h, h};
    y.rowwise() += ConstRow{w.linear_bias[layer], h};
    Rows to{b, call.rows, h};
    if (w.own && layer > 0) {
      to += y.cwiseMax(0.0f);
    } else {
      to = y.cwiseMax(0.0f);
    }
    x = b;
    inputs = h;
  }
  Rows gates{product, call.rows, 4 * h};
  gates.noalias() = ConstMatrix{b, call.rows, h} * ConstMatrix{w.lstm_input, h, 4 * h};
  gates.rowwise() += ConstRow{w.lstm_bias, 4 * h};
  recur(w, call, product, state);
}

}  // namespace
