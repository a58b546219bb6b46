#include "sandkey/providers/daytona/control_plane.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/credentials/helper_command.h"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace sandkey::daytona {
namespace {

constexpr std::size_t kPage = 200;       // the most it gives
constexpr std::size_t kMostPages = 200;  // more is a server going round in circles

[[noreturn]] void malformed(const std::string& operation, const std::string& what) {
  malformed_answer("daytona", operation, what);
}

SandboxRecord read_record(const json::value& body, const std::string& operation) {
  const json::object& object = object_of(body, "daytona", operation);
  SandboxRecord record;
  record.id = text_of(object, "id");
  if (record.id.empty()) malformed(operation, "the answer names no sandbox");
  record.name = text_of(object, "name");
  record.state = text_of(object, "state");
  record.stage = stage_of(record.state, find_bool(object, "recoverable").value_or(false));
  record.error_reason = text_of(object, "errorReason");
  record.snapshot = text_of(object, "snapshot");
  record.toolbox_url = text_of(object, "toolboxProxyUrl");
  record.labels = texts_of(object, "labels");
  record.created = time_from_text(text_of(object, "createdAt"));
  record.last_activity = time_from_text(text_of(object, "lastActivityAt"));
  if (const auto minutes = find_integer(object, "autoStopInterval"); minutes && *minutes > 0) {
    record.auto_stop = std::chrono::minutes(*minutes);
  }
  return record;
}

json::object to_body(const NewSandbox& wanted) {
  json::object body;
  body["name"] = wanted.name;
  if (!wanted.dockerfile.empty()) {
    body["buildInfo"] = json::object{{"dockerfileContent", wanted.dockerfile}};
  } else if (!wanted.snapshot.empty()) {
    body["snapshot"] = wanted.snapshot;
  }
  if (!wanted.target.empty()) body["target"] = wanted.target;
  body["env"] = to_object(wanted.environment);
  body["labels"] = to_object(wanted.labels);
  body["public"] = false;
  if (wanted.block_network) body["networkBlockAll"] = *wanted.block_network;
  if (wanted.memory_gib) body["memory"] = *wanted.memory_gib;
  if (wanted.disk_gib) body["disk"] = *wanted.disk_gib;
  body["autoStopInterval"] = wanted.auto_stop.count();
  body["autoArchiveInterval"] = wanted.auto_archive.count();
  body["autoDeleteInterval"] = wanted.auto_delete.count();
  return body;
}

std::string sandbox_path(const std::string& id, const std::string& rest = "") {
  // It stands in a path; what Daytona would not call an id or a name, as we give them, names nothing.
  const bool plain =
      !id.empty() && id.front() != '.' && std::all_of(id.begin(), id.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
      });
  if (!plain) {
    throw Error(
        ErrorCode::not_found, "finding a sandbox of daytona: '" + id + "' is no id of one",
        {.provider = "daytona", .operation = {}, .phase = {}, .request_id = {}, .processed = Processed::no});
  }
  return "/sandbox/" + id + rest;
}

}  // namespace

Stage stage_of(std::string_view state, bool recoverable) noexcept {
  constexpr std::array<std::string_view, 3> kAsleep{"stopped", "archived", "paused"};
  if (state == "started") return Stage::running;
  if (std::find(kAsleep.begin(), kAsleep.end(), state) != kAsleep.end()) return Stage::asleep;
  if (state == "error" && recoverable) return Stage::recoverable;
  if (state == "error" || state == "build_failed") return Stage::broken;
  if (state == "destroyed" || state == "destroying") return Stage::gone;
  return Stage::changing;
}

ControlPlane::ControlPlane(std::shared_ptr<RestAccount> account) : account_(std::move(account)) {}

// A request without a body that may be sent again, since it says what is to be.
asio::awaitable<RestAnswer> ControlPlane::act(std::string method, std::string id, std::string what,
                                              std::string operation, Deadline deadline) {
  RestCall call{.method = std::move(method),
                .path = sandbox_path(id, what),
                .operation = operation + " the sandbox " + id + " of daytona",
                .deadline = deadline,
                .repeatable = true};
  return account_->call(std::move(call));
}

asio::awaitable<SandboxRecord> ControlPlane::create(NewSandbox wanted, Deadline deadline) {
  const std::string operation = "creating a sandbox at daytona";
  RestCall call{.method = "POST",
                .path = "/sandbox",
                .body = json::value(to_body(wanted)),
                .operation = operation,
                .deadline = deadline};
  const RestAnswer answer = co_await account_->call(std::move(call));
  co_return read_record(answer.body, operation);
}

asio::awaitable<SandboxRecord> ControlPlane::get(std::string id, Deadline deadline) {
  const RestAnswer answer = co_await act("GET", id, "", "looking at", deadline);
  co_return read_record(answer.body, "looking at the sandbox " + id + " of daytona");
}

asio::awaitable<std::vector<SandboxRecord>> ControlPlane::list(Labels filter, Deadline deadline) {
  const std::string operation = "listing the sandboxes of daytona";
  const std::string labels = json::serialize(to_object(filter));
  std::vector<SandboxRecord> records;
  std::string next;
  for (std::size_t page = 0; page < kMostPages; ++page) {
    QueryParameters query{
        {"labels", labels}, {"limit", std::to_string(kPage)}, {"sort", "createdAt"}, {"order", "asc"}};
    if (!next.empty()) query.emplace_back("cursor", next);
    RestCall call{
        .path = "/sandbox", .query = std::move(query), .operation = operation, .deadline = deadline};
    const RestAnswer answer = co_await account_->call(std::move(call));
    const json::object& object = object_of(answer.body, "daytona", operation);
    const json::value* items = find(object, "items");
    if (items == nullptr || !items->is_array()) malformed(operation, "the answer is no list");
    for (const json::value& item : items->get_array()) records.push_back(read_record(item, operation));
    next = text_of(object, "nextCursor");
    if (next.empty()) co_return records;
  }
  malformed(operation, "it has no end");
}

asio::awaitable<void> ControlPlane::start(std::string id, Deadline deadline) {
  (void)co_await act("POST", std::move(id), "/start", "starting", deadline);
}

asio::awaitable<void> ControlPlane::recover(std::string id, Deadline deadline) {
  (void)co_await act("POST", std::move(id), "/recover", "recovering", deadline);
}

asio::awaitable<void> ControlPlane::stop(std::string id, Deadline deadline) {
  (void)co_await act("POST", std::move(id), "/stop", "stopping", deadline);
}

asio::awaitable<void> ControlPlane::remove(std::string id, Deadline deadline) {
  (void)co_await act("DELETE", std::move(id), "", "ending", deadline);
}

asio::awaitable<void> ControlPlane::set_auto_stop(std::string id, std::chrono::minutes time,
                                                  Deadline deadline) {
  (void)co_await act("POST", std::move(id), "/autostop/" + std::to_string(time.count()), "renewing",
                     deadline);
}

asio::awaitable<void> ControlPlane::set_auto_delete(std::string id, std::chrono::minutes time,
                                                    Deadline deadline) {
  (void)co_await act("POST", std::move(id), "/autodelete/" + std::to_string(time.count()),
                     "setting the end of", deadline);
}

asio::awaitable<void> ControlPlane::touch(std::string id, Deadline deadline) {
  (void)co_await act("POST", std::move(id), "/last-activity", "renewing", deadline);
}

asio::awaitable<Preview> ControlPlane::preview(std::string id, std::uint16_t port, Deadline deadline) {
  const std::string what = fmt::format("/ports/{}/preview-url", port);
  const std::string operation = fmt::format("finding the port {} of", port);
  const RestAnswer answer = co_await act("GET", id, what, operation, deadline);
  const std::string full = operation + " the sandbox " + id + " of daytona";
  const json::object& object = object_of(answer.body, "daytona", full);
  Preview preview{.url = text_of(object, "url"), .token = Secret(text_of(object, "token"))};
  if (preview.url.empty()) malformed(full, "the answer has no url");
  if (preview.token.empty()) malformed(full, "the answer has no token");
  co_return preview;
}

asio::awaitable<std::string> ControlPlane::toolbox_url(std::string id, Deadline deadline) {
  const RestAnswer answer = co_await act("GET", id, "/toolbox-proxy-url", "finding the toolbox of", deadline);
  const std::string operation = "finding the toolbox of the sandbox " + id + " of daytona";
  std::string url = text_of(object_of(answer.body, "daytona", operation), "url");
  if (url.empty()) malformed(operation, "the answer has no url");
  co_return url;
}

}  // namespace sandkey::daytona
