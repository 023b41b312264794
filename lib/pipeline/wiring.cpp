#include "pipeline/wiring.hpp"

#include <algorithm>
#include <utility>

namespace splitcnn::inline v0 {
namespace {

std::string describe(const TensorSpec& spec) {
  std::string text = std::string{to_string(spec.dtype)} + ' ' + to_string(spec.shape);
  if (spec.dtype == DType::i8) text += " fix_point " + std::to_string(spec.fix_point);
  return text;
}

std::string label(const Stage& stage) { return "stage '" + stage.name() + "' (" + stage.device() + ")"; }

/// Names are how tensors find each other, not part of what they are.
bool same_tensor(const TensorSpec& a, const TensorSpec& b) {
  return a.shape == b.shape && a.dtype == b.dtype && a.fix_point == b.fix_point;
}

enum class Match : std::uint8_t {
  name,              ///< segments of a plan: names are the graph's
  name_or_position,  ///< stages of the caller's own
  position,          ///< the stage that defines the pipeline's inputs
};

class Wirer {
 public:
  explicit Wirer(const Stages& stages) : stages_{stages}, outputs_of_(stages.size()) {}

  Wiring take() && { return std::move(wiring_); }

  void begin_route(double weight) {
    wiring_.routes.push_back({.weight = weight});
    scope_.clear();
    before_.clear();
  }

  void add_input(const TensorSpec& spec) {
    const std::size_t index = route().inputs.size();
    const std::size_t id = input_tensor(spec, index);
    route().inputs.push_back(id);
    scope_.push_back(id);
    before_.push_back(id);
  }

  void add_stage(std::size_t stage, Match match) {
    Step step{.stage = stage};
    const std::span<const TensorSpec> wanted = stages_[stage]->inputs();
    for (std::size_t i = 0; i < wanted.size(); ++i) step.inputs.push_back(find(stage, i, wanted[i], match));
    step.outputs = outputs_of(stage);
    scope_.insert(scope_.end(), step.outputs.begin(), step.outputs.end());
    before_ = step.outputs;
    route().steps.push_back(std::move(step));
  }

  /// What the next stage may match by position, and what the pipeline gives when no stage follows.
  void set_outputs(std::vector<std::size_t> ids) { before_ = std::move(ids); }
  [[nodiscard]] std::size_t find_output(const TensorSpec& spec) const {
    const std::size_t* id = find_name(spec.name);
    if (!id) {
      throw Error{Errc::mismatch, "pipeline output '" + spec.name +
                                      "': no stage of the route writes a tensor of that name; the stages "
                                      "were not made for this plan"};
    }
    return *id;
  }

  void end_route() {
    WiredRoute& r = route();
    r.outputs = before_;
    for (const std::size_t id : r.outputs) wiring_.tensors[id].is_output = true;
    std::vector<TensorSpec> inputs = specs(r.inputs), outputs = specs(r.outputs);
    if (wiring_.routes.size() == 1) {
      wiring_.inputs = std::move(inputs);
      wiring_.outputs = std::move(outputs);
      return;
    }
    if (r.inputs != wiring_.routes.front().inputs) wiring_.same_inputs = false;
    check_same_outputs(outputs);
  }

  /// A stage whose results go nowhere is nearly always a misspelt tensor name.
  void check_used(std::size_t first_step) const {
    const WiredRoute& r = wiring_.routes.back();
    for (std::size_t k = first_step; k + 1 < r.steps.size(); ++k) {
      const bool used =
          std::any_of(r.steps[k].outputs.begin(), r.steps[k].outputs.end(), [&](std::size_t id) {
            return std::any_of(r.steps.begin(), r.steps.end(), [&](const Step& other) {
              return std::find(other.inputs.begin(), other.inputs.end(), id) != other.inputs.end();
            });
          });
      if (used) continue;
      throw Error{Errc::mismatch,
                  label(*stages_[r.steps[k].stage]) + ": no later stage reads any of its outputs (" +
                      names(r.steps[k].outputs) + "), " + label(*stages_[r.steps[k + 1].stage]) + " takes (" +
                      names(r.steps[k + 1].inputs) +
                      ") from before it; give tensors that differ different names"};
    }
  }

 private:
  WiredRoute& route() { return wiring_.routes.back(); }

  std::vector<TensorSpec> specs(const std::vector<std::size_t>& ids) const {
    std::vector<TensorSpec> result;
    for (const std::size_t id : ids) result.push_back(wiring_.tensors[id].spec);
    return result;
  }

  std::string names(const std::vector<std::size_t>& ids) const {
    std::string text;
    for (const std::size_t id : ids)
      text += (text.empty() ? "'" : ", '") + wiring_.tensors[id].spec.name + "'";
    return text;
  }

  /// Routes that take input `index` in the same form share its buffer.
  std::size_t input_tensor(const TensorSpec& spec, std::size_t index) {
    for (const WiredRoute& r : wiring_.routes) {
      if (index < r.inputs.size() && wiring_.tensors[r.inputs[index]].spec == spec) return r.inputs[index];
    }
    wiring_.tensors.push_back({.spec = spec});
    return wiring_.tensors.size() - 1;
  }

  const std::vector<std::size_t>& outputs_of(std::size_t stage) {
    std::vector<std::size_t>& ids = outputs_of_[stage];
    if (ids.empty()) {
      for (const TensorSpec& spec : stages_[stage]->outputs()) {
        ids.push_back(wiring_.tensors.size());
        wiring_.tensors.push_back({.spec = spec, .stage = stage});
      }
    }
    return ids;
  }

  [[nodiscard]] const std::size_t* find_name(const std::string& name) const {
    if (name.empty()) return nullptr;
    const auto found = std::find_if(scope_.rbegin(), scope_.rend(),
                                    [&](std::size_t id) { return wiring_.tensors[id].spec.name == name; });
    return found == scope_.rend() ? nullptr : &*found;
  }

  std::size_t find(std::size_t stage, std::size_t i, const TensorSpec& wanted, Match match) const {
    const std::size_t* named = match == Match::position ? nullptr : find_name(wanted.name);
    const std::string who = label(*stages_[stage]) + ": input " + std::to_string(i) + " '" + wanted.name +
                            "' is " + describe(wanted);
    if (!named && (match == Match::name || i >= before_.size())) {
      throw Error{Errc::mismatch, who + ", and " + giver(before_) + " gives only (" + names(before_) +
                                      "); name the input like a tensor that some stage before writes"};
    }
    const std::size_t id = named ? *named : before_[i];
    const TensorSpec& given = wiring_.tensors[id].spec;
    if (!same_tensor(given, wanted)) {
      throw Error{Errc::mismatch, who + ", but " + giver({id}) + " gives '" + given.name + "' as " +
                                      describe(given) + "; make the two agree"};
    }
    return id;
  }

  [[nodiscard]] std::string giver(const std::vector<std::size_t>& ids) const {
    if (ids.empty() || wiring_.tensors[ids.front()].stage == WiredTensor::no_stage)
      return "the pipeline's input";
    return label(*stages_[wiring_.tensors[ids.front()].stage]);
  }

  void check_same_outputs(const std::vector<TensorSpec>& outputs) const {
    for (std::size_t i = 0; i < std::max(outputs.size(), wiring_.outputs.size()); ++i) {
      if (i < outputs.size() && i < wiring_.outputs.size() && outputs[i] == wiring_.outputs[i]) continue;
      throw Error{Errc::mismatch,
                  "pipeline output " + std::to_string(i) + ": route 0 gives " +
                      (i < wiring_.outputs.size() ? describe(wiring_.outputs[i]) : "nothing") + ", route " +
                      std::to_string(wiring_.routes.size() - 1) + " gives " +
                      (i < outputs.size() ? describe(outputs[i]) : "nothing") + "; routes must end alike"};
    }
  }

  const Stages& stages_;
  std::vector<std::vector<std::size_t>> outputs_of_;
  Wiring wiring_;
  std::vector<std::size_t> scope_, before_;
};

/// The form in which a route takes a graph input: as the first stage that reads it does.
TensorSpec input_spec(const Graph& graph, TensorId id, const Stages& stages,
                      const std::vector<std::size_t>& segments) {
  const GraphTensor& tensor = graph.tensor(id);
  for (const std::size_t stage : segments) {
    for (const TensorSpec& spec : stages[stage]->inputs()) {
      if (spec.name == tensor.name) return spec;
    }
  }
  return {.name = tensor.name, .shape = tensor.shape, .dtype = DType::f32};
}

}  // namespace

Wiring wire_chain(const Stages& stages) {
  Wirer wirer{stages};
  wirer.begin_route(1);
  for (const TensorSpec& spec : stages.front()->inputs()) wirer.add_input(spec);
  for (std::size_t i = 0; i < stages.size(); ++i)
    wirer.add_stage(i, i == 0 ? Match::position : Match::name_or_position);
  wirer.end_route();
  wirer.check_used(0);
  return std::move(wirer).take();
}

Wiring wire_plan(const Plan& plan, const Stages& stages,
                 const std::vector<std::vector<std::size_t>>& segments, std::size_t first_after) {
  Wirer wirer{stages};
  const Graph& graph = plan.graph();
  for (std::size_t r = 0; r < segments.size(); ++r) {
    wirer.begin_route(plan.routes()[r].weight);
    for (const TensorId id : graph.inputs()) wirer.add_input(input_spec(graph, id, stages, segments[r]));
    for (const std::size_t stage : segments[r]) wirer.add_stage(stage, Match::name);
    std::vector<std::size_t> outputs;
    for (const TensorId id : graph.outputs())
      outputs.push_back(wirer.find_output({.name = graph.tensor(id).name}));
    wirer.set_outputs(std::move(outputs));
    for (std::size_t i = first_after; i < stages.size(); ++i) wirer.add_stage(i, Match::name_or_position);
    wirer.end_route();
    wirer.check_used(segments[r].size());
  }
  return std::move(wirer).take();
}

}  // namespace splitcnn::inline v0
