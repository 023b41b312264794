#pragma once
/// One application served over one connection: handshake, models, batches, until it hangs up.
#include <filesystem>
#include <vector>

#include "dpu/protocol/fd.hpp"

namespace splitcnn::inline v0::dpu {

struct SessionOptions {
  std::vector<std::byte> key{};    ///< empty: whoever holds the other end is trusted
  std::filesystem::path models{};  ///< only files below this folder are opened; empty: any
};

/// Returns when the application has gone. Throws Error when it breaks the rules.
void serve(int socket, const SessionOptions& options);

}  // namespace splitcnn::inline v0::dpu
