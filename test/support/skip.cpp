#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "support/catch.hpp"

namespace splitcnn_test {

int skipped = 0;

namespace {

/// One line for the table ctest ends with (support/skip_table.cmake).
void log_skip(const std::string& kind, std::string reason) {
  const char* path = std::getenv("SPLITCNN_SKIP_LOG");
  if (!path) return;
  std::replace_if(reason.begin(), reason.end(), [](char c) { return c == '\n' || c == '\t' || c == ';'; }, ' ');
  if (std::FILE* log = std::fopen(path, "ae")) {
    std::fputs((kind + '\t' + reason + '\n').c_str(), log);
    std::fclose(log);
  }
}

}  // namespace

void skip(const std::string& kind, const std::string& reason) {
  const char* required = std::getenv("SPLITCNN_REQUIRE");
  std::istringstream list{required ? required : ""};
  for (std::string item; std::getline(list, item, ',');) {
    if (item == kind) FAIL("SPLITCNN_REQUIRE=" << required << " forbids this skip: " << reason);
  }
  std::printf("SKIP: %s\n", reason.c_str());
  std::fflush(stdout);
  log_skip(kind, reason);
  ++skipped;
}

std::string test_data() {
  const char* path = std::getenv("SPLITCNN_TEST_DATA");
  return path ? path : "";
}

std::string small_data() { return SPLITCNN_SMALL_DATA; }

std::string example_data() { return SPLITCNN_EXAMPLE_DATA; }

unsigned long long seed() {
  const char* text = std::getenv("SPLITCNN_TEST_SEED");
  const unsigned long long value = text ? std::strtoull(text, nullptr, 10) : 20261121ull;
  std::printf("seed %llu (SPLITCNN_TEST_SEED repeats it)\n", value);
  return value;
}

}  // namespace splitcnn_test
