#pragma once
/// How the library reports trouble.
///
///     try {
///       auto graph = splitcnn::Graph::load("model.onnx");
///     } catch (const splitcnn::Error& e) {
///       std::cerr << e.what() << '\n';              // names the thing, what was wrong, what to do
///       if (e.code() == splitcnn::Errc::unsupported) { ... }
///     }
///
/// Exceptions to build, values to stream: constructors, `load` and other set-up calls throw Error; what goes wrong with
/// one frame while frames flow is a Status inside that frame's Result. Nothing on the hot path throws.
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "splitcnn/version.hpp"

namespace splitcnn::inline v0 {

enum class Errc {
  ok = 0,
  io,              ///< a file could not be read or written
  bad_model,       ///< a model file is damaged or contradicts itself
  bad_file,        ///< a plan, profile, calibration or weight file is damaged or of a newer version
  bad_argument,    ///< a call's argument is outside what its documentation allows
  unsupported,     ///< valid, but outside what this library (or the named device) can do
  mismatch,        ///< two things that must fit do not: shapes, graph hashes, neighbouring stages
  not_calibrated,  ///< a DPU segment needs fix points and the graph has none
  not_a_split,     ///< Plan::head()/tail() of a plan that is not a plain two-segment split
  not_built,       ///< the feature was switched off when the library was built
  no_device,       ///< the device is not there or its driver does not answer
  device_failed,   ///< the device was lost while running
  stage_failed,    ///< a stage reported a failure for these frames
  timeout,         ///< a deadline passed
  closed,          ///< the pipeline was closed
};

/// "bad_model", ... Static storage.
[[nodiscard]] SPLITCNN_API const char* to_string(Errc code) noexcept;

/// The one exception type of the library.
class SPLITCNN_API Error : public std::runtime_error {
 public:
  Error(Errc code, const std::string& message);
  [[nodiscard]] Errc code() const noexcept { return code_; }

 private:
  Errc code_;
};

/// The outcome of work on frames that are already flowing. Cheap when ok; a failure carries a sentence.
struct Status {
  Errc code = Errc::ok;
  std::string message;  ///< empty when ok

  [[nodiscard]] bool ok() const noexcept { return code == Errc::ok; }
};

enum class LogLevel { debug, info, warning, error };

/// Replaces where the library's messages go (default: warnings and errors to stderr). Called from any thread, never
/// from the hot path; the handler must not throw. An empty handler silences the library. Process-wide, thread-safe.
SPLITCNN_API void set_log_handler(std::function<void(LogLevel, std::string_view)> handler);

}  // namespace splitcnn::inline v0
