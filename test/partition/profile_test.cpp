// Profiles as values and as files, also damaged ones.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "partition/random_profile.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn;

namespace {

struct TempFile {
  splitcnn_test::TemporaryFolder folder;
  std::filesystem::path path = folder / "profile.json";
};

std::string read(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream{path, std::ios::binary} << text;
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

Profile small() {
  Profile p;
  p.graph_hash = "0123456789abcdef";
  const double none = std::numeric_limits<double>::quiet_NaN();
  p.devices = {{"dpu:0", "software", 2, 6, {0, 1.25, 3, none}, {none, 2.5, 1.5, 0}, 0.125},
               {"gpu:0", "cpu-f16", 1, 1, {0, 1, 3, 6}, {6, 5, 3, 0}, 0.25}};
  p.links = {{"dpu:0", "gpu:0", 0.5, 1e-6}};
  p.machine = "a test";
  return p;
}

}  // namespace

TEST_CASE("segment times come from prefixes, suffixes and differences") {
  const Profile p = small();
  REQUIRE(p.segment_ms("gpu:0", 0, 2) == 3);
  REQUIRE(p.segment_ms("gpu:0", 2, 3) == 3);
  REQUIRE(p.segment_ms("gpu:0", 1, 2) == 2.25);
  REQUIRE(p.segment_ms("gpu:0", 0, 3) == 6);
  REQUIRE(p.segment_ms("gpu:0", 2, 2) == 0);
  REQUIRE(std::isnan(p.segment_ms("dpu:0", 0, 3)));
  REQUIRE(p.segment_ms("dpu:0", 1, 2) == 1.5);  // the mean of 1.75 and 1
  Profile noisy = p;
  noisy.devices[0].spread = 0.1;
  REQUIRE(noisy.segment_ms("dpu:0", 1, 2) == Approx(1.8));  // and a tenth of the prefix of 3
  REQUIRE(noisy.segment_ms("dpu:0", 0, 2) == 3);            // measured as it is
  REQUIRE(p.segment_ms("dpu:0", 2, 3) == 1.5);
  REQUIRE_THROWS_AS(p.segment_ms("gpu:0", 2, 4), Error);
  REQUIRE_THROWS_AS(p.segment_ms("gpu:0", -1, 2), Error);
  REQUIRE_THROWS_AS(p.segment_ms("gpu:1", 0, 2), Error);
  REQUIRE(p.transfer_ms("dpu:0", "gpu:0", 1000000) == Approx(1.5));
  REQUIRE(p.transfer_ms("gpu:0", "dpu:0", 1000000) == 0);
}

TEST_CASE("a profile survives its file") {
  const TempFile file;
  const Profile p = small();
  p.save(file.path);
  const Profile q = Profile::load(file.path);
  REQUIRE(q.graph_hash == p.graph_hash);
  REQUIRE(q.granularity == p.granularity);
  REQUIRE(q.origin == p.origin);
  REQUIRE(q.machine == p.machine);
  REQUIRE(q.devices.size() == p.devices.size());
  for (std::size_t i = 0; i < p.devices.size(); ++i) {
    const DeviceProfile &a = p.devices[i], &b = q.devices[i];
    REQUIRE(a.device == b.device);
    REQUIRE(a.backend == b.backend);
    REQUIRE(a.threads == b.threads);
    REQUIRE(a.batch == b.batch);
    REQUIRE(a.fixed_ms == b.fixed_ms);
    REQUIRE(a.prefix_ms.size() == b.prefix_ms.size());
    for (std::size_t k = 0; k < a.prefix_ms.size(); ++k) {
      REQUIRE(same(a.prefix_ms[k], b.prefix_ms[k]));
      REQUIRE(same(a.suffix_ms[k], b.suffix_ms[k]));
    }
  }
  REQUIRE(q.links.size() == 1);
  REQUIRE(q.links[0].fixed_ms == 0.5);
  REQUIRE(q.links[0].ms_per_byte == 1e-6);
}

TEST_CASE("damaged profiles are errors, never anything else") {
  const TempFile file;
  small().save(file.path);
  const std::string good = read(file.path);
  const auto loads = [&](const std::string& text) {
    write(file.path, text);
    try {
      (void)Profile::load(file.path);
      return Errc::ok;
    } catch (const Error& e) {
      return e.code();
    }
  };
  REQUIRE(loads(good) == Errc::ok);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
  };
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"splitcnn-profile", "splitcnn-plan"},
                                                        {"\"version\": 1", "\"version\": 2"},
                                                        {"\"measured\"", "\"guessed\""},
                                                        {"\"block\"", "\"chunk\""},
                                                        {"1.25", "-1.25"},
                                                        {"1.25", "1e999"},
                                                        {"1.25", "\"x\""},
                                                        {"1.25,", ""},
                                                        {"\"gpu:0\"", "\"dpu:0\""},
                                                        {"\"threads\": 2", "\"threads\": 0"},
                                                        {"\"batch\": 6", "\"batch\": 99999999999999999999"},
                                                        {"\"batch\": 6", "\"batch\": -6"},
                                                        {"\"links\"", "\"lynx\""}}) {
    CAPTURE(from, to);
    const std::size_t at = good.find(from);
    if (at == std::string::npos) FAIL("the file no longer has " << from);
    REQUIRE(loads(replaced(from, to)) == Errc::bad_file);
  }
  REQUIRE(loads("") == Errc::bad_file);
  REQUIRE(loads("[]") == Errc::bad_file);
  REQUIRE(loads(std::string(100000, '[')) == Errc::bad_file);
  std::filesystem::remove(file.path);
  REQUIRE_THROWS_AS(Profile::load(file.path), Error);

  std::mt19937_64 random{splitcnn_test::seed()};
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (int edits = 1 + static_cast<int>(random() % 3); edits-- > 0;) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        case 2:
          text.insert(at, 1, "0{}[],:\"-e"[random() % 10]);
          break;
        default:
          text.resize(at + 1);
          break;
      }
      if (text.empty()) text = " ";
    }
    const Errc code = loads(text);
    CAPTURE(round, text);
    REQUIRE((code == Errc::ok || code == Errc::bad_file));
  }
}
