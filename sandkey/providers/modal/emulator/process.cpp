#include "sandkey/providers/modal/emulator/process.h"

#include <csignal>
#include <functional>
#include <span>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// A process without a clean environment would inherit the agent's; a shell that becomes it makes a program
// that is not there an end with status 127 instead of a failure to start.
std::vector<std::string> wrapped(const Command& command) {
  Variables variables{{"PATH", kPath}, {"HOME", "/root"}};
  for (const auto& [name, value] : command.variables) variables[name] = value;
  std::vector<std::string> argv{"/usr/bin/env", "-i"};
  for (const auto& [name, value] : variables) argv.push_back(name + "=" + value);
  argv.insert(argv.end(), {"/bin/sh", "-c", "exec \"${@}\"", "--"});
  argv.insert(argv.end(), command.argv.begin(), command.argv.end());
  return argv;
}

ExecCommand exec_of(const Command& command) {
  ExecCommand made;
  made.argv = wrapped(command);
  made.cwd = command.folder;
  made.terminal = command.terminal;
  if (command.timeout) made.timeout = *command.timeout;
  made.linger = std::chrono::seconds(0);  // it is ours to follow, and goes with its sandbox
  return made;
}

}  // namespace

Process::Process(asio::any_io_executor executor, std::shared_ptr<emu::LocalSandbox> sandbox,
                 const Command& command)
    : Exec(std::move(executor), command.output_limit),
      sandbox_(std::move(sandbox)),
      stream_(sandbox_->agent().exec(exec_of(command))),
      out_to_(command.out),
      error_to_(command.error) {}

asio::awaitable<void> Process::take(std::size_t channel, std::span<const std::byte> bytes) {
  const OutputTo to = channel == 0 ? out_to_ : error_to_;
  if (to == OutputTo::nowhere) co_return;
  OutputLog& log = channel == 0 || to == OutputTo::out ? out() : error();
  put(log, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

asio::awaitable<ExitStatus> Process::perform() {
  const std::shared_ptr<AgentStream> stream = stream_;
  const ExecSink sink = [this](std::size_t channel, std::span<const std::byte> bytes) {
    return take(channel, bytes);
  };
  const std::function<void()> on_started = [this] { mark_started(); };
  const ExecResult result = co_await stream->follow(sink, on_started);
  ExitStatus status{.code = result.exit_code, .signal = result.signal};
  if (result.timed_out) status.signal = SIGKILL;
  co_return status;
}

asio::awaitable<bool> Process::feed(std::string data) {
  const std::shared_ptr<AgentStream> stream = stream_;
  co_return co_await stream->write(std::as_bytes(std::span(data)));
}

asio::awaitable<void> Process::close_input() {
  const std::shared_ptr<AgentStream> stream = stream_;
  co_await stream->close_input();
}

}  // namespace sandkey::modal::emulator
