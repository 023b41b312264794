#pragma once
/// Plans that were chosen before, on disk: one file per machine, program and batch size.
///
///     PlanCache cache{directory, key};
///     std::vector<CachedPlan> plans = cache.load();      // empty when there is none or anything does not
///     match cache.store(plans);                                // false when the directory cannot be
///     written; nothing else happens
///
/// File: "SCPLANS" and a version, the whole key, then per entry its length, CRC-32 and a JSON object. A
/// reader trusts nothing: another key, a broken entry or a foreign file count as no cache. A writer locks,
/// writes beside the file and renames; then the oldest files go until the directory is under its cap.
/// Runtime-compiled plans hold cuDNN's generated code: these files stay on this machine.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpu/cuda/device_properties.hpp"
#include "gpu/cuda/errata.hpp"

namespace splitcnn::inline v0::gpu::cuda {

/// What a plan depends on. Two machines with the same text may share plans.
struct PlanKey {
  std::int64_t cudnn = 0, cudart = 0, driver = 0;
  std::string device;         ///< name, sm, multiprocessors, shared memory
  std::uint64_t program = 0;  ///< TailView::hash
  std::uint32_t batch = 1;
  std::string options;  ///< cap, deterministic, tune: what changes the choice

  [[nodiscard]] std::string text() const;
};
PlanKey plan_key(const DeviceProperties& device, std::int64_t cudart, std::int64_t driver);

struct CachedPlan {
  std::uint32_t op = 0;  ///< index in the program
  std::string shape;     ///< ConvShape::text(), checked again by whoever uses the plan
  int tier = 1;
  double micros = 0;  ///< as measured when it was chosen; 0: not measured
  EngineTraits traits;
  std::string json;  ///< cuDNN's own representation; empty for tiers without a plan

  bool operator==(const CachedPlan& o) const;
};

class PlanCache {
 public:
  static constexpr std::uint64_t max_entry = 4u << 20, max_file = 64u << 20, max_directory = 256u << 20;

  /// An empty directory name turns the cache off.
  PlanCache(std::filesystem::path directory, const PlanKey& key);

  [[nodiscard]] std::vector<CachedPlan> load() const noexcept;
  bool store(const std::vector<CachedPlan>& plans) const noexcept;
  [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }

 private:
  void prune() const;

  std::filesystem::path directory_, file_;
  std::string key_;
};

/// $XDG_CACHE_HOME/splitcnn, else $HOME/.cache/splitcnn, else nothing.
std::filesystem::path default_cache_directory();

std::uint32_t crc32(const void* data, std::size_t bytes) noexcept;

}  // namespace splitcnn::inline v0::gpu::cuda
