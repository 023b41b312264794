#include "core/json_file.hpp"

#include <unistd.h>

#include <fstream>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;
namespace fs = std::filesystem;

namespace {

std::size_t entries(const splitcnn_test::TemporaryFolder& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator{folder.path()}, fs::directory_iterator{}));
}

void put(const fs::path& path, const std::string& text) { std::ofstream{path, std::ios::binary} << text; }

template <class F>
Errc code_of(F&& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const Error& e) {
    if (message) *message = e.what();
    return e.code();
  }
  return Errc::ok;
}

}  // namespace

TEST_CASE("what is written is read again, and nothing else stays", "[json]") {
  const splitcnn_test::TemporaryFolder folder;
  const nlohmann::json value{{"a", {1, 2.5, "x", nullptr, true}}, {"b", {{"c", "\u00e4\n\"\\"}}}};
  write_json(folder / "a.json", value);
  CHECK(read_json(folder / "a.json") == value);
  write_json(folder / "a.json", 7);
  CHECK(read_json(folder / "a.json") == 7);
  CHECK(entries(folder) == 1);
  write_json(folder / "b.json", std::string{"\xff broken UTF-8"});
  CHECK(read_json(folder / "b.json").is_string());
}

TEST_CASE("a file that cannot be written is an io error and leaves nothing behind", "[json]") {
  const splitcnn_test::TemporaryFolder folder;
  CHECK(code_of([&] { write_json(folder / "no" / "a.json", 1); }) == Errc::io);
  fs::create_directory(folder / "taken");
  put(folder / "taken" / "x", "");
  std::string message;
  CHECK(code_of([&] { write_json(folder / "taken", 1); }, &message) == Errc::io);
  CHECK(message.find("taken") != std::string::npos);
  CHECK(entries(folder) == 1);
}

TEST_CASE("bad files are errors that name the file", "[json]") {
  const splitcnn_test::TemporaryFolder folder;
  std::string message;
  CHECK(code_of([&] { (void)read_json(folder / "missing.json"); }, &message) == Errc::io);
  CHECK(message.find("missing.json") != std::string::npos);
  CHECK(code_of([&] { (void)read_json(folder / "."); }) == Errc::io);
  const std::string many(100'000, '[');
  for (const std::string& text :
       {std::string{}, std::string{"{"}, std::string{"{\"a\":1}x"}, std::string{"\"\\"}, many,
        std::string{"[1,]"}, std::string{"\xff\xfe"}, std::string{"nan"}}) {
    put(folder / "bad.json", text);
    CHECK(code_of([&] { (void)read_json(folder / "bad.json"); }, &message) == Errc::bad_file);
    CHECK(message.find("bad.json") != std::string::npos);
  }
  put(folder / "deep.json", std::string(64, '[') + std::string(64, ']'));
  CHECK_NOTHROW(read_json(folder / "deep.json"));
  put(folder / "deep.json", std::string(65, '[') + std::string(65, ']'));
  CHECK(code_of([&] { (void)read_json(folder / "deep.json"); }) == Errc::bad_file);
  put(folder / "text.json", "\"" + std::string(1000, '[') + "\\\"[\"");
  CHECK_NOTHROW(read_json(folder / "text.json"));
  put(folder / "large.json", "\"" + std::string((64u << 20) + 1, 'x') + "\"");
  CHECK(code_of([&] { (void)read_json(folder / "large.json"); }) == Errc::bad_file);
}

TEST_CASE("required values name file and key", "[json]") {
  const auto value = nlohmann::json::parse(
      R"({"n":5,"f":2.5,"s":"x","big":18446744073709551615,"huge":1e400,"neg":-3,"b":true})", nullptr, false);
  // 1e400 does not parse as a number of this library's files at all.
  CHECK(value.is_discarded());
  const nlohmann::json v{{"n", 5}, {"f", 2.5}, {"s", "x"}, {"big", UINT64_MAX}, {"neg", -3}, {"b", true}};
  CHECK(require<std::string>(v, "s", "w") == "x");
  CHECK(require_integer(v, "n", "w", 0, 5) == 5);
  CHECK(require_integer(v, "neg", "w", INT64_MIN, 5) == -3);
  CHECK(require_number(v, "f", "w") == 2.5);
  std::string message;
  CHECK(code_of([&] { (void)require<std::string>(v, "n", "file.json"); }, &message) == Errc::bad_file);
  CHECK(message.find("file.json") != std::string::npos);
  CHECK(message.find("'n'") != std::string::npos);
  CHECK(code_of([&] { (void)require<int>(v, "gone", "w"); }) == Errc::bad_file);
  CHECK(code_of([&] { (void)require<int>(nlohmann::json(3), "gone", "w"); }) == Errc::bad_file);
  for (const char* key : {"f", "s", "big", "b", "gone"}) {
    CHECK(code_of([&] { (void)require_integer(v, key, "w", INT64_MIN, INT64_MAX); }) == Errc::bad_file);
  }
  CHECK(code_of([&] { (void)require_integer(v, "n", "w", 6, 9); }) == Errc::bad_file);
  CHECK(code_of([&] { (void)require_number(v, "s", "w"); }) == Errc::bad_file);
}

TEST_CASE("the format is checked", "[json]") {
  CHECK_NOTHROW(check_format({{"format", "f"}, {"version", 2}}, "f", 2, "w"));
  CHECK_NOTHROW(check_format({{"format", "f"}, {"version", 1}}, "f", 2, "w"));
  for (const nlohmann::json& bad :
       {nlohmann::json{{"format", "f"}, {"version", 3}}, nlohmann::json{{"format", "g"}, {"version", 1}},
        nlohmann::json{{"format", "f"}}, nlohmann::json{{"version", 1}}, nlohmann::json(1),
        nlohmann::json{{"format", 1}, {"version", 1}}, nlohmann::json{{"format", "f"}, {"version", 0}},
        nlohmann::json{{"format", "f"}, {"version", "1"}}}) {
    CHECK(code_of([&] { check_format(bad, "f", 2, "w"); }) == Errc::bad_file);
  }
}
