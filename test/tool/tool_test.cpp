// Every command on zoo:lenet5: exit codes, JSON contracts, and outputs that agree with each other.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tool/tool.hpp"

#include <nlohmann/json.hpp>

#include "splitcnn/graph.hpp"

using nlohmann::json;
using splitcnn_test::TemporaryFolder;
using splitcnn_test::tool;

namespace {

json json_of(const std::string& arguments) {
  const auto result = tool(arguments);
  INFO(arguments << '\n' << result.err);
  REQUIRE(result.exit_code == 0);
  return json::parse(result.out);
}

std::size_t input_elements() {
  const auto graph = splitcnn::Graph::zoo("lenet5");
  return static_cast<std::size_t>(graph.tensor(graph.inputs()[0]).shape.elements());
}

}  // namespace

TEST_CASE("help and usage errors") {
  REQUIRE(tool("--help").exit_code == 0);
  REQUIRE(tool("--version").exit_code == 0);
  for (const char* command : {"inspect", "calibrate", "profile", "plan", "run", "bench", "doctor"}) {
    CAPTURE(command);
    const auto help = tool(std::string{command} + " --help");
    REQUIRE(help.exit_code == 0);
    REQUIRE(help.out.find("Examples:") != std::string::npos);
  }
  for (const char* wrong : {"", "frobnicate", "inspect", "inspect zoo:lenet5 --what",
                            "bench zoo:lenet5 --cut seven", "bench zoo:lenet5 --frames -1"}) {
    CAPTURE(wrong);
    const auto result = tool(wrong);
    REQUIRE(result.exit_code == 2);
    REQUIRE(!result.err.empty());
  }
}

TEST_CASE("errors are one sentence and exit code 1") {
  for (const char* wrong :
       {"inspect zoo:nothing", "inspect /no/such/file.onnx", "plan zoo:lenet5 --profile /no/such.json",
        "run zoo:lenet5 --input /no/such.f32 --devices cpu --output-dir /tmp",
        "calibrate zoo:lenet5 --frames /tmp", "bench zoo:lenet5 --devices dpu,gpu,cpu",
        "bench zoo:lenet5 --cut 99", "bench zoo:lenet5 --devices gpu,gpu"}) {
    CAPTURE(wrong);
    const auto result = tool(wrong);
    REQUIRE(result.exit_code == 1);
    REQUIRE(result.out.empty());
    REQUIRE(result.err.find("splitcnn: ") != std::string::npos);
  }
}

TEST_CASE("inspect") {
  const json j = json_of("inspect zoo:lenet5 --json");
  const auto graph = splitcnn::Graph::zoo("lenet5");
  const auto cuts = splitcnn::cuts(graph);
  REQUIRE(j.at("nodes") == graph.nodes().size());
  REQUIRE(j.at("units") == cuts.size() - 1);
  REQUIRE(j.at("cuts").size() == cuts.size());
  for (std::size_t k = 0; k < cuts.size(); ++k) {
    const json& cut = j["cuts"][k];
    REQUIRE(cut.at("k") == k);
    REQUIRE(cut.at("after") == cuts[k].after);
    REQUIRE(cut.at("legal") == cuts[k].legal);
    REQUIRE(cut.at("board_legal") == cuts[k].board_legal);
    REQUIRE(cut.at("reason") == cuts[k].reason);
    REQUIRE(cut.at("tensors").size() == cuts[k].tensors.size());
    for (const json& t : cut["tensors"]) {
      std::size_t elements = 1;
      for (const json& d : t.at("shape")) elements *= d.get<std::size_t>();
      REQUIRE(t.at("bytes") == elements);
      REQUIRE(t.at("name").is_string());
    }
  }
  REQUIRE(j.at("inputs").size() == 1);
  REQUIRE(j["inputs"][0].at("bytes") == input_elements() * 4);
  REQUIRE(j.at("outputs").size() == 1);
  REQUIRE(tool("inspect zoo:lenet5").out.find("head on DPU") != std::string::npos);
  REQUIRE(json_of("inspect zoo:lenet5 --granularity op --json").at("cuts").size() > cuts.size());
}

TEST_CASE("calibrate --report: every layer, every legal cut") {
  const TemporaryFolder dir;
  const std::string data = splitcnn_test::example_data(), model = (dir / "net.onnx").string();
  std::filesystem::copy_file(data + "/digits.onnx", model);
  const json j = json_of("calibrate " + model + " --frames " + data + "/digits_calibration.f32 --max-frames 8 --granularity op --json");
  REQUIRE(j.at("frames") == 8);
  REQUIRE(j.at("layers").size() >= 4);
  for (const json& layer : j["layers"]) {
    CAPTURE(layer.dump());
    REQUIRE(layer.at("fix_point").is_number_integer());
    REQUIRE(layer.at("sqnr_db").get<double>() > 10);
    REQUIRE(layer.at("saturated_pct").get<double>() < 5);
  }
  REQUIRE(j["layers"][0].at("weight_fix_point").is_number_integer());
  const auto cuts = splitcnn::cuts(splitcnn::Graph::load(model), splitcnn::Granularity::op);
  REQUIRE(j.at("cuts").size() == static_cast<std::size_t>(std::count_if(cuts.begin() + 1, cuts.end(), [](const auto& c) { return c.legal; })));
  for (const json& cut : j["cuts"]) {
    REQUIRE(cut.at("after") == cuts.at(cut.at("k").get<std::size_t>()).after);
    REQUIRE(cut.at("sqnr_db").get<double>() > 10);
    REQUIRE(cut.at("agreement_pct") == 100);
  }
  const auto text = tool("calibrate " + model + " --frames " + data + "/digits_calibration.f32 --max-frames 2 --report");
  REQUIRE(text.exit_code == 0);
  for (const char* part : {"calibrated on 2 frames", "SQNR dB", "agreement %", "saturated %"}) REQUIRE(text.out.find(part) != std::string::npos);
}

TEST_CASE("plan for modelled hardware: strategies, bound, baselines, limits") {
  const json best = json_of("plan zoo:lenet5 --model zoo --json");
  REQUIRE(best.at("origin") == "modelled");
  REQUIRE(best.at("bound_ms") > 0);
  REQUIRE(best.at("plan").at("routes").size() == best.at("routes").size());
  for (const char* name : {"all_dpu", "all_gpu", "interleave", "best_single_cut"}) {
    REQUIRE(best.at("baselines").at(name).at("interval_ms").get<double>() >= best.at("interval_ms").get<double>() - 1e-12);
  }
  REQUIRE(best.at("runner_up").at("score").get<double>() >= best.at("score").get<double>() - 1e-12);
  for (const char* strategy : {"split", "switch", "interleave", "hybrid"}) {
    const json j = json_of(std::string{"plan zoo:lenet5 --model table1 --json --strategy "} + strategy);
    REQUIRE(j.at("strategy") == strategy);
  }
  const json slow = json_of("plan zoo:lenet5 --model zoo --json --strategy split --fps 30 --objective latency");
  REQUIRE(slow.at("latency_ms").get<double>() > 20);  // frames wait for their batch
  REQUIRE(tool("plan zoo:lenet5 --model zoo --max-memory-mib 0.001").exit_code == 1);
  REQUIRE(tool("plan zoo:lenet5").exit_code == 1);
  REQUIRE(tool("plan zoo:lenet5 --model zoo --objective energy --try").exit_code == 1);
  const json tried = json_of("plan zoo:lenet5 --model zoo --devices dpu,gpu --strategy split --try --json");  // the stand-ins run
  REQUIRE(tried.at("tried").at(0).at("interval_ms") == tried.at("interval_ms"));
  REQUIRE(tried.at("tried").at(0).at("name") == tried.at("name"));
  REQUIRE(tried.at("origin") == "measured");
  REQUIRE(tool("plan zoo:lenet5 --model zoo --objective energy").exit_code == 1);  // no watts
  REQUIRE(tool("plan zoo:lenet5 --model table1").exit_code == 0);
}

TEST_CASE("plan by predicted times") {
  const auto asked = tool("plan zoo:lenet5 --predictor " SPLITCNN_WEIGHTS " --strategy split --json");
  INFO(asked.err);
  if (asked.err.find("built without the predictor") != std::string::npos) SPLITCNN_SKIP("eigen", "built without the predictor");
  REQUIRE(asked.exit_code == 0);
  const json j = json::parse(asked.out);
  REQUIRE(j.at("origin") == "predicted");
  REQUIRE(j.at("forecast").at("low_ms").get<double>() < j.at("forecast").at("high_ms").get<double>());
  REQUIRE(j.at("interval_ms").get<double>() == Approx(j.at("forecast").at("interval_ms").get<double>()));
  REQUIRE(tool("plan zoo:lenet5 --predictor " SPLITCNN_TOOL).exit_code == 1);
}

TEST_CASE("profile, then plan") {
  const TemporaryFolder dir;
  const std::string profile = (dir / "p.json").string(), plan = (dir / "plan.json").string();
  const auto measured = tool("profile zoo:lenet5 -o " + profile + " --runs 1");
  INFO(measured.err);
  REQUIRE(measured.exit_code == 0);
  for (const char* objective : {"interval", "latency"}) {
    const json j = json_of("plan zoo:lenet5 --profile " + profile + " --objective " + objective + " -o " +
                           plan + " --json");
    REQUIRE(j.at("origin") == "measured");
    REQUIRE(j.at("interval_ms") > 0);
    REQUIRE(!j.at("why").get<std::string>().empty());
    const std::string key = std::string{objective} + "_ms";
    for (const json& c : j.at("candidates")) {
      if (c.at("legal") == true && j.at("strategy") != "switch") REQUIRE(c.at(key).get<double>() >= j.at(key).get<double>() - 1e-12);
    }
  }
  splitcnn_test::write_noise((dir / "x.f32").string(), 2 * input_elements(), 1);
  REQUIRE(json_of("run zoo:lenet5 --plan " + plan + " --input " + (dir / "x.f32").string() + " --output-dir " +
                  (dir / "out").string() + " --json")
              .at("frames") == 2);
  REQUIRE(tool("plan zoo:lenet5 --profile " + profile).exit_code == 0);
  REQUIRE(tool("plan zoo:squeezenet1_1 --profile " + profile).exit_code == 1);  // another graph
}

TEST_CASE("run gives the same classes on every device, and frames in order") {
  const TemporaryFolder dir;
  constexpr std::size_t frames = 20;
  splitcnn_test::write_noise((dir / "x.f32").string(), frames * input_elements(), 7);
  const std::string common = "run zoo:lenet5 --input " + (dir / "x.f32").string() + " --output-dir ";
  REQUIRE(json_of(common + (dir / "cpu").string() + " --devices cpu --json").at("frames") == frames);
  const auto reference = splitcnn_test::read_floats((dir / "cpu").string() + "/0.f32");
  REQUIRE(reference.size() % frames == 0);
  REQUIRE(!reference.empty());
  for (const char* devices :
       {"gpu", "dpu", "dpu,gpu --cut 2", "dpu,gpu --cut 1", "dpu,gpu", "gpu,cpu --cut 2", "dpu --cut 1"}) {
    CAPTURE(devices);
    const json j = json_of(common + (dir / "other").string() + " --json --devices " + devices);
    REQUIRE(j.at("segments").size() >= 1);
    const auto other = splitcnn_test::read_floats((dir / "other").string() + "/0.f32");
    REQUIRE(other.size() == reference.size());
    REQUIRE(splitcnn_test::relative_error(other, reference) <
            0.25);  // int8 on random weights: order and sense, not accuracy
  }
  std::ofstream{(dir / "x.f32").string(), std::ios::app} << "x";
  REQUIRE(tool(common + (dir / "cpu").string() + " --devices cpu").exit_code == 1);
}

TEST_CASE("bench prints the contract") {
  const auto check = [](const json& m) {
    for (const char* key : {"interval_ms", "latency_ms_p50", "latency_ms_p99", "efficiency"}) {
      CAPTURE(key);
      REQUIRE(m.at(key).is_number());
      REQUIRE(m.at(key) > 0);
    }
    REQUIRE(m.at("latency_ms_p50") <= m.at("latency_ms_p99"));
    REQUIRE(m.contains("cut"));
    REQUIRE(!m.at("stages").empty());
    for (const json& s : m["stages"]) {
      REQUIRE(s.size() == 4);
      REQUIRE(s.at("name").is_string());
      REQUIRE(s.at("device").is_string());
      REQUIRE(s.at("isolated_ms") > 0);
      REQUIRE(s.at("busy_ms") > 0);
    }
  };
  const json j = json_of("bench zoo:lenet5 --devices dpu,gpu --cut 2 --frames 50 --json");
  check(j);
  REQUIRE(j.size() == 7);
  REQUIRE(j["cut"] == 2);
  REQUIRE(j["stages"].size() == 2);
  REQUIRE(j["stages"][0]["device"] == "dpu:0");
  for (const char* baseline : {"all_dpu", "all_gpu", "interleave"}) {
    CAPTURE(baseline);
    REQUIRE(j.at("baselines").at(baseline).size() == 6);
    check(j["baselines"][baseline]);
  }
  REQUIRE(j["baselines"]["all_gpu"]["stages"][0]["device"] == "gpu:0");
  REQUIRE(j["baselines"]["interleave"]["cut"].is_null());
  const auto text = tool("bench zoo:lenet5 --frames 50");
  REQUIRE(text.exit_code == 0);
  for (const char* word : {"interval", "efficiency", "all-DPU", "all-GPU", "interleave", "measured"}) {
    REQUIRE(text.out.find(word) != std::string::npos);
  }
  const json alone = json_of("bench zoo:lenet5 --devices cpu --frames 50 --json");
  REQUIRE(alone["baselines"]["all_dpu"].is_null());
}

TEST_CASE("doctor names every device and why it is what it is") {
  const json j = json_of("doctor --json");
  REQUIRE(j.at("devices").size() == 3);
  for (const json& d : j["devices"]) REQUIRE(!d.at("backend").get<std::string>().empty());
  const auto text = tool("doctor");
  REQUIRE(text.exit_code == 0);
  for (const char* word : {"dpu:0", "gpu:0", "cpu", "oneDNN", "GPU plug-in: "})
    REQUIRE(text.out.find(word) != std::string::npos);
}

TEST_CASE("a recorded run replays the same bytes, on the reference kernels too") {
  const TemporaryFolder dir;
  const std::vector<float> frames(5 * 32 * 32, 0.25f);
  std::ofstream{(dir / "x.f32").string(), std::ios::binary}.write(reinterpret_cast<const char*>(frames.data()), static_cast<std::streamsize>(frames.size() * 4));
  const auto run = tool("run zoo:lenet5 --devices dpu,cpu --cut 3 --input " + (dir / "x.f32").string() + " --output-dir " + (dir / "out").string() + " --record " + (dir / "r.rec").string());
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  for (const char* devices : {"dpu,cpu", "dpu=scalar,cpu"}) {
    const auto replay = tool("replay zoo:lenet5 " + (dir / "r.rec").string() + " --json --devices " + std::string{devices});
    INFO(replay.err);
    REQUIRE(replay.exit_code == 0);
    CHECK(replay.out.find("\"different\":0") != std::string::npos);
    CHECK(replay.out.find("\"failed_now\":0") != std::string::npos);
    CHECK(replay.out.find("\"frames\":0,") == std::string::npos);
  }
  CHECK(tool("replay zoo:lenet5 " + (dir / "x.f32").string()).exit_code == 1);
}
