#include "sandkey/providers/e2b/emulator/envd/processes.h"

#include <array>
#include <csignal>
#include <string>
#include <string_view>
#include <utility>

namespace sandkey::e2b_envd {
namespace {

// As Go names signals.
std::string signal_name(int number) {
  constexpr std::array<std::pair<int, std::string_view>, 15> kNames{{
      {SIGHUP, "hangup"},
      {SIGINT, "interrupt"},
      {SIGQUIT, "quit"},
      {SIGILL, "illegal instruction"},
      {SIGTRAP, "trace/breakpoint trap"},
      {SIGABRT, "aborted"},
      {SIGBUS, "bus error"},
      {SIGFPE, "floating point exception"},
      {SIGKILL, "killed"},
      {SIGUSR1, "user defined signal 1"},
      {SIGSEGV, "segmentation fault"},
      {SIGUSR2, "user defined signal 2"},
      {SIGPIPE, "broken pipe"},
      {SIGALRM, "alarm clock"},
      {SIGTERM, "terminated"},
  }};
  for (const auto& [known, name] : kNames) {
    if (known == number) return std::string(name);
  }
  return "signal " + std::to_string(number);
}

}  // namespace

ProcessEvent::EndEvent end_event(const ExecResult& result) {
  ProcessEvent::EndEvent event;
  if (result.signal) {
    event.set_exit_code(-1);
    event.set_status("signal: " + signal_name(*result.signal));
    event.set_error(event.status());
    return event;
  }
  event.set_exit_code(result.exit_code);
  event.set_exited(true);
  event.set_status("exit status " + std::to_string(result.exit_code));
  if (result.exit_code != 0) event.set_error(event.status());
  return event;
}

Process::Process(asio::any_io_executor executor, StartRequest request, std::unique_ptr<AgentStream> stream)
    : machine::Process(std::move(executor), std::move(stream), request.has_pty(),
                       request.has_pty() || !request.has_stdin() || request.stdin()),
      request_(std::move(request)) {}

ProcessEvent Process::event_of(Output output) const {
  ProcessEvent event;
  ProcessEvent::DataEvent& data = *event.mutable_data();
  std::string& text = *(on_terminal()         ? data.mutable_pty()
                        : output.channel == 0 ? data.mutable_stdout()
                                              : data.mutable_stderr());
  text = std::move(output.bytes);
  return event;
}

std::shared_ptr<Process> find(machine::ProcessTable& table, const ProcessSelector& selector) {
  const bool by_pid = selector.selector_case() == ProcessSelector::kPid;
  const bool by_tag = selector.selector_case() == ProcessSelector::kTag;
  for (const auto& [pid, process] : table.all()) {
    auto ours = std::static_pointer_cast<Process>(process);
    const StartRequest& request = ours->request();
    if (by_pid && pid == static_cast<int>(selector.pid())) return ours;
    if (by_tag && request.has_tag() && request.tag() == selector.tag()) return ours;
  }
  return nullptr;
}

std::vector<std::shared_ptr<Process>> running(machine::ProcessTable& table) {
  std::vector<std::shared_ptr<Process>> found;
  for (const auto& [pid, process] : table.all()) {
    if (!process->over()) found.push_back(std::static_pointer_cast<Process>(process));
  }
  return found;
}

}  // namespace sandkey::e2b_envd
