// The report page: complete, self-contained, and a browser shows it.
#include "tool/tool.hpp"

using splitcnn_test::read_text;
using splitcnn_test::TempDir;
using splitcnn_test::tool;

namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

std::string page_of(const TempDir& dir) {
  const auto result = tool("report zoo:lenet5 --model zoo -o " + dir.file("r.html"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  return read_text(dir.file("r.html"));
}

}  // namespace

TEST_CASE("the report has its parts, says where its numbers come from, and needs no network") {
  const TempDir dir;
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

TEST_CASE("a headless browser draws the report") {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0) SPLITCNN_SKIP("chromium", "no chromium on this machine; the page is not rendered");
  const TempDir dir;
  (void)page_of(dir);
  const std::string command = "timeout 60 chromium --headless --no-sandbox --disable-gpu --window-size=420,2000 --user-data-dir='" + dir.file("profile") +
                              "' --dump-dom 'file://" + dir.file("r.html") + "' >'" + dir.file("dom") + "' 2>/dev/null";
  REQUIRE(std::system(command.c_str()) == 0);
  const std::string dom = read_text(dir.file("dom"));
  CHECK(dom.find("The network and the plan") != std::string::npos);
  CHECK(count(dom, "<svg") >= 3);
}
