#pragma once
/// Which tensor of which stage feeds which input: worked out once, by name, with errors that name both
/// neighbours.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "splitcnn/plan.hpp"
#include "splitcnn/stage.hpp"

namespace splitcnn::inline v0 {

/// A tensor that a frame carries. `stage` wrote it; inputs of the pipeline have none.
struct WiredTensor {
  static constexpr std::size_t no_stage = static_cast<std::size_t>(-1);
  TensorSpec spec;
  std::size_t stage = no_stage;
  bool is_output = false;  ///< of the pipeline: Results read it after the stages are done with the frame
};

struct Step {
  std::size_t stage = 0;
  std::vector<std::size_t> inputs, outputs;  ///< tensor ids in the order of the stage's specs
};

struct WiredRoute {
  double weight = 1;
  std::vector<Step> steps;
  std::vector<std::size_t> inputs, outputs;  ///< tensor ids of the pipeline's inputs and outputs
};

struct Wiring {
  std::vector<WiredTensor> tensors;
  std::vector<WiredRoute> routes;
  std::vector<TensorSpec> inputs, outputs;  ///< of the pipeline; inputs as route 0 takes them
  bool same_inputs = true;                  ///< false: routes take their inputs in different types
};

using Stages = std::vector<std::unique_ptr<Stage>>;

/// A chain of the caller's stages.
Wiring wire_chain(const Stages& stages);

/// A plan whose segments are loaded: segments[r][s] is the index in `stages` of segment s of route r; the
/// stages from `first_after` on run behind every route.
Wiring wire_plan(const Plan& plan, const Stages& stages,
                 const std::vector<std::vector<std::size_t>>& segments, std::size_t first_after);

}  // namespace splitcnn::inline v0
