#pragma once
/// The recording's file: a magic, a header (JSON, its length in front), then one entry per batch in the order
/// they were completed.
#include <array>
#include <cstdint>
#include <fstream>
#include <mutex>

#include "splitcnn/replay.hpp"

namespace splitcnn::inline v0 {

constexpr std::array<char, 8> recording_magic{'S', 'P', 'L', 'I', 'T', 'R', 'C', '1'};
constexpr const char* recording_format = "splitcnn-recording";
constexpr int recording_version = 1;
constexpr std::uint32_t most_header_bytes = 16u << 20;

/// In front of the tensors of a batch: inputs, then outputs, frame by frame. Host byte order (files are for
/// machines of one kind: the magic of the other kind does not match).
struct EntryHead {
  std::uint32_t stage = 0;  ///< in the order the plan's stages are loaded
  std::uint32_t frames = 0;
  std::uint32_t failed = 0;  ///< 1: no outputs follow
  std::uint32_t byte_order = 0x01020304;
  std::uint64_t input_bytes = 0, output_bytes = 0;
};

/// Shared by the recorder and the stages it wrapped.
struct Recording {
  RecordOptions options;
  std::filesystem::path path;

  std::mutex mutex;
  std::ofstream file;
  std::uint64_t bytes = 0, batches = 0;
  std::uint32_t stages = 0;
  bool open = true, full = false;

  void write(EntryHead head, const std::vector<std::byte>& inputs,
             std::span<const TensorView> outputs) noexcept;
};

}  // namespace splitcnn::inline v0
