#pragma once
/// A small xmodel as XIR writes it, for tests and as a seed for fuzzing: one convolution between a user's
/// input and a DPU's output.
#include <cstddef>
#include <string>

namespace splitcnn_test {

/// A protobuf field with a payload, and one with a small number.
inline std::string field(int number, const std::string& payload) {
  std::string bytes;
  for (std::size_t n = static_cast<std::size_t>(number << 3 | 2);; n >>= 7) {
    bytes += static_cast<char>((n & 127) | (n > 127 ? 128 : 0));
    if (n < 128) break;
  }
  for (std::size_t n = payload.size();; n >>= 7) {
    bytes += static_cast<char>((n & 127) | (n > 127 ? 128 : 0));
    if (n < 128) return bytes + payload;
  }
}
inline std::string field(int number, unsigned value) {
  return {static_cast<char>(number << 3), static_cast<char>(value & 127)};
}

/// What to leave out or change.
struct XmodelOptions {
  std::string weights = "0123456789", input = "x", output = "y", device = "DPU", runner = "runner",
              extra_op_attribute{}, read = "x";
  unsigned bits = 8;
  bool fix_points = true, fingerprint = true;
};

inline std::string xmodel_bytes(const XmodelOptions& o = {}) {
  const auto attribute = [](const std::string& name, const std::string& value) {
    return field(1, name) + field(2, value);
  };
  const auto tensor = [&](const std::string& name) {
    std::string t = field(1, name) + field(2, 1) + field(2, 4) + field(2, 4) + field(2, 3) + field(5, 2) +
                    field(6, o.bits);
    if (o.fix_points) t += field(10, attribute("fix_point", field(5, 6)));
    return t;
  };
  const auto op = [&](const std::string& name, const char* type, const std::string& rest) {
    return field(5, field(1, name) + field(2, type) + rest + field(5, tensor(name)));
  };
  const std::string data =
      field(3, attribute("data", field(12, o.weights.empty() ? std::string{} : field(1, o.weights))));
  std::string conv =
      field(4, field(1, "input") + field(2, o.read)) + field(4, field(1, "weights") + field(2, "w"));
  if (!o.extra_op_attribute.empty())
    conv +=
        field(3, attribute(o.extra_op_attribute, field(5, 1))) + field(3, attribute("ic_iter", field(6, 2)));
  const std::string runners = field(
      26, field(1, field(1, "ref") + field(2, "lib.so")) + field(1, field(1, "run") + field(2, "lib.so")));
  const std::string user =
      field(1, "in") + field(3, o.input) + field(5, attribute("device", field(11, "USER")));
  std::string dpu = field(1, "head") + field(3, "w") + field(3, o.output) +
                    field(5, attribute("device", field(11, o.device))) +
                    field(5, attribute(o.runner, runners));
  if (o.fingerprint) dpu += field(5, attribute("dpu_fingerprint", field(8, 0x11)));
  return field(1, "seed") + op(o.input, "data-fix", "") + op("w", "const-fix", data) +
         op(o.output, "conv2d-fix", conv) + field(10, field(1, "root") + field(10, user) + field(10, dpu));
}

}  // namespace splitcnn_test
