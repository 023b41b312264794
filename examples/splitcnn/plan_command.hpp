#pragma once
// What `plan` and `report` share: a profile by file or by model, and the two devices to plan for.
#include "tool.hpp"

namespace tool {

/// `--profile P.json`, or for hardware that is not here `--model zoo|table1|BOARD.json` or `--predictor WEIGHTS.safetensors`.
struct ProfileSource {
  std::string file, model, predictor;
};
void add_profile_source(CLI::App& command, ProfileSource& source);

/// A partitioner in the profile's granularity and the profile itself. Modelled profiles are made here.
struct Profiled {
  sc::Partitioner parts;
  sc::Profile profile;
  std::optional<sc::Forecast> forecast{};  ///< with a predictor: how sure the best cut is
};
Profiled open_profile(const Model& model, const ProfileSource& source, sc::Granularity granularity);

/// The devices to plan for: those asked for, else the profile's DPU and GPU, else its first two.
std::vector<std::string> planned_devices(const std::string& asked, const sc::Profile& profile);

nlohmann::json plan_json(const sc::Choice& choice, const std::vector<sc::Candidate>& rows);
void print_plan(const sc::Partitioner& parts, const sc::Choice& choice, const std::vector<sc::Candidate>& rows,
                const std::vector<std::string>& devices);

/// What a trial saw, fastest first.
nlohmann::json tried_json(const std::vector<sc::TriedPlan>& tried);
void print_tried(const std::vector<sc::TriedPlan>& tried);

}  // namespace tool
