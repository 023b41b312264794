// splitcnn: the library on the command line. One file per command.
#include <fmt/core.h>

#include "tool.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Runs trained CNNs split across a DPU and a GPU.", "splitcnn"};
  app.require_subcommand(1);
  app.set_version_flag("--version", splitcnn::version());
  app.footer(
      "A MODEL is an ONNX file or zoo:NAME (zoo:resnet50). `splitcnn COMMAND --help` has examples.\n"
      "Exit codes: 0 fine, 1 an error (one sentence on stderr), 2 wrong usage.");
  tool::add_inspect(app);
  tool::add_calibrate(app);
  tool::add_profile(app);
  tool::add_plan(app);
  tool::add_report(app);
  tool::add_run(app);
  tool::add_bench(app);
  tool::add_export(app);
  tool::add_replay(app);
  tool::add_doctor(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "splitcnn: {}\n", e.what());
    return 1;
  }
}
