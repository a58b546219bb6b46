#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"

#include "sandkey/base/async_event.h"
#include "sandkey/base/error.h"
#include "sandkey/emulator/machine/file_text.h"

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

constexpr std::size_t kMaxTable = std::size_t{64} * 1024;
constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::string_view kCut = "\n[the rest of the output is cut]\n";

void keep(std::string& into, std::span<const std::byte> bytes) {
  if (into.size() >= MachineView::kMaxOutput) return;
  into.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (into.size() < MachineView::kMaxOutput) return;
  into.resize(MachineView::kMaxOutput);
  into += kCut;
}

// A command that does not read all of its input ends before it has it, which is no failure.
asio::awaitable<void> feed(std::shared_ptr<AgentStream> stream, std::string input) {
  try {
    if (!input.empty()) (void)co_await stream->write(std::as_bytes(std::span(input)));
    co_await stream->close_input();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
  }
}

bool has_line(std::string_view text, std::string_view line) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (text.substr(0, end) == line) return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

}  // namespace

MachineView::MachineView(Engine& engine, asio::any_io_executor executor, AgentClient& agent,
                         ToolboxSettings settings)
    : engine_(engine), executor_(std::move(executor)), agent_(agent), settings_(std::move(settings)) {
  variables_ = {{"PATH", kPath}, {"LANG", "C.UTF-8"}, {"USER", settings_.user}, {"LOGNAME", settings_.user}};
  for (const auto& [name, value] : settings_.environment) variables_[name] = value;
}

asio::awaitable<bool> MachineView::is_folder(std::string path) {
  const RemoteStat info = co_await agent_.stat(std::move(path), soon());
  co_return info.type == RemoteStat::Type::directory;
}

asio::awaitable<std::string> MachineView::choose_shell() {
  std::string listed;
  try {
    HttpStream file = co_await agent_.open_file("/etc/shells");
    listed = co_await file.read_all(kMaxTable);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
  constexpr std::array<const char*, 4> kShells{"/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"};
  for (const char* const shell : kShells) {
    // An image without the list has what is there.
    if (!listed.empty() && !has_line(listed, shell)) continue;
    const RemoteStat info = co_await agent_.stat(shell, soon());
    if (info.type == RemoteStat::Type::file) co_return shell;
  }
  co_return "/bin/sh";
}

asio::awaitable<void> MachineView::prepare() {
  if (prepared_) co_return;
  const auto given = variables_.find("HOME");
  std::string home = given != variables_.end() ? given->second : "/home/" + settings_.user;
  const bool there = co_await is_folder(home);
  if (!there) home = agent_.greeting().working_dir;
  std::string shell = co_await choose_shell();
  if (prepared_) co_return;  // somebody else was faster
  home_ = std::move(home);
  variables_["HOME"] = home_;
  workdir_ = settings_.workdir.empty() ? home_ : settings_.workdir;
  shell_ = std::move(shell);
  prepared_ = true;
}

std::vector<std::string> MachineView::with_environment(const Variables& more,
                                                       std::vector<std::string> argv) const {
  Variables environment = variables_;
  for (const auto& [name, value] : more) environment[name] = value;
  std::vector<std::string> made{"/usr/bin/env", "-i"};
  for (const auto& [name, value] : environment) made.push_back(name + "=" + value);
  for (std::string& argument : argv) made.push_back(std::move(argument));
  return made;
}

std::string MachineView::resolve(std::string_view path) const {
  return machine::absolute_path(path, workdir_);
}

asio::awaitable<Outcome> MachineView::run(Command command) {
  ExecCommand exec;
  if (command.merged) {
    command.argv.insert(command.argv.begin(), {"/bin/sh", "-c", "exec \"${@}\" 2>&1", "--"});
  }
  exec.argv = with_environment(command.variables, std::move(command.argv));
  exec.cwd = command.cwd.empty() ? workdir_ : resolve(command.cwd);
  exec.input = command.input.has_value();
  exec.timeout = command.timeout;
  exec.to_end_of_output = true;
  exec.linger = std::chrono::seconds(0);  // it goes with its sandbox
  const bool there = co_await is_folder(exec.cwd);
  if (!there) throw Error(ErrorCode::not_found, "chdir " + exec.cwd + ": no such file or directory");

  const std::shared_ptr<AgentStream> stream = agent_.exec(exec);
  Outcome outcome;
  const ExecSink sink = [&outcome](std::size_t channel,
                                   std::span<const std::byte> bytes) -> asio::awaitable<void> {
    keep(channel == 0 ? outcome.out : outcome.err, bytes);
    co_return;
  };
  TaskGroup tasks(engine_, executor_);
  const std::function<void()> on_started = [&tasks, &stream, &command] {
    if (command.input) tasks.spawn(feed(stream, std::move(*command.input)));
  };
  const auto follow = [&]() -> asio::awaitable<void> {
    outcome.result = co_await stream->follow(sink, on_started);
    tasks.cancel();  // nobody reads the rest of its input any more
  };
  co_await tasks.run(follow());
  co_return outcome;
}

}  // namespace sandkey::daytona_toolbox
