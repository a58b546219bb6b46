// One emulated E2B sandbox: what the cloud knows of it, and the real one behind it.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/envd/envd_server.h"
#include "sandkey/providers/e2b/emulator/requests.h"

#include <boost/asio/any_io_executor.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace sandkey::e2b::emulator {

// The transitions are seen from outside: pausing as paused, snapshotting as running, resuming as paused, and
// killing not at all.
enum class State { running, paused, pausing, resuming, snapshotting, killing };

[[nodiscard]] std::string_view to_string(State state) noexcept;
[[nodiscard]] bool is_transition(State state) noexcept;

struct Sandbox {
  explicit Sandbox(const asio::any_io_executor& executor) : changed(executor) {}

  std::string id = {};
  std::string account = {};
  std::string template_id = {};
  std::string alias = {};
  int cpus = 0;
  int memory_mb = 0;
  int disk_mb = 0;
  bool holds_agent = false;
  bool interprets = false;
  CreateRequest request = {};
  std::string envd_token = {};     // empty: it is not secured
  std::string traffic_token = {};  // empty: its ports are open to everybody

  State state = State::running;
  AsyncEvent changed;  // notified whenever the state is another, or it is gone
  bool gone = false;
  sandkey::emulator::Time started = {};
  sandkey::emulator::Time ends = {};  // of a paused one: when it was paused
  sandkey::emulator::Clock::Alarm expiry = {};
  std::filesystem::path files = {};  // of one that was paused without its memory

  std::shared_ptr<sandkey::emulator::LocalSandbox> local = {};
  std::shared_ptr<e2b_envd::EnvdServer> envd = {};
  bool interpreter_runs = false;
  std::set<net::HttpExchange*> traffic = {};  // requests to its ports that are being answered
};

// What create, connect, resume and fork answer; what GET answers; what lists show.
[[nodiscard]] json::object to_sandbox(const Sandbox& sandbox, const std::string& domain);
[[nodiscard]] json::object to_detail(const Sandbox& sandbox, const std::string& domain);
[[nodiscard]] json::object to_listed(const Sandbox& sandbox);

}  // namespace sandkey::e2b::emulator
