#include <cstring>

#include "predictor/weights.hpp"
#include "splitcnn/predictor.hpp"
#include "support/catch.hpp"

using namespace splitcnn;

namespace {

std::vector<std::byte> file(const std::string& header, std::vector<float> numbers) {
  std::vector<std::byte> bytes(8 + header.size() + numbers.size() * 4);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  if (!numbers.empty()) std::memcpy(bytes.data() + 8 + header.size(), numbers.data(), numbers.size() * 4);
  return bytes;
}

std::string refused(const std::string& header, std::vector<float> numbers) {
  try {
    (void)SafeTensors::parse(file(header, std::move(numbers)), "f");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::bad_file);
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a good weight file is read") {
  const auto f = SafeTensors::parse(file(R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", {1, 2, 3}), "f");
  CHECK(f.tensor("a", {2, 1})[1] == 3);
  CHECK(f.tensor("b", {})[0] == 1);
  CHECK_THROWS_AS(f.tensor("a", {1, 2}), Error);
  CHECK_THROWS_AS(f.tensor("c", {}), Error);
}

TEST_CASE("damaged weight files are refused with the reason") {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(refused("{" + a + "}", {1, 2}).empty());
  CHECK(refused("{" + a + "}", {1}).find("outside the file") != std::string::npos);
  CHECK(refused("{" + a + "}", {1, 2, 3}).find("belong to no tensor") != std::string::npos);
  CHECK(refused("{" + a + "}", {1, std::numeric_limits<float>::infinity()}).find("not finite") != std::string::npos);
  CHECK(refused("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", {1, 2}).find("overlap") != std::string::npos);
  CHECK(refused(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", {1}).find("not F32") != std::string::npos);
  CHECK(refused(R"({"a":{"dtype":"F32","shape":[16777216,16777216,16777216,16777216],"data_offsets":[0,0]}})", {}).find("larger than the file") != std::string::npos);
  CHECK(refused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}})", {1, 2}).find("no file of 16 MiB") != std::string::npos);
  CHECK(refused("[" + std::string(1000, '[') + "]", {}).find("nested") != std::string::npos);
  CHECK(refused("{", {}).find("no JSON") != std::string::npos);
  std::vector<std::byte> huge = file("{}", {});
  const std::uint64_t length = ~std::uint64_t{0};
  std::memcpy(huge.data(), &length, 8);
  CHECK_THROWS_AS(SafeTensors::parse(huge, "f"), Error);
  CHECK_THROWS_AS(Predictor::parse(file("{}", {}), "f"), Error);
  CHECK_THROWS_AS(Predictor::load("/no/such/file"), Error);
}
