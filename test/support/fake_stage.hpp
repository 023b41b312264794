#pragma once
/// A stage that does as it is told: batch size, overlap, failures, a device that dies, and a gate instead of
/// sleeping. It also checks the pipeline's side of the Stage contract and counts every breach.
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "splitcnn/stage.hpp"

namespace splitcnn_test {

/// The n-th frame of tests whose stages take two numbers.
inline std::array<float, 2> frame(int n) { return {static_cast<float>(n), 0.5f}; }

/// Holds batches until it is opened; tells the test how many have arrived.
class Gate {
 public:
  explicit Gate(bool open = false) : open_{open} {}

  void open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
    changed_.notify_all();
  }
  void shut() {
    const std::lock_guard lock{mutex_};
    open_ = false;
  }
  void arrive() {
    const std::lock_guard lock{mutex_};
    ++arrived_;
    changed_.notify_all();
  }
  bool wait_open(splitcnn::Clock::time_point deadline) {
    std::unique_lock lock{mutex_};
    return changed_.wait_until(lock, deadline, [this] { return open_; });
  }
  /// Blocks the test until `n` batches have been submitted in all.
  void wait_arrived(std::size_t n) {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return arrived_ >= n; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_;
  std::size_t arrived_ = 0;
};

/// What a FakeStage saw; outlives it.
struct FakeLog {
  std::mutex mutex;
  std::vector<std::string> events;   ///< "name:frames" per submit, over all stages that share the log
  std::vector<std::size_t> batches;  ///< frames per submit
  std::size_t most_in_flight = 0;
  std::atomic<std::size_t> submits{0}, frames{0}, prepares{0}, breaches{0}, destroyed{0}, offers_asked{0};
  std::thread::id thread;
};

struct FakeOptions {
  std::string name = "fake";
  std::string device = "fake:0";
  std::vector<splitcnn::TensorSpec> inputs{{.name = "x", .shape = {1, 2}}};
  std::vector<splitcnn::TensorSpec> outputs{{.name = "y", .shape = {1, 2}}};
  std::size_t batch = 1, in_flight = 1;
  std::size_t fail_every = 0;   ///< every n-th batch fails in wait
  std::size_t throw_every = 0;  ///< every n-th batch throws in submit
  std::size_t lose_at = 0;      ///< from this batch on (counted from 1) the device is lost
  bool fail_prepare = false;
  bool offer_inputs = false;
  Gate* gate = nullptr;         ///< wait() holds until it is open
  Gate* submit_gate = nullptr;  ///< submit() holds, like a synchronous device
  FakeLog* log = nullptr;
  /// One frame; the default copies input i to output i.
  std::function<void(std::span<const splitcnn::TensorView>, std::span<const splitcnn::TensorView>)> compute;
};

class FakeStage : public splitcnn::Stage {
 public:
  explicit FakeStage(FakeOptions options)
      : options_{std::move(options)}, log_{options_.log ? options_.log : &own_log_} {
    pending_.resize(options_.in_flight);
    for (Pending& p : pending_) {
      p.inputs.reserve(options_.batch * options_.inputs.size());
      p.outputs.reserve(options_.batch * options_.outputs.size());
    }
  }
  ~FakeStage() override { ++log_->destroyed; }

  const std::string& name() const noexcept override { return options_.name; }
  const std::string& device() const noexcept override { return options_.device; }
  std::span<const splitcnn::TensorSpec> inputs() const noexcept override { return options_.inputs; }
  std::span<const splitcnn::TensorSpec> outputs() const noexcept override { return options_.outputs; }
  std::size_t preferred_batch() const noexcept override { return options_.batch; }
  std::size_t max_in_flight() const noexcept override { return options_.in_flight; }

  void prepare() override {
    {
      const std::lock_guard lock{log_->mutex};
      log_->thread = std::this_thread::get_id();
    }
    ++log_->prepares;
    if (options_.fail_prepare) throw splitcnn::Error{splitcnn::Errc::no_device, "fake: no driver"};
  }

  splitcnn::Ticket submit(const splitcnn::Batch& batch) override {
    const Inside inside{*this};
    check(batch.frames >= 1 && batch.frames <= options_.batch && count_ < options_.in_flight);
    check(batch.inputs.size() == batch.frames * options_.inputs.size());
    check(batch.outputs.size() == batch.frames * options_.outputs.size());
    record(batch.frames);
    if (options_.submit_gate) {
      options_.submit_gate->arrive();
      options_.submit_gate->wait_open(splitcnn::Clock::time_point::max());
    }
    const std::size_t number = log_->submits;
    if (options_.throw_every && number % options_.throw_every == 0)
      throw std::runtime_error{"thrown on purpose"};
    Pending& p = pending_[(first_ + count_++) % pending_.size()];
    p.id = ++last_id_;
    p.number = number;
    p.frames = batch.frames;
    p.inputs.assign(batch.inputs.begin(), batch.inputs.end());
    p.outputs.assign(batch.outputs.begin(), batch.outputs.end());
    if (options_.gate) options_.gate->arrive();
    return {p.id};
  }

  splitcnn::Status wait(splitcnn::Ticket ticket, splitcnn::Clock::time_point deadline) override {
    const Inside inside{*this};
    check(count_ > 0 && pending_[first_].id == ticket.id);
    if (options_.gate && !options_.gate->wait_open(deadline)) return {splitcnn::Errc::timeout, "gate shut"};
    const Pending& p = pending_[first_];
    first_ = (first_ + 1) % pending_.size();
    --count_;
    for (std::size_t f = 0; f < p.frames; ++f) run(p, f);
    if (options_.lose_at && p.number >= options_.lose_at)
      return {splitcnn::Errc::device_failed, "device pulled out"};
    if (options_.fail_every && p.number % options_.fail_every == 0)
      return {splitcnn::Errc::stage_failed, "failed on purpose"};
    return {};
  }

  std::optional<std::vector<splitcnn::TensorView>> try_input_buffers(std::size_t slot) override {
    ++log_->offers_asked;
    if (log_->prepares > 0) ++log_->breaches;
    if (!options_.offer_inputs) return std::nullopt;
    std::vector<splitcnn::TensorView> views;
    for (const auto& spec : options_.inputs) {
      offered_.emplace_back(spec);
      views.push_back(offered_.back().view());
    }
    check(slot < 1'000'000);
    return views;
  }

  [[nodiscard]] bool was_offered(const std::byte* data) const {
    for (const auto& t : offered_) {
      if (t.bytes().data() == data) return true;
    }
    return false;
  }

 private:
  struct Pending {
    std::uint64_t id = 0;
    std::size_t number = 0, frames = 0;
    std::vector<splitcnn::TensorView> inputs, outputs;
  };

  /// The pipeline never calls a stage from two threads, nor from another one than prepare()'s.
  struct Inside {
    explicit Inside(FakeStage& stage) : stage_{stage} {
      stage_.check(!stage_.inside_.exchange(true));
      stage_.check(stage_.log_->prepares >= 1);
    }
    ~Inside() { stage_.inside_ = false; }
    FakeStage& stage_;
  };

  void check(bool kept) {
    if (!kept) ++log_->breaches;
  }

  void record(std::size_t frames) {
    ++log_->submits;
    log_->frames += frames;
    if (options_.log) {
      const std::lock_guard lock{log_->mutex};
      log_->most_in_flight = std::max(log_->most_in_flight, count_ + 1);
      if (log_->batches.size() < log_->batches.capacity() || log_->batches.size() < 1000) {
        log_->batches.push_back(frames);
        log_->events.push_back(options_.name + ":" + std::to_string(frames));
      }
    }
  }

  void run(const Pending& p, std::size_t f) {
    const std::size_t n_in = options_.inputs.size(), n_out = options_.outputs.size();
    const std::span<const splitcnn::TensorView> in{p.inputs.data() + f * n_in, n_in},
        out{p.outputs.data() + f * n_out, n_out};
    if (options_.compute) {
      options_.compute(in, out);
      return;
    }
    for (std::size_t i = 0; i < n_out && n_in > 0; ++i) {
      const auto& from = in[i % n_in];
      std::memcpy(out[i].data, from.data, std::min(from.bytes(), out[i].bytes()));
    }
  }

  FakeOptions options_;
  FakeLog own_log_;
  FakeLog* log_;
  std::vector<Pending> pending_;
  std::size_t first_ = 0, count_ = 0;
  std::uint64_t last_id_ = 0;
  std::atomic<bool> inside_{false};
  std::deque<splitcnn::Tensor> offered_;
};

inline std::unique_ptr<splitcnn::Stage> fake(FakeOptions options) {
  return std::make_unique<FakeStage>(std::move(options));
}

/// A chain of fakes with fitting tensor names t0, t1, ...; names and devices of their own where the options
/// have defaults.
inline std::vector<std::unique_ptr<splitcnn::Stage>> fake_chain(std::vector<FakeOptions> chain) {
  std::vector<std::unique_ptr<splitcnn::Stage>> stages;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    FakeOptions& o = chain[i];
    if (o.name == "fake") o.name = "s" + std::to_string(i);
    if (o.device == "fake:0") o.device = "fake:" + std::to_string(i);
    o.inputs.front().name = "t" + std::to_string(i);
    o.outputs.front().name = "t" + std::to_string(i + 1);
    stages.push_back(fake(std::move(o)));
  }
  return stages;
}

inline std::vector<std::unique_ptr<splitcnn::Stage>> one(FakeOptions options) {
  std::vector<std::unique_ptr<splitcnn::Stage>> stages;
  stages.push_back(fake(std::move(options)));
  return stages;
}

/// Runs it on a compute function that works on floats.
template <class F>
auto on_floats(F f) {
  return [f](std::span<const splitcnn::TensorView> in, std::span<const splitcnn::TensorView> out) {
    const auto* x = reinterpret_cast<const float*>(in[0].data);
    auto* y = reinterpret_cast<float*>(out[0].data);
    for (std::size_t i = 0; i < out[0].bytes() / sizeof(float); ++i) y[i] = f(x[i]);
  };
}

}  // namespace splitcnn_test
