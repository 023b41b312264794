// The plan cache trusts nothing it reads.
#include "gpu/cuda/plan_cache.hpp"

#include <unistd.h>

#include <fstream>
#include <thread>

#include "gpu/tail_cases.hpp"
#include "support/temporary_folder.hpp"

using namespace splitcnn::gpu::cuda;
namespace fs = std::filesystem;

namespace {

PlanKey key(std::uint64_t program = 1) {
  return {.cudnn = 91900,
          .cudart = 13000,
          .driver = 13000,
          .device = "some GPU sm_90",
          .program = program,
          .batch = 4,
          .options = "cap 64"};
}

std::vector<CachedPlan> plans() {
  return {{.op = 0,
           .shape = "n1 8x8x8",
           .tier = 1,
           .micros = 3.25,
           .traits = {.engine = 10, .nondeterministic = true},
           .json = "{\"a\": [1, 2]}"},
          {.op = 3, .shape = "n1 1x1x512", .tier = 5, .json = std::string(3000, 'x')}};
}

std::string bytes_of(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

void write(const fs::path& file, const std::string& bytes) { std::ofstream{file, std::ios::binary} << bytes; }

}  // namespace

TEST_CASE("the plan cache gives back what it was given") {
  const splitcnn_test::TemporaryFolder folder;
  const PlanCache cache{folder / "deep" / "er", key()};
  CHECK(cache.load().empty());
  REQUIRE(cache.store(plans()));
  CHECK(cache.load() == plans());
  REQUIRE(cache.store({plans()[1]}));  // replaces
  CHECK(cache.load() == std::vector{plans()[1]});
  CHECK(crc32("123456789", 9) == 0xcbf43926u);
}

TEST_CASE("another key is another cache, even in the same file") {
  const splitcnn_test::TemporaryFolder folder;
  const PlanCache cache{folder.path(), key()};
  REQUIRE(cache.store(plans()));
  std::vector<PlanKey> others(7, key());
  others[0].cudnn += 1;
  others[1].cudart += 1;
  others[2].driver += 1;
  others[3].device += "x";
  others[4].program += 1;
  others[5].batch += 1;
  others[6].options += "x";
  for (const PlanKey& other : others) {
    const PlanCache second{folder.path(), other};
    CHECK(second.load().empty());
    CHECK(second.file() != cache.file());
    fs::copy_file(cache.file(), second.file());  // as if two keys had one hash
    CHECK(second.load().empty());
  }
}

TEST_CASE("a damaged cache file counts as none") {
  const splitcnn_test::TemporaryFolder folder;
  const PlanCache cache{folder.path(), key()};
  REQUIRE(cache.store(plans()));
  const std::string good = bytes_of(cache.file());
  REQUIRE(good.size() > 3000);
  for (std::size_t i = 0; i < good.size(); i += i < 400 ? 1 : 37) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    write(cache.file(), bad);
    INFO("byte " << i);
    REQUIRE(cache.load().empty());
  }
  for (std::size_t n = 0; n < good.size(); n += n < 400 ? 1 : 53) {
    write(cache.file(), good.substr(0, n));
    REQUIRE(cache.load().empty());
  }
  write(cache.file(), good + "x");
  CHECK(cache.load().empty());
  write(cache.file(), good);
  CHECK(cache.load() == plans());
}

TEST_CASE("a cache that cannot be is no error") {
  const splitcnn_test::TemporaryFolder folder;
  CHECK(!PlanCache({}, key()).store(plans()));
  CHECK(PlanCache({}, key()).load().empty());
  fs::create_directories(folder.path());
  write(folder / "file", "x");
  CHECK(!PlanCache(folder / "file", key()).store(plans()));  // a file where the directory should be
  auto large = plans();
  large[0].json.assign(PlanCache::max_entry + 1, 'x');
  CHECK(!PlanCache(folder.path(), key()).store(large));
}

TEST_CASE("the oldest files go when the directory is full") {
  const splitcnn_test::TemporaryFolder folder;
  fs::create_directories(folder.path());
  const auto now = fs::file_time_type::clock::now();
  for (int i = 0; i < 6; ++i) {  // 6 x 60 MB that take no room on the disk
    const fs::path file = folder / ("plans-" + std::to_string(i) + ".bin");
    write(file, "");
    fs::resize_file(file, 60u << 20);
    fs::last_write_time(file, now - std::chrono::hours{10 - i});
  }
  write(folder / "other.bin", "stays");
  REQUIRE(PlanCache(folder.path(), key()).store(plans()));
  CHECK(!fs::exists(folder / "plans-0.bin"));
  CHECK(!fs::exists(folder / "plans-1.bin"));
  CHECK(fs::exists(folder / "plans-2.bin"));
  CHECK(fs::exists(folder / "other.bin"));
  CHECK(PlanCache(folder.path(), key()).load() == plans());
}

TEST_CASE("writers and readers of one cache file never see half of one") {
  const splitcnn_test::TemporaryFolder folder;
  const PlanCache cache{folder.path(), key()};
  REQUIRE(cache.store(plans()));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        if (t == 0)
          wrong += !cache.store(plans());
        else
          wrong += cache.load() != plans();
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
}
