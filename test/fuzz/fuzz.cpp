#include "fuzz/fuzz.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "splitcnn/error.hpp"

namespace splitcnn_fuzz {

namespace sc = splitcnn;

std::filesystem::path as_file(std::span<const std::uint8_t> bytes) {
  static const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  expect(fd >= 0 && ftruncate(fd, 0) == 0, "a file in memory");
  expect(pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()), "room for the input");
  return "/proc/self/fd/" + std::to_string(fd);
}

void only_errors(const std::function<void()>& call) {
  try {
    call();
  } catch (const sc::Error& e) {
    expect(e.code() != sc::Errc::ok && e.what()[0] != '\0', "an Error says what is wrong");
  }
}

void expect(bool kept, const char* what) {
  if (kept) return;
  std::fprintf(stderr, "expected: %s\n", what);
  std::abort();
}

const sc::Graph& small_graph() {
  static const sc::Graph graph = [] {
    const auto ramp = [](std::size_t n) {
      std::vector<float> values(n);
      for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i % 7) * 0.25f - 0.5f;
      return values;
    };
    sc::GraphBuilder b{"small"};
    const auto x = b.input("x", {1, 2, 6, 6});
    const auto w = b.constant("w", {2, 2, 3, 3}, ramp(36));
    const auto scale = b.constant("scale", {2}, {1, 2}), shift = b.constant("shift", {2}, {0, 1});
    const auto c = b.add({.op = sc::Op::conv,
                          .name = "conv",
                          .inputs = {x, w},
                          .window = {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}},
                         "c");
    const auto n = b.add({.op = sc::Op::batch_norm, .name = "bn", .inputs = {c, scale, shift, shift, scale}}, "n");
    const auto s = b.add({.op = sc::Op::add, .name = "sum", .inputs = {n, x}}, "s");
    const auto r = b.add({.op = sc::Op::relu, .name = "relu", .inputs = {s}}, "r");
    const auto p = b.add({.op = sc::Op::global_average_pool, .name = "pool", .inputs = {r}}, "p");
    b.output(b.add({.op = sc::Op::reshape, .name = "flat", .inputs = {p}}, "y", sc::Shape{1, 2}));
    return std::move(b).build();
  }();
  return graph;
}

}  // namespace splitcnn_fuzz
