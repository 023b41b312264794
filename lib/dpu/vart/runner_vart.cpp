// The real runner. VART and XIR end the process on whatever they do not like, so everything is looked at
// first; what is left is the DPU itself. Works against the headers of Vitis AI 2.5, 3.0 and 3.5: no
// RunnerExt, no function that one of them lacks.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <vart/runner.hpp>
#include <vart/tensor_buffer.hpp>
#include <xir/attrs/attrs.hpp>
#include <xir/graph/graph.hpp>
#include <xir/graph/subgraph.hpp>
#include <xir/tensor/tensor.hpp>

#include "dpu/protocol/fd.hpp"
#include "dpu/vart/runner.hpp"
#include "dpu/vart/xmodel_checks.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

std::vector<std::int32_t> shape_of(const xir::Tensor* t) {
  const auto& shape = t->get_shape();
  return {shape.begin(), shape.end()};
}

TensorSpec spec_of(const std::string& file, const xir::Tensor* t) {
  const auto type = t->get_data_type();
  if (type.bit_width != 8 || (type.type != xir::DataType::XINT && type.type != xir::DataType::INT)) {
    throw Error{Errc::unsupported, "xmodel '" + file + "': tensor '" + t->get_name() + "' is not int8"};
  }
  if (!t->has_attr("fix_point"))
    throw Error{Errc::unsupported, "xmodel '" + file + "': tensor '" + t->get_name() + "' has no fix point"};
  std::vector<std::int64_t> dims;
  for (const std::int32_t d : shape_of(t)) dims.push_back(d);
  if (dims.empty() || dims.size() > Shape::max_rank)
    throw Error{Errc::unsupported,
                "xmodel '" + file + "': tensor '" + t->get_name() + "' has too many dimensions"};
  dims[0] = 1;  // of one frame; the batch is the runner's
  return {.name = t->get_name(),
          .shape = Shape{std::span<const std::int64_t>{dims}},
          .dtype = DType::i8,
          .fix_point = t->get_attr<int>("fix_point")};
}

/// Memory of ours as VART wants to see it: frames behind one another.
class Buffer final : public vart::TensorBuffer {
 public:
  explicit Buffer(const xir::Tensor* tensor) : vart::TensorBuffer{tensor}, shape_{shape_of(tensor)} {
    bytes_ = 1;
    for (const std::int32_t d : shape_) bytes_ *= static_cast<std::size_t>(d);
  }
  void point_to(std::byte* data) noexcept { data_ = data; }

  std::pair<std::uint64_t, std::size_t> data(const std::vector<std::int32_t> index = {}) override {
    std::size_t offset = 0;
    for (std::size_t i = 0; i < shape_.size(); ++i) {
      offset = offset * static_cast<std::size_t>(shape_[i]) +
               (i < index.size() ? static_cast<std::size_t>(index[i]) : 0);
    }
    return {reinterpret_cast<std::uint64_t>(data_) + offset, bytes_ - offset};
  }

 private:
  std::vector<std::int32_t> shape_;
  std::size_t bytes_ = 0;
  std::byte* data_ = nullptr;
};

/// The buffers of a batch of one size. VART takes a short batch as tensors of the same name with a smaller
/// first dimension.
struct BatchBuffers {
  std::vector<std::unique_ptr<xir::Tensor>> tensors;
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<vart::TensorBuffer*> pointers;

  BatchBuffers(const std::vector<const xir::Tensor*>& of, std::size_t frames) {
    for (const xir::Tensor* t : of) {
      auto shape = shape_of(t);
      shape[0] = static_cast<std::int32_t>(frames);
      auto tensor = xir::Tensor::create(t->get_name(), shape, t->get_data_type());
      tensor->set_attrs(t->get_attrs());
      buffers.push_back(std::make_unique<Buffer>(tensor.get()));
      pointers.push_back(buffers.back().get());
      tensors.push_back(std::move(tensor));
    }
  }
};

/// The CPU reference runner writes into ./log at every run: it gets a folder of its own to do that in.
class ReferenceFolder {
 public:
  ReferenceFolder() : back_{open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)} {
    const auto path =
        std::filesystem::temp_directory_path() / ("splitcnn-dpu-ref-" + std::to_string(getuid()));
    mkdir(path.c_str(), 0700);
    folder_ = Fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    struct stat info {};
    if (!folder_ || fstat(folder_.get(), &info) != 0 || info.st_uid != getuid())
      throw_errno(Errc::io, "a folder for the reference runner's log");
  }
  void enter() const noexcept { (void)!fchdir(folder_.get()); }
  void leave() const noexcept { (void)!fchdir(back_.get()); }

 private:
  Fd back_, folder_;
};

class VartRunner final : public Runner {
 public:
  VartRunner(const ModelRequest& request, const XmodelSubgraph& checked) : reference_{request.mode == "ref"} {
    if (reference_) folder_ = std::make_unique<ReferenceFolder>();
    graph_ = xir::Graph::deserialize(request.file);
    const xir::Graph* graph = graph_.get();
    const xir::Subgraph* chosen = nullptr;
    for (const xir::Subgraph* s : graph->get_root_subgraph()->children_topological_sort()) {
      if (s->get_name() == checked.name) chosen = s;
    }
    if (!chosen)
      throw Error{Errc::bad_model,
                  "xmodel '" + request.file + "': XIR does not see subgraph '" + checked.name + "'"};
    runner_ = vart::Runner::create_runner(chosen, request.mode);
    if (!runner_)
      throw Error{Errc::no_device,
                  "xmodel '" + request.file + "': VART gives no runner for mode '" + request.mode + "'"};
    inputs_ = runner_->get_input_tensors();
    outputs_ = runner_->get_output_tensors();
    describe(request.file, checked);
  }

  [[nodiscard]] const ModelInfo& info() const noexcept override { return info_; }

  Status run(std::size_t frames, std::span<const std::byte* const> inputs,
             std::span<std::byte* const> outputs) override {
    auto& [in, out] = buffers(frames);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      in.buffers[i]->point_to(const_cast<std::byte*>(inputs[i]));  // VART only reads it
    for (std::size_t i = 0; i < outputs.size(); ++i) out.buffers[i]->point_to(outputs[i]);
    if (reference_) folder_->enter();
    const auto [job, started] = runner_->execute_async(in.pointers, out.pointers);
    const int waited = started == 0 ? runner_->wait(static_cast<int>(job), -1) : started;
    if (reference_) folder_->leave();
    if (waited != 0)
      return {Errc::stage_failed,
              "model '" + info_.name + "': VART reports status " + std::to_string(waited)};
    return {};
  }

 private:
  void describe(const std::string& file, const XmodelSubgraph& checked) {
    if (inputs_.empty() || outputs_.empty())
      throw Error{Errc::bad_model, "xmodel '" + file + "': its DPU subgraph has no inputs or no outputs"};
    const std::int32_t batch = shape_of(inputs_[0])[0];
    info_.name = checked.name;
    info_.fingerprint = checked.fingerprint;
    info_.batch = static_cast<std::uint32_t>(std::max(batch, 1));
    for (const auto* list : {&inputs_, &outputs_}) {
      for (const xir::Tensor* t : *list) {
        (list == &inputs_ ? info_.inputs : info_.outputs).push_back(spec_of(file, t));
        if (shape_of(t)[0] != batch)
          throw Error{Errc::unsupported, "xmodel '" + file + "': its tensors have different batches"};
      }
    }
  }

  std::pair<BatchBuffers, BatchBuffers>& buffers(std::size_t frames) {
    auto& slot = batches_[frames];
    if (!slot)
      slot = std::make_unique<std::pair<BatchBuffers, BatchBuffers>>(BatchBuffers{inputs_, frames},
                                                                     BatchBuffers{outputs_, frames});
    return *slot;
  }

  bool reference_;
  std::unique_ptr<ReferenceFolder> folder_;
  std::unique_ptr<xir::Graph> graph_;  // outlives the runner and every tensor of it
  std::unique_ptr<vart::Runner> runner_;
  std::vector<const xir::Tensor*> inputs_, outputs_;
  ModelInfo info_;
  std::map<std::size_t, std::unique_ptr<std::pair<BatchBuffers, BatchBuffers>>> batches_;
};

/// VART would end the process for want of the library or of its symbol.
void check_library(const std::string& file, const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_GLOBAL);  // kept: VART opens it again
  if (!handle)
    throw Error{Errc::no_device, "xmodel '" + file + "': its runner cannot be opened: " + dlerror() +
                                     "; is it on LD_LIBRARY_PATH?"};
  if (!dlsym(handle, "create_runner"))
    throw Error{Errc::no_device,
                "xmodel '" + file + "': library '" + library + "' is no runner: it has no create_runner"};
}

}  // namespace

std::unique_ptr<Runner> open_runner(const ModelRequest& request) {
  unsetenv("ORT_ROUNDING_MODE");  // they change the arithmetic of the reference runner
  unsetenv("ORT_ROUNDING_MODE_EVEN");
  const XmodelFile file = read_xmodel(request.file);
  const XmodelSubgraph& subgraph = check_subgraph(file, request);
  check_library(request.file, subgraph.runners.at(request.mode));
  return std::make_unique<VartRunner>(request, subgraph);
}

std::string runner_backend() { return "vart"; }

}  // namespace splitcnn::inline v0::dpu
