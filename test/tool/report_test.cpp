// The report page: complete, self-contained, and a browser shows it.
#include <fstream>

#include "tool/tool.hpp"

using splitcnn_test::read_text;
using splitcnn_test::TemporaryFolder;
using splitcnn_test::tool;

namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

std::string page_of(const TemporaryFolder& dir) {
  const auto result = tool("report zoo:lenet5 --model zoo -o " + (dir / "r.html").string());
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  return read_text((dir / "r.html").string());
}

}  // namespace

TEST_CASE("the report has its parts, says where its numbers come from, and needs no network") {
  const TemporaryFolder dir;
  const std::string page = page_of(dir);
  for (const char* part : {"The plan and its baselines", "Where the curves cross", "What crosses each cut", "Both devices at work", "The network and the plan",
                           "Accuracy", "class='badge modelled'", "not a trace", "viewport"}) {
    INFO(part);
    CHECK(page.find(part) != std::string::npos);
  }
  CHECK(count(page, "<svg") == count(page, "</svg>"));
  CHECK(count(page, "<svg") >= 3);
  for (const char* outside : {"http:", "https:", "src=", "href=", "url(", "@import", "<script"}) CHECK(page.find(outside) == std::string::npos);
  CHECK(page.find("nan") == std::string::npos);
}

TEST_CASE("the report draws a measured trace and a layer study, and refuses what is neither") {
  const TemporaryFolder dir;
  const std::string trace =
      R"({"traceEvents": [{"ph": "M", "name": "thread_name", "pid": 1, "tid": 3, "args": {"name": "dpu:0"}},)"
      R"({"ph": "X", "cat": "run", "name": "r", "pid": 1, "tid": 3, "ts": 1000, "dur": 2000},)"
      R"({"ph": "X", "cat": "queue", "name": "q", "pid": 1, "tid": 4, "ts": 0, "dur": 9000},)"
      R"({"ph": "X", "cat": "run", "name": "r", "pid": 1, "tid": 3, "ts": 4000, "dur": 2500}]})";
  std::ofstream{(dir / "t.json").string()} << trace;
  std::ofstream{(dir / "l.jsonl").string()}
      << R"({"name": "layer", "figure": 8, "input": 7, "channels": 64, "filters": 16, "kernel": 3, "a": "dpu:0", "b": "cpu", "ratio": 0.5})" << '\n'
      << R"({"name": "layer", "figure": 8, "input": 14, "channels": 64, "filters": 16, "kernel": 3, "a": "dpu:0", "b": "cpu", "ratio": null})" << '\n'
      << R"({"name": "size_class", "input": 7, "channels": [384], "filters": [512], "ratio": 0.75, "prefers": "dpu:0", "paper_prefers": "CPU"})" << '\n';
  const auto report = [&](const std::string& rest) { return tool("report zoo:lenet5 --model zoo -o " + (dir / "r.html").string() + " " + rest); };
  REQUIRE(report("--trace " + (dir / "t.json").string() + " --layers " + (dir / "l.jsonl").string()).exit_code == 0);
  const std::string page = read_text((dir / "r.html").string());
  for (const char* part : {"trace (t.json)", "0 0 to 2<", "1 3 to 5.5<", "time on dpu:0 over time on cpu", "Figure 12", "<td>0.75</td>"}) {
    INFO(part);
    CHECK(page.find(part) != std::string::npos);
  }
  CHECK(page.find("not a trace") == std::string::npos);
  CHECK(page.find("nan") == std::string::npos);
  for (const char* broken : {"{", "[]", R"({"traceEvents": []})", R"({"traceEvents": [{"ph": "X", "cat": "run"}]})"}) {
    std::ofstream{(dir / "bad").string()} << broken;
    INFO(broken);
    for (const char* option : {"--trace ", "--layers "}) {
      const auto result = report(option + (dir / "bad").string());
      CHECK(result.exit_code == 1);
      CHECK(result.err.find("bad") != std::string::npos);
    }
  }
}

TEST_CASE("a headless browser draws the report") {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0) SPLITCNN_SKIP("chromium", "no chromium on this machine; the page is not rendered");
  const TemporaryFolder dir;
  (void)page_of(dir);
  const std::string command = "timeout 60 chromium --headless --no-sandbox --disable-gpu --window-size=420,2000 --user-data-dir='" + (dir / "profile").string() +
                              "' --dump-dom 'file://" + (dir / "r.html").string() + "' >'" + (dir / "dom").string() + "' 2>/dev/null";
  REQUIRE(std::system(command.c_str()) == 0);
  const std::string dom = read_text((dir / "dom").string());
  CHECK(dom.find("The network and the plan") != std::string::npos);
  CHECK(count(dom, "<svg") >= 3);
}
