#pragma once
/// The devices of this machine and what became of the ones asked for.
///
///     Devices devices = Devices::open("dpu:0,gpu:0,cpu");
///     for (const DeviceInfo& d : devices.list()) fmt::print("{}: {} {}\n", d.name, d.backend, d.why);
///
/// "dpu:0" alone is the board's DPU where VART is here, else the software DPU; "gpu:0" is the GPU where one
/// answers, else the CPU in FP16-storage mode, said loudly. Append "=software" or "=cudnn" to insist: then what is not
/// there throws no_device with the reason. Other back ends to insist on: "dpu:0=scalar" (reference kernels, slow),
/// "gpu:0=cpu-f16", "cpu=cpu-f16". "dpu" and "gpu" are short for number 0; upper and lower case are the same.
///
/// A DPU driven by the vendor's runtime is in another process (see DpuStage): "dpu:0=vart" or "dpu:0=local" starts one here,
/// "dpu:0=tcp://board:7700" uses the one on a board. What it runs is in DpuWorkerOptions:
///
///     Devices board = Devices::open("dpu:0=tcp://board:7700,gpu:0", {.key = "board.key", .xmodel = "head.xmodel"});
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "splitcnn/dpu_stage.hpp"
#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

struct DeviceInfo {
  std::string name;      ///< "dpu:0"
  std::string backend;   ///< "software", "cpu-f32", "cpu-f16" (stand-in for a GPU), "cudnn", "vart" (a worker process)
  std::string detail;    ///< instruction set, card, driver
  std::string why;       ///< why this back end and not the device itself; empty when it is the device itself
  int threads = 1;       ///< CPU threads its stages compute with
};

struct Profile;

struct SimulateOptions {
  /// Factor on a device's times, asked for every batch, from the device's worker: what if it slows down? Empty = 1.
  std::function<double(std::string_view device)> slowdown{};
};

/// Opened devices. Move-only; stages opened from it stay valid after it is gone.
class SPLITCNN_API Devices {
 public:
  /// Comma-separated "name[=backend][/threads]", for example "dpu:0=software,gpu:0,cpu/2"; one thread each where
  /// no number is given. Throws bad_argument, no_device, not_built, naming the position in the list.
  static Devices open(std::string_view spec);
  /// The same for DPUs in workers; `address` in `worker` is set from `spec`.
  static Devices open(std::string_view spec, const DpuWorkerOptions& worker);
  /// Virtual devices: those of the profile, each taking the time the profile says per batch and computing nothing (outputs stay zero). The
  /// back end is "virtual". For what-if runs of plans on hardware that is not here, and of its drift.
  static Devices simulate(const Profile& profile, const SimulateOptions& options = {});
  Devices(Devices&&) noexcept;
  Devices& operator=(Devices&&) noexcept;
  ~Devices();

  [[nodiscard]] std::span<const DeviceInfo> list() const noexcept;
  /// Throws no_device, naming what is open.
  [[nodiscard]] const DeviceInfo& info(std::string_view name) const;
  /// Loads one segment of a plan on its device: lowers, folds, packs weights. Throws what the stage's constructor throws.
  [[nodiscard]] std::unique_ptr<Stage> load(const Plan& plan, const Segment& segment) const;

 private:
  struct Impl;
  explicit Devices(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splitcnn::inline v0
