#pragma once
/// The worker on a board: waits for applications and serves each in a process of its own, so that VART ending
/// one ends only that one.
#include <string>

#include "dpu/worker/session.hpp"

namespace splitcnn::inline v0::dpu {

struct ListenOptions {
  std::string address;  ///< "0.0.0.0:7700", ":7700"
  SessionOptions session;
  bool announce = false;  ///< print "port N" on standard output when ready
};

/// Never returns but by SIGTERM or SIGINT. Throws no_device when the address cannot be had.
void listen(const ListenOptions& options);

}  // namespace splitcnn::inline v0::dpu
