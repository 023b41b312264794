#include "dpu/protocol/stream.hpp"

#include <fstream>
#include <iterator>

namespace splitcnn::inline v0::dpu {

namespace {

std::size_t aligned(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

}  // namespace

bool receive_message(int socket, Message& message, Clock::time_point deadline) {
  std::array<std::byte, Header::size> bytes{};
  if (!read_all(socket, bytes, deadline)) return false;
  message.header = decode_header(bytes);
  message.body.clear();
  if (message.header.kind == Kind::run || message.header.kind == Kind::done) {
    if (message.header.bytes < Run::size)
      throw Error{Errc::bad_file, "DPU protocol: a batch shorter than its own description"};
    return read_all(socket, message.fixed, deadline);
  }
  message.body.resize(message.header.bytes);
  return read_all(socket, message.body, deadline);
}

bool send_message(int socket, Kind kind, std::span<const std::byte> body, Clock::time_point deadline) {
  const auto header = encode(Header{kind, body.size()});
  std::array<iovec, 2> parts{iovec{const_cast<std::byte*>(header.data()), header.size()},
                             iovec{const_cast<std::byte*>(body.data()), body.size()}};
  return write_all(socket, std::span{parts}.first(body.empty() ? 1 : 2), deadline);
}

std::size_t batch_bytes(const ModelInfo& info) noexcept {
  std::size_t bytes = 0;
  for (const auto* specs : {&info.inputs, &info.outputs}) {
    for (const TensorSpec& s : *specs) bytes += aligned(s.bytes() * info.batch);
  }
  return bytes;
}

std::vector<std::size_t> batch_offsets(const ModelInfo& info) {
  std::vector<std::size_t> offsets;
  std::size_t at = 0;
  for (const auto* specs : {&info.inputs, &info.outputs}) {
    for (const TensorSpec& s : *specs) {
      offsets.push_back(at);
      at += aligned(s.bytes() * info.batch);
    }
  }
  return offsets;
}

Proof prove(std::span<const std::byte> key, Side side, const Nonce& application, const Nonce& worker) {
  std::vector<std::byte> said{static_cast<std::byte>(side == Side::application ? 'a' : 'w')};
  said.insert(said.end(), application.begin(), application.end());
  said.insert(said.end(), worker.begin(), worker.end());
  return hmac_sha256(key, said);
}

std::vector<std::byte> read_key(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) throw Error{Errc::io, "key file '" + path + "': cannot be read"};
  std::vector<std::byte> key;
  for (char c = 0; key.size() <= 4096 && file.get(c);) key.push_back(static_cast<std::byte>(c));
  if (key.size() < 16 || key.size() > 4096) {
    throw Error{Errc::bad_argument,
                "key file '" + path + "': has " + std::to_string(key.size()) +
                    " bytes where 16 to 4096 belong; make one with head -c 32 /dev/urandom"};
  }
  return key;
}

}  // namespace splitcnn::inline v0::dpu
