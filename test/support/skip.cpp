#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "support/catch.hpp"

namespace splitcnn_test {

int skipped = 0;

void skip(const std::string& kind, const std::string& reason) {
  const char* required = std::getenv("SPLITCNN_REQUIRE");
  std::istringstream list{required ? required : ""};
  for (std::string item; std::getline(list, item, ',');) {
    if (item == kind) FAIL("SPLITCNN_REQUIRE=" << required << " forbids this skip: " << reason);
  }
  std::printf("SKIP: %s\n", reason.c_str());
  ++skipped;
}

std::string test_data() {
  const char* path = std::getenv("SPLITCNN_TEST_DATA");
  return path ? path : "";
}

unsigned long long seed() {
  const char* text = std::getenv("SPLITCNN_TEST_SEED");
  const unsigned long long value = text ? std::strtoull(text, nullptr, 10) : 20261121ull;
  std::printf("seed %llu (SPLITCNN_TEST_SEED repeats it)\n", value);
  return value;
}

}  // namespace splitcnn_test
