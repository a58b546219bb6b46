#include "sandkey/sandbox/keeper_protocol.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>

namespace sandkey::sandbox {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

constexpr std::size_t kMaxId = 40;

template <typename Strings>
json::array array_of(const Strings& strings) {
  json::array array;
  for (const std::string& text : strings) array.emplace_back(text);
  return array;
}

json::object object_of(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [key, value] : texts) object[key] = value;
  return object;
}

std::string text(const json::object& object, std::string_view key) {
  return std::string(find_string(object, key).value_or(""));
}

std::vector<std::string> texts(const json::object& object, std::string_view key) {
  std::vector<std::string> out;
  const json::value* value = find(object, key);
  if (value == nullptr || !value->is_array()) return out;
  for (const json::value& element : value->get_array()) {
    if (element.is_string()) out.emplace_back(element.get_string());
  }
  return out;
}

std::map<std::string, std::string> text_map(const json::object& object, std::string_view key) {
  std::map<std::string, std::string> out;
  const json::value* value = find(object, key);
  if (value == nullptr || !value->is_object()) return out;
  for (const auto& member : value->get_object()) {
    if (member.value().is_string()) out[std::string(member.key())] = std::string(member.value().get_string());
  }
  return out;
}

std::uint64_t unsigned_number(const json::object& object, std::string_view key, std::uint64_t otherwise) {
  const auto found = find_integer(object, key);
  return found && *found >= 0 ? static_cast<std::uint64_t>(*found) : otherwise;
}

std::int64_t milliseconds_of(system_clock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
}

json::object parse_object(std::string_view text, std::string_view what) {
  json::value value = parse_json(text, what);
  if (!value.is_object()) throw Error(ErrorCode::protocol, std::string(what) + " is not a JSON object");
  return std::move(value.get_object());
}

}  // namespace

std::string to_json(const KeeperRequest& request) {
  const Spec& spec = request.spec;
  json::object object;
  object["folder"] = request.folder;
  object["bubblewrap"] = request.bubblewrap;
  object["id"] = spec.id;
  object["labels"] = object_of(spec.labels);
  object["image"] = spec.image;
  object["workspace"] = spec.workspace;
  object["working_dir"] = spec.working_dir;
  object["writable_folders"] = array_of(spec.writable_folders);
  object["user"] = spec.user;
  object["network"] = spec.network;
  if (spec.limits.memory_bytes) object["memory_bytes"] = static_cast<std::int64_t>(*spec.limits.memory_bytes);
  object["processes"] = spec.limits.processes;
  object["disk_bytes"] = static_cast<std::int64_t>(spec.limits.disk_bytes);
  if (spec.lease) object["lease"] = spec.lease->count();
  object["bound_to_client"] = spec.bound_to_client;
  object["environment"] = object_of(spec.environment);
  object["program"] = spec.program.string();
  object["arguments"] = array_of(spec.arguments);
  object["program_on_path"] = spec.program_on_path;
  return json::serialize(object);
}

KeeperRequest request_from_json(std::string_view json_text) {
  const json::object object = parse_object(json_text, "the keeper's request");
  KeeperRequest request;
  request.folder = text(object, "folder");
  request.bubblewrap = text(object, "bubblewrap");
  Spec& spec = request.spec;
  spec.id = text(object, "id");
  spec.labels = text_map(object, "labels");
  spec.image = text(object, "image");
  spec.workspace = text(object, "workspace");
  spec.working_dir = text(object, "working_dir");
  spec.writable_folders = texts(object, "writable_folders");
  spec.user = text(object, "user");
  spec.network = find_bool(object, "network").value_or(false);
  if (find(object, "memory_bytes") != nullptr) {
    spec.limits.memory_bytes = unsigned_number(object, "memory_bytes", 0);
  }
  spec.limits.processes = static_cast<unsigned>(unsigned_number(object, "processes", spec.limits.processes));
  spec.limits.disk_bytes = unsigned_number(object, "disk_bytes", spec.limits.disk_bytes);
  if (const auto lease = find_integer(object, "lease")) spec.lease = seconds(*lease);
  spec.bound_to_client = find_bool(object, "bound_to_client").value_or(true);
  spec.environment = text_map(object, "environment");
  spec.program = text(object, "program");
  spec.arguments = texts(object, "arguments");
  spec.program_on_path = find_bool(object, "program_on_path").value_or(false);
  return request;
}

json::object to_json(const Status& status) {
  json::object object;
  object["id"] = status.id;
  object["labels"] = object_of(status.labels);
  object["paused"] = status.paused;
  object["bound_to_client"] = status.bound_to_client;
  object["created"] = milliseconds_of(status.created);
  if (status.lease) object["lease"] = status.lease->count();
  if (status.lease_end) object["lease_end"] = milliseconds_of(*status.lease_end);
  object["image"] = status.image;
  object["not_enforced"] = array_of(status.not_enforced);
  object["init_pid"] = status.init_pid;
  return object;
}

Status status_from_json(const json::object& object) {
  Status status;
  status.id = text(object, "id");
  status.labels = text_map(object, "labels");
  status.paused = find_bool(object, "paused").value_or(false);
  status.bound_to_client = find_bool(object, "bound_to_client").value_or(true);
  status.created = system_clock::time_point(milliseconds(find_integer(object, "created").value_or(0)));
  if (const auto lease = find_integer(object, "lease")) status.lease = seconds(*lease);
  if (const auto end = find_integer(object, "lease_end")) {
    status.lease_end = system_clock::time_point(milliseconds(*end));
  }
  status.image = text(object, "image");
  status.not_enforced = texts(object, "not_enforced");
  status.init_pid = find_integer(object, "init_pid").value_or(0);
  return status;
}

json::object to_json(const Error& error) {
  json::object details;
  details["code"] = to_string(error.code());
  details["message"] = error.what();
  json::object object;
  object["error"] = std::move(details);
  return object;
}

void throw_if_error(const json::object& reply) {
  const json::value* value = find(reply, "error");
  if (value == nullptr || !value->is_object()) return;
  const std::string name = text(value->get_object(), "code");
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    if (to_string(static_cast<ErrorCode>(code)) == name) {
      throw_error(static_cast<ErrorCode>(code), text(value->get_object(), "message"));
    }
  }
  throw Error(ErrorCode::protocol, "asking a sandbox's keeper: it answered with an error of an unknown kind");
}

bool is_valid_id(std::string_view id) noexcept {
  // One that begins with '-' would be taken for an option where people type it.
  return !id.empty() && id.size() <= kMaxId && id.front() != '-' && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace sandkey::sandbox
