#include "core/input_transform_json.hpp"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>
#include <string_view>

#include "core/json_file.hpp"

namespace splitcnn::inline v0 {

namespace {

template <class E>
struct Word {
  std::string_view text;
  E value;
};

constexpr Word<Resize> resizes[] = {{"none", Resize::none},
                                    {"stretch", Resize::stretch},
                                    {"center_crop", Resize::center_crop},
                                    {"letterbox", Resize::letterbox}};
constexpr Word<Sampling> samplings[] = {{"bilinear", Sampling::bilinear}, {"area", Sampling::area}};
constexpr Word<ColorOrder> orders[] = {{"rgb", ColorOrder::rgb}, {"bgr", ColorOrder::bgr}};

template <class E, std::size_t N>
std::string word_of(const Word<E> (&words)[N], E value) {
  for (const auto& word : words) {
    if (word.value == value) return std::string{word.text};
  }
  return "unknown";
}

template <class E, std::size_t N>
E value_of(const Word<E> (&words)[N], const nlohmann::json& value, const char* key,
           const std::string& where) {
  const auto text = require<std::string>(value, key, where);
  std::string known;
  for (const auto& word : words) {
    if (word.text == text) return word.value;
    known += (known.empty() ? "" : ", ") + std::string{word.text};
  }
  throw Error{Errc::bad_file,
              fmt::format("{}: '{}' is '{}'; one of {} was expected", where, key, text.substr(0, 64), known)};
}

/// The shortest decimal that reads back as this float, so that 1/127.5 is not written with a double's digits.
double readable(float value) {
  const double d = std::strtod(fmt::format("{}", value).c_str(), nullptr);
  return static_cast<float>(d) == value ? d : static_cast<double>(value);
}

nlohmann::json triple_to_json(const std::array<float, 3>& values) {
  return {readable(values[0]), readable(values[1]), readable(values[2])};
}

std::array<float, 3> triple_of(const nlohmann::json& value, const char* key, const std::string& where) {
  const auto list = require<nlohmann::json>(value, key, where);
  std::array<float, 3> values{};
  bool good = list.is_array() && list.size() == 3;
  for (std::size_t i = 0; good && i < 3; ++i) {
    good = list[i].is_number();
    if (good) values[i] = list[i].get<float>();
    good = good && std::isfinite(values[i]);
  }
  if (!good) throw Error{Errc::bad_file, where + ": '" + key + "' is not a list of three finite numbers"};
  return values;
}

}  // namespace

nlohmann::json input_transform_to_json(const InputTransform& transform) {
  return {{"resize", word_of(resizes, transform.resize)},
          {"sampling", word_of(samplings, transform.sampling)},
          {"order", word_of(orders, transform.order)},
          {"short_side", transform.short_side},
          {"border", transform.border},
          {"mean", triple_to_json(transform.mean)},
          {"scale", triple_to_json(transform.scale)}};
}

InputTransform input_transform_from_json(const nlohmann::json& value, const std::string& where) {
  InputTransform t;
  t.resize = value_of(resizes, value, "resize", where);
  if (value.contains("sampling")) t.sampling = value_of(samplings, value, "sampling", where);
  if (value.contains("order")) t.order = value_of(orders, value, "order", where);
  if (value.contains("short_side"))
    t.short_side = static_cast<int>(require_integer(value, "short_side", where, 0, 16384));
  if (value.contains("border"))
    t.border = static_cast<std::uint8_t>(require_integer(value, "border", where, 0, 255));
  if (value.contains("mean")) t.mean = triple_of(value, "mean", where);
  if (value.contains("scale")) t.scale = triple_of(value, "scale", where);
  return t;
}

}  // namespace splitcnn::inline v0
