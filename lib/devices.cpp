#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <utility>

#include "dpu/remote/process.hpp"
#include "partition/virtual_stage.hpp"
#include "plan/segment_io.hpp"
#include "splitcnn/cpu_stage.hpp"
#include "splitcnn/device.hpp"
#include "splitcnn/dpu_stage.hpp"
#include "splitcnn/gpu_stage.hpp"

namespace splitcnn::inline v0 {

struct Devices::Impl {
  std::vector<DeviceInfo> devices;
  std::vector<std::string> asked;  // per device: the back end that was insisted on, empty for automatic
  DpuWorkerOptions worker;
  std::optional<Profile> simulated;  // virtual devices: what they take
  std::shared_ptr<VirtualClocks> clocks;

  [[nodiscard]] std::string names() const {
    std::string all;
    for (const DeviceInfo& d : devices) all += (all.empty() ? "" : ", ") + d.name;
    return all;
  }
  [[nodiscard]] std::size_t find(std::string_view name) const;
};

namespace {

constexpr int most_threads = 1024;

/// One item of the list, taken apart but not yet opened.
struct Request {
  std::string name, backend;
  int threads = 1;
  std::size_t position = 0;  // from 1
};

[[noreturn]] void refuse(Errc code, std::size_t position, const std::string& item, const std::string& what) {
  throw Error{code, fmt::format("devices, number {} ('{}'): {}", position, item, what)};
}

std::string trimmed_lower(std::string_view text) {
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  std::string lower{text};
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || text.front() == '-')
    return std::nullopt;
  return value;
}

/// "dpu" and "gpu" are short for number 0; "cpu" is one name of its own. Empty when it is no device's name.
std::string full_name(std::string_view text) {
  const std::string name = trimmed_lower(text);
  if (name == "cpu") return name;
  if (name == "dpu" || name == "gpu") return name + ":0";
  const bool known = name.starts_with("dpu:") || name.starts_with("gpu:") || name.starts_with("cpu:");
  const auto index = known ? number(std::string_view{name}.substr(4)) : std::nullopt;
  return index ? fmt::format("{}:{}", name.substr(0, 3), *index) : std::string{};
}

Request parse(std::string_view text, std::size_t position) {
  const std::string item = trimmed_lower(text);
  if (item.empty())
    refuse(Errc::bad_argument, position, item, "is empty; write for example \"dpu:0,gpu:0,cpu\"");
  Request request{.position = position};
  std::string_view rest = item;
  const std::size_t equals = rest.find('=');
  // An address has slashes of its own: threads are split off only where there is none.
  const bool address = equals != std::string_view::npos && rest.find("://", equals) != std::string_view::npos;
  if (const std::size_t slash = rest.rfind('/'); slash != std::string_view::npos && !address) {
    const auto threads = number(rest.substr(slash + 1));
    if (!threads || *threads < 1 || *threads > most_threads) {
      refuse(Errc::bad_argument, position, item,
             fmt::format("the thread count behind '/' is not a number from 1 to {}", most_threads));
    }
    request.threads = *threads;
    rest = rest.substr(0, slash);
  }
  if (equals != std::string_view::npos) {
    if (equals < rest.size()) request.backend = trimmed_lower(rest.substr(equals + 1));
    if (request.backend.empty())
      refuse(Errc::bad_argument, position, item,
             "no back end behind '='; leave both out for the best there is");
    rest = rest.substr(0, equals);
  }
  request.name = full_name(rest);
  if (request.name.empty())
    refuse(Errc::bad_argument, position, item, "is not a device; there are dpu:N, gpu:N and cpu");
  return request;
}

[[noreturn]] void unknown_backend(const Request& r, const char* known) {
  refuse(Errc::bad_argument, r.position, r.name + "=" + r.backend,
         fmt::format("unknown back end; {} has {}", r.name, known));
}

/// "oneDNN 2.6.0 (AVX512-VNNI)", from the line build_info() prints.
std::string onednn_line() {
  const std::string info = build_info();
  const std::size_t begin = info.find("oneDNN");
  if (begin == std::string::npos) return {};
  return info.substr(begin, info.find('\n', begin) - begin);
}

bool is_worker(const Request& r) { return r.backend == "vart" || r.backend == "local" || r.backend.find("://") != std::string::npos; }

/// Where a DPU's worker is: what stands behind '='.
std::string worker_address(const std::string& backend) { return backend == "vart" ? "local" : backend; }

DeviceInfo open_worker(const Request& r, const DpuWorkerOptions& worker) {
  DeviceInfo info{.name = r.name, .backend = "vart", .detail = "worker at " + worker_address(r.backend), .threads = r.threads};
  if (info.detail.find("://") != std::string::npos) {
    if (!r.backend.starts_with("tcp://")) unknown_backend(r, "the addresses local and tcp://HOST:PORT");
    return info;
  }
  try {
    info.detail += ", " + dpu::find_worker(worker.program).string();
  } catch (const Error& e) {
    refuse(e.code(), r.position, r.name + "=" + r.backend, std::string{e.what()} + "; or leave out \"=" + r.backend + "\" for the software DPU, which computes the same bytes");
  }
  return info;
}

DeviceInfo open_dpu(const Request& r, const DpuWorkerOptions& worker) {
  if (is_worker(r)) return open_worker(r, worker);
  DeviceInfo info{.name = r.name, .backend = "software", .detail = onednn_line(), .threads = r.threads};
  if (r.backend.empty()) {
    info.why = "VART runs in a worker process and none was asked for (dpu:0=local, dpu:0=tcp://board:7700): the software DPU computes the same bytes on the CPU";
  } else if (r.backend == "software") {
    info.why = "asked for";
  } else if (r.backend == "scalar") {
    info.detail = "reference kernels";
    info.why = "asked for";
  } else {
    unknown_backend(r, "software, scalar, vart (or local) and tcp://HOST:PORT");
  }
  return info;
}

DeviceInfo open_gpu(const Request& r) {
  DeviceInfo info{.name = r.name, .backend = "cpu-f16", .threads = r.threads};
  if (r.backend == "cpu-f16") {
    info.why = "asked for";
  } else if (r.backend.empty() || r.backend == "cudnn") {
    std::string reason;
    if (GpuStage::available(&reason, number(std::string_view{r.name}.substr(4)).value_or(0))) {
      info.backend = "cudnn";
      info.detail = reason;
      return info;
    }
    if (r.backend == "cudnn") {
      refuse(Errc::no_device, r.position, r.name + "=cudnn",
             reason + "; leave out \"=cudnn\" for the CPU in its place");
    }
    info.why = reason + ": the CPU stands in, storing FP16";
  } else {
    unknown_backend(r, "cudnn and cpu-f16");
  }
  info.detail = onednn_line();
  return info;
}

DeviceInfo open_cpu(const Request& r) {
  if (!r.backend.empty() && r.backend != "cpu-f32" && r.backend != "cpu-f16")
    unknown_backend(r, "cpu-f32 and cpu-f16");
  return {.name = r.name,
          .backend = r.backend.empty() ? "cpu-f32" : r.backend,
          .detail = onednn_line(),
          .why = r.backend == "cpu-f16" ? "asked for" : "",
          .threads = r.threads};
}

}  // namespace

std::size_t Devices::Impl::find(std::string_view name) const {
  const std::string full = full_name(name);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    if (devices[i].name == full) return i;
  }
  throw Error{Errc::no_device,
              fmt::format("device '{}': is not open; open are {}; name it in Devices::open", name, names())};
}

Devices Devices::open(std::string_view spec) { return open(spec, {}); }

Devices Devices::open(std::string_view spec, const DpuWorkerOptions& worker) {
  auto impl = std::make_unique<Impl>();
  impl->worker = worker;
  for (std::size_t begin = 0, position = 1; begin <= spec.size(); ++position) {
    const std::size_t end = std::min(spec.find(',', begin), spec.size());
    const Request r = parse(spec.substr(begin, end - begin), position);
    for (std::size_t i = 0; i < impl->devices.size(); ++i) {
      if (impl->devices[i].name == r.name) {
        refuse(Errc::bad_argument, position, r.name,
               fmt::format("is already number {}; name every device once", i + 1));
      }
    }
    switch (device_kind(r.name)) {
      case DeviceKind::dpu:
        impl->devices.push_back(open_dpu(r, worker));
        break;
      case DeviceKind::gpu:
        impl->devices.push_back(open_gpu(r));
        break;
      case DeviceKind::cpu:
        impl->devices.push_back(open_cpu(r));
        break;
    }
    impl->asked.push_back(r.backend);
    begin = end + 1;
  }
  return Devices{std::move(impl)};
}

Devices Devices::simulate(const Profile& profile, const SimulateOptions& options) {
  auto impl = std::make_unique<Impl>();
  for (const DeviceProfile& d : profile.devices) {
    impl->devices.push_back({.name = d.device,
                             .backend = "virtual",
                             .detail = fmt::format("takes the {} time of {}", to_string(profile.origin), d.backend),
                             .why = "asked for"});
    impl->asked.emplace_back("virtual");
  }
  impl->simulated = profile;
  impl->clocks = std::make_shared<VirtualClocks>();
  impl->clocks->slowdown = options.slowdown;
  return Devices{std::move(impl)};
}

Devices::Devices(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Devices::Devices(Devices&&) noexcept = default;
Devices& Devices::operator=(Devices&&) noexcept = default;
Devices::~Devices() = default;

std::span<const DeviceInfo> Devices::list() const noexcept { return impl_->devices; }
const DeviceInfo& Devices::info(std::string_view name) const { return impl_->devices[impl_->find(name)]; }

std::unique_ptr<Stage> Devices::load(const Plan& plan, const Segment& segment) const {
  const std::size_t i = impl_->find(segment.device);
  if (impl_->simulated) return virtual_stage(plan, segment, *impl_->simulated, impl_->clocks);
  const DeviceInfo& info = impl_->devices[i];
  const std::string& asked = impl_->asked[i];
  switch (device_kind(info.name)) {
    case DeviceKind::dpu: {
      DpuStageOptions options{.backend = asked == "scalar" ? DpuBackend::scalar : DpuBackend::automatic, .threads = info.threads, .worker = impl_->worker};
      if (info.backend == "vart") {
        options.backend = DpuBackend::vart;
        options.worker.address = worker_address(asked);
      }
      return std::make_unique<DpuStage>(plan, segment, options);
    }
    case DeviceKind::gpu:
      if (asked == "cpu-f16") break;
      return std::make_unique<GpuStage>(
          plan, segment,
          GpuStageOptions{.backend = asked == "cudnn" ? GpuBackend::cudnn : GpuBackend::automatic,
                          .threads = info.threads});
    case DeviceKind::cpu:
      break;
  }
  const DType storage = info.backend == "cpu-f16" ? DType::f16 : DType::f32;
  return std::make_unique<CpuStage>(plan, segment,
                                    CpuStageOptions{.storage = storage, .threads = info.threads});
}

}  // namespace splitcnn::inline v0
