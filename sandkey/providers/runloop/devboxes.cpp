#include "sandkey/providers/runloop/devboxes.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/providers/runloop/long_poll.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace sandkey::runloop {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPage = 500;       // it would give 5000
constexpr std::size_t kMostPages = 200;  // more is a server going round in circles

struct StatusWord {
  std::string_view word;
  Status status;
};
// In the order in which a devbox comes to them. One that moves on while they are asked for one after the
// other is met in a later one.
constexpr std::array<StatusWord, 8> kLiving{{{"queued", Status::starting},
                                             {"provisioning", Status::starting},
                                             {"initializing", Status::starting},
                                             {"running", Status::running},
                                             {"suspending", Status::suspending},
                                             {"suspended", Status::suspended},
                                             {"resuming", Status::resuming},
                                             {"running", Status::running}}};

struct Reason {
  std::string_view word;
  std::string_view meaning;
};
constexpr Reason kReasons[] = {
    {"out_of_memory", "it ran out of memory"},
    {"out_of_disk", "its disk is full"},
    {"execution_failed", "its entrypoint or one of its launch commands failed"},
    {"health_check_failed", "it did not pass Runloop's check of its health"},
    {"api_shutdown", "it was shut down"},
    {"keep_alive_timeout", "its time was over"},
    {"ttl_expired", "its time was over"},
    {"entrypoint_exit", "its entrypoint ended"},
    {"idle", "nobody renewed its lease"},
};

[[noreturn]] void malformed(const std::string& operation, const std::string& what) {
  malformed_answer("runloop", operation, what);
}

Error no_devbox(const std::string& message) {
  return Error(
      ErrorCode::not_found, message,
      {.provider = "runloop", .operation = {}, .phase = {}, .request_id = {}, .processed = Processed::no});
}

// --- what comes in ---

const json::object* object_at(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  return value != nullptr && value->is_object() ? &value->get_object() : nullptr;
}

std::optional<std::chrono::system_clock::time_point> time_at(const json::object& object,
                                                             std::string_view key) {
  const auto milliseconds = find_integer(object, key);
  if (!milliseconds) return std::nullopt;
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(*milliseconds));
}

Status status_of(std::string_view word) {
  if (word == "failure") return Status::failed;
  if (word == "shutdown") return Status::shut_down;
  for (const StatusWord& known : kLiving) {
    if (known.word == word) return known.status;
  }
  return Status::starting;  // as "scheduled" is, and what later versions may put before "running"
}

// Why it ended; the reason of the last transition where the devbox itself tells none.
std::string reason_of(const json::object& object) {
  std::string word = text_of(object, "failure_reason");
  const json::value* transitions = find(object, "state_transitions");
  if (word.empty() && transitions != nullptr && transitions->is_array()) {
    for (const json::value& step : transitions->get_array()) {
      if (step.is_object()) word = text_of(step.get_object(), "failure_reason");
    }
  }
  if (word.empty()) word = text_of(object, "shutdown_reason");
  if (word.empty()) return {};
  for (const Reason& known : kReasons) {
    if (known.word == word) return std::string(known.meaning);
  }
  return "Runloop says: " + word;
}

std::optional<std::chrono::system_clock::time_point> last_start(const json::object& object) {
  std::optional<std::chrono::system_clock::time_point> last;
  const json::value* transitions = find(object, "state_transitions");
  if (transitions == nullptr || !transitions->is_array()) return last;
  for (const json::value& step : transitions->get_array()) {
    if (!step.is_object() || text_of(step.get_object(), "status") != "running") continue;
    if (const auto when = time_at(step.get_object(), "transition_time_ms")) last = when;
  }
  return last;
}

std::optional<std::chrono::seconds> idle_time_of(const json::object& object) {
  const json::object* launch = object_at(object, "launch_parameters");
  if (launch == nullptr) return std::nullopt;
  const json::object* rule = object_at(*launch, "after_idle");
  if (const json::object* lifecycle = object_at(*launch, "lifecycle");
      rule == nullptr && lifecycle != nullptr)
    rule = object_at(*lifecycle, "after_idle");
  const auto seconds = rule != nullptr ? find_integer(*rule, "idle_time_seconds") : std::nullopt;
  if (!seconds || *seconds <= 0) return std::nullopt;
  return std::chrono::seconds(*seconds);
}

Tunnel read_tunnel(const json::object& object, const std::string& operation) {
  Tunnel tunnel;
  tunnel.key = text_of(object, "tunnel_key");
  tunnel.token = Secret(text_of(object, "auth_token"));
  // It becomes part of a host's name.
  const bool plain = !tunnel.key.empty() && std::all_of(tunnel.key.begin(), tunnel.key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (!plain) malformed(operation, "the answer names no tunnel");
  return tunnel;
}

Devbox read_devbox(const json::value& body, const std::string& operation) {
  const json::object& object = object_of(body, "runloop", operation);
  Devbox devbox;
  devbox.id = text_of(object, "id");
  if (devbox.id.empty()) malformed(operation, "the answer names no devbox");
  devbox.status_word = text_of(object, "status");
  devbox.status = status_of(devbox.status_word);
  if (has_ended(devbox)) devbox.why = reason_of(object);
  devbox.image = text_of(object, "snapshot_id");
  if (devbox.image.empty()) devbox.image = text_of(object, "blueprint_id");
  devbox.created = time_at(object, "create_time_ms");
  devbox.running_since = last_start(object);
  devbox.idle_time = idle_time_of(object);
  devbox.metadata = texts_of(object, "metadata");
  if (const json::object* tunnel = object_at(object, "tunnel"))
    devbox.tunnel = read_tunnel(*tunnel, operation);
  return devbox;
}

std::string waiting_for(const std::string& id) {
  return "waiting for the sandbox " + id + " of runloop";
}

bool has(const Metadata& metadata, const Metadata& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& item) {
    const auto found = metadata.find(item.first);
    return found != metadata.end() && found->second == item.second;
  });
}

bool is_older(const Devbox& a, const Devbox& b) {
  return a.created != b.created ? a.created < b.created : a.id < b.id;
}

// --- what goes out ---

json::object launch_parameters(const LaunchParameters& launch) {
  json::object object;
  if (!launch.size.empty()) object["resource_size_request"] = launch.size;
  if (launch.cpu_cores) {
    const bool whole = *launch.cpu_cores == std::floor(*launch.cpu_cores);
    object["custom_cpu_cores"] =
        whole ? json::value(static_cast<std::int64_t>(*launch.cpu_cores)) : json::value(*launch.cpu_cores);
  }
  if (launch.memory_gib) object["custom_gb_memory"] = *launch.memory_gib;
  if (launch.disk_gib) object["custom_disk_size"] = *launch.disk_gib;
  if (!launch.ports.empty()) {
    json::array ports;
    for (const std::uint16_t port : launch.ports) ports.emplace_back(port);
    object["available_ports"] = std::move(ports);
  }
  if (launch.keep_alive) object["keep_alive_time_seconds"] = launch.keep_alive->count();
  if (launch.after_idle) {
    json::object rule;
    rule["idle_time_seconds"] = launch.after_idle->time.count();
    rule["on_idle"] = launch.after_idle->action;
    object["after_idle"] = std::move(rule);
  }
  if (!launch.launch_commands.empty()) {
    json::array commands;
    for (const std::string& command : launch.launch_commands) commands.emplace_back(command);
    object["launch_commands"] = std::move(commands);
  }
  return object;
}

// Ports are never public, and what goes through them does not make a devbox live longer than its lease.
json::object wanted_tunnel() {
  json::object tunnel;
  tunnel["auth_mode"] = "authenticated";
  tunnel["http_keep_alive"] = false;
  return tunnel;
}

json::object create_request(const NewDevbox& wanted) {
  json::object body;
  body["name"] = wanted.name;
  if (!wanted.source.blueprint_id.empty()) body["blueprint_id"] = wanted.source.blueprint_id;
  if (!wanted.source.blueprint_name.empty()) body["blueprint_name"] = wanted.source.blueprint_name;
  if (!wanted.source.snapshot_id.empty()) body["snapshot_id"] = wanted.source.snapshot_id;
  if (!wanted.environment.empty()) body["environment_variables"] = to_object(wanted.environment);
  body["metadata"] = to_object(wanted.metadata);
  body["launch_parameters"] = launch_parameters(wanted.launch);
  body["tunnel"] = wanted_tunnel();
  return body;
}

std::string creating(const Source& source) {
  std::string text = "creating a sandbox at runloop";
  if (!source.snapshot_id.empty()) return text + " from the snapshot " + source.snapshot_id;
  const std::string& blueprint = source.blueprint_id.empty() ? source.blueprint_name : source.blueprint_id;
  return blueprint.empty() ? text : text + " from the blueprint " + blueprint;
}

}  // namespace

bool has_ended(const Devbox& devbox) noexcept {
  return devbox.status == Status::failed || devbox.status == Status::shut_down;
}

void require_life(const Devbox& devbox, const std::string& operation) {
  if (!has_ended(devbox)) return;
  std::string text =
      operation + ": the sandbox " + devbox.id + (devbox.status == Status::failed ? " failed" : " has ended");
  if (!devbox.why.empty()) text += ": " + devbox.why;
  throw Error(ErrorCode::sandbox_dead, text,
              {.provider = "runloop",
               .operation = operation,
               .phase = {},
               .request_id = {},
               .processed = Processed::yes});
}

std::string devbox_path(const std::string& id, const std::string& rest) {
  // It stands in a path; what Runloop would not call an id names nothing.
  const bool plain = !id.empty() && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (!plain) throw no_devbox("finding a sandbox of runloop: '" + id + "' is no id of one");
  return "/v1/devboxes/" + id + rest;
}

RestCall mutation(std::string path, std::string operation, std::string request_id, Deadline deadline) {
  RestCall call{.method = "POST",
                .path = std::move(path),
                .operation = std::move(operation),
                .deadline = deadline,
                .repeatable = true};
  call.headers.set("Content-Type", "application/json");  // without a body, too, as its own clients do
  call.headers.set("x-request-id", request_id);
  return call;
}

Devboxes::Devboxes(std::shared_ptr<RestAccount> account) : account_(std::move(account)) {}

std::string Devboxes::new_request_id() const {
  const Engine& engine = account_->engine();
  const std::uint64_t first = engine.random();
  return fmt::format("sandkey-{:016x}{:016x}", first, engine.random());
}

asio::awaitable<Devbox> Devboxes::create(NewDevbox wanted, std::string request_id, Deadline deadline) {
  RestCall call = mutation("/v1/devboxes", creating(wanted.source), std::move(request_id), deadline);
  call.body = json::value(create_request(wanted));
  // For how long Runloop knows a request again is nowhere said.
  call.repeatable = false;
  const std::string operation = call.operation;
  const RestAnswer answer = co_await account_->call(std::move(call));
  co_return read_devbox(answer.body, operation);
}

asio::awaitable<Devboxes::Page> Devboxes::page(std::string status, std::string after, Deadline deadline) {
  const std::string operation = "listing the sandboxes of runloop";
  QueryParameters query{{"limit", std::to_string(kPage)}, {"include_total_count", "false"}};
  if (!status.empty()) query.emplace_back("status", status);
  if (!after.empty()) query.emplace_back("starting_after", after);
  RestCall call{
      .path = "/v1/devboxes", .query = std::move(query), .operation = operation, .deadline = deadline};
  const RestAnswer answer = co_await account_->call(std::move(call));
  const json::value* items = answer.body.is_object() ? find(answer.body.get_object(), "devboxes") : nullptr;
  if (items == nullptr || !items->is_array()) malformed(operation, "the answer is no list");
  Page page;
  for (const json::value& item : items->get_array()) {
    page.devboxes.push_back(read_devbox(item, operation));
    page.last = page.devboxes.back().id;
  }
  page.more = !page.devboxes.empty() && find_bool(answer.body.get_object(), "has_more").value_or(false);
  co_return page;
}

asio::awaitable<std::vector<Devbox>> Devboxes::in_state(std::string status, Deadline deadline) {
  std::vector<Devbox> all;
  std::string after;
  for (std::size_t number = 0; number < kMostPages; ++number) {
    Page next = co_await page(status, after, deadline);
    std::move(next.devboxes.begin(), next.devboxes.end(), std::back_inserter(all));
    if (!next.more) co_return all;
    after = std::move(next.last);
  }
  malformed("listing the sandboxes of runloop", "it has no end");
}

// Runloop lists what has ended as well. Where that fits in one page, as it usually does, all is asked for at
// once; else those of each state that is life, so that the past of an account costs nothing.
asio::awaitable<std::vector<Devbox>> Devboxes::list(Metadata filter, Deadline deadline) {
  const std::string any;
  Page first = co_await page(any, any, deadline);
  std::vector<Devbox> all = std::move(first.devboxes);
  if (first.more) {
    all.clear();
    for (const StatusWord& state : kLiving) {
      std::vector<Devbox> some = co_await in_state(std::string(state.word), deadline);
      std::move(some.begin(), some.end(), std::back_inserter(all));
    }
  }
  std::erase_if(all,
                [&](const Devbox& devbox) { return has_ended(devbox) || !has(devbox.metadata, filter); });
  std::sort(all.begin(), all.end(), &is_older);
  const auto same = [](const Devbox& a, const Devbox& b) { return a.id == b.id; };
  all.erase(std::unique(all.begin(), all.end(), same), all.end());
  co_return all;
}

asio::awaitable<Devbox> Devboxes::get(std::string id, Deadline deadline) {
  RestCall call{.path = devbox_path(id),
                .operation = "looking at the sandbox " + id + " of runloop",
                .deadline = deadline};
  const std::string operation = call.operation;
  std::optional<Error> unknown;
  try {
    const RestAnswer answer = co_await account_->call(std::move(call));
    co_return read_devbox(answer.body, operation);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    unknown = error;
  }
  throw no_devbox(unknown->what());
}

// A 400 may mean that there is no such devbox, or that it has ended, or what it says.
asio::awaitable<RestAnswer> Devboxes::call(std::string id, RestCall call) {
  const std::string operation = call.operation;
  const Deadline deadline = call.deadline;
  std::optional<Error> refused;
  try {
    co_return co_await account_->call(std::move(call));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument && error.code() != ErrorCode::conflict) throw;
    refused = error;
  }
  const Devbox devbox = co_await get(std::move(id), deadline);
  require_life(devbox, operation);
  throw_error(*refused);
}

asio::awaitable<Devbox> Devboxes::poll(std::string id, Status wanted, std::chrono::seconds hold,
                                       Deadline deadline) {
  json::object body;
  body["statuses"] = json::array{wanted == Status::running ? "running" : "suspended", "failure", "shutdown"};
  body["timeout_seconds"] = hold.count();
  const std::string operation = waiting_for(id);
  RestCall call = mutation(devbox_path(id, "/wait_for_status"), operation, new_request_id(), deadline);
  call.body = json::value(std::move(body));
  call.repeatable = false;  // each is a question of its own
  const RestAnswer answer = co_await this->call(std::move(id), std::move(call));
  co_return read_devbox(answer.body, operation);
}

asio::awaitable<Devbox> Devboxes::wait_until(std::string id, Status wanted, Deadline deadline) {
  const std::string operation = waiting_for(id);
  Devbox seen;
  Ask ask = [&](Question question) -> asio::awaitable<std::string> {
    seen = co_await poll(id, wanted, question.hold, question.deadline);
    require_life(seen, operation);
    co_return seen.status == wanted ? std::string() : seen.status_word;
  };
  co_await long_poll(account_->engine(), operation, deadline, std::move(ask));
  co_return std::move(seen);
}

asio::awaitable<RestAnswer> Devboxes::act(std::string id, std::string verb, std::string operation,
                                          Deadline deadline) {
  RestCall call = mutation(devbox_path(id, "/" + verb), operation + " the sandbox " + id + " of runloop",
                           new_request_id(), deadline);
  return this->call(std::move(id), std::move(call));
}

asio::awaitable<Tunnel> Devboxes::enable_tunnel(std::string id, Deadline deadline) {
  RestCall call =
      mutation(devbox_path(id, "/enable_tunnel"), "opening the tunnel of the sandbox " + id + " of runloop",
               new_request_id(), deadline);
  call.body = json::value(wanted_tunnel());
  const std::string operation = call.operation;
  const RestAnswer answer = co_await this->call(std::move(id), std::move(call));
  co_return read_tunnel(object_of(answer.body, "runloop", operation), operation);
}

asio::awaitable<void> Devboxes::keep_alive(std::string id, Deadline deadline) {
  (void)co_await act(std::move(id), "keep_alive", "renewing", deadline);
}

asio::awaitable<void> Devboxes::suspend(std::string id, Deadline deadline) {
  (void)co_await act(std::move(id), "suspend", "pausing", deadline);
}

asio::awaitable<void> Devboxes::resume(std::string id, Deadline deadline) {
  (void)co_await act(std::move(id), "resume", "resuming", deadline);
}

asio::awaitable<void> Devboxes::shutdown(std::string id, Deadline deadline) {
  (void)co_await act(std::move(id), "shutdown", "ending", deadline);
}

}  // namespace sandkey::runloop
