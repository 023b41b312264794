// Files nobody should be able to hurt the library with: one Error that says what is wrong, and no memory
// worth mentioning.
#include <sys/resource.h>

#include <optional>
#include <random>
#include <sstream>

#include "core/json_file.hpp"
#include "graph/onnx_files.hpp"
#include "graph/onnx_writer.hpp"
#include "support/catch.hpp"

using namespace splitcnn;
using namespace splitcnn_test;

namespace {

struct Refusal {
  Errc code = Errc::ok;
  std::string text;
};

template <class F>
Refusal refusal(F f) {
  try {
    (void)f();
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  return {};
}

Refusal refused(const std::string& bytes, const LoadOptions& options = {}) {
  return refusal([&] { return parse(bytes, options); });
}

/// The error has this code and mentions all of these.
void check(const Refusal& r, Errc code, const std::vector<std::string>& parts) {
  INFO(r.text);
  CHECK(std::string{to_string(r.code)} == to_string(code));
  for (const auto& part : parts) {
    INFO(part);
    CHECK(r.text.find(part) != std::string::npos);
  }
}

OnnxModel model(std::vector<Message> nodes, std::vector<Message> initializers = {}) {
  OnnxModel m;
  m.nodes = std::move(nodes);
  m.initializers = std::move(initializers);
  return m;
}

std::string file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

long peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

}  // namespace

TEST_CASE("files that are no models") {
  TemporaryFolder folder;
  check(refusal([&] { return Graph::load(folder / "none.onnx"); }), Errc::io,
        {"none.onnx", "check the path"});
  check(refusal([&] { return Graph::load(folder.path()); }), Errc::io, {"no file"});
  check(refusal([&] { return Graph::load("/dev/zero"); }), Errc::io, {"/dev/zero"});
  check(refused(""), Errc::bad_model, {"not an ONNX model"});
  check(refused("This is no model but a sentence about one.\n"), Errc::bad_model, {"not an ONNX model"});
  check(refused(std::string(1000, '\0')), Errc::bad_model, {"not an ONNX model"});
  check(refused(std::string(1000, '\xff')), Errc::bad_model, {"not an ONNX model"});
  const std::string whole = file(small_data() + "/tiny_branching.onnx");
  check(refused(whole.substr(0, whole.size() / 2)), Errc::bad_model, {"truncated"});
  check(refused(whole, {.max_file_bytes = 100}), Errc::unsupported, {"max_file_bytes"});
  check(refused(whole, {.max_nodes = 3}), Errc::unsupported, {"max_nodes"});
  check(refused(whole, {.batch = 0}), Errc::bad_argument, {"batch"});
}

TEST_CASE("versions outside the supported range") {
  for (const auto& [opset, ir] : {std::pair{6, 3}, {22, 10}, {0, 8}, {13, 2}, {13, 11}}) {
    OnnxModel m = model({node("Relu", {"x"}, {"y"})});
    m.opset = opset;
    m.ir = ir;
    check(refused(m.bytes()), Errc::unsupported, {ir < 3 || ir > 10 ? "IR version" : "opset", "export"});
  }
}

TEST_CASE("one error names every unsupported node, its operator and the opset") {
  const auto r =
      refused(model({node("GridSample", {"x"}, {"a"}, {}, "warp"), node("Relu", {"a"}, {"b"}, {}, "fine"),
                     node("Einsum", {"b"}, {"c"}, {}, "product"), node("ArgMax", {"c"}, {"y"})})
                  .bytes());
  check(r, Errc::unsupported,
        {"3 problems", "node 'warp' (GridSample, opset 13)", "node 'product' (Einsum, opset 13)",
         "(ArgMax, opset 13)", "writing 'y'", "replace it"});
  CHECK(r.text.find("fine") == std::string::npos);

  std::vector<Message> many;
  for (int i = 0; i < 50; ++i)
    many.push_back(
        node("Bad", {i ? "t" + std::to_string(i) : "x"}, {i == 49 ? "y" : "t" + std::to_string(i + 1)}));
  check(refused(model(many).bytes()), Errc::unsupported, {"50 problems", "and 30 more"});
  check(
      refused(
          model({Message{}.text(1, "x").text(2, "y").text(4, "FusedConv").text(7, "com.microsoft")}).bytes()),
      Errc::unsupported, {"com.microsoft.FusedConv"});
}

TEST_CASE("graphs that contradict themselves") {
  check(refused(model({node("Add", {"x", "b"}, {"a"}, {}, "one"), node("Relu", {"a"}, {"b"}, {}, "two"),
                       node("Exp", {"b"}, {"y"}, {}, "three")})
                    .bytes()),
        Errc::bad_model, {"'one'", "'two'", "'three'", "cycle"});
  check(refused(model({node("Relu", {"y"}, {"y"}, {}, "self")}).bytes()), Errc::bad_model,
        {"'self'", "cycle"});
  check(refused(model({node("Relu", {"x"}, {"y"}), node("Exp", {"x"}, {"y"}, {}, "again")}).bytes()),
        Errc::bad_model, {"'again'", "'y'"});
  check(refused(model({node("Relu", {"x"}, {"x"}, {}, "onto")}).bytes()), Errc::bad_model,
        {"'onto'", "exists already"});
  check(refused(model({node("Conv", {"x", "w"}, {"y"}, {}, "conv1")}).bytes()), Errc::bad_model,
        {"'conv1' (Conv, opset 13)", "'w'", "no input, constant or result"});
  check(refused(
            model({node("Add", {"x", "c"}, {"y"})}, {floats("c", {1}, {1}), floats("c", {1}, {2})}).bytes()),
        Errc::bad_model, {"'c'", "twice"});
  check(refused(model({node("Relu", {"x"}, {"z"})}).bytes()), Errc::bad_model, {"output 'y'"});
  check(refused(model({node("Relu", {"c"}, {"y"})}, {floats("c", {1}, {1})}).bytes()), Errc::bad_model,
        {"output 'y'", "not computed from the input"});
  check(refused(model({node("Relu", {"x"}, {})}).bytes()), Errc::bad_model, {"output 'y'"});
  check(refused(model({node("Relu", {}, {"y"})}).bytes()), Errc::bad_model, {"0 inputs"});
  OnnxModel none = model({node("Relu", {"x"}, {"y"})});
  none.outputs.clear();
  check(refused(none.bytes()), Errc::bad_model, {"no outputs"});
}

TEST_CASE("shapes that do not fit name the node") {
  const auto conv = [](std::vector<std::int64_t> dims, std::vector<Message> attributes = {}) {
    std::size_t n = 1;
    for (const auto d : dims) n *= static_cast<std::size_t>(d);
    return refused(model({node("Conv", {"x", "w"}, {"y"}, std::move(attributes), "c")},
                         {floats("w", dims, std::vector<float>(n, 1))})
                       .bytes());
  };
  check(conv({4, 5, 3, 3}), Errc::bad_model, {"node 'c' (Conv, opset 13)", "4x5x3x3", "; "});
  check(conv({4, 3, 9, 9}), Errc::bad_model, {"'c'", "does not fit"});
  check(conv({4, 3, 3}), Errc::bad_model, {"4x3x3"});
  check(conv({4, 3, 3, 3}, {attribute("group", -1)}), Errc::bad_model, {"group"});
  check(conv({4, 3, 3, 3}, {list_attribute("strides", {0, 1})}), Errc::bad_model, {"strides"});
  check(conv({4, 3, 3, 3}, {list_attribute("strides", {std::int64_t{1} << 62, 1})}), Errc::bad_model,
        {"strides"});
  check(conv({4, 3, 3, 3}, {list_attribute("pads", {std::int64_t{1} << 40, 0, 0, 0})}), Errc::bad_model,
        {"padding"});
  check(conv({4, 3, 3, 3}, {list_attribute("kernel_shape", {2, 2})}), Errc::bad_model, {"kernel_shape"});
  check(conv({4, 3, 3, 3}, {attribute("group", "one")}), Errc::bad_model, {"'group'", "wrong type"});
  check(refused(model({node("Reshape", {"x", "s"}, {"y"}, {}, "r")}, {integers("s", {2}, {-1, 7})}).bytes()),
        Errc::bad_model, {"'r'"});
  check(refused(model({node("Reshape", {"x", "s"}, {"y"}, {}, "r")}, {integers("s", {2}, {-1, -1})}).bytes()),
        Errc::bad_model, {"two dimensions open"});
  check(refused(model({node("Reshape", {"x", "s"}, {"y"}, {}, "r")},
                      {integers("s", {3}, {1ll << 62, 1ll << 62, 16})})
                    .bytes()),
        Errc::bad_model, {"'r'"});
  check(refused(model({node("Transpose", {"x"}, {"y"}, {list_attribute("perm", {0, 1, 1, 2})})}).bytes()),
        Errc::bad_model, {"permutation"});
  check(refused(model({node("Concat", {"x", "x"}, {"y"}, {attribute("axis", 9)})}).bytes()), Errc::bad_model,
        {"axis 9"});
  check(refused(model({node("Gather", {"x", "i"}, {"y"}, {attribute("axis", 1)})}, {integers("i", {1}, {3})})
                    .bytes()),
        Errc::bad_model, {"index 3"});
  check(refused(model({node("Pad", {"x", "p"}, {"y"}, {attribute("mode", "reflect")})},
                      {integers("p", {8}, {0, 0, 1, 1, 0, 0, 1, 1})})
                    .bytes()),
        Errc::unsupported, {"reflect"});
  check(refused(model({node("Cast", {"x"}, {"y"}, {attribute("to", 7)})}).bytes()), Errc::unsupported,
        {"int64"});
  check(refused(model({node("Reshape", {"x", "s"}, {"y"}),
                       node("Cast", {"x"}, {"s"}, {attribute("to", 1)}, "late")})
                    .bytes()),
        Errc::unsupported, {"depend on the input"});
}

TEST_CASE("inputs that cannot be used are listed together") {
  OnnxModel m = model({node("Add", {"x", "z"}, {"a"}), node("Add", {"a", "t"}, {"y"})});
  m.inputs = {value_info("x", {1, 3, -1, -1}), value_info("z", {1, 3, 8, 8}, string),
              value_info("t", {1, 3, std::int64_t{1} << 62, 8})};
  check(
      refused(m.bytes()), Errc::bad_model,
      {"input 'x': dimension 2 ('d') is dynamic", "input 'z'", "string", "input 't'", "max_tensor_elements"});
  OnnxModel shapeless = model({node("Relu", {"x"}, {"y"})});
  shapeless.inputs = {Message{}.text(1, "x").message(2, Message{}.message(1, Message{}.number(1, float32)))};
  check(refused(shapeless.bytes()), Errc::unsupported, {"has no shape"});
}

TEST_CASE("constants that lie about their size") {
  const auto with = [](Message t) {
    return refused(model({node("Add", {"x", "c"}, {"y"}, {}, "use")}, {std::move(t)}).bytes());
  };
  check(with(tensor("c", float32, {8}, "abc")), Errc::bad_model, {"'c'", "3 bytes"});
  check(with(tensor("c", float32, {INT64_MAX}, "abcd")), Errc::bad_model, {"'c'", "max_tensor_elements"});
  check(with(tensor("c", float32, {INT64_MAX, INT64_MAX, 4}, "abcd")), Errc::bad_model,
        {"'c'", "max_tensor_elements"});
  check(with(tensor("c", float32, {0, INT64_MAX}, "")), Errc::bad_model, {"'c'", "max_tensor_elements"});
  check(with(tensor("c", float32, {-4}, "abcd")), Errc::bad_model, {"'c'", "-4"});
  check(with(tensor("c", float32, {1, 1, 1, 1, 1, 1, 1, 1, 1}, "abcd")), Errc::unsupported, {"9 dimensions"});
  check(with(tensor("c", float32, {8}, "")), Errc::bad_model, {"holds 0 values"});
  check(with(tensor("c", string, {1}, "abcd")), Errc::unsupported,
        {"'use' (Add, opset 13)", "'c'", "string"});
  check(with(tensor("c", 77, {1}, "abcd")), Errc::unsupported, {"type 77"});
  check(with(tensor("c", int64, {1}, "12345678")), Errc::unsupported, {"integer"});
  CHECK(peak_megabytes() < 512);
}

TEST_CASE("computing with constants cannot ask for much memory") {
  const auto filled = [](std::int64_t n) {
    return model({node("ConstantOfShape", {"s"}, {"c"}, {}, "fill"), node("Add", {"x", "c"}, {"y"})},
                 {integers("s", {1}, {n})})
        .bytes();
  };
  check(refused(filled(INT64_MAX)), Errc::bad_model,
        {"'fill' (ConstantOfShape, opset 13)", "max_tensor_elements"});
  check(refused(filled(1ll << 40)), Errc::bad_model, {"'fill'"});
  check(refused(filled(-1)), Errc::bad_model, {"'fill'"});
  check(refused(filled(1000), {.max_tensor_elements = 100}), Errc::bad_model, {"max_tensor_elements"});

  std::vector<Message> doubling{node("ConstantOfShape", {"s"}, {"t0"})};
  for (int i = 0; i < 60; ++i) {
    doubling.push_back(node("Concat", {"t" + std::to_string(i), "t" + std::to_string(i)},
                            {"t" + std::to_string(i + 1)}, {attribute("axis", 0)}));
  }
  doubling.push_back(node("Add", {"x", "t60"}, {"y"}));
  check(refused(model(doubling, {integers("s", {1}, {64})}).bytes(), {.max_folded_elements = 1 << 20}),
        Errc::unsupported, {"Concat", "max_folded_elements"});
  // The file's own elements may be used several times, whatever the limit on made ones.
  check(refused(filled(1 << 25), {.max_folded_elements = 1 << 24}), Errc::unsupported, {"'fill'", "max_folded_elements"});
  const std::vector<float> big(1 << 20, 1.0f);
  const auto transposed = model({node("Transpose", {"w"}, {"a"}), node("Transpose", {"a"}, {"b"}), node("ReduceSum", {"b"}, {"c"}, {attribute("keepdims", 0)}),
                                 node("Add", {"x", "c"}, {"y"})},
                                {floats("w", {1 << 10, 1 << 10}, big)});
  check(refused(transposed.bytes(), {.max_folded_elements = 100}), Errc::ok, {});
  // Found by fuzzing: indices of a nearest resize to millions of rows, each with the names of its modes compared again.
  const auto resize = model({node("Resize", {"x", "", "", "s"}, {"y"}, {attribute("nearest_mode", "ceil")})}, {integers("s", {4}, {1, 3, 8, 1 << 25})});
  check(refused(resize.bytes(), {.max_tensor_elements = 1ll << 40, .max_folded_elements = 1 << 24}),
        Errc::unsupported, {"Resize", "max_folded_elements"});
  const auto range = model({node("Range", {"a", "b", "c"}, {"r"}), node("Gather", {"x", "r"}, {"y"})},
                           {integers("a", {}, {0}), integers("b", {}, {INT64_MAX}), integers("c", {}, {1})});
  check(refused(range.bytes()), Errc::bad_model, {"Range"});
  const auto expand = model({node("Expand", {"a", "s"}, {"e"}), node("Add", {"x", "e"}, {"y"})},
                            {floats("a", {1}, {1}), integers("s", {3}, {1 << 20, 1 << 20, 1 << 20})});
  check(refused(expand.bytes()), Errc::bad_model, {"Expand"});
  const auto divide = model({node("Div", {"a", "z"}, {"s"}, {}, "d"), node("Reshape", {"x", "s"}, {"y"})},
                            {integers("a", {1}, {1}), integers("z", {1}, {0})});
  check(refused(divide.bytes()), Errc::bad_model, {"'d'", "zero"});
  const auto huge_resize =
      model({node("Upsample", {"x", "s"}, {"y"})}, {floats("s", {4}, {1, 1, 1e8f, 1e8f})});
  CHECK(refused(huge_resize.bytes()).code != Errc::ok);
  CHECK(peak_megabytes() < 512);
}

TEST_CASE("a small file of empty messages is refused before it is unpacked") {
  std::string graph, bytes;
  for (int i = 0; i < 8'000'000; ++i)
    graph += std::string_view{"\x2a\x00", 2};  // an initialiser without anything
  bytes = Message{}.number(1, 8).text(7, graph).bytes();
  check(refused(bytes), Errc::unsupported, {"max_nodes"});
  CHECK(peak_megabytes() < 512);
}

TEST_CASE("external data stays inside the model's folder") {
  TemporaryFolder outer;
  std::filesystem::create_directories(outer / "model/sub");
  outer.write("secret.bin", std::string(64, 'x'));
  outer.write("model/data.bin", std::string(16, 'x'));
  std::filesystem::create_symlink(outer / "secret.bin", outer / "model/link.bin");
  std::filesystem::create_directory_symlink(outer.path(), outer / "model/up");
  const auto load = [&](const std::vector<std::pair<std::string, std::string>>& entries,
                        LoadOptions options = {}) {
    OnnxModel m = model({node("Add", {"x", "c"}, {"y"}, {}, "use")}, {external("c", {1}, entries)});
    const auto path = outer.write("model/m.onnx", m.bytes());
    return refusal([&] { return Graph::load(path, options); });
  };
  CHECK(load({{"location", "data.bin"}}).code == Errc::ok);
  CHECK(load({{"location", "sub/./../data.bin"}}).code == Errc::bad_model);
  const std::vector<std::string> outside{"../secret.bin",
                                         "sub/../../secret.bin",
                                         (outer / "secret.bin").string(),
                                         "link.bin",
                                         "up/secret.bin",
                                         "/etc/hostname",
                                         ""};
  for (const std::string& location : outside) {
    INFO(location);
    check(load({{"location", location}}), Errc::bad_model, {"'use' (Add, opset 13)", "'c'", "folder"});
  }
  check(load({{"location", "none.bin"}}), Errc::io, {"none.bin"});
  check(load({{"location", "sub"}}), Errc::bad_model, {"no regular file"});
  check(load({{"location", "data.bin"}, {"offset", "13"}}), Errc::bad_model, {"16 bytes"});
  check(load({{"location", "data.bin"}, {"offset", "18446744073709551615"}}), Errc::bad_model, {"16 bytes"});
  check(load({{"location", "data.bin"}, {"offset", "-1"}}), Errc::bad_model, {"offset"});
  check(load({{"location", "data.bin"}, {"length", "3"}}), Errc::bad_model, {"length 3"});
  check(load({{"location", "data.bin"}, {"length", "99999999999999999999999"}}), Errc::bad_model, {"length"});
  CHECK(load({{"location", "data.bin"}, {"offset", "0"}}).code == Errc::ok);
  const auto size = file((outer / "model/m.onnx").string()).size();
  check(load({{"location", "data.bin"}, {"offset", "0"}}, {.max_file_bytes = size}), Errc::unsupported,
        {"max_file_bytes"});
  OnnxModel m = model({node("Add", {"x", "c"}, {"y"})}, {external("c", {1}, {{"location", "data.bin"}})});
  check(refused(m.bytes()), Errc::unsupported, {"given in memory"});
}

TEST_CASE("damaged models are refused or load, and never crash") {
  std::mt19937_64 random{seed()};
  std::vector<std::string> originals{file(small_data() + "/tiny_branching.onnx"),
                                     file(small_data() + "/tiny_two_outputs.onnx")};
  const auto index = read_json(small_data() + "/ops/index.json");
  for (const auto& item : index.items())
    originals.push_back(file(small_data() + "/ops/" + item.key() + ".onnx"));
  int loaded = 0, refusals = 0;
  const LoadOptions small{.max_tensor_elements = 1 << 20};
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = originals[random() % originals.size()];
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int k = 0; k < changes && !bytes.empty(); ++k) {
      const std::size_t at = random() % bytes.size();
      switch (random() %
              16) {  // mostly changes that keep the lengths, so that the damage reaches the importer
        case 0:
          bytes.erase(at, 1 + random() % 8);
          break;
        case 1:
          bytes.insert(at, bytes.substr(random() % bytes.size(), 1 + random() % 16));
          break;
        case 2:
        case 3:
        case 4:
        case 5:
          bytes[at] = static_cast<char>(random());
          break;
        default:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
      }
    }
    (refused(bytes, small).code == Errc::ok ? loaded : refusals) += 1;
  }
  CHECK(loaded + refusals == 20'000);
  CHECK(refusals > 1000);
  CHECK(loaded > 1000);
  CHECK(peak_megabytes() < 1024);
}
