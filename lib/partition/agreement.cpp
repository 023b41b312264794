// Profile::agreement: what the DPU in front of a cut does to the network's answers.
#include <algorithm>
#include <cmath>
#include <map>

#include "plan/segment_io.hpp"
#include "splitcnn/partitioner.hpp"

namespace splitcnn::inline v0 {

namespace {

using Carried = std::map<std::string, Tensor>;

/// One frame through the stages of a route, tensors handed on by name.
void run_frame(std::span<const std::unique_ptr<Stage>> stages, Carried& carried) {
  for (const auto& stage : stages) {
    std::vector<TensorView> in, out;
    for (const TensorSpec& spec : stage->inputs()) in.push_back(carried.at(spec.name).view());
    for (const TensorSpec& spec : stage->outputs()) {
      carried.insert_or_assign(spec.name, Tensor{spec});
      out.push_back(carried.at(spec.name).view());
    }
    const Status status = stage->wait(stage->submit({1, in, out}), Clock::now() + std::chrono::minutes{5});
    if (!status.ok()) throw Error{status.code, stage->name() + ": " + status.message};
  }
}

/// The first class of the first output, frame by frame.
std::vector<std::ptrdiff_t> classes(const Plan& plan, const Devices& devices,
                                    std::span<const Tensor> frames) {
  std::vector<std::unique_ptr<Stage>> stages;
  for (const Segment& segment : plan.route(0).segments) stages.push_back(devices.load(plan, segment));
  for (const auto& stage : stages) stage->prepare();
  const Graph& graph = plan.graph();
  const std::size_t inputs = graph.inputs().size();
  std::vector<std::ptrdiff_t> result;
  for (std::size_t f = 0; f + inputs <= frames.size(); f += inputs) {
    Carried carried;
    for (std::size_t i = 0; i < inputs; ++i)
      carried.insert_or_assign(graph.tensor(graph.inputs()[i]).name, frames[f + i]);
    run_frame(stages, carried);
    const auto scores = carried.at(graph.tensor(graph.outputs()[0]).name).as<float>();
    result.push_back(std::max_element(scores.begin(), scores.end()) - scores.begin());
  }
  return result;
}

std::string first_device(const Devices& devices, bool dpu) {
  for (const DeviceInfo& info : devices.list()) {
    if ((device_kind(info.name) == DeviceKind::dpu) == dpu) return info.name;
  }
  throw Error{Errc::no_device, dpu ? "agreement: no DPU is open; open \"dpu:0,cpu\""
                                   : "agreement: no float device is open; open \"dpu:0,cpu\""};
}

}  // namespace

std::vector<double> measure_agreement(const Partitioner& parts, const Devices& devices,
                                      std::span<const Tensor> frames,
                                      const std::function<void(std::size_t, std::size_t)>& progress) {
  const std::size_t inputs = parts.graph().inputs().size();
  if (frames.empty() || frames.size() % inputs != 0) {
    throw Error{Errc::bad_argument,
                "agreement: give at least one frame, as one tensor per input of the graph"};
  }
  const std::string dpu = first_device(devices, true), rest = first_device(devices, false);
  const std::vector<std::string> all_float(parts.units().size(), rest);
  const std::vector<std::ptrdiff_t> expected = classes(parts.switched(all_float), devices, frames);
  std::vector<double> agreement;
  for (const Cut& cut : parts.cuts()) {
    double share = cut.k == 0 ? 1 : std::nan("");
    if (cut.k > 0 && cut.legal) {
      const std::vector<std::ptrdiff_t> got = classes(parts.split_at(cut.k, dpu, rest), devices, frames);
      std::size_t equal = 0;
      for (std::size_t f = 0; f < got.size(); ++f) equal += got[f] == expected[f];
      share = static_cast<double>(equal) / static_cast<double>(got.size());
    }
    agreement.push_back(share);
    if (progress) progress(agreement.size(), parts.cuts().size());
  }
  return agreement;
}

}  // namespace splitcnn::inline v0
