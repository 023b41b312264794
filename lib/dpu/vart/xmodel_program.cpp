#include "dpu/vart/xmodel_program.hpp"

namespace splitcnn::inline v0::dpu {

namespace {

constexpr std::uint32_t magic = 0x4d584353;  // "SCXM"
constexpr std::uint32_t version = 1;
constexpr std::size_t most_ops = 100'000, most_text = 4096, most_blob_bytes = std::size_t{1} << 30;

template <std::size_t n>
void put_all(ByteWriter& out, const std::array<std::int32_t, n>& values) {
  for (const std::int32_t v : values) out.number(v);
}
template <std::size_t n>
void get(ByteReader& in, std::array<std::int32_t, n>& values) {
  for (std::int32_t& v : values) v = in.number<std::int32_t>();
}

void put_all(ByteWriter& out, const std::vector<std::byte>& bytes) {
  out.number(static_cast<std::uint32_t>(bytes.size()));
  out.raw(bytes);
}
void get(ByteReader& in, std::vector<std::byte>& bytes) {
  const auto raw = in.raw(in.count(most_blob_bytes));
  bytes.assign(raw.begin(), raw.end());
}

}  // namespace

std::vector<std::byte> encode(const XmodelProgram& program) {
  ByteWriter out;
  out.number(magic);
  out.number(version);
  out.text(program.name);
  out.number(static_cast<std::uint32_t>(program.ops.size()));
  for (const XmodelProgramOp& op : program.ops) {
    for (const std::string* text : {&op.type, &op.name, &op.variant, &op.nonlinear}) out.text(*text);
    out.number(static_cast<std::uint32_t>(op.inputs.size()));
    for (const std::uint32_t i : op.inputs) out.number(i);
    put_all(out, op.shape);
    out.number(op.fix_point);
    put_all(out, op.kernel);
    put_all(out, op.stride);
    put_all(out, op.dilation);
    put_all(out, op.pad);
    out.number(op.fp_weight);
    out.number(op.fp_bias);
    put_all(out, op.weight_shape);
    put_all(out, op.weights);
    put_all(out, op.bias);
  }
  return std::move(out).take();
}

XmodelProgram decode_program(std::span<const std::byte> bytes) {
  ByteReader in{bytes, "xmodel program"};
  if (in.number<std::uint32_t>() != magic || in.number<std::uint32_t>() != version)
    in.bad("it is none, or of another version");
  XmodelProgram program{.name = in.text(most_text), .ops = {}};
  const std::size_t count = in.count(most_ops);
  for (std::size_t i = 0; i < count; ++i) {
    XmodelProgramOp op;
    for (std::string* text : {&op.type, &op.name, &op.variant, &op.nonlinear}) *text = in.text(most_text);
    const std::size_t inputs = in.count(i);
    for (std::size_t k = 0; k < inputs; ++k) {
      op.inputs.push_back(in.number<std::uint32_t>());
      if (op.inputs.back() >= i) in.bad("operation '" + op.name + "' reads one that comes later");
    }
    get(in, op.shape);
    op.fix_point = in.number<std::int32_t>();
    get(in, op.kernel);
    get(in, op.stride);
    get(in, op.dilation);
    get(in, op.pad);
    op.fp_weight = in.number<std::int32_t>();
    op.fp_bias = in.number<std::int32_t>();
    get(in, op.weight_shape);
    get(in, op.weights);
    get(in, op.bias);
    program.ops.push_back(std::move(op));
  }
  in.end();
  return program;
}

}  // namespace splitcnn::inline v0::dpu
