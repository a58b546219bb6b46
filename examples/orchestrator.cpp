// An orchestrator in twenty lines: a sandbox by name, a command and a Python cell in it, and their
// observations.
//
// Usage: orchestrator [PROVIDER]
#include "sandkey/providers/registry.h"

#include <cstdio>
#include <exception>
#include <string>

int main(int argc, char** argv) {
  try {
    sandkey::Engine engine;
    sandkey::OpenHandsConfig config;
    config.runtime = argc > 1 ? argv[1] : "local";
    const auto runtime = sandkey::make_runtime(engine, config, nullptr, "orchestrator-example");
    runtime->connect();
    std::puts(to_text(runtime->run({.command = "echo \"from $(hostname)\" | tee note; false"})).c_str());
    std::puts(to_text(runtime->run_ipython({.code = "print(open('note').read().upper())"})).c_str());
    runtime->close();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "orchestrator: %s\n", error.what());
    return 1;
  }
}
