// The main job on real input: a C project goes into a sandbox, is built and tested there by actions, its test
// output is analysed in Python cells that keep their state, and the results come back.
//
// Usage: sandkey-demo PROJECT_FOLDER RESULT_FOLDER [PROVIDER]
#include "sandkey/base/error.h"
#include "sandkey/providers/registry.h"
#include "sandkey/runtime/agent_client.h"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <utility>

namespace {

using namespace sandkey;

// Shows an observation, and stops the demo where a command failed.
Observation show(const std::string& what, Observation observation) {
  std::printf("\n--- %s\n%s\n", what.c_str(), to_text(observation).c_str());
  const auto* output = observation.as<CmdOutputObservation>();
  if (observation.as<ErrorObservation>() != nullptr ||
      (output != nullptr && output->metadata.exit_code != 0)) {
    throw Error(ErrorCode::internal, "the step '" + what + "' failed");
  }
  return observation;
}

int demo(const std::filesystem::path& project, const std::filesystem::path& results,
         const std::string& provider) {
  Engine engine;
  RuntimeOptions options;
  options.plugins = {{"jupyter"}};
  options.env_vars = {{"CFLAGS", "-O2 -g"}};
  OpenHandsConfig config;
  config.runtime = provider;
  const auto made =
      make_runtime(engine, config, nullptr, "demo-" + std::to_string(::getpid()), std::move(options));
  ActionExecutionClient& runtime = *made;
  runtime.connect();
  std::printf("--- a sandbox of the provider '%s': %s\n", provider.c_str(),
              runtime.sandbox_id().value.c_str());
  const std::string work = runtime.agent().greeting().working_dir;
  const std::string folder = work + "/" + project.filename().string();

  runtime.copy_to(project, work, true);
  show("cd", runtime.run({.command = "cd " + folder + " && ls"}));
  show("make", runtime.run({.command = "make", .blocking = true}, 60));
  show("make test", runtime.run({.command = "make test | tee test.tap", .blocking = true}, 60));
  show("view", runtime.edit({.path = folder + "/report.h", .command = "view"}));

  // One session of Python: what a cell defines, the next one uses.
  show("read the results",
       runtime.run_ipython({.code = "import re\n"
                                    "lines = open('test.tap').read().splitlines()\n"
                                    "tests = [(m[3], m[1] is None, float(m[4])) for m in map(re.compile("
                                    "r'(not )?ok (\\d+) - (.*) # time=([\\d.]+)us').match, lines) if m]\n"
                                    "len(tests)"}));
  show("analyse them",
       runtime.run_ipython({.code = "slowest = sorted(tests, key=lambda t: -t[2])[:3]\n"
                                    "total = sum(t[2] for t in tests)\n"
                                    "print(f'{sum(t[1] for t in tests)} of {len(tests)} passed')\n"
                                    "for name, passed, time in slowest:\n"
                                    "    print(f'{name}: {time:.0f} us, {100 * time / total:.0f} %')"}));
  show("write a report",
       runtime.run_ipython({.code = "import json, os\n"
                                    "os.makedirs('results', exist_ok=True)\n"
                                    "json.dump([dict(zip(('name', 'passed', 'us'), t)) for t in tests],"
                                    " open('results/tests.json', 'w'), indent=1)\n"
                                    "os.listdir('results')"}));
  show("use the program",
       runtime.run({.command = "./wordstat --csv --top 5 README.md | tee results/words.csv"}));

  engine.wait(runtime.agent().get_tree(folder + "/results", results, engine.in(std::chrono::seconds(30))));
  std::printf("\n--- copied back to %s\n", results.c_str());
  for (const auto& entry : std::filesystem::directory_iterator(results)) {
    std::printf("%s, %ju bytes\n", entry.path().filename().c_str(),
                static_cast<std::uintmax_t>(entry.file_size()));
  }
  runtime.close();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: sandkey-demo PROJECT_FOLDER RESULT_FOLDER [PROVIDER]\n");
    return 2;
  }
  try {
    return demo(argv[1], argv[2], argc == 4 ? argv[3] : "local");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "demo: %s\n", error.what());
    return 1;
  }
}
