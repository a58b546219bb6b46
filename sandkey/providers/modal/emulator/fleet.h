// All sandboxes of the emulated cloud, from their beginning to their end and as long as they are remembered.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/providers/modal/emulator/images.h"
#include "sandkey/providers/modal/emulator/sandbox.h"
#include "sandkey/providers/modal/emulator/tunnels.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::modal::emulator {

// What somebody asks for; names and secrets looked up.
struct CreateRequest {
  Backend backend = Backend::v2;
  std::string app_id = {};
  modal_wire::Sandbox definition = {};
  Tags tags = {};
  Variables variables = {};
};

// Everything throws CallError as the cloud answers it: not_found for what is not there or another account's,
// already_exists for a name that is taken, resource_exhausted for an account that has enough.
class Fleet {
 public:
  Fleet(sandkey::emulator::World& world, asio::any_io_executor executor, Images& images, Tunnels& tunnels);

  asio::awaitable<SandboxPtr> create(const sandkey::emulator::Account& account, CreateRequest request);
  // It ends with this result, unless it has one. Returns when all of it is gone.
  asio::awaitable<void> end(SandboxPtr sandbox, modal_wire::GenericResult result);
  void set_name(const SandboxPtr& sandbox, const std::string& name);

  // Also those that have ended.
  [[nodiscard]] SandboxPtr get(const sandkey::emulator::Account& account, const std::string& id) const;
  // By its task, whoever has it; null if there is none.
  [[nodiscard]] SandboxPtr find_task(const std::string& task_id) const noexcept;
  [[nodiscard]] SandboxPtr find(const std::string& id) const noexcept;
  // Of that app, running or the last that was; null if there is none.
  [[nodiscard]] SandboxPtr find_name(const std::string& app_id, const std::string& name,
                                     bool also_ended) const;
  // The newest first.
  [[nodiscard]] std::vector<SandboxPtr> of(const sandkey::emulator::Account& account) const;
  [[nodiscard]] std::vector<SandboxPtr> all() const;

  // Starts it, and keeps it with what it writes as long as the sandbox runs, or until there is too much.
  // One of the same id is the same.
  asio::awaitable<std::shared_ptr<Exec>> start(SandboxPtr sandbox, std::string exec_id,
                                               std::function<std::shared_ptr<Exec>()> make);
  // It dies. False if there is none of that id that runs.
  asio::awaitable<bool> fail(std::string id);
  // All die.
  asio::awaitable<void> close();

 private:
  void check(const sandkey::emulator::Account& account, const CreateRequest& request) const;
  void watch_idleness(const SandboxPtr& sandbox);
  asio::awaitable<void> begin(SandboxPtr sandbox, std::vector<std::string> command);
  asio::awaitable<void> add_tunnels(SandboxPtr sandbox);
  static asio::awaitable<void> run_main(Fleet& fleet, SandboxPtr sandbox);
  asio::awaitable<void> expire(std::weak_ptr<Sandbox> weak);
  asio::awaitable<void> end_if_idle(std::weak_ptr<Sandbox> weak);
  void forget_output(Sandbox& sandbox);
  void forget_old();
  [[nodiscard]] sandkey::emulator::Time next_creation();

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  Images& images_;
  Tunnels& tunnels_;
  std::map<std::string, SandboxPtr> sandboxes_;
  std::map<std::string, std::string> tasks_;  // task id -> sandbox id
  std::deque<std::string> ended_;             // ids, the oldest first
  sandkey::emulator::Time last_creation_ = {};
  TaskGroup endings_;  // last: its tasks use all of the above
};

[[nodiscard]] modal_wire::GenericResult make_result(modal_wire::GenericResult::GenericStatus status,
                                                    int exit_code = 0, std::string exception = {});
// Of a sandbox that somebody ended.
[[nodiscard]] modal_wire::GenericResult terminated();

}  // namespace sandkey::modal::emulator
