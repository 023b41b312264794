#pragma once
/// Networks of the published throughput tables that Graph::zoo does not have. Weights are zeros: only shapes cost anything here.
#include <string>

#include "splitcnn/graph.hpp"

/// "vgg19"; "resnet_v1_50", "resnet_v1_101", "resnet_v1_152" (TensorFlow-Slim's: the last block of a stage has the stride);
/// "personreid_res50" (ResNet50 on 256 x 128 without classifier); else Graph::zoo(name).
splitcnn::Graph reference_net(const std::string& name);
