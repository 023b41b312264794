#include "splitcnn/profile.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/json_file.hpp"
#include "partition/route_cost.hpp"

namespace splitcnn::inline v0 {

const DeviceProfile& Profile::device(std::string_view name) const {
  for (const DeviceProfile& d : devices) {
    if (d.device == name) return d;
  }
  std::string known;
  for (const DeviceProfile& d : devices) known += (known.empty() ? "" : ", ") + d.device;
  throw Error{
      Errc::no_device,
      fmt::format("profile: nothing is known about '{}', only about {}; measure again with that device", name,
                  known.empty() ? "no device" : known)};
}

double Profile::segment_ms(std::string_view name, int first, int last) const {
  const DeviceProfile& d = device(name);
  const int end = static_cast<int>(d.prefix_ms.size()) - 1;
  if (first < 0 || last < first || last > end) {
    throw Error{Errc::bad_argument,
                fmt::format("profile: units {} to {} are outside 0 to {}", first, last, end)};
  }
  const auto prefix = [&](int k) { return d.prefix_ms[static_cast<std::size_t>(k)]; };
  const auto suffix = [&](int k) { return d.suffix_ms[static_cast<std::size_t>(k)]; };
  if (first == last) return 0;
  if (first == 0) return prefix(last);
  if (last == end) return suffix(first);
  // Two differences of long measurements say what a short piece takes; both are noisy, and a search over many pieces finds those that noise made
  // cheap. So the estimate is raised by the noise, and never below the fixed part.
  const double before = prefix(last) - prefix(first), behind = suffix(first) - suffix(last);
  const double difference = std::isnan(before) ? behind : std::isnan(behind) ? before : (before + behind) / 2;
  const double noise = d.spread * (std::isnan(before) ? suffix(first) : prefix(last));
  return std::isnan(difference) ? difference : std::max(difference, 0.0) + noise + d.fixed_ms;
}

double Profile::transfer_ms(std::string_view from, std::string_view to, std::size_t bytes) const noexcept {
  for (const Link& link : links) {
    if (link.from == from && link.to == to)
      return link.fixed_ms + static_cast<double>(bytes) * link.ms_per_byte;
  }
  return 0;
}

bool Profile::blocks_sender(std::string_view from, std::string_view to) const noexcept {
  return std::any_of(links.begin(), links.end(), [&](const Link& l) { return l.from == from && l.to == to && l.blocks_sender; });
}

double Profile::contention_of(std::string_view name, std::string_view beside) const noexcept {
  for (const Contention& c : contention) {
    if (c.device == name && c.beside == beside) return c.factor;
  }
  return 1;
}

namespace {

constexpr const char* format_name = "splitcnn-profile";
constexpr int format_version = 1;
constexpr std::size_t max_devices = 64, max_links = max_devices * max_devices;

nlohmann::json numbers(const std::vector<double>& values) {
  nlohmann::json list = nlohmann::json::array();
  for (const double v : values) list.push_back(std::isnan(v) ? nlohmann::json{} : nlohmann::json(v));
  return list;
}

/// The checks that a file must pass before its numbers are believed.
struct Reader {
  std::string where;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error{Errc::bad_file, where + ": " + what + "; measure again with 'splitcnn profile'"};
  }

  double time(const nlohmann::json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_number()) fail(fmt::format("'{}' is not a number", key));
    const double ms = found->get<double>();
    if (!std::isfinite(ms) || ms < 0) fail(fmt::format("'{}' is not a time", key));
    return ms;
  }

  std::vector<double> times(const nlohmann::json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_array()) fail(fmt::format("'{}' is not a list", key));
    std::vector<double> result;
    for (const nlohmann::json& item : *found) {
      if (!item.is_null() && !item.is_number())
        fail(fmt::format("'{}' holds something that is not a number", key));
      result.push_back(item.is_null() ? std::numeric_limits<double>::quiet_NaN() : item.get<double>());
      if (std::isinf(result.back()) || result.back() < 0)
        fail(fmt::format("'{}' holds something that is not a time", key));
    }
    if (result.size() < 2) fail(fmt::format("'{}' needs a number per cut", key));
    return result;
  }

  /// A number that files of earlier versions do not have.
  double optional_time(const nlohmann::json& value, const char* key, double otherwise) const {
    const auto found = value.find(key);
    return found == value.end() || found->is_null() ? otherwise : time(value, key);
  }

  int positive(const nlohmann::json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_number_integer())
      fail(fmt::format("'{}' is not a whole number", key));
    const auto n = found->is_number_unsigned() && found->get<std::uint64_t>() > 1'000'000
                       ? 0
                       : found->get<std::int64_t>();
    if (n < 1 || n > 1'000'000) fail(fmt::format("'{}' is out of range", key));
    return static_cast<int>(n);
  }

  std::string text(const nlohmann::json& value, const char* key) const {
    const auto result = require<std::string>(value, key, where);
    if (result.empty()) fail(fmt::format("'{}' is empty", key));
    return result;
  }

  const nlohmann::json& list(const nlohmann::json& value, const char* key, std::size_t most) const {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_array()) fail(fmt::format("'{}' is not a list", key));
    if (found->size() > most) fail(fmt::format("'{}' has more than {} entries", key, most));
    for (const nlohmann::json& item : *found) {
      if (!item.is_object()) fail(fmt::format("'{}' holds something that is not an object", key));
    }
    return *found;
  }

  DeviceProfile device(const nlohmann::json& value) const {
    DeviceProfile d;
    d.device = text(value, "device");
    d.backend = require<std::string>(value, "backend", where);
    d.threads = positive(value, "threads");
    d.batch = static_cast<std::size_t>(positive(value, "batch"));
    d.prefix_ms = times(value, "prefix_ms");
    d.suffix_ms = times(value, "suffix_ms");
    d.fixed_ms = time(value, "fixed_ms");
    d.spread = optional_time(value, "spread", 0);
    d.watts = optional_time(value, "watts", d.watts);
    if (d.prefix_ms.size() != d.suffix_ms.size())
      fail(fmt::format("'{}' has prefixes and suffixes of different cuts", d.device));
    return d;
  }

  /// What version 1 has had since its second edition.
  void read_later_parts(const nlohmann::json& file, Profile& profile) const {
    if (file.contains("contention")) {
      for (const nlohmann::json& item : list(file, "contention", max_links)) {
        const double factor = time(item, "factor");
        if (factor < 0.1 || factor > 100) fail("a contention factor is outside 0.1 to 100");
        profile.contention.push_back({text(item, "device"), text(item, "beside"), factor});
      }
    }
    if (file.contains("agreement")) {
      profile.agreement = times(file, "agreement");
      if (profile.agreement.size() != profile.devices.front().prefix_ms.size()) fail("'agreement' needs a number per cut");
      profile.agreement_frames = static_cast<std::size_t>(positive(file, "agreement_frames"));
    }
    if (file.contains("calibration_hash")) profile.calibration_hash = text(file, "calibration_hash");
  }

  template <class Enum>
  Enum one_of(const nlohmann::json& value, const char* key, std::initializer_list<Enum> all,
              const char* (*name)(Enum)) const {
    const auto given = require<std::string>(value, key, where);
    for (const Enum e : all) {
      if (given == name(e)) return e;
    }
    fail(fmt::format("'{}' says '{}', which this version does not know", key, given.substr(0, 40)));
  }
};

}  // namespace

void Profile::save(const std::filesystem::path& path) const {
  nlohmann::json file{{"format", format_name},
                      {"version", format_version},
                      {"graph_hash", graph_hash},
                      {"granularity", granularity_name(granularity)},
                      {"origin", to_string(origin)},
                      {"machine", machine},
                      {"devices", nlohmann::json::array()},
                      {"links", nlohmann::json::array()}};
  for (const DeviceProfile& d : devices) {
    file["devices"].push_back({{"device", d.device},
                               {"backend", d.backend},
                               {"threads", d.threads},
                               {"batch", d.batch},
                               {"prefix_ms", numbers(d.prefix_ms)},
                               {"suffix_ms", numbers(d.suffix_ms)},
                               {"fixed_ms", d.fixed_ms},
                               {"spread", d.spread},
                               {"watts", std::isnan(d.watts) ? nlohmann::json{} : nlohmann::json(d.watts)}});
  }
  for (const Link& l : links) {
    file["links"].push_back(
        {{"from", l.from}, {"to", l.to}, {"fixed_ms", l.fixed_ms}, {"ms_per_byte", l.ms_per_byte}, {"blocks_sender", l.blocks_sender}});
  }
  for (const Contention& c : contention) {
    file["contention"].push_back({{"device", c.device}, {"beside", c.beside}, {"factor", c.factor}});
  }
  if (!agreement.empty()) file["agreement"] = numbers(agreement), file["agreement_frames"] = agreement_frames;
  if (!calibration_hash.empty()) file["calibration_hash"] = calibration_hash;
  write_json(path, file);
}

Profile Profile::load(const std::filesystem::path& path) {
  const nlohmann::json file = read_json(path);
  const Reader reader{path.string()};
  check_format(file, format_name, format_version, reader.where);

  Profile profile;
  profile.graph_hash = reader.text(file, "graph_hash");
  profile.granularity = reader.one_of<Granularity>(
      file, "granularity", {Granularity::block, Granularity::fused, Granularity::op, Granularity::paper},
      [](Granularity g) { return granularity_name(g); });
  profile.origin = reader.one_of<Origin>(
      file, "origin", {Origin::none, Origin::measured, Origin::modelled, Origin::predicted},
      [](Origin o) { return to_string(o); });
  profile.machine = require<std::string>(file, "machine", reader.where);

  std::set<std::string> names;
  for (const nlohmann::json& item : reader.list(file, "devices", max_devices)) {
    profile.devices.push_back(reader.device(item));
    const DeviceProfile& d = profile.devices.back();
    if (!names.insert(d.device).second) reader.fail(fmt::format("'{}' is there twice", d.device));
    if (d.prefix_ms.size() != profile.devices.front().prefix_ms.size())
      reader.fail("devices have different numbers of cuts");
  }
  if (profile.devices.empty()) reader.fail("it has no device");
  for (const nlohmann::json& item : reader.list(file, "links", max_links)) {
    profile.links.push_back({reader.text(item, "from"), reader.text(item, "to"),
                             reader.time(item, "fixed_ms"), reader.time(item, "ms_per_byte"),
                             item.contains("blocks_sender") && require<bool>(item, "blocks_sender", reader.where)});
  }
  reader.read_later_parts(file, profile);
  return profile;
}

}  // namespace splitcnn::inline v0
