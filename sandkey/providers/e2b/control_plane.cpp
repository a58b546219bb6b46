#include "sandkey/providers/e2b/control_plane.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/percent.h"
#include "sandkey/credentials/helper_command.h"
#include "sandkey/net/url.h"

#include <algorithm>
#include <utility>

namespace sandkey::e2b {
namespace {

constexpr std::size_t kPage = 100;       // the most it gives
constexpr std::size_t kMostPages = 200;  // more is a server going round in circles

[[noreturn]] void malformed(const std::string& operation, const std::string& what) {
  malformed_answer("e2b", operation, what);
}

SandboxKeys read_keys(const json::value& body, const std::string& operation) {
  if (!body.is_object()) malformed(operation, "the answer is no sandbox");
  const json::object& object = body.get_object();
  SandboxKeys keys;
  keys.id = text_of(object, "sandboxID");
  if (keys.id.empty()) malformed(operation, "the answer names no sandbox");
  keys.envd_token = Secret(text_of(object, "envdAccessToken"));
  keys.traffic_token = Secret(text_of(object, "trafficAccessToken"));
  keys.domain = text_of(object, "domain");
  return keys;
}

SandboxRecord read_record(const json::value& body, const std::string& operation) {
  if (!body.is_object()) malformed(operation, "the answer is no sandbox");
  const json::object& object = body.get_object();
  SandboxRecord record;
  record.id = text_of(object, "sandboxID");
  if (record.id.empty()) malformed(operation, "the answer names no sandbox");
  record.template_id = text_of(object, "alias");
  if (record.template_id.empty()) record.template_id = text_of(object, "templateID");
  record.paused = text_of(object, "state") == "paused";
  record.started = time_from_text(text_of(object, "startedAt"));
  if (!record.paused)
    record.ends = time_from_text(text_of(object, "endAt"));  // else it is when it was paused
  record.metadata = texts_of(object, "metadata");
  return record;
}

// Names and values are encoded twice, since the server decodes the query and then each of them.
std::string filter_text(const Metadata& filter) {
  std::string text;
  for (const auto& [name, value] : filter) {
    if (!text.empty()) text += "&";
    text += percent_encode(percent_encode(name)) + "=" + percent_encode(percent_encode(value));
  }
  return text;
}

std::string sandbox_path(const std::string& id, const std::string& rest = "") {
  // It stands in a path; what E2B would not call an id names nothing.
  const bool plain = !id.empty() && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!plain) {
    throw Error(
        ErrorCode::not_found, "finding a sandbox of e2b: '" + id + "' is no id of one",
        {.provider = "e2b", .operation = {}, .phase = {}, .request_id = {}, .processed = Processed::no});
  }
  return "/sandboxes/" + id + rest;
}

}  // namespace

ControlPlane::ControlPlane(std::shared_ptr<RestAccount> account) : account_(std::move(account)) {}

// In the second version, or the first where that is all there is.
asio::awaitable<SandboxKeys> ControlPlane::write(RestCall call, std::string path) {
  const std::string operation = call.operation;
  if (!first_version_) {
    RestCall second = call;
    second.path = "/v2" + path;
    bool absent = false;
    try {
      const RestAnswer answer = co_await account_->call(std::move(second));
      co_return read_keys(answer.body, operation);
    } catch (const Error& error) {
      // It says so with "no matching operation was found", and nothing else that is not found says that.
      const std::string_view said = error.what();
      absent = error.code() == ErrorCode::not_found && said.find("no matching operation") != said.npos;
      if (!absent) throw;
    }
    first_version_ = true;
  }
  call.path = path;
  const RestAnswer answer = co_await account_->call(std::move(call));
  co_return read_keys(answer.body, operation);
}

asio::awaitable<SandboxKeys> ControlPlane::create(NewSandbox wanted, Deadline deadline) {
  json::object network;
  network["allowPublicTraffic"] = false;
  json::object body;
  body["templateID"] = wanted.template_id;
  body["timeout"] = wanted.timeout.count();
  body["metadata"] = to_object(wanted.metadata);
  if (!wanted.environment.empty()) body["envVars"] = to_object(wanted.environment);
  if (wanted.internet) body["allow_internet_access"] = *wanted.internet;
  body["network"] = std::move(network);
  body["secure"] = true;  // the first version's default is false
  RestCall call{.method = "POST",
                .body = json::value(std::move(body)),
                .operation = "creating a sandbox at e2b",
                .deadline = deadline,
                .repeatable = false};
  return write(std::move(call), "/sandboxes");
}

asio::awaitable<std::vector<SandboxRecord>> ControlPlane::list(Metadata filter, Deadline deadline) {
  const std::string operation = "listing the sandboxes of e2b";
  std::vector<SandboxRecord> records;
  std::string next;
  for (std::size_t page = 0; page < kMostPages; ++page) {
    QueryParameters query{{"state", "running,paused"}, {"limit", std::to_string(kPage)}, {"order", "asc"}};
    if (!filter.empty()) query.emplace_back("metadata", filter_text(filter));
    if (!next.empty()) query.emplace_back("nextToken", next);
    RestCall call{
        .path = "/v2/sandboxes", .query = std::move(query), .operation = operation, .deadline = deadline};
    const RestAnswer answer = co_await account_->call(std::move(call));
    if (!answer.body.is_array()) malformed(operation, "the answer is no list");
    for (const json::value& item : answer.body.get_array()) records.push_back(read_record(item, operation));
    next = std::string(answer.headers.find("X-Next-Token").value_or(""));
    if (next.empty()) {
      std::stable_sort(records.begin(), records.end(),
                       [](const SandboxRecord& a, const SandboxRecord& b) { return a.started < b.started; });
      co_return records;
    }
  }
  malformed(operation, "it has no end");
}

asio::awaitable<SandboxRecord> ControlPlane::get(std::string id, Deadline deadline) {
  RestCall call{.path = sandbox_path(id),
                .operation = "looking at the sandbox " + id + " of e2b",
                .deadline = deadline};
  const std::string operation = call.operation;
  const RestAnswer answer = co_await account_->call(std::move(call));
  co_return read_record(answer.body, operation);
}

asio::awaitable<SandboxKeys> ControlPlane::connect(std::string id, std::chrono::seconds timeout,
                                                   Deadline deadline) {
  json::object body;
  body["timeout"] = timeout.count();
  RestCall call{.method = "POST",
                .body = json::value(std::move(body)),
                .operation = "connecting to the sandbox " + id + " of e2b",
                .deadline = deadline,
                .repeatable = true};
  return write(std::move(call), sandbox_path(id, "/connect"));
}

asio::awaitable<void> ControlPlane::set_timeout(std::string id, std::chrono::seconds timeout,
                                                Deadline deadline) {
  json::object body;
  body["timeout"] = timeout.count();
  RestCall call{.method = "POST",
                .path = sandbox_path(id, "/timeout"),
                .body = json::value(std::move(body)),
                .operation = "renewing the sandbox " + id + " of e2b",
                .deadline = deadline,
                .repeatable = true};
  (void)co_await account_->call(std::move(call));
}

asio::awaitable<void> ControlPlane::pause(std::string id, Deadline deadline) {
  RestCall call{.method = "POST",
                .path = sandbox_path(id, "/pause"),
                .body = json::value(json::object()),
                .operation = "pausing the sandbox " + id + " of e2b",
                .deadline = deadline,
                .repeatable = true};
  (void)co_await account_->call(std::move(call));
}

asio::awaitable<void> ControlPlane::kill(std::string id, Deadline deadline) {
  RestCall call{.method = "DELETE",
                .path = sandbox_path(id),
                .operation = "ending the sandbox " + id + " of e2b",
                .deadline = deadline};
  (void)co_await account_->call(std::move(call));
}

}  // namespace sandkey::e2b
