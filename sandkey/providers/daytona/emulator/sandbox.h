// One emulated Daytona sandbox: what the cloud knows of it, and the real one behind it.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/listing.h"
#include "sandkey/providers/daytona/emulator/requests.h"
#include "sandkey/providers/daytona/emulator/snapshots.h"
#include "sandkey/providers/daytona/emulator/state.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_server.h"

#include <boost/asio/any_io_executor.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::daytona::emulator {

// What runs while it is started; whoever uses it meanwhile keeps it.
struct Machine {
  std::shared_ptr<sandkey::emulator::LocalSandbox> local = {};
  std::shared_ptr<daytona_toolbox::ToolboxServer> toolbox = {};
};

struct SignedPort {
  std::uint16_t port = 0;
  sandkey::emulator::Time ends = {};
};

struct Sandbox {
  explicit Sandbox(const asio::any_io_executor& executor) : settled(executor) {}

  std::string id = {};
  std::string organization = {};
  std::string organization_id = {};
  std::string account = {};  // that made it
  std::string name = {};
  std::string snapshot = {};
  std::string target = {};
  CreateRequest request = {};  // what can be changed of it is changed here
  Sizes sizes = {};
  Conduct conduct = Conduct::warm;
  bool holds_agent = false;

  State state = State::unknown;
  State desired = State::started;
  bool pending = false;
  bool waits = false;  // the same, and it has not begun: its time on the clock is not over
  AsyncEvent settled;  // notified when nothing is pending any more
  std::string error_reason = {};
  bool recoverable = false;
  std::string backup_state = "None";
  bool gone = false;

  sandkey::emulator::Time created = {};
  sandkey::emulator::Time updated = {};
  sandkey::emulator::Time last_activity = {};
  sandkey::emulator::Time listed_activity = {};                   // the one that lists were told
  std::optional<sandkey::emulator::Time> stopped = std::nullopt;  // since when it does not run
  sandkey::emulator::Clock::Alarm change = {};                    // the end of a slow change
  sandkey::emulator::Clock::Alarm due = {};                       // what happens by itself next

  std::string preview_token = {};  // another one at each start
  std::string signing_key = {};
  std::map<std::string, SignedPort> signed_ports = {};  // by token
  json::value ssh_access = nullptr;
  std::filesystem::path files = {};  // while it does not run
  std::shared_ptr<Machine> machine = {};
  // Requests that are being answered from inside, and whether they keep it from being idle.
  std::map<net::HttpExchange*, bool> traffic = {};

  [[nodiscard]] Condition condition() const noexcept;
  [[nodiscard]] bool ephemeral() const noexcept { return request.auto_delete == 0; }
};
using SandboxPtr = std::shared_ptr<Sandbox>;

// What GET answers, and what lists show, where the states of the way are seen.
[[nodiscard]] json::object to_json(const Sandbox& sandbox, const std::string& toolbox_url);
[[nodiscard]] ListItemPtr to_listed(const Sandbox& sandbox, const std::string& toolbox_url);

}  // namespace sandkey::daytona::emulator
