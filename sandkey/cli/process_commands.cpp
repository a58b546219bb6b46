// run, python, shell: commands that execute something.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/cli/command.h"
#include "sandkey/cli/standard_input.h"
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
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
// With --json the output is held until the end; beyond this its middle is not, and the document says so.
constexpr std::size_t kMaxJsonOutput = std::size_t{16} * 1024 * 1024;

std::pair<std::string, std::string> parse_variable(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || text.empty()) {
    throw Error(ErrorCode::invalid_argument, "reading --env: it must be NAME=VALUE or NAME");
  }
  if (equals != std::string::npos) return {text.substr(0, equals), text.substr(equals + 1)};
  const char* own = std::getenv(text.c_str());
  if (own == nullptr) {
    throw Error(ErrorCode::invalid_argument,
                "reading --env: " + text + " is not set here, so give it as " + text + "=VALUE");
  }
  return {text, own};
}

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

asio::awaitable<void> forward_signals(AgentStream& stream, std::vector<int> numbers) {
  asio::signal_set signals(co_await asio::this_coro::executor);
  for (const int number : numbers) signals.add(number);
  while (true) {
    const auto [error, number] = co_await signals.async_wait(kAsTuple);
    if (error) co_return;
    co_await stream.signal(number);
  }
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

// Follows a command to its end with our input, outputs and signals.
asio::awaitable<ExecResult> attend(Engine& engine, AgentStream& stream, ExecSink sink, bool terminal) {
  StandardInput input(co_await asio::this_coro::executor);
  TaskGroup around(engine, co_await asio::this_coro::executor);
  bool begun = false;
  ExecResult result;
  const auto body = [&]() -> asio::awaitable<void> {
    // Input and signals need a stream that exists, which its first frame or end shows.
    result = co_await stream.follow(
        [&](std::size_t channel, std::span<const std::byte> bytes) { return sink(channel, bytes); },
        [&] {
          if (std::exchange(begun, true)) return;
          around.spawn(forward_input(stream, input));
          if (terminal) {
            around.spawn(forward_size(stream));
          } else {
            around.spawn(forward_signals(stream, {SIGINT, SIGTERM, SIGHUP}));
          }
        });
    around.cancel();
  };
  std::exception_ptr failure;
  try {
    co_await around.run(body());
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    // Nobody will follow it any more, as when our own output was closed.
    try {
      if (begun) co_await stream.kill();
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the first failure is the one to tell
    }
    std::rethrow_exception(failure);
  }
  co_return result;
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

}  // namespace

int run(Engine& engine, const RunOptions& options) {
  ExecCommand command;
  command.argv = options.command;
  command.cwd = options.cwd;
  command.timeout = options.timeout;
  for (const std::string& variable : options.env) command.env.insert(parse_variable(variable));

  const auto runtime = attach_own(engine, options.target, "running a command");
  const auto stream = runtime->agent().exec(command);
  std::array<Captured, 2> captured;
  const bool json = options.json;
  ExecSink sink = [&captured, json](std::size_t channel,
                                    std::span<const std::byte> bytes) -> asio::awaitable<void> {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (json) {
      captured.at(channel).take(text);
    } else {
      write_all(channel == 0 ? STDOUT_FILENO : STDERR_FILENO, text);
    }
    co_return;
  };
  ExecResult result;
  try {
    result = engine.wait(attend(engine, *stream, std::move(sink), false));
  } catch (const Error& error) {
    const int code = exit_code_of(error);
    if (code == kOwnFailure) throw;
    std::fprintf(stderr, "sandkey: %s\n", error.what());
    return code;
  }
  if (json) {
    json::object document;
    document["exit_code"] = result.exit_code;
    if (result.signal) document["signal"] = *result.signal;
    document["timed_out"] = result.timed_out;
    document["stdout"] = utf8::sanitize(captured[0].text);
    document["stderr"] = utf8::sanitize(captured[1].text);
    document["truncated"] = captured[0].truncated || captured[1].truncated;
    write_all(STDOUT_FILENO, write_json(document) + "\n");
  } else if (result.timed_out) {
    std::fprintf(stderr, "sandkey: the command was ended after its time limit\n");
  }
  return result.exit_code;
}

int python(Engine& engine, const PythonOptions& options) {
  IPythonRunCellAction cell;
  cell.include_extra = false;
  cell.code = options.code;
  if (options.code == "-") {
    cell.code.clear();
    std::array<char, 65536> buffer{};
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), stdin))
      cell.code.append(buffer.data(), n);
  }
  const auto runtime = attach(engine, options.target);
  std::optional<double> seconds;
  if (options.timeout) seconds = std::chrono::duration<double>(*options.timeout).count();
  const Observation observation = runtime->run_ipython(cell, seconds);
  if (options.json) {
    write_all(STDOUT_FILENO, serialize(observation) + "\n");
  } else if (observation.as<ErrorObservation>() == nullptr) {
    write_all(STDOUT_FILENO, observation.content + (observation.content.ends_with('\n') ? "" : "\n"));
  }
  if (observation.as<ErrorObservation>() != nullptr) {
    std::fprintf(stderr, "sandkey: %s\n", observation.content.c_str());
    return kOwnFailure;
  }
  return 0;
}

int shell(Engine& engine, const Target& target) {
  if (::isatty(STDIN_FILENO) == 0) {
    throw Error(ErrorCode::invalid_argument,
                "opening a shell: standard input is not a terminal; use sandkey run");
  }
  const auto runtime = attach_own(engine, target, "opening a shell");
  ExecCommand command;
  command.argv = {"/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash -i; exec sh -i"};
  const char* term = std::getenv("TERM");
  command.env["TERM"] = term != nullptr && *term != '\0' ? term : "xterm";
  winsize size{};
  command.terminal = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0
                         ? std::pair<unsigned, unsigned>{size.ws_row, size.ws_col}
                         : std::pair<unsigned, unsigned>{24, 80};
  const auto stream = runtime->agent().exec(command);
  ExecSink sink = [](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
    write_all(STDOUT_FILENO, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    co_return;
  };
  const RawTerminal raw;
  return engine.wait(attend(engine, *stream, std::move(sink), true)).exit_code;
}

}  // namespace sandkey::cli
