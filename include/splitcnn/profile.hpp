#pragma once
/// What running the pieces of a graph costs on each device, as a value and as a JSON file.
///
///     Profile profile = measure(parts, devices, {.progress = bar});
///     profile.save("profile.json");
///
/// A profile has, per device, the time of every prefix (nodes before cut k) and every suffix (nodes behind it), measured
/// as whole segments with their conversions, because fused segments do not add up node by node. The time of a middle segment
/// [i, j) is the mean of prefix[j] - prefix[i] and suffix[i] - suffix[j], + fixed + the run-to-run spread of the longer measurement.
#include <filesystem>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "splitcnn/device.hpp"
#include "splitcnn/plan.hpp"
#include "splitcnn/tensor.hpp"

namespace splitcnn::inline v0 {

struct DeviceProfile {
  std::string device;              ///< "dpu:0"
  std::string backend;             ///< DeviceInfo::backend at the time
  int threads = 1;
  std::size_t batch = 1;           ///< frames the device runs at once
  std::vector<double> prefix_ms{}; ///< per cut k = 0..K; NaN where the device cannot run that prefix
  std::vector<double> suffix_ms{};
  double fixed_ms = 0;             ///< cost of one more segment: submit, conversions of an empty segment
  double spread = 0;               ///< typical run-to-run spread of one piece: half the interquartile range over the median
  double watts = std::numeric_limits<double>::quiet_NaN();  ///< drawn while busy, above idle; NaN where the machine does not say
};

/// How much longer pieces of `device` take while `beside` is busy all the time (shared memory, shared power): a factor, 1 = not at all.
struct Contention {
  std::string device, beside;
  double factor = 1;
};

/// Time to move a tensor between two devices: fixed_ms + bytes * ms_per_byte. On one machine the pipeline passes pointers and both are 0.
struct Link {
  std::string from, to;
  double fixed_ms = 0;
  double ms_per_byte = 0;
  bool blocks_sender = false;  ///< the sending device waits for the transfer (then it costs that device's time), else the link is a resource of its own
};

struct Profile {
  std::string graph_hash;
  Granularity granularity = Granularity::block;
  Origin origin = Origin::measured;
  std::vector<DeviceProfile> devices;
  std::vector<Link> links;
  std::vector<Contention> contention{};  ///< per ordered pair of devices; pairs that are not there do not disturb each other
  /// Per cut: share of frames whose top-1 with the DPU in front of the cut equals float's; empty or NaN where nobody has measured it.
  std::vector<double> agreement{};
  std::size_t agreement_frames = 0;
  std::string calibration_hash{};  ///< fix points the DPU's pieces were measured with; empty without a DPU
  std::string machine{};           ///< build_info() of the measuring machine, first line

  [[nodiscard]] SPLITCNN_API const DeviceProfile& device(std::string_view name) const;  ///< throws no_device naming those there are
  /// ms per frame of units [first, last) on the device; NaN where it cannot run them.
  [[nodiscard]] SPLITCNN_API double segment_ms(std::string_view device, int first_unit, int last_unit) const;
  [[nodiscard]] SPLITCNN_API double transfer_ms(std::string_view from, std::string_view to, std::size_t bytes) const noexcept;
  [[nodiscard]] SPLITCNN_API bool blocks_sender(std::string_view from, std::string_view to) const noexcept;
  /// The factor of `device` beside a busy `beside`; 1 where nothing was measured.
  [[nodiscard]] SPLITCNN_API double contention_of(std::string_view device, std::string_view beside) const noexcept;

  SPLITCNN_API void save(const std::filesystem::path& path) const;        ///< throws io
  SPLITCNN_API static Profile load(const std::filesystem::path& path);   ///< throws io, bad_file
};

class Partitioner;

enum class MeasureDepth : std::uint8_t {
  direct,  ///< every prefix and suffix is built and timed as it is
  hooks,   ///< one build per device with timestamps inside, corrected at a few cuts timed as they are: seconds instead of minutes
};

struct MeasureOptions {
  MeasureDepth depth = MeasureDepth::direct;
  int runs = 7;                    ///< timed runs per piece after one warm-up; the median counts, so that outliers do not
  int anchors = 6;                 ///< with hooks: cuts that are also timed as they are; at least 5
  int contention_cuts = 3;         ///< cuts at which two devices are timed side by side; 0 = not at all
  /// Pieces measured so far are kept here and not measured again by a call that is otherwise the same; removed at the end. Empty = not kept.
  std::filesystem::path resume{};
  std::function<void(std::size_t, std::size_t)> progress{};  ///< (pieces done, pieces in all), never less than before
};

/// Measures every prefix and suffix of every cut on every open device, on seeded noise, and what pairs of devices do to each other. Blocks; runs on
/// the calling thread (contention: on one more). Pieces a device cannot run are NaN; a device that can run nothing is left out with
/// a warning. Watts where the machine has energy counters that may be read (RAPL, NVML); they are the whole processor's and all GPUs'. Throws the
/// stages' errors, io (resume).
[[nodiscard]] SPLITCNN_API Profile measure(const Partitioner& parts, const Devices& devices, const MeasureOptions& options = {});

/// Per cut: the share of `frames` (one f32 tensor per graph input, frame after frame) whose first class of the first output equals float's with the
/// DPU in front of the cut: what Profile::agreement holds, for limits on a plan. 1 at cut 0, NaN where the cut is not legal. Every legal
/// cut runs every frame, on the calling thread, on the first DPU and the first other device open. Throws no_device, bad_argument,
/// not_calibrated, the stages' errors.
[[nodiscard]] SPLITCNN_API std::vector<double> measure_agreement(const Partitioner& parts, const Devices& devices, std::span<const Tensor> frames,
                                                                 const std::function<void(std::size_t, std::size_t)>& progress = {});

}  // namespace splitcnn::inline v0
