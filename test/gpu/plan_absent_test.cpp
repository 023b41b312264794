// Without cuDNN at build time there are no plans to test.
#include "support/catch.hpp"

TEST_CASE("every convolution of the zoo has a precompiled plan on four GPUs") {
  SPLITCNN_SKIP("cudnn", "built without the CUDA toolkit or cuDNN 9.8: no plans to find");
}

TEST_CASE("the kernels compile for every architecture without register spills") {
  SPLITCNN_SKIP("cudnn", "built without the CUDA toolkit or cuDNN 9.8: nothing compiled the kernels");
}

TEST_CASE("the plug-in says why there is no GPU") {
  SPLITCNN_SKIP("cudnn", "built without the CUDA toolkit or cuDNN 9.8: there is no plug-in");
}
