#include "dpu/remote/remote_head.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "dpu/protocol/stream.hpp"
#include "splitcnn/trace.hpp"

namespace splitcnn::inline v0 {

namespace {

Clock::duration to_clock(Millis ms, const char* what) {
  if (!(ms.count() > 0) || ms.count() > 1e9)
    throw Error{Errc::bad_argument, fmt::format("DPU worker: {} must be more than 0 ms", what)};
  return std::chrono::duration_cast<Clock::duration>(ms);
}

/// Which of the worker's tensors belongs to each port: of its size and fix point, by name where several are,
/// else in order.
std::vector<std::size_t> match_tensors(const std::vector<TensorSpec>& theirs, std::span<const DpuPort> ports,
                                       std::span<const TensorSpec> names, const char* side) {
  std::vector<std::size_t> chosen;
  std::vector<bool> taken(theirs.size());
  if (theirs.size() != ports.size()) {
    throw Error{Errc::mismatch,
                fmt::format("the model has {} {}, the segment {}; was it exported at another cut?",
                            theirs.size(), side, ports.size())};
  }
  for (std::size_t p = 0; p < ports.size(); ++p) {
    const auto fits = [&](std::size_t i) {
      return !taken[i] && theirs[i].bytes() == static_cast<std::size_t>(ports[p].logical.elements()) &&
             theirs[i].fix_point == ports[p].inside.fix_point;
    };
    std::size_t best = theirs.size();
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      if (!fits(i)) continue;
      if (best == theirs.size() || theirs[i].name == names[p].name) best = i;
    }
    if (best == theirs.size()) {
      throw Error{Errc::mismatch, fmt::format("{} '{}': no tensor of the model has {} bytes and fix point {} "
                                              "(it has {}); was it exported with this calibration?",
                                              side, names[p].name, ports[p].logical.elements(),
                                              ports[p].inside.fix_point, [&] {
                                                std::string all;
                                                for (const TensorSpec& t : theirs)
                                                  all += fmt::format("{}{} {} fix point {}",
                                                                     all.empty() ? "" : ", ", t.name,
                                                                     to_string(t.shape), t.fix_point);
                                                return all;
                                              }())};
    }
    taken[best] = true;
    chosen.push_back(best);
  }
  return chosen;
}

}  // namespace

RemoteHead::RemoteHead(const std::string& name, SoftHead& soft, const DpuWorkerOptions& options)
    : name_{name},
      soft_{soft},
      deadline_{to_clock(options.deadline, "the deadline")},
      fallback_{options.fallback == DpuFallback::software} {
  if (options.xmodel.empty())
    throw Error{Errc::bad_argument, name +
                                        ": a DPU worker needs the file of its model (xmodel); export one "
                                        "with splitcnn export --format xmodel"};
  if (options.restarts < 0) throw Error{Errc::bad_argument, name + ": restarts must not be negative"};
  start(name, options);
}

void RemoteHead::start(const std::string& name, const DpuWorkerOptions& options) {
  dpu::SupervisorOptions s{.name = name,
                           .deadline = deadline_,
                           .restarts = options.restarts,
                           .window = to_clock(options.restart_window, "the restart window")};
  s.link = {.address = options.address,
            .program = options.program,
            .models = {{options.xmodel.string(), options.mode, options.subgraph}},
            .slots = slots,
            .start_time = to_clock(options.start_deadline, "the start deadline")};
  if (!options.key.empty()) s.link.key = dpu::read_key(options.key.string());
  // The first check is the one that finds out about the model; later ones only have to find it unchanged.
  s.check = [this, start = s.link.start_time](dpu::WorkerLink& link) {
    const auto patience = golden_ ? deadline_ + std::chrono::seconds{1} : std::max(start, deadline_);
    match(link.loaded().models[0]);
    golden_->check(link, Clock::now() + patience);
  };
  supervisor_ = std::make_unique<dpu::WorkerSupervisor>(std::move(s));
}

void RemoteHead::match(const dpu::ModelInfo& info) {
  if (golden_) {
    if (info.batch != info_.batch || info.inputs != info_.inputs || info.outputs != info_.outputs) {
      throw Error{Errc::mismatch,
                  fmt::format("model '{}': changed while in use; make the stage anew", info.name)};
    }
    return;
  }
  input_of_ = match_tensors(info.inputs, soft_.inputs, soft_.input_specs, "input");
  output_of_ = match_tensors(info.outputs, soft_.outputs, soft_.output_specs, "output");
  info_ = info;
  for (Flight& f : flights_) {
    f.inputs.reserve(info.batch * soft_.inputs.size());
    f.outputs.reserve(info.batch * soft_.outputs.size());
  }
  golden_.emplace(soft_, input_of_, output_of_);
}

void RemoteHead::write_inputs(dpu::WorkerLink& link, std::size_t slot, const Flight& flight) {
  const TraceSpan span{"to the DPU"};
  const std::size_t ins = soft_.inputs.size();
  for (std::size_t i = 0; i < ins; ++i) {
    const DpuPort& p = soft_.inputs[i];
    std::byte* to = link.tensor(slot, input_of_[i]);
    const std::size_t bytes = info_.inputs[input_of_[i]].bytes();
    for (std::size_t f = 0; f < flight.frames; ++f)
      convert(p.logical, p.outside, flight.inputs[f * ins + i].data, p.inside, to + f * bytes);
  }
}

void RemoteHead::read_outputs(dpu::WorkerLink& link, std::size_t slot, const Flight& flight) {
  const TraceSpan span{"from the DPU"};
  const std::size_t outs = soft_.outputs.size();
  for (std::size_t i = 0; i < outs; ++i) {
    const DpuPort& p = soft_.outputs[i];
    const std::byte* from = link.tensor(slot, info_.inputs.size() + output_of_[i]);
    const std::size_t bytes = info_.outputs[output_of_[i]].bytes();
    for (std::size_t f = 0; f < flight.frames; ++f)
      convert(p.logical, p.inside, from + f * bytes, p.outside, flight.outputs[f * outs + i].data);
  }
}

bool RemoteHead::ask_worker(std::size_t slot, Flight& flight) {
  bool posted = false, garbage = false;
  {
    auto use = supervisor_->use();
    if (!use.link) return false;
    write_inputs(*use.link, slot, flight);
    flight.generation = use.generation;
    flight.deadline = Clock::now() + deadline_;
    posted = use.link->post({.ticket = flight.ticket,
                             .slot = static_cast<std::uint32_t>(slot),
                             .frames = static_cast<std::uint32_t>(flight.frames)},
                            flight.deadline);
    garbage = use.link->garbage();
  }
  if (!posted)
    supervisor_->lost(flight.generation,
                      garbage                           ? dpu::Loss::garbage
                      : Clock::now() >= flight.deadline ? dpu::Loss::timeout
                                                        : dpu::Loss::death,
                      {});
  return posted;
}

Ticket RemoteHead::submit(const Batch& batch) {
  const std::uint64_t ticket = next_ticket_++;
  const std::size_t slot = ticket % slots;
  Flight& flight = flights_[slot];
  flight.ticket = ticket;
  flight.frames = batch.frames;
  flight.status = {};
  if (ticket - next_wait_ >= slots || batch.frames > info_.batch) {
    flight.where = Where::refused;
    flight.status = {Errc::bad_argument,
                     fmt::format("{}: more batches or frames than the stage takes", name_)};
    return {ticket};
  }
  flight.inputs.assign(batch.inputs.begin(), batch.inputs.end());
  flight.outputs.assign(batch.outputs.begin(), batch.outputs.end());
  flight.where = ask_worker(slot, flight) ? Where::worker : Where::fallback;
  return {ticket};
}

Ticket RemoteHead::refuse(const Status& status) {
  const std::uint64_t ticket = next_ticket_++;
  Flight& flight = flights_[ticket % slots];
  flight.ticket = ticket;
  flight.where = Where::refused;
  flight.status = status;
  return {ticket};
}

/// nullopt: the fallback has to compute it.
std::optional<Status> RemoteHead::wait_for_worker(std::size_t slot, Flight& flight,
                                                  Clock::time_point deadline) {
  using Collected = dpu::WorkerLink::Collected;
  auto loss = dpu::Loss::death;
  std::string why;
  {
    auto use = supervisor_->use();
    if (!use.link || use.generation != flight.generation) return std::nullopt;
    while (flight.where == Where::worker) {
      dpu::Done done;
      const auto collected = use.link->collect(done, text_, std::min(deadline, flight.deadline));
      if (collected == Collected::done) {
        if (done.ticket == 0) continue;
        Flight& other = flights_[done.ticket % slots];
        other.where = done.code == Errc::ok ? Where::finished : Where::fallback;
        if (done.code != Errc::ok) other.status = {done.code, text_};
        continue;
      }
      if (collected == Collected::timeout && Clock::now() < flight.deadline) return Status{Errc::timeout, {}};
      loss = use.link->garbage()               ? dpu::Loss::garbage
             : collected == Collected::timeout ? dpu::Loss::timeout
                                               : dpu::Loss::death;
      if (loss == dpu::Loss::timeout)
        why = fmt::format("no answer within {:.0f} ms", Millis{deadline_}.count());
      break;
    }
    if (flight.where == Where::finished) {
      read_outputs(*use.link, slot, flight);
      worker_frames_ += flight.frames;
      supervisor_->worked();
      return Status{};
    }
    if (flight.where == Where::fallback) return std::nullopt;  // the worker lives, this batch failed there
  }
  supervisor_->lost(flight.generation, loss, why);
  return std::nullopt;
}

Status RemoteHead::fall_back(Flight& flight) {
  if (!fallback_) {
    return {Errc::stage_failed, flight.status.ok() ? fmt::format("{}: the DPU worker is not in service: {}",
                                                                 name_, stats().last_error)
                                                   : flight.status.message};
  }
  const std::size_t ins = soft_.inputs.size(), outs = soft_.outputs.size();
  for (std::size_t f = 0; f < flight.frames; ++f) {
    soft_.run_frame(std::span{flight.inputs}.subspan(f * ins, ins),
                    std::span{flight.outputs}.subspan(f * outs, outs));
  }
  fallback_frames_ += flight.frames;
  return {};
}

Status RemoteHead::wait(Ticket ticket, Clock::time_point deadline) {
  if (ticket.id != next_wait_ || ticket.id >= next_ticket_)
    return {Errc::bad_argument, name_ + ": this ticket is not the next one to wait for"};
  const std::size_t slot = ticket.id % slots;
  Flight& flight = flights_[slot];
  std::optional<Status> status;
  if (flight.where == Where::refused)
    status = flight.status;
  else if (flight.where != Where::fallback)
    status = wait_for_worker(slot, flight, deadline);
  if (!status) status = fall_back(flight);
  if (status->code != Errc::timeout) ++next_wait_;
  return *status;
}

DpuWorkerStats RemoteHead::stats() const {
  DpuWorkerStats stats = supervisor_->stats();
  stats.worker_frames = worker_frames_;
  stats.fallback_frames = fallback_frames_;
  return stats;
}

}  // namespace splitcnn::inline v0
