#pragma once
/// What the opaque handles of backend.hpp are. Internal to the plug-in.
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "gpu/backend.hpp"
#include "gpu/cuda/kernels/program_calls.hpp"
#include "gpu/cuda/layer_plan.hpp"

namespace splitcnn::inline v0::gpu {

struct GpuDevice {
  int index = 0;
  GpuDeviceOptions options;
  std::string cache_directory;  ///< empty: none
  std::int64_t workspace_cap = 0, cudart = 0, driver = 0;
  std::unique_ptr<cuda::DeviceProperties> properties;
  std::atomic<bool> poisoned{false};
};

struct GpuStream {
  GpuDevice* device = nullptr;
  cuda::Stream stream;
};

struct GpuEvent {
  GpuDevice* device = nullptr;
  cuda::Event event;
};

namespace cuda {

/// The choice for every op of a program at one batch size. Ops that are no convolutions have tier own.
struct BatchPlan {
  std::vector<LayerPlan> layers;
  std::int64_t workspace = 0;  ///< the largest of the layers
  std::size_t from_cache = 0;
};

}  // namespace cuda

struct GpuSegment {
  GpuDevice* device = nullptr;
  // The program, copied: the caller's view is gone after load().
  std::vector<TailTensor> tensors;
  std::vector<TailOp> ops;
  std::vector<TailIo> inputs, outputs;
  std::vector<TailGroup> groups;
  std::vector<std::string> names;
  std::vector<std::byte> host_weights;
  TailView view;  ///< into the above
  cuda::DeviceMemory weights;
  std::mutex mutex;                                ///< of plans
  std::map<std::uint32_t, cuda::BatchPlan> plans;  ///< by batch; entries never change once there

  GpuSegment(GpuDevice* device, const TailView& program);
  /// Chooses (once) and returns. Slow the first time. Throws.
  const cuda::BatchPlan& plan(std::uint32_t batch);
  [[nodiscard]] std::string describe();
};

struct GpuContext {
  GpuSegment* segment = nullptr;
  std::uint32_t max_batch = 1;
  cuda::Stream main, side;  ///< capture, warm runs, debugging
  cuda::Event fork, join;
  std::array<cuda::DnnHandle, 2> handles;  ///< by lane
  cuda::DeviceMemory arena;
  std::array<cuda::DeviceMemory, 2> workspace;
  /// The steps of each group, by batch: in host memory for the launch's parameters, and where the kernel
  /// reads them.
  struct Group {
    cuda::DeviceMemory steps;
    std::int32_t n_steps = 0;
    std::uint32_t shared_bytes = 0;
  };
  std::map<std::uint32_t, std::vector<Group>> groups;
  struct Slot {
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    std::map<std::uint32_t, cuda::GraphExec> graphs;  ///< by batch
  };
  std::vector<Slot> slots;

  GpuContext(GpuSegment* segment, std::uint32_t slots, std::uint32_t max_batch);
  void bind(std::uint32_t slot, void* const* in, void* const* out);
  void prepare(std::uint32_t slot, std::uint32_t frames);
  void run(std::uint32_t slot, std::uint32_t frames, cudaStream_t stream);
  /// Ops [first, last) eagerly on the main stream; tier -1: as chosen.
  void debug_run(std::uint64_t first, std::uint64_t last, std::uint32_t frames, std::int32_t tier);

 private:
  [[nodiscard]] cuda::ProgramMemory memory(const Slot& slot) const;
  void enqueue(const Slot& slot, std::uint32_t frames);
  void enqueue_op(std::uint64_t index, std::uint32_t frames, const cuda::ProgramMemory& at,
                  const cuda::LayerPlan& layer);
  [[nodiscard]] cudaStream_t lane(std::uint32_t which) const { return which == 0 ? main.get() : side.get(); }
};

}  // namespace splitcnn::inline v0::gpu
