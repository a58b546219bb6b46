// One emulated Modal sandbox: what the cloud knows of it, and the real one behind it.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/engine.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/modal/emulator/exec.h"
#include "sandkey/providers/modal/emulator/ids.h"
#include "sandkey/providers/modal/emulator/process.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <modal.pb.h>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sandkey::modal::emulator {

using Tags = std::map<std::string, std::string>;

struct Sandbox {
  Sandbox(Engine& engine, const asio::any_io_executor& executor)
      : changed(executor), tasks(engine, executor) {}

  std::string id = {};
  std::string task_id = {};
  Backend backend = Backend::v2;
  std::string account = {};
  std::string app_id = {};
  std::string name = {};
  Tags tags = {};
  modal_wire::Sandbox definition = {};
  Variables variables = {};  // of all that runs in it
  std::string folder = {};   // where it does
  bool holds_agent = false;

  sandkey::emulator::Time created = {};
  sandkey::emulator::Time ends = {};      // at the latest
  sandkey::emulator::Time finished = {};  // with a result
  sandkey::emulator::Time last_used = {};
  std::optional<modal_wire::GenericResult> result = std::nullopt;
  std::optional<sandkey::emulator::Time> ready = std::nullopt;
  sandkey::emulator::Clock::Alarm expiry = {};
  sandkey::emulator::Clock::Alarm idleness = {};
  AsyncEvent changed;  // notified when it has a result

  std::shared_ptr<sandkey::emulator::LocalSandbox> local = {};  // until its end
  std::shared_ptr<Exec> main = {};                              // none if it has no command; kept
  std::uint64_t main_input = 0;  // v1: the number of the last piece of its input
  std::map<std::string, std::shared_ptr<Exec>> execs = {};
  std::deque<std::string> exec_order = {};
  std::vector<modal_wire::TunnelData> tunnels = {};
  std::set<net::HttpExchange*> traffic = {};  // requests to its ports that are being answered

  TaskGroup tasks;  // what runs in it; last, as they use all of the above
};

using SandboxPtr = std::shared_ptr<Sandbox>;

[[nodiscard]] inline bool running(const Sandbox& sandbox) noexcept {
  return !sandbox.result;
}

// Seconds since 1970, as Modal tells times.
[[nodiscard]] double unix_time(sandkey::emulator::Time time);

[[nodiscard]] modal_wire::SandboxInfo to_info(const Sandbox& sandbox);
void add_tags(const Tags& tags, google::protobuf::RepeatedPtrField<modal_wire::SandboxTag>& list);
[[nodiscard]] bool has_tags(const Sandbox& sandbox, const Tags& wanted);

}  // namespace sandkey::modal::emulator
