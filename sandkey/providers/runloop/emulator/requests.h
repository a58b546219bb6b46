// What Runloop's API is asked for, read from its JSON. Unknown fields are passed over, and null is as good as
// absent everywhere; what cannot be is ApiError(400).
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::runloop::emulator {

// Of the API's JSON bodies; a file's contents may come in one.
inline constexpr std::size_t kMaxRequestBody = std::size_t{128} * 1024 * 1024;
inline constexpr std::chrono::seconds kDefaultKeepAlive{3600};
inline constexpr std::chrono::seconds kMaxKeepAlive{172'800};
inline constexpr std::chrono::seconds kMaxDevboxWait{30};
inline constexpr std::chrono::seconds kMaxExecutionWait{25};
inline constexpr std::size_t kDefaultLastLines = 100;

using Texts = std::map<std::string, std::string>;

// An empty body is as good as {}.
[[nodiscard]] json::object parse_body(std::string_view body);

[[nodiscard]] std::optional<std::string> parse_text(const json::object& body, std::string_view key);
[[nodiscard]] std::string require_text(const json::object& body, std::string_view key);
[[nodiscard]] std::optional<bool> parse_flag(const json::object& body, std::string_view key);
[[nodiscard]] std::optional<Texts> parse_texts(const json::object& body, std::string_view key);
[[nodiscard]] std::vector<std::string> parse_text_list(const json::object& body, std::string_view key);

// ---- Devboxes

enum class OnIdle { shutdown, suspend };

struct AfterIdle {
  std::chrono::seconds time = {};
  OnIdle action = OnIdle::shutdown;
};

// What a devbox is launched with, its blueprint's parameters and its own taken together.
struct LaunchParameters {
  json::object shown = {};  // as it is told again
  std::string user = "user";
  double cpus = 1;
  int memory_gib = 2;
  int disk_gib = 4;
  std::chrono::seconds keep_alive = kDefaultKeepAlive;
  std::optional<AfterIdle> after_idle = std::nullopt;  // then keep_alive does not count
  bool wakes_on_http = false;                          // lifecycle.resume_triggers.http
  bool flexible = false;                               // begins as queued
  std::vector<std::string> launch_commands = {};
  std::vector<std::string> suspend_commands = {};      // what they come to does not matter
  std::chrono::milliseconds suspend_patience{30'000};  // for all of them
};
// `own` wins over `inherited`, member by member.
[[nodiscard]] LaunchParameters parse_launch(const json::object& own, const json::object& inherited);

struct TunnelRequest {
  bool authenticated = false;
  bool http_keep_alive = true;
  bool wake_on_http = false;
};
[[nodiscard]] TunnelRequest parse_tunnel(const json::object& body);

struct CreateRequest {
  std::string name = {};
  std::string blueprint_id = {};
  std::string blueprint_name = {};
  std::string snapshot_id = {};
  std::string entrypoint = {};
  Texts environment = {};
  Texts secrets = {};  // variable -> name of the secret
  Texts metadata = {};
  Texts files = {};          // path -> contents
  json::object launch = {};  // launch_parameters as they came
  std::optional<TunnelRequest> tunnel = std::nullopt;
};
[[nodiscard]] CreateRequest parse_create(const json::object& body);

// What a long poll waits for. Names that are none of `known` are refused, so is an empty list.
struct WaitRequest {
  std::set<std::string, std::less<>> statuses = {};
  std::chrono::milliseconds timeout = {};
};
[[nodiscard]] WaitRequest parse_wait(const json::object& body, const std::set<std::string_view>& known,
                                     std::chrono::milliseconds most);

// ---- Snapshots and blueprints

inline constexpr std::size_t kMaxCommitMessage = 1000;

struct SnapshotRequest {
  std::optional<std::string> name = std::nullopt;
  std::optional<Texts> metadata = std::nullopt;
  std::optional<std::string> commit_message = std::nullopt;
};
[[nodiscard]] SnapshotRequest parse_snapshot(const json::object& body);

struct BlueprintRequest {
  std::string name = {};
  std::string dockerfile = {};
  std::string base_id = {};
  std::string base_name = {};
  std::vector<std::string> setup_commands = {};
  Texts files = {};
  Texts metadata = {};
  json::object launch = {};
};
[[nodiscard]] BlueprintRequest parse_blueprint(const json::object& body);

// ---- Commands

enum class Signal { none, eof, interrupt };

struct InputRequest {
  std::optional<std::string> text = std::nullopt;
  Signal signal = Signal::none;
};
[[nodiscard]] InputRequest parse_input(const json::object& body);

// The number of a query parameter (`last_n`, `offset`, `limit`), which SDKs send as text. `otherwise` if it
// is absent or empty.
[[nodiscard]] std::uint64_t parse_count(const std::optional<std::string>& text, std::string_view name,
                                        std::uint64_t otherwise);

}  // namespace sandkey::runloop::emulator
