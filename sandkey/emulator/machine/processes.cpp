#include "sandkey/emulator/machine/processes.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <csignal>
#include <functional>
#include <utility>

namespace sandkey::machine {
namespace {

using Clock = std::chrono::steady_clock;

bool may_come_back(const Error& error) {
  return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::deadline_exceeded;
}

}  // namespace

Process::Process(asio::any_io_executor executor, std::unique_ptr<AgentStream> stream, bool on_terminal,
                 bool open)
    : input_open(open),
      on_terminal_(on_terminal),
      stream_(std::move(stream)),
      changed_(std::move(executor)) {}

Process::Subscriber::Subscriber(Process& process) : process_(process) {
  process_.subscribers_.push_back(this);
}

Process::Subscriber::~Subscriber() {
  std::erase(process_.subscribers_, this);
  process_.changed_.notify_all();  // who waited for us to take something need not
}

std::optional<Process::Output> Process::Subscriber::take() {
  if (queue_.empty()) return std::nullopt;
  Output output = std::move(queue_.front());
  queue_.pop_front();
  process_.changed_.notify_all();
  return output;
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
    Output output;
    output.channel = channel;
    output.bytes.assign(reinterpret_cast<const char*>(piece.data()), piece.size());
    for (Subscriber* subscriber : subscribers_) subscriber->queue_.push_back(output);
    changed_.notify_all();
  }
}

ProcessTable::ProcessTable(Engine& engine, asio::any_io_executor executor)
    : engine_(engine), resumed_(executor), tasks_(engine, executor) {}

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
      process->end_ = result;
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

const std::map<int, std::shared_ptr<Process>>& ProcessTable::all() {
  forget_old();
  return processes_;
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

}  // namespace sandkey::machine
