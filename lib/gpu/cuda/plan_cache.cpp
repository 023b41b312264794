#include "gpu/cuda/plan_cache.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/json_file.hpp"

namespace splitcnn::inline v0::gpu::cuda {

namespace {

namespace fs = std::filesystem;

constexpr char magic[8] = {'S', 'C', 'P', 'L', 'A', 'N', 'S', '1'};

std::uint64_t fnv(const std::string& text) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

void put(std::string& to, std::uint32_t v) {
  for (int shift = 0; shift < 32; shift += 8) to.push_back(static_cast<char>(v >> shift & 0xff));
}
void put_block(std::string& to, const std::string& block) {
  put(to, static_cast<std::uint32_t>(block.size()));
  put(to, crc32(block.data(), block.size()));
  to += block;
}

/// Reads blocks; once anything is wrong everything is.
class Reader {
 public:
  explicit Reader(std::string bytes) : bytes_{std::move(bytes)} {}

  bool skip(const char* text, std::size_t n) {
    if (bytes_.size() - at_ < n || std::memcmp(bytes_.data() + at_, text, n) != 0) return false;
    at_ += n;
    return true;
  }
  std::optional<std::string> block() {
    const auto size = number(), crc = number();
    if (!size || !crc || *size > PlanCache::max_entry || bytes_.size() - at_ < *size) return std::nullopt;
    std::string text = bytes_.substr(at_, *size);
    at_ += *size;
    if (crc32(text.data(), text.size()) != *crc) return std::nullopt;
    return text;
  }
  std::optional<std::uint32_t> number() {
    if (bytes_.size() - at_ < 4) return std::nullopt;
    std::uint32_t v = 0;
    for (int i = 0; i < 4; ++i) v |= std::uint32_t{static_cast<unsigned char>(bytes_[at_++])} << (8 * i);
    return v;
  }
  [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

std::string to_text(const CachedPlan& p) {
  return nlohmann::json{{"op", p.op},
                        {"shape", p.shape},
                        {"tier", p.tier},
                        {"us", p.micros},
                        {"engine", p.traits.engine},
                        {"runtime_compiled", p.traits.runtime_compiled},
                        {"nondeterministic", p.traits.nondeterministic},
                        {"reduced_precision", p.traits.reduced_precision},
                        {"cublaslt", p.traits.needs_cublaslt},
                        {"plan", p.json}}
      .dump();
}

CachedPlan from_text(const std::string& text) {
  const auto v = nlohmann::json::parse(text);
  return {.op = v.at("op").get<std::uint32_t>(),
          .shape = v.at("shape").get<std::string>(),
          .tier = v.at("tier").get<int>(),
          .micros = v.at("us").get<double>(),
          .traits = {v.at("engine").get<std::int64_t>(), v.at("runtime_compiled").get<bool>(),
                     v.at("nondeterministic").get<bool>(), v.at("reduced_precision").get<bool>(),
                     v.at("cublaslt").get<bool>()},
          .json = v.at("plan").get<std::string>()};
}

/// One writer per directory at a time; released with the descriptor. A file system without locks gets none:
/// the rename is atomic anyway.
class Lock {
 public:
  explicit Lock(const fs::path& path) : fd_{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)} {
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  ~Lock() {
    if (fd_ >= 0) ::close(fd_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int fd_;
};

}  // namespace

std::uint32_t crc32(const void* data, std::size_t bytes) noexcept {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int k = 0; k < 8; ++k) t[i] = t[i] & 1 ? t[i] >> 1 ^ 0xedb88320u : t[i] >> 1;
    }
    return t;
  }();
  std::uint32_t crc = ~std::uint32_t{0};
  const auto* p = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xff];
  return ~crc;
}

bool CachedPlan::operator==(const CachedPlan& o) const { return to_text(*this) == to_text(o); }

std::string PlanKey::text() const {
  return fmt::format("cudnn {} cudart {} driver {} device {} program {:016x} batch {} {}", cudnn, cudart,
                     driver, device, program, batch, options);
}

PlanKey plan_key(const DeviceProperties& device, std::int64_t cudart, std::int64_t driver) {
  return {.cudnn = static_cast<std::int64_t>(cudnnGetVersion()),
          .cudart = cudart,
          .driver = driver,
          .device = fmt::format("{} sm_{} x{} shared {}", device.name(), device.sm(),
                                device.multiprocessors(), device.shared_memory()),
          .options = {}};
}

PlanCache::PlanCache(fs::path directory, const PlanKey& key)
    : directory_{std::move(directory)}, key_{key.text()} {
  if (!directory_.empty()) file_ = directory_ / fmt::format("plans-{:016x}.bin", fnv(key_));
}

std::vector<CachedPlan> PlanCache::load() const noexcept try {
  std::error_code ignored;
  if (file_.empty() || !fs::is_regular_file(file_, ignored) || fs::file_size(file_, ignored) > max_file)
    return {};
  std::ifstream in{file_, std::ios::binary};
  Reader reader{std::string{std::istreambuf_iterator<char>{in}, {}}};
  if (!reader.skip(magic, sizeof magic) || reader.block() != key_) return {};
  const auto count = reader.number();
  if (!count) return {};
  std::vector<CachedPlan> plans;
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto text = reader.block();
    if (!text) return {};
    plans.push_back(from_text(*text));
  }
  if (!reader.at_end()) return {};
  return plans;
} catch (...) {
  return {};
}

bool PlanCache::store(const std::vector<CachedPlan>& plans) const noexcept try {
  if (file_.empty()) return false;
  std::string bytes{magic, sizeof magic};
  put_block(bytes, key_);
  put(bytes, static_cast<std::uint32_t>(plans.size()));
  for (const CachedPlan& p : plans) {
    const std::string text = to_text(p);
    if (text.size() > max_entry) return false;
    put_block(bytes, text);
  }
  if (bytes.size() > max_file) return false;
  fs::create_directories(directory_);
  const Lock lock{directory_ / "lock"};
  write_text(file_, bytes);
  prune();
  return true;
} catch (...) {
  return false;
}

void PlanCache::prune() const {
  struct Old {
    fs::file_time_type time;
    std::uint64_t bytes;
    fs::path path;
  };
  std::vector<Old> files;
  std::uint64_t total = 0;
  for (const auto& entry : fs::directory_iterator{directory_}) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.rfind("plans-", 0) != 0 || entry.path().extension() != ".bin")
      continue;
    files.push_back({entry.last_write_time(), entry.file_size(), entry.path()});
    total += files.back().bytes;
  }
  std::sort(files.begin(), files.end(), [](const Old& a, const Old& b) { return a.time < b.time; });
  for (const Old& f : files) {
    if (total <= max_directory) return;
    if (f.path == file_) continue;
    fs::remove(f.path);
    total -= f.bytes;
  }
}

fs::path default_cache_directory() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) return fs::path{xdg} / "splitcnn";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path{home} / ".cache" / "splitcnn";
  return {};
}

}  // namespace splitcnn::inline v0::gpu::cuda
