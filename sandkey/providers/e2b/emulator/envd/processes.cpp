#include "sandkey/providers/e2b/emulator/envd/processes.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <string_view>
#include <utility>

namespace sandkey::e2b_envd {
namespace {

using Clock = std::chrono::steady_clock;

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

bool may_come_back(const Error& error) {
  return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::deadline_exceeded;
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
    : request_(std::move(request)), stream_(std::move(stream)), changed_(std::move(executor)) {
  input_open = on_terminal() || !request_.has_stdin() || request_.stdin();
}

Process::Subscriber::Subscriber(Process& process) : process_(process) {
  process_.subscribers_.push_back(this);
}

Process::Subscriber::~Subscriber() {
  std::erase(process_.subscribers_, this);
  process_.changed_.notify_all();  // who waited for us to take something need not
}

std::optional<ProcessEvent> Process::Subscriber::take() {
  if (queue_.empty()) return std::nullopt;
  ProcessEvent event = std::move(queue_.front());
  queue_.pop_front();
  process_.changed_.notify_all();
  return event;
}

bool Process::somebody_is_full() const {
  return std::ranges::any_of(subscribers_,
                             [](const Subscriber* each) { return each->queue_.size() >= kMaxQueued; });
}

asio::awaitable<void> Process::publish(std::size_t channel, std::span<const std::byte> bytes) {
  const std::size_t limit = on_terminal() ? kTerminalChunk : kPipeChunk;
  while (!bytes.empty()) {
    while (somebody_is_full()) (void)co_await changed_.wait();
    const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), limit));
    bytes = bytes.subspan(piece.size());
    ProcessEvent event;
    ProcessEvent::DataEvent& data = *event.mutable_data();
    std::string& text = *(on_terminal()  ? data.mutable_pty()
                          : channel == 0 ? data.mutable_stdout()
                                         : data.mutable_stderr());
    text.assign(reinterpret_cast<const char*>(piece.data()), piece.size());
    for (Subscriber* subscriber : subscribers_) subscriber->queue_.push_back(event);
    changed_.notify_all();
  }
}

ProcessTable::ProcessTable(Engine& engine, asio::any_io_executor executor, AgentClient& agent)
    : engine_(engine), executor_(executor), agent_(agent), resumed_(executor), tasks_(engine, executor) {}

std::shared_ptr<Process> ProcessTable::make(StartRequest request, const ExecCommand& command) {
  return std::make_shared<Process>(executor_, std::move(request), agent_.exec(command));
}

asio::awaitable<void> ProcessTable::start(std::shared_ptr<Process> process, Deadline deadline) {
  forget_old();
  tasks_.spawn(follow(*this, process));
  while (!process->started_ && !process->failure_) (void)co_await process->changed_.wait();
  if (!process->started_) std::rethrow_exception(process->failure_);
  if (deadline != kNoDeadline) tasks_.spawn(kill_at(*this, process, deadline));
}

asio::awaitable<void> ProcessTable::follow(ProcessTable& table, std::shared_ptr<Process> process) {
  const ExecSink sink = [&process](std::size_t channel, std::span<const std::byte> bytes) {
    return process->publish(channel, bytes);
  };
  const std::function<void()> on_started = [&table, &process] {
    process->started_ = true;
    table.processes_[process->pid()] = process;
    process->changed_.notify_all();
  };
  while (!process->over()) {
    try {
      std::function<void()> tell_once;
      if (!process->started_) tell_once = on_started;
      const ExecResult result = co_await process->stream_->follow(sink, std::move(tell_once));
      process->end_ = end_event(result);
    } catch (const Error& error) {
      const bool wait = table.paused_ && process->started_ && may_come_back(error);
      if (!wait) process->failure_ = std::current_exception();
    }
    while (table.paused_ && !process->over()) (void)co_await table.resumed_.wait();
  }
  process->input_open = false;
  process->over_since_ = Clock::now();
  process->changed_.notify_all();
}

asio::awaitable<void> ProcessTable::kill_at(ProcessTable& table, std::shared_ptr<Process> process,
                                            Deadline deadline) {
  while (!process->over() && table.engine_.steady_now() < deadline)
    (void)co_await process->changed_.wait_until(deadline);
  while (table.paused_ && !process->over()) (void)co_await table.resumed_.wait();
  if (process->over()) co_return;
  try {
    co_await process->stream_->signal_alone(SIGKILL);
  } catch (const Error& error) {
    // It ended meanwhile, or its sandbox did.
    if (error.code() == ErrorCode::cancelled) throw;
  }
}

std::shared_ptr<Process> ProcessTable::find(const ProcessSelector& selector) {
  forget_old();
  if (selector.selector_case() == ProcessSelector::kPid) {
    const auto found = processes_.find(static_cast<int>(selector.pid()));
    return found == processes_.end() ? nullptr : found->second;
  }
  for (const auto& [pid, process] : processes_) {
    const StartRequest& request = process->request();
    if (selector.selector_case() == ProcessSelector::kTag && request.has_tag() &&
        request.tag() == selector.tag())
      return process;
  }
  return nullptr;
}

std::vector<std::shared_ptr<Process>> ProcessTable::running() {
  std::vector<std::shared_ptr<Process>> found;
  for (const auto& [pid, process] : processes_) {
    if (!process->over()) found.push_back(process);
  }
  return found;
}

void ProcessTable::set_paused(bool paused) {
  paused_ = paused;
  if (!paused) resumed_.notify_all();
}

void ProcessTable::forget_old() {
  const auto now = Clock::now();
  std::erase_if(processes_, [now](const auto& entry) {
    return entry.second->over() && now - entry.second->over_since() > kRemembered;
  });
}

}  // namespace sandkey::e2b_envd
