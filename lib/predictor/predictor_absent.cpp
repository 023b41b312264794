// Without Eigen there is no predictor; what reads weight files says so.
#include "splitcnn/error.hpp"
#include "splitcnn/predictor.hpp"

namespace splitcnn::inline v0 {

struct Predictor::Impl {};

namespace {
[[noreturn]] void absent(const std::string& what) {
  throw Error{Errc::not_built, what + ": this library was built without the predictor; install Eigen 3.3 (libeigen3-dev) and build with SPLITCNN_WITH_PREDICTOR=ON, or search a profile"};
}
}  // namespace

Predictor Predictor::load(const std::filesystem::path& path) { absent(path.string()); }
Predictor Predictor::parse(std::span<const std::byte>, const std::string& name) { absent(name); }
Predictor::Predictor(std::shared_ptr<const Impl> impl) noexcept : impl_{std::move(impl)} {}
const PredictorInfo& Predictor::info() const noexcept {
  static const PredictorInfo none;
  return none;
}
Forecast Predictor::forecast(const Partitioner&) const { absent("forecast"); }
void Predictor::forecast(const Partitioner&, Forecast&) const { absent("forecast"); }
Profile Predictor::profile(const Partitioner&) const { absent("profile"); }
Predictor adapt(const Predictor&, std::span<const MeasuredNetwork>) { absent("adapt"); }
const char* predictor_isa() noexcept { return "none"; }

}  // namespace splitcnn::inline v0
