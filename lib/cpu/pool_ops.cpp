#include <algorithm>
#include <limits>

#include "cpu/kernels.hpp"
#include "cpu/layout.hpp"
#include "cpu/ops.hpp"
#include "cpu/parallel.hpp"

namespace splitcnn::inline v0::cpu {

namespace {

/// The taps of one output coordinate that lie inside the input.
struct Taps {
  std::int64_t begin = 0, count = 0;  // first input coordinate and how many, `dilation` apart
  std::int64_t padded = 0;            // taps inside the padded input
};

std::vector<Taps> taps(std::int64_t outputs, std::int64_t size, int kernel, int stride, int dilation,
                       int before, int after) {
  std::vector<Taps> all(static_cast<std::size_t>(outputs));
  for (std::int64_t o = 0; o < outputs; ++o) {
    Taps& t = all[static_cast<std::size_t>(o)];
    for (int k = 0; k < kernel; ++k) {
      const std::int64_t at = o * stride - before + std::int64_t{k} * dilation;
      if (at < size + after) ++t.padded;
      if (at < 0 || at >= size) continue;
      if (t.count++ == 0) t.begin = at;
    }
  }
  return all;
}

struct Pool {
  const float* x = nullptr;
  float* y = nullptr;
  std::int64_t height = 0, width = 0, channels = 0, out_height = 0, out_width = 0;
  std::vector<Taps> rows, columns;
  int dilation_h = 1, dilation_w = 1;
  bool maximum = true, include_pad = false;
  Activation activation;

  /// Output rows are counted through the batch.
  void row(std::int64_t number) const noexcept {
    const Taps& r = rows[static_cast<std::size_t>(number % out_height)];
    const float* image = x + number / out_height * height * width * channels;
    for (std::int64_t o = 0; o < out_width; ++o) {
      pixel(image, r, columns[static_cast<std::size_t>(o)], y + (number * out_width + o) * channels);
    }
    activate(activation, y + number * out_width * channels, y + number * out_width * channels,
             out_width * channels);
  }

  void pixel(const float* image, const Taps& r, const Taps& c, float* to) const noexcept {
    fill(to, channels, maximum ? std::numeric_limits<float>::lowest() : 0.0f);
    for (std::int64_t i = 0; i < r.count; ++i) {
      const float* line = image + (r.begin + i * dilation_h) * width * channels;
      for (std::int64_t j = 0; j < c.count; ++j) {
        const float* from = line + (c.begin + j * dilation_w) * channels;
        if (maximum) {
          cpu::maximum(from, to, channels);
        } else {
          add(to, from, to, channels);
        }
      }
    }
    if (maximum) return;
    const std::int64_t count = include_pad ? r.padded * c.padded : r.count * c.count;
    if (count > 1) divide_by(to, to, channels, static_cast<float>(count));
  }
};

/// Mean over the middle of [outer, middle, inner].
void mean_middle(const float* x, float* y, std::int64_t outer, std::int64_t middle, std::int64_t inner,
                 double* sums) noexcept {
  for (std::int64_t o = 0; o < outer; ++o) {
    std::fill_n(sums, inner, 0.0);
    for (std::int64_t m = 0; m < middle; ++m) accumulate(x + (o * middle + m) * inner, sums, inner);
    for (std::int64_t i = 0; i < inner; ++i)
      y[o * inner + i] = static_cast<float>(sums[i] / static_cast<double>(middle));
  }
}

}  // namespace

Step make_pool(const OpContext& context) {
  const Window& w = context.node->window;
  const Shape &in = context.in[0].shape, &out = context.out[0].shape;
  Pool pool{.x = context.in[0].data,
            .y = context.out[0].data,
            .height = in[2],
            .width = in[3],
            .channels = in[1],
            .out_height = out[2],
            .out_width = out[3]};
  pool.rows = taps(out[2], in[2], w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom);
  pool.columns = taps(out[3], in[3], w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right);
  pool.dilation_h = w.dilation_h;
  pool.dilation_w = w.dilation_w;
  pool.maximum = context.node->op == Op::max_pool;
  pool.include_pad = context.node->count_include_pad;
  pool.activation = context.op->activation;
  const std::int64_t rows = out[0] * out[2];
  return [pool = std::move(pool), rows, threads = context.threads] {
    split_work(threads, rows, 4, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) pool.row(r);
    });
  };
}

Step make_mean(const OpContext& context) {
  const Shape& in = context.in[0].shape;
  std::array<bool, Shape::max_rank> reduced{};
  if (context.node->op == Op::global_average_pool) {
    reduced[2] = reduced[3] = true;
  } else {
    for (const std::int64_t axis : context.node->axes) reduced[static_cast<std::size_t>(axis)] = true;
  }
  // Kept axes first, in logical order, reduced ones behind: then the mean is over the end of every row.
  // Spatial means of channels-last tensors need no such copy.
  const float* x = context.in[0].data;
  float* y = context.out[0].data;
  const std::int64_t n = in.elements(), results = context.out[0].shape.elements();
  const Activation activation = context.op->activation;
  const bool spatial = in.rank() == 4 && !reduced[0] && !reduced[1] && reduced[2] && reduced[3];
  if (spatial) {
    return [=, sums = std::vector<double>(static_cast<std::size_t>(in[1])), batch = in[0],
            area = in[2] * in[3], channels = in[1]]() mutable {
      mean_middle(x, y, batch, area, channels, sums.data());
      activate(activation, y, y, results);
    };
  }
  Shape kept = in, box = in;
  Strides to{};
  std::int64_t step = 1;
  for (const bool pass : {true, false}) {
    for (std::size_t d = in.rank(); d-- > 0;) {
      if (reduced[d] != pass) continue;
      to[d] = step;
      step *= in[d];
      if (pass) kept[d] = 1;
    }
  }
  const BoxCopy arrange{box, storage_strides(in), to};
  // The means come out in the logical order of the kept axes; the output may be stored in another.
  const Shape& out = context.out[0].shape;
  const BoxCopy store{out, row_major_strides(out), storage_strides(out)};
  const std::int64_t count = results == 0 ? 0 : n / results;
  return [=, rows = std::vector<float>(static_cast<std::size_t>(n)),
          means = std::vector<float>(static_cast<std::size_t>(results))]() mutable {
    arrange(x, rows.data());
    for (std::int64_t r = 0; r < results; ++r) {
      double sum = 0;
      for (std::int64_t i = 0; i < count; ++i)
        sum += static_cast<double>(rows[static_cast<std::size_t>(r * count + i)]);
      means[static_cast<std::size_t>(r)] = static_cast<float>(sum / static_cast<double>(count));
    }
    activate(activation, means.data(), means.data(), results);
    store(means.data(), y);
  };
}

}  // namespace splitcnn::inline v0::cpu
