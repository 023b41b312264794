#include "dpu/protocol/messages.hpp"

#include <algorithm>

namespace splitcnn::inline v0::dpu {

namespace {

constexpr auto last_errc = static_cast<std::uint32_t>(Errc::closed);

template <class T>
void put(std::byte*& at, T value) noexcept {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    *at++ = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
}

std::size_t limit_of(Kind kind) noexcept {
  return kind == Kind::run || kind == Kind::done ? max_tensors_bytes + max_control : max_control;
}

Errc decode_errc(ByteReader& in) {
  const auto code = in.number<std::uint32_t>();
  if (code > last_errc) in.bad("no error has the number " + std::to_string(code));
  return static_cast<Errc>(code);
}

std::array<std::byte, 32> decode_32(ByteReader& in) {
  std::array<std::byte, 32> value{};
  const auto bytes = in.raw(value.size());
  std::copy(bytes.begin(), bytes.end(), value.begin());
  return value;
}

void encode_spec(ByteWriter& out, const TensorSpec& spec) {
  out.text(spec.name);
  out.number(static_cast<std::int32_t>(spec.fix_point));
  out.number(static_cast<std::uint32_t>(spec.shape.rank()));
  for (const std::int64_t d : spec.shape) out.number(d);
}

/// At most max_tensors_bytes for a whole batch of all of them: checked by the caller through `total`.
TensorSpec decode_spec(ByteReader& in, std::size_t batch, std::size_t& total) {
  TensorSpec spec{.name = in.text(max_text), .dtype = DType::i8};
  spec.fix_point = in.number<std::int32_t>();
  if (spec.fix_point < -64 || spec.fix_point > 64)
    in.bad("tensor '" + spec.name + "' has the fix point " + std::to_string(spec.fix_point));
  std::array<std::int64_t, Shape::max_rank> dims{};
  const std::size_t rank = in.count(dims.size());
  std::size_t bytes = batch;
  for (std::size_t i = 0; i < rank; ++i) {
    dims[i] = in.number<std::int64_t>();
    if (dims[i] < 1 || static_cast<std::uint64_t>(dims[i]) > max_tensors_bytes / bytes)
      in.bad("tensor '" + spec.name + "' is too large");
    bytes *= static_cast<std::size_t>(dims[i]);
  }
  total += bytes;
  if (total > max_tensors_bytes) in.bad("the tensors of one batch are too large");
  spec.shape = Shape{std::span<const std::int64_t>{dims.data(), rank}};
  return spec;
}

void encode_info(ByteWriter& out, const ModelInfo& info) {
  out.text(info.name);
  out.text(info.fingerprint);
  out.number(info.batch);
  for (const auto* specs : {&info.inputs, &info.outputs}) {
    out.number(static_cast<std::uint32_t>(specs->size()));
    for (const TensorSpec& s : *specs) encode_spec(out, s);
  }
}

ModelInfo decode_info(ByteReader& in) {
  ModelInfo info{
      .name = in.text(max_text), .fingerprint = in.text(max_text), .batch = in.number<std::uint32_t>()};
  if (info.batch == 0 || info.batch > max_batch)
    in.bad("a batch of " + std::to_string(info.batch) + " frames");
  for (auto* specs : {&info.inputs, &info.outputs}) {
    std::size_t total = 0;
    const std::size_t count = in.count(max_tensors);
    if (count == 0) in.bad("model '" + info.name + "' has no inputs or no outputs");
    for (std::size_t i = 0; i < count; ++i) specs->push_back(decode_spec(in, info.batch, total));
  }
  return info;
}

std::size_t sum_bytes(const std::vector<TensorSpec>& specs) noexcept {
  std::size_t bytes = 0;
  for (const TensorSpec& s : specs) bytes += s.bytes();
  return bytes;
}

}  // namespace

const char* to_string(Kind kind) noexcept {
  static constexpr const char* names[] = {"",     "hello", "welcome", "proof", "load", "loaded", "failed",
                                          "ring", "ready", "run",     "done",  "ping", "pong"};
  const auto i = static_cast<std::size_t>(kind);
  return i < std::size(names) ? names[i] : "unknown";
}

std::size_t ModelInfo::input_bytes() const noexcept { return sum_bytes(inputs); }
std::size_t ModelInfo::output_bytes() const noexcept { return sum_bytes(outputs); }

std::array<std::byte, Header::size> encode(const Header& header) noexcept {
  std::array<std::byte, Header::size> bytes{};
  std::byte* at = bytes.data();
  put(at, protocol_magic);
  put(at, protocol_version);
  put(at, static_cast<std::uint16_t>(header.kind));
  put(at, header.bytes);
  return bytes;
}

Header decode_header(std::span<const std::byte, Header::size> bytes) {
  ByteReader in{bytes, "header"};
  if (in.number<std::uint32_t>() != protocol_magic) in.bad("it does not begin like one");
  if (const auto version = in.number<std::uint16_t>(); version != protocol_version) {
    in.bad("version " + std::to_string(version) + ", this side speaks " + std::to_string(protocol_version));
  }
  const auto kind = in.number<std::uint16_t>();
  if (kind < static_cast<std::uint16_t>(Kind::hello) || kind > static_cast<std::uint16_t>(Kind::pong))
    in.bad("no message has the number " + std::to_string(kind));
  const Header header{static_cast<Kind>(kind), in.number<std::uint64_t>()};
  if (header.bytes > limit_of(header.kind))
    in.bad("a message of " + std::to_string(header.bytes) + " bytes");
  return header;
}

std::array<std::byte, Run::size> encode(const Run& run) noexcept {
  std::array<std::byte, Run::size> bytes{};
  std::byte* at = bytes.data();
  put(at, run.ticket);
  put(at, run.model);
  put(at, run.slot);
  put(at, run.frames);
  put(at, std::uint32_t{0});
  return bytes;
}

Run decode_run(std::span<const std::byte, Run::size> bytes) {
  ByteReader in{bytes, "run"};
  const auto ticket = in.number<std::uint64_t>();
  const auto model = in.number<std::uint32_t>(), slot = in.number<std::uint32_t>(),
             frames = in.number<std::uint32_t>();
  if (model >= max_models || slot >= max_slots || frames == 0 || frames > max_batch)
    in.bad("model, slot or frame count is out of bounds");
  return {ticket, model, slot, frames};
}

std::array<std::byte, Done::size> encode(const Done& done) noexcept {
  std::array<std::byte, Done::size> bytes{};
  std::byte* at = bytes.data();
  put(at, done.ticket);
  put(at, done.slot);
  put(at, done.frames);
  put(at, static_cast<std::uint32_t>(done.code));
  put(at, done.text);
  return bytes;
}

Done decode_done(std::span<const std::byte, Done::size> bytes) {
  ByteReader in{bytes, "done"};
  Done done{.ticket = in.number<std::uint64_t>(),
            .slot = in.number<std::uint32_t>(),
            .frames = in.number<std::uint32_t>()};
  done.code = decode_errc(in);
  done.text = in.number<std::uint32_t>();
  if (done.slot >= max_slots || done.frames > max_batch || done.text > max_text ||
      (done.code == Errc::ok) != (done.text == 0)) {
    in.bad("slot, frame count or sentence is out of bounds");
  }
  return done;
}

std::vector<std::byte> encode(const Hello& m) {
  ByteWriter out;
  out.raw(m.nonce);
  return std::move(out).take();
}
Hello decode_hello(std::span<const std::byte> body) {
  ByteReader in{body, "hello"};
  const Hello m{decode_32(in)};
  in.end();
  return m;
}

std::vector<std::byte> encode(const Welcome& m) {
  ByteWriter out;
  out.raw(m.nonce);
  out.raw(m.proof);
  out.text(m.backend);
  out.number(m.pid);
  return std::move(out).take();
}
Welcome decode_welcome(std::span<const std::byte> body) {
  ByteReader in{body, "welcome"};
  Welcome m{.nonce = decode_32(in),
            .proof = decode_32(in),
            .backend = in.text(max_text),
            .pid = in.number<std::uint32_t>()};
  in.end();
  return m;
}

std::vector<std::byte> encode(const ProofMessage& m) {
  ByteWriter out;
  out.raw(m.proof);
  return std::move(out).take();
}
ProofMessage decode_proof(std::span<const std::byte> body) {
  ByteReader in{body, "proof"};
  const ProofMessage m{decode_32(in)};
  in.end();
  return m;
}

std::vector<std::byte> encode(const Load& m) {
  ByteWriter out;
  out.number(static_cast<std::uint32_t>(m.models.size()));
  for (const ModelRequest& r : m.models) {
    out.text(r.file);
    out.text(r.mode);
    out.number(r.subgraph);
  }
  return std::move(out).take();
}
Load decode_load(std::span<const std::byte> body) {
  ByteReader in{body, "load"};
  Load m;
  const std::size_t count = in.count(max_models);
  if (count == 0) in.bad("it names no model");
  for (std::size_t i = 0; i < count; ++i) {
    ModelRequest r{
        .file = in.text(max_text), .mode = in.text(max_text), .subgraph = in.number<std::uint32_t>()};
    if (r.file.empty() || r.file.find('\0') != std::string::npos)
      in.bad("a file name is empty or has a zero byte");
    m.models.push_back(std::move(r));
  }
  in.end();
  return m;
}

std::vector<std::byte> encode(const Loaded& m) {
  ByteWriter out;
  out.number(static_cast<std::uint32_t>(m.models.size()));
  for (const ModelInfo& info : m.models) encode_info(out, info);
  return std::move(out).take();
}
Loaded decode_loaded(std::span<const std::byte> body) {
  ByteReader in{body, "loaded"};
  Loaded m;
  const std::size_t count = in.count(max_models);
  for (std::size_t i = 0; i < count; ++i) m.models.push_back(decode_info(in));
  in.end();
  return m;
}

std::vector<std::byte> encode(const Failed& m) {
  ByteWriter out;
  out.number(static_cast<std::uint32_t>(m.code));
  out.text(std::string_view{m.message}.substr(0, max_text));
  return std::move(out).take();
}
Failed decode_failed(std::span<const std::byte> body) {
  ByteReader in{body, "failed"};
  Failed m{.code = decode_errc(in), .message = in.text(max_text)};
  if (m.code == Errc::ok || m.message.empty()) in.bad("it does not say what failed");
  in.end();
  return m;
}

std::vector<std::byte> encode(const RingLayout& m) {
  ByteWriter out;
  out.number(m.slots);
  out.number(m.slot_bytes);
  return std::move(out).take();
}
RingLayout decode_ring(std::span<const std::byte> body) {
  ByteReader in{body, "ring"};
  const RingLayout m{in.number<std::uint32_t>(), in.number<std::uint64_t>()};
  if (m.slots == 0 || m.slots > max_slots || m.slot_bytes > 2 * max_tensors_bytes)
    in.bad("its layout is out of bounds");
  in.end();
  return m;
}

}  // namespace splitcnn::inline v0::dpu
