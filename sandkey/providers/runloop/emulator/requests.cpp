#include "sandkey/providers/runloop/emulator/requests.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/runloop/emulator/api_error.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace sandkey::runloop::emulator {
namespace {

constexpr std::chrono::seconds kMaxIdle = kMaxKeepAlive;
constexpr std::int64_t kMaxHookDeadline = 60'000;
constexpr std::size_t kMaxUserName = 31;

[[noreturn]] void refuse(std::string_view key, const std::string& why) {
  throw invalid("Invalid value for '" + std::string(key) + "': " + why);
}

const json::value* member(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

const json::object* parse_object(const json::object& body, std::string_view key) {
  const json::value* value = member(body, key);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) refuse(key, "it is no object");
  return &value->get_object();
}

std::optional<std::int64_t> parse_integer(const json::object& body, std::string_view key, std::int64_t least,
                                          std::int64_t most) {
  if (member(body, key) == nullptr) return std::nullopt;
  const auto number = find_integer(body, key);
  if (!number) refuse(key, "it is no integer");
  if (*number < least || *number > most) {
    refuse(key, "it is not between " + std::to_string(least) + " and " + std::to_string(most));
  }
  return *number;
}

std::string text_or_nothing(const json::object& body, std::string_view key) {
  return parse_text(body, key).value_or("");
}

// One of two things, not both.
void require_one(const std::string& first, const std::string& second, const std::string& names) {
  if (!first.empty() && !second.empty()) throw invalid("Only one of " + names + " may be given");
}

// ---- Sizes

struct Size {
  std::string_view name;
  double cpus;
  int memory_gib;
  int disk_gib;
};
constexpr std::array<Size, 6> kSizes{{
    {.name = "X_SMALL", .cpus = 0.5, .memory_gib = 1, .disk_gib = 4},
    {.name = "SMALL", .cpus = 1, .memory_gib = 2, .disk_gib = 4},
    {.name = "MEDIUM", .cpus = 2, .memory_gib = 4, .disk_gib = 8},
    {.name = "LARGE", .cpus = 2, .memory_gib = 8, .disk_gib = 16},
    {.name = "X_LARGE", .cpus = 4, .memory_gib = 16, .disk_gib = 16},
    {.name = "XX_LARGE", .cpus = 8, .memory_gib = 32, .disk_gib = 16},
}};
constexpr std::string_view kCustomSize = "CUSTOM_SIZE";

bool is_even(double number) noexcept {
  return std::fmod(number, 2.0) == 0.0;
}

void read_custom_size(const json::object& launch, LaunchParameters& made) {
  if (member(launch, "custom_cpu_cores") != nullptr) {
    const auto cores = find_number(launch, "custom_cpu_cores");
    const bool good =
        cores && (*cores == 0.5 || *cores == 1 || (*cores >= 2 && is_even(*cores))) && *cores <= 16;
    if (!good) refuse("custom_cpu_cores", "it is not 0.5, 1 or an even number up to 16");
    made.cpus = *cores;
    made.memory_gib = static_cast<int>(*cores * 2);
  }
  if (const auto memory = parse_integer(launch, "custom_gb_memory", 1, 64)) {
    if (*memory != 1 && *memory % 2 != 0) refuse("custom_gb_memory", "it is not 1 or an even number");
    made.memory_gib = static_cast<int>(*memory);
  }
  if (const auto disk = parse_integer(launch, "custom_disk_size", 2, 64)) {
    if (*disk % 2 != 0) refuse("custom_disk_size", "it is not an even number");
    made.disk_gib = static_cast<int>(*disk);
  }
  const double ratio = made.memory_gib / made.cpus;
  if (ratio < 2 || ratio > 8) {
    throw invalid("The ratio of custom_cpu_cores to custom_gb_memory must be between 1:2 and 1:8");
  }
}

void read_size(const json::object& launch, LaunchParameters& made) {
  const std::optional<std::string> name = parse_text(launch, "resource_size_request");
  const bool custom = name == kCustomSize;
  for (const std::string_view key : {"custom_cpu_cores", "custom_gb_memory", "custom_disk_size"}) {
    if (!custom && member(launch, key) != nullptr) {
      throw invalid(std::string(key) + " is for resource_size_request CUSTOM_SIZE only");
    }
  }
  if (custom) {
    read_custom_size(launch, made);
  } else if (name) {
    const auto* const size = std::ranges::find(kSizes, std::string_view(*name), &Size::name);
    if (size == kSizes.end()) refuse("resource_size_request", "it is no size");
    made.cpus = size->cpus;
    made.memory_gib = size->memory_gib;
    made.disk_gib = size->disk_gib;
  }
}

// ---- Times

std::optional<AfterIdle> parse_after_idle(const json::object& object) {
  const json::object* idle = parse_object(object, "after_idle");
  if (idle == nullptr) return std::nullopt;
  const auto time = parse_integer(*idle, "idle_time_seconds", 1, kMaxIdle.count());
  if (!time) throw invalid("after_idle needs idle_time_seconds");
  const std::string action = require_text(*idle, "on_idle");
  if (action != "shutdown" && action != "suspend") refuse("on_idle", "it is not shutdown or suspend");
  return AfterIdle{.time = std::chrono::seconds(*time),
                   .action = action == "suspend" ? OnIdle::suspend : OnIdle::shutdown};
}

bool same(const AfterIdle& a, const AfterIdle& b) {
  return a.time == b.time && a.action == b.action;
}

void read_lifecycle(const json::object& launch, LaunchParameters& made) {
  if (const auto seconds = parse_integer(launch, "keep_alive_time_seconds", 1, kMaxKeepAlive.count())) {
    made.keep_alive = std::chrono::seconds(*seconds);
  }
  made.after_idle = parse_after_idle(launch);
  const json::object* lifecycle = parse_object(launch, "lifecycle");
  if (lifecycle == nullptr) return;
  if (const auto idle = parse_after_idle(*lifecycle)) {
    if (made.after_idle && !same(*made.after_idle, *idle)) {
      throw invalid("after_idle and lifecycle.after_idle differ");
    }
    made.after_idle = idle;
  }
  if (const json::object* triggers = parse_object(*lifecycle, "resume_triggers")) {
    made.wakes_on_http = parse_flag(*triggers, "http").value_or(false);
  }
  if (const json::object* hooks = parse_object(*lifecycle, "lifecycle_hooks")) {
    made.suspend_commands = parse_text_list(*hooks, "suspend_commands");
    if (const auto patience = parse_integer(*hooks, "suspend_deadline_ms", 0, kMaxHookDeadline)) {
      made.suspend_patience = std::chrono::milliseconds(*patience);
    }
  }
}

void read_user(const json::object& launch, LaunchParameters& made) {
  const json::object* user = parse_object(launch, "user_parameters");
  if (user == nullptr) return;
  const std::string name = require_text(*user, "username");
  if (!parse_integer(*user, "uid", 0, std::numeric_limits<std::int32_t>::max())) {
    throw invalid("user_parameters needs a uid");
  }
  const bool good = !name.empty() && name.size() <= kMaxUserName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!good || name == "root") refuse("username", "an emulated devbox has no such user");
  made.user = name;
}

// ---- Mounts

void read_file_mount(const json::object& mount, Texts& files) {
  files[require_text(mount, "target")] = parse_text(mount, "content").value_or("");
}

// Those that hold files; the others name what is not emulated, and are refused rather than forgotten.
void read_mounts(const json::object& body, Texts& files) {
  const json::value* list = member(body, "mounts");
  if (list == nullptr) return;
  if (!list->is_array()) refuse("mounts", "it is no list");
  for (const json::value& mount : list->get_array()) {
    if (!mount.is_object()) refuse("mounts", "it holds something that is no object");
    const std::string type = require_text(mount.get_object(), "type");
    if (type != "file_mount") throw not_emulated("A mount of type '" + type + "'");
    read_file_mount(mount.get_object(), files);
  }
}

// What the request has besides that a devbox would miss.
void refuse_what_is_missing(const json::object& body) {
  for (const std::string_view key : {"code_mounts", "gateways", "mcp"}) {
    const json::value* value = member(body, key);
    if (value == nullptr) continue;
    const bool empty = (value->is_array() && value->get_array().empty()) ||
                       (value->is_object() && value->get_object().empty());
    if (!empty) throw not_emulated("'" + std::string(key) + "'");
  }
}

}  // namespace

json::object parse_body(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return {};
  json::value value;
  try {
    value = parse_json(body, "the request's body");
  } catch (const Error&) {
    throw invalid("The request's body is not valid JSON");
  }
  if (value.is_null()) return {};
  if (!value.is_object()) throw invalid("The request's body is no object");
  return std::move(value.get_object());
}

std::optional<std::string> parse_text(const json::object& body, std::string_view key) {
  const json::value* value = member(body, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(key, "it is no text");
  return std::string(std::string_view(value->get_string()));
}

std::string require_text(const json::object& body, std::string_view key) {
  std::optional<std::string> text = parse_text(body, key);
  if (!text || text->empty()) throw invalid("'" + std::string(key) + "' is required");
  return std::move(*text);
}

std::optional<bool> parse_flag(const json::object& body, std::string_view key) {
  const json::value* value = member(body, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) refuse(key, "it is neither true nor false");
  return value->get_bool();
}

std::optional<Texts> parse_texts(const json::object& body, std::string_view key) {
  const json::object* object = parse_object(body, key);
  if (object == nullptr) return std::nullopt;
  Texts texts;
  for (const auto& [name, text] : *object) {
    if (!text.is_string()) refuse(key, "it holds something that is no text");
    texts[name] = std::string_view(text.get_string());
  }
  return texts;
}

std::vector<std::string> parse_text_list(const json::object& body, std::string_view key) {
  std::vector<std::string> texts;
  const json::value* value = member(body, key);
  if (value == nullptr) return texts;
  if (!value->is_array()) refuse(key, "it is no list");
  for (const json::value& text : value->get_array()) {
    if (!text.is_string()) refuse(key, "it holds something that is no text");
    texts.emplace_back(std::string_view(text.get_string()));
  }
  return texts;
}

LaunchParameters parse_launch(const json::object& own, const json::object& inherited) {
  LaunchParameters made;
  made.shown = inherited;
  for (const auto& [key, value] : own) {
    if (!value.is_null()) made.shown[key] = value;
  }
  // Sizes are inherited as one.
  if (member(own, "resource_size_request") != nullptr) {
    for (const std::string_view key : {"custom_cpu_cores", "custom_gb_memory", "custom_disk_size"}) {
      if (member(own, key) == nullptr) made.shown.erase(key);
    }
  }
  read_size(made.shown, made);
  read_lifecycle(made.shown, made);
  read_user(made.shown, made);
  made.launch_commands = parse_text_list(made.shown, "launch_commands");
  const std::string tier = parse_text(made.shown, "provisioning_tier").value_or("standard");
  if (tier != "standard" && tier != "flex") refuse("provisioning_tier", "it is not standard or flex");
  made.flexible = tier == "flex";
  const std::string architecture = parse_text(made.shown, "architecture").value_or("x86_64");
  if (architecture != "x86_64" && architecture != "arm64")
    refuse("architecture", "it is not x86_64 or arm64");
  if (member(made.shown, "keep_alive_time_seconds") == nullptr) {
    made.shown["keep_alive_time_seconds"] = kDefaultKeepAlive.count();
  }
  return made;
}

TunnelRequest parse_tunnel(const json::object& body) {
  TunnelRequest request;
  const std::string mode = parse_text(body, "auth_mode").value_or("open");
  if (mode != "open" && mode != "authenticated") refuse("auth_mode", "it is not open or authenticated");
  request.authenticated = mode == "authenticated";
  request.http_keep_alive = parse_flag(body, "http_keep_alive").value_or(true);
  request.wake_on_http = parse_flag(body, "wake_on_http").value_or(false);
  return request;
}

CreateRequest parse_create(const json::object& body) {
  CreateRequest request;
  request.name = text_or_nothing(body, "name");
  request.blueprint_id = text_or_nothing(body, "blueprint_id");
  request.blueprint_name = text_or_nothing(body, "blueprint_name");
  request.snapshot_id = text_or_nothing(body, "snapshot_id");
  const std::string names = "blueprint_id, blueprint_name and snapshot_id";
  require_one(request.blueprint_id, request.blueprint_name, names);
  require_one(request.blueprint_id + request.blueprint_name, request.snapshot_id, names);
  request.entrypoint = text_or_nothing(body, "entrypoint");
  request.environment = parse_texts(body, "environment_variables").value_or(Texts());
  request.secrets = parse_texts(body, "secrets").value_or(Texts());
  request.metadata = parse_texts(body, "metadata").value_or(Texts());
  request.files = parse_texts(body, "file_mounts").value_or(Texts());
  read_mounts(body, request.files);
  refuse_what_is_missing(body);
  if (const json::object* launch = parse_object(body, "launch_parameters")) request.launch = *launch;
  if (const json::object* tunnel = parse_object(body, "tunnel")) request.tunnel = parse_tunnel(*tunnel);
  return request;
}

WaitRequest parse_wait(const json::object& body, const std::set<std::string_view>& known,
                       std::chrono::milliseconds most) {
  WaitRequest request;
  for (std::string& status : parse_text_list(body, "statuses")) {
    if (!known.contains(status)) refuse("statuses", "'" + status + "' is no status");
    request.statuses.insert(std::move(status));
  }
  if (request.statuses.empty()) throw invalid("'statuses' must name at least one status");
  request.timeout = most;
  if (member(body, "timeout_seconds") != nullptr) {
    const auto seconds = find_number(body, "timeout_seconds");
    if (!seconds || !(*seconds >= 0)) refuse("timeout_seconds", "it is no number of seconds");
    const double limit = std::chrono::duration<double>(most).count();
    request.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(std::min(*seconds, limit) * 1000));
  }
  return request;
}

SnapshotRequest parse_snapshot(const json::object& body) {
  SnapshotRequest request{.name = parse_text(body, "name"),
                          .metadata = parse_texts(body, "metadata"),
                          .commit_message = parse_text(body, "commit_message")};
  if (request.commit_message && request.commit_message->size() > kMaxCommitMessage) {
    refuse("commit_message", "it is longer than " + std::to_string(kMaxCommitMessage) + " characters");
  }
  return request;
}

BlueprintRequest parse_blueprint(const json::object& body) {
  BlueprintRequest request;
  request.name = require_text(body, "name");
  request.dockerfile = text_or_nothing(body, "dockerfile");
  request.base_id = text_or_nothing(body, "base_blueprint_id");
  request.base_name = text_or_nothing(body, "base_blueprint_name");
  require_one(request.base_id, request.base_name, "base_blueprint_id and base_blueprint_name");
  request.setup_commands = parse_text_list(body, "system_setup_commands");
  request.files = parse_texts(body, "file_mounts").value_or(Texts());
  request.metadata = parse_texts(body, "metadata").value_or(Texts());
  if (const json::object* launch = parse_object(body, "launch_parameters")) request.launch = *launch;
  (void)parse_launch(request.launch, {});  // refuses what no devbox could be launched with
  return request;
}

InputRequest parse_input(const json::object& body) {
  InputRequest request;
  request.text = parse_text(body, "text");
  if (const auto signal = parse_text(body, "signal")) {
    if (*signal != "EOF" && *signal != "INTERRUPT") refuse("signal", "it is not EOF or INTERRUPT");
    request.signal = *signal == "EOF" ? Signal::eof : Signal::interrupt;
  }
  if (!request.text && request.signal == Signal::none) throw invalid("'text' or 'signal' is required");
  return request;
}

std::uint64_t parse_count(const std::optional<std::string>& text, std::string_view name,
                          std::uint64_t otherwise) {
  if (!text || text->empty()) return otherwise;
  std::uint64_t number = 0;
  const char* const end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, number);
  if (error != std::errc() || stop != end) refuse(name, "it is no number");
  return number;
}

}  // namespace sandkey::runloop::emulator
