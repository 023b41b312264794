#pragma once
/// The plug-in boundary: what libsplitcnn_cuda.so (or a fake one) offers to the library. The library never
/// links CUDA: it dlopens the plug-in with RTLD_NOW | RTLD_LOCAL, asks one C symbol for a table of functions,
/// and never dlcloses it.
///
///     extern "C" const GpuApi* splitcnn_gpu_api(std::uint32_t abi) {  // in the plug-in, default visibility
///       return abi == gpu_abi ? &table : nullptr;
///     }
///     const GpuPlugin plugin = load_plugin();                         // gpu/plugin.hpp, in the library
///     GpuDevice* device = nullptr;
///     GpuError error{};
///     if (plugin.api->open(0, &options, &device, &error) != GpuCode::ok) say(error.text);
///
/// Division of labour. The plug-in executes: memory, streams, events, copies, one segment's layers. The
/// library decides: which op is where (tail/), which copy waits for which compute (transfer/), what to do
/// after an error (gpu_stage).
///
/// Errors: every function returns a GpuCode and, when `error` is not null, fills it with a sentence
/// "<thing>: what is wrong; what to do". Nothing throws across the boundary. A function that fails leaves its
/// output parameter null.
///
/// Threads: device and segment functions from any thread, one at a time per segment. A GpuContext belongs to
/// one thread at a time. Streams and events may be used by several threads. Handles are destroyed by whoever
/// created them, after their users.
///
/// HOT functions (marked) neither allocate host memory, nor lock across devices, nor log.
#include <cstdint>

#include "gpu/tail/tail_ir.hpp"

namespace splitcnn::inline v0::gpu {

constexpr std::uint32_t gpu_abi = 1;
constexpr const char* gpu_symbol = "splitcnn_gpu_api";

enum class GpuCode : std::int32_t {
  ok = 0,
  not_ready,    ///< event_query: not yet
  timeout,      ///< event_wait: the time has passed; may be called again
  no_device,    ///< no driver, no GPU, a GPU nobody can use: GpuError::native is 35, 34, 100, 803, 999, ...
  no_library,   ///< cuDNN or another library is missing or the wrong version: error.text has the loader's
                ///< words
  unsupported,  ///< this op or program cannot run on this device
  out_of_memory,
  bad_argument,
  failed,    ///< this call failed, the device goes on
  poisoned,  ///< a sticky error (700, 719, ...): every handle of this device is dead; close it and open it
             ///< again
};

struct GpuError {
  GpuCode code = GpuCode::ok;
  std::int32_t native = 0;  ///< cudaError_t or cudnnStatus_t, 0 when neither
  char text[376] = {};      ///< always terminated
};

struct GpuDevice;  // the plug-in's own
struct GpuSegment;
struct GpuContext;
struct GpuStream;
struct GpuEvent;

struct GpuDeviceInfo {
  char name[128] = {};       ///< "NVIDIA H200"
  char libraries[160] = {};  ///< "CUDA 13.0, driver 580.95, cuDNN 9.19.0"
  std::int32_t sm = 0;       ///< 90 for sm_90
  std::int32_t multiprocessors = 0;
  std::uint64_t memory_bytes = 0;
};

enum class GpuTune : std::uint32_t {
  off,
  fast,
  full
};  ///< off: first working plan; fast: cache or heuristics and a short timing; full: everything

struct GpuDeviceOptions {
  GpuTune tune = GpuTune::fast;
  std::uint32_t deterministic = 0;    ///< 1: no engine that may differ from run to run
  std::uint32_t batch_invariant = 0;  ///< 1: the same engine for every batch size
  std::uint32_t spin = 0;             ///< 1: event_wait spins (lowest latency), 0: sleeps
  std::uint64_t workspace_cap = 0;    ///< bytes; 0 = 64 MiB, 16 MiB on cards of 8 GB and less
  const char* cache_dir =
      nullptr;  ///< plan cache; null = $XDG_CACHE_HOME/splitcnn or ~/.cache/splitcnn; "" = none
};

enum class GpuCopy : std::uint32_t { host_to_device, device_to_host, device_to_device };
enum class GpuHostMemory : std::uint32_t { pageable, io };  ///< io: a mapped BAR (cudaHostRegisterIoMemory)

/// Memory both sides can name. `host` is null for device-only memory, `device` is null where the GPU cannot
/// read it in place.
struct GpuBuffer {
  void* host = nullptr;
  void* device = nullptr;
  std::uint64_t bytes = 0;
};

struct GpuApi {
  std::uint32_t abi = gpu_abi;
  std::uint32_t bytes = sizeof(GpuApi);
  const char* name = "";  ///< "cudnn"; a fake says "fake"

  // ---- what is there; cheap, loads nothing but the driver ----
  /// Number of usable devices. 0 is not ok: the code and error say why there is none.
  GpuCode (*device_count)(std::int32_t* count, GpuError* error);
  GpuCode (*device_info)(std::int32_t index, GpuDeviceInfo* info, GpuError* error);

  // ---- devices ----
  /// `options` is copied. Several opens of one index share nothing but the hardware.
  GpuCode (*open)(std::int32_t index, const GpuDeviceOptions* options, GpuDevice** device, GpuError* error);
  /// Also of a poisoned device: frees what can be freed, resets the primary context when it was the last one.
  /// Never fails.
  void (*close)(GpuDevice* device);

  // ---- memory ----
  /// Pinned, portable, mapped; 4096-byte aligned; buffer->device is its address on the GPU.
  GpuCode (*host_alloc)(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, GpuError* error);
  void (*host_free)(GpuDevice* device, const GpuBuffer* buffer);
  /// 256-byte aligned, zeroed; buffer->host is null.
  GpuCode (*device_alloc)(GpuDevice* device, std::uint64_t bytes, GpuBuffer* buffer, GpuError* error);
  void (*device_free)(GpuDevice* device, const GpuBuffer* buffer);
  /// Registers memory that exists (a BAR, an XRT buffer mapped by its producer). buffer->host = host on
  /// return.
  GpuCode (*host_register)(GpuDevice* device, void* host, std::uint64_t bytes, GpuHostMemory kind,
                           GpuBuffer* buffer, GpuError* error);
  void (*host_unregister)(GpuDevice* device, const GpuBuffer* buffer);
  /// Imports a dma-buf; the caller keeps its descriptor. buffer->host is null.
  GpuCode (*dmabuf_import)(GpuDevice* device, std::int32_t fd, std::uint64_t bytes, GpuBuffer* buffer,
                           GpuError* error);
  void (*dmabuf_release)(GpuDevice* device, const GpuBuffer* buffer);

  // ---- streams and events ----
  GpuCode (*stream_create)(GpuDevice* device, GpuStream** stream, GpuError* error);
  void (*stream_destroy)(GpuStream* stream);
  GpuCode (*event_create)(GpuDevice* device, GpuEvent** event,
                          GpuError* error);  ///< without timing; complete until first recorded
  void (*event_destroy)(GpuEvent* event);
  GpuCode (*event_record)(GpuEvent* event, GpuStream* stream, GpuError* error);  ///< HOT
  GpuCode (*stream_wait)(GpuStream* stream, GpuEvent* event, GpuError* error);   ///< HOT
  GpuCode (*event_query)(GpuEvent* event, GpuError* error);  ///< HOT; ok, not_ready, or the stream's failure
  GpuCode (*event_wait)(GpuEvent* event, std::int64_t timeout_ns,
                        GpuError* error);  ///< HOT; ok, timeout, or the failure; < 0: for ever
  GpuCode (*copy)(GpuStream* stream, void* to, const void* from, std::uint64_t bytes, GpuCopy kind,
                  GpuError* error);  ///< HOT

  // ---- segments ----
  /// ok, or unsupported with the reason, for one op of a program. Needs no memory on the device.
  GpuCode (*supports)(GpuDevice* device, const TailView* program, std::uint64_t op, GpuError* error);
  /// Uploads the weights, chooses plans. `program` may go away afterwards. May take seconds (error is
  /// null-safe, as everywhere).
  GpuCode (*load)(GpuDevice* device, const TailView* program, GpuSegment** segment, GpuError* error);
  void (*unload)(GpuSegment* segment);
  /// One line of JSON about tiers, engines, workspace and the plan cache, cut at `size` (terminated). Returns
  /// the full length.
  std::uint64_t (*describe)(GpuSegment* segment, char* text, std::uint64_t size);

  // ---- contexts: arena, workspace, handles and graphs of one request at a time ----
  /// `slots` sets of io addresses, batches up to `max_batch` (a member of tail_batches). Arena and workspace
  /// are allocated here, once.
  GpuCode (*context_create)(GpuSegment* segment, std::uint32_t slots, std::uint32_t max_batch,
                            GpuContext** context, GpuError* error);
  void (*context_destroy)(GpuContext* context);
  /// The addresses (device side) that slot's entry ops read and exit ops write: n_inputs and n_outputs
  /// pointers, batch-contiguous frames. They stay valid until the slot is bound again or the context is
  /// destroyed. An entry may name mapped pinned memory (zero copy).
  GpuCode (*context_bind)(GpuContext* context, std::uint32_t slot, void* const* inputs, void* const* outputs,
                          GpuError* error);
  /// Everything slow for this slot and batch: warm run, stream capture, instantiate, upload. `frames` is a
  /// member of tail_batches.
  GpuCode (*context_prepare)(GpuContext* context, std::uint32_t slot, std::uint32_t frames, GpuError* error);
  /// Enqueues one run on `stream`; prepares first if that was not done. `frames` is a member of tail_batches.
  GpuCode (*context_run)(GpuContext* context, std::uint32_t slot, std::uint32_t frames, GpuStream* stream,
                         GpuError* error);  ///< HOT

  // ---- for tests: op by op, eager, synchronous ----
  /// Bytes of an arena tensor of a batch of `frames`, padding and all, to and from host memory (frames *
  /// frame_elements * 2 bytes).
  GpuCode (*debug_write)(GpuContext* context, std::uint32_t tensor, std::uint32_t frames, const void* data,
                         GpuError* error);
  GpuCode (*debug_read)(GpuContext* context, std::uint32_t tensor, std::uint32_t frames, void* data,
                        GpuError* error);
  /// Runs ops [first, last) of slot 0 one after another. tier: -1 as chosen, else 0..5 insists (unsupported
  /// where that tier has no plan).
  GpuCode (*debug_run)(GpuContext* context, std::uint64_t first, std::uint64_t last, std::uint32_t frames,
                       std::int32_t tier, GpuError* error);
};

using GpuApiFunction = const GpuApi* (*)(std::uint32_t abi);

}  // namespace splitcnn::inline v0::gpu
