#pragma once
/// Parsing from a string, and a folder for one test's files.
#include <span>
#include <string>

#include "splitcnn/graph.hpp"
#include "support/temporary_folder.hpp"

namespace splitcnn_test {

inline splitcnn::Graph parse(const std::string& bytes, const splitcnn::LoadOptions& options = {}) {
  return splitcnn::Graph::parse(std::as_bytes(std::span{bytes}), options);
}

}  // namespace splitcnn_test
