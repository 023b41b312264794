// The DPU protocol: bytes as they come out of a stream, taken apart as both sides do. Messages that decode
// encode to what they were.
#include <algorithm>

#include "dpu/protocol/messages.hpp"
#include "fuzz/fuzz.hpp"

using namespace splitcnn;
using namespace splitcnn::dpu;

namespace {

void within_limits(const ModelInfo& info) {
  splitcnn_fuzz::expect(info.batch >= 1 && info.batch <= max_batch, "a batch within its limits");
  splitcnn_fuzz::expect(info.input_bytes() * info.batch <= max_tensors_bytes &&
                            info.output_bytes() * info.batch <= max_tensors_bytes,
                        "tensors within their limits");
}

template <class T>
void same(const T& message, std::span<const std::byte> body) {
  const auto again = encode(message);
  splitcnn_fuzz::expect(std::equal(again.begin(), again.end(), body.begin(), body.end()),
                        "what was decoded encodes to the same bytes");
}

void take_apart(const Header& header, std::span<const std::byte> body) {
  switch (header.kind) {
    case Kind::hello:
      return same(decode_hello(body), body);
    case Kind::welcome:
      return same(decode_welcome(body), body);
    case Kind::proof:
      return same(decode_proof(body), body);
    case Kind::load:
      return same(decode_load(body), body);
    case Kind::failed:
      return same(decode_failed(body), body);
    case Kind::ring:
      return same(decode_ring(body), body);
    case Kind::loaded: {
      const Loaded loaded = decode_loaded(body);
      for (const ModelInfo& info : loaded.models) within_limits(info);
      return same(loaded, body);
    }
    case Kind::run:
      if (body.size() >= Run::size) (void)decode_run(body.first<Run::size>());
      return;
    case Kind::done:
      if (body.size() >= Done::size) (void)decode_done(body.first<Done::size>());
      return;
    default:
      return;
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::byte> rest = std::as_bytes(std::span{data, size});
  splitcnn_fuzz::only_errors([&] {
    while (rest.size() >= Header::size) {
      const Header header = decode_header(rest.first<Header::size>());
      rest = rest.subspan(Header::size);
      const std::size_t bytes = std::min<std::size_t>(rest.size(), header.bytes);
      take_apart(header, rest.first(bytes));
      rest = rest.subspan(bytes);
    }
  });
  return 0;
}
