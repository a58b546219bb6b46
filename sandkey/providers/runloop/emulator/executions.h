// The commands of one devbox: each runs on whatever its clients do, and keeps what it wrote.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/providers/runloop/emulator/output.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace sandkey::runloop::emulator {

struct CommandRequest {
  std::string id = {};  // empty: a new one
  std::string command = {};
  std::string shell = {};  // empty: a shell of its own
  bool attach_stdin = false;
};

enum class ExecutionStatus { queued, running, completed };

struct Execution {
  Execution(const asio::any_io_executor& executor, CommandRequest asked)
      : request(std::move(asked)), changed(executor) {}

  CommandRequest request;
  ExecutionStatus status = ExecutionStatus::queued;
  int exit_status = 0;                 // once it is completed
  std::array<Output, 2> outputs = {};  // stdout, stderr
  AsyncEvent changed;                  // notified when it wrote something or its status is another
  std::shared_ptr<sandkey::emulator::LocalSandbox> local = {};
  std::shared_ptr<AgentStream> stream = {};  // its agent is the sandbox's: it must go first
  bool started = false;                      // the stream can be spoken to

  [[nodiscard]] bool over() const noexcept { return status == ExecutionStatus::completed; }
};
using ExecutionPtr = std::shared_ptr<Execution>;

// On one thread.
class Executions {
 public:
  // So many are remembered, the newest and those that have not completed.
  static constexpr std::size_t kMost = 1000;

  Executions(Engine& engine, asio::any_io_executor executor);

  // The sandbox they run in from now on, as this user and with these variables.
  void attach(std::shared_ptr<sandkey::emulator::LocalSandbox> local, std::string user, Texts environment);
  // When the sandbox is gone: returns when none runs any more.
  asio::awaitable<void> detach();

  // One with that id is not started again: it is the same.
  ExecutionPtr start(CommandRequest request);
  // Null if there is none.
  [[nodiscard]] ExecutionPtr find(const std::string& id) const;

  asio::awaitable<void> wait(ExecutionPtr execution);
  // The process, or all that it started with it; one that waits for its turn gets none. Nothing for one that
  // has completed.
  asio::awaitable<void> kill(ExecutionPtr execution, bool with_group);
  // False if nothing takes it yet, or any more.
  asio::awaitable<bool> send(ExecutionPtr execution, InputRequest input);

  [[nodiscard]] const std::string& home() const noexcept { return home_; }
  // Told of every one that starts and that ends.
  std::function<void(const Execution&)> on_change = {};

 private:
  struct Shell {
    explicit Shell(const asio::any_io_executor& executor) : turns(executor) {}
    Turnstile turns;
    std::size_t commands = 0;  // that run or wait
    std::string state_file;
  };

  static asio::awaitable<void> run(Executions& self, ExecutionPtr execution);
  static asio::awaitable<void> run_in_turn(Executions& self, ExecutionPtr execution,
                                           std::shared_ptr<Shell> shell);
  asio::awaitable<void> follow(ExecutionPtr execution, std::string state_file);
  asio::awaitable<std::string> shortened(const Execution& execution);
  void complete(Execution& execution, int exit_status);
  std::shared_ptr<Shell> shell(const std::string& name);
  void forget_oldest();
  [[nodiscard]] ExecCommand command_of(bool attach_stdin, const std::string& command,
                                       const std::string& state_file) const;

  Engine& engine_;
  asio::any_io_executor executor_;
  std::shared_ptr<sandkey::emulator::LocalSandbox> local_;
  std::string home_;
  Texts environment_;
  std::map<std::string, ExecutionPtr> executions_;
  std::deque<std::string> order_;
  std::map<std::string, std::shared_ptr<Shell>> shells_;
  std::size_t starts_ = 0;  // of sandboxes: a shell's state is of one
  TaskGroup tasks_;         // last: its tasks use all of the above
};

// As an id of an execution, and as SDKs make those of commands: its beginning is the time.
[[nodiscard]] std::string make_uuid_v7(const Engine& engine, std::chrono::system_clock::time_point time);

}  // namespace sandkey::runloop::emulator
