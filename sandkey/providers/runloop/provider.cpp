#include "sandkey/providers/runloop/provider.h"

#include "sandkey/accounts/rest_account.h"
#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/runloop/devbox_shell.h"
#include "sandkey/providers/runloop/devboxes.h"
#include "sandkey/providers/runloop/launch.h"
#include "sandkey/runtime/agent_launch.h"
#include "sandkey/runtime/cloud_agent.h"
#include "sandkey/runtime/cloud_intent.h"
#include "sandkey/runtime/lost_create.h"
#include "sandkey/runtime/oldest_sandbox.h"
#include "sandkey/runtime/session_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>

namespace sandkey::runloop {
namespace {

using namespace std::chrono_literals;
using std::chrono::system_clock;

// How long a devbox lives that nobody renews; it is renewed while a runtime is connected.
constexpr std::chrono::seconds kLease = 5min;

// How long ending a devbox may take whose making failed.

// Half of what the agent's session key is made of; the other is the tunnel's token, which who may use a port
// is given, and which therefore must not be all.
constexpr char kSeedLabel[] = "sandkey-seed";

std::chrono::seconds lease_of(const Devbox& devbox) {
  return devbox.idle_time.value_or(session_of(devbox.metadata).lease.value_or(kLease));
}

SandboxState state_of(const Devbox& devbox) {
  switch (devbox.status) {
    case Status::starting:
    case Status::resuming:
      return SandboxState::starting;
    case Status::running:
      return SandboxState::running;
    case Status::suspending:
    case Status::suspended:
      return SandboxState::paused;
    case Status::failed:
    case Status::shut_down:
      break;
  }
  return SandboxState::ended;
}

bool is_paused(const Devbox& devbox) {
  return state_of(devbox) == SandboxState::paused;
}

Source source_of(const std::string& image) {
  if (image.starts_with("snp_")) return {.snapshot_id = image};
  if (image.starts_with("bpt_")) return {.blueprint_id = image};
  return {.blueprint_name = image};
}

// For people, in Runloop's lists; nothing finds a devbox by it.
std::string name_of(const std::string& sid) {
  constexpr std::size_t kMost = 64;
  std::string name = "sandkey-" + sid.substr(0, kMost);
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.';
    if (!plain && c != '_') c = '-';
  }
  return name;
}

class RunloopProvider final : public Provider {
 public:
  RunloopProvider(Engine& engine, std::shared_ptr<RestAccount> account)
      : engine_(engine),
        account_(std::move(account)),
        devboxes_(account_),
        network_(engine.shared<HttpClient>()),
        credential_(account_->credential()),
        api_(Endpoint::parse(credential_->endpoint("api_url")->value, "api_url")) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "runloop"; }

  [[nodiscard]] Capabilities capabilities() const override {
    return {.pause_keeps_processes = false,
            .fixed_lease = true,
            .network_switch = false,
            .default_lease = kLease,
            .outlives_client = "5 min, or its lease"};
  }

  [[nodiscard]] Account account() const override { return account_->account(); }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    Metadata filter{{kSidLabel, std::move(sid)}};
    const std::vector<Devbox> found = co_await devboxes_.list(std::move(filter), deadline);
    if (found.empty()) co_return std::nullopt;
    co_return SandboxId{found.front().id};
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    Metadata filter{{kOursLabel, "true"}};
    const std::vector<Devbox> found = co_await devboxes_.list(std::move(filter), deadline);
    std::vector<SandboxInfo> infos;
    for (const Devbox& devbox : found) infos.push_back(to_info(devbox));
    co_return infos;
  }

  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    const Devbox devbox = co_await living(std::move(id.value), deadline);
    co_return to_info(devbox);
  }

  void check(const SandboxIntent& intent) const override {
    check_cloud_intent(name(), intent, account_->account());
    if (intent.network == false) {
      refuse_intent(name(), "its network cannot be cut off", "choose a blueprint with a network policy");
    }
    (void)launch_of(intent, *credential_, intent.lease.value_or(kLease));
  }

  // Returns when Runloop knows of it; start_agent() waits until it runs.
  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    check(intent);
    const std::string attempt = attempt_of(intent, engine_);
    const std::string request_id = devboxes_.new_request_id();
    const NewDevbox wanted = new_devbox(intent, attempt);
    std::optional<Devbox> made;
    std::optional<Error> lost;
    try {
      made.emplace(co_await devboxes_.create(wanted, request_id, deadline));
    } catch (const Error& error) {
      if (!may_have_happened(error)) throw;
      lost = error;
    }
    if (lost) made.emplace(co_await recover(wanted, attempt, request_id, *lost, deadline));
    SandboxId id{made->id};
    remember(*made, true);
    co_return co_await keep_oldest(engine_, *this, std::move(id), intent.sid, deadline);
  }

  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    std::shared_ptr<Known> known = co_await known_of(id.value, deadline);
    if (!known->fresh) {
      AgentAccess access = access_to_agent(*known);
      const bool answers = co_await agent_answers(engine_, *network_, std::move(access), deadline);
      if (answers) co_return;
      // Perhaps because its tunnel is another one by now.
      forget(id.value);
      known = co_await known_of(id.value, deadline);
    }
    DevboxShell shell(devboxes_, id.value);
    Secret key = session_key(*known);
    co_await start_cloud_agent(engine_, shell, std::move(key), known->working_dir, "the sandbox of runloop",
                               deadline);
    known->fresh = false;
  }

  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override {
    const std::shared_ptr<Known> known = co_await known_of(std::move(id.value), deadline);
    co_return access_to_agent(*known);
  }

  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    const std::shared_ptr<Known> known = co_await known_of(std::move(id.value), deadline);
    ExposedPort exposed;
    exposed.url = address_of(known->tunnel, port);
    exposed.headers[kTunnelHeader] = Secret("Bearer " + std::string(known->tunnel.token.expose()));
    co_return exposed;
  }

  // Runloop lets the idle time begin anew; how long it is was said when the devbox was made. One that is
  // paused stays so.
  asio::awaitable<system_clock::time_point> renew(SandboxId id, std::chrono::seconds,
                                                  Deadline deadline) override {
    std::chrono::seconds length{};
    if (const std::shared_ptr<Known> known = lookup(id.value)) {
      length = known->lease;
    } else {
      const Devbox devbox = co_await living(id.value, deadline);
      length = lease_of(devbox);
    }
    co_await devboxes_.keep_alive(id.value, deadline);
    const system_clock::time_point now = engine_.system_now();
    const std::lock_guard lock(mutex_);
    renewed_[id.value] = now;
    co_return now + length;
  }

  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override {
    std::optional<Error> refused;
    try {
      co_await devboxes_.suspend(id.value, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict && error.code() != ErrorCode::invalid_argument) throw;
      refused = error;
    }
    if (refused) {
      const Devbox devbox = co_await devboxes_.get(id.value, deadline);
      if (!is_paused(devbox)) throw_error(*refused);  // else it is what was wanted
    }
    (void)co_await devboxes_.wait_until(id.value, Status::suspended, deadline);
    forget(id.value);
  }

  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override {
    const Devbox devbox = co_await living(id.value, deadline);
    if (is_paused(devbox)) co_await wake(id.value, devbox.status, deadline);
  }

  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    try {
      co_await devboxes_.shutdown(id.value, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::sandbox_dead) throw;
    }
    forget(id.value);
    const std::lock_guard lock(mutex_);
    renewed_.erase(id.value);
  }

 private:
  static constexpr char kTunnelHeader[] = "X-Runloop-Tunnel-Authorization";

  // What is known of a devbox that runs, or is about to.
  struct Known {
    Tunnel tunnel = {};
    std::string seed = {};
    std::string working_dir = {};
    std::chrono::seconds lease{};
    bool usable = false;              // it ran when it was last looked at, and has a tunnel
    std::atomic<bool> fresh = false;  // it was started by us, and our agent was not yet
  };

  [[nodiscard]] NewDevbox new_devbox(const SandboxIntent& intent, const std::string& attempt) const {
    const std::chrono::seconds lease = intent.lease.value_or(kLease);
    NewDevbox wanted;
    wanted.name = name_of(intent.sid);
    wanted.source = source_of(intent.image);
    wanted.environment = intent.environment;
    wanted.metadata = to_labels({.sid = intent.sid,
                                 .kept = intent.keep,
                                 .lease = lease,
                                 .working_dir = intent.working_dir,
                                 .attempt = attempt});
    wanted.metadata[kSeedLabel] = fmt::format("{:016x}{:016x}", engine_.random(), engine_.random());
    wanted.launch = launch_of(intent, *credential_, lease);
    return wanted;
  }

  [[nodiscard]] SandboxInfo to_info(const Devbox& devbox) {
    SessionLabels session = session_of(devbox.metadata);
    SandboxInfo info;
    info.id = {devbox.id};
    info.sid = std::move(session.sid);
    info.attempt = std::move(session.attempt);
    info.state = state_of(devbox);
    info.kept = session.kept;
    info.created = devbox.created;
    info.lease = lease_of(devbox);
    if (devbox.status == Status::running) info.lease_end = earliest_end(devbox);
    info.image = devbox.image;
    return info;
  }

  // Runloop does not tell when a devbox was last renewed, so this is what is certain: not before.
  system_clock::time_point earliest_end(const Devbox& devbox) {
    const system_clock::time_point now = engine_.system_now();
    system_clock::time_point begin = devbox.running_since.value_or(devbox.created.value_or(now));
    {
      const std::lock_guard lock(mutex_);
      const auto own = renewed_.find(devbox.id);
      if (own != renewed_.end()) begin = std::max(begin, own->second);
    }
    return std::max(now, begin + lease_of(devbox));
  }

  // It, unless it has ended.
  asio::awaitable<Devbox> living(std::string id, Deadline deadline) {
    Devbox devbox = co_await devboxes_.get(std::move(id), deadline);
    const std::string operation = "looking at the sandbox " + devbox.id + " of runloop";
    if (devbox.status == Status::failed) require_life(devbox, operation);
    if (has_ended(devbox)) {
      throw Error(ErrorCode::not_found,
                  operation + ": it has ended" + (devbox.why.empty() ? "" : ": " + devbox.why),
                  {.provider = "runloop",
                   .operation = operation,
                   .phase = {},
                   .request_id = {},
                   .processed = Processed::yes});
    }
    co_return std::move(devbox);
  }

  // Afterwards it runs, and nothing of ours in it.
  asio::awaitable<void> wake(std::string id, Status status, Deadline deadline) {
    forget(id);
    if (status == Status::suspending) {
      (void)co_await devboxes_.wait_until(id, Status::suspended, deadline);
    }
    std::optional<Error> refused;
    try {
      co_await devboxes_.resume(id, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict && error.code() != ErrorCode::invalid_argument) throw;
      refused = error;
    }
    if (refused) {
      const Devbox devbox = co_await devboxes_.get(id, deadline);
      if (is_paused(devbox)) throw_error(*refused);  // else somebody else woke it
    }
    const Devbox devbox = co_await devboxes_.wait_until(id, Status::running, deadline);
    remember(devbox, true);
  }

  void remember(const Devbox& devbox, bool fresh) {
    const SessionLabels session = session_of(devbox.metadata);
    const auto seed = devbox.metadata.find(kSeedLabel);
    auto known = std::make_shared<Known>();
    if (devbox.tunnel) known->tunnel = {devbox.tunnel->key, devbox.tunnel->token.clone()};
    if (seed != devbox.metadata.end()) known->seed = seed->second;
    known->working_dir = session.working_dir;
    known->lease = lease_of(devbox);
    known->fresh = fresh;
    known->usable = devbox.status == Status::running && devbox.tunnel;
    const std::lock_guard lock(mutex_);
    known_[devbox.id] = std::move(known);
  }

  std::shared_ptr<Known> lookup(const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(id);
    return found == known_.end() ? nullptr : found->second;
  }

  void forget(const std::string& id) {
    const std::lock_guard lock(mutex_);
    known_.erase(id);
  }

  // Of one that runs; it is waited for, and woken if it is paused.
  asio::awaitable<std::shared_ptr<Known>> known_of(std::string id, Deadline deadline) {
    const std::shared_ptr<Known> before = lookup(id);
    if (before && before->usable) co_return before;
    Devbox devbox;
    if (!before) devbox = co_await living(id, deadline);
    if (is_paused(devbox)) {
      co_await wake(id, devbox.status, deadline);
      const std::shared_ptr<Known> woken = lookup(id);
      if (woken && woken->usable) co_return woken;
    }
    if (devbox.status != Status::running)
      devbox = co_await devboxes_.wait_until(id, Status::running, deadline);
    if (!devbox.tunnel) devbox.tunnel = co_await devboxes_.enable_tunnel(id, deadline);
    if (devbox.tunnel->token.empty()) {
      throw Error(ErrorCode::conflict,
                  "reaching the sandbox " + id +
                      " of runloop: its tunnel lets everybody in, so somebody else has opened it; remove it "
                      "(remove_tunnel), and the next one is ours");
    }
    remember(devbox, before && before->fresh);
    co_return lookup(id);
  }

  // A create whose answer was lost: its devbox is looked for before anything is made again, and of two only
  // one stays. Should Runloop still know the request, it makes no second one anyway.
  asio::awaitable<Devbox> recover(NewDevbox wanted, std::string attempt, std::string request_id, Error lost,
                                  Deadline deadline) {
    const Metadata filter{{kAttemptLabel, attempt}};
    const auto look = [&]() -> asio::awaitable<std::optional<Devbox>> {
      std::vector<Devbox> found = co_await devboxes_.list(filter, deadline);
      if (found.empty()) co_return std::nullopt;
      co_return std::move(found.front());
    };
    const auto create = [&] { return devboxes_.create(wanted, request_id, deadline); };
    auto recovered = co_await recover_create<Devbox>(engine_, look, create, lost, deadline);
    if (!recovered.again) co_return std::move(recovered.made);
    const std::vector<Devbox> all = co_await devboxes_.list(filter, deadline);
    for (const Devbox& devbox : all) {
      if (devbox.id != recovered.made.id) co_await devboxes_.shutdown(devbox.id, deadline);
    }
    co_return std::move(recovered.made);
  }

  [[nodiscard]] std::string address_of(const Tunnel& tunnel, std::uint16_t port) const {
    if (api_.is_loopback()) {
      return fmt::format("{}://{}-{}.tunnel.localhost:{}", api_.is_https() ? "https" : "http", port,
                         tunnel.key, api_.port());
    }
    std::string_view domain = api_.host();
    if (domain.starts_with("api.")) domain.remove_prefix(4);
    return fmt::format("https://{}-{}.tunnel.{}", port, tunnel.key, domain);
  }

  [[nodiscard]] static Secret session_key(const Known& known) {
    return derived_session_key(Secret(std::string(known.tunnel.token.expose()) + "\n" + known.seed));
  }

  [[nodiscard]] AgentAccess access_to_agent(const Known& known) const {
    HttpHeaders headers;
    headers.set(kTunnelHeader, known.tunnel.token, "Bearer ");
    return {.endpoint = Endpoint::parse(address_of(known.tunnel, kCloudAgentPort),
                                        "the address of a sandbox of runloop"),
            .session_key = session_key(known),
            .headers = std::move(headers)};
  }

  Engine& engine_;
  const std::shared_ptr<RestAccount> account_;
  Devboxes devboxes_;
  const std::shared_ptr<HttpTransport> network_;
  const std::shared_ptr<const Credential> credential_;  // for its place and settings; only the key may change
  const Endpoint api_;

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Known>> known_;      // by id; guarded by mutex_
  std::map<std::string, system_clock::time_point> renewed_;  // by id, by us; guarded by mutex_
};

}  // namespace

std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig&,
                               const std::shared_ptr<AuthenticatedAccount>& account) {
  return std::make_shared<RunloopProvider>(engine, std::dynamic_pointer_cast<RestAccount>(account));
}

}  // namespace sandkey::runloop
