// fmt's functions, compiled once: elsewhere <fmt/core.h> only declares them, which spares every file seconds of compiling. This file alone is
// compiled with FMT_HEADER_ONLY, so that they stay what they are in everybody's header-only fmt: hidden in the shared library, and weak in
// the static one, where an application's own fmt may come along.
#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace splitcnn::inline v0 {

namespace {

// Taking an inline function's address makes the compiler emit it.
[[gnu::used]] std::string (*const vformat)(fmt::string_view, fmt::format_args) = &fmt::vformat;
[[gnu::used]] void (*const vprint)(fmt::string_view, fmt::format_args) = &fmt::vprint;
[[gnu::used]] void (*const vprint_to)(std::FILE*, fmt::string_view, fmt::format_args) = &fmt::vprint;
[[gnu::used]] void (*const assert_fail)(const char*, int, const char*) = &fmt::detail::assert_fail;

}  // namespace

}  // namespace splitcnn::inline v0
