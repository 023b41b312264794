#include "gpu/cuda/kernels/program_calls.hpp"

#include <algorithm>
#include <map>

namespace splitcnn::inline v0::gpu::cuda {

namespace {

std::uint16_t* address(const TailTensor& t, std::uint32_t frames, const ProgramMemory& m) {
  if (t.place == Place::weights)
    return reinterpret_cast<std::uint16_t*>(const_cast<std::byte*>(m.weights) + t.offset);
  return reinterpret_cast<std::uint16_t*>(m.arena + t.offset * frames);
}

std::int32_t frame_step(const TailTensor& t) { return t.place == Place::weights ? 0 : t.frame_elements; }

/// Lays out a group's activations in shared memory: one slot per place in the arena, as large as the largest
/// tensor there.
class GroupBuilder {
 public:
  GroupBuilder(const TailView& program, const TailGroup& group, std::uint32_t frames,
               const ProgramMemory& memory)
      : p_{program}, group_{group}, frames_{frames}, memory_{memory} {
    std::map<std::uint64_t, std::int32_t> sizes;
    for (std::uint32_t i = group.first; i < group.last; ++i) {
      for (const std::uint32_t t : {p_.ops[i].x[0], p_.ops[i].x[1], p_.ops[i].y}) {
        if (t != no_tensor)
          sizes[tensor(t).offset] = std::max(sizes[tensor(t).offset], tensor(t).frame_elements * 2);
      }
    }
    for (const auto& [offset, bytes] : sizes) slot_[offset] = take(bytes);
  }

  GroupPlan build() {
    for (std::uint32_t i = group_.first; i < group_.last; ++i) op(i);
    plan_.shared_bytes = static_cast<std::uint32_t>(used_);
    return std::move(plan_);
  }

 private:
  const TailTensor& tensor(std::uint32_t t) const { return p_.tensors[t]; }
  std::int32_t take(std::int32_t bytes) {
    const std::int32_t at = used_;
    used_ += (bytes + 15) / 16 * 16;
    return at;
  }

  void op(std::uint32_t index) {
    const TailOp& op = p_.ops[index];
    for (const std::uint32_t t : {op.x[0], op.x[1]}) load(t);
    OpCall call = make_call(p_, index, frames_, memory_);
    call.frames = 1;  // a block does one frame
    GroupStep step;
    step.x = slot_.at(tensor(op.x[0]).offset);
    if (op.x[1] != no_tensor) step.z = slot_.at(tensor(op.x[1]).offset);
    if (op.kind == TailKind::gap_fc) step.x = mean(op, call, step.x);
    step.y = slot_.at(tensor(op.y).offset);
    step.arena = call.y;
    step.frame_elements = frame_step(tensor(op.y));
    if (op.kind == TailKind::conv || op.kind == TailKind::fc || op.kind == TailKind::gap_fc) {
      TailOp dense = op;
      if (op.kind == TailKind::gap_fc) {
        dense.kind = TailKind::fc;
        call.op = &dense;
      }
      step.kind = StepKind::conv;
      step.conv = conv_body(call);
      step.work = step.conv.total;
    } else {
      pool(step, call);
    }
    plan_.steps.push_back(step);
    ready_.push_back(tensor(op.y).offset);
  }

  void load(std::uint32_t t) {
    if (t == no_tensor || std::find(ready_.begin(), ready_.end(), tensor(t).offset) != ready_.end()) return;
    GroupStep step;
    step.y = slot_.at(tensor(t).offset);
    step.arena = address(tensor(t), frames_, memory_);
    step.frame_elements = frame_step(tensor(t));
    step.work = static_cast<std::uint32_t>(tensor(t).frame_elements / 8);
    plan_.steps.push_back(step);
    ready_.push_back(tensor(t).offset);
  }

  static void pool(GroupStep& step, const OpCall& call) {
    const PoolBody<false> body = pool_body<false>(call);  // all that differs is in the step's kind
    step.kind = call.op->kind == TailKind::max_pool ? StepKind::max_pool : StepKind::average_pool;
    step.pool = body.pool;
    step.work = body.total;
    step.by_c8 = body.by_c8;
    step.by_q = body.by_q;
    step.by_p = body.by_p;
  }

  /// The mean of a gap_fc as a step of its own; where it lies.
  std::int32_t mean(const TailOp& op, const OpCall& call, std::int32_t from) {
    TailOp average = op;
    average.kind = TailKind::global_average_pool;
    average.act = TailAct::none;
    average.p = average.q = 1;
    average.k = op.c;
    OpCall inner = call;
    inner.op = &average;
    inner.padded_y = op.in;
    GroupStep step;
    pool(step, inner);
    step.x = from;
    step.y = take(op.in * 2);
    plan_.steps.push_back(step);
    return step.y;
  }

  const TailView& p_;
  const TailGroup& group_;
  std::uint32_t frames_;
  const ProgramMemory& memory_;
  std::map<std::uint64_t, std::int32_t> slot_;
  std::vector<std::uint64_t> ready_;
  std::int32_t used_ = 0;
  GroupPlan plan_;
};

}  // namespace

OpCall make_call(const TailView& program, std::uint64_t index, std::uint32_t frames,
                 const ProgramMemory& memory) {
  const TailOp& op = program.ops[index];
  OpCall call;
  call.op = &op;
  call.frames = frames;
  for (std::size_t i = 0; i < 3; ++i) {
    if (op.x[i] == no_tensor) continue;
    const TailTensor& t = program.tensors[op.x[i]];
    call.x[i] = address(t, frames, memory);
    call.frame_x[i] = frame_step(t);
    if (i == 0) call.padded_x = t.padded;
  }
  if (op.y != no_tensor) {
    const TailTensor& t = program.tensors[op.y];
    call.y = address(t, frames, memory);
    call.frame_y = frame_step(t);
    call.padded_y = t.padded;
  }
  if (op.kind == TailKind::entry) {
    call.io = program.inputs[op.io];
    call.in = memory.inputs[op.io];
  }
  if (op.kind == TailKind::exit) {
    call.io = program.outputs[op.io];
    call.out = memory.outputs[op.io];
  }
  call.weights = memory.weights;
  call.host_weights = memory.host_weights;
  return call;
}

GroupPlan make_group(const TailView& program, const TailGroup& group, std::uint32_t frames,
                     const ProgramMemory& memory, std::uint32_t most_shared) {
  GroupPlan plan = GroupBuilder{program, group, frames, memory}.build();
  if (plan.shared_bytes > most_shared) plan.steps.clear();
  return plan;
}

}  // namespace splitcnn::inline v0::gpu::cuda
