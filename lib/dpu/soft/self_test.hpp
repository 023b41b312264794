#pragma once
/// Asks the linked oneDNN on this CPU whether its int8 convolutions give the DPU's bytes; and our own Winograd.
#include "dpu/soft/onednn_kernels.hpp"

namespace splitcnn::inline v0::soft {

/// Runs every kind of primitive against the scalar kernel on small extreme and random data; a few milliseconds. Never throws.
Trust self_test();

/// The result of self_test(), run once per process on first use. Kinds that failed are logged: as a warning, except what is known to
/// be inexact without VNNI.
const Trust& onednn_trust();

}  // namespace splitcnn::inline v0::soft
