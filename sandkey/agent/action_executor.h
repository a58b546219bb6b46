// Executes actions one after another: the heart of the action execution server.
#pragma once

#include "sandkey/agent/identity.h"
#include "sandkey/events/action.h"
#include "sandkey/events/observation.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey::agent {

class ChildReaper;

struct ExecutorOptions {
  Identity identity;
  std::vector<std::string> environment;  // of everything that is run
  std::string working_dir;               // absolute; where shells start
  std::chrono::seconds soft_timeout{10};
};

// One action at a time, in the order of the calls, as OpenHands' server does it. On the agent's one thread.
class ActionExecutor {
 public:
  ActionExecutor(boost::asio::any_io_executor executor, ChildReaper& reaper, ExecutorOptions options);
  ~ActionExecutor();

  // Throws HttpError(400) for an action that is not executed in a sandbox, HttpError(500) where the system
  // said no.
  [[nodiscard]] boost::asio::awaitable<Observation> execute(Action action);

  // Starts the Python worker in the background, so that the first cell finds it ready.
  void warm_python();
  [[nodiscard]] const ExecutorOptions& options() const noexcept;
  // When the last action came (the start if none did).
  [[nodiscard]] std::chrono::steady_clock::time_point last_action() const noexcept;
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::agent
