#include "gpu/tail/host_executor.hpp"

#include <algorithm>
#include <cstring>

#include "gpu/tail/host_ops.hpp"

namespace splitcnn::inline v0::gpu {

/// Fills in one frame's pointers and calls the op.
struct HostOps {
  static std::uint16_t* at(HostTail& t, std::uint32_t index, std::uint32_t frame, std::uint32_t frames) noexcept {
    const TailTensor& tensor = t.tensors_[index];
    if (tensor.place == Place::weights) return reinterpret_cast<std::uint16_t*>(t.weights_.data() + tensor.offset);
    return reinterpret_cast<std::uint16_t*>(t.arena_.data() + tensor.offset * frames) +
           static_cast<std::size_t>(frame) * static_cast<std::size_t>(tensor.frame_elements);
  }

  static void frame(HostTail& t, std::size_t index, std::uint32_t frame, std::uint32_t frames) noexcept {
    const TailOp& op = t.ops_[index];
    HostFrame f;
    for (std::size_t i = 0; i < 3; ++i) {
      if (op.x[i] == no_tensor) continue;
      f.x[i] = at(t, op.x[i], frame, frames);
      f.xt[i] = &t.tensors_[op.x[i]];
    }
    if (op.y != no_tensor) {
      f.y = at(t, op.y, frame, frames);
      f.yt = &t.tensors_[op.y];
      if (op.clear) std::memset(f.y, 0, static_cast<std::size_t>(f.yt->frame_elements) * 2);
    }
    if (op.kind == TailKind::entry) f.in = static_cast<const std::byte*>(t.in_[op.io]) + frame * t.inputs_[op.io].frame_bytes;
    if (op.kind == TailKind::exit) f.out = static_cast<std::byte*>(t.out_[op.io]) + frame * t.outputs_[op.io].frame_bytes;
    f.weights = t.weights_.data();
    f.packed = t.packed_[index].data();
    f.floats_x = t.x_.data();
    f.floats_z = t.z_.data();
    f.sums = t.sums_.data();
    f.row = t.row_.data();
    call(t, op, f);
  }

  static void call(HostTail& t, const TailOp& op, const HostFrame& f) noexcept {
    switch (op.kind) {
      case TailKind::entry: return host_entry(op, t.inputs_[op.io], f);
      case TailKind::exit: return host_exit(op, t.outputs_[op.io], f);
      case TailKind::conv: return host_conv(op, f);
      case TailKind::depthwise: return host_depthwise(op, f);
      case TailKind::fc:
      case TailKind::gap_fc: return host_fc(op, f);
      case TailKind::max_pool:
      case TailKind::average_pool:
      case TailKind::global_average_pool: return host_pool(op, f);
      case TailKind::elementwise: return host_elementwise(op, f);
      case TailKind::move: return host_move(op, f);
      case TailKind::reshape: return host_reshape(op, f);
      case TailKind::fill: return host_fill(op, f);
      case TailKind::mean: return host_mean(op, f);
      case TailKind::softmax:
      case TailKind::log_softmax: return host_softmax(op, f);
      case TailKind::lrn: return host_lrn(op, f);
      case TailKind::resample: return host_resample(op, f);
      case TailKind::product: return host_product(op, f);
    }
  }
};

HostTail::HostTail(const TailView& p, std::uint32_t max_frames)
    : tensors_(p.tensors, p.tensors + p.n_tensors),
      ops_(p.ops, p.ops + p.n_ops),
      inputs_(p.inputs, p.inputs + p.n_inputs),
      outputs_(p.outputs, p.outputs + p.n_outputs),
      weights_(p.weights, p.weights + p.weights_bytes),
      arena_(p.arena_bytes * max_frames),
      in_(p.n_inputs),
      out_(p.n_outputs),
      max_frames_{max_frames} {
  std::size_t largest = 16, widest = 16;
  for (const TailTensor& t : tensors_) {
    largest = std::max(largest, static_cast<std::size_t>(t.frame_elements));
    widest = std::max(widest, static_cast<std::size_t>(t.padded));
  }
  for (const TailOp& op : ops_) {
    packed_.push_back(host_pack(op, weights_.data()));
    widest = std::max(widest, static_cast<std::size_t>(op.in));
  }
  x_.resize(largest);
  z_.resize(largest);
  sums_.resize(widest * 4);
  row_.resize(widest);
}

void HostTail::bind(std::span<const void* const> inputs, std::span<void* const> outputs) {
  std::copy(inputs.begin(), inputs.end(), in_.begin());
  std::copy(outputs.begin(), outputs.end(), out_.begin());
}

void HostTail::run_op(std::size_t index, std::uint32_t frames) noexcept {
  for (std::uint32_t f = 0; f < frames; ++f) HostOps::frame(*this, index, f, frames);
}

void HostTail::run(std::span<const void* const> inputs, std::span<void* const> outputs, std::uint32_t frames) noexcept {
  std::copy(inputs.begin(), inputs.end(), in_.begin());
  std::copy(outputs.begin(), outputs.end(), out_.begin());
  for (std::size_t i = 0; i < ops_.size(); ++i) run_op(i, frames);
}

std::span<std::uint16_t> HostTail::tensor(std::uint32_t index, std::uint32_t frames) noexcept {
  return {HostOps::at(*this, index, 0, frames),
          static_cast<std::size_t>(tensors_[index].frame_elements) * (tensors_[index].place == Place::weights ? 1 : frames)};
}

}  // namespace splitcnn::inline v0::gpu
