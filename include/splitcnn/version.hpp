#pragma once
/// Version of the library and the visibility macro of its symbols.
///
///     static_assert(SPLITCNN_VERSION_MAJOR == 0);
///     fmt::print("{}\n", splitcnn::build_info());
///
/// The inline namespace carries the ABI version: it changes together with the SOVERSION and with nothing else
/// (docs/compatibility.md).
#include <string>

#define SPLITCNN_VERSION_MAJOR 0
#define SPLITCNN_VERSION_MINOR 1
#define SPLITCNN_VERSION_PATCH 0

#define SPLITCNN_API __attribute__((visibility("default")))

namespace splitcnn::inline v0 {

/// "0.1.0".
[[nodiscard]] SPLITCNN_API const char* version() noexcept;

/// One line per fact about this build and this machine: library version, compiler, oneDNN version, the instruction
/// set oneDNN found, which device back ends were compiled in. For bug reports; the format is not stable.
[[nodiscard]] SPLITCNN_API std::string build_info();

}  // namespace splitcnn::inline v0
