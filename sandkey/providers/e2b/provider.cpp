#include "sandkey/providers/e2b/provider.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/e2b/control_plane.h"
#include "sandkey/providers/e2b/envd.h"
#include "sandkey/runtime/agent_launch.h"
#include "sandkey/runtime/cloud_agent.h"
#include "sandkey/runtime/cloud_intent.h"
#include "sandkey/runtime/lost_create.h"
#include "sandkey/runtime/oldest_sandbox.h"
#include "sandkey/runtime/session_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

namespace sandkey::e2b {
namespace {

using namespace std::chrono_literals;

// How long a sandbox lives that nobody renews; it is renewed while a runtime is connected.
constexpr std::chrono::seconds kLease = 5min;

constexpr char kDefaultTemplate[] = "base";

// On these one host serves all sandboxes, told apart by headers, and so one connection does.
constexpr std::array<std::string_view, 4> kSharedDomains{"e2b.app", "e2b.dev", "e2b.pro", "e2b-staging.dev"};

std::chrono::seconds lease_of(const Metadata& metadata) {
  return session_of(metadata).lease.value_or(kLease);
}

SandboxInfo to_info(SandboxRecord record) {
  SessionLabels session = session_of(record.metadata);
  SandboxInfo info;
  info.id = {std::move(record.id)};
  info.sid = std::move(session.sid);
  info.attempt = std::move(session.attempt);
  info.state = record.paused ? SandboxState::paused : SandboxState::running;
  info.kept = session.kept;
  info.created = record.started;
  info.lease = session.lease.value_or(kLease);
  info.lease_end = record.ends;
  info.image = std::move(record.template_id);
  return info;
}

// A sandbox through its envd, for whoever puts the agent there.
class EnvdShell final : public CloudShell {
 public:
  EnvdShell(ControlPlane& control, Envd envd, std::string id)
      : control_(control), envd_(std::move(envd)), id_(std::move(id)) {}

  asio::awaitable<ShellResult> run(std::string script, std::map<std::string, std::string> environment,
                                   Deadline deadline) override {
    return envd_.shell(std::move(script), std::move(environment), deadline);
  }

  asio::awaitable<void> put(std::string path, std::string content, Deadline deadline) override {
    return envd_.upload(std::move(path), std::move(content), Envd::Content::plain, deadline);
  }

  asio::awaitable<bool> put_unpacked(std::string path, std::string compressed, Deadline deadline) override {
    co_await envd_.upload(std::move(path), std::move(compressed), Envd::Content::gzip, deadline);
    co_return true;
  }

  asio::awaitable<void> require_sandbox(Deadline deadline) override {
    bool gone = false;
    try {
      (void)co_await control_.get(id_, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
      gone = true;
    }
    if (gone) {
      throw Error(ErrorCode::sandbox_dead,
                  "starting the agent in the sandbox " + id_ + " of e2b: the sandbox has ended");
    }
  }

 private:
  ControlPlane& control_;
  Envd envd_;
  const std::string id_;
};

class E2BProvider final : public Provider {
 public:
  E2BProvider(Engine& engine, std::shared_ptr<RestAccount> account)
      : engine_(engine),
        account_(std::move(account)),
        control_(account_),
        network_(engine.shared<HttpClient>()),
        credential_(account_->credential()) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "e2b"; }

  [[nodiscard]] Capabilities capabilities() const override {
    return {.default_lease = kLease, .outlives_client = "5 min, or its lease"};
  }

  [[nodiscard]] Account account() const override { return account_->account(); }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    Metadata filter{{kSidLabel, std::move(sid)}};
    const std::vector<SandboxRecord> records = co_await control_.list(std::move(filter), deadline);
    if (records.empty()) co_return std::nullopt;
    co_return SandboxId{records.front().id};
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    Metadata filter{{kOursLabel, "true"}};
    std::vector<SandboxRecord> records = co_await control_.list(std::move(filter), deadline);
    std::vector<SandboxInfo> infos;
    for (SandboxRecord& record : records) infos.push_back(to_info(std::move(record)));
    co_return infos;
  }

  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    SandboxRecord record = co_await control_.get(std::move(id.value), deadline);
    co_return to_info(std::move(record));
  }

  void check(const SandboxIntent& intent) const override {
    check_cloud_intent(name(), intent, account_->account());
    const std::string of_template = "its template decides that: choose another image";
    if (intent.memory_bytes) refuse_intent(name(), "its memory cannot be chosen", of_template);
    if (intent.disk_bytes) refuse_intent(name(), "its disk cannot be chosen", of_template);
  }

  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    check(intent);
    const std::string attempt = attempt_of(intent, engine_);
    NewSandbox wanted;
    wanted.template_id = intent.image.empty() ? kDefaultTemplate : intent.image;
    wanted.timeout = intent.lease.value_or(kLease);
    wanted.environment = intent.environment;
    wanted.internet = intent.network;
    wanted.metadata = to_labels({.sid = intent.sid,
                                 .kept = intent.keep,
                                 .lease = wanted.timeout,
                                 .working_dir = intent.working_dir,
                                 .attempt = attempt});
    std::optional<SandboxKeys> made;
    std::optional<Error> lost;
    try {
      made.emplace(co_await control_.create(wanted, deadline));
    } catch (const Error& error) {
      if (!may_have_happened(error)) throw;
      lost = error;
    }
    if (lost) made = co_await recover(wanted, attempt, *lost, deadline);
    SandboxId id{made->id};
    remember(std::move(*made), intent.working_dir, true);
    co_return co_await keep_oldest(engine_, *this, std::move(id), intent.sid, deadline);
  }

  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    const std::shared_ptr<Known> known = co_await known_of(id.value, deadline);
    if (!known->fresh) {
      AgentAccess access = access_to_agent(*known);
      const bool answers = co_await agent_answers(engine_, *network_, std::move(access), deadline);
      if (answers) co_return;
    }
    co_await launch(known, deadline);
    known->fresh = false;
  }

  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override {
    const std::shared_ptr<Known> known = co_await known_of(id.value, deadline);
    co_return access_to_agent(*known);
  }

  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    const std::shared_ptr<Known> known = co_await known_of(id.value, deadline);
    ExposedPort exposed;
    if (const Credential::Place* shared = credential_->endpoint("sandbox_url")) {
      exposed.url = shared->value;
      exposed.headers["E2b-Sandbox-Id"] = Secret(known->keys.id);
      exposed.headers["E2b-Sandbox-Port"] = Secret(std::to_string(port));
    } else {
      exposed.url = fmt::format("https://{}-{}.{}", port, known->keys.id, domain_of(known->keys));
    }
    if (!known->keys.traffic_token.empty()) {
      exposed.headers["E2B-Traffic-Access-Token"] = known->keys.traffic_token.clone();
    }
    co_return exposed;
  }

  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id, std::chrono::seconds lease,
                                                               Deadline deadline) override {
    // Another client may have lengthened it further; the API would take what it is told last.
    const SandboxRecord record = co_await control_.get(id.value, deadline);
    const auto end = engine_.system_now() + lease;
    if (!record.paused && record.ends && *record.ends >= end) co_return *record.ends;
    co_await control_.set_timeout(std::move(id.value), lease, deadline);
    co_return end;
  }

  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override {
    std::optional<Error> conflict;
    try {
      co_await control_.pause(id.value, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
      conflict = error;
    }
    if (!conflict) co_return;
    const SandboxRecord record = co_await control_.get(id.value, deadline);
    if (!record.paused) throw_error(*conflict);  // else it is what was wanted
  }

  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override {
    const SandboxRecord record = co_await control_.get(id.value, deadline);
    if (!record.paused) co_return;
    SandboxKeys keys = co_await control_.connect(id.value, lease_of(record.metadata), deadline);
    remember(std::move(keys), session_of(record.metadata).working_dir, false);
  }

  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    try {
      co_await control_.kill(id.value, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
    }
    const std::lock_guard lock(mutex_);
    known_.erase(id.value);
  }

 private:
  // What is known of a sandbox since it was created, or connected to.
  struct Known {
    SandboxKeys keys;
    std::string working_dir;
    bool fresh = false;  // made by us, and no agent started yet
  };

  void remember(SandboxKeys keys, const std::string& working_dir, bool fresh) {
    const std::string id = keys.id;
    // The agent's key is derived from it: without, everybody would have it.
    if (keys.envd_token.empty()) {
      throw Error(
          ErrorCode::unsupported,
          "reaching the sandbox " + id +
              " of e2b: it has no token of its own; it was made without `secure`, or its server knows "
              "no such sandboxes");
    }
    auto known = std::make_shared<Known>();
    known->keys = std::move(keys);
    known->working_dir = working_dir;
    known->fresh = fresh;
    const std::lock_guard lock(mutex_);
    known_[id] = std::move(known);
  }

  std::shared_ptr<Known> lookup(const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(id);
    return found == known_.end() ? nullptr : found->second;
  }

  // Its tokens: of a sandbox that somebody else made, they are got by connecting to it.
  asio::awaitable<std::shared_ptr<Known>> known_of(std::string id, Deadline deadline) {
    if (std::shared_ptr<Known> known = lookup(id)) co_return known;
    const SandboxRecord record = co_await control_.get(id, deadline);
    // Connecting only ever lengthens the life of one that runs, so the shortest time changes nothing.
    const std::chrono::seconds timeout = record.paused ? lease_of(record.metadata) : 1s;
    SandboxKeys keys = co_await control_.connect(id, timeout, deadline);
    remember(std::move(keys), session_of(record.metadata).working_dir, false);
    co_return lookup(id);
  }

  // A create whose answer was lost: its sandbox is looked for before anything is made again, and of two only
  // one stays.
  asio::awaitable<SandboxKeys> recover(NewSandbox wanted, std::string attempt, Error lost,
                                       Deadline deadline) {
    const Metadata filter{{kAttemptLabel, attempt}};
    const auto look = [&]() -> asio::awaitable<std::optional<SandboxKeys>> {
      const std::vector<SandboxRecord> found = co_await control_.list(filter, deadline);
      if (found.empty()) co_return std::nullopt;
      co_return co_await control_.connect(found.front().id, wanted.timeout, deadline);
    };
    const auto create = [&] { return control_.create(wanted, deadline); };
    auto recovered = co_await recover_create<SandboxKeys>(engine_, look, create, lost, deadline);
    if (!recovered.again) co_return std::move(recovered.made);
    const std::vector<SandboxRecord> all = co_await control_.list(filter, deadline);
    for (const SandboxRecord& record : all) {
      if (record.id != recovered.made.id) co_await control_.kill(record.id, deadline);
    }
    co_return std::move(recovered.made);
  }

  [[nodiscard]] std::string domain_of(const SandboxKeys& keys) const {
    if (!keys.domain.empty()) return keys.domain;
    const Credential::Place* domain = credential_->endpoint("domain");
    return domain != nullptr ? domain->value : "e2b.app";
  }

  [[nodiscard]] PortAccess access_to(const SandboxKeys& keys, std::uint16_t port) const {
    HttpHeaders routing;
    routing.set("E2b-Sandbox-Id", keys.id);
    routing.set("E2b-Sandbox-Port", std::to_string(port));
    const std::string domain = domain_of(keys);
    if (const Credential::Place* shared = credential_->endpoint("sandbox_url")) {
      return {Endpoint::parse(shared->value, "sandbox_url"), std::move(routing)};
    }
    if (std::find(kSharedDomains.begin(), kSharedDomains.end(), domain) != kSharedDomains.end()) {
      return {Endpoint::parse("https://sandbox." + domain, "the address of e2b's sandboxes"),
              std::move(routing)};
    }
    const std::string host = fmt::format("https://{}-{}.{}", port, keys.id, domain);
    return {Endpoint::parse(host, "the address of a sandbox of e2b"), HttpHeaders()};
  }

  [[nodiscard]] AgentAccess access_to_agent(const Known& known) const {
    PortAccess access = access_to(known.keys, kCloudAgentPort);
    if (!known.keys.traffic_token.empty()) {
      access.headers.set("E2B-Traffic-Access-Token", known.keys.traffic_token);
    }
    return {.endpoint = std::move(access.endpoint),
            .session_key = derived_session_key(known.keys.envd_token),
            .headers = std::move(access.headers)};
  }

  asio::awaitable<void> launch(std::shared_ptr<Known> known, Deadline deadline) {
    Envd envd(network_, access_to(known->keys, kEnvdPort), known->keys.envd_token.clone());
    EnvdShell shell(control_, std::move(envd), known->keys.id);
    Secret key = derived_session_key(known->keys.envd_token);
    co_await start_cloud_agent(engine_, shell, std::move(key), known->working_dir, "the sandbox of e2b",
                               deadline);
  }

  Engine& engine_;
  const std::shared_ptr<RestAccount> account_;
  ControlPlane control_;
  const std::shared_ptr<HttpTransport> network_;
  const std::shared_ptr<const Credential> credential_;  // for its places; the key may change, they may not

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Known>> known_;  // by id; guarded by mutex_
};

}  // namespace

std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig&,
                               const std::shared_ptr<AuthenticatedAccount>& account) {
  return std::make_shared<E2BProvider>(engine, std::dynamic_pointer_cast<RestAccount>(account));
}

}  // namespace sandkey::e2b
