// One emulated devbox: what the cloud knows of it, and the real sandbox behind it.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/executions.h"
#include "sandkey/providers/runloop/emulator/images.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <boost/asio/any_io_executor.hpp>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::runloop::emulator {

enum class Status {
  queued,
  provisioning,
  initializing,
  running,
  suspending,
  suspended,
  resuming,
  failure,
  shutdown
};

[[nodiscard]] std::string_view to_string(Status status) noexcept;
// The names that a request may use; "scheduled" is an old one of "queued".
[[nodiscard]] const std::set<std::string_view>& status_names();

struct Transition {
  Status status = Status::queued;
  sandkey::emulator::Time time = {};
  std::string failure_reason = {};
};

// One covers all ports.
struct Tunnel {
  std::string key = {};
  TunnelRequest settings = {};
  std::string token = {};  // of an authenticated one
  sandkey::emulator::Time created = {};
};

struct LogLine {
  sandkey::emulator::Time time = {};
  std::string source = {};  // setup_commands, entrypoint, exec, files
  std::string level = "info";
  std::string message = {};
  std::string command = {};
  std::string execution = {};
  std::string shell = {};
  std::optional<int> exit_code = std::nullopt;
};

struct Devbox {
  Devbox(Engine& engine, const asio::any_io_executor& executor)
      : changed(executor), executions(engine, executor) {}

  std::string id = {};
  std::string account = {};
  std::string name = {};
  Texts metadata = {};
  CreateRequest request = {};
  LaunchParameters launch = {};
  BlueprintPtr blueprint = {};
  SnapshotPtr snapshot = {};

  std::vector<Transition> transitions = {};  // never empty
  AsyncEvent changed;                        // notified whenever the status is another
  std::string shutdown_reason = {};
  sandkey::emulator::Time created = {};
  std::optional<sandkey::emulator::Time> ended = std::nullopt;
  sandkey::emulator::Time last_used = {};
  sandkey::emulator::Clock::Alarm expiry = {};  // of its time, or of its patience with idleness
  std::size_t snapshots_in_progress = 0;
  std::optional<Tunnel> tunnel = std::nullopt;
  std::deque<LogLine> logs = {};

  SavedFilesPtr files = {};  // of one that is suspended
  std::shared_ptr<sandkey::emulator::LocalSandbox> local = {};
  Executions executions;
  std::set<net::HttpExchange*> traffic = {};  // requests through its tunnel that are being answered

  [[nodiscard]] Status status() const noexcept { return transitions.back().status; }
  // When its time is over, or its patience with idleness, as things are.
  [[nodiscard]] sandkey::emulator::Time ends() const {
    return launch.after_idle ? last_used + launch.after_idle->time
                             : transitions.back().time + launch.keep_alive;
  }
  [[nodiscard]] bool over() const noexcept {
    return status() == Status::failure || status() == Status::shutdown;
  }
};
using DevboxPtr = std::shared_ptr<Devbox>;

[[nodiscard]] json::object to_view(const Devbox& devbox);
[[nodiscard]] json::object to_view(const Tunnel& tunnel);
// How long it was there and ran, and what that makes of its size.
[[nodiscard]] json::object to_usage(const Devbox& devbox, sandkey::emulator::Time now);
// Those of one execution or of one shell, where they are named.
[[nodiscard]] json::object to_logs(const Devbox& devbox, const std::string& execution,
                                   const std::string& shell);

}  // namespace sandkey::runloop::emulator
