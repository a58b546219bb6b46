#include "sandkey/providers/_template/provider.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/credentials/helper_command.h"
#include "sandkey/runtime/agent_launch.h"
#include "sandkey/runtime/cloud_agent.h"
#include "sandkey/runtime/cloud_intent.h"
#include "sandkey/runtime/oldest_sandbox.h"
#include "sandkey/runtime/session_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace sandkey::example {
namespace {

using namespace std::chrono_literals;

// How long a sandbox lives that nobody renews; it is renewed while a runtime is connected.
constexpr std::chrono::seconds kLease = 5min;
constexpr std::size_t kMostPages = 200;  // more is a server going round in circles

// A sandbox as the API shows it.
struct Record {
  SandboxInfo info;
  Secret token;  // of the sandbox, made by the cloud; never its owner's key
  std::string directory;
};

[[noreturn]] void malformed(const std::string& operation, const std::string& what) {
  malformed_answer("example", operation, what);
}

const json::object& object_of(const json::value& body, const std::string& operation) {
  return sandkey::object_of(body, "example", operation);
}

SandboxState state_of(std::string_view word) {
  if (word == "starting") return SandboxState::starting;
  if (word == "running") return SandboxState::running;
  if (word == "paused") return SandboxState::paused;
  return SandboxState::ended;
}

Record read_record(const json::value& body, const std::string& operation) {
  const json::object& object = object_of(body, operation);
  SessionLabels session = session_of(texts_of(object, "labels"));
  Record record;
  record.info.id = {text_of(object, "id")};
  if (record.info.id.value.empty()) malformed(operation, "the answer names no sandbox");
  record.info.sid = std::move(session.sid);
  record.info.attempt = std::move(session.attempt);
  record.info.state = state_of(text_of(object, "state"));
  record.info.kept = session.kept;
  record.info.created = time_from_text(text_of(object, "created_at"));
  record.info.lease_end = time_from_text(text_of(object, "expires_at"));
  record.info.image = text_of(object, "template");
  record.info.lease = session.lease.value_or(kLease);
  record.token = Secret(text_of(object, "token"));
  record.directory = std::move(session.working_dir);
  return record;
}

// It stands in a path; what the cloud would not call an id names nothing.
std::string path_of(const SandboxId& id, const std::string& rest = "") {
  const bool plain = std::all_of(id.value.begin(), id.value.end(),
                                 [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; });
  if (id.value.empty() || !plain) {
    throw Error(ErrorCode::not_found, "finding a sandbox of example: '" + id.value + "' is no id of one");
  }
  return "/v1/sandboxes/" + id.value + rest;
}

// Keeps nothing: what it needs of a sandbox it asks for.
class ExampleProvider final : public Provider {
 public:
  ExampleProvider(Engine& engine, std::shared_ptr<RestAccount> account)
      : engine_(engine), account_(std::move(account)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "example"; }
  [[nodiscard]] Capabilities capabilities() const override {
    return {.network_switch = false, .default_lease = kLease, .outlives_client = "5 min, or its lease"};
  }
  [[nodiscard]] Account account() const override { return account_->account(); }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    const std::vector<SandboxInfo> found = co_await labelled(kSidLabel, std::move(sid), deadline);
    if (found.empty()) co_return std::nullopt;
    co_return found.front().id;
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    return labelled(kOursLabel, "true", deadline);
  }

  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    Record record = co_await get(std::move(id), deadline);
    co_return std::move(record.info);
  }

  void check(const SandboxIntent& intent) const override {
    check_cloud_intent(name(), intent, account_->account());
    if (intent.network) refuse_intent(name(), "its network cannot be switched", "leave that out");
    if (intent.memory_bytes || intent.disk_bytes) {
      refuse_intent(name(), "its template decides what it may use", "choose another image");
    }
  }

  // The cloud makes one sandbox of requests with the same request_id, so a lost answer is asked for again by
  // RestAccount. A cloud without that needs a label by which the lost one is found, as e2b/provider.cpp has
  // it.
  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    check(intent);
    const std::chrono::seconds lease = intent.lease.value_or(kLease);
    json::object body;
    body["template"] = intent.image.empty() ? "base" : intent.image;
    body["ttl_seconds"] = lease.count();
    const std::string attempt = attempt_of(intent, engine_);
    body["request_id"] = attempt;
    body["environment"] = to_object(intent.environment);
    body["labels"] = to_object(to_labels({.sid = intent.sid,
                                          .kept = intent.keep,
                                          .lease = lease,
                                          .working_dir = intent.working_dir,
                                          .attempt = attempt}));
    const std::string operation = "creating a sandbox at example";
    RestAnswer answer = co_await post("/v1/sandboxes", std::move(body), operation, deadline);
    SandboxId own = read_record(answer.body, operation).info.id;
    co_return co_await keep_oldest(engine_, *this, std::move(own), intent.sid, deadline);
  }

  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    const Record record = co_await get(id, deadline);
    Shell shell(*this, std::move(id));
    Secret key = derived_session_key(record.token);
    co_await start_cloud_agent(engine_, shell, std::move(key), record.directory, "the sandbox of example",
                               deadline);
  }

  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override {
    const Record record = co_await get(id, deadline);
    ExposedPort port = co_await expose(std::move(id), kCloudAgentPort, deadline);
    HttpHeaders headers;
    for (const auto& [name, value] : port.headers) headers.set(name, value);
    co_return AgentAccess{.endpoint = Endpoint::parse(port.url, "the address of a sandbox of example"),
                          .session_key = derived_session_key(record.token),
                          .headers = std::move(headers)};
  }

  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    const std::string operation = "opening a port of the sandbox " + id.value + " of example";
    const std::string path = path_of(id, "/ports/" + std::to_string(port));
    json::object nothing;
    const RestAnswer answer = co_await post(path, std::move(nothing), operation, deadline);
    const json::object& object = object_of(answer.body, operation);
    ExposedPort exposed;
    exposed.url = text_of(object, "url");
    if (exposed.url.empty()) malformed(operation, "the answer has no url");
    exposed.headers["X-Port-Token"] = Secret(text_of(object, "token"));
    co_return exposed;
  }

  // This cloud takes the longer of the two; where the last word counts, the sandbox is looked at first.
  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id, std::chrono::seconds lease,
                                                               Deadline deadline) override {
    json::object body;
    body["ttl_seconds"] = lease.count();
    (void)co_await post(path_of(id, "/ttl"), std::move(body),
                        "renewing the sandbox " + id.value + " of example", deadline);
    co_return engine_.system_now() + lease;
  }

  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override {
    return change(std::move(id), "/pause", SandboxState::paused, deadline);
  }

  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override {
    return change(std::move(id), "/resume", SandboxState::running, deadline);
  }

  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    RestCall call{.method = "DELETE",
                  .path = path_of(id),
                  .operation = "ending the sandbox " + id.value + " of example",
                  .deadline = deadline};
    try {
      (void)co_await account_->call(std::move(call));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;  // else it is what was wanted
    }
  }

 private:
  // Runs commands in one of them and puts files there, for whoever starts the agent.
  class Shell final : public CloudShell {
   public:
    Shell(ExampleProvider& provider, SandboxId id) : provider_(provider), id_(std::move(id)) {}

    asio::awaitable<ShellResult> run(std::string script, std::map<std::string, std::string> environment,
                                     Deadline deadline) override {
      const std::string operation = "starting the agent in the sandbox of example";
      json::object body;
      body["shell"] = script;
      body["environment"] = to_object(environment);
      const RestAnswer answer =
          co_await provider_.post(path_of(id_, "/run"), std::move(body), operation, deadline);
      const json::object& ran = object_of(answer.body, operation);
      const auto exit_code = find_integer(ran, "exit_code");
      if (!exit_code) malformed(operation, "it was not told how the command ended");
      co_return ShellResult{.exit_code = static_cast<int>(*exit_code),
                            .output = text_of(ran, "stdout"),
                            .error_output = text_of(ran, "stderr")};
    }

    asio::awaitable<void> put(std::string path, std::string content, Deadline deadline) override {
      return send(std::move(path), "base64", std::move(content), deadline);
    }

    asio::awaitable<bool> put_unpacked(std::string path, std::string compressed, Deadline deadline) override {
      co_await send(std::move(path), "gzip", std::move(compressed), deadline);
      co_return true;
    }

    asio::awaitable<void> require_sandbox(Deadline deadline) override {
      (void)co_await provider_.get(id_, deadline);
    }

   private:
    asio::awaitable<void> send(std::string path, std::string encoding, std::string bytes, Deadline deadline) {
      json::object file;
      file["path"] = path;
      file[encoding] = base64_encode(bytes);
      (void)co_await provider_.post(path_of(id_, "/files"), std::move(file),
                                    "putting the agent into the sandbox of example", deadline);
    }

    ExampleProvider& provider_;
    const SandboxId id_;
  };

  // All POSTs of this API may be sent again: they say what is to be, or carry a request_id.
  asio::awaitable<RestAnswer> post(std::string path, json::object body, std::string operation,
                                   Deadline deadline) {
    RestCall call{.method = "POST",
                  .path = std::move(path),
                  .body = json::value(std::move(body)),
                  .operation = std::move(operation),
                  .deadline = deadline,
                  .repeatable = true};
    return account_->call(std::move(call));
  }

  asio::awaitable<Record> get(SandboxId id, Deadline deadline) {
    const std::string operation = "looking at the sandbox " + id.value + " of example";
    RestCall call{.path = path_of(id), .operation = operation, .deadline = deadline};
    const RestAnswer answer = co_await account_->call(std::move(call));
    co_return read_record(answer.body, operation);
  }

  // Oldest first.
  asio::awaitable<std::vector<SandboxInfo>> labelled(std::string label, std::string value,
                                                     Deadline deadline) {
    const std::string operation = "listing the sandboxes of example";
    std::vector<SandboxInfo> all;
    std::string next;
    for (std::size_t page = 0; page < kMostPages; ++page) {
      QueryParameters query{{"label", label}, {"value", value}};
      if (!next.empty()) query.emplace_back("cursor", next);
      RestCall call{
          .path = "/v1/sandboxes", .query = std::move(query), .operation = operation, .deadline = deadline};
      const RestAnswer answer = co_await account_->call(std::move(call));
      const json::object& object = object_of(answer.body, operation);
      const json::value* items = sandkey::find(object, "items");
      if (items == nullptr || !items->is_array()) malformed(operation, "the answer is no list");
      for (const json::value& item : items->get_array()) all.push_back(read_record(item, operation).info);
      next = text_of(object, "next");
      if (next.empty()) {
        std::stable_sort(all.begin(), all.end(),
                         [](const SandboxInfo& a, const SandboxInfo& b) { return a.created < b.created; });
        co_return all;
      }
    }
    malformed(operation, "it has no end");
  }

  // The API refuses with 409 what is so already, and what cannot be now.
  asio::awaitable<void> change(SandboxId id, std::string verb, SandboxState wanted, Deadline deadline) {
    std::optional<Error> conflict;
    json::object nothing;
    try {
      (void)co_await post(path_of(id, verb), std::move(nothing),
                          "changing the sandbox " + id.value + " of example", deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
      conflict = error;
    }
    if (!conflict) co_return;
    const Record record = co_await get(std::move(id), deadline);
    if (record.info.state != wanted) throw_error(*conflict);
  }

  Engine& engine_;
  const std::shared_ptr<RestAccount> account_;
};

}  // namespace

std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig&,
                               const std::shared_ptr<AuthenticatedAccount>& account) {
  return std::make_shared<ExampleProvider>(engine, std::dynamic_pointer_cast<RestAccount>(account));
}

}  // namespace sandkey::example
