// sandkey: the command line. Only its grammar is here.
#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/context.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/events/codec.h"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace sandkey;

struct Options {
  cli::CommonOptions common = {};
  bool names_only = false;
  cli::ExecutionOptions execution = {};  // of run, python and shell, and the agent of cp
  cli::Chosen chosen = {};
  std::vector<std::string> command = {};
  std::string code = {};
  std::string source = {};
  std::string destination = {};
  std::string sid = {};
  std::string port = {};
  std::string shell = {};
  cli::AuthOptions auth = {};
};

// What to do once the command line is read.
using Act = std::function<int(cli::Context&)>;

class Formatter final : public CLI::Formatter {
 public:
  [[nodiscard]] std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = CLI::Formatter::make_usage(app, std::move(name));
    if (!app->get_prefix_command()) return usage;
    while (usage.ends_with('\n')) usage.pop_back();
    return usage + " [--] COMMAND [ARGUMENT...]\n";
  }
};

// One of the words, which its type's name lists for the completion scripts.
void require_one_of(CLI::Option* option, const std::vector<std::string>& words) {
  std::string type;
  for (const std::string& word : words) type += (type.empty() ? "" : "|") + word;
  option->required()->type_name(type)->check(CLI::Validator(
      [words, type](std::string& word) {
        const bool known = std::find(words.begin(), words.end(), word) != words.end();
        return known ? std::string() : "'" + word + "' is none of " + type;
      },
      ""));
}

class Grammar {
 public:
  Grammar();

  // Throws CLI::ParseError.
  void parse(int argc, char** argv);
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] CLI::App& app() noexcept { return app_; }
  [[nodiscard]] const Act& act() const noexcept { return act_; }
  // The verb that was being read, or the program: for hints.
  [[nodiscard]] std::string where() const;

 private:
  [[nodiscard]] bool has_verb(const std::string& name) const;
  CLI::App* verb(const std::string& name, const std::string& description, const std::string& examples,
                 Act act);
  void add_agent(CLI::App* command);
  void add_sandbox(CLI::App* command);
  void add_execution(CLI::App* command, const std::string& timeout);
  void add_chosen(CLI::App* command);
  void add_execution_verbs();
  void add_copy();
  void add_port_verbs();
  void add_managing_verbs();
  void add_account_verbs();

  Options options_;
  Act act_;
  CLI::App app_{"Runs commands, Python and shells in isolated sandboxes, and moves files in and out of them.",
                "sandkey"};
};

Grammar::Grammar() {
  app_.formatter(std::make_shared<Formatter>());
  app_.set_version_flag("--version", "sandkey " SANDKEY_VERSION);
  app_.get_option("--version")->description("Print the version and exit");
  app_.set_help_flag("-h,--help", "Print this help and exit");
  app_.add_flag("--json", options_.common.json)->group("");
  app_.add_flag("-v,--verbose", options_.common.verbose)->group("");
  app_.require_subcommand(1);
  app_.footer(
      "Examples:\n"
      "  sandkey run -- make test                      a command in a fresh sandbox, which is gone "
      "afterwards\n"
      "  sandkey run --workspace . -- make test        the same, with this folder as its workspace\n"
      "  sandkey run --keep --sid work -- true         a sandbox that stays; see ls, rm\n"
      "  sandkey shell --sid work\n"
      "  sandkey cp ./project work:/workspace/\n"
      "  sandkey python 'print(6 * 7)'\n"
      "\n"
      "Every verb has --help with examples of its own.\n"
      "\n"
      "Exit status: that of the command; 125 for a failure of Sandkey's own, with one line on stderr; 130, "
      "143\n"
      "or 129 when SIGINT, SIGTERM or SIGHUP ended it.\n"
      "\n"
      "With --json stdout holds one document, also when some of several sandboxes failed (in \"errors\"); "
      "after\n"
      "a failure of Sandkey's own it is empty and the error is a document on stderr.\n"
      "\n"
      "Environment: SANDKEY_PROVIDER (instead of --provider), SANDKEY_PROFILE (instead of --profile), "
      "SANDKEY_AGENT\n"
      "and SANDKEY_SESSION_KEY_FILE (instead of --agent and --session-key-file), SANDKEY_STATE_DIR (where it "
      "is\n"
      "remembered what exists), SANDKEY_CONFIG_DIR (where credentials.toml is).");
  add_execution_verbs();
  add_copy();
  add_port_verbs();
  add_managing_verbs();
}

CLI::App* Grammar::verb(const std::string& name, const std::string& description, const std::string& examples,
                        Act act) {
  CLI::App* command = app_.add_subcommand(name, description);
  command->footer("Examples:\n" + examples);
  command->add_flag("--json", options_.common.json,
                    "Print one JSON document on stdout, and nothing else there");
  command->add_flag("-v,--verbose", options_.common.verbose, "Say on stderr what is done and when");
  command
      ->add_option("--profile", options_.common.profile,
                   "Which account, where there are several [SANDKEY_PROFILE]")
      ->type_name("NAME");
  command
      ->add_option("--config", options_.common.config_file,
                   "The settings (default: ./config.toml, if it exists)")
      ->type_name("FILE");
  command->callback([this, act = std::move(act)] { act_ = act; });
  return command;
}

void Grammar::add_agent(CLI::App* command) {
  cli::AgentOptions& agent = options_.execution.sandbox.agent;
  command
      ->add_option(
          "--agent", agent.address,
          "An agent somebody else started: http://HOST:PORT, https://... or unix:PATH [SANDKEY_AGENT]")
      ->type_name("ADDRESS")
      ->group("Agent");
  command
      ->add_option("--session-key-file", agent.session_key_file,
                   "A file with that agent's session key [SANDKEY_SESSION_KEY_FILE]")
      ->type_name("FILE")
      ->group("Agent");
}

void Grammar::add_sandbox(CLI::App* command) {
  cli::SandboxOptions& sandbox = options_.execution.sandbox;
  const auto add = [&](const char* name, std::optional<std::string>& value, const char* type,
                       const char* description) {
    command->add_option(name, value, description)->type_name(type)->group("Sandbox");
  };
  add("--provider", sandbox.provider, "PROVIDER", "Who makes it (default: local) [SANDKEY_PROVIDER]");
  add("--sid", sandbox.sid, "SID", "Use the sandbox of this name, or make it (default: a new one)");
  command->add_flag("--keep", sandbox.keep, "Leave it running when this is done, until its lease ends")
      ->group("Sandbox");
  add("--lease", sandbox.lease, "TIME", "How long it may live, as in 90s, 30m, 1h");
  add("--image", sandbox.image, "DIR",
      "What it starts as: a folder with a root file system, or what the provider calls an image");
  add("--workspace", sandbox.workspace, "DIR", "A folder here to be its /workspace, shared (local)");
  command->add_flag("--network", sandbox.network, "Let it reach the internet, but nothing private")
      ->group("Sandbox");
  add("--memory", sandbox.memory, "SIZE", "The most memory it gets, as in 512M, 2G");
  add("--disk", sandbox.disk, "SIZE", "The most it may store");
  add("--processes", sandbox.processes, "N", "The most processes it may have");
  add("--start-timeout", sandbox.start_timeout, "TIME",
      "How long making or reaching it may take (default: 3m; for an agent 10s)");
}

void Grammar::add_execution(CLI::App* command, const std::string& timeout) {
  cli::ExecutionOptions& execution = options_.execution;
  command->add_option("-e,--env", execution.env, "NAME=VALUE, or NAME to pass our own on (repeatable)")
      ->type_name("NAME[=VALUE]")
      ->allow_extra_args(false);
  command->add_option("--cwd", execution.cwd, "Where in the sandbox (default: its workspace)")
      ->type_name("FOLDER");
  command->add_option("--timeout", execution.timeout, timeout)->type_name("TIME");
  add_sandbox(command);
  add_agent(command);
}

void Grammar::add_execution_verbs() {
  CLI::App* run = verb(
      "run", "Run a command, with its output live and its exit code",
      "  sandkey run -- make test\n"
      "  sandkey run --network --memory 2G -- pip download requests\n"
      "  echo 'print(1)' | sandkey run -- python3 -\n"
      "  sandkey run --workspace . --timeout 5m -- ./configure\n"
      "  sandkey run --keep --sid work -- git clone --depth 1 /workspace/repo\n"
      "  sandkey run --json -- uname -a | jq -r .stdout\n"
      "\n"
      "Without --sid or --keep the sandbox is gone when the command has ended, or this program, however it "
      "does.",
      [this](cli::Context& context) { return cli::run(context, options_.execution, options_.command); });
  add_execution(run, "End the command after this long: 30s, 5m, ...");
  run->prefix_command();

  CLI::App* python =
      verb("python", "Run a cell in the sandbox's Python session, which keeps its state",
           "  sandkey python 'print(6 * 7)'\n"
           "  sandkey python - < script.py\n"
           "  sandkey python --sid work --keep 'x = 1'; sandkey python --sid work 'print(x)'\n"
           "\n"
           "The exit status is 0 also when the cell raised, and 125 when it was interrupted after its time\n"
           "limit; for an exit code of Python's own use 'sandkey run -- python3 -'.",
           [this](cli::Context& context) { return cli::python(context, options_.execution, options_.code); });
  add_execution(python, "Interrupt the cell after this long (default: 2m)");
  python->add_option("code", options_.code, "The code, or - to read it from standard input")
      ->required()
      ->type_name("CODE");

  CLI::App* shell = verb("shell", "An interactive shell",
                         "  sandkey shell\n"
                         "  sandkey shell --workspace . --network\n"
                         "  sandkey shell --sid work",
                         [this](cli::Context& context) { return cli::shell(context, options_.execution); });
  add_execution(shell, "End the shell after this long");
}

void Grammar::add_copy() {
  CLI::App* copy = verb("cp", "Copy a file or a folder; paths in a sandbox are written SID:/path",
                        "  sandkey cp ./project work:/workspace/\n"
                        "  sandkey cp work:/workspace/project/report.pdf .\n"
                        "  sandkey cp work:/workspace/data other:/workspace/\n"
                        "  sandkey cp ./a:b work:/tmp/            a file here whose name holds a ':'\n"
                        "  sandkey cp --agent unix:/tmp/agent ./project :/tmp/work/",
                        [this](cli::Context& context) {
                          return cli::copy(context, options_.execution.sandbox.agent, options_.source,
                                           options_.destination);
                        });
  copy->add_option("source", options_.source, "What to copy")->required()->type_name("PATH");
  copy->add_option("destination", options_.destination, "Where to")->required()->type_name("PATH");
  add_agent(copy);
}

void Grammar::add_port_verbs() {
  CLI::App* forward = verb(
      "forward", "Carry connections to a port here to a port in a sandbox",
      "  sandkey forward work 8000              http://127.0.0.1:8000, or another port if that is taken\n"
      "  sandkey forward work 9000:8000         from port 9000 here\n"
      "  sandkey forward work 0:8000            from any port that is free\n"
      "\n"
      "Runs until SIGINT, SIGTERM or SIGHUP, and then exits with 0.",
      [this](cli::Context& context) { return cli::forward(context, options_.sid, options_.port); });
  forward->add_option("sid", options_.sid, "The sandbox")->required()->type_name("SID");
  forward->add_option("port", options_.port, "PORT inside, or LOCAL:PORT")->required()->type_name("PORT");

  CLI::App* url = verb("url", "Print a URL by which a port in a sandbox is reached until it ends",
                       "  curl \"$(sandkey url work 8000)\"", [this](cli::Context& context) {
                         return cli::url(context, options_.sid, options_.port);
                       });
  url->add_option("sid", options_.sid, "The sandbox")->required()->type_name("SID");
  url->add_option("port", options_.port, "The port inside")->required()->type_name("PORT");
}

void Grammar::add_chosen(CLI::App* command) {
  command->add_option("sid", options_.chosen.sids, "The sandboxes")->type_name("SID");
  command
      ->add_option("--provider", options_.chosen.provider,
                   "Where to look for those that this machine does not know")
      ->type_name("PROVIDER");
}

void Grammar::add_managing_verbs() {
  CLI::App* list = verb("ls", "List the sandboxes there are",
                        "  sandkey ls\n"
                        "  sandkey ls --json | jq -r '.sandboxes[] | select(.kept) | .sid'",
                        [this](cli::Context& context) {
                          return options_.names_only ? cli::list_names(context)
                                                     : cli::list(context, options_.chosen.provider);
                        });
  list->add_option("--provider", options_.chosen.provider, "Only those of this one")->type_name("PROVIDER");
  list->add_flag("-q,--quiet", options_.names_only,
                 "Only the names this machine remembers, at once; some may have ended");

  CLI::App* remove = verb("rm", "End sandboxes and forget them",
                          "  sandkey rm work\n"
                          "  sandkey rm --all",
                          [this](cli::Context& context) {
                            if (options_.chosen.sids.empty() && !options_.chosen.all)
                              throw CLI::RequiredError("sid");
                            return cli::remove(context, options_.chosen);
                          });
  add_chosen(remove);
  remove->add_flag("--all", options_.chosen.all, "All that ls shows");

  CLI::App* pause = verb("pause", "Stop all that runs in a sandbox where it is", "  sandkey pause work",
                         [this](cli::Context& context) { return cli::pause(context, options_.chosen); });
  add_chosen(pause);
  pause->get_option("sid")->required();

  CLI::App* resume = verb("resume", "Let a paused sandbox go on", "  sandkey resume work",
                          [this](cli::Context& context) { return cli::resume(context, options_.chosen); });
  add_chosen(resume);
  resume->get_option("sid")->required();

  add_account_verbs();

  verb("providers", "List the providers, what they can, and whether they can be used now",
       "  sandkey providers", [](cli::Context& context) { return cli::show_providers(context); });

  verb("emulate", "Run a program against emulated clouds on this machine",
       "  sandkey emulate -- pytest tests/\n"
       "  sandkey emulate --clock virtual -- node agent.mjs\n"
       "  sandkey emulate > variables &          without a program: serve until interrupted",
       [this](cli::Context& context) { return cli::emulate(context, options_.command); });

  CLI::App* completion = verb("completion", "Print a completion script",
                              "  source <(sandkey completion bash)\n"
                              "  sandkey completion zsh > \"${fpath[1]}/_sandkey\"",
                              [this](cli::Context&) {
                                cli::write_all(STDOUT_FILENO, cli::completion_script(app_, options_.shell));
                                return 0;
                              });
  require_one_of(completion->add_option("shell", options_.shell, "bash or zsh"), {"bash", "zsh"});
}

void Grammar::add_account_verbs() {
  cli::AuthOptions& auth = options_.auth;
  CLI::App* command = verb(
      "auth", "Say which credentials are used and why, check them, keep one",
      "  sandkey auth status                      which credential each provider would get, and from where\n"
      "  sandkey auth status e2b --explain        every source that was looked at, and why\n"
      "  sandkey auth check                       asks the providers; nothing is created\n"
      "  sandkey auth login e2b                   asks for a key, checks it and keeps it\n"
      "  sandkey auth login daytona --profile work --set api_url=https://daytona.example.com/api < key\n"
      "  sandkey auth logout e2b\n"
      "\n"
      "Exit status of check, and of status for named providers: 0 accepted or found, 3 missing, 4 rejected,\n"
      "5 not permitted, 6 unreachable; of several providers, that of the first with a failure.",
      [this](cli::Context& context) { return cli::auth(context, options_.auth); });
  require_one_of(command->add_option("action", auth.action, "What to do"),
                 {"status", "check", "login", "logout"});
  command->add_option("provider", auth.providers, "The providers (default: all)")->type_name("PROVIDER");
  command->add_flag("--explain", auth.explain, "Show every source that was looked at");
  const auto group = [](CLI::Option* option) { option->group("Login"); };
  group(command->add_option("--form", auth.form, "Which kind of credential, by one of its parts: jwt_token")
            ->type_name("PART"));
  group(
      command->add_option("--set", auth.set, "What belongs to it and is no secret, as in api_url=https://...")
          ->type_name("NAME=VALUE")
          ->allow_extra_args(false));
  group(command->add_flag("--allow-cleartext", auth.allow_cleartext,
                          "Let it be sent over http to another machine"));
  group(command->add_flag("--unchecked", auth.unchecked, "Keep it without asking the provider"));

  CLI::App* config = verb("config", "Show the settings and where each came from",
                          "  sandkey config show\n"
                          "  sandkey config show --config ~/project/config.toml",
                          [](cli::Context& context) { return cli::show_config(context); });
  require_one_of(config->add_option("action", options_.shell, "What to do"), {"show"});

  CLI::App* doctor =
      verb("doctor", "Look for what keeps Sandkey from working: settings, names, proxy, certificates, clock",
           "  sandkey doctor\n"
           "  sandkey doctor e2b\n"
           "\n"
           "Asks each provider's address for any answer, without a credential. Exits with 1 if something is "
           "wrong.",
           [this](cli::Context& context) { return cli::doctor(context, options_.auth.providers); });
  doctor->add_option("provider", auth.providers, "The providers (default: all)")->type_name("PROVIDER");
}

bool Grammar::has_verb(const std::string& name) const {
  const auto named = [&name](const CLI::App* command) { return command->get_name() == name; };
  return !app_.get_subcommands(named).empty();
}

void Grammar::parse(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const auto is_word = [](const std::string& word) { return !word.starts_with('-'); };
  const auto verb = std::find_if(words.begin(), words.end(), is_word);
  if (verb != words.end() && !has_verb(*verb)) {
    throw CLI::ParseError("there is no verb '" + *verb + "'", CLI::ExitCodes::ExtrasError);
  }
  if (verb != words.end() && *verb == "emulate") {
    // sandkey-emulator reads what follows, --help too.
    options_.command.assign(verb + 1, words.end());
    words.erase(verb + 1, words.end());
    std::reverse(words.begin(), words.end());
    app_.parse(std::move(words));
    return;
  }
  // CLI11 takes what follows "--" away from a verb without positional arguments.
  std::vector<std::string> behind;
  const auto dashes = std::find(words.begin(), words.end(), "--");
  if (dashes != words.end() && verb < dashes && *verb == "run") {
    behind.assign(dashes, words.end());
    words.erase(dashes, words.end());
  }
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  app_.parse(std::move(words));
  const CLI::App* run = app_.get_subcommand("run");
  options_.command = run->remaining();
  if (!options_.command.empty() && options_.command.front().starts_with('-')) {
    throw CLI::ParseError("there is no option '" + options_.command.front() + "'",
                          CLI::ExitCodes::ExtrasError);
  }
  if (options_.command.empty() && !behind.empty()) behind.erase(behind.begin());  // the "--" is ours
  options_.command.insert(options_.command.end(), behind.begin(), behind.end());
  if (run->parsed() && options_.command.empty()) throw CLI::RequiredError("COMMAND");
}

std::string Grammar::where() const {
  std::string name = "sandkey";
  for (const CLI::App* command : app_.get_subcommands()) name += " " + command->get_name();
  return name;
}

// One line for people; with --json one document for programs, still on stderr: stdout holds results only.
int report(ErrorCode code, std::string message, bool json) {
  if (json) {
    json::object document;
    document["error"] = std::string(to_string(code));
    document["message"] = message;
    message = write_json(document);
  } else {
    std::replace(message.begin(), message.end(), '\n', ' ');
    message = "sandkey: " + message;
  }
  std::fprintf(stderr, "%s\n", message.c_str());
  return cli::kOwnFailure;
}

int report_usage(Grammar& grammar, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return grammar.app().exit(error);  // --help, --version
  return report(ErrorCode::invalid_argument,
                std::string(error.what()) + "; see " + grammar.where() + " --help",
                grammar.options().common.json);
}

int run(int argc, char** argv) {
  const auto started = std::chrono::steady_clock::now();
  open_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);
  static Grammar grammar;  // not taken apart before the end
  try {
    grammar.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_usage(grammar, error);
  }
  const Options& options = grammar.options();
  std::optional<cli::Context> context;
  try {
    context.emplace(options.common, started);
    context->note("begun");
    return grammar.act()(*context);
  } catch (const CLI::ParseError& error) {
    return report_usage(grammar, error);
  } catch (const std::exception& caught) {
    const auto* error = dynamic_cast<const Error*>(&caught);
    const ErrorCode code = error != nullptr ? error->code() : ErrorCode::internal;
    const int signal = context ? context->interrupts().number() : 0;
    if (code == ErrorCode::cancelled && signal != 0) {
      context->note(caught.what());
      return 128 + signal;
    }
    return report(code, caught.what(), options.common.json);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int code = run(argc, argv);
#ifdef SANDKEY_LEAVE_AT_ONCE
  // All of ours has ended. What libraries still do at exit, as OpenSSL, which takes its tables apart, the
  // kernel does in a tenth of the time.
  std::fflush(nullptr);
  ::_exit(code);
#else
  return code;
#endif
}
