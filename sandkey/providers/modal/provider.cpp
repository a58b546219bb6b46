#include "sandkey/providers/modal/provider.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/net/http_client.h"
#include "sandkey/providers/modal/sandboxes.h"
#include "sandkey/providers/modal/task_router.h"
#include "sandkey/runtime/agent_launch.h"
#include "sandkey/runtime/cloud_agent.h"
#include "sandkey/runtime/cloud_intent.h"
#include "sandkey/runtime/session_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

namespace sandkey::modal {
namespace {

using namespace std::chrono_literals;

// A sandbox of Modal's has a longest life that nobody can lengthen, and this is the longest there is.
constexpr std::chrono::seconds kLongestLife = 24h;
// One that is not kept ends when nothing was done in it, and nobody connected to it, for this long.
constexpr std::chrono::seconds kIdleLife = 1h;
constexpr char kUsualImage[] = "python:3.12-slim-bookworm";
constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
constexpr std::uint64_t kLeastMemory = 128 * kMib;
constexpr std::chrono::seconds kToEnd = 10s;

// Of it the session key is derived. It is in the sandbox's environment, from where only those of the account
// can read it, and does not reach the agent.
constexpr char kSecretVariable[] = "SANDKEY_SANDBOX_SECRET";
constexpr char kReadSecret[] = "printf %s \"$SANDKEY_SANDBOX_SECRET\"";

// What a sandbox runs: it ends when the agent does. The agent comes later, by another way, and is no child of
// this. So it holds open a pipe that is read here, and whose end is the agent's (other shells open it, too,
// but then no agent was started yet: in an image of another sandbox's, its file lies there).
constexpr char kEntrypoint[] = R"script(umask 077
own=${HOME:-/tmp}/.sandkey
mkdir -p "$own"
rm -f "$own/pid"
[ -p "$own/life" ] || mkfifo "$own/life"
until [ -f "$own/pid" ]; do
  cat "$own/life" >/dev/null || sleep 1
done
)script";

// Before every command that may start the agent: it is to hold the pipe, and not to know the secret.
constexpr char kPrologue[] = R"script(unset SANDKEY_SANDBOX_SECRET
[ -d "${HOME:-/tmp}/.sandkey" ] || ( umask 077; mkdir -p "${HOME:-/tmp}/.sandkey" )
[ -p "${HOME:-/tmp}/.sandkey/life" ] || ( umask 077; mkfifo "${HOME:-/tmp}/.sandkey/life" 2>/dev/null )
exec 9<>"${HOME:-/tmp}/.sandkey/life"
)script";

constexpr char kPut[] = "umask 077; cd \"${HOME:-/tmp}\" && cat >\"$1\"";

SandboxInfo to_info(const SandboxRecord& record) {
  SessionLabels session = session_of(record.labels);
  SandboxInfo info;
  info.id = {record.id};
  info.sid = std::move(session.sid);
  info.attempt = std::move(session.attempt);
  info.state = record.started ? SandboxState::running : SandboxState::starting;
  info.kept = session.kept;
  info.created = record.created;
  info.lease = record.life;
  if (record.created && record.life) info.lease_end = *record.created + *record.life;
  info.image = record.image_id;
  return info;
}

// A sandbox through its worker, for whoever puts the agent there.
class RouterShell final : public CloudShell {
 public:
  RouterShell(Sandboxes& sandboxes, std::shared_ptr<TaskRouter> router, std::string id)
      : sandboxes_(sandboxes), router_(std::move(router)), id_(std::move(id)) {}

  asio::awaitable<ShellResult> run(std::string script, std::map<std::string, std::string> environment,
                                   Deadline deadline) override {
    RouterCommand command{.argv = {"sh", "-c", kPrologue + script},
                          .environment = std::move(environment),
                          .operation = "running a command in the sandbox of modal"};
    co_return co_await router_->run(std::move(command), deadline);
  }

  asio::awaitable<void> put(std::string path, std::string content, Deadline deadline) override {
    RouterCommand command{.argv = {"sh", "-c", kPut, "sh", std::move(path)},
                          .input = std::move(content),
                          .operation = "putting a file into the sandbox of modal"};
    const ShellResult result = co_await router_->run(std::move(command), deadline);
    if (result.exit_code == 0) co_return;
    constexpr std::size_t kMost = 300;
    throw Error(
        ErrorCode::unavailable,
        fmt::format("putting a file into the sandbox of modal: its shell ended with {} and said \"{}\"",
                    result.exit_code, result.error_output.substr(0, kMost)));
  }

  asio::awaitable<void> require_sandbox(Deadline deadline) override {
    const std::optional<SandboxEnd> end = co_await sandboxes_.end_of(id_, 0s, deadline);
    if (!end) co_return;
    throw Error(ErrorCode::sandbox_dead,
                "starting the agent in the sandbox " + id_ + " of modal: " + end->reason);
  }

 private:
  Sandboxes& sandboxes_;
  const std::shared_ptr<TaskRouter> router_;
  const std::string id_;
};

class ModalProvider final : public Provider {
 public:
  ModalProvider(Engine& engine, std::shared_ptr<ModalAccount> account)
      : engine_(engine),
        account_(std::move(account)),
        sandboxes_(std::make_shared<Sandboxes>(account_->control())),
        network_(engine.shared<HttpClient>()) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "modal"; }

  [[nodiscard]] Capabilities capabilities() const override {
    return {.pause = false,
            .renew = false,
            .default_lease = kLongestLife,
            .outlives_client = "1 h after its last use, or its lease"};
  }

  [[nodiscard]] Account account() const override { return account_->account(); }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    std::string name = sandbox_name(sid);
    std::optional<std::string> named = co_await sandboxes_->find_by_name(std::move(name), deadline);
    if (named) co_return SandboxId{std::move(*named)};
    // One that somebody renamed, or that is of the other back end.
    Labels filter{{kSidLabel, sid}};
    const std::vector<SandboxRecord> labelled = co_await sandboxes_->list(std::move(filter), deadline);
    const SandboxRecord* oldest = nullptr;
    for (const SandboxRecord& record : labelled) {
      if (session_of(record.labels).sid != sid) continue;  // its text goes on where that of `sid` ends
      if (oldest == nullptr || record.created < oldest->created) oldest = &record;
    }
    if (oldest == nullptr) co_return std::nullopt;
    co_return SandboxId{oldest->id};
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    Labels filter{{kOursLabel, "true"}};
    const std::vector<SandboxRecord> records = co_await sandboxes_->list(std::move(filter), deadline);
    std::vector<SandboxInfo> infos;
    for (const SandboxRecord& record : records) infos.push_back(to_info(record));
    std::ranges::sort(infos, {}, &SandboxInfo::created);
    co_return infos;
  }

  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    Labels labels = co_await sandboxes_->labels(id.value, deadline);
    const std::vector<SandboxRecord> alike = co_await sandboxes_->list(labels, deadline);
    const auto found = std::ranges::find(alike, id.value, &SandboxRecord::id);
    if (found != alike.end()) {
      SandboxInfo info = to_info(*found);
      info.remarks = account_->control()->take_warnings();
      co_return info;
    }
    const std::optional<SandboxEnd> end = co_await sandboxes_->end_of(id.value, 0s, deadline);
    if (end) {
      forget(id.value);
      throw Error(end->wanted ? ErrorCode::not_found : ErrorCode::sandbox_dead,
                  "looking at the sandbox " + id.value + " of modal: " + end->reason);
    }
    // It is of another app than ours.
    SandboxInfo info;
    info.sid = session_of(labels).sid;
    info.kept = session_of(labels).kept;
    info.id = std::move(id);
    co_return info;
  }

  void check(const SandboxIntent& intent) const override {
    check_cloud_intent(name(), intent, account_->account());
    if (intent.disk_bytes) refuse_intent(name(), "its disk cannot be limited", "leave the limit out");
    if (intent.memory_bytes && *intent.memory_bytes < kLeastMemory) {
      refuse_intent(name(), "it needs 128 MB of memory at least", "ask for more");
    }
    if (intent.lease && *intent.lease > kLongestLife) {
      refuse_intent(name(), "no sandbox of Modal's lives longer than 24 h", "ask for a shorter lease");
    }
  }

  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    check(intent);
    const std::string attempt = attempt_of(intent, engine_);
    NewSandbox wanted = wanted_of(intent, attempt);
    Secret secret = new_secret();
    wanted.environment[kSecretVariable] = secret.expose();
    std::optional<MadeSandbox> first = co_await make_of_image(wanted, intent, deadline);
    if (!first) {
      sandboxes_->forget_what_is_known();
      first = co_await make_of_image(wanted, intent, deadline);
    }
    if (!first) {
      throw Error(ErrorCode::not_found,
                  "creating a sandbox at modal: its app or its image is gone while it is made");
    }
    MadeSandbox made = std::move(*first);
    SandboxId id{made.id};
    const bool own = made.own;
    // Of one that was found, or has the first back end, the rest is asked for.
    const bool is_known = !made.task_id.empty();
    if (is_known) co_await remember(std::move(made), std::move(secret), intent.working_dir, deadline);
    co_return CreatedSandbox{.id = std::move(id), .own = own};
  }

  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    std::optional<std::string> working_dir = take_fresh(id.value);
    if (!working_dir) {
      AgentAccess access = co_await access_to_agent(id.value, deadline);
      const bool answers = co_await agent_answers(engine_, *network_, std::move(access), deadline);
      if (answers) co_return;
      const Labels labels = co_await sandboxes_->labels(id.value, deadline);
      working_dir = session_of(labels).working_dir;
    }
    std::shared_ptr<TaskRouter> router = co_await router_of(id.value, deadline);
    Secret key = co_await session_key(id.value, deadline);
    RouterShell shell(*sandboxes_, std::move(router), id.value);
    co_await start_cloud_agent(engine_, shell, std::move(key), std::move(*working_dir),
                               "the sandbox of modal", deadline);
    // Its connection has served its purpose; there is a limit to how many there can be.
    const std::lock_guard lock(mutex_);
    known_[id.value].router = nullptr;
  }

  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override {
    co_return co_await access_to_agent(std::move(id.value), deadline);
  }

  // Not by a port that is open to everybody, which would have to be known at creation, but by one that Modal
  // opens for who has a token.
  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    ConnectToken granted = co_await sandboxes_->connect_token(std::move(id.value), port, deadline);
    ExposedPort exposed{.url = std::move(granted.url)};
    exposed.headers["Authorization"] = Secret("Bearer " + std::string(granted.token.expose()));
    co_return exposed;
  }

  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId, std::chrono::seconds,
                                                               Deadline) override {
    refuse_to("renew the lease of", "its life is set when it is made; give it a lease then");
  }
  asio::awaitable<void> pause(SandboxId, Deadline) override {
    refuse_to("pause", "end it, and copy out what is to stay");
  }
  asio::awaitable<void> resume(SandboxId, Deadline) override { refuse_to("resume", "it never sleeps"); }

  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    forget(id.value);
    try {
      co_await sandboxes_->terminate(id.value, deadline);
      // Until then it has its name.
      (void)co_await sandboxes_->end_of(id.value, kToEnd, deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
    }
  }

 private:
  // What does not change as long as a sandbox lives. All of it can be asked for, and is by whoever did not
  // make the sandbox.
  struct Known {
    std::shared_ptr<TaskRouter> router;
    std::optional<Endpoint> agent;
    Secret secret;
    std::optional<std::string> working_dir;  // of one of ours in which no agent was started yet
  };

  [[noreturn]] static void refuse_to(const std::string& what, const std::string& why) {
    throw Error(
        ErrorCode::unsupported, "Modal cannot " + what + " a sandbox: " + why,
        {.provider = "modal", .operation = what, .phase = {}, .request_id = {}, .processed = Processed::no});
  }

  [[nodiscard]] Secret new_secret() const {
    return Secret(fmt::format("{:016x}{:016x}{:016x}{:016x}", engine_.random(), engine_.random(),
                              engine_.random(), engine_.random()));
  }

  [[nodiscard]] NewSandbox wanted_of(const SandboxIntent& intent, const std::string& attempt) const {
    const std::chrono::seconds life = intent.lease.value_or(kLongestLife);
    NewSandbox wanted;
    wanted.name = sandbox_name(intent.sid);
    wanted.entrypoint = {"sh", "-c", kEntrypoint};
    wanted.environment = intent.environment;
    wanted.labels = to_labels({.sid = intent.sid,
                               .kept = intent.keep,
                               .lease = life,
                               .working_dir = intent.working_dir,
                               .attempt = attempt});
    wanted.port = kCloudAgentPort;
    wanted.network = intent.network.value_or(true);
    if (intent.memory_bytes) wanted.memory_mib = (*intent.memory_bytes + kMib - 1) / kMib;
    wanted.life = life;
    wanted.idle_life = intent.keep ? life : std::min(life, kIdleLife);
    return wanted;
  }

  // Nothing where Modal does not know the app or the image (any more).
  asio::awaitable<std::optional<MadeSandbox>> make_of_image(NewSandbox wanted, const SandboxIntent& intent,
                                                            Deadline deadline) {
    std::string image = intent.image.empty() ? kUsualImage : intent.image;
    wanted.image_id = co_await sandboxes_->image(std::move(image), intent.progress, deadline);
    try {
      MadeSandbox made = co_await make(std::move(wanted), intent.sid, deadline);
      co_return made;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
    }
    co_return std::nullopt;
  }

  // The session's sandbox: the one that is made, or the one of its name that a lost answer or somebody else
  // has made meanwhile; of such a one only the id is known.
  asio::awaitable<MadeSandbox> make(NewSandbox wanted, std::string sid, Deadline deadline) {
    constexpr int kAttempts = 4;
    const std::string name = wanted.name;
    const std::string attempt = session_of(wanted.labels).attempt;
    std::chrono::milliseconds pause = 100ms;
    for (int turn = 1;; ++turn) {
      std::optional<Error> failed;
      // A request that was lost is sent again as the same one; one that was refused is another.
      if (wanted.key.empty()) wanted.key = random_uuid(engine_);
      try {
        MadeSandbox made = co_await sandboxes_->create(wanted, deadline);
        co_return made;
      } catch (const Error& error) {
        // The name is taken; or nobody knows.
        if (error.code() != ErrorCode::conflict && !may_have_happened(error)) throw;
        failed = error;
      }
      if (failed->code() == ErrorCode::conflict) {
        wanted.key.clear();
      } else {  // it may be about to appear
        if (engine_.in(pause) >= deadline) throw_error(*failed);
        co_await engine_.sleep_for(pause);
        pause *= 2;
      }
      std::optional<std::string> found = co_await sandboxes_->find_by_name(name, deadline);
      if (found) {
        const Labels labels = co_await sandboxes_->labels(*found, deadline);
        const SessionLabels session = session_of(labels);
        if (session.sid != sid) throw_error(*failed);
        co_return MadeSandbox{.id = std::move(*found), .own = session.attempt == attempt};
      }
      if (turn == kAttempts) throw_error(*failed);
    }
  }

  asio::awaitable<void> remember(MadeSandbox made, Secret secret, std::string working_dir,
                                 Deadline deadline) {
    Known known;
    known.router =
        co_await sandboxes_->router(made.id, std::move(made.task_id), std::move(made.access), deadline);
    known.agent = std::move(made.port);
    known.secret = std::move(secret);
    known.working_dir = std::move(working_dir);
    const std::lock_guard lock(mutex_);
    known_[made.id] = std::move(known);
  }

  void forget(const std::string& id) {
    const std::lock_guard lock(mutex_);
    known_.erase(id);
  }

  std::optional<std::string> take_fresh(const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(id);
    if (found == known_.end()) return std::nullopt;
    return std::exchange(found->second.working_dir, std::nullopt);
  }

  asio::awaitable<std::shared_ptr<TaskRouter>> router_of(std::string id, Deadline deadline) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = known_.find(id);
      if (found != known_.end() && found->second.router) co_return found->second.router;
    }
    std::shared_ptr<TaskRouter> router = co_await sandboxes_->router(id, {}, nullptr, deadline);
    const std::lock_guard lock(mutex_);
    known_[id].router = router;
    co_return router;
  }

  asio::awaitable<Secret> session_key(std::string id, Deadline deadline) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = known_.find(id);
      if (found != known_.end() && !found->second.secret.empty()) {
        co_return derived_session_key(found->second.secret);
      }
    }
    const std::shared_ptr<TaskRouter> router = co_await router_of(id, deadline);
    RouterCommand read{.argv = {"sh", "-c", kReadSecret},
                       .operation = "reaching the sandbox " + id + " of modal"};
    const std::string operation = read.operation;
    const ShellResult result = co_await router->run(std::move(read), deadline);
    if (result.output.empty()) {
      throw Error(ErrorCode::unsupported,
                  operation + ": it was not made by Sandkey, and has no secret of ours");
    }
    Secret secret(result.output);
    Secret key = derived_session_key(secret);
    const std::lock_guard lock(mutex_);
    known_[id].secret = std::move(secret);
    co_return key;
  }

  asio::awaitable<AgentAccess> access_to_agent(std::string id, Deadline deadline) {
    std::optional<Endpoint> agent;
    {
      const std::lock_guard lock(mutex_);
      const auto found = known_.find(id);
      if (found != known_.end()) agent = found->second.agent;
    }
    if (!agent) {
      agent = co_await sandboxes_->port(id, kCloudAgentPort, deadline);
      const std::lock_guard lock(mutex_);
      known_[id].agent = agent;
    }
    Secret key = co_await session_key(std::move(id), deadline);
    co_return AgentAccess{.endpoint = *agent, .session_key = std::move(key)};
  }

  Engine& engine_;
  const std::shared_ptr<ModalAccount> account_;
  const std::shared_ptr<Sandboxes> sandboxes_;
  const std::shared_ptr<HttpTransport> network_;

  std::mutex mutex_;
  std::map<std::string, Known> known_;  // by id; guarded by mutex_
};

}  // namespace

std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig&,
                               const std::shared_ptr<AuthenticatedAccount>& account) {
  return std::make_shared<ModalProvider>(engine, std::dynamic_pointer_cast<ModalAccount>(account));
}

}  // namespace sandkey::modal
