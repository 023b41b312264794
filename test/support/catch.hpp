#pragma once
/// Catch2 v2 (Debian 12) and v3 (elsewhere) behind one include, and what our tests share.
#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

namespace splitcnn_test {

/// Prints "SKIP: reason" and lets the process exit with 77, unless SPLITCNN_REQUIRE lists `kind` ("data", "cudnn",
/// "vart"): then the test fails.
void skip(const std::string& kind, const std::string& reason);

/// The folder of real models and images, from SPLITCNN_TEST_DATA; empty when not set.
std::string test_data();

/// test/data and examples/data: small files that are always there.
std::string small_data();
std::string example_data();

/// A seed for randomised tests: SPLITCNN_TEST_SEED or a fixed default; printed so that a failure can be repeated.
unsigned long long seed();

}  // namespace splitcnn_test

/// Ends the test case as skipped.
#define SPLITCNN_SKIP(kind, reason)          \
  do {                                       \
    splitcnn_test::skip((kind), (reason));   \
    return;                                  \
  } while (false)
