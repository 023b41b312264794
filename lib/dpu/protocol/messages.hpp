#pragma once
/// What the application and splitcnn-dpu-worker say to each other, the same over shared memory and over a
/// byte stream.
///
///     application                               worker
///     hello {nonce}                       ->
///                                         <-    welcome {nonce, proof, backend, pid}     proof: only with a
///                                         key
///     proof {proof}                       ->
///     load {models}                       ->
///                                         <-    loaded {tensors of every model} | failed {code, sentence}
///     ring {layout} + descriptors         ->                                             shared memory only
///                                         <-    ready
///     run {ticket, model, slot, frames}   ->                                             any number, in
///     order
///                                         <-    done {ticket, slot, frames, code}        in any order
///     ping                                ->
///                                         <-    pong
///
/// Every message is a Header and a body of at most max_control bytes; `run` and `done` carry the tensors
/// behind their fixed body when there is no ring. All numbers are little-endian. Encoders cannot fail;
/// decoders throw bad_file and never read outside their span.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dpu/protocol/bytes.hpp"
#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0::dpu {

inline constexpr std::uint32_t protocol_magic = 0x44435053;  // "SPCD"
inline constexpr std::uint16_t protocol_version = 1;
inline constexpr std::size_t max_control = 256 * 1024;  ///< bytes of a body without tensors
inline constexpr std::size_t max_tensors_bytes = std::size_t{1}
                                                 << 30;  ///< all inputs, or all outputs, of one batch
inline constexpr std::size_t max_models = 16, max_tensors = 64, max_batch = 1024, max_slots = 64,
                             max_text = 4096;

enum class Kind : std::uint16_t {
  hello = 1,
  welcome,
  proof,
  load,
  loaded,
  failed,
  ring,
  ready,
  run,
  done,
  ping,
  pong
};
[[nodiscard]] const char* to_string(Kind kind) noexcept;

struct Header {
  static constexpr std::size_t size = 16;
  Kind kind = Kind::ping;
  std::uint64_t bytes = 0;  ///< behind the header
};
std::array<std::byte, Header::size> encode(const Header& header) noexcept;
/// Throws bad_file: not our magic, another version, no such kind, or longer than such a message can be.
Header decode_header(std::span<const std::byte, Header::size> bytes);

using Nonce = std::array<std::byte, 32>;
using Proof = std::array<std::byte, 32>;  ///< HMAC-SHA-256; zeros without a key

struct Hello {
  Nonce nonce{};
};
struct Welcome {
  Nonce nonce{};
  Proof proof{};
  std::string backend;  ///< "vart 3.5", "test double"
  std::uint32_t pid = 0;
};
struct ProofMessage {
  Proof proof{};
};

/// One model to open: a DPU subgraph of a file.
struct ModelRequest {
  std::string file;
  std::string mode;            ///< "run", "ref", "sim": a key of the subgraph's runner attribute
  std::uint32_t subgraph = 0;  ///< which of the file's DPU subgraphs, in topological order
};
struct Load {
  std::vector<ModelRequest> models;
};

/// What a runner says of its model. Shapes are of one frame (first dimension 1), channels last; types are
/// int8.
struct ModelInfo {
  std::string name;         ///< of the subgraph
  std::string fingerprint;  ///< hexadecimal, empty when the file has none
  std::uint32_t batch = 1;  ///< frames per run
  std::vector<TensorSpec> inputs, outputs;

  [[nodiscard]] std::size_t input_bytes() const noexcept;  ///< of one frame, all tensors
  [[nodiscard]] std::size_t output_bytes() const noexcept;
};
struct Loaded {
  std::vector<ModelInfo> models;
};
struct Failed {
  Errc code = Errc::stage_failed;
  std::string message;
};
struct RingLayout {
  std::uint32_t slots = 0;
  std::uint64_t slot_bytes = 0;  ///< inputs and outputs of one batch of the largest model
};

/// Fixed bodies of `run` and `done`, in the ring as in the stream.
struct Run {
  static constexpr std::size_t size = 24;
  std::uint64_t ticket = 0;
  std::uint32_t model = 0, slot = 0, frames = 0;
};
struct Done {
  static constexpr std::size_t size = 24;
  std::uint64_t ticket = 0;
  std::uint32_t slot = 0, frames = 0;
  Errc code = Errc::ok;
  std::uint32_t text = 0;  ///< bytes of the sentence behind the body; 0 when ok
};
std::array<std::byte, Run::size> encode(const Run& run) noexcept;
std::array<std::byte, Done::size> encode(const Done& done) noexcept;
/// Throw bad_file for values outside the limits above.
Run decode_run(std::span<const std::byte, Run::size> bytes);
Done decode_done(std::span<const std::byte, Done::size> bytes);

std::vector<std::byte> encode(const Hello& m);
std::vector<std::byte> encode(const Welcome& m);
std::vector<std::byte> encode(const ProofMessage& m);
std::vector<std::byte> encode(const Load& m);
std::vector<std::byte> encode(const Loaded& m);
std::vector<std::byte> encode(const Failed& m);
std::vector<std::byte> encode(const RingLayout& m);
Hello decode_hello(std::span<const std::byte> body);
Welcome decode_welcome(std::span<const std::byte> body);
ProofMessage decode_proof(std::span<const std::byte> body);
Load decode_load(std::span<const std::byte> body);
Loaded decode_loaded(std::span<const std::byte> body);
Failed decode_failed(std::span<const std::byte> body);
RingLayout decode_ring(std::span<const std::byte> body);

}  // namespace splitcnn::inline v0::dpu
