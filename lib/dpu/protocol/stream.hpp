#pragma once
/// Messages over a stream socket, how tensors lie in a batch, and the proof that both ends hold the same key.
#include <array>
#include <span>
#include <vector>

#include "dpu/protocol/fd.hpp"
#include "dpu/protocol/messages.hpp"
#include "dpu/protocol/sha256.hpp"

namespace splitcnn::inline v0::dpu {

/// One message. Of `run` and `done` only the fixed part has been read; the tensors still stand in the stream.
struct Message {
  Header header;
  std::array<std::byte, Run::size> fixed{};
  std::vector<std::byte> body;
};
static_assert(Run::size == Done::size);

/// False when the other end has gone or the deadline has passed. Throws bad_file for what is no message.
bool receive_message(int socket, Message& message, Clock::time_point deadline);
bool send_message(int socket, Kind kind, std::span<const std::byte> body, Clock::time_point deadline);

/// Room for a whole batch in one slot: every tensor begins on a boundary of 64 bytes, inputs first, frames
/// behind one another.
std::size_t batch_bytes(const ModelInfo& info) noexcept;
/// Where tensor i (inputs, then outputs) begins in it.
std::vector<std::size_t> batch_offsets(const ModelInfo& info);

enum class Side : std::uint8_t { application, worker };
Proof prove(std::span<const std::byte> key, Side side, const Nonce& application, const Nonce& worker);

/// A key file's bytes: 16 at least, 4096 at most. Throws io, bad_argument.
std::vector<std::byte> read_key(const std::string& path);

}  // namespace splitcnn::inline v0::dpu
