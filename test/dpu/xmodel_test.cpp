// xmodel files read without XIR, and what is refused before VART, which would end the process, sees it.
#include <cstdlib>

#include "dpu/vart/xmodel_checks.hpp"
#include "dpu/vart/xmodel_json.hpp"
#include "dpu/vart/xmodel_program.hpp"
#include "support/catch.hpp"
#include "support/xmodel_bytes.hpp"

using namespace splitcnn;
using namespace splitcnn::dpu;
using splitcnn_test::xmodel_bytes;
using splitcnn_test::XmodelOptions;

namespace {

XmodelFile parse(const std::string& bytes) {
  return parse_xmodel(std::as_bytes(std::span{bytes.data(), bytes.size()}), "x.xmodel");
}

void refused(Errc code, const char* words, const std::string& bytes,
             const ModelRequest& request = {"x.xmodel", "ref", 0}) {
  CAPTURE(words);
  try {
    const XmodelFile file = parse(bytes);
    (void)check_subgraph(file, request);
    FAIL("it was accepted");
  } catch (const Error& e) {
    CHECK(to_string(e.code()) == std::string{to_string(code)});
    CHECK_THAT(e.what(), Catch::Matchers::Contains(words));
  }
}

}  // namespace

TEST_CASE("an xmodel says its subgraphs, tensors and fix points", "[dpu]") {
  const XmodelFile file = parse(xmodel_bytes());
  REQUIRE(file.subgraphs.size() == 2);
  CHECK(file.subgraphs[0].device == "USER");
  const XmodelSubgraph& dpu = file.subgraphs[1];
  CHECK(dpu.fingerprint == "11");
  CHECK(dpu.runners.at("ref") == "lib.so");
  REQUIRE(file.inputs(dpu).size() == 1);
  CHECK(file.inputs(dpu)[0]->output.name == "x");
  REQUIRE(file.outputs(dpu).size() == 1);
  CHECK(file.outputs(dpu)[0]->output.fix_point == 6);
  CHECK(file.outputs(dpu)[0]->output.dims == std::vector<std::int64_t>{1, 4, 4, 3});
  CHECK(file.has_weights(dpu));
  CHECK(&check_subgraph(file, {"x.xmodel", "ref", 0}) == &dpu);
}

TEST_CASE("what would make VART end the process is refused with the cause", "[dpu]") {
  const std::string good = xmodel_bytes();
  for (std::size_t n = 0; n < good.size(); ++n)
    CHECK_THROWS_AS(parse(good.substr(0, n)), Error);  // truncated anywhere
  refused(Errc::bad_model, "damaged or no xmodel", "garbage, garbage");
  refused(Errc::bad_model, "reads 'z'", xmodel_bytes({.read = "z"}));
  refused(Errc::unsupported, "names no runner", xmodel_bytes({.runner = "runnee"}));
  refused(Errc::unsupported, "no mode 'dream'; it has ref, run", good, {"x.xmodel", "dream", 0});
  refused(Errc::unsupported, "no mode ''", good, {"x.xmodel", "", 0});
  refused(Errc::unsupported, "no DPU subgraph", xmodel_bytes({.device = "CPU"}));
  refused(Errc::mismatch, "number 1", good, {"x.xmodel", "ref", 1});
  refused(Errc::unsupported, "no fix point", xmodel_bytes({.fix_points = false}));
  refused(Errc::unsupported, "not int8", xmodel_bytes({.bits = 16}));
  refused(Errc::unsupported, "constants were taken out", xmodel_bytes({.weights = ""}));
  refused(Errc::unsupported, "shift_psum", xmodel_bytes({.extra_op_attribute = "shift_psum"}));
  CHECK(check_subgraph(parse(xmodel_bytes({.weights = ""})), {"x.xmodel", "run", 0}).name ==
        "head");  // a board needs no constants
}

TEST_CASE("a model for another DPU is refused by its fingerprint", "[dpu]") {
  setenv("SPLITCNN_DPU_FINGERPRINT", "12", 1);
  refused(Errc::mismatch, "fingerprint 11, this machine's is 12", xmodel_bytes(), {"x.xmodel", "run", 0});
  CHECK(check_subgraph(parse(xmodel_bytes()), {"x.xmodel", "ref", 0}).name ==
        "head");  // the reference runs any
  setenv("SPLITCNN_DPU_FINGERPRINT", "11", 1);
  CHECK(check_subgraph(parse(xmodel_bytes()), {"x.xmodel", "run", 0}).name == "head");
  unsetenv("SPLITCNN_DPU_FINGERPRINT");
}

TEST_CASE("a program for XIR comes back as it was", "[dpu]") {
  XmodelProgram program{.name = "p",
                        .ops = {{.type = "data-fix", .name = "x", .shape = {1, 4, 4, 3}, .fix_point = -2}}};
  program.ops.push_back({.type = "conv2d-fix",
                         .name = "y",
                         .inputs = {0},
                         .nonlinear = "RELU",
                         .kernel = {3, 1},
                         .weights = {std::byte{7}},
                         .bias = {std::byte{9}}});
  const auto bytes = encode(program);
  const XmodelProgram again = decode_program(bytes);
  REQUIRE(again.ops.size() == 2);
  CHECK(encode(again) == bytes);
  for (std::size_t n = 0; n < bytes.size(); ++n)
    CHECK_THROWS_AS(decode_program(std::span{bytes}.first(n)), Error);
}
