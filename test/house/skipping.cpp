// Skips once for want of data; skip_check.cmake looks at what comes of it.
#include "support/catch.hpp"

TEST_CASE("needs data") { SPLITCNN_SKIP("data", "no data on purpose"); }
TEST_CASE("needs nothing") { CHECK(true); }
