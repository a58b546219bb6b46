#include "sandkey/providers/local/provider.h"

#include "sandkey/base/error.h"
#include "sandkey/base/own_program.h"
#include "sandkey/runtime/state_folder.h"
#include "sandkey/sandbox/sandbox.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

namespace sandkey::local {
namespace {

// How long a kept sandbox lives that says nothing else.
constexpr std::chrono::hours kKeptLease{1};
constexpr std::size_t kLongestId = 40;

// A session's sandbox bears its name where that can be one; so whoever knows the session finds it at once,
// and two that create it at once meet in one folder.
std::string id_of(const std::string& sid) {
  const bool plain =
      !sid.empty() && sid.size() <= kLongestId && sid.front() != '-' &&
      std::all_of(sid.begin(), sid.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
      });
  if (plain) return sid;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : sid) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char text[32];
  std::snprintf(text, sizeof text, "sid-%016llx", static_cast<unsigned long long>(hash));
  return text;
}

SandboxInfo to_info(sandbox::Status status) {
  SandboxInfo info;
  info.id = {std::move(status.id)};
  info.sid = status.labels["sid"];
  info.attempt = status.labels["attempt"];
  info.state = status.paused ? SandboxState::paused : SandboxState::running;
  info.kept = !status.bound_to_client;
  info.created = status.created;
  info.lease = status.lease;
  info.lease_end = status.lease_end;
  info.image = std::move(status.image);
  for (const std::string& what : status.not_enforced) info.remarks.push_back("not limited: " + what);
  return info;
}

class LocalProvider final : public Provider {
 public:
  explicit LocalProvider(Engine& engine)
      : host_(engine, require_state_folder(engine) / "local", find_own_program(engine, "sandkey-keeper")),
        agent_(find_own_program(engine, "sandkey-agent")) {
    host_.check();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "local"; }

  [[nodiscard]] Capabilities capabilities() const override {
    return {.accounts = false, .workspace = true, .survives_reboot = false, .outlives_client = "at once"};
  }

  [[nodiscard]] Account account() const override { return {.name = "this machine"}; }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    sandbox::Status status;
    try {
      status = co_await host_.describe(id_of(sid), deadline);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
      co_return std::nullopt;
    }
    if (status.labels["sid"] != sid) {
      throw Error(ErrorCode::conflict, "finding the sandbox of the session '" + sid + "': '" +
                                           status.labels["sid"] +
                                           "' has the same short form; choose another");
    }
    co_return SandboxId{status.id};
  }

  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    std::vector<sandbox::Status> all = co_await host_.list(deadline);
    std::vector<SandboxInfo> infos;
    for (sandbox::Status& status : all) infos.push_back(to_info(std::move(status)));
    co_return infos;
  }

  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    sandbox::Status status = co_await host_.describe(std::move(id.value), deadline);
    co_return to_info(std::move(status));
  }

  void check(const SandboxIntent& intent) const override { host_.check(to_spec(intent)); }

  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    std::string id = co_await host_.create(to_spec(intent), deadline);
    co_return CreatedSandbox{.id = {std::move(id)}};
  }

  // It is process 1.
  asio::awaitable<void> start_agent(SandboxId, Deadline) override { co_return; }

  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline) override {
    const std::string address = "unix:" + host_.socket(id.value).string();
    co_return AgentAccess{Endpoint::parse(address, "the sandbox's socket")};
  }

  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    const std::uint16_t here = co_await host_.expose(std::move(id.value), port, deadline);
    ExposedPort exposed{.url = "http://127.0.0.1:" + std::to_string(here)};
    co_return exposed;
  }

  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id, std::chrono::seconds lease,
                                                               Deadline deadline) override {
    const sandbox::Status status = co_await host_.describe(id.value, deadline);
    const bool long_enough =
        status.lease_end && *status.lease_end >= std::chrono::system_clock::now() + lease;
    if (long_enough) co_return *status.lease_end;
    co_return co_await host_.renew(std::move(id.value), lease, deadline);
  }

  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override {
    return host_.pause(std::move(id.value), deadline);
  }
  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override {
    return host_.resume(std::move(id.value), deadline);
  }
  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    return host_.destroy(std::move(id.value), deadline);
  }

 private:
  [[nodiscard]] sandbox::Spec to_spec(const SandboxIntent& intent) const {
    sandbox::Spec spec;
    spec.id = id_of(intent.sid);
    spec.labels = {{"sid", intent.sid}, {"attempt", intent.attempt}};
    spec.image = intent.image;
    spec.workspace = intent.workspace;
    if (!intent.working_dir.empty()) spec.working_dir = intent.working_dir;
    spec.network = intent.network.value_or(false);
    spec.limits.memory_bytes = intent.memory_bytes;
    if (intent.disk_bytes) spec.limits.disk_bytes = *intent.disk_bytes;
    if (intent.processes) spec.limits.processes = *intent.processes;
    spec.lease = intent.lease;
    if (intent.keep && !spec.lease) spec.lease = kKeptLease;
    spec.bound_to_client = !intent.keep;
    spec.environment = intent.environment;
    spec.program = agent_;
    spec.arguments = {"--listen", "fd:3", "--ready-fd", "4", "--working-dir", spec.working_dir};
    return spec;
  }

  sandbox::SandboxHost host_;
  std::filesystem::path agent_;
};

}  // namespace

std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig&,
                               const std::shared_ptr<AuthenticatedAccount>&) {
  return std::make_shared<LocalProvider>(engine);  // a few system calls
}

}  // namespace sandkey::local
