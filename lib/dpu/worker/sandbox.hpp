#pragma once
/// What a worker gives up before it opens anything.
#include <string>

namespace splitcnn::inline v0::dpu {

/// No new privileges, no core files, no descriptors but 0, 1, 2 and those up to `keep`; as root with a
/// `user`: that user's rights only. Throws bad_argument when there is no such user, no_device when the system
/// refuses.
void drop_privileges(const std::string& user);
/// Closes every descriptor above `keep`: what the application had open is none of ours.
void close_descriptors_above(int keep) noexcept;
/// Ends this process soon after the other end of `socket` has closed, even while VART hangs.
void end_with(int socket);

}  // namespace splitcnn::inline v0::dpu
