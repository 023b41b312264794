#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.hpp"
#include "core/json_file.hpp"
#include "pipeline/plan_stages.hpp"
#include "pipeline/recording.hpp"
#include "plan/plan_json.hpp"

namespace splitcnn::inline v0 {

namespace {

constexpr std::size_t most_batch = 4096;

struct Reader {
  std::string where;
  std::ifstream file;

  explicit Reader(const std::filesystem::path& path) : where{path.string()}, file{path, std::ios::binary} {
    if (!file) throw Error{Errc::io, where + ": cannot be read"};
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error{Errc::bad_file, where + ": " + what + "; record again"};
  }

  bool read(void* to, std::size_t bytes) {
    return static_cast<bool>(file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes)));
  }

  nlohmann::json header() {
    std::array<char, recording_magic.size()> magic{};
    std::uint32_t length = 0;
    if (!read(magic.data(), magic.size()) || magic != recording_magic || !read(&length, sizeof(length)) ||
        length > most_header_bytes) {
      fail("is not a recording");
    }
    std::string text(length, '\0');
    if (!read(text.data(), length)) fail("ends inside its header");
    nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
    if (value.is_discarded()) fail("has a header that is not JSON");
    check_format(value, recording_format, recording_version, where);
    return value;
  }
};

/// One batch's tensors.
struct BatchBuffers {
  std::vector<Tensor> tensors;
  std::vector<TensorView> views;

  BatchBuffers(std::span<const TensorSpec> specs, std::size_t frames) {
    for (std::size_t f = 0; f < frames; ++f) {
      for (const TensorSpec& spec : specs) tensors.emplace_back(spec);
    }
    for (Tensor& t : tensors) views.push_back(t.view());
  }
  void read(Reader& reader) {
    for (Tensor& t : tensors) {
      if (!reader.read(t.bytes().data(), t.bytes().size())) reader.fail("ends inside a batch");
    }
  }
};

double element(const TensorSpec& spec, const std::byte* data, std::size_t i) {
  switch (spec.dtype) {
    case DType::f32: {
      float v = 0;
      std::memcpy(&v, data + 4 * i, 4);
      return v;
    }
    case DType::f16: {
      std::uint16_t v = 0;
      std::memcpy(&v, data + 2 * i, 2);
      return from_half(v);
    }
    case DType::i8:
      return static_cast<std::int8_t>(data[i]);
    case DType::u8:
      return static_cast<std::uint8_t>(data[i]);
  }
  return 0;
}

/// Nothing when every byte is the same.
std::optional<ReplayDifference> compare(const TensorSpec& spec, std::span<const std::byte> was,
                                        std::span<const std::byte> is) {
  if (std::equal(was.begin(), was.end(), is.begin(), is.end())) return std::nullopt;
  ReplayDifference d{.tensor = spec.name};
  const std::size_t size = size_of(spec.dtype);
  for (std::size_t i = 0; i < was.size() / size; ++i) {
    if (std::memcmp(was.data() + i * size, is.data() + i * size, size) == 0) continue;
    const double a = element(spec, was.data(), i), b = element(spec, is.data(), i);
    if (d.elements++ == 0) d.element = i, d.recorded = a, d.replayed = b;
    d.largest = std::max(d.largest, std::abs(a - b));
  }
  return d;
}

class Replaying {
 public:
  Replaying(Reader& reader, Stages stages)
      : reader_{reader}, stages_{std::move(stages)}, prepared_(stages_.size()) {}

  Replay run() {
    EntryHead head;
    while (reader_.read(&head, sizeof(head))) {
      if (head.byte_order != EntryHead{}.byte_order || head.frames == 0 || head.frames > most_batch)
        reader_.fail("holds something that is no batch");
      if (head.stage < stages_.size()) {
        batch(head);
      } else {
        skip(head);
      }
    }
    if (reader_.file.gcount() != 0) reader_.fail("ends inside a batch");
    return result_;
  }

 private:
  static std::uint64_t bytes_of(std::span<const TensorSpec> specs) {
    std::uint64_t sum = 0;
    for (const TensorSpec& spec : specs) sum += spec.bytes();
    return sum;
  }

  /// Of a stage behind the plan's.
  void skip(const EntryHead& head) {
    constexpr std::uint64_t most = std::uint64_t{1} << 40;
    if (head.input_bytes > most || head.output_bytes > most) reader_.fail("holds something that is no batch");
    reader_.file.seekg(static_cast<std::streamoff>(head.input_bytes + head.output_bytes), std::ios::cur);
    ++result_.skipped;
  }

  void batch(const EntryHead& head) {
    Stage& stage = *stages_[head.stage];
    if (head.frames > std::max<std::size_t>(stage.preferred_batch(), 1))
      reader_.fail(fmt::format("has a batch of {} for '{}'", head.frames, stage.name()));
    if (head.input_bytes != head.frames * bytes_of(stage.inputs()) ||
        head.output_bytes != (head.failed ? 0 : head.frames * bytes_of(stage.outputs()))) {
      throw Error{Errc::mismatch, fmt::format("{}: the edges of '{}' were of another size when it was "
                                              "recorded; replay on devices of the same kinds",
                                              reader_.where, stage.name())};
    }
    if (!prepared_[head.stage]) stage.prepare(), prepared_[head.stage] = true;
    BatchBuffers in{stage.inputs(), head.frames}, was{stage.outputs(), head.failed ? 0 : head.frames},
        is{stage.outputs(), head.frames};
    in.read(reader_);
    was.read(reader_);
    const Status status =
        stage.wait(stage.submit({head.frames, in.views, is.views}), Clock::now() + std::chrono::minutes{5});
    const std::size_t number = result_.batches++;
    result_.frames += head.frames;
    if (head.failed) {
      ++result_.failed;
    } else if (!status.ok()) {
      ++result_.failed_now;
    } else {
      compare_all(stage, number, was, is);
    }
  }

  void compare_all(const Stage& stage, std::size_t number, const BatchBuffers& was, const BatchBuffers& is) {
    const std::size_t outputs = stage.outputs().size();
    for (std::size_t i = 0; i < was.tensors.size(); ++i, ++result_.tensors) {
      auto d = compare(was.tensors[i].spec(), was.tensors[i].bytes(), is.tensors[i].bytes());
      if (!d) continue;
      ++result_.different;
      if (result_.first) continue;
      d->stage = stage.name(), d->device = stage.device(), d->batch = number, d->frame = i / outputs;
      result_.first = std::move(d);
    }
  }

  Reader& reader_;
  Stages stages_;
  std::vector<bool> prepared_;
  Replay result_;
};

}  // namespace

std::string ReplayDifference::sentence() const {
  return fmt::format(
      "batch {}, frame {}: '{}' of {} on {} differs in {} element{}, first in number {}: was {:g}, is {:g}; "
      "largest difference {:g}",
      batch, frame, tensor, stage, device, elements, elements == 1 ? "" : "s", element, recorded, replayed,
      largest);
}

Replay replay_recording(const std::filesystem::path& path, const Graph& graph,
                        std::optional<QuantizedGraph> quant, const Devices& devices) {
  Reader reader{path};
  const nlohmann::json header = reader.header();
  const Plan plan = plan_from_json(require<nlohmann::json>(header, "plan", reader.where), reader.where, graph,
                                   std::move(quant));
  return Replaying{reader, load_stages(plan, devices).stages}.run();
}

}  // namespace splitcnn::inline v0
