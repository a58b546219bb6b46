// The processes that were started through envd: each runs on whatever its clients do, and tells all who are
// connected to it what it writes.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/engine.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <envd.pb.h>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sandkey::e2b_envd {

// How a process ended, in the words of Go's os/exec, which envd is written with.
[[nodiscard]] ProcessEvent::EndEvent end_event(const ExecResult& result);

class Process {
 public:
  static constexpr std::size_t kMaxQueued = 64;                      // events a client has not taken
  static constexpr std::size_t kPipeChunk = std::size_t{32} * 1024;  // of output in one event
  static constexpr std::size_t kTerminalChunk = std::size_t{16} * 1024;

  Process(asio::any_io_executor executor, StartRequest request, std::unique_ptr<AgentStream> stream);

  [[nodiscard]] int pid() const noexcept { return stream_->pid(); }
  [[nodiscard]] const ProcessConfig& config() const noexcept { return request_.process(); }
  [[nodiscard]] const StartRequest& request() const noexcept { return request_; }
  [[nodiscard]] bool on_terminal() const noexcept { return request_.has_pty(); }
  [[nodiscard]] AgentStream& stream() noexcept { return *stream_; }
  // How it ended; nothing while it runs, and for ever if its sandbox went first.
  [[nodiscard]] const std::optional<ProcessEvent::EndEvent>& end() const noexcept { return end_; }
  [[nodiscard]] bool over() const noexcept { return end_ || failure_; }
  // Why it could not be started or followed, if that is so.
  [[nodiscard]] std::exception_ptr failure() const noexcept { return failure_; }
  [[nodiscard]] std::chrono::steady_clock::time_point over_since() const noexcept { return over_since_; }

  // Whether clients may still send to its stdin.
  bool input_open = true;
  // Input of one request after the other.
  bool input_busy = false;
  // Notified when it starts, has output, or is over, and when somebody took some.
  [[nodiscard]] AsyncEvent& changed() noexcept { return changed_; }

  // A client that is told everything from its making on. Must not outlive the process.
  class Subscriber {
   public:
    explicit Subscriber(Process& process);
    ~Subscriber();
    Subscriber(const Subscriber&) = delete;
    Subscriber& operator=(const Subscriber&) = delete;
    // The next output; nothing if there is none yet.
    [[nodiscard]] std::optional<ProcessEvent> take();

   private:
    friend class Process;
    Process& process_;
    std::deque<ProcessEvent> queue_;
  };

 private:
  friend class ProcessTable;
  asio::awaitable<void> publish(std::size_t channel, std::span<const std::byte> bytes);
  [[nodiscard]] bool somebody_is_full() const;

  StartRequest request_;
  std::unique_ptr<AgentStream> stream_;
  AsyncEvent changed_;
  std::vector<Subscriber*> subscribers_;
  bool started_ = false;
  std::optional<ProcessEvent::EndEvent> end_;
  std::exception_ptr failure_;
  std::chrono::steady_clock::time_point over_since_;
};

// On one thread.
class ProcessTable {
 public:
  // A process that ended can be connected to for this long.
  static constexpr std::chrono::seconds kRemembered{30};

  ProcessTable(Engine& engine, asio::any_io_executor executor, AgentClient& agent);

  // Not started yet, so that a subscriber can be there before its first output.
  [[nodiscard]] std::shared_ptr<Process> make(StartRequest request, const ExecCommand& command);
  // Returns once it runs. It, and it alone, is killed when the deadline comes. Throws what the agent says
  // when it cannot be started.
  asio::awaitable<void> start(std::shared_ptr<Process> process, Deadline deadline);

  // Null if there is none, or not for so long any more.
  [[nodiscard]] std::shared_ptr<Process> find(const ProcessSelector& selector);
  // Those that run.
  [[nodiscard]] std::vector<std::shared_ptr<Process>> running();

  // While the sandbox is paused nothing is expected of it.
  void set_paused(bool paused);
  // Lets go of all of them; for when the sandbox is gone.
  void cancel() { tasks_.cancel(); }
  asio::awaitable<void> join() { return tasks_.join(); }

 private:
  static asio::awaitable<void> follow(ProcessTable& table, std::shared_ptr<Process> process);
  static asio::awaitable<void> kill_at(ProcessTable& table, std::shared_ptr<Process> process,
                                       Deadline deadline);
  void forget_old();

  Engine& engine_;
  asio::any_io_executor executor_;
  AgentClient& agent_;
  bool paused_ = false;
  AsyncEvent resumed_;
  std::map<int, std::shared_ptr<Process>> processes_;  // by number
  TaskGroup tasks_;                                    // last: its tasks use all of the above
};

}  // namespace sandkey::e2b_envd
