#pragma once
/// Random weights and activations.
#include <cstddef>
#include <random>
#include <vector>

namespace splitcnn_test {

inline std::vector<float> normals(std::mt19937_64& random, std::size_t n, float scale = 1) {
  std::normal_distribution<float> normal{0, scale};
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

}  // namespace splitcnn_test
