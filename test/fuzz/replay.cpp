// Runs a fuzz target over files and folders, and over seeded mutations of each, without libFuzzer:
//
//     replay_onnx [--mutations N] PATH...
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/fuzz.hpp"

namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<std::uint8_t>;

/// Bytes changed, cut out, doubled or put in, as a bad disk or a clumsy attacker would.
void mutate(Bytes& bytes, std::mt19937_64& random) {
  for (auto n = 1 + random() % 4; n > 0 && !bytes.empty(); --n) {
    const auto at = static_cast<std::ptrdiff_t>(random() % bytes.size());
    const auto length = static_cast<std::ptrdiff_t>(1 + random() % 16);
    const auto end = std::min<std::ptrdiff_t>(at + length, static_cast<std::ptrdiff_t>(bytes.size()));
    switch (random() % 4) {
      case 0:
        bytes[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(random());
        break;
      case 1:
        bytes.erase(bytes.begin() + at, bytes.begin() + end);
        break;
      case 2: {
        const Bytes piece(bytes.begin() + at, bytes.begin() + end);
        bytes.insert(bytes.begin() + at, piece.begin(), piece.end());
        break;
      }
      default:
        bytes[static_cast<std::size_t>(at)] ^= static_cast<std::uint8_t>(1u << random() % 8);
    }
  }
}

std::size_t run(const fs::path& file, std::size_t mutations) {
  std::ifstream in{file, std::ios::binary};
  const Bytes bytes{std::istreambuf_iterator<char>{in}, {}};
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  std::mt19937_64 random{bytes.size()};
  for (std::size_t n = 0; n < mutations; ++n) {
    Bytes changed = bytes;
    mutate(changed, random);
    LLVMFuzzerTestOneInput(changed.data(), changed.size());
  }
  return 1 + mutations;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t mutations = 0, runs = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::string{argv[i]} == "--mutations" && i + 1 < argc) {
      mutations = std::strtoull(argv[++i], nullptr, 10);
    } else if (fs::is_directory(argv[i])) {
      for (const auto& entry : fs::directory_iterator{argv[i]}) {
        if (entry.is_regular_file()) runs += run(entry.path(), mutations);
      }
    } else if (fs::is_regular_file(argv[i])) {
      runs += run(argv[i], mutations);
    }
  }
  std::printf("%zu inputs\n", runs);
  return runs == 0;  // nothing to run is no success
}
