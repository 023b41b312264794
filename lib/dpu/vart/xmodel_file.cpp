#include "dpu/vart/xmodel_file.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

namespace splitcnn::inline v0::dpu {

namespace {

constexpr std::size_t most_tensor_bytes = std::size_t{1} << 31;
constexpr int most_depth = 64;
constexpr std::size_t most_rank = 16;

[[noreturn]] void damaged(const std::string& where, const std::string& what) {
  throw Error{Errc::bad_model,
              "xmodel '" + where + "': " + what + "; it is damaged or no xmodel: copy or compile it again"};
}

/// One level of a protobuf message: fields in turn.
class Fields {
 public:
  Fields(std::span<const std::byte> bytes, const std::string& where) : rest_{bytes}, where_{where} {}

  bool next() {
    if (rest_.empty()) return false;
    const std::uint64_t key = varint();
    number_ = static_cast<std::uint32_t>(key >> 3);
    wire_ = static_cast<int>(key & 7);
    if (number_ == 0) damaged(where_, "a field has the number 0");
    switch (wire_) {
      case 0:
        value_ = varint();
        break;
      case 1:
        payload_ = take(8);
        break;
      case 2:
        payload_ = take(varint());
        break;
      case 5:
        payload_ = take(4);
        break;
      default:
        damaged(where_, "a field has no known form");
    }
    return true;
  }
  [[nodiscard]] std::uint32_t number() const { return number_; }
  [[nodiscard]] std::uint64_t value() const {
    if (wire_ != 0) damaged(where_, "a number was expected");
    return value_;
  }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    if (wire_ != 2) damaged(where_, "a message or a text was expected");
    return payload_;
  }
  [[nodiscard]] std::string text() const {
    const auto b = bytes();
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  /// A repeated number, packed or not.
  void numbers(std::vector<std::int64_t>& into, std::size_t most) {
    if (wire_ == 0) {
      into.push_back(static_cast<std::int64_t>(value_));
    } else {
      for (Fields inner{bytes(), where_}; !inner.rest_.empty() && into.size() <= most;)
        into.push_back(static_cast<std::int64_t>(inner.varint()));
    }
    if (into.size() > most) damaged(where_, "a list of numbers is too long");
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) damaged(where_, "it ends too early");
      const auto b = std::to_integer<std::uint64_t>(rest_[0]);
      rest_ = rest_.subspan(1);
      if (shift < 64) value |= (b & 127) << shift;
      if (b < 128) return value;
    }
    damaged(where_, "a number is too long");
  }
  std::span<const std::byte> take(std::uint64_t size) {
    if (size > rest_.size()) damaged(where_, "it ends too early");
    const auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }

  std::span<const std::byte> rest_, payload_;
  const std::string& where_;
  std::uint32_t number_ = 0;
  int wire_ = 0;
  std::uint64_t value_ = 0;
};

/// An attribute, as much of it as anybody here asks for.
struct Attribute {
  std::string name;
  std::uint32_t kind = 0;  // the field of AttrValue that is set
  std::uint64_t number = 0;
  std::string text;
  std::size_t bytes = 0;
  std::map<std::string, std::string> texts;
};

constexpr std::uint32_t kind_text = 11, kind_bytes = 12, kind_map_of_texts = 26, first_kind = 4,
                        last_kind = 32;
constexpr bool is_number(std::uint32_t kind) { return kind >= 5 && kind <= 8; }

/// An entry of map<string, string>.
std::pair<std::string, std::string> text_entry(std::span<const std::byte> bytes, const std::string& where) {
  std::pair<std::string, std::string> entry;
  for (Fields f{bytes, where}; f.next();) (f.number() == 1 ? entry.first : entry.second) = f.text();
  return entry;
}

void parse_value(Attribute& a, std::span<const std::byte> bytes, const std::string& where) {
  for (Fields f{bytes, where}; f.next();) {
    a.kind = f.number();
    if (a.kind < first_kind || a.kind > last_kind)
      damaged(where, "attribute '" + a.name + "' has a type of another version");
    if (is_number(a.kind)) a.number = f.value();
    if (a.kind == kind_text) a.text = f.text();
    if (a.kind < kind_bytes) continue;
    for (Fields inner{f.bytes(), where}; inner.next();) {
      if (a.kind == kind_bytes) a.bytes = inner.bytes().size();
      if (a.kind == kind_map_of_texts) a.texts.insert(text_entry(inner.bytes(), where));
    }
  }
  if (a.kind == 0) damaged(where, "attribute '" + a.name + "' has no value");
}

/// An entry of map<string, AttrValue>.
Attribute parse_attribute(std::span<const std::byte> bytes, const std::string& where) {
  Attribute a;
  std::span<const std::byte> value;
  for (Fields f{bytes, where}; f.next();) {
    if (f.number() == 1) a.name = f.text();
    if (f.number() == 2) value = f.bytes();
  }
  parse_value(a, value, where);
  return a;
}

XmodelTensor parse_tensor(std::span<const std::byte> bytes, const std::string& where) {
  XmodelTensor t;
  for (Fields f{bytes, where}; f.next();) {
    switch (f.number()) {
      case 1:
        t.name = f.text();
        break;
      case 2:
        f.numbers(t.dims, most_rank);
        break;
      case 5:
        t.data_type = static_cast<int>(f.value());
        break;
      case 6:
        t.bits = static_cast<int>(f.value());
        break;
      case 10: {
        const Attribute a = parse_attribute(f.bytes(), where);
        if (a.name != "fix_point") break;
        if (!is_number(a.kind)) damaged(where, "the fix point of tensor '" + t.name + "' is no number");
        t.has_fix_point = true;
        t.fix_point = static_cast<int>(static_cast<std::int64_t>(a.number));
        break;
      }
      default:
        break;
    }
  }
  if (t.name.empty()) damaged(where, "a tensor has no name");
  std::uint64_t elements = 1;
  for (const std::int64_t d : t.dims) {
    if (d < 1 || static_cast<std::uint64_t>(d) > most_tensor_bytes / elements)
      damaged(where, "tensor '" + t.name + "' has an impossible shape");
    elements *= static_cast<std::uint64_t>(d);
  }
  return t;
}

XmodelOp parse_op(std::span<const std::byte> bytes, const std::string& where) {
  XmodelOp op;
  bool tensor = false, psum = false, iter = false;
  for (Fields f{bytes, where}; f.next();) {
    switch (f.number()) {
      case 1:
        op.name = f.text();
        break;
      case 2:
        op.type = f.text();
        break;
      case 3: {
        const Attribute a = parse_attribute(f.bytes(), where);
        if (a.name == "data") op.data_bytes = a.bytes;
        psum |= a.name == "shift_psum";
        iter |= a.name == "ic_iter";
        break;
      }
      case 4:
        for (Fields arg{f.bytes(), where}; arg.next();) {
          if (arg.number() == 2) op.inputs.push_back(arg.text());
        }
        break;
      case 5:
        op.output = parse_tensor(f.bytes(), where);
        tensor = true;
        break;
      default:
        break;
    }
  }
  op.split_sums = psum && iter;
  if (op.name.empty() || op.type.empty() || !tensor)
    damaged(where, "operation '" + op.name + "' lacks its name, its type or its tensor");
  return op;
}

struct RawSubgraph {
  XmodelSubgraph info;
  std::vector<RawSubgraph> children;
};

RawSubgraph parse_subgraph(std::span<const std::byte> bytes, const std::string& where, int depth) {
  if (depth > most_depth) damaged(where, "its subgraphs are nested too deep");
  RawSubgraph s;
  std::vector<std::string> own;
  for (Fields f{bytes, where}; f.next();) {
    switch (f.number()) {
      case 1:
        s.info.name = f.text();
        break;
      case 3:
        own.push_back(f.text());
        break;
      case 5: {
        const Attribute a = parse_attribute(f.bytes(), where);
        if (a.name == "device") s.info.device = a.text;
        if (a.name == "dpu_name") s.info.dpu_name = a.text;
        if (a.name == "runner") s.info.runners = a.texts;
        if (a.name == "workload" && is_number(a.kind)) s.info.workload = a.number;
        if (a.name == "dpu_fingerprint" && is_number(a.kind)) {
          static constexpr char digits[] = "0123456789abcdef";
          for (std::uint64_t n = a.number; n != 0; n >>= 4)
            s.info.fingerprint.insert(s.info.fingerprint.begin(), digits[n & 15]);
        }
        break;
      }
      case 10:
        s.children.push_back(parse_subgraph(f.bytes(), where, depth + 1));
        break;
      default:
        break;
    }
  }
  if (own.empty() == s.children.empty())
    damaged(where, "subgraph '" + s.info.name + "' has both operations and subgraphs, or neither");
  s.info.ops = std::move(own);
  for (const RawSubgraph& child : s.children)
    s.info.ops.insert(s.info.ops.end(), child.info.ops.begin(), child.info.ops.end());
  return s;
}

/// Children in an order in which every one comes behind those it reads from; where a file goes in circles, as
/// they stand.
std::vector<XmodelSubgraph> in_order(const XmodelFile& file, std::vector<RawSubgraph> children) {
  std::map<std::string, std::size_t> owner;
  for (std::size_t c = 0; c < children.size(); ++c) {
    for (const std::string& op : children[c].info.ops) owner[op] = c;
  }
  std::vector<std::set<std::size_t>> needs(children.size());
  for (const XmodelOp& op : file.ops) {
    const auto mine = owner.find(op.name);
    if (mine == owner.end()) continue;
    for (const std::string& input : op.inputs) {
      const auto theirs = owner.find(input);
      if (theirs != owner.end() && theirs->second != mine->second) needs[mine->second].insert(theirs->second);
    }
  }
  std::vector<XmodelSubgraph> ordered;
  std::vector<bool> done(children.size());
  for (std::size_t round = 0; round < children.size(); ++round) {
    std::size_t pick = children.size();
    for (std::size_t c = 0; c < children.size(); ++c) {
      if (done[c]) continue;
      const bool ready =
          std::all_of(needs[c].begin(), needs[c].end(), [&](std::size_t n) { return done[n]; });
      if (pick == children.size() || ready) pick = c;
      if (ready) break;
    }
    done[pick] = true;
    ordered.push_back(std::move(children[pick].info));
  }
  return ordered;
}

}  // namespace

const XmodelOp* XmodelFile::op(const std::string& op_name) const {
  const auto found = index_.find(op_name);
  return found == index_.end() ? nullptr : &ops[found->second];
}

std::vector<const XmodelOp*> XmodelFile::inputs(const XmodelSubgraph& subgraph) const {
  const std::set<std::string> inside{subgraph.ops.begin(), subgraph.ops.end()};
  std::map<std::string, const XmodelOp*> found;
  for (const std::string& own : subgraph.ops) {
    for (const std::string& input : op(own)->inputs) {
      if (!inside.contains(input) && !op(input)->type.starts_with("const"))
        found[op(input)->output.name] = op(input);
    }
    if (op(own)->type == "data-fix") found[op(own)->output.name] = op(own);
  }
  std::vector<const XmodelOp*> list;
  for (const auto& [name, o] : found) list.push_back(o);
  return list;
}

std::vector<const XmodelOp*> XmodelFile::outputs(const XmodelSubgraph& subgraph) const {
  const std::set<std::string> inside{subgraph.ops.begin(), subgraph.ops.end()};
  std::set<std::string> read_inside, read_outside;
  for (const XmodelOp& o : ops)
    (inside.contains(o.name) ? read_inside : read_outside).insert(o.inputs.begin(), o.inputs.end());
  std::map<std::string, const XmodelOp*> found;
  for (const std::string& own : subgraph.ops) {
    const bool last =
        !read_inside.contains(own) && !op(own)->type.starts_with("const") && op(own)->type != "data-fix";
    if (last || read_outside.contains(own)) found[op(own)->output.name] = op(own);
  }
  std::vector<const XmodelOp*> list;
  for (const auto& [name, o] : found) list.push_back(o);
  return list;
}

bool XmodelFile::has_weights(const XmodelSubgraph& subgraph) const {
  const auto stripped = [&](const std::string& name) {
    return op(name)->type.starts_with("const") && op(name)->data_bytes == 0;
  };
  return std::none_of(subgraph.ops.begin(), subgraph.ops.end(), [&](const std::string& own) {
    return stripped(own) || std::any_of(op(own)->inputs.begin(), op(own)->inputs.end(), stripped);
  });
}

XmodelFile parse_xmodel(std::span<const std::byte> bytes, const std::string& where) {
  XmodelFile file;
  std::vector<RawSubgraph> roots;
  for (Fields f{bytes, where}; f.next();) {
    switch (f.number()) {
      case 1:
        file.name = f.text();
        break;
      case 5:
        file.ops.push_back(parse_op(f.bytes(), where));
        break;
      case 10:
        roots.push_back(parse_subgraph(f.bytes(), where, 0));
        break;
      case 11:
        (void)parse_attribute(f.bytes(), where);
        break;
      default:
        break;
    }
  }
  if (file.ops.empty() || roots.size() != 1) damaged(where, "it has no operations or not one root");
  for (std::size_t i = 0; i < file.ops.size(); ++i) {
    if (!file.index_.emplace(file.ops[i].name, i).second)
      damaged(where, "two operations are called '" + file.ops[i].name + "'");
  }
  for (const XmodelOp& o : file.ops) {
    for (const std::string& input : o.inputs) {
      if (!file.op(input))
        damaged(where, "operation '" + o.name + "' reads '" + input + "', which is not there");
    }
  }
  std::set<std::string> seen;
  for (const std::string& name : roots[0].info.ops) {
    if (!file.op(name) || !seen.insert(name).second)
      damaged(where, "a subgraph lists operation '" + name + "', which is not there or in another one, too");
  }
  if (roots[0].children.empty()) return file;
  file.subgraphs = in_order(file, std::move(roots[0].children));
  return file;
}

XmodelFile read_xmodel(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    throw Error{Errc::io, "xmodel '" + path + "': is not a file"};
  const auto size = std::filesystem::file_size(path, error);
  if (error || size > most_tensor_bytes)
    throw Error{Errc::io, "xmodel '" + path + "': cannot be read, or is larger than 2 GiB"};
  std::vector<std::byte> bytes(size);
  std::ifstream in{path, std::ios::binary};
  if (!in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size)))
    throw Error{Errc::io, "xmodel '" + path + "': cannot be read"};
  return parse_xmodel(bytes, path);
}

}  // namespace splitcnn::inline v0::dpu
