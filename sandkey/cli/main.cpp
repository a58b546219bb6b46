// sandkey: the command line.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/command.h"
#include "sandkey/events/codec.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace sandkey;

void add_target(CLI::App* command, cli::Target& target) {
  command->add_option("--agent", target.agent, "The agent to use: http://HOST:PORT, https://... or unix:PATH")
      ->required()
      ->envname("SANDKEY_AGENT");
  command->add_option("--session-key-file", target.session_key_file, "A file with the agent's session key")
      ->envname("SANDKEY_SESSION_KEY_FILE");
  command->add_option("--start-timeout", target.start_timeout, "How long to wait for the agent to answer")
      ->capture_default_str();
}

// One line for people; with --json one document for programs, still on stderr: stdout holds results only.
int report(const std::exception& caught, bool json) {
  const auto* error = dynamic_cast<const Error*>(&caught);
  if (json) {
    json::object document;
    document["error"] = std::string(to_string(error ? error->code() : ErrorCode::internal));
    document["message"] = caught.what();
    std::fprintf(stderr, "%s\n", write_json(document).c_str());
  } else {
    std::fprintf(stderr, "sandkey: %s\n", caught.what());
  }
  return cli::kOwnFailure;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app("Runs commands, Python and shells in a sandbox, and moves files in and out of it.", "sandkey");
  app.set_version_flag("--version", "sandkey " SANDKEY_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  sandkey-agent --listen unix:/tmp/agent --working-dir /tmp/work &\n"
      "  sandkey run --agent unix:/tmp/agent -- make test\n"
      "  sandkey python --agent unix:/tmp/agent 'print(6 * 7)'\n"
      "  sandkey shell --agent unix:/tmp/agent\n"
      "  sandkey cp --agent unix:/tmp/agent ./project :/tmp/work/\n"
      "\n"
      "Exit status: that of the command; 125 for a failure of Sandkey's own, with one line on stderr.");

  bool json = false;
  std::string timeout;
  cli::RunOptions run;
  CLI::App* run_command = app.add_subcommand("run", "Run a command, with its output live and its exit code");
  add_target(run_command, run.target);
  run_command->add_option("--env", run.env, "NAME=VALUE, or NAME to pass our own on (repeatable)")
      ->allow_extra_args(false);
  run_command->add_option("--cwd", run.cwd, "Where to run it (default: the agent's working directory)");
  run_command->add_option("--timeout", timeout, "End it after this long: 30s, 5m, ...");
  run_command->add_flag("--json", json, "Print one JSON document at the end instead of the output");
  run_command->add_option("command", run.command, "The program and its arguments, after --");
  run_command->positionals_at_end();

  cli::PythonOptions python;
  CLI::App* python_command =
      app.add_subcommand("python", "Run a cell in the sandbox's Python session, which keeps its state");
  add_target(python_command, python.target);
  python_command->add_option("--timeout", timeout, "Interrupt it after this long");
  python_command->add_flag("--json", json, "Print the whole observation as JSON");
  python_command->add_option("code", python.code, "The code, or - to read it from standard input")
      ->required();

  cli::Target shell_target;
  CLI::App* shell_command = app.add_subcommand("shell", "An interactive shell");
  add_target(shell_command, shell_target);

  cli::CopyOptions copy;
  CLI::App* copy_command =
      app.add_subcommand("cp", "Copy a file or a folder; paths in the sandbox begin with ':'");
  add_target(copy_command, copy.target);
  copy_command->add_flag("--json", json, "Print what was copied as JSON");
  copy_command->add_option("source", copy.source, "What to copy")->required();
  copy_command->add_option("destination", copy.destination, "Where to")->required();

  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    // What follows "--" is the command, word for word; CLI11 would take "[a,b]" for two.
    const auto dashes = std::find(words.begin(), words.end(), "--");
    std::vector<std::string> command;
    if (dashes != words.end() && words.front() == "run") {
      command.assign(dashes + 1, words.end());
      words.erase(dashes, words.end());
    }
    std::reverse(words.begin(), words.end());  // as CLI11 wants them
    app.parse(std::move(words));
    if (!command.empty()) run.command.insert(run.command.end(), command.begin(), command.end());
    if (run_command->parsed() && run.command.empty()) throw CLI::RequiredError("command");
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : cli::kOwnFailure;
  }
  try {
    if (!timeout.empty()) run.timeout = python.timeout = cli::parse_duration(timeout, "--timeout");
    run.json = python.json = copy.json = json;
    Engine engine;
    if (run_command->parsed()) return cli::run(engine, run);
    if (python_command->parsed()) return cli::python(engine, python);
    if (shell_command->parsed()) return cli::shell(engine, shell_target);
    return cli::copy(engine, copy);
  } catch (const std::exception& error) {
    return report(error, json);
  }
}
