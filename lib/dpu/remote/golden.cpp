#include "dpu/remote/golden.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "core/convert.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::uint64_t golden_ticket = 0;  // batches of the stage begin with 1

bool equal(std::span<const std::int8_t> a, std::span<const std::int8_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// The tensor as C,H,W, then as W,H,C: what a forgotten or a wrong transposition gives.
std::vector<std::int8_t> permuted(const Shape& s, std::span<const std::int8_t> data, bool channels_first) {
  const std::int64_t h = s[1], w = s[2], c = s[3];
  std::vector<std::int8_t> out(data.size());
  for (std::int64_t y = 0; y < h; ++y) {
    for (std::int64_t x = 0; x < w; ++x) {
      for (std::int64_t i = 0; i < c; ++i) {
        const std::int64_t to = channels_first ? (i * h + y) * w + x : (x * h + y) * c + i;
        out[static_cast<std::size_t>(to)] = data[static_cast<std::size_t>((y * w + x) * c + i)];
      }
    }
  }
  return out;
}

bool scaled(std::span<const std::int8_t> from, std::span<const std::int8_t> to, int n) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (std::abs(round_half_up_to_i8(from[i] * (n >= 0 ? double(1 << n) : 1.0 / (1 << -n))) - to[i]) >
        (n < 0 ? 1 : 0))
      return false;
  }
  return true;
}

}  // namespace

std::string compare_tensors(const TensorSpec& spec, std::span<const std::int8_t> expected,
                            std::span<const std::int8_t> got) {
  std::size_t different = 0, close = 0, first = expected.size();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == got[i]) continue;
    first = std::min(first, i);
    ++different;
    close += std::abs(expected[i] - got[i]) == 1;
  }
  const std::string count =
      fmt::format("{} of {} bytes differ, the first at {}", different, expected.size(), first);
  if (spec.shape.rank() == 4) {
    if (equal(permuted(spec.shape, expected, true), got))
      return count + ": it is transposed (channels first where last belong)";
    if (equal(permuted(spec.shape, expected, false), got))
      return count + ": it is transposed (height and width)";
  }
  for (int n = 1; n <= 4; ++n) {
    if (scaled(expected, got, n)) return count + fmt::format(": it is scaled by 2^{} (another fix point)", n);
    if (scaled(got, expected, n) || scaled(expected, got, -n))
      return count + fmt::format(": it is scaled by 2^-{} (another fix point)", n);
  }
  for (std::size_t n = 1; n <= 64 && n < expected.size() / 2; ++n) {
    if (equal(expected.subspan(n), got.first(got.size() - n)) ||
        equal(expected.first(expected.size() - n), got.subspan(n))) {
      return count + fmt::format(": it is shifted by {} bytes", n);
    }
  }
  if (different == close) return count + ", by one step each: it was rounded otherwise";
  return count + ": it looks like another model's, or like another calibration's";
}

void fill_golden(std::span<const std::span<std::int8_t>> inputs) {
  std::mt19937_64 random{1};
  // Low frequencies and noise: both small and saturating sums occur.
  for (const auto in : inputs) {
    for (std::size_t i = 0; i < in.size(); ++i)
      in[i] = static_cast<std::int8_t>((random() % 256 + (i / 7) * 3) / 2 - 64);
  }
}

GoldenFrame::GoldenFrame(SoftHead& soft, std::vector<std::size_t> inputs, std::vector<std::size_t> outputs)
    : input_of_{std::move(inputs)}, output_of_{std::move(outputs)} {
  std::vector<std::span<std::int8_t>> all;
  for (std::size_t i = 0; i < soft.executor.input_ids().size(); ++i) all.push_back(soft.executor.input(i));
  fill_golden(all);
  for (const DpuPort& p : soft.inputs) inputs_.emplace_back(all[p.buffer].begin(), all[p.buffer].end());
  soft.executor.run();
  for (const DpuPort& p : soft.outputs) {
    const auto out = soft.executor.output(p.buffer);
    expected_.emplace_back(out.begin(), out.end());
  }
}

void GoldenFrame::check(dpu::WorkerLink& link, Clock::time_point deadline) const {
  const dpu::ModelInfo& info = link.loaded().models[0];
  for (std::size_t i = 0; i < inputs_.size(); ++i)
    std::memcpy(link.tensor(0, input_of_[i]), inputs_[i].data(), inputs_[i].size());
  dpu::Done done;
  std::string text;
  auto collected = dpu::WorkerLink::Collected::broken;
  if (link.post({.ticket = golden_ticket, .slot = 0, .frames = 1}, deadline))
    collected = link.collect(done, text, deadline);
  if (collected != dpu::WorkerLink::Collected::done)
    throw Error{Errc::device_failed, "DPU worker: no answer to the golden frame: " + link.trouble()};
  if (done.code != Errc::ok) throw Error{done.code, "DPU worker: the golden frame failed: " + text};
  for (std::size_t i = 0; i < expected_.size(); ++i) {
    const auto* at = reinterpret_cast<const std::int8_t*>(link.tensor(0, info.inputs.size() + output_of_[i]));
    const std::span got{at, expected_[i].size()};
    if (equal(expected_[i], got)) continue;
    throw Error{Errc::mismatch, fmt::format("model '{}', tensor '{}': the golden frame is not reproduced: "
                                            "{}; export and calibrate the model again",
                                            info.name, info.outputs[output_of_[i]].name,
                                            compare_tensors(info.outputs[output_of_[i]], expected_[i], got))};
  }
}

}  // namespace splitcnn::inline v0
