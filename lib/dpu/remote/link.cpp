#include "dpu/remote/link.hpp"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace splitcnn::inline v0::dpu {

namespace {

std::byte* on_boundary(std::vector<std::byte>& buffer) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(buffer.data());
  return buffer.data() + (64 - address % 64) % 64;
}

/// A batch that is over so soon is waited for awake: sleeping and being woken would take as long.
constexpr auto quick = std::chrono::microseconds{200};

std::span<iovec> advance(std::span<iovec> parts, std::size_t n) noexcept {
  for (; !parts.empty() && n >= parts.front().iov_len; parts = parts.subspan(1)) n -= parts.front().iov_len;
  if (n > 0) {
    parts.front().iov_base = static_cast<std::byte*>(parts.front().iov_base) + n;
    parts.front().iov_len -= n;
  }
  return parts;
}

}  // namespace

WorkerLink::WorkerLink(const LinkOptions& options) : address_{options.address} {
  const auto deadline = Clock::now() + options.start_time;
  connect(options, deadline);
  greet(options, deadline);
  load(options, deadline);
  wanted_[0] = {header_bytes_.data(), header_bytes_.size()};
  missing_ = std::span{wanted_}.first(1);
}

WorkerLink::~WorkerLink() {
  socket_.reset();  // the worker ends by itself; a stuck one is killed by WorkerProcess
}

void WorkerLink::connect(const LinkOptions& options, Clock::time_point deadline) {
  constexpr std::string_view tcp = "tcp://";
  if (options.address.starts_with(tcp)) {
    socket_ = connect_tcp(options.address.substr(tcp.size()), deadline);
    return;
  }
  if (options.address != "local") {
    throw Error{Errc::bad_argument,
                "DPU worker '" + options.address + "': is no address; there are local and tcp://HOST:PORT"};
  }
  const auto program = find_worker(options.program);
  auto [ours, theirs] = socket_pair();
  process_.emplace(program, theirs);
  socket_ = std::move(ours);
}

void WorkerLink::lost(const char* while_doing) {
  throw Error{Errc::device_failed, "DPU worker (" + address_ + "), " + while_doing + ": " + trouble()};
}

Message WorkerLink::expect(Kind kind, Clock::time_point deadline) {
  Message m;
  if (!receive_message(socket_.get(), m, deadline))
    lost(kind == Kind::loaded ? "opening the models" : "starting");
  if (m.header.kind == Kind::failed) {
    const Failed failed = decode_failed(m.body);
    throw Error{failed.code, failed.message};
  }
  if (m.header.kind != kind)
    throw Error{Errc::bad_file, std::string{"DPU protocol: '"} + to_string(m.header.kind) + "' came where '" +
                                    to_string(kind) + "' belongs"};
  return m;
}

void WorkerLink::greet(const LinkOptions& options, Clock::time_point deadline) {
  Hello hello;
  if (getrandom(hello.nonce.data(), hello.nonce.size(), 0) != static_cast<ssize_t>(hello.nonce.size()))
    throw_errno(Errc::no_device, "random numbers");
  if (!send_message(socket_.get(), Kind::hello, encode(hello), deadline)) lost("starting");
  welcome_ = decode_welcome(expect(Kind::welcome, deadline).body);
  const bool asks = welcome_.proof != Proof{};
  if (asks != !options.key.empty()) {
    throw Error{Errc::bad_argument, "DPU worker (" + address_ + "): " +
                                        (asks ? "asks for a key file and none was given"
                                              : "has no key and one was given; start it with --key")};
  }
  if (!asks) return;
  if (!same(welcome_.proof, prove(options.key, Side::worker, hello.nonce, welcome_.nonce))) {
    throw Error{Errc::bad_argument,
                "DPU worker (" + address_ + "): holds another key; copy the key file to both sides"};
  }
  if (!send_message(socket_.get(), Kind::proof,
                    encode(ProofMessage{prove(options.key, Side::application, hello.nonce, welcome_.nonce)}),
                    deadline))
    lost("starting");
}

void WorkerLink::load(const LinkOptions& options, Clock::time_point deadline) {
  if (!send_message(socket_.get(), Kind::load, encode(Load{options.models}), deadline))
    lost("opening the models");
  loaded_ = decode_loaded(expect(Kind::loaded, deadline).body);
  if (loaded_.models.size() != options.models.size())
    throw Error{Errc::bad_file, "DPU protocol, loaded: not as many models as were asked for"};
  std::size_t bytes = 0;
  for (const ModelInfo& m : loaded_.models) {
    offsets_.push_back(batch_offsets(m));
    bytes = std::max(bytes, batch_bytes(m));
  }
  const std::size_t slots = std::clamp<std::size_t>(options.slots, 1, max_slots);
  posted_.resize(slots);
  finished_.reserve(slots);
  text_.reserve(max_text);
  if (process_) {
    const RingLayout layout{static_cast<std::uint32_t>(slots), bytes};
    ring_.emplace(Ring::create(layout));
    if (!send_message(socket_.get(), Kind::ring, encode(layout), deadline)) lost("sharing memory");
    send_fds(socket_.get(), ring_->fds(), deadline);
    expect(Kind::ready, deadline);
  } else {
    for (std::size_t i = 0; i < slots; ++i) buffers_.emplace_back(bytes + 64);
  }
}

std::byte* WorkerLink::tensor(std::size_t slot, std::size_t i, std::uint32_t model) noexcept {
  return (ring_ ? ring_->slot(slot).data() : on_boundary(buffers_[slot])) + offsets_[model][i];
}

bool WorkerLink::broken(const std::string& why) noexcept {
  if (garbage_.empty()) garbage_ = why;
  return false;
}

bool WorkerLink::post(const Run& run, Clock::time_point deadline) noexcept {
  posted_[run.slot] = run;
  if (!ring_) return post_stream(run, deadline);
  Ring::Descriptor d;
  d.body = encode(run);
  return ring_->send(d) || broken("the ring of requests is full: the worker does not take them");
}

/// Sends while reading: a worker that is itself sending a large result would wait for ever otherwise.
bool WorkerLink::post_stream(const Run& run, Clock::time_point deadline) noexcept {
  const ModelInfo& model = loaded_.models[run.model];
  const auto header = encode(Header{Kind::run, Run::size + model.input_bytes() * run.frames});
  const auto body = encode(run);
  std::array<iovec, 2 + max_tensors> parts{iovec{const_cast<std::byte*>(header.data()), header.size()},
                                           iovec{const_cast<std::byte*>(body.data()), body.size()}};
  std::size_t count = 2;
  for (std::size_t i = 0; i < model.inputs.size(); ++i)
    parts[count++] = {tensor(run.slot, i, run.model), model.inputs[i].bytes() * run.frames};
  for (std::span<iovec> rest = std::span{parts}.first(count); !rest.empty();) {
    msghdr message{};
    message.msg_iov = rest.data();
    message.msg_iovlen = rest.size();
    const ssize_t n = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (n >= 0) {
      rest = advance(rest, static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    bool timed_out = false;
    if ((errno != EAGAIN && errno != EWOULDBLOCK) || !pump(POLLIN | POLLOUT, deadline, timed_out) ||
        timed_out)
      return false;
  }
  return true;
}

/// Waits for events of the socket (and the bell) and reads what is there. False when the link is broken.
bool WorkerLink::pump(short events, Clock::time_point deadline, bool& timed_out) noexcept {
  std::array<pollfd, 2> p{pollfd{.fd = socket_.get(), .events = events, .revents = 0},
                          pollfd{.fd = ring_ ? ring_->bell() : -1, .events = POLLIN, .revents = 0}};
  const int n = poll(p.data(), p.size(), poll_ms(deadline));
  timed_out = n == 0 && Clock::now() >= deadline;
  if (n <= 0) return n == 0 || errno == EINTR;
  if (p[1].revents != 0) {
    ring_->clear_bell();
    if (!take_ring({})) return false;
  }
  return (p[0].revents & ~POLLOUT) == 0 || read_stream();
}

bool WorkerLink::take_ring(Clock::duration patience) noexcept {
  try {
    Ring::Descriptor d;
    while (ring_->receive_within(d, std::exchange(patience, {}))) {
      const Done done = decode_done(d.body);
      if (done.text > d.text.size()) return broken("a sentence longer than a descriptor");
      if (!accept(done, {d.text.data(), done.text})) return false;
    }
    return true;
  } catch (const std::exception& e) {
    return broken(e.what());
  }
}

/// A batch is over, when it is one that was under way.
bool WorkerLink::accept(const Done& done, std::string_view text) noexcept {
  if (done.slot >= posted_.size() || !posted_[done.slot] || posted_[done.slot]->ticket != done.ticket ||
      posted_[done.slot]->frames != done.frames) {
    return broken("a result of a batch that was not under way");
  }
  posted_[done.slot].reset();
  finished_.push_back({done, std::string{text}});
  return true;
}

bool WorkerLink::read_stream() noexcept {
  for (;;) {
    const ssize_t n = readv(socket_.get(), missing_.data(), static_cast<int>(missing_.size()));
    if (n == 0) return false;
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    missing_ = advance(missing_, static_cast<std::size_t>(n));
    try {
      while (missing_.empty()) step();
    } catch (const std::exception& e) {
      return broken(e.what());
    }
  }
}

/// What was wanted is here: looks at it and says what is wanted next. Throws for garbage.
void WorkerLink::step() {
  const auto want = [&](Reading next, std::size_t parts) {
    reading_ = next;
    missing_ = std::span{wanted_}.first(parts);
  };
  const auto bad = [](const char* why) { throw Error{Errc::bad_file, why}; };
  if (reading_ == Reading::header) {
    header_ = decode_header(header_bytes_);
    if (header_.kind == Kind::done) {
      if (ring_ || header_.bytes < Done::size) bad("a result where none can be");
      wanted_[0] = {done_bytes_.data(), done_bytes_.size()};
      return want(Reading::fixed, 1);
    }
    if (header_.kind != Kind::pong || header_.bytes != 0) bad("a message where none can be");
    pong_ = true;
  } else if (reading_ == Reading::fixed) {
    done_ = decode_done(done_bytes_);
    text_.assign(done_.text, '\0');
    if (done_.slot >= posted_.size() || !posted_[done_.slot])
      bad("a result of a batch that was not under way");
    const std::uint32_t model = posted_[done_.slot]->model;
    const ModelInfo& info = loaded_.models[model];
    const std::size_t rest = header_.bytes - Done::size;
    if (done_.code != Errc::ok) {
      if (rest != text_.size()) bad("a result of the wrong length");
      wanted_[0] = {text_.data(), text_.size()};
      return want(Reading::text, 1);
    }
    if (done_.frames != posted_[done_.slot]->frames || rest != info.output_bytes() * done_.frames)
      bad("a result of the wrong length");
    for (std::size_t i = 0; i < info.outputs.size(); ++i)
      wanted_[i] = {tensor(done_.slot, info.inputs.size() + i, model),
                    info.outputs[i].bytes() * done_.frames};
    return want(Reading::outputs, info.outputs.size());
  } else if (!accept(done_, text_)) {
    bad("a result of a batch that was not under way");
  }
  wanted_[0] = {header_bytes_.data(), header_bytes_.size()};
  want(Reading::header, 1);
}

WorkerLink::Collected WorkerLink::collect(Done& done, std::string& text,
                                          Clock::time_point deadline) noexcept {
  const auto start = Clock::now();
  const auto most = std::min<Clock::duration>(quick, std::max<Clock::duration>(deadline - start, {}));
  if (ring_ && quick_ && finished_.empty() && !take_ring(most)) return Collected::broken;
  while (finished_.empty()) {
    bool timed_out = false;
    if (!pump(POLLIN, deadline, timed_out)) return Collected::broken;
    if (timed_out && finished_.empty()) return Collected::timeout;
  }
  quick_ = Clock::now() - start < quick;
  done = finished_.front().done;
  text.swap(finished_.front().text);
  finished_.erase(finished_.begin());
  return Collected::done;
}

bool WorkerLink::ping(Clock::time_point deadline) noexcept {
  pong_ = false;
  if (!send_message(socket_.get(), Kind::ping, {}, deadline)) return false;
  while (!pong_) {
    bool timed_out = false;
    if (!pump(POLLIN, deadline, timed_out) || timed_out) return false;
  }
  return true;
}

std::string WorkerLink::trouble() {
  if (!process_)
    return garbage_.empty()
               ? (hung_up(socket_.get()) ? "the connection was closed" : "it did not answer in time")
               : "it sent " + garbage_;
  const std::string end = "its process " + process_->end();
  return garbage_.empty() ? end : "it sent " + garbage_ + " (" + end + ')';
}

}  // namespace splitcnn::inline v0::dpu
