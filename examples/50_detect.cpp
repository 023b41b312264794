// Faces in pictures: a detector with two outputs, cut in two; choosing the boxes is a stage of our own.
//
//     50_detect ultraface_rfb_320.onnx photo.jpg ...
//
// Output 0 holds a score per class, output 1 the corners of a box in 0..1, one row per anchor. Without a
// sidecar beside the model the DPU is calibrated on the pictures themselves.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_FAILURE_USERMSG
#include <stb/stb_image.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <splitcnn/splitcnn.hpp>
#include <string>
#include <vector>

namespace sc = splitcnn;

namespace {

constexpr int most_faces = 64;
struct Face {
  float score, left, top, right, bottom;
};

/// A decoded picture, freed with its owner.
struct Picture {
  explicit Picture(const std::string& path)
      : pixels{stbi_load(path.c_str(), &width, &height, nullptr, 3), stbi_image_free} {
    if (!pixels)
      throw sc::Error{sc::Errc::io, path + ": cannot be read as a picture: " + stbi_failure_reason()};
  }
  [[nodiscard]] sc::CameraFrame frame() const {
    return {.width = width,
            .height = height,
            .planes = {pixels.get()},
            .strides = {static_cast<std::size_t>(width) * 3}};
  }
  int width = 0, height = 0;
  std::unique_ptr<stbi_uc, void (*)(void*)> pixels;
};

float overlap(const Face& a, const Face& b) {
  const float w = std::min(a.right, b.right) - std::max(a.left, b.left);
  const float h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  if (w <= 0 || h <= 0) return 0;
  const auto area = [](const Face& f) { return (f.right - f.left) * (f.bottom - f.top); };
  return w * h / (area(a) + area(b) - w * h);
}

/// Non-maximum suppression: the best box of every heap of boxes over the same face. Unused rows of the output
/// score 0.
void select(std::span<const sc::TensorView> in, std::span<const sc::TensorView> out) {
  const std::size_t anchors = static_cast<std::size_t>(in[1].spec->shape.elements()) / 4;
  const std::size_t classes = static_cast<std::size_t>(in[0].spec->shape.elements()) / anchors;
  const auto* scores = reinterpret_cast<const float*>(in[0].data);
  const auto* boxes = reinterpret_cast<const float*>(in[1].data);
  std::vector<Face> found;
  for (std::size_t i = 0; i < anchors; ++i) {
    const float score = scores[i * classes + classes - 1];
    if (score > 0.7f)
      found.push_back({score, boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]});
  }
  std::sort(found.begin(), found.end(), [](const Face& a, const Face& b) { return a.score > b.score; });
  auto* faces = reinterpret_cast<Face*>(out[0].data);
  int kept = 0;
  for (const Face& face : found) {
    const auto same = [&](const Face& other) { return overlap(face, other) > 0.3f; };
    if (kept < most_faces && std::none_of(faces, faces + kept, same)) faces[kept++] = face;
  }
  std::fill(faces + kept, faces + most_faces, Face{});
}

/// The picture as the network would see it: float, planes (N,C,H,W).
sc::Tensor network_input(const Picture& picture, const sc::InputTransform& transform,
                         const sc::GraphTensor& input) {
  sc::Tensor rows{{.shape = sc::storage_shape(input.shape)}};
  sc::transform(picture.frame(), transform, rows.view());
  sc::Tensor planes{{.name = input.name, .shape = input.shape}};
  const auto from = rows.as<float>(), to = planes.as<float>();
  const std::size_t area = to.size() / 3;
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = from[i % area * 3 + i / area];
  return planes;
}

/// Scores and boxes; refuses what is no detector for colour pictures.
std::vector<sc::TensorSpec> outputs_of(const sc::Graph& graph) {
  std::vector<sc::TensorSpec> specs;
  for (const auto id : graph.outputs())
    specs.push_back({.name = graph.tensor(id).name, .shape = graph.tensor(id).shape});
  const sc::Shape& in = graph.tensor(graph.inputs()[0]).shape;
  if (specs.size() != 2 || specs[1].shape.rank() == 0 || specs[1].shape.back() != 4 || in.rank() != 4 ||
      in[1] != 3)
    throw sc::Error{sc::Errc::mismatch, graph.name() + ": is no detector with scores and boxes"};
  return specs;
}

void run(const std::string& model, std::span<char*> paths) {
  const sc::Graph graph = sc::load_model(model);
  const std::vector<sc::TensorSpec> outputs = outputs_of(graph);
  const std::vector<sc::TensorSpec> faces_spec{{.name = "faces", .shape = {most_faces, 5}}};
  const auto sidecar = sc::Sidecar::path_for(model);
  const auto transform = sc::Sidecar::load(sidecar).input_transform.value_or(
      sc::InputTransform{.mean = {127, 127, 127}, .scale = {1 / 128.f, 1 / 128.f, 1 / 128.f}});
  std::vector<Picture> pictures;
  std::vector<sc::Tensor> frames;
  for (const char* path : paths) {
    pictures.emplace_back(path);
    frames.push_back(network_input(pictures.back(), transform, graph.tensor(graph.inputs()[0])));
  }
  const sc::Partitioner parts{exists(sidecar) ? sc::QuantizedGraph::load(graph, sidecar)
                                              : sc::Quantizer{}.calibrate(graph, frames)};
  int last_legal = 0;
  for (const sc::Cut& cut : parts.cuts()) last_legal = cut.legal ? cut.k : last_legal;
  sc::Plan plan = parts.split_at(last_legal / 2);
  plan.input_transform = transform;

  std::vector<std::unique_ptr<sc::Stage>> after;
  after.push_back(std::make_unique<sc::HostStage>("select", outputs, faces_spec, select));
  sc::Pipeline pipe{plan, sc::Devices::open("dpu:0,gpu:0"), {}, std::move(after)};
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const sc::Result result = pipe.infer(pictures[i].frame());
    if (!result.ok()) throw sc::Error{result.status().code, result.status().message};
    const std::span all{reinterpret_cast<const Face*>(result.bytes().data()), most_faces};
    const auto faces =
        all.first(std::count_if(all.begin(), all.end(), [](const Face& f) { return f.score > 0; }));
    std::printf("%s: %zu faces, %.2f ms\n", paths[i], faces.size(), result.latency().count());
    const auto w = static_cast<float>(pictures[i].width), h = static_cast<float>(pictures[i].height);
    for (const Face& f : faces) {
      std::printf("  %.2f  at %.0f,%.0f  size %.0fx%.0f\n", f.score, f.left * w, f.top * h,
                  (f.right - f.left) * w, (f.bottom - f.top) * h);
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string first = argc > 1 ? argv[1] : "no model";
  if (first == "--help") return std::puts("usage: 50_detect MODEL.onnx PICTURE...\nFinds faces."), 0;
  if (argc < 3) {
    std::fprintf(stderr, "50_detect: %s: a model and pictures are needed; see --help\n", first.c_str());
    return 2;
  }
  run(argv[1], {argv + 2, argv + argc});
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "50_detect: %s\n", e.what());
  return 1;
}
