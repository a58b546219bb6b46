#include "sandkey/providers/runloop/emulator/executions.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/runloop/emulator/text_file.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <exception>
#include <string_view>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::chrono::seconds kPatience{30};
constexpr int kKilled = 128 + SIGKILL;
constexpr std::size_t kLongestWord = std::size_t{100} * 1024;
constexpr std::size_t kFileDigits = 16;
constexpr std::string_view kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// A named shell is one bash for each command, which takes over from the one before it through a file: folder,
// variables and functions. So each command has outputs and a status of its own, and one that says `exit` or
// is killed does not take the shell with it.
constexpr std::string_view kInShell = R"sh(
[ -f "$1" ] && . "$1" 2>/dev/null
__runloop_state=$1 __runloop_command=$2
set --
__runloop_keep() {
  {
    printf 'cd -- %q\n' "$PWD"
    declare -p | grep -Ev '^declare -[a-zA-Z]*r|^declare -[^ ]* (BASH|FUNCNAME|GROUPS|DIRSTACK|PIPESTATUS|__runloop)'
    declare -f | grep -v '^$'
  } > "$__runloop_state.new" 2>/dev/null && mv -f "$__runloop_state.new" "$__runloop_state"
}
trap __runloop_keep EXIT
eval "$__runloop_command"
)sh";

// What the agent says of a command that has just ended.
bool has_ended(const Error& error) {
  return error.code() == ErrorCode::not_found || error.code() == ErrorCode::conflict;
}

}  // namespace

std::string make_uuid_v7(const Engine& engine, std::chrono::system_clock::time_point time) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = emu::random_uuid(engine);
  auto milliseconds = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
  // 48 bits of time: twelve digits around the first hyphen.
  for (std::size_t digit = 12; digit-- > 0; milliseconds >>= 4) {
    text[digit < 8 ? digit : digit + 1] = kDigits[milliseconds & 0xF];
  }
  text[14] = '7';
  return text;
}

Executions::Executions(Engine& engine, asio::any_io_executor executor)
    : engine_(engine), executor_(std::move(executor)), tasks_(engine, executor_) {}

void Executions::attach(std::shared_ptr<emu::LocalSandbox> local, std::string user, Texts environment) {
  local_ = std::move(local);
  home_ = "/home/" + user;
  environment_ = {{"PATH", std::string(kPath)}, {"HOME", home_},    {"USER", user}, {"LOGNAME", user},
                  {"SHELL", "/bin/bash"},       {"LANG", "C.UTF-8"}};
  for (const auto& [name, value] : environment) environment_[name] = value;
  shells_.clear();
  ++starts_;
}

asio::awaitable<void> Executions::detach() {
  local_.reset();
  co_await tasks_.join();
}

std::shared_ptr<Executions::Shell> Executions::shell(const std::string& name) {
  std::shared_ptr<Shell>& found = shells_[name];
  if (!found) {
    found = std::make_shared<Shell>(executor_);
    found->state_file = "/tmp/.shell-" + std::to_string(starts_) + "-" + std::to_string(shells_.size());
  }
  return found;
}

ExecutionPtr Executions::start(CommandRequest request) {
  if (ExecutionPtr known = find(request.id)) return known;
  if (request.id.empty()) request.id = make_uuid_v7(engine_, engine_.system_now());
  auto execution = std::make_shared<Execution>(executor_, std::move(request));
  execution->local = local_;
  executions_[execution->request.id] = execution;
  order_.push_back(execution->request.id);
  if (order_.size() > kMost) forget_oldest();
  if (execution->request.shell.empty()) {
    execution->status = ExecutionStatus::running;
    tasks_.spawn(run(*this, execution));
  } else {
    const std::shared_ptr<Shell> named = shell(execution->request.shell);
    if (named->commands++ == 0) execution->status = ExecutionStatus::running;
    tasks_.spawn(run_in_turn(*this, execution, named));
  }
  return execution;
}

void Executions::forget_oldest() {
  const auto oldest =
      std::ranges::find_if(order_, [this](const std::string& id) { return executions_.at(id)->over(); });
  if (oldest == order_.end()) return;
  executions_.erase(*oldest);
  order_.erase(oldest);
}

ExecutionPtr Executions::find(const std::string& id) const {
  const auto found = executions_.find(id);
  return found == executions_.end() ? nullptr : found->second;
}

// A process without a clean environment would inherit the agent's.
ExecCommand Executions::command_of(bool attach_stdin, const std::string& text,
                                   const std::string& state_file) const {
  ExecCommand command;
  command.argv = {"/usr/bin/env", "-i"};
  for (const auto& [name, value] : environment_) command.argv.push_back(name + "=" + value);
  if (state_file.empty()) {
    command.argv.insert(command.argv.end(), {"/bin/bash", "-c", text});
  } else {
    command.argv.insert(command.argv.end(),
                        {"/bin/bash", "-c", std::string(kInShell), "bash", state_file, text});
  }
  command.cwd = home_;
  command.input = attach_stdin;
  command.linger = std::chrono::seconds(0);
  return command;
}

asio::awaitable<void> Executions::run(Executions& self, ExecutionPtr execution) {
  std::string none;
  co_await self.follow(execution, std::move(none));
}

asio::awaitable<void> Executions::run_in_turn(Executions& self, ExecutionPtr execution,
                                              std::shared_ptr<Shell> shell) {
  const Turnstile::Pass pass = co_await shell->turns.enter();
  std::string state_file = shell->state_file;
  co_await self.follow(execution, std::move(state_file));
  --shell->commands;
}

// The kernel limits a word of a command line to 128 KiB; a longer command is read from a file.
asio::awaitable<std::string> Executions::shortened(const Execution& execution) {
  if (execution.request.command.size() <= kLongestWord) co_return execution.request.command;
  const std::string file = "/tmp/.command-" + emu::random_hex(engine_, kFileDigits);
  std::string text = execution.request.command;
  co_await write_text(execution.local->agent(), file, std::move(text), engine_.in(kPatience));
  co_return "eval \"$(cat " + file + "; rm -f " + file + ")\"";
}

// To its end, which a sandbox that goes is as well.
asio::awaitable<void> Executions::follow(ExecutionPtr execution, std::string state_file) {
  if (execution->over()) co_return;  // it was killed before its turn came
  if (!execution->local) {
    complete(*execution, kKilled);
    co_return;
  }
  const ExecSink sink = [&execution](std::size_t channel,
                                     std::span<const std::byte> bytes) -> asio::awaitable<void> {
    const void* const data = bytes.data();
    execution->outputs.at(channel).append({static_cast<const char*>(data), bytes.size()});
    execution->changed.notify_all();
    co_return;
  };
  int exit_status = kKilled;
  try {
    execution->status = ExecutionStatus::running;
    execution->changed.notify_all();
    if (on_change) on_change(*execution);
    const std::string text = co_await shortened(*execution);
    execution->stream =
        execution->local->agent().exec(command_of(execution->request.attach_stdin, text, state_file));
    std::function<void()> on_started = [&execution] {
      execution->started = true;
      execution->changed.notify_all();
    };
    const ExecResult result = co_await execution->stream->follow(sink, std::move(on_started));
    exit_status = result.exit_code;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    const bool lost = error.code() == ErrorCode::sandbox_dead || error.code() == ErrorCode::unavailable;
    if (!lost) {
      execution->outputs[1].append(error.what());
      exit_status = 126;
    }
  }
  complete(*execution, exit_status);
}

void Executions::complete(Execution& execution, int exit_status) {
  execution.exit_status = exit_status;
  execution.status = ExecutionStatus::completed;
  execution.stream.reset();
  execution.local.reset();
  execution.changed.notify_all();
  if (on_change) on_change(execution);
}

asio::awaitable<void> Executions::wait(ExecutionPtr execution) {
  while (!execution->over()) (void)co_await execution->changed.wait();
}

asio::awaitable<void> Executions::kill(ExecutionPtr execution, bool with_group) {
  if (execution->over()) co_return;
  if (execution->status == ExecutionStatus::queued) {
    complete(*execution, kKilled);
    co_return;
  }
  while (!execution->started && !execution->over()) (void)co_await execution->changed.wait();
  if (execution->over()) co_return;
  // It may complete meanwhile.
  const std::shared_ptr<emu::LocalSandbox> local = execution->local;
  const std::shared_ptr<AgentStream> stream = execution->stream;
  try {
    if (with_group) {
      co_await stream->kill();
    } else {
      co_await stream->signal_alone(SIGKILL);
    }
  } catch (const Error& error) {
    if (!has_ended(error)) throw;
  }
  const Deadline soon = engine_.in(kPatience);
  while (!execution->over() && engine_.steady_now() < soon)
    (void)co_await execution->changed.wait_until(soon);
}

asio::awaitable<bool> Executions::send(ExecutionPtr execution, InputRequest input) {
  if (execution->status == ExecutionStatus::queued) co_return false;
  while (!execution->started && !execution->over()) (void)co_await execution->changed.wait();
  if (execution->over()) co_return false;
  const std::shared_ptr<emu::LocalSandbox> local = execution->local;
  const std::shared_ptr<AgentStream> stream = execution->stream;
  bool taken = true;
  try {
    if (input.text) {
      const void* const data = input.text->data();
      const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), input.text->size());
      taken = co_await stream->write(bytes);
    }
    if (input.signal == Signal::eof) co_await stream->close_input();
    if (input.signal == Signal::interrupt) co_await stream->signal(SIGINT);
  } catch (const Error& error) {
    if (!has_ended(error)) throw;
    taken = false;
  }
  co_return taken;
}

}  // namespace sandkey::runloop::emulator
