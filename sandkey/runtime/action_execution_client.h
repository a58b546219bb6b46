// The one interface to a sandbox, whichever cloud it is in; modelled on OpenHands' ActionExecutionClient.
//
//   Engine engine;
//   ActionExecutionClient runtime(engine, provider, config, nullptr, "my-session");
//   runtime.connect();
//   const Observation hello = runtime.run(CmdRunAction{.command = "echo hello"});
//   runtime.close();
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/events/action.h"
#include "sandkey/events/observation.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

class AgentClient;
class EventStream;
class Ledger;

// What a sandbox should offer besides the shell; "jupyter" is the one that matters here.
struct PluginRequirement {
  std::string name = {};
};

// OpenHands' RuntimeStatus, as far as it concerns runtimes.
enum class RuntimeStatus {
  stopped,
  starting_runtime,
  runtime_started,
  setting_up_workspace,
  ready,
  error,
  disconnected
};

// Its name on OpenHands' wire: "STATUS$READY".
[[nodiscard]] std::string_view to_string(RuntimeStatus status) noexcept;

// (level "info", "warning" or "error", status, message). Warnings leave the status as it is: what the account
// said of itself before anything is created with it. Called on an engine thread; must not block or call the
// runtime.
using StatusCallback =
    std::function<void(std::string_view level, RuntimeStatus status, const std::string& message)>;

struct RuntimeOptions {
  std::vector<PluginRequirement> plugins = {};
  std::map<std::string, std::string> env_vars = {};  // exported in the shell and in Python
  StatusCallback status_callback = {};
  // Never create: find the session's sandbox or fail. Its environment is left as it is, and close() leaves it
  // running.
  bool attach_to_existing = false;
  // Where sandboxes are written down before they are created. None: nothing is remembered, so that sandboxes
  // are found by their provider's labels only. make_runtime() and the runtimes of the providers use the
  // user's where this is none.
  std::shared_ptr<Ledger> ledger = {};
  // False: connect() leaves shell, Python and git as they start, which is quicker.
  bool setup_environment = true;
  bool headless_mode = true;  // no browser-based editor is asked for
  std::string user_id = {};   // whose git provider tokens these are, in the orchestrator's terms
  // By provider ("github"); exported as GITHUB_TOKEN and masked in the event stream.
  std::map<std::string, Secret> git_provider_tokens = {};
};

// Holds an authenticated Provider from its construction on. All members may be called from any thread, but
// blocking forms not from the engine's own threads (Error(invalid_argument)). One action runs at a time;
// others queue up. The engine must outlive it.
//
// With an event stream it consumes the stream's actions and publishes what came of them, each observation
// naming its action as cause. Errors that are no observation set the status instead.
class ActionExecutionClient {
 public:
  // `sid`: the session, 1 to 256 bytes of UTF-8 without control characters (Error(invalid_argument)
  // otherwise).
  ActionExecutionClient(Engine& engine, std::shared_ptr<Provider> provider, const OpenHandsConfig& config,
                        std::shared_ptr<EventStream> event_stream, std::string sid = "default",
                        RuntimeOptions options = {});
  // Stops listening to the stream and ends what is running here. Does not close(): that may take long and can
  // fail.
  virtual ~ActionExecutionClient();
  ActionExecutionClient(const ActionExecutionClient&) = delete;
  ActionExecutionClient& operator=(const ActionExecutionClient&) = delete;

  [[nodiscard]] const std::string& sid() const noexcept;
  [[nodiscard]] const OpenHandsConfig& config() const noexcept;
  [[nodiscard]] RuntimeStatus status() const noexcept;

  // Finds the session's sandbox or creates it, waits until its agent is alive and sets up its environment.
  // With a ledger, several processes that want one session at once get one sandbox: one creates it, the
  // others wait for it and attach. While it is connected, the sandbox's lease is renewed. One deadline
  // (config.sandbox.remote_runtime_init_timeout) for all of it; errors name the phase and the last cause.
  // Nothing happens if it is connected; after a failure it may be tried again.
  void connect();
  asio::awaitable<void> async_connect();

  // Ends the sandbox, unless it was attached to, is to be kept or belongs to another living process or
  // another machine (it was found at the provider and not in the ledger). Idempotent, and may be called again
  // where it failed; nothing runs afterwards.
  void close();
  asio::awaitable<void> async_close();

  // Whether the agent answers, asked once. Never throws for an agent that does not.
  [[nodiscard]] bool check_if_alive();
  asio::awaitable<bool> async_check_if_alive();

  void pause();
  asio::awaitable<void> async_pause();
  void resume();
  asio::awaitable<void> async_resume();

  // Any action. One that a runtime does not execute gives what OpenHands gives: a thought is acknowledged,
  // one not confirmed gives a NullObservation, one rejected a UserRejectObservation. A command that fails is
  // an observation; Error means that it is not known what became of it, or that it was never run
  // (context().processed says which). The action's id (or one made for it) is sent along, so that a lost
  // reply never runs an action twice.
  Observation run_action(Action action);
  asio::awaitable<Observation> async_run_action(Action action);

  // The usual ones. `timeout` in seconds; without one, config.sandbox.timeout.
  Observation run(const CmdRunAction& action, std::optional<double> timeout = std::nullopt);
  asio::awaitable<Observation> async_run(CmdRunAction action, std::optional<double> timeout = std::nullopt);
  Observation run_ipython(const IPythonRunCellAction& action, std::optional<double> timeout = std::nullopt);
  asio::awaitable<Observation> async_run_ipython(IPythonRunCellAction action,
                                                 std::optional<double> timeout = std::nullopt);
  Observation read(const FileReadAction& action);
  asio::awaitable<Observation> async_read(FileReadAction action);
  Observation write(const FileWriteAction& action);
  asio::awaitable<Observation> async_write(FileWriteAction action);
  Observation edit(const FileEditAction& action);
  asio::awaitable<Observation> async_edit(FileEditAction action);

  // A file, or with `recursive` a folder, into the folder `sandbox_dest`. Throws Error(not_found) if there is
  // none.
  void copy_to(const std::filesystem::path& host_src, const std::string& sandbox_dest,
               bool recursive = false);
  asio::awaitable<void> async_copy_to(std::filesystem::path host_src, std::string sandbox_dest,
                                      bool recursive = false);
  // A folder of the sandbox as a zip file in the system's temporary folder, which the caller removes.
  [[nodiscard]] std::filesystem::path copy_from(const std::string& path);
  asio::awaitable<std::filesystem::path> async_copy_from(std::string path);
  // Folders end with '/'. Empty for what is no folder. Without a path, that of the working directory.
  [[nodiscard]] std::vector<std::string> list_files(std::optional<std::string> path = std::nullopt);
  asio::awaitable<std::vector<std::string>> async_list_files(std::optional<std::string> path = std::nullopt);

  // Sets variables (names become upper case, as OpenHands has it) for the shell, for shells to come and for
  // Python. Values arrive as they are, whatever characters they hold, but must be UTF-8 without NUL.
  void add_env_vars(const std::map<std::string, std::string>& variables);
  asio::awaitable<void> async_add_env_vars(std::map<std::string, std::string> variables);

  [[nodiscard]] const std::shared_ptr<Provider>& provider() const noexcept;
  // Of the session, once connected.
  [[nodiscard]] SandboxId sandbox_id() const;

  // Beyond OpenHands: files byte for byte, processes with separate outputs, ports. Connected runtimes only.
  [[nodiscard]] AgentClient& agent();

 private:
  class Impl;
  Engine& engine_;
  std::shared_ptr<Impl> impl_;
};

// The options with the user's ledger (open_user_ledger()) where they name none.
[[nodiscard]] RuntimeOptions with_user_ledger(Engine& engine, RuntimeOptions options);

}  // namespace sandkey
