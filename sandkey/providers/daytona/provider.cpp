#include "sandkey/providers/daytona/provider.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/daytona/control_plane.h"
#include "sandkey/providers/daytona/toolbox.h"
#include "sandkey/runtime/agent_launch.h"
#include "sandkey/runtime/cloud_agent.h"
#include "sandkey/runtime/cloud_intent.h"
#include "sandkey/runtime/session_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace sandkey::daytona {
namespace {

using namespace std::chrono_literals;

// How long a sandbox lives that nobody renews and nothing reaches; it is renewed while a runtime is
// connected.
constexpr std::chrono::seconds kLease = 5min;
// One that was paused is kept so long before Daytona deletes it, and costs less after the first hour.
constexpr std::chrono::minutes kPausedLife = 24h * 7;
constexpr std::chrono::minutes kBeforeArchive = 1h;

constexpr std::chrono::milliseconds kFirstLook = 100ms;
constexpr std::chrono::milliseconds kLongestLook = 1s;
constexpr std::chrono::seconds kCleanUp = 10s;

// Daytona counts in whole minutes, and 0 would be for ever.
std::chrono::minutes in_minutes(std::chrono::seconds lease) {
  return std::max(std::chrono::ceil<std::chrono::minutes>(lease), std::chrono::minutes(1));
}

// What people call an image is a snapshot of Daytona's or an image of a registry, and names of both kinds
// look alike. "snapshot:" and "image:" before it say which; else one with a tag or a path is an image.
struct Source {
  std::string snapshot = {};
  std::string image = {};
};

Source source_of(const std::string& wanted) {
  constexpr std::string_view kSnapshot = "snapshot:";
  constexpr std::string_view kImage = "image:";
  if (wanted.starts_with(kSnapshot)) return {.snapshot = wanted.substr(kSnapshot.size())};
  if (wanted.starts_with(kImage)) return {.image = wanted.substr(kImage.size())};
  if (wanted.find_first_of(":/@") != std::string::npos) return {.image = wanted};
  return {.snapshot = wanted};
}

unsigned gibibytes(std::uint64_t bytes) {
  constexpr std::uint64_t kGib = std::uint64_t{1} << 30;
  return static_cast<unsigned>(std::max<std::uint64_t>((bytes + kGib - 1) / kGib, 1));
}

SandboxState state_of(Stage stage) {
  switch (stage) {
    case Stage::running:
      return SandboxState::running;
    case Stage::changing:
      return SandboxState::starting;
    case Stage::asleep:
    case Stage::recoverable:
      return SandboxState::paused;  // who resumes it, has it recovered
    case Stage::broken:
    case Stage::gone:
      break;
  }
  return SandboxState::ended;
}

SandboxInfo to_info(const SandboxRecord& record) {
  SessionLabels session = session_of(record.labels);
  SandboxInfo info;
  info.id = {record.id};
  info.sid = std::move(session.sid);
  info.attempt = std::move(session.attempt);
  info.state = state_of(record.stage);
  info.kept = session.kept;
  info.created = record.created;
  info.lease = record.auto_stop ? std::chrono::seconds(*record.auto_stop) : session.lease.value_or(kLease);
  if (info.state != SandboxState::paused && record.auto_stop && record.last_activity)
    info.lease_end = *record.last_activity + *record.auto_stop;
  info.image = record.snapshot;
  return info;
}

// A sandbox through its toolbox, for whoever puts the agent there.
class ToolboxShell final : public CloudShell {
 public:
  ToolboxShell(ControlPlane& control, Toolbox toolbox, std::string id)
      : control_(control), toolbox_(std::move(toolbox)), id_(std::move(id)) {}

  asio::awaitable<ShellResult> run(std::string script, std::map<std::string, std::string> environment,
                                   Deadline deadline) override {
    return toolbox_.shell(std::move(script), std::move(environment), deadline);
  }

  asio::awaitable<void> put(std::string path, std::string content, Deadline deadline) override {
    return toolbox_.put(std::move(path), std::move(content), deadline);
  }

  asio::awaitable<void> require_sandbox(Deadline deadline) override {
    Stage stage = Stage::gone;
    try {
      const SandboxRecord record = co_await control_.get(id_, deadline);
      stage = record.stage;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
    }
    if (state_of(stage) != SandboxState::ended) co_return;
    throw Error(ErrorCode::sandbox_dead,
                "starting the agent in the sandbox " + id_ + " of daytona: the sandbox has ended");
  }

 private:
  ControlPlane& control_;
  Toolbox toolbox_;
  const std::string id_;
};

class DaytonaProvider final : public Provider {
 public:
  DaytonaProvider(Engine& engine, std::shared_ptr<RestAccount> account)
      : engine_(engine),
        account_(std::move(account)),
        control_(account_),
        network_(engine.shared<HttpClient>()),
        credential_(account_->credential()) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "daytona"; }

  [[nodiscard]] Capabilities capabilities() const override {
    return {.pause_keeps_processes = false,
            .default_lease = kLease,
            .outlives_client = "5 min, or its lease, after its last traffic"};
  }

  [[nodiscard]] Account account() const override { return account_->account(); }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    const std::string name = sandbox_name(sid);
    const std::optional<SandboxRecord> named = co_await look_up(name, deadline);
    if (named && session_of(named->labels).sid == sid) co_return SandboxId{named->id};
    // One that somebody renamed, or gave the label.
    Labels filter{{kSidLabel, std::move(sid)}};
    const std::vector<SandboxRecord> labelled = co_await control_.list(std::move(filter), deadline);
    for (const SandboxRecord& record : labelled) {
      if (state_of(record.stage) != SandboxState::ended) co_return SandboxId{record.id};
    }
    co_return std::nullopt;
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    Labels filter{{kOursLabel, "true"}};
    const std::vector<SandboxRecord> records = co_await control_.list(std::move(filter), deadline);
    std::vector<SandboxInfo> infos;
    for (const SandboxRecord& record : records) infos.push_back(to_info(record));
    co_return infos;
  }

  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    const SandboxRecord record = co_await control_.get(std::move(id.value), deadline);
    SandboxInfo info = to_info(record);
    if (!record.error_reason.empty())
      info.remarks.push_back(record.state + ": " + account_->quoted(record.error_reason));
    co_return info;
  }

  void check(const SandboxIntent& intent) const override {
    check_cloud_intent(name(), intent, account_->account());
    if ((intent.memory_bytes || intent.disk_bytes) && source_of(intent.image).image.empty()) {
      refuse_intent(name(), "its snapshot decides its memory and its disk",
                    "choose another snapshot, or an image of a registry such as debian:12");
    }
  }

  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    check(intent);
    const std::string attempt = attempt_of(intent, engine_);
    NewSandbox wanted = wanted_of(intent, attempt);
    const SandboxRecord made = co_await make(std::move(wanted), intent.sid, deadline);
    const bool own = session_of(made.labels).attempt == attempt;
    std::optional<Error> failed;
    try {
      (void)co_await started(made.id, deadline);
    } catch (const Error& error) {
      failed = error;
    }
    if (!failed) {
      const std::lock_guard lock(mutex_);
      if (own) fresh_.insert(made.id);
      co_return CreatedSandbox{.id = {made.id}, .own = own};
    }
    // One that never ran is of no use to anybody, and would still be in the way of the next by its name.
    if (own) co_await try_to_remove(made.id);
    throw_error(*failed);
  }

  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    const SandboxRecord record = co_await started(id.value, deadline);
    const Preview preview = co_await control_.preview(record.id, kCloudAgentPort, deadline);
    const bool is_fresh = take_fresh(record.id);
    if (!is_fresh) {
      AgentAccess access = access_to_agent(preview);
      const bool answers = co_await agent_answers(engine_, *network_, std::move(access), deadline);
      if (answers) co_return;
    }
    std::string url = record.toolbox_url;
    if (url.empty()) url = co_await control_.toolbox_url(record.id, deadline);
    while (url.ends_with('/')) url.pop_back();
    Endpoint toolbox_address = private_address(url + "/" + record.id, "daytona's toolbox");
    Toolbox toolbox(network_, std::move(toolbox_address), preview.token.clone());
    ToolboxShell shell(control_, std::move(toolbox), record.id);
    Secret key = derived_session_key(preview.token);
    std::string working_dir = session_of(record.labels).working_dir;
    co_await start_cloud_agent(engine_, shell, std::move(key), std::move(working_dir),
                               "the sandbox of daytona", deadline);
  }

  // Asked for anew each time: its token is another one after every start.
  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override {
    const Preview preview = co_await control_.preview(std::move(id.value), kCloudAgentPort, deadline);
    co_return access_to_agent(preview);
  }

  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    Preview preview = co_await control_.preview(std::move(id.value), port, deadline);
    (void)private_address(preview.url, "a port of a sandbox of daytona");
    ExposedPort exposed{.url = std::move(preview.url)};
    exposed.headers["X-Daytona-Preview-Token"] = std::move(preview.token);
    co_return exposed;
  }

  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id, std::chrono::seconds lease,
                                                               Deadline deadline) override {
    // Another client may have lengthened it further, or have it never stop.
    const SandboxRecord record = co_await control_.get(id.value, deadline);
    const std::chrono::minutes wanted = in_minutes(lease);
    if (record.auto_stop && *record.auto_stop < wanted) {
      co_await control_.set_auto_stop(id.value, wanted, deadline);
    }
    co_await control_.touch(id.value, deadline);
    co_return engine_.system_now() + std::max(wanted, record.auto_stop.value_or(wanted));
  }

  // Its processes end; its files stay.
  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override {
    // First, or stopping would delete it.
    co_await control_.set_auto_delete(id.value, kPausedLife, deadline);
    (void)co_await until_stage(std::move(id.value), Stage::asleep, Stage::running, &ControlPlane::stop,
                               deadline);
  }

  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override {
    (void)co_await started(id.value, deadline);
    co_await control_.set_auto_delete(id.value, 0min, deadline);
  }

  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    std::chrono::milliseconds pause = kFirstLook;
    for (;;) {
      std::optional<Error> busy;
      try {
        co_await control_.remove(id.value, deadline);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::not_found) co_return;
        if (error.code() != ErrorCode::conflict) throw;
        busy = error;  // it is on its way to another state
      }
      if (!busy) co_return;
      if (engine_.in(pause) >= deadline) throw_error(*busy);
      co_await engine_.sleep_for(pause);
      pause = std::min(pause * 2, kLongestLook);
    }
  }

 private:
  using Act = asio::awaitable<void> (ControlPlane::*)(std::string id, Deadline deadline);

  [[nodiscard]] NewSandbox wanted_of(const SandboxIntent& intent, const std::string& attempt) const {
    Source source = source_of(intent.image);
    const std::chrono::seconds lease = intent.lease.value_or(kLease);
    NewSandbox wanted;
    wanted.name = sandbox_name(intent.sid);
    wanted.snapshot = std::move(source.snapshot);
    if (!source.image.empty()) wanted.dockerfile = "FROM " + source.image + "\n";
    if (const Credential::Place* target = credential_->setting("target")) wanted.target = target->value;
    wanted.environment = intent.environment;
    wanted.labels = to_labels({.sid = intent.sid,
                               .kept = intent.keep,
                               .lease = lease,
                               .working_dir = intent.working_dir,
                               .attempt = attempt});
    if (intent.network) wanted.block_network = !*intent.network;
    if (intent.memory_bytes) wanted.memory_gib = gibibytes(*intent.memory_bytes);
    if (intent.disk_bytes) wanted.disk_gib = gibibytes(*intent.disk_bytes);
    wanted.auto_stop = in_minutes(lease);
    wanted.auto_archive = kBeforeArchive;
    wanted.auto_delete = 0min;  // when its lease is over, it is gone
    return wanted;
  }

  asio::awaitable<std::optional<SandboxRecord>> look_up(std::string name, Deadline deadline) {
    try {
      SandboxRecord record = co_await control_.get(std::move(name), deadline);
      co_return record;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
    }
    co_return std::nullopt;
  }

  // The session's sandbox: the one that is made, or the one of its name that a lost answer or somebody else
  // has made meanwhile.
  asio::awaitable<SandboxRecord> make(NewSandbox wanted, std::string sid, Deadline deadline) {
    constexpr int kAttempts = 3;
    for (int attempt = 1;; ++attempt) {
      std::optional<Error> failed;
      try {
        SandboxRecord made = co_await control_.create(wanted, deadline);
        co_return made;
      } catch (const Error& error) {
        // The name is taken; or nobody knows.
        if (error.code() != ErrorCode::conflict && !may_have_happened(error)) throw;
        failed = error;
      }
      const std::optional<SandboxRecord> found = co_await look_up(wanted.name, deadline);
      if (found) {
        if (session_of(found->labels).sid != sid) throw_error(*failed);
        if (state_of(found->stage) != SandboxState::ended) co_return *found;
        SandboxId broken{found->id};
        co_await destroy(std::move(broken), deadline);
      }
      if (attempt == kAttempts) throw_error(*failed);
    }
  }

  // Returns when it runs; starts it where it sleeps. Throws Error(sandbox_dead) saying why it cannot.
  asio::awaitable<SandboxRecord> started(std::string id, Deadline deadline) {
    return until_stage(std::move(id), Stage::running, Stage::asleep, &ControlPlane::start, deadline);
  }

  // Waits until it is `wanted`, and does `act` to it whenever it rests in `from`.
  asio::awaitable<SandboxRecord> until_stage(std::string id, Stage wanted, Stage from, Act act,
                                             Deadline deadline) {
    std::chrono::milliseconds pause = kFirstLook;
    bool recovered = false;
    for (;;) {
      const SandboxRecord record = co_await control_.get(id, deadline);
      if (record.stage == wanted) co_return record;
      if (record.stage == Stage::recoverable && !recovered) {
        recovered = true;
        co_await control_.recover(record.id, deadline);
        continue;
      }
      if (record.stage == Stage::broken || record.stage == Stage::recoverable ||
          record.stage == Stage::gone) {
        const std::string reason = account_->quoted(record.error_reason);
        throw Error(ErrorCode::sandbox_dead,
                    fmt::format("waiting for the sandbox {} of daytona: its state is {}{}{}", id,
                                record.state, reason.empty() ? "" : ": ", reason));
      }
      if (record.stage == from) {
        try {
          co_await (control_.*act)(record.id, deadline);
        } catch (const Error& error) {
          // Somebody else has begun to change it.
          if (error.code() != ErrorCode::conflict) throw;
        }
      }
      if (engine_.in(pause) >= deadline) {
        throw Error(ErrorCode::deadline_exceeded,
                    fmt::format("waiting for the sandbox {} of daytona: it is still {}", id, record.state));
      }
      co_await engine_.sleep_for(pause);
      pause = std::min(pause * 2, kLongestLook);
    }
  }

  asio::awaitable<void> try_to_remove(std::string id) {
    SandboxId useless{std::move(id)};
    try {
      co_await destroy(std::move(useless), engine_.in(kCleanUp));
    } catch (const Error& error) {
      // What failed before is what is to be told; its own time limits end it.
      if (error.code() == ErrorCode::cancelled) throw;
    }
  }

  bool take_fresh(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return fresh_.erase(id) != 0;
  }

  // The sandbox's token goes there, so not unencrypted, unless all of Daytona is on this machine.
  [[nodiscard]] Endpoint private_address(const std::string& url, const std::string& what) const {
    const Credential::Place* api = credential_->endpoint("api_url");
    Endpoint address = Endpoint::parse(url, "the address of " + what);
    const bool api_is_plain = api != nullptr && !Endpoint::parse(api->value, "api_url").is_https();
    if (address.is_https() || address.is_loopback() || api_is_plain) return address;
    throw Error(ErrorCode::protocol, "reaching " + what + ": its address is not encrypted, and the API's is");
  }

  [[nodiscard]] AgentAccess access_to_agent(const Preview& preview) const {
    HttpHeaders headers;
    headers.set("X-Daytona-Preview-Token", preview.token);
    return {.endpoint = private_address(preview.url, "a sandbox of daytona"),
            .session_key = derived_session_key(preview.token),
            .headers = std::move(headers)};
  }

  Engine& engine_;
  const std::shared_ptr<RestAccount> account_;
  ControlPlane control_;
  const std::shared_ptr<HttpTransport> network_;
  const std::shared_ptr<const Credential> credential_;  // for its places; the key may change, they may not

  std::mutex mutex_;
  std::set<std::string> fresh_;  // ids: made by us, and no agent started yet; guarded by mutex_
};

}  // namespace

std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig&,
                               const std::shared_ptr<AuthenticatedAccount>& account) {
  return std::make_shared<DaytonaProvider>(engine, std::dynamic_pointer_cast<RestAccount>(account));
}

}  // namespace sandkey::daytona
