#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <span>
#include <utility>

#include "core/log.hpp"
#include "pipeline/recording.hpp"
#include "plan/plan_json.hpp"

namespace splitcnn::inline v0 {

namespace {

/// Hands everything on to the real stage and copies what goes in and comes out.
class RecordedStage final : public Stage {
 public:
  RecordedStage(std::unique_ptr<Stage> stage, std::shared_ptr<Recording> recording, std::uint32_t index)
      : stage_{std::move(stage)}, recording_{std::move(recording)}, index_{index} {}

  const std::string& name() const noexcept override { return stage_->name(); }
  const std::string& device() const noexcept override { return stage_->device(); }
  std::span<const TensorSpec> inputs() const noexcept override { return stage_->inputs(); }
  std::span<const TensorSpec> outputs() const noexcept override { return stage_->outputs(); }
  std::size_t preferred_batch() const noexcept override { return stage_->preferred_batch(); }
  std::size_t max_in_flight() const noexcept override { return stage_->max_in_flight(); }
  void prepare() override { stage_->prepare(); }
  std::optional<std::vector<TensorView>> try_input_buffers(std::size_t slot) override {
    return stage_->try_input_buffers(slot);
  }
  std::vector<NodeTime> time_nodes(const Batch& batch) override { return stage_->time_nodes(batch); }

  Ticket submit(const Batch& batch) override {
    if (recorded_ >= recording_->options.frames || !readable(batch.inputs) || !readable(batch.outputs))
      return stage_->submit(batch);
    Pending p{.head = {.stage = index_, .frames = static_cast<std::uint32_t>(batch.frames)}};
    for (const TensorView& view : batch.inputs) {
      p.inputs.insert(p.inputs.end(), view.data, view.data + view.spec->bytes());
    }
    p.outputs.assign(batch.outputs.begin(), batch.outputs.end());
    recorded_ += batch.frames;
    p.ticket = stage_->submit(batch);
    pending_.push_back(std::move(p));
    return pending_.back().ticket;
  }

  Status wait(Ticket ticket, Clock::time_point deadline) override {
    Status status = stage_->wait(ticket, deadline);
    if (status.code == Errc::timeout || pending_.empty() || pending_.front().ticket.id != ticket.id)
      return status;
    Pending& p = pending_.front();
    p.head.failed = status.ok() ? 0 : 1;
    recording_->write(p.head, p.inputs, p.outputs);
    pending_.pop_front();
    return status;
  }

 private:
  struct Pending {
    Ticket ticket;
    EntryHead head;
    std::vector<std::byte> inputs;
    std::vector<TensorView> outputs;
  };

  /// What lives in a device's memory cannot be copied from here.
  bool readable(std::span<const TensorView> views) {
    const bool all = std::all_of(views.begin(), views.end(), [](const TensorView& v) {
      return v.memory == Memory::host || v.memory == Memory::pinned;
    });
    if (!all && !std::exchange(warned_, true)) {
      log(LogLevel::warning,
          fmt::format("recording: '{}' has tensors in device memory; it is not recorded", name()));
    }
    return all;
  }

  std::unique_ptr<Stage> stage_;
  std::shared_ptr<Recording> recording_;
  bool warned_ = false;
  std::uint32_t index_;
  std::size_t recorded_ = 0;
  std::deque<Pending> pending_;
};

}  // namespace

void Recording::write(EntryHead head, const std::vector<std::byte>& inputs,
                      std::span<const TensorView> outputs) noexcept {
  const std::lock_guard lock{mutex};
  if (!open || full) return;
  head.input_bytes = inputs.size();
  for (const TensorView& view : outputs) head.output_bytes += head.failed ? 0 : view.spec->bytes();
  const std::uint64_t size = sizeof(head) + head.input_bytes + head.output_bytes;
  if (bytes + size > options.max_bytes) {
    full = true;
    return;
  }
  file.write(reinterpret_cast<const char*>(&head), sizeof(head));
  file.write(reinterpret_cast<const char*>(inputs.data()), static_cast<std::streamsize>(inputs.size()));
  for (const TensorView& view : outputs) {
    if (!head.failed)
      file.write(reinterpret_cast<const char*>(view.data), static_cast<std::streamsize>(view.spec->bytes()));
  }
  bytes += size;
  ++batches;
}

Recorder::Recorder(const std::filesystem::path& path, const Plan& plan, const RecordOptions& options)
    : recording_{std::make_shared<Recording>()} {
  if (options.frames == 0) throw Error{Errc::bad_argument, "Recorder: 0 frames; give at least 1"};
  Recording& r = *recording_;
  r.options = options;
  r.path = path;
  r.file.open(path, std::ios::binary | std::ios::trunc);
  const std::string header = nlohmann::json{
      {"format", recording_format},
      {"version", recording_version},
      {"build", build_info()},
      {"plan",
       plan_to_json(plan)}}.dump();
  const auto length = static_cast<std::uint32_t>(header.size());
  r.file.write(recording_magic.data(), recording_magic.size());
  r.file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  r.file.write(header.data(), static_cast<std::streamsize>(header.size()));
  if (!r.file.flush()) throw Error{Errc::io, path.string() + ": cannot be written"};
  r.bytes = recording_magic.size() + sizeof(length) + header.size();
}

Recorder::~Recorder() {
  try {
    finish();
  } catch (const Error& e) {
    log(LogLevel::warning, e.what());
  }
}

std::function<std::unique_ptr<Stage>(std::unique_ptr<Stage>)> Recorder::wrap() {
  return [recording = recording_](std::unique_ptr<Stage> stage) -> std::unique_ptr<Stage> {
    std::uint32_t index = 0;
    {
      const std::lock_guard lock{recording->mutex};
      index = recording->stages++;
    }
    return std::make_unique<RecordedStage>(std::move(stage), recording, index);
  };
}

void Recorder::finish() {
  Recording& r = *recording_;
  const std::lock_guard lock{r.mutex};
  if (!r.open) return;
  r.open = false;
  r.file.close();
  if (!r.file)
    throw Error{Errc::io, r.path.string() + ": the recording could not be written; is the disk full?"};
}

std::uint64_t Recorder::batches() const noexcept {
  const std::lock_guard lock{recording_->mutex};
  return recording_->batches;
}

}  // namespace splitcnn::inline v0
