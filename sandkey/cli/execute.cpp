// run, python, shell: verbs that execute something.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/cli/standard_input.h"
#include "sandkey/cli/values.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/events/codec.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
// With --json the output is held until the end; beyond this its middle is not, and the document says so.
constexpr std::size_t kMaxJsonOutput = std::size_t{16} * 1024 * 1024;
constexpr std::chrono::seconds kPythonTimeout{120};
constexpr std::chrono::seconds kKillTimeout{5};

// Holds the beginning of an output, for --json.
struct Captured {
  std::string text;
  bool truncated = false;
  void take(std::string_view bytes) {
    const std::size_t room = kMaxJsonOutput - text.size();
    truncated = truncated || bytes.size() > room;
    text.append(bytes.substr(0, room));
  }
};

asio::awaitable<void> forward_input(AgentStream& stream, StandardInput& input) {
  std::vector<std::byte> buffer(std::size_t{64} * 1024);
  while (true) {
    const std::size_t n = co_await input.read_some(buffer);
    if (n == 0) break;
    const bool wanted = co_await stream.write({buffer.data(), n});
    if (!wanted) co_return;
  }
  co_await stream.close_input();
}

asio::awaitable<void> forward_size(AgentStream& stream) {
  asio::signal_set changed(co_await asio::this_coro::executor, SIGWINCH);
  while (true) {
    const auto [error, number] = co_await changed.async_wait(kAsTuple);
    if (error) co_return;
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) co_await stream.resize(size.ws_row, size.ws_col);
  }
}

// Follows a command to its end with our input and outputs, and our signals unless it has a terminal, whose
// keys they are. `begun` is set when it has started.
asio::awaitable<ExecResult> attend(Context& context, AgentStream& stream, ExecSink sink, bool terminal,
                                   bool& begun) {
  StandardInput input(co_await asio::this_coro::executor);
  TaskGroup around(context.engine(), co_await asio::this_coro::executor);
  struct Signals {
    Interrupts& interrupts;
    explicit Signals(Interrupts& all) : interrupts(all) {}
    ~Signals() { interrupts.deliver_to({}); }
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
  } signals(context.interrupts());
  ExecResult result;
  // Input and signals need a stream that exists.
  const auto on_started = [&] {
    begun = true;
    around.spawn(forward_input(stream, input));
    if (terminal) {
      around.spawn(forward_size(stream));
    } else {
      signals.interrupts.deliver_to([&](int number) { around.spawn(stream.signal(number)); });
    }
  };
  const auto body = [&]() -> asio::awaitable<void> {
    result = co_await stream.follow(std::move(sink), on_started);
    around.cancel();
  };
  co_await around.run(body());
  co_return result;
}

ExecResult execute(Context& context, AgentStream& stream, ExecSink sink, bool terminal) {
  bool begun = false;
  try {
    // Without a name: what it prints is the progress.
    return context.wait(attend(context, stream, std::move(sink), terminal, begun));
  } catch (...) {
    const std::exception_ptr failure = std::current_exception();
    try {
      // Nobody follows it any more, as when our own output was closed or a signal ended us.
      Engine& engine = context.engine();
      if (begun) {
        engine.wait(engine.with_deadline(stream.kill(), engine.in(kKillTimeout), "end a running command"));
      }
    } catch (const Error& error) {
      context.note(error.what());
    }
    std::rethrow_exception(failure);
  }
}

// A terminal that passes every key on; restored at the end, whatever that is.
class RawTerminal {
 public:
  RawTerminal() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    active_ = ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  bool active_ = false;
};

int exit_code_of(const Error& error) {
  if (error.context().operation == "start a command") {
    if (error.code() == ErrorCode::not_found) return kNoSuchCommand;
    if (error.code() == ErrorCode::permission_denied) return kCannotStart;
  }
  return kOwnFailure;
}

ExecCommand make_command(const ExecutionOptions& options) {
  ExecCommand command;
  command.env = parse_variables(options.env);
  command.cwd = options.cwd.value_or("");
  if (options.timeout) command.timeout = parse_duration(*options.timeout, "--timeout");
  return command;
}

// What --json tells of a command.
json::object to_json(const ExecResult& result, const std::array<Captured, 2>& captured) {
  json::object document;
  document["exit_code"] = result.exit_code;
  if (result.signal) document["signal"] = *result.signal;
  document["timed_out"] = result.timed_out;
  document["stdout"] = utf8::sanitize(captured[0].text);
  document["stderr"] = utf8::sanitize(captured[1].text);
  document["truncated"] = captured[0].truncated || captured[1].truncated;
  return document;
}

int run_in(Context& context, bool keep, const ExecCommand& command, Sandbox& sandbox) {
  const auto stream = sandbox.runtime->agent().exec(command);
  std::array<Captured, 2> captured;
  ExecSink sink = [&](std::size_t channel, std::span<const std::byte> bytes) -> asio::awaitable<void> {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (context.json()) {
      captured.at(channel).take(text);
    } else {
      write_all(channel == 0 ? STDOUT_FILENO : STDERR_FILENO, text);
    }
    co_return;
  };
  ExecResult result;
  std::string trouble;
  try {
    result = execute(context, *stream, std::move(sink), false);
    if (result.timed_out) trouble = "the command was ended after its time limit";
  } catch (const Error& error) {
    result.exit_code = exit_code_of(error);
    if (result.exit_code == kOwnFailure) throw;
    trouble = error.what();
  }
  if (context.json()) {
    json::object document = to_json(result, captured);
    if (keep) document["sid"] = sandbox.runtime->sid();
    if (!trouble.empty()) document["message"] = trouble;
    context.print_json(document);
  } else if (!trouble.empty()) {
    context.warn(trouble);
  }
  return result.exit_code;
}

// A Python string literal: JSON's escapes are all Python's, too.
std::string python_literal(const std::string& text) {
  return write_json(json::value(text));
}

// Makes variables and the working folder those of the Python session. `sure` is what it prints when it
// worked.
std::string python_preparation(const std::map<std::string, std::string>& variables, const std::string& cwd,
                               const std::string& sure) {
  std::string code = "__import__('os').environ.update({";
  for (const auto& [name, value] : variables) {
    code += python_literal(name) + ": " + python_literal(value) + ", ";
  }
  code += "})\n";
  if (!cwd.empty()) code += "__import__('os').chdir(" + python_literal(cwd) + ")\n";
  return code + "print(" + python_literal(sure) + ")";
}

std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

int run(Context& context, const ExecutionOptions& options, const std::vector<std::string>& argv) {
  ExecCommand command = make_command(options);
  command.argv = argv;
  return with_sandbox(context, options.sandbox, "running a command", false, [&](Sandbox& sandbox) {
    return run_in(context, options.sandbox.keep, command, sandbox);
  });
}

int python(Context& context, const ExecutionOptions& options, const std::string& code) {
  IPythonRunCellAction cell{.code = code, .include_extra = false};
  if (code == "-") {
    cell.code.clear();
    std::array<char, 65536> buffer{};
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), stdin))
      cell.code.append(buffer.data(), n);
  }
  const auto variables = parse_variables(options.env);
  const std::string cwd = options.cwd.value_or("");
  const std::chrono::duration<double> timeout =
      options.timeout ? parse_duration(*options.timeout, "--timeout") : kPythonTimeout;
  return with_sandbox(context, options.sandbox, "running Python", true, [&](Sandbox& sandbox) {
    const auto execute_cell = [&](IPythonRunCellAction action) {
      Observation observation =
          context.wait(sandbox.runtime->async_run_ipython(std::move(action), timeout.count()));
      return observation;
    };
    if (!variables.empty() || !cwd.empty()) {
      constexpr std::string_view kSure = "ready";
      const Observation prepared = execute_cell(
          {.code = python_preparation(variables, cwd, std::string(kSure)), .include_extra = false});
      if (prepared.as<ErrorObservation>() == nullptr && last_line(prepared.content) != kSure) {
        throw Error(ErrorCode::invalid_argument,
                    "setting variables and the folder of Python: " + last_line(prepared.content));
      }
    }
    const auto begun = std::chrono::steady_clock::now();
    const Observation observation = execute_cell(std::move(cell));
    // Cells may print those words; only one that took its time can have been interrupted.
    const bool late = std::chrono::steady_clock::now() - begun >= timeout &&
                      last_line(observation.content).starts_with("[Execution timed out");
    const bool error = observation.as<ErrorObservation>() != nullptr;
    if (context.json()) {
      json::value document = parse_json(serialize(observation), "the observation");
      if (options.sandbox.keep) document.as_object()["sid"] = sandbox.runtime->sid();
      context.print_json(document);
    } else if (error) {
      context.warn(observation.content);
    } else {
      write_all(STDOUT_FILENO, observation.content + (observation.content.ends_with('\n') ? "" : "\n"));
    }
    return error || late ? kOwnFailure : 0;
  });
}

int shell(Context& context, const ExecutionOptions& options) {
  if (::isatty(STDIN_FILENO) == 0) {
    throw Error(ErrorCode::invalid_argument,
                "opening a shell: standard input is not a terminal; use sandkey run");
  }
  ExecCommand command = make_command(options);
  command.argv = {"/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash -i; exec sh -i"};
  const std::string term = context.environment("TERM").value_or("");
  command.env.emplace("TERM", term.empty() ? "xterm" : term);
  return with_sandbox(context, options.sandbox, "opening a shell", false, [&](Sandbox& sandbox) {
    winsize size{};
    command.terminal = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0
                           ? std::pair<unsigned, unsigned>{size.ws_row, size.ws_col}
                           : std::pair<unsigned, unsigned>{24, 80};
    const auto stream = sandbox.runtime->agent().exec(command);
    ExecSink sink = [](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
      write_all(STDOUT_FILENO, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      co_return;
    };
    const RawTerminal raw;
    return execute(context, *stream, std::move(sink), true).exit_code;
  });
}

}  // namespace sandkey::cli
