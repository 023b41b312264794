// Graph::load and Graph::parse: bytes to a model message, with everything bounded before memory is taken.
#include <fmt/core.h>
#include <google/protobuf/io/coded_stream.h>

#include <climits>
#include <fstream>
#include <new>
#include <system_error>

#include "graph/onnx/importer.hpp"

namespace splitcnn::inline v0 {

namespace {

namespace fs = std::filesystem;
using google::protobuf::io::CodedInputStream;

constexpr std::uint32_t tag_of(std::uint32_t field, std::uint32_t wire_type) {
  return field << 3 | wire_type;
}
constexpr std::uint32_t length_delimited = 2, graph_field = 7, node_field = 1;

/// Skips the value of `tag`; false when the bytes end or make no sense. Groups do not occur in ONNX.
bool skip(CodedInputStream& in, std::uint32_t tag) {
  std::uint64_t number = 0;
  std::uint32_t number32 = 0;
  switch (tag & 7) {
    case 0:
      return in.ReadVarint64(&number);
    case 1:
      return in.ReadLittleEndian64(&number);
    case 2:
      return in.ReadVarint32(&number32) && number32 <= INT_MAX && in.Skip(static_cast<int>(number32));
    case 5:
      return in.ReadLittleEndian32(&number32);
    default:
      return false;
  }
}

/// How many messages a message holds directly, over all fields, entering the graph. A parsed message takes a
/// hundred times the two bytes an empty one has in the file, so they are counted first.
bool count_messages(CodedInputStream& in, bool in_graph, std::size_t& messages, std::size_t& nodes) {
  while (const std::uint32_t tag = in.ReadTag()) {
    if ((tag & 7) == length_delimited) ++messages;
    if (in_graph && tag == tag_of(node_field, length_delimited)) ++nodes;
    if (!in_graph && tag == tag_of(graph_field, length_delimited)) {
      std::uint32_t size = 0;
      if (!in.ReadVarint32(&size) || size > INT_MAX) return false;
      const auto limit = in.PushLimit(static_cast<int>(size));
      if (!count_messages(in, true, messages, nodes) || in.BytesUntilLimit() != 0) return false;
      in.PopLimit(limit);
    } else if (!skip(in, tag)) {
      return false;
    }
  }
  return in.ConsumedEntireMessage() || in.BytesUntilLimit() == 0;
}

CodedInputStream stream_of(std::span<const std::byte> bytes) {
  return CodedInputStream{reinterpret_cast<const std::uint8_t*>(bytes.data()),
                          static_cast<int>(bytes.size())};
}

pb::ModelProto parse_model(std::span<const std::byte> bytes, const std::string& what,
                           const LoadOptions& options) {
  if (bytes.size() > options.max_file_bytes) {
    throw Error{
        Errc::unsupported,
        fmt::format("{}: {} bytes are more than LoadOptions::max_file_bytes = {}; raise it to load the model",
                    what, bytes.size(), options.max_file_bytes)};
  }
  if (bytes.size() > INT_MAX) {
    throw Error{Errc::unsupported,
                fmt::format("{}: is larger than 2 GiB; save the model with external data", what)};
  }
  std::size_t messages = 0, nodes = 0;
  CodedInputStream scan = stream_of(bytes);
  const bool sound = count_messages(scan, false, messages, nodes);
  if (sound && (nodes > options.max_nodes || messages / 64 > options.max_nodes)) {
    throw Error{Errc::unsupported, fmt::format("{}: has {} nodes and {} parts, too many for "
                                               "LoadOptions::max_nodes = {}; raise it to load the model",
                                               what, nodes, messages, options.max_nodes)};
  }
  pb::ModelProto model;
  if (!sound || !model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw Error{
        Errc::bad_model,
        fmt::format("{}: is not an ONNX model, or is truncated; check that it is the right file and complete",
                    what)};
  }
  return model;
}

std::vector<std::byte> read_file(const fs::path& path, const LoadOptions& options) {
  std::error_code error;
  const auto fail = [&](Errc code, const std::string& text) {
    throw Error{code, fmt::format("{}: {}", path.string(), text)};
  };
  if (!fs::is_regular_file(path, error))
    fail(Errc::io, error ? error.message() + "; check the path" : "is no file; check the path");
  const std::uintmax_t size = fs::file_size(path, error);
  if (error) fail(Errc::io, error.message() + "; check the file");
  if (size > options.max_file_bytes) {
    fail(Errc::unsupported,
         fmt::format("{} bytes are more than LoadOptions::max_file_bytes = {}; raise it to load the model",
                     size, options.max_file_bytes));
  }
  std::vector<std::byte> bytes(size);
  std::ifstream stream{path, std::ios::binary};
  if (!stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size)))
    fail(Errc::io, "cannot be read; check its permissions");
  return bytes;
}

/// `folder` is empty for a model from memory. `bytes` is released once parsed.
Graph import_bytes(std::span<const std::byte> bytes, std::vector<std::byte> owner, const std::string& what,
                   const fs::path& folder, const LoadOptions& options) {
  if (options.batch < 1)
    throw Error{Errc::bad_argument,
                fmt::format("{}: LoadOptions::batch is {}; it must be 1 or more", what, options.batch)};
  try {
    pb::ModelProto model = parse_model(bytes, what, options);
    const std::uint64_t left = options.max_file_bytes - bytes.size();
    std::vector<std::byte>{}.swap(owner);
    if (model.graph().name().empty()) model.mutable_graph()->set_name(fs::path{what}.stem().string());
    return Importer{model, what, options, ExternalData{folder, left}}.run();
  } catch (const std::bad_alloc&) {
    throw Error{Errc::unsupported,
                fmt::format("{}: does not fit into memory; load it on a machine with more", what)};
  }
}

}  // namespace

Graph Graph::load(const fs::path& path, const LoadOptions& options) {
  std::vector<std::byte> bytes = read_file(path, options);
  const std::span<const std::byte> view{bytes};
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path{"."};
  return import_bytes(view, std::move(bytes), path.string(), folder, options);
}

Graph Graph::parse(std::span<const std::byte> onnx, const LoadOptions& options) {
  return import_bytes(onnx, {}, "model", {}, options);
}

}  // namespace splitcnn::inline v0
