#pragma once
// Parts of the report that come from files of other runs.
#include <filesystem>
#include <string>

namespace tool {

/// "#rrggbb" of a device in charts.
std::string colour_of(const std::string& device);

/// What the devices did, frame by frame, in the middle of a trace (`splitcnn run --trace`): HTML. Throws io, bad_file.
std::string measured_timeline(const std::filesystem::path& trace);

/// The charts of a layer study (`layer_study > FILE`): HTML. Throws io, bad_file.
std::string layer_charts(const std::filesystem::path& study);

}  // namespace tool
