#pragma once
/// Runs the built command-line tool as a user does.
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace splitcnn_test {

struct ToolResult {
  int exit_code = -1;
  std::string out, err;
};

inline std::string read_text(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// `arguments` are shell words.
inline ToolResult tool(const std::string& arguments) {
  const TemporaryFolder dir;
  const std::string command = std::string{"'"} + SPLITCNN_TOOL + "' " + arguments + " >'" + (dir / "out").string() +
                              "' 2>'" + (dir / "err").string() + "'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text((dir / "out").string()),
          read_text((dir / "err").string())};
}

inline std::vector<float> read_floats(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  const std::vector<char> bytes{std::istreambuf_iterator<char>{in}, {}};
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(values.size() * sizeof(float)),
            reinterpret_cast<char*>(values.data()));
  return values;
}

inline void write_noise(const std::string& path, std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::uniform_real_distribution<float> unit{-1, 1};
  std::vector<float> values(count);
  for (float& v : values) v = unit(random);
  std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(values.data()),
                                              static_cast<std::streamsize>(count * sizeof(float)));
}

/// max|a-b| / max|b|.
inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return worst / std::max(largest, 1e-30);
}

}  // namespace splitcnn_test
