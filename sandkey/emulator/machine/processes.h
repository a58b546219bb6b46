// Processes that run on whatever their clients do, and tell all who are connected to them what they write.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/engine.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sandkey::machine {

// A cloud's own kind, with what its clients said of it, derives from this.
class Process {
 public:
  static constexpr std::size_t kMaxQueued = 64;                      // outputs a client has not taken
  static constexpr std::size_t kPipeChunk = std::size_t{32} * 1024;  // of one output
  static constexpr std::size_t kTerminalChunk = std::size_t{16} * 1024;

  Process(asio::any_io_executor executor, std::unique_ptr<AgentStream> stream, bool on_terminal, bool open);
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] int pid() const noexcept { return stream_->pid(); }
  [[nodiscard]] bool on_terminal() const noexcept { return on_terminal_; }
  [[nodiscard]] AgentStream& stream() noexcept { return *stream_; }
  // How it ended; nothing while it runs, and for ever if its sandbox went first.
  [[nodiscard]] const std::optional<ExecResult>& end() const noexcept { return end_; }
  [[nodiscard]] bool over() const noexcept { return end_ || failure_; }
  // Why it could not be started or followed, if that is so.
  [[nodiscard]] std::exception_ptr failure() const noexcept { return failure_; }
  [[nodiscard]] std::chrono::steady_clock::time_point over_since() const noexcept { return over_since_; }

  // Whether clients may still send to its stdin.
  bool input_open;
  // Input of one request after the other.
  bool input_busy = false;
  // Notified when it starts, has output, or is over, and when somebody took some.
  [[nodiscard]] AsyncEvent& changed() noexcept { return changed_; }

  struct Output {
    std::size_t channel = 0;  // 0 is stdout or the terminal, 1 is stderr
    std::string bytes = {};
  };
  // A client that is told everything from its making on. Must not outlive the process.
  class Subscriber {
   public:
    explicit Subscriber(Process& process);
    ~Subscriber();
    Subscriber(const Subscriber&) = delete;
    Subscriber& operator=(const Subscriber&) = delete;
    // The next output; nothing if there is none yet.
    [[nodiscard]] std::optional<Output> take();

   private:
    friend class Process;
    Process& process_;
    std::deque<Output> queue_;
  };

 private:
  friend class ProcessTable;
  asio::awaitable<void> publish(std::size_t channel, std::span<const std::byte> bytes);
  [[nodiscard]] bool somebody_is_full() const;

  bool on_terminal_;
  std::unique_ptr<AgentStream> stream_;
  AsyncEvent changed_;
  std::vector<Subscriber*> subscribers_;
  bool started_ = false;
  std::optional<ExecResult> end_;
  std::exception_ptr failure_;
  std::chrono::steady_clock::time_point over_since_;
};

// On one thread.
class ProcessTable {
 public:
  // A process that ended can be found for this long.
  static constexpr std::chrono::seconds kRemembered{30};

  ProcessTable(Engine& engine, asio::any_io_executor executor);

  // Returns once it runs. It, and it alone, is killed when the deadline comes. Throws what the agent says
  // when it cannot be started. A subscriber may be there before, and misses nothing then.
  asio::awaitable<void> start(std::shared_ptr<Process> process, Deadline deadline);

  // All that are remembered, by their numbers.
  [[nodiscard]] const std::map<int, std::shared_ptr<Process>>& all();

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
  bool paused_ = false;
  AsyncEvent resumed_;
  std::map<int, std::shared_ptr<Process>> processes_;
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sandkey::machine
