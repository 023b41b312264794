#pragma once
/// Shared memory between an application and its DPU worker: slots for the tensors of batches, and a ring of
/// fixed descriptors in each direction with an eventfd as its bell. The application creates it and hands the
/// three descriptors over a Unix socket.
///
///     Ring ours = Ring::create(layout);           // application
///     Ring theirs = Ring::adopt(layout, fds);     // worker: checks size and seals
///     std::memcpy(ours.slot(0).data(), ...);  ours.send(encode(run));  ours.ring();
///     if (theirs.receive(bytes)) ...              // false: nothing there; wait on theirs.bell()
///
/// The memory is sealed against resizing, so that no side can make the other fault. What stands in it is not
/// trusted: positions and descriptors are copied out once and checked. One sender and one receiver thread per
/// direction.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dpu/protocol/fd.hpp"
#include "dpu/protocol/messages.hpp"

namespace splitcnn::inline v0::dpu {

class Ring {
 public:
  static constexpr std::size_t text_bytes = 224;  ///< of a sentence that fits into a descriptor
  struct Descriptor {
    std::array<std::byte, 24> body{};
    std::array<char, text_bytes> text{};
  };

  /// Throws no_device when the system has no memory or descriptors left.
  static Ring create(const RingLayout& layout);
  /// `fds`: memory, bell of the application's messages, bell of the worker's. Throws bad_file when they are
  /// not what `layout` says.
  static Ring adopt(const RingLayout& layout, std::vector<Fd> fds);
  Ring(Ring&& other) noexcept;
  Ring& operator=(Ring&&) = delete;
  ~Ring();

  [[nodiscard]] std::array<int, 3> fds() const noexcept {
    return {memory_.get(), to_worker_.get(), to_application_.get()};
  }
  [[nodiscard]] std::size_t slots() const noexcept { return layout_.slots; }
  [[nodiscard]] std::span<std::byte> slot(std::size_t i) const noexcept;

  /// Puts a descriptor into our outgoing ring and rings. False: the ring is full, which never happens between
  /// sides that keep the rules.
  bool send(const Descriptor& descriptor) noexcept;
  /// Takes one from our incoming ring. Throws bad_file when its positions are impossible.
  bool receive(Descriptor& descriptor);
  /// The same, for a side that expects one at once: looks for up to `patience` before it gives up, yielding
  /// the core to whoever else wants it. Waking a sleeping process costs tens of microseconds each way.
  bool receive_within(Descriptor& descriptor, Clock::duration patience);
  /// What to poll for incoming messages; clear it before receive().
  [[nodiscard]] int bell() const noexcept;
  void clear_bell() const noexcept;

 private:
  struct Shared;
  Ring(const RingLayout& layout, bool worker) noexcept : layout_{layout}, worker_{worker} {}
  void map();

  RingLayout layout_;
  bool worker_ = false;
  Fd memory_, to_worker_, to_application_;
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace splitcnn::inline v0::dpu
