#include "dpu/protocol/ring.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

namespace splitcnn::inline v0::dpu {

namespace {

constexpr std::uint32_t entries =
    2 * max_slots;  // a slot has at most one message in each direction: it can never be full
constexpr std::size_t page = 4096;

/// Written by one side, read by the other. Positions only grow.
struct Direction {
  alignas(64) std::atomic<std::uint32_t> written{0};
  alignas(64) std::atomic<std::uint32_t> taken{0};
  std::array<Ring::Descriptor, entries> descriptors;
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

std::size_t rounded(std::size_t bytes) noexcept { return (bytes + page - 1) / page * page; }

}  // namespace

struct Ring::Shared {
  Direction to_worker, to_application;
};

void Ring::map() {
  const std::size_t head = rounded(sizeof(Shared)), slot = rounded(layout_.slot_bytes);
  bytes_ = head + slot * layout_.slots;
  if (worker_) {
    struct stat info {};
    const int seals = fcntl(memory_.get(), F_GET_SEALS);
    if (fstat(memory_.get(), &info) != 0 || seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
        static_cast<std::size_t>(info.st_size) != bytes_) {
      throw Error{Errc::bad_file,
                  "DPU ring: the memory is not sealed or not of the size its layout says; the application is "
                  "damaged"};
    }
  }
  void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
  if (at == MAP_FAILED) throw_errno(Errc::no_device, "shared memory with the DPU worker");
  base_ = static_cast<std::byte*>(at);
}

Ring Ring::create(const RingLayout& layout) {
  Ring ring{layout, false};
  ring.memory_ = Fd{memfd_create("splitcnn-dpu", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  ring.to_worker_ = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  ring.to_application_ = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!ring.memory_ || !ring.to_worker_ || !ring.to_application_)
    throw_errno(Errc::no_device, "shared memory with the DPU worker");
  const std::size_t bytes = rounded(sizeof(Shared)) + rounded(layout.slot_bytes) * layout.slots;
  if (ftruncate(ring.memory_.get(), static_cast<off_t>(bytes)) != 0 ||
      fcntl(ring.memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    throw_errno(Errc::no_device, "shared memory with the DPU worker");
  }
  ring.map();
  return ring;
}

Ring Ring::adopt(const RingLayout& layout, std::vector<Fd> fds) {
  if (fds.size() != 3) throw Error{Errc::bad_file, "DPU ring: three descriptors belong to it"};
  Ring ring{layout, true};
  ring.memory_ = std::move(fds[0]);
  ring.to_worker_ = std::move(fds[1]);
  ring.to_application_ = std::move(fds[2]);
  ring.map();
  return ring;
}

Ring::Ring(Ring&& other) noexcept
    : layout_{other.layout_},
      worker_{other.worker_},
      memory_{std::move(other.memory_)},
      to_worker_{std::move(other.to_worker_)},
      to_application_{std::move(other.to_application_)},
      base_{std::exchange(other.base_, nullptr)},
      bytes_{other.bytes_} {}

Ring::~Ring() {
  if (base_) munmap(base_, bytes_);
}

std::span<std::byte> Ring::slot(std::size_t i) const noexcept {
  return {base_ + rounded(sizeof(Shared)) + rounded(layout_.slot_bytes) * i, layout_.slot_bytes};
}

bool Ring::send(const Descriptor& descriptor) noexcept {
  auto* shared = reinterpret_cast<Shared*>(base_);
  Direction& d = worker_ ? shared->to_application : shared->to_worker;
  const std::uint32_t at = d.written.load(std::memory_order_relaxed);
  if (at - d.taken.load(std::memory_order_acquire) >= entries) return false;
  d.descriptors[at % entries] = descriptor;
  d.written.store(at + 1, std::memory_order_release);
  const std::uint64_t one = 1;
  return write((worker_ ? to_application_ : to_worker_).get(), &one, sizeof one) == sizeof one;
}

bool Ring::receive(Descriptor& descriptor) {
  auto* shared = reinterpret_cast<Shared*>(base_);
  Direction& d = worker_ ? shared->to_worker : shared->to_application;
  const std::uint32_t at = d.taken.load(std::memory_order_relaxed),
                      written = d.written.load(std::memory_order_acquire);
  if (written == at) return false;
  if (written - at > entries)
    throw Error{Errc::bad_file, "DPU ring: impossible positions; the other side has overwritten it"};
  descriptor = d.descriptors[at % entries];
  d.taken.store(at + 1, std::memory_order_release);
  return true;
}

bool Ring::receive_within(Descriptor& descriptor, Clock::duration patience) {
  const auto end = Clock::now() + patience;
  while (!receive(descriptor)) {
    if (Clock::now() >= end) return false;
    sched_yield();
  }
  return true;
}

int Ring::bell() const noexcept { return (worker_ ? to_worker_ : to_application_).get(); }

void Ring::clear_bell() const noexcept {
  std::uint64_t count = 0;
  (void)!read(bell(), &count, sizeof count);
}

}  // namespace splitcnn::inline v0::dpu
