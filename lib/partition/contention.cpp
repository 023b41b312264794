#include "partition/contention.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cmath>
#include <exception>
#include <thread>

namespace splitcnn::inline v0 {

namespace {

constexpr int rounds = 3;  // alone, alone, together; so that a slow drift of the machine hits all of them
/// Above this, somebody else may have been at work: it is measured again, and the lesser one counts.
constexpr double doubtful = 1.15;

/// The cuts whose times are nearest to the wanted ratios a : b.
std::vector<int> cuts_for(const DeviceProfile& a, const DeviceProfile& b, int most) {
  static constexpr std::array ratios{1.0, 0.5, 2.0, 0.25, 4.0};
  std::vector<int> chosen;
  for (const double ratio : ratios) {
    int best = -1;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t k = 1; k + 1 < a.prefix_ms.size(); ++k) {
      const double off = std::abs(std::log(a.prefix_ms[k] / b.suffix_ms[k] / ratio));
      const bool known = std::find(chosen.begin(), chosen.end(), static_cast<int>(k)) != chosen.end();
      if (!known && off < least) least = off, best = static_cast<int>(k);  // NaN and infinity are not below
    }
    if (best > 0 && static_cast<int>(chosen.size()) < most) chosen.push_back(best);
  }
  return chosen;
}

struct Side {
  std::unique_ptr<Stage> stage;
  std::vector<double> alone, together;
  std::exception_ptr error;
};

/// Both threads go through the same phases. In the last one each runs on until both have enough: what it
/// measured, the other was busy for.
class SideBySide {
 public:
  SideBySide(std::unique_ptr<Stage> a, std::unique_ptr<Stage> b, int runs)
      : runs_{static_cast<std::size_t>(runs)} {
    sides_[0].stage = std::move(a);
    sides_[1].stage = std::move(b);
    {
      std::jthread other{[this] { work(1); }};
      work(0);
    }
    for (const Side& s : sides_) {
      if (s.error) std::rethrow_exception(s.error);
    }
  }

  [[nodiscard]] double factor(int side) const {
    return median_of(sides_[side].together) / median_of(sides_[side].alone);
  }

 private:
  void work(int me) noexcept {
    Side& side = sides_[me];
    std::optional<NoiseBatch> noise;
    const auto guarded = [&](auto&& phase) {
      try {
        if (!failed_) phase();
      } catch (...) {
        side.error = std::current_exception();
        failed_ = true;
      }
      phases_.arrive_and_wait();
    };
    guarded([&] {
      noise.emplace(*side.stage);
      side.stage->prepare();
    });
    for (int round = 0; round < rounds; ++round) {
      for (int turn = 0; turn < 2; ++turn) {
        guarded([&] {
          for (std::size_t i = 0; turn == me && i <= runs_; ++i) {
            const double ms = run_once(*side.stage, *noise);
            if (i > 0) side.alone.push_back(ms);
          }
        });
      }
      if (me == 0) done_ = 0;
      guarded([] {});
      guarded([&] { beside_the_other(side, *noise); });
    }
  }

  void beside_the_other(Side& side, const NoiseBatch& noise) {
    for (std::size_t i = 0; done_ < 2 && !failed_; ++i) {
      const double ms = run_once(*side.stage, noise);
      if (i > 0 && done_ < 2) side.together.push_back(ms);
      if (i == runs_) ++done_;
    }
  }

  std::size_t runs_;
  std::array<Side, 2> sides_;
  std::atomic<bool> failed_{false};
  std::atomic<int> done_{0};
  std::barrier<> phases_{2};
};

std::optional<std::array<double, 2>> factors_at(const Pieces& a, const Pieces& b, int k, int runs) {
  std::unique_ptr<Stage> head = a.load(0, k), tail = b.load(k, b.units());
  if (!head || !tail) return std::nullopt;
  const SideBySide both{std::move(head), std::move(tail), std::max(runs, 3)};
  return std::array{both.factor(0), both.factor(1)};
}

}  // namespace

std::vector<Contention> measure_contention(const Pieces& a, const DeviceProfile& a_times, const Pieces& b,
                                           const DeviceProfile& b_times, int cuts, int runs) {
  std::vector<double> of_a, of_b;
  for (const int k : cuts_for(a_times, b_times, cuts)) {
    auto factors = factors_at(a, b, k, runs);
    if (!factors) continue;
    if (std::max((*factors)[0], (*factors)[1]) > doubtful) {
      const auto again = *factors_at(a, b, k, runs);
      for (std::size_t side = 0; side < 2; ++side) (*factors)[side] = std::min((*factors)[side], again[side]);
    }
    of_a.push_back((*factors)[0]);
    of_b.push_back((*factors)[1]);
  }
  if (of_a.empty()) return {};
  return {{a.info().name, b.info().name, median_of(of_a)}, {b.info().name, a.info().name, median_of(of_b)}};
}

}  // namespace splitcnn::inline v0
