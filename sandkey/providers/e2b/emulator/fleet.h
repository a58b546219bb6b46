// All sandboxes of the emulated cloud, and what may be done to them in which state.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/providers/e2b/emulator/requests.h"
#include "sandkey/providers/e2b/emulator/sandbox.h"
#include "sandkey/providers/e2b/emulator/templates.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::e2b::emulator {

using SandboxPtr = std::shared_ptr<Sandbox>;

// What happened to a sandbox, for its logs.
struct LogEntry {
  sandkey::emulator::Time time = {};
  std::string message = {};
};

// Everything throws ApiError as the cloud answers it: 404 for what is not there or another account's, 409 for
// a state that forbids it, 429 for an account that has enough.
class Fleet {
 public:
  Fleet(sandkey::emulator::World& world, asio::any_io_executor executor);

  // Of a new sandbox: its time begins when it is there.
  asio::awaitable<SandboxPtr> create(const sandkey::emulator::Account& account, CreateRequest request,
                                     Templates::Found made_of);
  // True if it had to be resumed. A running one lives `timeout` from now on, or longer as it did.
  asio::awaitable<std::pair<SandboxPtr, bool>> connect(const sandkey::emulator::Account& account,
                                                       std::string id, std::chrono::seconds timeout,
                                                       bool with_memory);
  // The old way: of paused ones only.
  asio::awaitable<SandboxPtr> resume(const sandkey::emulator::Account& account, std::string id,
                                     std::chrono::seconds timeout, std::optional<bool> auto_pause,
                                     bool with_memory);
  asio::awaitable<void> pause(const sandkey::emulator::Account& account, std::string id, bool with_memory);
  asio::awaitable<void> kill(const sandkey::emulator::Account& account, std::string id);
  void set_timeout(const sandkey::emulator::Account& account, const std::string& id,
                   std::chrono::seconds timeout);
  // Lives at least so long from now on; never shortens.
  void refresh(const sandkey::emulator::Account& account, const std::string& id,
               std::chrono::seconds timeout);
  void set_network(const sandkey::emulator::Account& account, const std::string& id, NetworkRules rules,
                   std::optional<bool> internet);

  // A copy of its files, taken while nothing in it runs. `doing` is for the message of a conflict:
  // "snapshotted".
  asio::awaitable<std::filesystem::path> snapshot(const sandkey::emulator::Account& account, std::string id,
                                                  std::string doing);
  // Throws unless it runs; "forked" ones that are paused are a conflict, others are not there.
  [[nodiscard]] SandboxPtr require_running(const sandkey::emulator::Account& account,
                                           const std::string& id) const;

  // A sandbox that exists for this account, in whatever state but killing.
  [[nodiscard]] SandboxPtr get(const sandkey::emulator::Account& account, const std::string& id) const;
  [[nodiscard]] std::vector<SandboxPtr> of(const sandkey::emulator::Account& account) const;
  [[nodiscard]] std::vector<SandboxPtr> all() const;
  // For traffic, which knows no accounts; null if there is none.
  [[nodiscard]] SandboxPtr find(const std::string& id) const noexcept;
  // Wakes a paused sandbox for traffic. Throws ApiError.
  asio::awaitable<void> wake(SandboxPtr sandbox);

  [[nodiscard]] std::vector<LogEntry> logs(const sandkey::emulator::Account& account,
                                           const std::string& id) const;

  // It dies. False if there is none of that id.
  asio::awaitable<bool> fail(std::string id);
  // All die.
  asio::awaitable<void> close();

 private:
  class Transition;

  [[nodiscard]] SandboxPtr owned(const sandkey::emulator::Account& account, const std::string& id) const;
  asio::awaitable<void> settled(SandboxPtr sandbox);
  void require_room(const std::string& account) const;
  asio::awaitable<void> start(SandboxPtr sandbox, std::filesystem::path files);
  asio::awaitable<void> bring_back(SandboxPtr sandbox, std::chrono::seconds timeout, bool with_memory);
  asio::awaitable<void> put_away(SandboxPtr sandbox, bool with_memory);
  asio::awaitable<void> end(SandboxPtr sandbox, std::string why);
  asio::awaitable<void> expire(std::weak_ptr<Sandbox> weak);
  void extend(const SandboxPtr& sandbox, std::chrono::seconds timeout, bool may_shorten);
  void set_end(const SandboxPtr& sandbox, sandkey::emulator::Time end);
  void break_traffic(Sandbox& sandbox);
  void set_state(Sandbox& sandbox, State state);
  void log(const Sandbox& sandbox, std::string message);
  [[nodiscard]] sandkey::emulator::Time next_start();
  [[nodiscard]] std::filesystem::path new_folder();

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  std::map<std::string, SandboxPtr> sandboxes_;
  std::map<std::string, std::size_t> starting_;  // by account, before they are in sandboxes_
  struct Logs {
    std::string account;
    std::deque<LogEntry> entries;
  };
  std::map<std::string, Logs> logs_;  // of those that are gone as well
  std::deque<std::string> logged_;    // the same ids in their order, so that the oldest can go
  sandkey::emulator::Time last_start_ = {};
  std::size_t folders_ = 0;
};

}  // namespace sandkey::e2b::emulator
