// What every verb of the program works with: the engine, the ledger, the terminal and the signals.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/output.h"
#include "sandkey/config/config_loader.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/credentials/credential_chain.h"
#include "sandkey/runtime/ledger.h"
#include "sandkey/runtime/provider.h"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sandkey::cli {

// Sandkey's own failures; a command's exit code is passed on as it is.
inline constexpr int kOwnFailure = 125;
// As env(1) and shells have it: the command exists but cannot be started, or does not exist.
inline constexpr int kCannotStart = 126;
inline constexpr int kNoSuchCommand = 127;

// SIGINT, SIGTERM and SIGHUP, except those that were ignored when we were started. The first one cancels what
// the program is waiting for; one that comes while that is being cleaned up ends the program where it stands,
// and what it leaves is ended by its lease or its lifeline.
class Interrupts {
 public:
  explicit Interrupts(Engine& engine);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Requested by the first signal that nobody else takes.
  [[nodiscard]] std::stop_token token() const;
  // That signal, or 0.
  [[nodiscard]] int number() const noexcept;

  // From now on signals go to `taker`, on the engine's thread; none: to the token again. Called on that
  // thread.
  void deliver_to(std::function<void(int number)> taker);

 private:
  struct State;
  std::shared_ptr<State> state_;
  TaskGroup watching_;
};

// What holds for every verb.
struct CommonOptions {
  bool json = false;
  bool verbose = false;
  std::optional<std::string> profile = std::nullopt;      // else SANDKEY_PROFILE
  std::optional<std::string> config_file = std::nullopt;  // else ./config.toml, where there is one
};

class Context {
 public:
  Context(CommonOptions options, std::chrono::steady_clock::time_point started);

  [[nodiscard]] bool json() const noexcept { return options_.json; }
  [[nodiscard]] bool verbose() const noexcept { return options_.verbose; }

  [[nodiscard]] Engine& engine() noexcept { return engine_; }
  [[nodiscard]] Interrupts& interrupts() noexcept { return interrupts_; }
  // A variable of our environment.
  [[nodiscard]] std::optional<std::string> environment(const std::string& name) const {
    return engine_.environment(name);
  }
  // The user's configuration, read when first asked for; what is odd about it is told then. Throws Error.
  [[nodiscard]] const LoadedConfig& loaded_config();
  [[nodiscard]] const OpenHandsConfig& config() { return loaded_config().config; }
  // What the credential chain finds for it, without asking its provider.
  [[nodiscard]] Resolution find_credential(const CredentialSpec& spec);
  // The user's ledger, opened when first asked for.
  [[nodiscard]] const std::shared_ptr<Ledger>& ledger();

  // The authenticated provider of that name, for that profile's account (none: the configuration's); made
  // once. Throws Error.
  [[nodiscard]] std::shared_ptr<Provider> provider(const std::string& name,
                                                   const std::optional<std::string>& profile = std::nullopt);

  // For -v: one line on stderr with the time since the program began. Thread-safe.
  void note(const std::string& text) const;
  // One line on stderr, for what a user must know though nothing failed.
  void warn(const std::string& text) const;

  // Runs the coroutine to its end. A signal cancels it: Error(cancelled). When it takes long, a terminal
  // shows what is being waited for ("creating the sandbox").
  template <typename T>
  T wait(asio::awaitable<T> task, const std::string& what = {}) {
    if constexpr (std::is_void_v<T>) {
      wait_void(std::move(task), what);
    } else {
      std::optional<T> result;
      wait_void(store(std::move(task), &result), what);
      return std::move(*result);
    }
  }

  // Prints the one document of --json.
  void print_json(const json::value& document) const;

 private:
  template <typename T>
  static asio::awaitable<void> store(asio::awaitable<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }
  void wait_void(asio::awaitable<void> task, const std::string& what);
  asio::awaitable<void> beside_progress(asio::awaitable<void> task, std::string what);

  const CommonOptions options_;
  const std::chrono::steady_clock::time_point started_;
  Engine engine_;
  Interrupts interrupts_;
  std::optional<LoadedConfig> config_;
  std::shared_ptr<Ledger> ledger_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Provider>> providers_;  // by name and profile
};

}  // namespace sandkey::cli
