#pragma once
/// A segment in a worker: batches go there, come back in order, and are computed by the fallback when the
/// worker fails.
#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "dpu/remote/golden.hpp"
#include "dpu/remote/supervisor.hpp"
#include "dpu/soft_head.hpp"

namespace splitcnn::inline v0 {

class RemoteHead {
 public:
  /// `soft` outlives this. Starts the worker and checks it; throws as DpuStage does.
  RemoteHead(const std::string& name, SoftHead& soft, const DpuWorkerOptions& options);

  [[nodiscard]] std::size_t batch() const noexcept { return info_.batch; }
  [[nodiscard]] std::size_t in_flight() const noexcept { return slots; }
  Ticket submit(const Batch& batch);
  /// A ticket whose wait() gives `status`.
  Ticket refuse(const Status& status);
  Status wait(Ticket ticket, Clock::time_point deadline);
  [[nodiscard]] DpuWorkerStats stats() const;
  void reset() { supervisor_->reset(); }

 private:
  static constexpr std::size_t slots = 2;
  enum class Where : std::uint8_t { worker, finished, fallback, refused };
  /// A batch under way. Its slot in the worker's memory is its place in the list.
  struct Flight {
    std::uint64_t ticket = 0, generation = 0;
    std::size_t frames = 0;
    Where where = Where::fallback;
    Clock::time_point deadline{};
    Status status;
    std::vector<TensorView> inputs, outputs;
  };

  void start(const std::string& name, const DpuWorkerOptions& options);
  void match(const dpu::ModelInfo& info);
  void write_inputs(dpu::WorkerLink& link, std::size_t slot, const Flight& flight);
  void read_outputs(dpu::WorkerLink& link, std::size_t slot, const Flight& flight);
  bool ask_worker(std::size_t slot, Flight& flight);
  std::optional<Status> wait_for_worker(std::size_t slot, Flight& flight, Clock::time_point deadline);
  Status fall_back(Flight& flight);

  std::string name_;
  SoftHead& soft_;
  Clock::duration deadline_;
  bool fallback_;
  dpu::ModelInfo info_;
  std::vector<std::size_t> input_of_, output_of_;  // per port: the worker's tensor
  std::optional<GoldenFrame> golden_;
  std::array<Flight, slots> flights_;
  std::uint64_t next_ticket_ = 1, next_wait_ = 1;
  std::string text_;
  std::atomic<std::uint64_t> worker_frames_{0}, fallback_frames_{0};
  std::unique_ptr<dpu::WorkerSupervisor> supervisor_;  // last: its thread uses the rest
};

}  // namespace splitcnn::inline v0
