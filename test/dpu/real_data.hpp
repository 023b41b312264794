#pragma once
/// The real images of $SPLITCNN_TEST_DATA as network inputs (float, N,C,H,W). Reads with the programs every system has (gzip, tar) and,
/// for video, ffmpeg; an empty result means that one of them or the data is missing.
#include <cstdint>
#include <string>
#include <vector>

#include "splitcnn/tensor.hpp"

namespace splitcnn_test {

/// 8-bit RGB, row after row.
struct Photo {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;
};

std::vector<splitcnn::Tensor> mnist_digits(const std::string& data, std::size_t count);
/// One class after the other in turn, so that any prefix is balanced.
std::vector<splitcnn::Tensor> cifar10_images(const std::string& data, std::size_t count);
/// images/imagenet_200, centre 224 x 224 of the short side 256, (x - 128) / 128.
std::vector<splitcnn::Tensor> imagenet_inputs(const std::string& data);
/// Other photos (several crops each) and frames of the videos, prepared likewise; shares no picture with imagenet_inputs().
std::vector<splitcnn::Tensor> imagenet_calibration(const std::string& data, std::size_t count);

}  // namespace splitcnn_test
