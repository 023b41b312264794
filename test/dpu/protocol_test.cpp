// The protocol by itself: messages, the ring, keys.
#include <sys/socket.h>

#include <random>
#include <thread>

#include "dpu/protocol/ring.hpp"
#include "dpu/protocol/stream.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn::dpu;

namespace {

std::string hex(const Digest& d) {
  std::string text;
  for (const std::byte b : d) {
    text += "0123456789abcdef"[std::to_integer<int>(b) >> 4];
    text += "0123456789abcdef"[std::to_integer<int>(b) & 15];
  }
  return text;
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

Loaded some_models() {
  const TensorSpec in{.name = "x", .shape = {1, 8, 6, 3}, .dtype = DType::i8, .fix_point = -2};
  const TensorSpec out{.name = "y", .shape = {1, 8, 6, 4}, .dtype = DType::i8, .fix_point = 5};
  return {{{.name = "head",
            .fingerprint = "603000b56011861",
            .batch = 6,
            .inputs = {in},
            .outputs = {out, out}}}};
}

}  // namespace

TEST_CASE("SHA-256 and HMAC give the published values", "[dpu]") {
  CHECK(hex(sha256(bytes("abc"))) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4 example
  CHECK(hex(sha256({})) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hex(hmac_sha256(bytes("Jefe"), bytes("what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");  // RFC 4231, case 2
  CHECK(hex(hmac_sha256(std::vector<std::byte>(131, std::byte{0xaa}),
                        bytes("Test Using Larger Than Block-Size Key - Hash Key First"))) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");  // case 6
}

TEST_CASE("messages come back as they were", "[dpu]") {
  const Loaded loaded = some_models(), again = decode_loaded(encode(loaded));
  REQUIRE(again.models.size() == 1);
  CHECK(again.models[0].inputs == loaded.models[0].inputs);
  CHECK(again.models[0].outputs == loaded.models[0].outputs);
  CHECK(again.models[0].batch == 6);
  const Load load = decode_load(encode(Load{{{"a.xmodel", "run", 1}, {"b.xmodel", "ref", 0}}}));
  CHECK(load.models[0].subgraph == 1);
  CHECK(load.models[1].mode == "ref");
  const Failed failed = decode_failed(encode(Failed{Errc::bad_model, "x: is damaged"}));
  CHECK(failed.code == Errc::bad_model);
  const Run run = decode_run(encode(Run{7, 1, 2, 3}));
  CHECK((run.ticket == 7 && run.model == 1 && run.slot == 2 && run.frames == 3));
  const Done done = decode_done(encode(Done{9, 1, 6, Errc::stage_failed, 5}));
  CHECK((done.ticket == 9 && done.code == Errc::stage_failed && done.text == 5));
}

TEST_CASE("a truncated or changed message is an Error or another message, never more", "[dpu]") {
  std::mt19937_64 random{splitcnn_test::seed()};
  const std::vector<std::byte> whole = encode(some_models());
  for (std::size_t n = 0; n < whole.size(); ++n)
    CHECK_THROWS_AS(decode_loaded(std::span{whole}.first(n)), Error);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> changed = whole;
    for (auto k = 1 + random() % 3; k > 0; --k)
      changed[random() % changed.size()] = static_cast<std::byte>(random());
    try {
      const Loaded m = decode_loaded(changed);
      for (const ModelInfo& info : m.models) CHECK(info.input_bytes() * info.batch <= max_tensors_bytes);
    } catch (const Error& e) {
      CHECK(e.code() == Errc::bad_file);
    }
  }
}

TEST_CASE("headers beyond the limits are refused", "[dpu]") {
  auto header = encode(Header{Kind::load, 100});
  CHECK(decode_header(header).bytes == 100);
  CHECK_THROWS_AS(decode_header(encode(Header{Kind::load, max_control + 1})), Error);
  CHECK_THROWS_AS(decode_header(encode(Header{Kind::run, std::uint64_t{1} << 40})), Error);
  header[4] = std::byte{2};
  CHECK_THROWS_AS(decode_header(header), Error);  // another version
  header[4] = std::byte{1}, header[0] = std::byte{0};
  CHECK_THROWS_AS(decode_header(header), Error);
}

TEST_CASE("a ring carries descriptors both ways, and its memory cannot be taken away", "[dpu]") {
  Ring ours = Ring::create({2, 5000});
  auto [a, b] = socket_pair();
  send_fds(a.get(), ours.fds(), Clock::time_point::max());
  Ring theirs = Ring::adopt({2, 5000}, receive_fds(b.get(), 3, Clock::time_point::max()));
  Ring::Descriptor d, got;
  CHECK_FALSE(theirs.receive(got));
  for (std::uint64_t i = 0; i < 1000; ++i) {
    d.body = encode(Run{i, 0, 1, 6});
    REQUIRE(ours.send(d));
    REQUIRE(theirs.receive(got));
    CHECK(decode_run(got.body).ticket == i);
    d.body = encode(Done{i, 1, 6});
    REQUIRE(theirs.send(d));
    REQUIRE(ours.receive(got));
  }
  std::thread late{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    theirs.send(d);
  }};
  CHECK(ours.receive_within(got, std::chrono::minutes{1}));  // while it looks, without the bell
  late.join();
  CHECK_FALSE(ours.receive_within(got, std::chrono::microseconds{50}));
  ours.slot(1)[4999] = std::byte{42};
  CHECK(theirs.slot(1)[4999] == std::byte{42});
  CHECK(ftruncate(ours.fds()[0], 0) != 0);
  while (ours.send(d)) {
  }  // until it is full; nothing is overwritten
  CHECK(theirs.receive(got));

  auto [c, e] = socket_pair();
  send_fds(c.get(), ours.fds(), Clock::time_point::max());
  CHECK_THROWS_AS(Ring::adopt({3, 5000}, receive_fds(e.get(), 3, Clock::time_point::max())), Error);
}

TEST_CASE("a deadline ends waiting for a message", "[dpu]") {
  auto [a, b] = socket_pair();
  Message m;
  CHECK_FALSE(receive_message(b.get(), m, Clock::now() + std::chrono::milliseconds{5}));
  a.reset();
  CHECK_FALSE(receive_message(b.get(), m, Clock::time_point::max()));
  CHECK(hung_up(b.get()));
}
