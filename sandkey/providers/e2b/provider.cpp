#include "sandkey/providers/e2b/provider.h"

#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/e2b/control_plane.h"
#include "sandkey/providers/e2b/envd.h"
#include "sandkey/runtime/agent_launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <mutex>
#include <utility>

namespace sandkey::e2b {
namespace {

using namespace std::chrono_literals;

// How long a sandbox lives that nobody renews; it is renewed while a runtime is connected.
constexpr std::chrono::seconds kLease = 5min;

// Our labels, in the metadata of a sandbox.
constexpr char kOurs[] = "sandkey";  // "true": it is one of ours
constexpr char kSid[] = "sandkey-sid";
constexpr char kKept[] = "sandkey-kept";
constexpr char kLeaseLabel[] = "sandkey-lease";
constexpr char kDirectory[] = "sandkey-directory";  // the agent's working directory
constexpr char kAttempt[] = "sandkey-attempt";      // by which the sandbox of one create() is found again

constexpr char kDefaultTemplate[] = "base";

// On these one host serves all sandboxes, told apart by headers, and so one connection does.
constexpr std::array<std::string_view, 4> kSharedDomains{"e2b.app", "e2b.dev", "e2b.pro", "e2b-staging.dev"};

std::chrono::seconds lease_of(const Metadata& metadata) {
  const auto label = metadata.find(kLeaseLabel);
  long long seconds = 0;
  if (label != metadata.end()) {
    const std::string& text = label->second;
    std::from_chars(text.data(), text.data() + text.size(), seconds);
  }
  return seconds > 0 ? std::chrono::seconds(seconds) : kLease;
}

std::string directory_of(const Metadata& metadata) {
  const auto label = metadata.find(kDirectory);
  return label != metadata.end() && !label->second.empty() ? label->second : "/workspace";
}

SandboxInfo to_info(SandboxRecord record) {
  SandboxInfo info;
  info.id = {std::move(record.id)};
  info.sid = record.metadata[kSid];
  info.state = record.paused ? SandboxState::paused : SandboxState::running;
  info.kept = record.metadata[kKept] == "true";
  info.created = record.started;
  info.lease = lease_of(record.metadata);
  info.lease_end = record.ends;
  info.image = std::move(record.template_id);
  return info;
}

// Whether the request may have been carried out though it failed.
bool is_ambiguous(const Error& error) {
  return error.context().processed != Processed::no && error.code() != ErrorCode::cancelled;
}

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
    Metadata filter{{kSid, std::move(sid)}};
    const std::vector<SandboxRecord> records = co_await control_.list(std::move(filter), deadline);
    if (records.empty()) co_return std::nullopt;
    co_return SandboxId{records.front().id};
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    Metadata filter{{kOurs, "true"}};
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
    const auto refuse = [](const std::string& what, const std::string& instead) {
      throw Error(ErrorCode::unsupported, "creating a sandbox at e2b: " + what + "; " + instead,
                  {.provider = "e2b",
                   .operation = "create",
                   .phase = {},
                   .request_id = {},
                   .processed = Processed::no});
    };
    if (!intent.workspace.empty()) {
      refuse("a folder of this machine cannot be its workspace", "copy the folder in (sandkey cp)");
    }
    const std::string of_template = "its template decides that: choose another image";
    if (intent.memory_bytes) refuse("its memory cannot be chosen", of_template);
    if (intent.disk_bytes) refuse("its disk cannot be chosen", of_template);
    if (intent.processes) refuse("its processes cannot be limited", "leave the limit out");
    if (const std::string& blocked = account_->account().blocked; !blocked.empty()) {
      throw AuthenticationError(ErrorCode::permission_denied, "creating a sandbox at e2b: " + blocked);
    }
  }

  asio::awaitable<SandboxId> create(SandboxIntent intent, Deadline deadline) override {
    check(intent);
    const std::string attempt = fmt::format("{:016x}", engine_.random());
    NewSandbox wanted;
    wanted.template_id = intent.image.empty() ? kDefaultTemplate : intent.image;
    wanted.timeout = intent.lease.value_or(kLease);
    wanted.environment = intent.environment;
    wanted.internet = intent.network;
    wanted.metadata = {{kOurs, "true"},
                       {kSid, intent.sid},
                       {kKept, intent.keep ? "true" : "false"},
                       {kLeaseLabel, std::to_string(wanted.timeout.count())},
                       {kDirectory, intent.working_dir},
                       {kAttempt, attempt}};
    std::optional<SandboxKeys> made;
    std::optional<Error> lost;
    try {
      made.emplace(co_await control_.create(wanted, deadline));
    } catch (const Error& error) {
      if (!is_ambiguous(error)) throw;
      lost = error;
    }
    if (lost) made = co_await recover(wanted, attempt, *lost, deadline);
    SandboxId id{made->id};
    remember(std::move(*made), intent.working_dir, true);
    co_return co_await settle(std::move(id), intent.sid, deadline);
  }

  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    const std::shared_ptr<Known> known = co_await known_of(id.value, deadline);
    if (!known->fresh) {
      const bool answers = co_await agent_answers(*known, deadline);
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
    co_await control_.set_timeout(std::move(id.value), lease, deadline);
    co_return engine_.system_now() + lease;
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
    remember(std::move(keys), directory_of(record.metadata), false);
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
    remember(std::move(keys), directory_of(record.metadata), false);
    co_return lookup(id);
  }

  // A create whose answer was lost: its sandbox is looked for before anything is made again, and of two only
  // one stays.
  asio::awaitable<SandboxKeys> recover(NewSandbox wanted, std::string attempt, Error lost,
                                       Deadline deadline) {
    constexpr int kLooks = 5;
    std::chrono::milliseconds pause = 100ms;
    const Metadata filter{{kAttempt, attempt}};
    for (int look = 0; look < kLooks; ++look) {
      if (engine_.in(pause) >= deadline) throw_error(lost);
      co_await engine_.sleep_for(pause);
      pause *= 2;
      const std::vector<SandboxRecord> found = co_await control_.list(filter, deadline);
      if (found.empty()) continue;
      co_return co_await control_.connect(found.front().id, wanted.timeout, deadline);
    }
    SandboxKeys made = co_await control_.create(std::move(wanted), deadline);
    const std::vector<SandboxRecord> all = co_await control_.list(filter, deadline);
    for (const SandboxRecord& record : all) {
      if (record.id != made.id) co_await control_.kill(record.id, deadline);
    }
    co_return made;
  }

  // Two who create one session's sandbox at once, perhaps on two machines, end up in the older one.
  asio::awaitable<SandboxId> settle(SandboxId own, std::string sid, Deadline deadline) {
    const std::optional<SandboxId> oldest = co_await find(std::move(sid), deadline);
    if (!oldest || *oldest == own) co_return own;
    co_await destroy(own, deadline);
    co_return *oldest;
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

  // Whether the agent runs and takes our key.
  asio::awaitable<bool> agent_answers(const Known& known, Deadline deadline) {
    AgentAccess access = access_to_agent(known);
    HttpRequest request;
    request.url = access.endpoint.url("/sandkey/v1/hello");
    request.headers = std::move(access.headers);
    request.headers.set("X-Session-API-Key", access.session_key);
    request.operation = "asking whether the agent runs";
    request.deadline = std::min(deadline, engine_.in(5s));
    int status = 0;
    try {
      const HttpResponse response = co_await network_->send(std::move(request));
      status = response.status;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
    }
    co_return status == 200;
  }

  asio::awaitable<void> launch(std::shared_ptr<Known> known, Deadline deadline) {
    Engine& engine = engine_;
    const std::shared_ptr<const AgentProgram> program =
        co_await run_blocking([&engine] { return agent_program(engine); });
    const AgentLaunch script = agent_launch(*program, derived_session_key(known->keys.envd_token),
                                            known->working_dir, engine_.random());
    Envd envd(network_, access_to(known->keys, kEnvdPort), known->keys.envd_token.clone());
    LaunchOutcome outcome = co_await run_script(envd, known->keys.id, script, deadline);
    if (outcome != LaunchOutcome::absent) co_return;
    co_await envd.upload(script.upload_path, program->compressed, deadline);
    outcome = co_await run_script(envd, known->keys.id, script, deadline);
    if (outcome == LaunchOutcome::absent) {
      throw Error(
          ErrorCode::unavailable,
          "starting the agent in the sandbox of e2b: it was uploaded, but is not there; is its disk full?");
    }
  }

  // The script does nothing twice, so it may be sent again when nobody answered, as can be in a sandbox's
  // first moments.
  asio::awaitable<LaunchOutcome> run_script(Envd& envd, std::string id, AgentLaunch script,
                                            Deadline deadline) {
    std::chrono::milliseconds pause = 50ms;
    for (;;) {
      std::optional<Error> failed;
      try {
        const ShellResult result = co_await envd.shell(script.script, script.environment, deadline);
        co_return launch_outcome(result.output, result.error_output, result.exit_code);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::unavailable || error.context().operation.empty()) throw;
        failed = error;
      }
      co_await require_sandbox(id, deadline);
      if (engine_.in(pause) >= deadline || pause > 2s) throw_error(*failed);
      co_await engine_.sleep_for(pause);
      pause *= 2;
    }
  }

  asio::awaitable<void> require_sandbox(std::string id, Deadline deadline) {
    bool gone = false;
    try {
      (void)co_await control_.get(id, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
      gone = true;
    }
    if (gone) {
      throw Error(ErrorCode::sandbox_dead,
                  "starting the agent in the sandbox " + id + " of e2b: the sandbox has ended");
    }
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
