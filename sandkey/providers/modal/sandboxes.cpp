#include "sandkey/providers/modal/sandboxes.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/modal/tags.h"

#include <boost/json/array.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

namespace sandkey::modal {
namespace {

using namespace std::chrono_literals;
using std::chrono::system_clock;

constexpr char kProvider[] = "modal";
constexpr char kApp[] = "sandkey";  // every sandbox belongs to an app; ours all to this one

// Numbers of Modal's.
constexpr int kLookUp = 0;
constexpr int kCreateIfMissing = 1;
constexpr int kEphemeral = 5;
constexpr int kOpenNetwork = 1;
constexpr int kAllowedOnly = 3;  // with nothing allowed: closed outwards, while its own port stays open
constexpr int kSuccess = 1;
constexpr int kTerminated = 3;
constexpr int kTimeout = 4;
constexpr int kStartFailed = 5;
constexpr int kInternalFailure = 6;
constexpr int kIdleTimeout = 7;
constexpr int kEvicted = 8;

constexpr std::chrono::seconds kLongestHold = 50s;  // of one request that waits
constexpr std::chrono::seconds kAccessTime = 30s;
constexpr std::chrono::milliseconds kFirstLook = 100ms;
constexpr std::chrono::milliseconds kLongestLook = 1s;
constexpr std::size_t kMostPages = 1000;

// What there is twice at Modal's.
std::string method_for(const std::string& id, const std::string& name) {
  return is_of_first_back_end(id) ? name : name + "V2";
}

// As long as the deadline leaves, in seconds, of what a request may be held.
double hold(const Engine& engine, Deadline deadline, std::chrono::seconds longest) {
  const auto left = deadline - engine.steady_now() - 1s;
  const auto some = std::clamp<std::chrono::steady_clock::duration>(left, 0s, longest);
  return std::chrono::duration<double>(some).count();
}

const json::object* object_at(const json::object& message, std::string_view key) {
  const json::value* value = find(message, key);
  return value != nullptr && value->is_object() ? &value->get_object() : nullptr;
}

std::string required(const json::object& message, std::string_view key, const std::string& operation) {
  std::string text = text_of(message, key);
  if (text.empty()) malformed_answer(kProvider, operation, fmt::format("it has no {}", key));
  return text;
}

int status_of(const json::object& result) {
  return static_cast<int>(find_integer(result, "status").value_or(0));
}

std::optional<system_clock::time_point> time_of(const json::object& message, std::string_view key) {
  const double seconds = find_number(message, key).value_or(0);
  constexpr double kLast = 4102444800;  // the year 2100
  if (!(seconds > 0 && seconds < kLast)) return std::nullopt;
  return system_clock::time_point(
      std::chrono::duration_cast<system_clock::duration>(std::chrono::duration<double>(seconds)));
}

SandboxRecord record_of(const json::object& info) {
  SandboxRecord record;
  record.id = text_of(info, "id");
  record.image_id = text_of(info, "image_id");
  record.labels = labels_of(tags_in(info));
  record.created = time_of(info, "created_at");
  if (const json::object* task = object_at(info, "task_info")) {
    record.started = find_number(*task, "started_at").value_or(0) > 0;
  }
  const long long life = find_integer(info, "timeout_secs").value_or(0);
  if (life > 0) record.life = std::chrono::seconds(life);
  return record;
}

std::string reason_of(int status) {
  switch (status) {
    case kSuccess:
      return "its agent has ended";
    case kTerminated:
      return "it was ended";
    case kTimeout:
      return "its time was over";
    case kIdleTimeout:
      return "nobody used it any more";
    case kStartFailed:
      return "it could not be started";
    case kInternalFailure:
      return "Modal failed";
    case kEvicted:
      return "its memory was taken away";
    default:
      return "it failed";
  }
}

}  // namespace

bool is_of_first_back_end(std::string_view id) {
  constexpr std::string_view kPrefix = "sb-";
  constexpr std::size_t kDigits = 22;
  if (!id.starts_with(kPrefix) || id.size() != kPrefix.size() + kDigits) return false;
  id.remove_prefix(kPrefix.size());
  return std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
}

// ---- apps and images

asio::awaitable<std::optional<std::string>> Sandboxes::app(bool create, Deadline deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (app_) co_return app_;
  }
  const std::string operation = "looking up the app of Sandkey at modal";
  ModalCall call{.method = "AppGetOrCreate",
                 .request = {{"app_name", kApp},
                             {"environment_name", control_->environment()},
                             {"object_creation_type", create ? kCreateIfMissing : kLookUp}},
                 .operation = operation,
                 .deadline = deadline};
  json::object reply;
  try {
    reply = co_await control_->call(std::move(call));
  } catch (const Error& error) {
    if (create || error.code() != ErrorCode::not_found) throw;
    co_return std::nullopt;
  }
  const std::lock_guard lock(mutex_);
  app_ = required(reply, "app_id", operation);
  co_return app_;
}

asio::awaitable<std::string> Sandboxes::builder_version(Deadline deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (builder_version_) co_return *builder_version_;
  }
  ModalCall call{.method = "EnvironmentGetOrCreate",
                 .request = {{"deployment_name", control_->environment()}, {"object_creation_type", kLookUp}},
                 .operation = "looking up the environment of modal",
                 .deadline = deadline};
  const json::object reply = co_await control_->call(std::move(call));
  std::string version;
  if (const json::object* metadata = object_at(reply, "metadata")) {
    if (const json::object* settings = object_at(*metadata, "settings")) {
      version = text_of(*settings, "image_builder_version");
    }
  }
  const std::lock_guard lock(mutex_);
  builder_version_ = version;
  co_return version;
}

asio::awaitable<std::string> Sandboxes::image(std::string wanted, Progress progress, Deadline deadline) {
  if (wanted.starts_with("im-")) co_return wanted;
  {
    const std::lock_guard lock(mutex_);
    const auto known = images_.find(wanted);
    if (known != images_.end()) co_return known->second;
  }
  std::string id = co_await build(wanted, std::move(progress), deadline);
  const std::lock_guard lock(mutex_);
  images_[wanted] = id;
  co_return id;
}

asio::awaitable<std::string> Sandboxes::build(std::string name, Progress progress, Deadline deadline) {
  const std::string operation = fmt::format("getting the image {} for modal", name);
  const std::optional<std::string> app_id = co_await app(true, deadline);
  const std::string version = co_await builder_version(deadline);
  json::object image{{"dockerfile_commands", json::array{"FROM " + name}}};
  ModalCall get{.method = "ImageGetOrCreate",
                .request = {{"image", std::move(image)}, {"app_id", *app_id}, {"builder_version", version}},
                .operation = operation,
                .deadline = deadline};
  const json::object got = co_await control_->call(std::move(get));
  const std::string id = required(got, "image_id", operation);
  json::object result;
  if (const json::object* known = object_at(got, "result")) result = *known;

  std::string last_entry;
  std::string last_line;
  std::chrono::milliseconds pause = kFirstLook;
  while (status_of(result) == 0) {
    ModalCall join{.method = "ImageJoinStreaming",
                   .request = {{"image_id", id},
                               {"timeout", hold(control_->engine(), deadline, kLongestHold)},
                               {"last_entry_id", last_entry}},
                   .operation = operation,
                   .deadline = deadline};
    GrpcStream news = co_await control_->stream(std::move(join));
    for (;;) {
      const std::optional<GrpcMessage> item = co_await news.next();
      if (!item) break;
      pause = kFirstLook;
      if (std::string entry = text_of(item->fields, "entry_id"); !entry.empty())
        last_entry = std::move(entry);
      const json::value* logs = find(item->fields, "task_logs");
      for (const json::value& log : logs != nullptr && logs->is_array() ? logs->get_array() : json::array()) {
        const std::string line = log.is_object() ? control_->quoted(text_of(log.get_object(), "data")) : "";
        if (line.empty()) continue;
        if (progress) progress(line);
        last_line = line;
      }
      if (const json::object* ended = object_at(item->fields, "result")) result = *ended;
    }
    control_->hear(news.status());
    if (status_of(result) != 0) break;
    // It goes on where it was; but not for ever at once.
    const bool broke = !news.status().ok();
    const Error failed = control_->error(operation, news.status());
    if (broke && failed.code() != ErrorCode::unavailable && failed.code() != ErrorCode::deadline_exceeded) {
      throw_error(failed);
    }
    if (control_->engine().in(pause) >= deadline) {
      throw Error(ErrorCode::deadline_exceeded, operation + ": it is not built yet");
    }
    co_await control_->engine().sleep_for(pause);
    pause = std::min(pause * 2, kLongestLook);
  }
  if (status_of(result) == kSuccess) co_return id;
  std::string reason = control_->quoted(text_of(result, "exception"));
  if (reason.empty()) reason = last_line;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{}: Modal cannot build it{}", operation, reason.empty() ? "" : ": " + reason),
              {.provider = kProvider,
               .operation = operation,
               .phase = {},
               .request_id = {},
               .processed = Processed::yes});
}

// ---- creating

// Whether there is one is found out each time: what stands between, and knows no such call just now, must not
// send us to the first back end for good, where the sandboxes of the second are not seen.
asio::awaitable<json::object> Sandboxes::call_newest(ModalCall call) {
  ModalCall second = call;
  second.method += "V2";
  std::optional<json::object> reply = co_await try_call(std::move(second));
  if (reply) co_return std::move(*reply);
  co_return co_await control_->call(std::move(call));
}

asio::awaitable<std::optional<json::object>> Sandboxes::try_call(ModalCall call) {
  try {
    json::object reply = co_await control_->call(std::move(call));
    co_return reply;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unsupported) throw;
  }
  co_return std::nullopt;
}

void Sandboxes::forget_what_is_known() {
  const std::lock_guard lock(mutex_);
  app_.reset();
  images_.clear();
}

asio::awaitable<std::string> Sandboxes::secret(std::map<std::string, std::string> environment,
                                               std::string app, Deadline deadline) {
  const std::string operation = "handing a sandbox of modal its environment";
  ModalCall call{.method = "SecretGetOrCreate",
                 .request = {{"environment_name", control_->environment()},
                             {"object_creation_type", kEphemeral},
                             {"env_dict", to_object(environment)},
                             {"app_id", std::move(app)}},
                 .operation = operation,
                 .deadline = deadline};
  const json::object reply = co_await control_->call(std::move(call));
  co_return required(reply, "secret_id", operation);
}

asio::awaitable<MadeSandbox> Sandboxes::create(NewSandbox wanted, Deadline deadline) {
  const std::string operation = "creating a sandbox at modal";
  const std::optional<std::string> app_id = co_await app(true, deadline);
  json::array entrypoint;
  for (const std::string& word : wanted.entrypoint) entrypoint.emplace_back(word);
  json::object definition{
      {"entrypoint_args", std::move(entrypoint)},
      {"image_id", wanted.image_id},
      {"timeout_secs", wanted.life.count()},
      {"idle_timeout_secs", wanted.idle_life.count()},
      {"name", wanted.name},
      {"open_ports", json::object{{"ports", json::array{json::object{{"port", wanted.port}}}}}},
      {"network_access",
       json::object{{"network_access_type", wanted.network ? kOpenNetwork : kAllowedOnly}}}};
  if (wanted.memory_mib) {
    definition["resources"] =
        json::object{{"memory_mb", *wanted.memory_mib}, {"memory_mb_max", *wanted.memory_mib}};
  }
  const json::array tags = to_json(to_tags(wanted.labels));
  ModalCall newest{
      .method = "SandboxCreateV2",
      .request = {{"app_id", *app_id},
                  {"definition", definition},
                  {"ephemeral_secrets", json::object{{"contents", to_object(wanted.environment)}}},
                  {"tags", tags}},
      .operation = operation,
      .deadline = deadline,
      .key = wanted.key,
      .repeatable = false};
  std::optional<json::object> answer = co_await try_call(std::move(newest));
  if (!answer) {
    const std::string secret_id = co_await secret(wanted.environment, *app_id, deadline);
    definition["secret_ids"] = json::array{secret_id};
    ModalCall first{.method = "SandboxCreate",
                    .request = {{"app_id", *app_id}, {"definition", std::move(definition)}, {"tags", tags}},
                    .operation = operation,
                    .deadline = deadline,
                    .key = wanted.key,
                    .repeatable = false};
    answer = co_await control_->call(std::move(first));
  }
  const json::object reply = std::move(*answer);
  MadeSandbox made;
  made.id = required(reply, "sandbox_id", operation);
  made.task_id = text_of(reply, "task_id");
  made.port = port_in(reply, wanted.port);
  if (const json::object* access = object_at(reply, "command_router_access")) {
    made.access = std::make_shared<const RouterAccess>(
        RouterAccess{.url = text_of(*access, "url"), .token = Secret(text_of(*access, "jwt"))});
  }
  co_return made;
}

// ---- finding and ending

asio::awaitable<std::optional<std::string>> Sandboxes::find_by_name(std::string name, Deadline deadline) {
  const std::string operation = "finding a sandbox of modal by its name";
  ModalCall call{.method = "SandboxGetFromName",
                 .request = {{"sandbox_name", std::move(name)},
                             {"environment_name", control_->environment()},
                             {"app_name", kApp}},
                 .operation = operation,
                 .deadline = deadline};
  try {
    const json::object reply = co_await call_newest(std::move(call));
    co_return required(reply, "sandbox_id", operation);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
  co_return std::nullopt;
}

asio::awaitable<std::vector<SandboxRecord>> Sandboxes::list(Labels filter, Deadline deadline) {
  const std::string operation = "listing the sandboxes of modal";
  std::vector<SandboxRecord> records;
  const std::optional<std::string> app_id = co_await app(false, deadline);
  if (!app_id) co_return records;
  const json::array tags = to_json(to_tags(filter));
  double before = 0;
  std::set<std::string> seen;
  for (std::size_t page = 0; page < kMostPages; ++page) {
    ModalCall call{.method = "SandboxList",
                   .request = {{"app_id", *app_id}, {"before_timestamp", before}, {"tags", tags}},
                   .operation = operation,
                   .deadline = deadline};
    const json::object reply = co_await call_newest(std::move(call));
    const json::value* list = find(reply, "sandboxes");
    if (list == nullptr || !list->is_array() || list->get_array().empty()) break;
    const double last = before;
    bool found_more = false;
    for (const json::value& item : list->get_array()) {
      if (!item.is_object()) malformed_answer(kProvider, operation, "a sandbox in it is none");
      SandboxRecord record = record_of(item.get_object());
      before = find_number(item.get_object(), "created_at").value_or(0);
      // Where the last digit of the time was lost on its way to us, the next page begins with the same one.
      if (record.id.empty() || !seen.insert(record.id).second) continue;
      found_more = true;
      records.push_back(std::move(record));
    }
    // The next page is what is older than the last of this one.
    if (!found_more || !(before > 0) || (last > 0 && before >= last)) break;
  }
  co_return records;
}

asio::awaitable<Labels> Sandboxes::labels(std::string id, Deadline deadline) {
  ModalCall call{.method = method_for(id, "SandboxTagsGet"),
                 .request = {{"sandbox_id", id}},
                 .operation = "looking at the sandbox " + id + " of modal",
                 .deadline = deadline};
  const json::object reply = co_await control_->call(std::move(call));
  co_return labels_of(tags_in(reply));
}

asio::awaitable<std::optional<SandboxEnd>> Sandboxes::end_of(std::string id, std::chrono::seconds patience,
                                                             Deadline deadline) {
  ModalCall call{.method = method_for(id, "SandboxWait"),
                 .request = {{"sandbox_id", id}, {"timeout", hold(control_->engine(), deadline, patience)}},
                 .operation = "looking at the sandbox " + id + " of modal",
                 .deadline = deadline};
  const json::object reply = co_await control_->call(std::move(call));
  const json::object* result = object_at(reply, "result");
  if (result == nullptr || status_of(*result) == 0) co_return std::nullopt;
  SandboxEnd end;
  end.wanted = status_of(*result) == kTerminated;
  end.reason = reason_of(status_of(*result));
  const std::string said = control_->quoted(text_of(*result, "exception"));
  if (!said.empty()) end.reason += ": " + said;
  co_return end;
}

asio::awaitable<void> Sandboxes::terminate(std::string id, Deadline deadline) {
  ModalCall call{.method = method_for(id, "SandboxTerminate"),
                 .request = {{"sandbox_id", id}},
                 .operation = "ending the sandbox " + id + " of modal",
                 .deadline = deadline};
  (void)co_await control_->call(std::move(call));
}

// ---- reaching

// Ports are open to everybody who has the agent's key, which is not to be overheard.
Endpoint Sandboxes::address_of(const std::string& url) {
  Endpoint address = Endpoint::parse(url, "the address of a sandbox of modal");
  if (address.is_https()) return address;
  throw Error(ErrorCode::protocol, "reaching a sandbox of modal: its address is not encrypted");
}

std::optional<Endpoint> Sandboxes::port_in(const json::object& message, std::uint16_t port) {
  const json::value* tunnels = find(message, "tunnels");
  if (tunnels == nullptr || !tunnels->is_array()) return std::nullopt;
  for (const json::value& tunnel : tunnels->get_array()) {
    if (!tunnel.is_object()) continue;
    const json::object& object = tunnel.get_object();
    if (find_integer(object, "container_port") != port) continue;
    const std::string host = text_of(object, "host");
    if (!host.empty()) {
      return address_of(fmt::format("https://{}:{}", host, find_integer(object, "port").value_or(443)));
    }
  }
  return std::nullopt;
}

asio::awaitable<Endpoint> Sandboxes::port(std::string id, std::uint16_t port, Deadline deadline) {
  const std::string operation = "reaching the sandbox " + id + " of modal";
  std::chrono::milliseconds pause = kFirstLook;
  for (;;) {
    ModalCall call{
        .method = method_for(id, "SandboxGetTunnels"),
        .request = {{"sandbox_id", id}, {"timeout", hold(control_->engine(), deadline, kLongestHold)}},
        .operation = operation,
        .deadline = deadline};
    const json::object reply = co_await control_->call(std::move(call));
    if (const std::optional<Endpoint> found = port_in(reply, port)) co_return *found;
    const json::object* result = object_at(reply, "result");
    const int status = result == nullptr ? 0 : status_of(*result);
    if (status == kSuccess) {
      throw Error(ErrorCode::unsupported,
                  operation + ": it has no way in to its agent; was it made by Sandkey?");
    }
    if (status != 0 && status != kTimeout) {
      throw Error(ErrorCode::sandbox_dead, operation + ": " + reason_of(status));
    }
    if (control_->engine().in(pause) >= deadline) {
      throw Error(ErrorCode::deadline_exceeded, operation + ": its port is not open yet");
    }
    co_await control_->engine().sleep_for(pause);
    pause = std::min(pause * 2, kLongestLook);
  }
}

asio::awaitable<ConnectToken> Sandboxes::connect_token(std::string id, std::uint16_t port,
                                                       Deadline deadline) {
  const std::string operation = "exposing a port of the sandbox " + id + " of modal";
  ModalCall call{.method = method_for(id, "SandboxCreateConnectToken"),
                 .request = {{"sandbox_id", id}, {"port", port}},
                 .operation = operation,
                 .deadline = deadline};
  const json::object reply = co_await control_->call(std::move(call));
  const Endpoint address = address_of(required(reply, "url", operation));
  co_return ConnectToken{.url = address.to_string(), .token = Secret(required(reply, "token", operation))};
}

asio::awaitable<std::string> Sandboxes::task_of(std::string id, Deadline deadline) {
  const std::string operation = "finding the worker of the sandbox " + id + " of modal";
  std::chrono::milliseconds pause = kFirstLook;
  for (;;) {
    ModalCall call{.method = method_for(id, "SandboxGetTaskId"),
                   .request = {{"sandbox_id", id}},
                   .operation = operation,
                   .deadline = deadline};
    const json::object reply = co_await control_->call(std::move(call));
    if (std::string task = text_of(reply, "task_id"); !task.empty()) co_return task;
    if (const json::object* result = object_at(reply, "task_result");
        result != nullptr && status_of(*result) != 0) {
      const std::string said = control_->quoted(text_of(*result, "exception"));
      throw Error(ErrorCode::sandbox_dead, fmt::format("{}: {}{}", operation, reason_of(status_of(*result)),
                                                       said.empty() ? "" : ": " + said));
    }
    if (control_->engine().in(pause) >= deadline) {
      throw Error(ErrorCode::deadline_exceeded, operation + ": it has none yet");
    }
    co_await control_->engine().sleep_for(pause);
    pause = std::min(pause * 2, kLongestLook);
  }
}

asio::awaitable<std::shared_ptr<const RouterAccess>> Sandboxes::access_to(
    std::shared_ptr<ControlPlane> control, std::string id, std::string task_id) {
  const std::string operation = "finding the worker of the sandbox " + id + " of modal";
  const bool first = is_of_first_back_end(id);
  ModalCall call{.method = first ? "TaskGetCommandRouterAccess" : "SandboxGetCommandRouterAccess",
                 .request = first ? json::object{{"task_id", std::move(task_id)}}
                                  : json::object{{"sandbox_id", std::move(id)}},
                 .operation = operation,
                 .deadline = control->engine().in(kAccessTime)};
  json::object reply;
  try {
    reply = co_await control->call(std::move(call));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::conflict) throw;
    throw Error(ErrorCode::not_found, error.what(), error.context());  // so Modal says that it has ended
  }
  auto access = std::make_shared<RouterAccess>();
  access->url = required(reply, "url", operation);
  access->token = Secret(text_of(reply, "jwt"));
  co_return access;
}

asio::awaitable<std::shared_ptr<TaskRouter>> Sandboxes::router(std::string id, std::string task_id,
                                                               std::shared_ptr<const RouterAccess> access,
                                                               Deadline deadline) {
  if (task_id.empty()) task_id = co_await task_of(id, deadline);
  AccessSource source = [control = control_, id, task_id] { return access_to(control, id, task_id); };
  co_return std::make_shared<TaskRouter>(control_, task_id, std::move(access), std::move(source));
}

}  // namespace sandkey::modal
