#pragma once
/// Writes ONNX messages byte by byte, so that tests can make files no honest exporter would: the tests do not
/// use the generated classes the importer is built on.
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace splitcnn_test {

/// One protobuf message being written.
class Message {
 public:
  Message& number(int field, std::uint64_t value) { return key(field, 0).varint(value); }
  Message& text(int field, std::string_view bytes) {
    key(field, 2).varint(bytes.size());
    out_ += bytes;
    return *this;
  }
  Message& message(int field, const Message& m) { return text(field, m.out_); }
  Message& real(int field, float value) {
    key(field, 5);
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return out_; }

 private:
  Message& key(int field, int wire) {
    return varint(static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire));
  }
  Message& varint(std::uint64_t v) {
    for (; v >= 0x80; v >>= 7) out_ += static_cast<char>(v | 0x80);
    out_ += static_cast<char>(v);
    return *this;
  }
  std::string out_;
};

enum OnnxType { float32 = 1, int32 = 6, int64 = 7, string = 8, float16 = 10, float64 = 11 };

inline Message attribute(std::string_view name, std::int64_t value) {
  return Message{}.text(1, name).number(3, static_cast<std::uint64_t>(value)).number(20, 2);
}
inline Message list_attribute(std::string_view name, const std::vector<std::int64_t>& values) {
  Message m;
  m.text(1, name).number(20, 7);
  for (const std::int64_t v : values) m.number(8, static_cast<std::uint64_t>(v));
  return m;
}
inline Message attribute(std::string_view name, std::string_view value) {
  return Message{}.text(1, name).text(4, value).number(20, 3);
}
inline Message attribute(std::string_view name, const Message& tensor) {
  return Message{}.text(1, name).message(5, tensor).number(20, 4);
}

inline Message tensor(std::string_view name, int type, const std::vector<std::int64_t>& dims,
                      std::string_view raw) {
  Message m;
  for (const std::int64_t d : dims) m.number(1, static_cast<std::uint64_t>(d));
  return m.number(2, static_cast<std::uint64_t>(type)).text(8, name).text(9, raw);
}
inline Message floats(std::string_view name, const std::vector<std::int64_t>& dims,
                      const std::vector<float>& values) {
  return tensor(name, float32, dims,
                {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}
inline Message integers(std::string_view name, const std::vector<std::int64_t>& dims,
                        const std::vector<std::int64_t>& values) {
  return tensor(name, int64, dims,
                {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)});
}
inline Message external(std::string_view name, const std::vector<std::int64_t>& dims,
                        const std::vector<std::pair<std::string, std::string>>& entries) {
  Message m;
  for (const std::int64_t d : dims) m.number(1, static_cast<std::uint64_t>(d));
  m.number(2, float32).text(8, name).number(14, 1);
  for (const auto& [key, value] : entries) m.message(13, Message{}.text(1, key).text(2, value));
  return m;
}

inline Message node(std::string_view op, const std::vector<std::string>& inputs,
                    const std::vector<std::string>& outputs, const std::vector<Message>& attributes = {},
                    std::string_view name = {}) {
  Message m;
  for (const auto& i : inputs) m.text(1, i);
  for (const auto& o : outputs) m.text(2, o);
  if (!name.empty()) m.text(3, name);
  m.text(4, op);
  for (const auto& a : attributes) m.message(5, a);
  return m;
}

/// A dimension < 0 is written as the symbol "d".
inline Message value_info(std::string_view name, const std::vector<std::int64_t>& dims, int type = float32) {
  Message shape;
  for (const std::int64_t d : dims)
    shape.message(1, d < 0 ? Message{}.text(2, "d") : Message{}.number(1, static_cast<std::uint64_t>(d)));
  const Message tensor_type = Message{}.number(1, static_cast<std::uint64_t>(type)).message(2, shape);
  return Message{}.text(1, name).message(2, Message{}.message(1, tensor_type));
}

struct OnnxModel {
  std::vector<Message> nodes, initializers;
  std::vector<Message> inputs{value_info("x", {1, 3, 8, 8})}, outputs{value_info("y", {})};
  std::int64_t opset = 13, ir = 8;

  [[nodiscard]] Message graph() const {
    Message m;
    for (const auto& n : nodes) m.message(1, n);
    m.text(2, "g");
    for (const auto& t : initializers) m.message(5, t);
    for (const auto& v : inputs) m.message(11, v);
    for (const auto& v : outputs) m.message(12, v);
    return m;
  }
  [[nodiscard]] std::string bytes() const {
    Message m;
    m.number(1, static_cast<std::uint64_t>(ir)).message(7, graph());
    m.message(8, Message{}.text(1, "").number(2, static_cast<std::uint64_t>(opset)));
    return m.bytes();
  }
};

}  // namespace splitcnn_test
