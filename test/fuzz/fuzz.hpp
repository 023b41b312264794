#pragma once
/// What the fuzz targets share. Each target is one function over bytes, as libFuzzer calls it; the same object is linked
/// into fuzz_replay, which runs it over files without libFuzzer.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "splitcnn/graph.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace splitcnn_fuzz {

/// The bytes as a file that lives in memory, one per process; the path stays the same.
std::filesystem::path as_file(std::span<const std::uint8_t> bytes);

/// Anything but splitcnn::Error, and an Error without a sentence, is a finding: it ends the process.
void only_errors(const std::function<void()>& call);

/// Ends the process, saying what was expected.
void expect(bool kept, const char* what);

/// The graph that plans and calibrations of the corpus belong to: a convolution with batch normalisation, a residual add
/// and a dense layer.
const splitcnn::Graph& small_graph();

}  // namespace splitcnn_fuzz
