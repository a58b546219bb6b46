#include "sandkey/providers/daytona/emulator/fleet.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/rate_limits.h"

#include <algorithm>
#include <array>
#include <exception>
#include <numeric>
#include <system_error>
#include <utility>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{30};        // the cloud's own for a request
constexpr std::chrono::seconds kActivityPeriod{45};  // lists are not told more often
constexpr std::size_t kTokenLength = 32;
constexpr std::string_view kTokenAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::array<std::string_view, 2> kRegions{kDefaultRegion, "eu"};

void require_at_most(std::int64_t wanted, std::int64_t most, const std::string& what) {
  if (wanted <= most) return;
  throw ApiError(400, what + " request " + std::to_string(wanted) + " exceeds maximum allowed per sandbox (" +
                          std::to_string(most) + ")");
}

void require_total(std::int64_t wanted, std::int64_t most, const std::string& what, const char* unit) {
  if (wanted <= most) return;
  throw ApiError(400,
                 "Total " + what + " limit exceeded. Maximum allowed: " + std::to_string(most) + unit + ".");
}

std::string region_of(const std::optional<std::string>& target) {
  if (!target) return std::string(kDefaultRegion);
  if (std::ranges::find(kRegions, *target) == kRegions.end()) throw ApiError(404, "Region not found");
  return *target;
}

void require_usable(const Snapshot& snapshot) {
  if (snapshot.conduct == Conduct::full) throw ApiError(400, "No available runners");
  if (snapshot.state == "active") return;
  throw ApiError(400, "Snapshot " + snapshot.name + " is not in active state");
}

void copy_files(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
  if (error) throw system_error("copying a sandbox's files", error.value());
}

}  // namespace

Fleet::Fleet(emu::World& world, asio::any_io_executor executor, const Knobs& knobs, Snapshots& snapshots)
    : world_(world),
      executor_(executor),
      knobs_(knobs),
      snapshots_(snapshots),
      lists_(knobs.list_delay),
      tasks_(world.engine, executor) {}

// ---- Looking

SandboxPtr Fleet::find(const std::string& id) const noexcept {
  const auto found = sandboxes_.find(id);
  return found == sandboxes_.end() ? nullptr : found->second;
}

SandboxPtr Fleet::get_by_id(const std::string& organization, const std::string& id) const {
  SandboxPtr sandbox = find(id);
  if (!sandbox || sandbox->organization != organization) throw no_such_sandbox(id);
  // One that failed and goes is gone already.
  if (sandbox->state == State::error && sandbox->desired == State::destroyed) throw no_such_sandbox(id);
  return sandbox;
}

SandboxPtr Fleet::get(const std::string& organization, const std::string& id_or_name) const {
  if (find(id_or_name)) return get_by_id(organization, id_or_name);
  for (const auto& [id, sandbox] : sandboxes_) {
    if (sandbox->organization == organization && sandbox->name == id_or_name) return sandbox;
  }
  throw no_such_sandbox(id_or_name);
}

SandboxPtr Fleet::find_signed(const std::string& token, std::uint16_t port) const {
  for (const auto& [id, sandbox] : sandboxes_) {
    const auto found = sandbox->signed_ports.find(token);
    if (found == sandbox->signed_ports.end() || found->second.port != port) continue;
    if (found->second.ends > world_.clock.now()) return sandbox;
  }
  return nullptr;
}

std::vector<SandboxPtr> Fleet::all() const {
  std::vector<SandboxPtr> list;
  for (const auto& [id, sandbox] : sandboxes_) list.push_back(sandbox);
  return list;
}

// ---- Small changes

fs::path Fleet::new_folder() {
  fs::path folder = world_.folder / std::to_string(++folders_);
  fs::create_directories(folder);
  return folder;
}

void Fleet::changed(const SandboxPtr& sandbox) {
  const emu::Time now = world_.clock.now();
  sandbox->updated = now;
  sandbox->listed_activity = sandbox->last_activity;
  lists_.put(to_listed(*sandbox, toolbox_url_), now);
  schedule(sandbox);
}

void Fleet::touch(const SandboxPtr& sandbox) {
  sandbox->last_activity = world_.clock.now();
  if (sandbox->last_activity - sandbox->listed_activity < kActivityPeriod) return;
  sandbox->listed_activity = sandbox->last_activity;
  lists_.put(to_listed(*sandbox, toolbox_url_), sandbox->last_activity);
}

Fleet::Passing::Passing(Fleet& fleet, SandboxPtr sandbox, net::HttpExchange& exchange, bool keeps_awake)
    : fleet_(fleet), sandbox_(std::move(sandbox)), exchange_(exchange), keeps_awake_(keeps_awake) {
  sandbox_->traffic.emplace(&exchange_, keeps_awake_);
}

Fleet::Passing::~Passing() {
  sandbox_->traffic.erase(&exchange_);
  if (keeps_awake_ && !sandbox_->gone) fleet_.touch(sandbox_);
}

void Fleet::renew_token(Sandbox& sandbox) {
  sandbox.preview_token = emu::random_text(world_.engine, kTokenLength, kTokenAlphabet);
  world_.secrets.add(sandbox.preview_token, "preview token of " + sandbox.id);
}

// Nobody talks to what is inside any more.
void Fleet::leave(Sandbox& sandbox) {
  for (const auto& [exchange, keeps_awake] : sandbox.traffic) exchange->abort();
}

// ---- The way from one state to another

void Fleet::begin(const SandboxPtr& sandbox, State desired) {
  sandbox->desired = desired;
  sandbox->pending = true;
  changed(sandbox);
}

// Returns when it is done; at once if it is to take time on the clock.
asio::awaitable<void> Fleet::perform(SandboxPtr sandbox, Work work, std::chrono::milliseconds at_least) {
  const std::chrono::milliseconds own =
      sandbox->conduct == Conduct::slow ? knobs_.change_time : std::chrono::milliseconds(0);
  const std::chrono::milliseconds time = std::max(own, at_least);
  if (time.count() == 0) {
    co_await finish(sandbox, std::move(work));
    co_return;
  }
  const emu::Time when = world_.clock.now() + time;
  sandbox->waits = true;
  sandbox->change =
      world_.clock.at(when, [this, sandbox, work = std::move(work)]() { return finish(sandbox, work); });
}

asio::awaitable<void> Fleet::finish(SandboxPtr sandbox, Work work) {
  std::string failure;
  sandbox->waits = false;
  try {
    co_await work();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (!failure.empty() && !sandbox->gone) {
    sandbox->state = State::error;
    sandbox->error_reason = failure;
  }
  sandbox->pending = false;
  if (!sandbox->gone) changed(sandbox);
  sandbox->settled.notify_all();
}

// ---- What is done on the way

// The real sandbox. It begins with what was kept of it, or with what its snapshot holds.
asio::awaitable<void> Fleet::boot(SandboxPtr sandbox) {
  const Deadline deadline = world_.engine.in(kPatience);
  sandbox::Spec spec;
  spec.id = sandbox->id;
  spec.user = "daytona";
  spec.working_dir = "/home/daytona";
  spec.program_on_path = sandbox->holds_agent;
  spec.writable_folders = {"/workspace"};
  auto machine = std::make_shared<Machine>();
  std::exception_ptr failure;
  try {
    machine->local = co_await world_.sandboxes.create(std::move(spec), deadline);
    (void)co_await machine->local->agent().greet(deadline);
    if (!sandbox->files.empty()) co_await machine->local->load_files(sandbox->files, deadline);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    if (machine->local) co_await machine->local->destroy(world_.engine.in(kPatience));
    std::rethrow_exception(failure);
  }
  std::error_code ignored;
  if (!sandbox->files.empty()) fs::remove_all(sandbox->files, ignored);
  sandbox->files.clear();
  add_toolbox(*sandbox, *machine);
  sandbox->machine = std::move(machine);
  renew_token(*sandbox);
  sandbox->state = State::started;
  sandbox->error_reason.clear();
  sandbox->recoverable = false;
  sandbox->stopped.reset();
  sandbox->last_activity = world_.clock.now();
}

void Fleet::add_toolbox(const Sandbox& sandbox, Machine& machine) {
  daytona_toolbox::ToolboxSettings settings;
  settings.environment = sandbox.request.environment;
  settings.environment["DAYTONA_SANDBOX_ID"] = sandbox.id;
  settings.environment["DAYTONA_SANDBOX_SNAPSHOT"] = sandbox.snapshot;
  settings.environment["DAYTONA_SANDBOX_USER"] = sandbox.request.user;
  settings.environment["DAYTONA_ORGANIZATION_ID"] = sandbox.organization_id;
  settings.environment["DAYTONA_REGION_ID"] = sandbox.target;
  settings.sandbox_id = sandbox.id;
  machine.toolbox = std::make_shared<daytona_toolbox::ToolboxServer>(
      world_.engine, executor_, machine.local->agent(), std::move(settings));
}

asio::awaitable<void> Fleet::end(std::shared_ptr<Machine> machine) {
  std::exception_ptr failure;
  try {
    co_await machine->local->destroy(world_.engine.in(kPatience));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  co_await machine->toolbox->close();
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> Fleet::first_boot(SandboxPtr sandbox) {
  if (sandbox->conduct == Conduct::warm || sandbox->conduct == Conduct::stale ||
      sandbox->conduct == Conduct::slow) {
    co_await boot(sandbox);
    co_return;
  }
  // One that can be recovered has nothing against the next attempt.
  sandbox->recoverable = sandbox->conduct == Conduct::recoverable;
  sandbox->conduct = Conduct::warm;
  throw Error(ErrorCode::unavailable, "the snapshot was told to fail");
}

asio::awaitable<void> Fleet::build(SandboxPtr sandbox) {
  sandbox->state = State::building_snapshot;
  changed(sandbox);
  const std::string_view dockerfile = find_string(*sandbox->request.build, "dockerfileContent").value_or("");
  if (build_fails(dockerfile)) {
    sandbox->state = State::build_failed;
    sandbox->error_reason = "the build was told to fail";
    co_return;
  }
  co_await boot(sandbox);
}

asio::awaitable<void> Fleet::halt(SandboxPtr sandbox) {
  leave(*sandbox);
  const std::shared_ptr<Machine> machine = sandbox->machine;
  sandbox->files = new_folder();
  co_await machine->local->end_processes(world_.engine.in(kPatience));
  co_await machine->local->save_files(sandbox->files, world_.engine.in(kPatience));
  sandbox->machine.reset();
  co_await end(machine);
  sandbox->state = State::stopped;
  sandbox->stopped = world_.clock.now();
}

asio::awaitable<void> Fleet::put_away(SandboxPtr sandbox) {
  sandbox->state = State::archived;
  sandbox->backup_state = "Completed";
  co_return;
}

asio::awaitable<void> Fleet::set_sizes(SandboxPtr sandbox, State back, Sizes sizes) {
  sandbox->sizes = sizes;
  sandbox->state = back;
  co_return;
}

// The snapshot tells of a failure; the sandbox is as it was.
asio::awaitable<void> Fleet::copy(SandboxPtr sandbox, State back, std::string name) {
  Snapshot made;
  made.organization = sandbox->organization;
  made.name = std::move(name);
  made.sizes = sandbox->sizes;
  made.holds_agent = sandbox->holds_agent;
  made.source_sandbox = sandbox->id;
  made.files = new_folder();
  const std::shared_ptr<Machine> machine = sandbox->machine;
  try {
    if (machine) {
      co_await machine->local->save_files(made.files, world_.engine.in(kPatience));
    } else {
      copy_files(sandbox->files, made.files);
    }
  } catch (const Error& error) {
    made.state = "error";
    made.error_reason = error.what();
  }
  snapshots_.add(std::move(made), world_.clock.now());
  sandbox->state = back;
}

asio::awaitable<void> Fleet::destroy(SandboxPtr sandbox) {
  leave(*sandbox);
  const std::shared_ptr<Machine> machine = sandbox->machine;
  sandbox->machine.reset();
  if (machine) co_await end(machine);
  std::error_code ignored;
  if (!sandbox->files.empty()) fs::remove_all(sandbox->files, ignored);
  sandbox->due = {};
  sandbox->state = State::destroyed;
  sandbox->gone = true;
  sandboxes_.erase(sandbox->id);
  lists_.remove(sandbox->id, world_.clock.now());
}

// ---- What clients ask for

void Fleet::require_room(const std::string& organization, const Sizes& wanted) const {
  require_at_most(wanted.cpu, kMaxCpu, "CPU");
  require_at_most(wanted.memory, kMaxMemory, "Memory");
  require_at_most(wanted.disk, kMaxDisk, "Disk");
  Sizes total = wanted;
  for (const auto& [id, each] : sandboxes_) {
    if (each->organization != organization) continue;
    const bool runs = each->desired == State::started;
    if (runs) total.cpu += each->sizes.cpu;
    if (runs) total.memory += each->sizes.memory;
    if (each->state != State::archived) total.disk += each->sizes.disk;
  }
  const bool has_none = organization == "over_quota";
  require_total(total.cpu, has_none ? 0 : kTotalCpu, "CPU", "");
  require_total(total.memory, has_none ? 0 : kTotalMemory, "memory", "GiB");
  require_total(total.disk, has_none ? 0 : kTotalDisk, "disk", "GiB");
}

SandboxPtr Fleet::make(const Caller& caller, CreateRequest request) {
  auto sandbox = std::make_shared<Sandbox>(executor_);
  sandbox->target = region_of(request.target);
  sandbox->sizes = request.sizes;
  if (!request.build) {
    const std::string wanted = request.snapshot.value_or(std::string(kDefaultSnapshot));
    Snapshot* snapshot = snapshots_.find(wanted, caller.organization);
    if (snapshot == nullptr) throw ApiError(400, "Snapshot " + wanted + " not found");
    require_usable(*snapshot);
    snapshot->last_used = world_.clock.now();
    sandbox->snapshot = snapshot->name;
    sandbox->sizes = snapshot->sizes;
    sandbox->conduct = snapshot->conduct;
    sandbox->holds_agent = snapshot->holds_agent;
    if (!snapshot->files.empty()) {
      sandbox->files = new_folder();
      copy_files(snapshot->files, sandbox->files);
    }
  }
  require_room(caller.organization, sandbox->sizes);
  sandbox->id = emu::random_uuid(world_.engine);
  sandbox->name = request.name.value_or(sandbox->id);
  for (const auto& [id, each] : sandboxes_) {
    if (each->organization == caller.organization && each->name == sandbox->name) {
      throw ApiError(409, "Sandbox with name " + sandbox->name + " already exists");
    }
  }
  sandbox->organization = caller.organization;
  sandbox->organization_id = caller.organization_id;
  sandbox->account = caller.account->name;
  sandbox->request = std::move(request);
  sandbox->created = world_.clock.now();
  sandbox->last_activity = sandbox->created;
  renew_token(*sandbox);
  sandbox->signing_key = emu::random_text(world_.engine, kTokenLength, kTokenAlphabet);
  world_.secrets.add(sandbox->signing_key, "signing key of " + sandbox->id);
  sandboxes_.emplace(sandbox->id, sandbox);
  return sandbox;
}

asio::awaitable<json::object> Fleet::create(Caller caller, CreateRequest request) {
  const SandboxPtr sandbox = make(caller, std::move(request));
  const Conduct conduct = sandbox->conduct;
  // No machine has what was never built.
  if (sandbox->request.build) sandbox->state = State::pending_build;
  begin(sandbox, State::started);
  json::object before = to_json(*sandbox, toolbox_url_);
  if (sandbox->request.build) {
    tasks_.spawn(perform(
        sandbox, [this, sandbox] { return build(sandbox); }, knobs_.create_time));
    co_return before;
  }
  Work work = [this, sandbox] { return first_boot(sandbox); };
  if (conduct == Conduct::fails || conduct == Conduct::recoverable) {
    tasks_.spawn(perform(sandbox, std::move(work), knobs_.create_time));
    co_return before;
  }
  co_await perform(sandbox, std::move(work), knobs_.create_time);
  if (sandbox->state == State::error) {
    throw ApiError(400, "Sandbox failed to start: " + sandbox->error_reason);
  }
  if (conduct == Conduct::stale) co_return before;
  co_return to_json(*sandbox, toolbox_url_);
}

asio::awaitable<void> Fleet::start(SandboxPtr sandbox) {
  if (!check_start(sandbox->condition())) co_return;
  Sizes more = sandbox->sizes;
  if (sandbox->state != State::archived) more.disk = 0;  // it has that already
  require_room(sandbox->organization, more);
  if (sandbox->state == State::archived) sandbox->state = State::restoring;
  begin(sandbox, State::started);
  Work work = [this, sandbox] { return boot(sandbox); };
  co_await perform(sandbox, std::move(work));
}

asio::awaitable<void> Fleet::recover(SandboxPtr sandbox, bool then_start) {
  check_recover(sandbox->condition());
  sandbox->recoverable = false;
  sandbox->error_reason.clear();
  sandbox->state = State::stopped;
  if (!sandbox->stopped) sandbox->stopped = world_.clock.now();
  sandbox->desired = State::stopped;
  if (then_start) {
    co_await start(sandbox);
  } else {
    changed(sandbox);
  }
}

Fleet::Work Fleet::begin_stop(const SandboxPtr& sandbox) {
  if (sandbox->ephemeral()) return begin_remove(sandbox);
  begin(sandbox, State::stopped);
  return [this, sandbox] { return halt(sandbox); };
}

Fleet::Work Fleet::begin_archive(const SandboxPtr& sandbox) {
  sandbox->backup_state = "InProgress";
  begin(sandbox, State::archived);
  return [this, sandbox] { return put_away(sandbox); };
}

// Its name is free at once.
Fleet::Work Fleet::begin_remove(const SandboxPtr& sandbox) {
  const auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(world_.clock.now().time_since_epoch());
  sandbox->name = "DESTROYED_" + sandbox->name + "_" + std::to_string(now.count());
  if (sandbox->state != State::started && sandbox->state != State::stopped &&
      sandbox->state != State::error) {
    sandbox->state = State::destroying;
  }
  begin(sandbox, State::destroyed);
  return [this, sandbox] { return destroy(sandbox); };
}

void Fleet::stop(const SandboxPtr& sandbox) {
  check_stop(sandbox->condition());
  tasks_.spawn(perform(sandbox, begin_stop(sandbox)));
}

void Fleet::archive(const SandboxPtr& sandbox) {
  check_archive(sandbox->condition());
  tasks_.spawn(perform(sandbox, begin_archive(sandbox)));
}

void Fleet::remove(const SandboxPtr& sandbox) {
  check_remove(sandbox->condition());
  tasks_.spawn(perform(sandbox, begin_remove(sandbox)));
}

void Fleet::resize(const SandboxPtr& sandbox, const SizeChange& change) {
  const Sizes sizes = check_resize(sandbox->condition(), sandbox->sizes, change);
  require_at_most(sizes.cpu, kMaxCpu, "CPU");
  require_at_most(sizes.memory, kMaxMemory, "Memory");
  require_at_most(sizes.disk, kMaxDisk, "Disk");
  const State back = std::exchange(sandbox->state, State::resizing);
  begin(sandbox, back);
  tasks_.spawn(perform(sandbox, [this, sandbox, back, sizes] { return set_sizes(sandbox, back, sizes); }));
}

void Fleet::snapshot(const SandboxPtr& sandbox, std::string name) {
  check_snapshot(sandbox->condition());
  snapshots_.require_free(name, sandbox->organization);
  const State back = std::exchange(sandbox->state, State::snapshotting);
  begin(sandbox, back);
  Work work = [this, sandbox, back, name = std::move(name)] { return copy(sandbox, back, name); };
  tasks_.spawn(perform(sandbox, std::move(work)));
}

// ---- What happens by itself

void Fleet::schedule(const SandboxPtr& sandbox) {
  sandbox->due = {};
  if (sandbox->pending || sandbox->gone) return;
  const CreateRequest& request = sandbox->request;
  emu::Time next = emu::Time::max();
  const auto consider = [&](emu::Time since, std::int64_t minutes) {
    next = std::min(next, since + std::chrono::minutes(minutes));
  };
  if (sandbox->state == State::started && request.auto_stop > 0) {
    consider(sandbox->last_activity, request.auto_stop);
  }
  const bool stopped = sandbox->state == State::stopped || sandbox->state == State::archived;
  if (stopped && request.auto_delete != kNever) consider(*sandbox->stopped, request.auto_delete);
  if (sandbox->state == State::stopped) consider(*sandbox->stopped, request.auto_archive);
  if (request.ttl > 0) consider(sandbox->created, request.ttl);
  if (next == emu::Time::max()) return;
  sandbox->due = world_.clock.at(next, [this, weak = std::weak_ptr<Sandbox>(sandbox)] { return act(weak); });
}

asio::awaitable<void> Fleet::act(std::weak_ptr<Sandbox> weak) {
  const SandboxPtr sandbox = weak.lock();
  if (!sandbox || sandbox->pending || sandbox->gone) co_return;
  const CreateRequest& request = sandbox->request;
  const emu::Time now = world_.clock.now();
  const auto over = [&](emu::Time since, std::int64_t minutes) {
    return now >= since + std::chrono::minutes(minutes);
  };
  const bool awake =
      std::ranges::any_of(sandbox->traffic, [](const auto& passing) { return passing.second; });
  if (awake) touch(sandbox);
  const bool stopped = sandbox->state == State::stopped || sandbox->state == State::archived;
  const bool lapsed =
      stopped && request.auto_delete != kNever && over(*sandbox->stopped, request.auto_delete);
  Work work;
  if (lapsed || (request.ttl > 0 && over(sandbox->created, request.ttl))) {
    work = begin_remove(sandbox);
  } else if (sandbox->state == State::started && request.auto_stop > 0 &&
             over(sandbox->last_activity, request.auto_stop)) {
    work = begin_stop(sandbox);
  } else if (sandbox->state == State::stopped && over(*sandbox->stopped, request.auto_archive)) {
    work = begin_archive(sandbox);
  }
  if (work) {
    co_await perform(sandbox, std::move(work));
  } else {
    schedule(sandbox);
  }
}

// ---- The end

asio::awaitable<bool> Fleet::fail(std::string id) {
  const SandboxPtr sandbox = find(id);
  if (!sandbox) co_return false;
  // What was to be done later is done no more; what is being done is waited for.
  if (sandbox->waits) {
    sandbox->change = {};
    sandbox->waits = false;
  } else {
    while (sandbox->pending) (void)co_await sandbox->settled.wait();
  }
  if (sandbox->gone) co_return true;
  begin(sandbox, State::destroyed);
  Work work = [this, sandbox] { return destroy(sandbox); };
  co_await finish(sandbox, std::move(work));
  co_return true;
}

asio::awaitable<void> Fleet::close() {
  co_await tasks_.join();
  while (!sandboxes_.empty()) (void)co_await fail(sandboxes_.begin()->first);
}

}  // namespace sandkey::daytona::emulator
