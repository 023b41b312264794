#include "dpu/worker/session.hpp"

#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "dpu/protocol/messages.hpp"
#include "dpu/protocol/ring.hpp"
#include "dpu/protocol/stream.hpp"
#include "dpu/vart/runner.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

constexpr auto handshake_time = std::chrono::seconds{10};
/// After a batch the next one is usually on its way: as long as an application needs to take a result and
/// write new frames.
constexpr auto linger = std::chrono::microseconds{200};
constexpr std::size_t alignment = 64;

/// The application has gone: no error, the end.
struct Gone {};

class Session {
 public:
  Session(int socket, const SessionOptions& options) : socket_{socket}, options_{options} {}

  void run() {
    greet();
    for (;;) {
      const Message m = receive(Clock::time_point::max());
      if (m.header.kind == Kind::load) {
        if (load(decode_load(m.body))) break;
      } else {
        handle(m);
      }
    }
    for (;;) {
      if (ring_)
        take_from_ring();
      else
        handle(receive(Clock::time_point::max()));
    }
  }

 private:
  Message receive(Clock::time_point deadline) {
    Message m;
    if (!receive_message(socket_, m, deadline)) throw Gone{};
    return m;
  }
  void send(Kind kind, std::span<const std::byte> body) {
    if (!send_message(socket_, kind, body, Clock::time_point::max())) throw Gone{};
  }

  void greet() {
    const auto deadline = Clock::now() + handshake_time;
    const Message m = receive(deadline);
    if (m.header.kind != Kind::hello) refuse(m.header.kind, "hello");
    const Hello hello = decode_hello(m.body);
    Welcome welcome{.backend = runner_backend(), .pid = static_cast<std::uint32_t>(getpid())};
    if (getrandom(welcome.nonce.data(), welcome.nonce.size(), 0) !=
        static_cast<ssize_t>(welcome.nonce.size()))
      throw_errno(Errc::no_device, "random numbers");
    if (!options_.key.empty()) welcome.proof = prove(options_.key, Side::worker, hello.nonce, welcome.nonce);
    send(Kind::welcome, encode(welcome));
    if (options_.key.empty()) return;
    const Message answer = receive(deadline);
    if (answer.header.kind != Kind::proof) refuse(answer.header.kind, "proof");
    if (!same(decode_proof(answer.body).proof,
              prove(options_.key, Side::application, hello.nonce, welcome.nonce))) {
      throw Error{Errc::bad_argument, "DPU worker: an application without the right key was refused"};
    }
  }

  [[noreturn]] static void refuse(Kind kind, const char* expected) {
    throw Error{Errc::bad_file,
                std::string{"DPU protocol: '"} + to_string(kind) + "' came where '" + expected + "' belongs"};
  }

  /// False when something cannot be opened: the application is told and may ask for something else.
  bool load(const Load& request) {
    runners_.clear();
    Loaded loaded;
    try {
      for (ModelRequest model : request.models) {
        model.file = permitted(model.file);
        runners_.push_back(open_runner(model));
        loaded.models.push_back(runners_.back()->info());
        check(loaded.models.back());
      }
    } catch (const Error& e) {
      send(Kind::failed, encode(Failed{e.code(), e.what()}));
      return false;
    }
    reserve();
    send(Kind::loaded, encode(loaded));
    return true;
  }

  /// A file below the folder of models, when there is one, whatever links and dots its name has.
  [[nodiscard]] std::string permitted(const std::string& file) const {
    namespace fs = std::filesystem;
    if (options_.models.empty()) return file;
    std::error_code error;
    const fs::path root = fs::canonical(options_.models, error), path = fs::canonical(root / file, error);
    if (error)
      throw Error{Errc::io, "DPU worker: model '" + file + "' is not in its folder of models; copy it there"};
    if (std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first != root.end()) {
      throw Error{Errc::bad_argument, "DPU worker: model '" + file + "' is outside the folder of models"};
    }
    return path.string();
  }

  static void check(const ModelInfo& info) {
    if (info.batch == 0 || info.batch > max_batch || info.inputs.empty() || info.outputs.empty() ||
        info.inputs.size() > max_tensors || info.outputs.size() > max_tensors ||
        info.input_bytes() > max_tensors_bytes / info.batch ||
        info.output_bytes() > max_tensors_bytes / info.batch) {
      throw Error{
          Errc::unsupported,
          "model '" + info.name + "': its tensors or its batch are beyond what the DPU protocol carries"};
    }
  }

  /// Room for the tensors of a batch when they come over the stream.
  void reserve() {
    std::size_t bytes = 0;
    offsets_.clear();
    for (const auto& r : runners_) {
      bytes = std::max(bytes, batch_bytes(r->info()));
      offsets_.push_back(batch_offsets(r->info()));
    }
    buffer_.resize(bytes + alignment);
  }

  void handle(const Message& m) {
    switch (m.header.kind) {
      case Kind::ping:
        return send(Kind::pong, {});
      case Kind::ring:
        return adopt_ring(decode_ring(m.body));
      case Kind::run:
        return run_from_stream(m);
      default:
        refuse(m.header.kind, runners_.empty() ? "load" : "run");
    }
  }

  void adopt_ring(const RingLayout& layout) {
    auto fds = receive_fds(socket_, 3, Clock::now() + handshake_time);
    for (const auto& r : runners_) {
      if (batch_bytes(r->info()) > layout.slot_bytes)
        throw Error{Errc::mismatch, "DPU ring: its slots are smaller than a batch"};
    }
    if (ring_) throw Error{Errc::bad_file, "DPU ring: there is one already"};
    ring_.emplace(Ring::adopt(layout, std::move(fds)));
    send(Kind::ready, {});
  }

  struct Pointers {
    std::array<const std::byte*, max_tensors> inputs{};
    std::array<std::byte*, max_tensors> outputs{};
  };
  void place(std::size_t model, std::byte* at, Pointers& p) const {
    const std::size_t ins = runners_[model]->info().inputs.size();
    for (std::size_t i = 0; i < offsets_[model].size(); ++i) {
      if (i < ins)
        p.inputs[i] = at + offsets_[model][i];
      else
        p.outputs[i - ins] = at + offsets_[model][i];
    }
  }

  Runner& runner_for(const Run& run) {
    if (run.model >= runners_.size())
      throw Error{Errc::bad_file, "DPU protocol, run: there is no model " + std::to_string(run.model)};
    Runner& r = *runners_[run.model];
    if (run.frames > r.info().batch)
      throw Error{Errc::bad_file, "DPU protocol, run: more frames than a batch has"};
    return r;
  }

  Status run_at(Runner& runner, const Run& run, std::byte* at, Pointers& p) {
    const ModelInfo& info = runner.info();
    place(run.model, at, p);
    return runner.run(run.frames, {p.inputs.data(), info.inputs.size()},
                      {p.outputs.data(), info.outputs.size()});
  }

  void run_from_stream(const Message& m) {
    const Run run = decode_run(m.fixed);
    Runner& runner = runner_for(run);
    const ModelInfo& info = runner.info();
    if (m.header.bytes != Run::size + info.input_bytes() * run.frames)
      throw Error{Errc::bad_file, "DPU protocol, run: not the bytes its frames need"};
    Pointers p;
    std::byte* base = base_of_buffer();
    place(run.model, base, p);
    for (std::size_t i = 0; i < info.inputs.size(); ++i) {
      if (!read_all(socket_, {const_cast<std::byte*>(p.inputs[i]), info.inputs[i].bytes() * run.frames},
                    Clock::time_point::max()))
        throw Gone{};
    }
    const Status status = run_at(runner, run, base, p);
    const std::string text = status.message.substr(0, max_text);
    const Done done{run.ticket, run.slot, run.frames, status.code,
                    static_cast<std::uint32_t>(status.ok() ? 0 : text.size())};
    const auto body = encode(done);
    std::array<iovec, 2 + max_tensors> parts{};
    std::size_t count = 1, bytes = Done::size;
    parts[count++] = {const_cast<std::byte*>(body.data()), body.size()};
    if (status.ok()) {
      for (std::size_t i = 0; i < info.outputs.size(); ++i, ++count)
        parts[count] = {p.outputs[i], info.outputs[i].bytes() * run.frames};
      bytes += info.output_bytes() * run.frames;
    } else {
      parts[count++] = {const_cast<char*>(text.data()), text.size()};
      bytes += text.size();
    }
    const auto header = encode(Header{Kind::done, bytes});
    parts[0] = {const_cast<std::byte*>(header.data()), header.size()};
    if (!write_all(socket_, std::span{parts}.first(count), Clock::time_point::max())) throw Gone{};
  }

  std::byte* base_of_buffer() noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(buffer_.data());
    return buffer_.data() + (alignment - address % alignment) % alignment;
  }

  /// The ring carries batches, the socket says that the application lives, or asks whether we do.
  void take_from_ring() {
    Ring::Descriptor d;
    while (!ring_->receive_within(d, linger)) {
      std::array<pollfd, 2> p{pollfd{.fd = ring_->bell(), .events = POLLIN, .revents = 0},
                              pollfd{.fd = socket_, .events = POLLIN, .revents = 0}};
      if (poll(p.data(), p.size(), -1) < 0) continue;
      if (p[1].revents != 0) handle(receive(Clock::time_point::max()));
      if (p[0].revents != 0) ring_->clear_bell();
    }
    const Run run = decode_run(d.body);
    Runner& runner = runner_for(run);
    if (run.slot >= ring_->slots())
      throw Error{Errc::bad_file, "DPU ring: there is no slot " + std::to_string(run.slot)};
    Pointers p;
    const Status status = run_at(runner, run, ring_->slot(run.slot).data(), p);
    const std::size_t text = status.ok() ? 0 : std::min(status.message.size(), d.text.size());
    d.body = encode(Done{run.ticket, run.slot, run.frames, status.code, static_cast<std::uint32_t>(text)});
    std::copy_n(status.message.begin(), text, d.text.begin());
    if (!ring_->send(d)) throw Error{Errc::bad_file, "DPU ring: the application does not take its results"};
  }

  int socket_;
  const SessionOptions& options_;
  std::vector<std::unique_ptr<Runner>> runners_;
  std::vector<std::vector<std::size_t>> offsets_;  // per model: where its tensors begin in a batch
  std::optional<Ring> ring_;
  std::vector<std::byte> buffer_;
};

}  // namespace

void serve(int socket, const SessionOptions& options) {
  try {
    Session{socket, options}.run();
  } catch (const Gone&) {
  }
}

}  // namespace splitcnn::inline v0::dpu
