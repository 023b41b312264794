#pragma once
/// The application's end of one connection to a worker. Built ready for batches or not at all; after its
/// first failure it is of no more use.
///
///     WorkerLink link{{.address = "local", .models = {{"head.xmodel", "run"}}}};
///     std::memcpy(link.tensor(slot, 0), frames, n);
///     link.post({.ticket = 1, .slot = slot, .frames = 6}, deadline);
///     link.collect(done, deadline);                                    // then link.tensor(slot, inputs + i)
///
/// One thread at a time. post() and collect() do not allocate and do not throw.
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dpu/protocol/ring.hpp"
#include "dpu/protocol/stream.hpp"
#include "dpu/remote/process.hpp"

namespace splitcnn::inline v0::dpu {

struct LinkOptions {
  std::string address = "local";    ///< "local" or "tcp://host:port"
  std::filesystem::path program{};  ///< for "local"; empty: find_worker()
  std::vector<std::byte> key{};     ///< for tcp
  std::vector<ModelRequest> models{};
  std::size_t slots = 2;                                  ///< batches that can be under way
  Clock::duration start_time = std::chrono::seconds{30};  ///< from nothing to models loaded
};

class WorkerLink {
 public:
  /// Throws what the worker says of the models, no_device, device_failed (it ended or did not answer),
  /// bad_argument (address, key).
  explicit WorkerLink(const LinkOptions& options);
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;
  ~WorkerLink();

  [[nodiscard]] const Loaded& loaded() const noexcept { return loaded_; }
  [[nodiscard]] const std::string& backend() const noexcept { return welcome_.backend; }
  [[nodiscard]] long pid() const noexcept { return static_cast<long>(welcome_.pid); }
  [[nodiscard]] int socket() const noexcept { return socket_.get(); }
  [[nodiscard]] std::size_t slots() const noexcept { return posted_.size(); }

  /// Tensor i (inputs, then outputs) of a slot as the slot's model lays it out.
  [[nodiscard]] std::byte* tensor(std::size_t slot, std::size_t i, std::uint32_t model = 0) noexcept;
  /// Starts a batch whose inputs stand in its slot. False: the link is broken; see trouble().
  bool post(const Run& run, Clock::time_point deadline) noexcept;
  enum class Collected : std::uint8_t { done, timeout, broken };
  /// The next batch that is over, in whatever order they end. For a failed one `text` is the worker's
  /// sentence.
  Collected collect(Done& done, std::string& text, Clock::time_point deadline) noexcept;
  /// Asks whether it lives. Only while nothing is under way.
  bool ping(Clock::time_point deadline) noexcept;

  /// Why it broke: "garbage ...", "the worker was ended by signal 6 (Aborted)". Ends a local worker.
  std::string trouble();
  /// It broke by what it sent, not by going.
  [[nodiscard]] bool garbage() const noexcept { return !garbage_.empty(); }

 private:
  struct Finished {
    Done done;
    std::string text;
  };
  void connect(const LinkOptions& options, Clock::time_point deadline);
  void greet(const LinkOptions& options, Clock::time_point deadline);
  void load(const LinkOptions& options, Clock::time_point deadline);
  Message expect(Kind kind, Clock::time_point deadline);
  [[noreturn]] void lost(const char* while_doing);

  bool accept(const Done& done, std::string_view text) noexcept;
  bool read_stream() noexcept;
  void step();
  bool post_stream(const Run& run, Clock::time_point deadline) noexcept;
  bool take_ring(Clock::duration patience) noexcept;
  bool pump(short events, Clock::time_point deadline, bool& timed_out) noexcept;
  bool broken(const std::string& why) noexcept;

  Fd socket_;
  std::optional<WorkerProcess> process_;
  std::string address_;
  Welcome welcome_;
  Loaded loaded_;
  std::vector<std::vector<std::size_t>> offsets_;  // per model
  std::optional<Ring> ring_;
  std::vector<std::vector<std::byte>> buffers_;  // per slot, without a ring
  std::vector<std::optional<Run>> posted_;       // per slot
  std::vector<Finished> finished_;               // oldest first
  std::string garbage_;
  bool pong_ = false;
  bool quick_ = false;  // the last batch was over so soon that it did not pay to sleep

  // What is being read from the stream: the parts still missing, and what to do when they are here.
  enum class Reading : std::uint8_t { header, fixed, outputs, text };
  Reading reading_ = Reading::header;
  std::array<std::byte, Header::size> header_bytes_{};
  std::array<std::byte, Done::size> done_bytes_{};
  Header header_;
  Done done_;
  std::string text_;
  std::array<iovec, max_tensors> wanted_{};
  std::span<iovec> missing_;
};

}  // namespace splitcnn::inline v0::dpu
