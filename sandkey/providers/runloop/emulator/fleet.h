// All devboxes of the emulated cloud, and what may be done to them in which state.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/providers/runloop/emulator/devbox.h"
#include "sandkey/providers/runloop/emulator/images.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::runloop::emulator {

// Everything throws ApiError as the cloud answers it.
//
// A status changes at once and is told at once; what it means for the real sandbox is done by a task. Whoever
// waited for anything looks whether the devbox is over meanwhile, since a shutdown waits for nobody.
class Fleet {
 public:
  using Account = sandkey::emulator::Account;

  Fleet(sandkey::emulator::World& world, asio::any_io_executor executor, Images& images);

  // Begun: it is provisioning, or queued.
  DevboxPtr create(const Account& account, CreateRequest request, Texts secrets);
  void suspend(const DevboxPtr& devbox);
  void resume(const DevboxPtr& devbox);
  asio::awaitable<void> shut_down(DevboxPtr devbox, bool force);
  // Somebody uses it: its time of idleness begins anew.
  void touch(const DevboxPtr& devbox);
  const Tunnel& enable_tunnel(const DevboxPtr& devbox, TunnelRequest settings);
  void remove_tunnel(const DevboxPtr& devbox);

  // A copy of its files, by a task; the snapshot's status tells when it is there.
  SnapshotPtr snapshot(const DevboxPtr& devbox, SnapshotRequest request);
  asio::awaitable<void> wait(SnapshotPtr snapshot);
  // Builds it, by a task.
  void build(const BlueprintPtr& blueprint);

  // Of this account, in whatever state.
  [[nodiscard]] DevboxPtr get(const Account& account, const std::string& id) const;
  // The same, but one that runs; and that is used by it.
  [[nodiscard]] DevboxPtr use(const Account& account, const std::string& id);
  // Newest first.
  [[nodiscard]] std::vector<DevboxPtr> of(const Account& account) const;
  [[nodiscard]] std::vector<DevboxPtr> all() const;
  // Null if no tunnel has this key.
  [[nodiscard]] DevboxPtr behind_tunnel(std::string_view key) const;
  void log(Devbox& devbox, LogLine line);

  // Long polls end at once from now on.
  [[nodiscard]] bool closing() const noexcept { return closing_; }
  // Notified when that begins, and when a snapshot is done.
  [[nodiscard]] const std::shared_ptr<AsyncEvent>& ending() const noexcept { return images_changed_; }
  // It dies. False if there is none of that id.
  asio::awaitable<bool> fail(std::string id);
  // All die.
  asio::awaitable<void> close();

 private:
  void require_room(const Account& account) const;
  void set_status(Devbox& devbox, Status status, std::string failure_reason = {});
  asio::awaitable<void> end(DevboxPtr devbox, Status how, std::string reason);

  static asio::awaitable<void> boot(Fleet& self, DevboxPtr devbox);
  static asio::awaitable<void> put_away(Fleet& self, DevboxPtr devbox);
  static asio::awaitable<void> follow_entrypoint(Fleet& self, DevboxPtr devbox, ExecutionPtr execution);
  static asio::awaitable<void> copy_files(Fleet& self, DevboxPtr devbox, SnapshotPtr snapshot);
  static asio::awaitable<void> run_build(Fleet& self, BlueprintPtr blueprint);
  asio::awaitable<std::string> bring_up(DevboxPtr devbox);
  asio::awaitable<void> delay(DevboxPtr devbox);
  asio::awaitable<void> load(DevboxPtr devbox, Deadline deadline);
  asio::awaitable<bool> run_launch_commands(DevboxPtr devbox);
  asio::awaitable<void> run_suspend_commands(DevboxPtr devbox);
  asio::awaitable<void> run_setup_commands(BlueprintPtr blueprint);
  void start_running(const DevboxPtr& devbox);
  void arm(const DevboxPtr& devbox);
  asio::awaitable<void> expire(std::weak_ptr<Devbox> weak);
  [[nodiscard]] sandkey::emulator::Time next_time();
  [[nodiscard]] SavedFilesPtr new_folder();

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  Images& images_;
  std::map<std::string, DevboxPtr> devboxes_;
  std::vector<DevboxPtr> order_;                // oldest first
  std::shared_ptr<AsyncEvent> images_changed_;  // notified when a snapshot is done, and at the end
  sandkey::emulator::Time last_time_ = {};
  std::size_t folders_ = 0;
  bool closing_ = false;
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sandkey::runloop::emulator
