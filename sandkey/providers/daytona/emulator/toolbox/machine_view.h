// The sandbox as its daemon sees it: whose it is, what runs there and with what variables.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/providers/daytona/emulator/toolbox/requests.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona_toolbox {

struct ToolboxSettings {
  // Of every process, below those of its own request. HOME and PATH have defaults.
  Variables environment = {};
  std::string user = "daytona";
  std::string workdir = {};  // empty: the home
  std::string sandbox_id = {};
};

// A command beside the sessions, run to its end.
struct Command {
  std::vector<std::string> argv = {};
  std::optional<std::string> input = std::nullopt;  // nothing: /dev/null
  std::string cwd = {};                             // empty: the working directory
  Variables variables = {};                         // besides the daemon's own
  std::optional<std::chrono::seconds> timeout = std::nullopt;
  bool merged = true;  // stderr goes where stdout does, in true order
};
struct Outcome {
  ExecResult result = {};
  std::string out = {};
  std::string err = {};
};

// On one thread.
class MachineView {
 public:
  // What is kept of a command's output; the rest is cut, with a note.
  static constexpr std::size_t kMaxOutput = std::size_t{64} * 1024 * 1024;
  static constexpr std::chrono::seconds kPatience{60};

  // `agent` must outlive it.
  MachineView(Engine& engine, asio::any_io_executor executor, AgentClient& agent, ToolboxSettings settings);

  // Looks around; to be awaited before anything else, and costs nothing from the second time on.
  asio::awaitable<void> prepare();

  [[nodiscard]] Engine& engine() noexcept { return engine_; }
  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] AgentClient& agent() noexcept { return agent_; }
  [[nodiscard]] Deadline soon() const { return engine_.in(kPatience); }

  [[nodiscard]] const std::string& home() const noexcept { return home_; }
  [[nodiscard]] const std::string& workdir() const noexcept { return workdir_; }
  // zsh or bash if /etc/shells has one that is there, in this order; else sh.
  [[nodiscard]] const std::string& shell() const noexcept { return shell_; }

  // What processes that start from now on get. Changed by POST /env.
  [[nodiscard]] Variables& variables() noexcept { return variables_; }
  // The environment, and nothing of the agent's, in front of a command: env -i NAME=VALUE...
  [[nodiscard]] std::vector<std::string> with_environment(const Variables& more,
                                                          std::vector<std::string> argv) const;
  // Absolute; relative paths are of the working directory.
  [[nodiscard]] std::string resolve(std::string_view path) const;

  // Waits until nobody holds its outputs open any more. Error(not_found) where its folder is missing.
  asio::awaitable<Outcome> run(Command command);

 private:
  asio::awaitable<std::string> choose_shell();
  asio::awaitable<bool> is_folder(std::string path);

  Engine& engine_;
  asio::any_io_executor executor_;
  AgentClient& agent_;
  ToolboxSettings settings_;
  Variables variables_;
  bool prepared_ = false;
  std::string home_;
  std::string workdir_;
  std::string shell_ = "/bin/sh";
};

}  // namespace sandkey::daytona_toolbox
