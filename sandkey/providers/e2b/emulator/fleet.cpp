#include "sandkey/providers/e2b/emulator/fleet.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/e2b/emulator/api_error.h"
#include "sandkey/providers/e2b/emulator/api_key.h"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <exception>
#include <system_error>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{70};  // the cloud's own for a request
constexpr std::chrono::seconds kLeastAutoResume{300};
constexpr std::size_t kTokenDigits = 64;
constexpr std::size_t kIdLength = 20;
constexpr std::string_view kIdAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr int kConnectRounds = 3;
constexpr std::size_t kMaxLogs = 1000;      // of one sandbox
constexpr std::size_t kMaxLogged = 10'000;  // sandboxes

// As "%q" is in Go.
std::string quote(const std::string& id) {
  return "\"" + id + "\"";
}

std::string changing(const Sandbox& sandbox) {
  const std::string who = "Sandbox " + quote(sandbox.id);
  switch (sandbox.state) {
    case State::killing:
      return who + " is being killed";
    case State::pausing:
      return who + " is being paused";
    case State::snapshotting:
      return who + " is being snapshotted";
    default:
      return who + " is in " + std::string(to_string(sandbox.state)) + " state";
  }
}

[[noreturn]] void throw_start_failure(const Error& error) {
  const std::string message = std::string("Failed to place sandbox: ") + error.what();
  switch (error.code()) {
    case ErrorCode::capacity_unavailable:
      throw ApiError(503, message, "sandbox_capacity_unavailable");
    case ErrorCode::deadline_exceeded:
      throw ApiError(504, message, "sandbox_placement_timeout");
    case ErrorCode::unsupported:
      throw ApiError(503, message, "sandbox_no_compatible_node");
    default:
      throw ApiError(500, message, "sandbox_create_failed");
  }
}

}  // namespace

Fleet::Fleet(emu::World& world, asio::any_io_executor executor)
    : world_(world), executor_(std::move(executor)) {}

// ---- Looking

SandboxPtr Fleet::find(const std::string& id) const noexcept {
  const auto found = sandboxes_.find(id);
  return found == sandboxes_.end() ? nullptr : found->second;
}

SandboxPtr Fleet::owned(const emu::Account& account, const std::string& id) const {
  SandboxPtr sandbox = find(id);
  if (!sandbox || sandbox->account != account.name) throw no_such_sandbox(id);
  return sandbox;
}

SandboxPtr Fleet::get(const emu::Account& account, const std::string& id) const {
  SandboxPtr sandbox = owned(account, id);
  if (sandbox->state == State::killing) throw no_such_sandbox(id);
  return sandbox;
}

SandboxPtr Fleet::require_running(const emu::Account& account, const std::string& id) const {
  SandboxPtr sandbox = get(account, id);
  if (sandbox->state == State::paused) throw no_such_sandbox(id);
  if (sandbox->state != State::running) throw ApiError(409, changing(*sandbox));
  return sandbox;
}

std::vector<SandboxPtr> Fleet::of(const emu::Account& account) const {
  std::vector<SandboxPtr> list;
  for (const auto& [id, sandbox] : sandboxes_) {
    if (sandbox->account == account.name && sandbox->state != State::killing) list.push_back(sandbox);
  }
  return list;
}

std::vector<SandboxPtr> Fleet::all() const {
  std::vector<SandboxPtr> list;
  for (const auto& [id, sandbox] : sandboxes_) list.push_back(sandbox);
  return list;
}

// ---- Small changes

void Fleet::set_state(Sandbox& sandbox, State state) {
  sandbox.state = state;
  sandbox.changed.notify_all();
}

void Fleet::log(const Sandbox& sandbox, std::string message) {
  const auto [place, is_new] = logs_.try_emplace(sandbox.id, Logs{.account = sandbox.account, .entries = {}});
  if (is_new) {
    logged_.push_back(sandbox.id);
    if (logged_.size() > kMaxLogged) {
      logs_.erase(logged_.front());
      logged_.pop_front();
    }
  }
  std::deque<LogEntry>& entries = place->second.entries;
  entries.push_back({.time = world_.clock.now(), .message = std::move(message)});
  if (entries.size() > kMaxLogs) entries.pop_front();
}

std::vector<LogEntry> Fleet::logs(const emu::Account& account, const std::string& id) const {
  const auto found = logs_.find(id);
  if (found == logs_.end() || found->second.account != account.name) return {};
  return {found->second.entries.begin(), found->second.entries.end()};
}

// No two start at the same time, or their order would not be that of their creation.
emu::Time Fleet::next_start() {
  last_start_ = std::max(world_.clock.now(), last_start_ + std::chrono::microseconds(1));
  return last_start_;
}

fs::path Fleet::new_folder() {
  fs::path folder = world_.folder / std::to_string(++folders_);
  fs::create_directories(folder);
  return folder;
}

void Fleet::set_end(const SandboxPtr& sandbox, emu::Time end) {
  sandbox->ends = end;
  sandbox->expiry =
      world_.clock.at(end, [this, weak = std::weak_ptr<Sandbox>(sandbox)] { return expire(weak); });
}

void Fleet::extend(const SandboxPtr& sandbox, std::chrono::seconds timeout, bool may_shorten) {
  const emu::Time last = sandbox->started + std::chrono::hours(kMaxHours);
  const emu::Time now = world_.clock.now();
  if (now >= last) {
    throw ApiError(
        400, "Max instance length reached: a sandbox may run for " + std::to_string(kMaxHours) + " hours");
  }
  const emu::Time end = std::min(now + timeout, last);
  if (may_shorten || end > sandbox->ends) set_end(sandbox, end);
}

void Fleet::set_timeout(const emu::Account& account, const std::string& id, std::chrono::seconds timeout) {
  const SandboxPtr sandbox = owned(account, id);
  if (sandbox->state == State::paused) throw no_such_sandbox(id);
  if (sandbox->state != State::running) throw ApiError(409, changing(*sandbox));
  extend(sandbox, timeout, true);
}

void Fleet::refresh(const emu::Account& account, const std::string& id, std::chrono::seconds timeout) {
  extend(require_running(account, id), timeout, false);
}

void Fleet::set_network(const emu::Account& account, const std::string& id, NetworkRules rules,
                        std::optional<bool> internet) {
  const SandboxPtr sandbox = require_running(account, id);
  // What comes in is not what is replaced.
  NetworkRules made = sandbox->request.network.value_or(NetworkRules{});
  for (const std::string_view key : {"allowOut", "denyOut", "egressProxy", "rules"}) {
    if (const json::value* value = sandkey::find(rules.shown, key)) {
      made.shown[key] = *value;
    } else {
      made.shown.erase(key);
    }
  }
  sandbox->request.network = std::move(made);
  sandbox->request.internet = internet;
}

void Fleet::break_traffic(Sandbox& sandbox) {
  for (net::HttpExchange* exchange : sandbox.traffic) exchange->abort();
}

asio::awaitable<void> Fleet::settled(SandboxPtr sandbox) {
  while (!sandbox->gone && is_transition(sandbox->state)) (void)co_await sandbox->changed.wait();
}

// ---- Beginning and end

void Fleet::require_room(const std::string& account) const {
  const auto limit = concurrency_limit({.name = account, .key = {}});
  const auto running = static_cast<std::size_t>(std::ranges::count_if(sandboxes_, [&](const auto& each) {
    return each.second->account == account && each.second->state != State::paused;
  }));
  const auto starting = starting_.find(account);
  if (running + (starting == starting_.end() ? 0 : starting->second) < limit) return;
  throw ApiError(429, "you have reached the maximum number of concurrent E2B sandboxes (" +
                          std::to_string(limit) +
                          "). If you need more, please visit 'https://e2b.dev/docs/billing'");
}

// The real sandbox, with envd in front of it.
asio::awaitable<void> Fleet::start(SandboxPtr sandbox, fs::path files) {
  const Deadline deadline = world_.engine.in(kPatience);
  sandbox::Spec spec;
  spec.id = sandbox->id;
  spec.user = "user";
  spec.working_dir = "/home/user";
  spec.program_on_path = sandbox->holds_agent;
  spec.writable_folders = {"/workspace"};  // which the user of a real one may make, by sudo
  try {
    sandbox->local = co_await world_.sandboxes.create(std::move(spec), deadline);
    (void)co_await sandbox->local->agent().greet(deadline);
    if (!files.empty()) co_await sandbox->local->load_files(std::move(files), deadline);
  } catch (const Error& error) {
    throw_start_failure(error);
  }
  sandbox->interpreter_runs = false;
  e2b_envd::EnvdSettings settings;
  settings.access_token = sandbox->envd_token;
  settings.env_vars = sandbox->request.variables;
  settings.sandbox_id = sandbox->id;
  settings.template_id = sandbox->template_id;
  settings.cpu_count = static_cast<unsigned>(sandbox->cpus);
  settings.memory_bytes = static_cast<std::uint64_t>(sandbox->memory_mb) * 1024 * 1024;
  sandbox->envd = std::make_shared<e2b_envd::EnvdServer>(world_.engine, executor_, sandbox->local->agent(),
                                                         std::move(settings));
}

asio::awaitable<SandboxPtr> Fleet::create(const emu::Account& account, CreateRequest request,
                                          Templates::Found made_of) {
  require_room(account.name);
  struct Place {
    std::size_t& count;
    explicit Place(std::size_t& counted) : count(counted) { ++count; }
    ~Place() { --count; }
  };
  const Place place(starting_[account.name]);
  auto sandbox = std::make_shared<Sandbox>(executor_);
  sandbox->id = "i" + emu::random_text(world_.engine, kIdLength, kIdAlphabet);
  sandbox->account = account.name;
  sandbox->template_id = made_of.made_of->id;
  sandbox->alias = made_of.made_of->alias;
  sandbox->cpus = made_of.made_of->cpus;
  sandbox->memory_mb = made_of.made_of->memory_mb;
  sandbox->disk_mb = made_of.made_of->disk_mb;
  sandbox->holds_agent = made_of.made_of->holds_agent;
  sandbox->interprets = made_of.made_of->interprets;
  sandbox->request = std::move(request);
  if (sandbox->request.secure) {
    sandbox->envd_token = emu::random_hex(world_.engine, kTokenDigits);
    world_.secrets.add(sandbox->envd_token, "envd token of " + sandbox->id);
  }
  if (sandbox->request.network && !sandbox->request.network->public_traffic) {
    sandbox->traffic_token = emu::random_hex(world_.engine, kTokenDigits);
    world_.secrets.add(sandbox->traffic_token, "traffic token of " + sandbox->id);
  }
  ++made_of.made_of->spawned;
  made_of.made_of->last_spawned = world_.clock.now();
  std::exception_ptr failure;
  try {
    co_await start(sandbox, made_of.build->files);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    if (sandbox->local) co_await sandbox->local->destroy(world_.engine.in(kPatience));
    std::rethrow_exception(failure);
  }
  sandbox->started = next_start();
  sandboxes_.emplace(sandbox->id, sandbox);
  set_end(sandbox, sandbox->started + sandbox->request.timeout);
  log(*sandbox, "Sandbox created");
  co_return sandbox;
}

asio::awaitable<void> Fleet::end(SandboxPtr sandbox, std::string why) {
  set_state(*sandbox, State::killing);
  sandbox->expiry = {};
  log(*sandbox, std::move(why));
  break_traffic(*sandbox);
  const std::shared_ptr<emu::LocalSandbox> local = sandbox->local;
  const std::shared_ptr<e2b_envd::EnvdServer> envd = sandbox->envd;
  std::exception_ptr failure;
  try {
    if (local) co_await local->destroy(world_.engine.in(kPatience));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  if (envd) co_await envd->close();
  std::error_code ignored;
  if (!sandbox->files.empty()) fs::remove_all(sandbox->files, ignored);
  sandbox->gone = true;
  sandboxes_.erase(sandbox->id);
  sandbox->changed.notify_all();
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> Fleet::kill(const emu::Account& account, std::string id) {
  const SandboxPtr sandbox = owned(account, id);
  const bool joins = sandbox->state == State::killing;
  co_await settled(sandbox);
  if (joins) co_return;
  if (sandbox->gone) throw no_such_sandbox(id);
  co_await end(sandbox, "Sandbox killed by API request");
}

asio::awaitable<bool> Fleet::fail(std::string id) {
  const SandboxPtr sandbox = find(id);
  if (!sandbox) co_return false;
  co_await settled(sandbox);
  if (!sandbox->gone) co_await end(sandbox, "Sandbox lost with its machine");
  co_return true;
}

asio::awaitable<void> Fleet::close() {
  while (!sandboxes_.empty()) (void)co_await fail(sandboxes_.begin()->first);
}

asio::awaitable<void> Fleet::expire(std::weak_ptr<Sandbox> weak) {
  const SandboxPtr sandbox = weak.lock();
  if (!sandbox) co_return;
  co_await settled(sandbox);
  // It may have been given more time, or have been paused, meanwhile.
  if (sandbox->gone || sandbox->state != State::running || sandbox->ends > world_.clock.now()) co_return;
  if (sandbox->request.auto_pause) {
    co_await put_away(sandbox, sandbox->request.auto_pause_memory);
  } else {
    co_await end(sandbox, "Sandbox killed due to timeout expiration");
  }
}

// ---- Pausing

asio::awaitable<void> Fleet::put_away(SandboxPtr sandbox, bool with_memory) {
  set_state(*sandbox, State::pausing);
  sandbox->expiry = {};
  std::exception_ptr failure;
  try {
    break_traffic(*sandbox);
    sandbox->envd->paused();
    if (with_memory) {
      co_await sandbox->local->pause(world_.engine.in(kPatience));
    } else {
      sandbox->files = new_folder();
      co_await sandbox->local->save_files(sandbox->files, world_.engine.in(kPatience));
      co_await sandbox->local->destroy(world_.engine.in(kPatience));
      co_await sandbox->envd->close();
      sandbox->envd.reset();
      sandbox->local.reset();
    }
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    if (sandbox->envd) sandbox->envd->resumed();
    set_state(*sandbox, State::running);
    set_end(sandbox, sandbox->ends);
    std::rethrow_exception(failure);
  }
  sandbox->ends = world_.clock.now();
  log(*sandbox, with_memory ? "Sandbox paused" : "Sandbox paused without its memory");
  set_state(*sandbox, State::paused);
}

asio::awaitable<void> Fleet::pause(const emu::Account& account, std::string id, bool with_memory) {
  const SandboxPtr sandbox = get(account, id);
  const bool joins = sandbox->state == State::pausing;
  co_await settled(sandbox);
  if (sandbox->gone) throw no_such_sandbox(id);
  if (joins && sandbox->state == State::paused) co_return;
  if (sandbox->state == State::paused) {
    throw ApiError(409, "Error pausing sandbox - sandbox '" + id + "' is already paused");
  }
  if (sandbox->state != State::running) {
    throw ApiError(409, "Sandbox '" + id + "' cannot be paused while in '" +
                            std::string(to_string(sandbox->state)) + "' state");
  }
  co_await put_away(sandbox, with_memory);
}

asio::awaitable<void> Fleet::bring_back(SandboxPtr sandbox, std::chrono::seconds timeout, bool with_memory) {
  require_room(sandbox->account);
  set_state(*sandbox, State::resuming);
  std::exception_ptr failure;
  try {
    if (sandbox->local && with_memory) {
      co_await sandbox->local->resume(world_.engine.in(kPatience));
      sandbox->envd->resumed();
    } else {
      // Its processes are given up: what is left of them goes before it starts again.
      if (sandbox->local) {
        co_await sandbox->local->resume(world_.engine.in(kPatience));
        sandbox->files = new_folder();
        co_await sandbox->local->save_files(sandbox->files, world_.engine.in(kPatience));
        co_await sandbox->local->destroy(world_.engine.in(kPatience));
        co_await sandbox->envd->close();
        sandbox->envd.reset();
        sandbox->local.reset();
      }
      co_await start(sandbox, sandbox->files);
      std::error_code ignored;
      fs::remove_all(sandbox->files, ignored);
      sandbox->files.clear();
    }
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    set_state(*sandbox, State::paused);
    std::rethrow_exception(failure);
  }
  sandbox->started = next_start();
  set_end(sandbox, world_.clock.now() + timeout);
  log(*sandbox, "Sandbox resumed");
  set_state(*sandbox, State::running);
}

asio::awaitable<std::pair<SandboxPtr, bool>> Fleet::connect(const emu::Account& account, std::string id,
                                                            std::chrono::seconds timeout, bool with_memory) {
  const SandboxPtr sandbox = owned(account, id);
  for (int round = 0; round < kConnectRounds && is_transition(sandbox->state); ++round) {
    if (sandbox->state == State::killing) throw ApiError(409, changing(*sandbox));
    (void)co_await sandbox->changed.wait();
    if (sandbox->gone) throw no_such_sandbox(id);
  }
  if (sandbox->state == State::running) {
    extend(sandbox, timeout, false);
    co_return std::pair(sandbox, false);
  }
  if (sandbox->state != State::paused) throw ApiError(409, changing(*sandbox));
  co_await bring_back(sandbox, timeout, with_memory);
  co_return std::pair(sandbox, true);
}

asio::awaitable<SandboxPtr> Fleet::resume(const emu::Account& account, std::string id,
                                          std::chrono::seconds timeout, std::optional<bool> auto_pause,
                                          bool with_memory) {
  const SandboxPtr sandbox = get(account, id);
  if (sandbox->state == State::snapshotting) {
    throw ApiError(409, "Sandbox snapshot is currently being created for sandbox '" + id + "'");
  }
  co_await settled(sandbox);
  if (sandbox->gone) throw no_such_sandbox(id);
  if (sandbox->state == State::running) throw ApiError(409, "Sandbox " + id + " is already running");
  if (sandbox->state != State::paused) throw ApiError(409, changing(*sandbox));
  co_await bring_back(sandbox, timeout, with_memory);
  if (auto_pause) sandbox->request.auto_pause = *auto_pause;
  co_return sandbox;
}

asio::awaitable<void> Fleet::wake(SandboxPtr sandbox) {
  const auto plan = std::chrono::seconds(std::chrono::hours(kMaxHours));
  co_await bring_back(sandbox, std::min(std::max(sandbox->request.timeout, kLeastAutoResume), plan), true);
}

// ---- Copies

asio::awaitable<fs::path> Fleet::snapshot(const emu::Account& account, std::string id, std::string doing) {
  const SandboxPtr sandbox = get(account, id);
  if (sandbox->state == State::paused) {
    if (doing != "forked") throw no_such_sandbox(id);
    throw ApiError(409, "Sandbox '" + id + "' is paused and cannot be forked; resume it first");
  }
  if (sandbox->state != State::running) {
    throw ApiError(409, "Sandbox '" + id + "' cannot be " + doing + " while in '" +
                            std::string(to_string(sandbox->state)) + "' state");
  }
  set_state(*sandbox, State::snapshotting);
  const fs::path folder = new_folder();
  std::exception_ptr failure;
  try {
    co_await sandbox->local->save_files(folder, world_.engine.in(kPatience));
  } catch (...) {
    failure = std::current_exception();
  }
  set_state(*sandbox, State::running);
  if (failure) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    std::rethrow_exception(failure);
  }
  log(*sandbox, "Sandbox " + doing);
  co_return folder;
}

}  // namespace sandkey::e2b::emulator
