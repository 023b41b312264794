// splitcnn calibrate: chooses the fix points of a model on a few frames and stores them beside it.
#include <fmt/core.h>

#include <fstream>

#include "calibrate_report.hpp"
#include "terminal.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct CalibrateOptions {
  std::string model, frames, resize, sampling, order, labels;
  std::vector<float> mean, scale, std_dev;
  std::optional<int> short_side;
  std::size_t most = 128;
  bool fine = false, report = false, json = false;
  sc::Granularity granularity = sc::Granularity::block;
};

const std::map<std::string, sc::Resize> resizes{{"none", sc::Resize::none},
                                                {"stretch", sc::Resize::stretch},
                                                {"center_crop", sc::Resize::center_crop},
                                                {"letterbox", sc::Resize::letterbox}};
const std::map<std::string, sc::Sampling> samplings{{"bilinear", sc::Sampling::bilinear},
                                                    {"area", sc::Sampling::area}};
const std::map<std::string, sc::ColorOrder> orders{{"rgb", sc::ColorOrder::rgb},
                                                   {"bgr", sc::ColorOrder::bgr}};

std::array<float, 3> three(const std::vector<float>& values, const char* option) {
  if (values.size() == 1) return {values[0], values[0], values[0]};
  if (values.size() == 3) return {values[0], values[1], values[2]};
  throw sc::Error{sc::Errc::bad_argument,
                  fmt::format("{}: give one number or three, separated by commas", option)};
}

/// What the sidecar says, changed by what the command line says; nullopt when neither says anything.
std::optional<sc::InputTransform> transform_of(const CalibrateOptions& options, const sc::Sidecar& sidecar) {
  sc::InputTransform t = sidecar.input_transform.value_or(sc::InputTransform{});
  bool given = sidecar.input_transform.has_value();
  const auto set = [&given](auto& field, const auto& value) {
    field = value;
    given = true;
  };
  if (!options.mean.empty()) set(t.mean, three(options.mean, "--mean"));
  if (!options.scale.empty()) set(t.scale, three(options.scale, "--scale"));
  if (!options.std_dev.empty()) {
    std::array<float, 3> divisor = three(options.std_dev, "--std");
    for (float& d : divisor) {
      if (!(d > 0)) throw sc::Error{sc::Errc::bad_argument, "--std: every number must be above 0"};
      d = 1 / d;
    }
    set(t.scale, divisor);
  }
  if (!options.resize.empty()) set(t.resize, resizes.at(options.resize));
  if (!options.sampling.empty()) set(t.sampling, samplings.at(options.sampling));
  if (!options.order.empty()) set(t.order, orders.at(options.order));
  if (options.short_side) set(t.short_side, *options.short_side);
  return given ? std::optional{t} : std::nullopt;
}

std::vector<std::string> read_labels(const std::string& path) {
  std::ifstream file{path};
  if (!file)
    throw sc::Error{sc::Errc::io,
                    fmt::format("{}: cannot be read; give a text file with one label per line", path)};
  std::vector<std::string> labels;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    labels.push_back(line);
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  return labels;
}

void calibrate(const CalibrateOptions& options) {
  Model model = open_model(options.model);
  if (model.zoo) {
    throw sc::Error{
        sc::Errc::bad_argument,
        fmt::format("{}: zoo models have random weights and are calibrated on noise where needed; there is "
                    "nothing to store",
                    options.model)};
  }
  const std::optional<sc::InputTransform> transform = transform_of(options, model.sidecar);
  const std::vector<sc::Tensor> frames = read_frames(options.frames, options.most, model, transform);
  const std::size_t count = frames.size() / model.graph.inputs().size();
  std::optional<sc::QuantizedGraph> quant;
  {
    ProgressBar bar{"calibrating"};
    quant = sc::Quantizer{{.max_frames = options.most, .progress = bar.callback()}}.calibrate(model.graph,
                                                                                              frames);
  }
  if (options.fine) {
    ProgressBar bar{"fine tuning"};
    quant = sc::fine_tune(*quant, frames, {.max_frames = options.most, .progress = bar.callback()});
  }
  if (transform || !options.labels.empty()) {
    model.sidecar.input_transform = transform;
    if (!options.labels.empty()) model.sidecar.labels = read_labels(options.labels);
    model.sidecar.save(model.sidecar_path);
  }
  quant->save(model.sidecar_path);
  if (!options.json) {
    fmt::print("{}: calibrated on {} frames{}, stored in {}\n", model.name, count, options.fine ? ", weights fine-tuned" : "",
               model.sidecar_path.string());
  }
  if (options.report || options.json) report_calibration(*quant, frames, options.granularity, options.json);
}

}  // namespace

void add_calibrate(CLI::App& app) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "Chooses INT8 fix points on a few frames; stores them beside the model");
  command->add_option("MODEL", options->model, "ONNX file")->required();
  command
      ->add_option("--frames", options->frames, "folder of images, .txt list of them, or raw float32 frames")
      ->required()
      ->type_name("DIR|FILE");
  command->add_option("--max-frames", options->most, "use at most this many, spread over a folder")
      ->check(within(1, 100000))
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--fine", options->fine,
                    "choose every layer's weight bytes by what the layers before it really give it: closer to float, "
                    "takes minutes");
  command->add_flag("--report", options->report,
                    "then run up to 32 of the frames in INT8 and in float, and print per layer fix points, saturation and "
                    "signal-to-noise ratio, per cut its ratio and how often the top class is the same");
  command->add_flag("--json", options->json, "the report as one JSON object");
  add_granularity(*command, options->granularity);
  const std::string images = "Images";
  command->add_option("--mean", options->mean, "subtracted from 0..255, one or three numbers")
      ->delimiter(',')
      ->group(images);
  auto* scale =
      command->add_option("--scale", options->scale, "multiplied after that")->delimiter(',')->group(images);
  command->add_option("--std", options->std_dev, "divides instead of --scale")
      ->delimiter(',')
      ->group(images)
      ->excludes(scale);
  command->add_option("--order", options->order, "colour order the model wants")
      ->check(CLI::IsMember({"rgb", "bgr"}))
      ->group(images);
  command->add_option("--resize", options->resize, "how frames become the model's size")
      ->check(CLI::IsMember({"none", "stretch", "center_crop", "letterbox"}))
      ->group(images);
  command->add_option("--sampling", options->sampling, "bilinear or area")
      ->check(CLI::IsMember({"bilinear", "area"}))
      ->group(images);
  command->add_option("--short-side", options->short_side, "center_crop: short side before the crop")
      ->check(within(1, 16384))
      ->type_name("N")
      ->group(images);
  command
      ->add_option("--labels", options->labels, "text file, one class name per line; kept beside the model")
      ->group(images);
  command->footer(
      "Examples:\n"
      "  splitcnn calibrate net.onnx --frames frames.f32\n"
      "  splitcnn calibrate mobilenet_v2.onnx --frames photos/ --mean 128 --scale 0.0078125 \\\n"
      "      --resize center_crop --short-side 256 --labels imagenet.txt\n"
      "The image options are stored, too: they become the input transform for camera frames.");
  command->callback([options] { calibrate(*options); });
}

}  // namespace tool
