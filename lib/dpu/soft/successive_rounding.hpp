#pragma once
/// Weights to int8 so that a layer's output, not the weights, comes out right.
///
/// Looks for bytes q that make the expected square of x'(q * step - w) least, where w is the least-squares solution of the layer for the
/// inputs x it really gets. Rounds one weight after the other; what one misses, those still to come make up for (successive rounding, the
/// nearest-plane algorithm of L. Babai, 1986; applied to weights by E. Frantar et al., GPTQ, 2022, arXiv:2210.17323).
#include <cstdint>
#include <span>
#include <vector>

namespace splitcnn::inline v0::soft {

/// One layer (or one group of a grouped one): `inputs` values per output, `outputs` columns that see the same inputs.
struct RoundingProblem {
  std::size_t inputs = 0, outputs = 0;
  std::vector<float> start;  ///< [inputs][outputs]: the float weights
  std::vector<float> steps;  ///< [inputs]: what one unit of the byte is worth
  std::vector<float> gram;   ///< [inputs][inputs]: sum of x x'
  std::vector<float> cross;  ///< [inputs][outputs]: sum of x (wanted - x' start)
  std::size_t rows = 0;      ///< examples in these sums

  /// Takes in `count` examples: x [count][inputs], wanted [count][outputs], which afterwards holds what `start` misses.
  void add(std::span<const float> x, std::span<float> wanted, std::size_t count);
  /// The same examples with x[i] times in[i] and what is wanted times out[o]; the start follows.
  void rescale(std::span<const float> in, std::span<const float> out);
};

/// Rounds in this order of importance: the last input first (the bias: its step is the coarsest), then by mean square. `damping`, times the
/// mean of the gram's diagonal and 1 + inputs / examples, holds the solution near `start` where the examples say little. Empty when the gram is not positive definite.
[[nodiscard]] std::vector<std::int8_t> round_successively(const RoundingProblem& problem, float damping);

/// Lower triangle L of a = L L' in place, [n][n]; the upper triangle is left undefined. False when `a` is not positive definite.
[[nodiscard]] bool cholesky(std::span<float> a, std::size_t n);
/// x = a^-1 b for the L of cholesky(), b [n][columns] in place.
void solve(std::span<const float> lower, std::size_t n, std::span<float> b, std::size_t columns);

}  // namespace splitcnn::inline v0::soft
