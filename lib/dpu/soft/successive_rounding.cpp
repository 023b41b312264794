// Compiled with -O3 (see CMakeLists.txt). The bulk of the work is matrix products.
#include "dpu/soft/successive_rounding.hpp"

#include <algorithm>
#include <cmath>
#include <dnnl.hpp>
#include <numeric>

namespace splitcnn::inline v0::soft {

namespace {

constexpr std::size_t block = 64;

/// c [m][n] += alpha a b, a and b possibly transposed; row-major with strides.
void add_product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda, const float* b,
                 std::size_t ldb, float* c, std::size_t ldc) {
  if (m == 0 || n == 0 || k == 0) return;
  const auto dim = [](std::size_t v) { return static_cast<dnnl_dim_t>(v); };
  dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', dim(m), dim(n), dim(k), alpha, a, dim(lda), b, dim(ldb), 1.0f, c, dim(ldc));
}

/// The triangle of one diagonal block.
bool factor_block(float* a, std::size_t n, std::size_t size) {
  for (std::size_t j = 0; j < size; ++j) {
    double diagonal = static_cast<double>(a[j * n + j]);
    for (std::size_t k = 0; k < j; ++k) diagonal -= static_cast<double>(a[j * n + k]) * static_cast<double>(a[j * n + k]);
    if (!(diagonal > 0)) return false;
    const double root = std::sqrt(diagonal);
    a[j * n + j] = static_cast<float>(root);
    for (std::size_t i = j + 1; i < size; ++i) {
      double v = static_cast<double>(a[i * n + j]);
      for (std::size_t k = 0; k < j; ++k) v -= static_cast<double>(a[i * n + k]) * static_cast<double>(a[j * n + k]);
      a[i * n + j] = static_cast<float>(v / root);
    }
  }
  return true;
}

/// row := row L'^-1 for the rows below a diagonal block.
void solve_row(const float* l, std::size_t n, std::size_t size, float* row) {
  for (std::size_t j = 0; j < size; ++j) {
    float v = row[j];
    for (std::size_t k = 0; k < j; ++k) v -= row[k] * l[j * n + k];
    row[j] = v / l[j * n + j];
  }
}

/// target[columns] -= factor * source[columns]
void subtract(float* target, const float* source, float factor, std::size_t columns) {
  for (std::size_t c = 0; c < columns; ++c) target[c] -= factor * source[c];
}

/// A problem with its inputs in the order they are rounded, last to first.
struct Ordered {
  std::vector<std::size_t> order;
  std::vector<float> lower, wanted;  ///< L of the damped gram, least-squares weights
};

bool prepare(const RoundingProblem& p, float damping, Ordered& o) {
  const std::size_t n = p.inputs, m = p.outputs;
  o.order.resize(n);
  std::iota(o.order.begin(), o.order.end(), std::size_t{0});
  std::stable_sort(o.order.begin(), o.order.end() - 1, [&](std::size_t a, std::size_t b) { return p.gram[a * n + a] < p.gram[b * n + b]; });
  double trace = 0;
  for (std::size_t i = 0; i < n; ++i) trace += static_cast<double>(p.gram[i * n + i]);
  const double scarcity = 1 + static_cast<double>(n) / static_cast<double>(std::max<std::size_t>(p.rows, 1));
  const float ridge = damping * static_cast<float>(trace / static_cast<double>(n) * scarcity) + 1e-12f;
  o.lower.resize(n * n);
  o.wanted.resize(n * m);
  for (std::size_t i = 0; i < n; ++i) {
    const float* from = p.gram.data() + o.order[i] * n;
    for (std::size_t j = 0; j < n; ++j) o.lower[i * n + j] = from[o.order[j]];
    o.lower[i * n + i] += ridge;
    std::copy_n(p.cross.data() + o.order[i] * m, m, o.wanted.data() + i * m);
  }
  if (!cholesky(o.lower, n)) return false;
  solve(o.lower, n, o.wanted, m);
  for (std::size_t i = 0; i < n; ++i) subtract(o.wanted.data() + i * m, p.start.data() + o.order[i] * m, -1, m);
  return true;
}

}  // namespace

void RoundingProblem::add(std::span<const float> x, std::span<float> wanted, std::size_t count) {
  gram.resize(inputs * inputs);
  cross.resize(inputs * outputs);
  rows += count;
  add_product(false, false, count, outputs, inputs, -1, x.data(), inputs, start.data(), outputs, wanted.data(), outputs);
  add_product(true, false, inputs, inputs, count, 1, x.data(), inputs, x.data(), inputs, gram.data(), inputs);
  add_product(true, false, inputs, outputs, count, 1, x.data(), inputs, wanted.data(), outputs, cross.data(), outputs);
}

void RoundingProblem::rescale(std::span<const float> in, std::span<const float> out) {
  for (std::size_t i = 0; i < inputs; ++i) {
    for (std::size_t j = 0; j < inputs; ++j) gram[i * inputs + j] *= in[i] * in[j];
    for (std::size_t o = 0; o < outputs; ++o) {
      cross[i * outputs + o] *= in[i] * out[o];
      start[i * outputs + o] *= out[o] / in[i];
    }
  }
}

bool cholesky(std::span<float> a, std::size_t n) {
  for (std::size_t at = 0; at < n; at += block) {
    const std::size_t size = std::min(block, n - at), next = at + size, rest = n - next;
    float* corner = a.data() + at * n + at;
    if (!factor_block(corner, n, size)) return false;
    for (std::size_t r = next; r < n; ++r) solve_row(corner, n, size, a.data() + r * n + at);
    const float* panel = a.data() + next * n + at;
    add_product(false, true, rest, rest, size, -1, panel, n, panel, n, a.data() + next * n + next, n);
  }
  return true;
}

void solve(std::span<const float> lower, std::size_t n, std::span<float> b, std::size_t columns) {
  for (std::size_t at = 0; at < n; at += block) {  // L z = b
    const std::size_t size = std::min(block, n - at);
    add_product(false, false, size, columns, at, -1, lower.data() + at * n, n, b.data(), columns, b.data() + at * columns, columns);
    for (std::size_t i = at; i < at + size; ++i) {
      float* row = b.data() + i * columns;
      for (std::size_t k = at; k < i; ++k) subtract(row, b.data() + k * columns, lower[i * n + k], columns);
      for (std::size_t c = 0; c < columns; ++c) row[c] /= lower[i * n + i];
    }
  }
  for (std::size_t end = n; end > 0;) {  // L' x = z
    const std::size_t at = (end - 1) / block * block, size = end - at;
    add_product(true, false, size, columns, n - end, -1, lower.data() + end * n + at, n, b.data() + end * columns, columns, b.data() + at * columns,
                columns);
    for (std::size_t i = end; i-- > at;) {
      float* row = b.data() + i * columns;
      for (std::size_t k = i + 1; k < end; ++k) subtract(row, b.data() + k * columns, lower[k * n + i], columns);
      for (std::size_t c = 0; c < columns; ++c) row[c] /= lower[i * n + i];
    }
    end = at;
  }
}

std::vector<std::int8_t> round_successively(const RoundingProblem& p, float damping) {
  const std::size_t n = p.inputs, m = p.outputs;
  Ordered o;
  if (n == 0 || !prepare(p, damping, o)) return {};
  std::vector<std::int8_t> bytes(n * m);
  std::vector<float> errors(n * m), shift(block * m);  // of the inputs rounded so far; what the others owe to them
  for (std::size_t end = n; end > 0;) {
    const std::size_t at = (end - 1) / block * block, size = end - at;
    std::fill(shift.begin(), shift.end(), 0.0f);
    add_product(true, false, size, m, n - end, 1, o.lower.data() + end * n + at, n, errors.data() + end * m, m, shift.data(), m);
    for (std::size_t i = end; i-- > at;) {
      float* owed = shift.data() + (i - at) * m;
      for (std::size_t k = i + 1; k < end; ++k) subtract(owed, errors.data() + k * m, -o.lower[k * n + i], m);
      const float diagonal = o.lower[i * n + i], step = p.steps[o.order[i]];
      for (std::size_t c = 0; c < m; ++c) {
        const float w = o.wanted[i * m + c];
        const float q = std::clamp(std::round((w - owed[c] / diagonal) / step), -128.0f, 127.0f);
        bytes[o.order[i] * m + c] = static_cast<std::int8_t>(q);
        errors[i * m + c] = q * step - w;
      }
    }
    end = at;
  }
  return bytes;
}

}  // namespace splitcnn::inline v0::soft
