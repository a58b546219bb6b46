#include "sandkey/providers/runloop/emulator/fleet.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/runloop/emulator/api_error.h"
#include "sandkey/providers/runloop/emulator/api_key.h"
#include "sandkey/providers/runloop/emulator/hold.h"
#include "sandkey/providers/runloop/emulator/text_file.h"

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{70};
constexpr std::chrono::minutes kBuildPatience{30};
constexpr std::size_t kIdLength = 22;
constexpr std::size_t kTunnelKeyLength = 26;
constexpr std::size_t kTokenLength = 40;
constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
// A tunnel's key is part of a host's name.
constexpr std::string_view kHostLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::size_t kMaxLogs = 1000;  // of one devbox
constexpr std::size_t kMaxEnded = 10'000;

// Names of what is there to fail or to be slow.
constexpr std::string_view kFails = "fails";
constexpr std::string_view kSlow = "slow";
constexpr std::chrono::seconds kSlowTime{60};

sandbox::Spec spec_of(std::string id, const std::string& user, bool holds_agent) {
  sandbox::Spec spec;
  spec.id = std::move(id);
  spec.user = user;
  spec.working_dir = "/home/" + user;
  spec.program_on_path = holds_agent;
  spec.writable_folders = {"/workspace"};
  return spec;
}

std::uint64_t size_of(const fs::path& folder) {
  std::uint64_t total = 0;
  std::error_code error;
  for (auto each = fs::recursive_directory_iterator(folder, error);
       each != fs::recursive_directory_iterator(); each.increment(error)) {
    if (each->is_regular_file(error) && !each->is_symlink(error)) total += each->file_size(error);
    if (error) break;
  }
  return total;
}

// What is kept of its outputs in logs.
std::string ending_of(const Execution& execution) {
  std::string text(last_lines(execution.outputs[0].bytes, kDefaultLastLines).text);
  return text.append(last_lines(execution.outputs[1].bytes, kDefaultLastLines).text);
}

std::shared_ptr<AsyncEvent> changed_of(const DevboxPtr& devbox) {
  return {devbox, &devbox->changed};
}

}  // namespace

Fleet::Fleet(emu::World& world, asio::any_io_executor executor, Images& images)
    : world_(world),
      executor_(std::move(executor)),
      images_(images),
      images_changed_(std::make_shared<AsyncEvent>(executor_)),
      tasks_(world.engine, executor_) {}

// ---- Looking

DevboxPtr Fleet::get(const Account& account, const std::string& id) const {
  const auto found = devboxes_.find(id);
  if (found == devboxes_.end() || found->second->account != account.name) throw no_such("Devbox", id);
  return found->second;
}

DevboxPtr Fleet::use(const Account& account, const std::string& id) {
  DevboxPtr devbox = get(account, id);
  if (devbox->status() != Status::running) {
    throw wrong_state("Devbox '" + id + "' is not running: its status is " +
                      std::string(to_string(devbox->status())));
  }
  touch(devbox);
  return devbox;
}

std::vector<DevboxPtr> Fleet::of(const Account& account) const {
  std::vector<DevboxPtr> list;
  for (const DevboxPtr& each : order_) {
    if (each->account == account.name) list.push_back(each);
  }
  std::ranges::reverse(list);
  return list;
}

std::vector<DevboxPtr> Fleet::all() const {
  return order_;
}

DevboxPtr Fleet::behind_tunnel(std::string_view key) const {
  const auto found = std::ranges::find_if(
      order_, [&](const DevboxPtr& each) { return each->tunnel && each->tunnel->key == key; });
  return found == order_.end() ? nullptr : *found;
}

// ---- Small changes

// No two are made at the same time, or their order would not be that of their creation.
emu::Time Fleet::next_time() {
  last_time_ = std::max(world_.clock.now(), last_time_ + std::chrono::milliseconds(1));
  return last_time_;
}

SavedFilesPtr Fleet::new_folder() {
  fs::path folder = world_.folder / std::to_string(++folders_);
  fs::create_directories(folder);
  return std::make_shared<SavedFiles>(std::move(folder));
}

void Fleet::set_status(Devbox& devbox, Status status, std::string failure_reason) {
  devbox.transitions.push_back(
      {.status = status, .time = world_.clock.now(), .failure_reason = std::move(failure_reason)});
  devbox.changed.notify_all();
}

void Fleet::log(Devbox& devbox, LogLine line) {
  line.time = world_.clock.now();
  devbox.logs.push_back(std::move(line));
  if (devbox.logs.size() > kMaxLogs) devbox.logs.pop_front();
}

void Fleet::touch(const DevboxPtr& devbox) {
  devbox->last_used = world_.clock.now();
}

// The alarm is set anew when it goes off too early, not at every use.
void Fleet::arm(const DevboxPtr& devbox) {
  devbox->expiry =
      world_.clock.at(devbox->ends(), [this, weak = std::weak_ptr<Devbox>(devbox)] { return expire(weak); });
}

asio::awaitable<void> Fleet::expire(std::weak_ptr<Devbox> weak) {
  const DevboxPtr devbox = weak.lock();
  if (!devbox || devbox->status() != Status::running) co_return;
  const std::optional<AfterIdle>& idle = devbox->launch.after_idle;
  if (!idle) {
    co_await end(devbox, Status::shutdown, "ttl_expired");
  } else if (devbox->ends() > world_.clock.now()) {
    arm(devbox);
  } else if (idle->action == OnIdle::suspend) {
    suspend(devbox);
  } else {
    co_await end(devbox, Status::shutdown, "idle");
  }
}

const Tunnel& Fleet::enable_tunnel(const DevboxPtr& devbox, TunnelRequest settings) {
  if (devbox->over()) throw wrong_state("Devbox '" + devbox->id + "' is over");
  if (devbox->tunnel) return *devbox->tunnel;
  Tunnel tunnel;
  tunnel.key = emu::random_text(world_.engine, kTunnelKeyLength, kHostLetters);
  if (settings.authenticated) {
    tunnel.token = emu::random_text(world_.engine, kTokenLength, kLetters);
    world_.secrets.add(tunnel.token, "tunnel token of " + devbox->id);
  }
  tunnel.settings = settings;
  tunnel.created = world_.clock.now();
  devbox->tunnel = std::move(tunnel);
  return *devbox->tunnel;
}

void Fleet::remove_tunnel(const DevboxPtr& devbox) {
  devbox->tunnel.reset();
  for (net::HttpExchange* exchange : devbox->traffic) exchange->abort();
}

// ---- Beginning

void Fleet::require_room(const Account& account) const {
  const std::size_t limit = devbox_limit(account);
  const auto running = static_cast<std::size_t>(std::ranges::count_if(order_, [&](const DevboxPtr& each) {
    return each->account == account.name && !each->over() && each->status() != Status::suspended;
  }));
  if (running < limit) return;
  throw ApiError(429,
                 "The account may have " + std::to_string(limit) + " devboxes running at once, and has them",
                 "devbox_limit_reached");
}

DevboxPtr Fleet::create(const Account& account, CreateRequest request, Texts secrets) {
  auto devbox = std::make_shared<Devbox>(world_.engine, executor_);
  if (!request.snapshot_id.empty()) {
    devbox->snapshot = images_.snapshot(request.snapshot_id, account.name);
    if (devbox->snapshot->status != SnapshotStatus::complete) {
      throw wrong_state("Snapshot '" + request.snapshot_id + "' is not complete");
    }
    devbox->blueprint = devbox->snapshot->source_blueprint;
  } else if (!request.blueprint_id.empty()) {
    devbox->blueprint = images_.blueprint(request.blueprint_id, account.name);
    if (devbox->blueprint->deleted || devbox->blueprint->status != BlueprintStatus::build_complete) {
      throw wrong_state("Blueprint '" + request.blueprint_id + "' is not built");
    }
  } else if (!request.blueprint_name.empty()) {
    devbox->blueprint = images_.blueprint_named(request.blueprint_name, account.name);
  }
  json::object inherited = devbox->blueprint ? devbox->blueprint->request.launch : json::object();
  devbox->launch = parse_launch(request.launch, inherited);
  if (devbox->snapshot && find(devbox->launch.shown, "user_parameters") == nullptr) {
    devbox->launch.user = devbox->snapshot->user;
  }
  require_room(account);
  for (auto& [variable, value] : secrets) request.environment[variable] = std::move(value);
  devbox->id = "dbx_" + emu::random_text(world_.engine, kIdLength, kLetters);
  devbox->account = account.name;
  devbox->name = request.name;
  devbox->metadata = request.metadata;
  devbox->created = next_time();
  devbox->transitions.push_back({.status = devbox->launch.flexible ? Status::queued : Status::provisioning,
                                 .time = devbox->created,
                                 .failure_reason = {}});
  if (request.tunnel) (void)enable_tunnel(devbox, *request.tunnel);
  devbox->request = std::move(request);
  devbox->executions.on_change = [this, raw = devbox.get()](const Execution& execution) {
    LogLine line;
    line.source = "exec";
    line.execution = execution.request.id;
    line.shell = execution.request.shell;
    if (execution.over()) {
      line.exit_code = execution.exit_status;
    } else {
      line.command = execution.request.command;
    }
    log(*raw, std::move(line));
  };
  devboxes_.emplace(devbox->id, devbox);
  order_.push_back(devbox);
  if (order_.size() > kMaxEnded) {
    const auto oldest = std::ranges::find_if(order_, [](const DevboxPtr& each) { return each->over(); });
    if (oldest != order_.end()) {
      devboxes_.erase((*oldest)->id);
      order_.erase(oldest);
    }
  }
  tasks_.spawn(boot(*this, devbox));
  return devbox;
}

// As long as its blueprint says, unless it is shut down meanwhile.
asio::awaitable<void> Fleet::delay(DevboxPtr devbox) {
  if (!devbox->blueprint || devbox->snapshot) co_return;
  const Flaw& flaw = devbox->blueprint->flaw;
  while (flaw.stuck && !devbox->over()) (void)co_await devbox->changed.wait();
  if (flaw.delay == std::chrono::seconds(0)) co_return;
  const emu::Time end = world_.clock.now() + flaw.delay;
  const auto alarm = world_.clock.at(end, [event = changed_of(devbox)]() -> asio::awaitable<void> {
    event->notify_all();
    co_return;
  });
  while (!devbox->over() && world_.clock.now() < end) (void)co_await devbox->changed.wait();
}

// What lay on its disk, or lies on that of what it is made of; and, the first time, the files it is given.
asio::awaitable<void> Fleet::load(DevboxPtr devbox, Deadline deadline) {
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  const bool resumes = devbox->files != nullptr;
  SavedFilesPtr files = devbox->files;
  Texts given;
  if (!resumes && devbox->snapshot) files = devbox->snapshot->files;
  if (!resumes && !devbox->snapshot && devbox->blueprint) {
    files = devbox->blueprint->files;
    given = devbox->blueprint->request.files;
  }
  if (!resumes) {
    for (const auto& [path, contents] : devbox->request.files) given[path] = contents;
  }
  if (files) co_await local->load_files(files->folder(), deadline);
  for (const auto& [path, contents] : given) {
    std::string to = path.starts_with('/') ? path : "/home/" + devbox->launch.user + "/" + path;
    std::string text = contents;
    co_await write_text(local->agent(), std::move(to), std::move(text), deadline);
  }
}

// True if all of them succeeded.
asio::awaitable<bool> Fleet::run_launch_commands(DevboxPtr devbox) {
  for (const std::string& command : devbox->launch.launch_commands) {
    CommandRequest request;
    request.command = command;
    const ExecutionPtr execution = devbox->executions.start(std::move(request));
    co_await devbox->executions.wait(execution);
    LogLine line;
    line.source = "setup_commands";
    line.command = command;
    line.message = ending_of(*execution);
    line.exit_code = execution->exit_status;
    log(*devbox, std::move(line));
    if (execution->exit_status != 0) co_return false;
  }
  co_return true;
}

// Why it failed, if it did.
asio::awaitable<std::string> Fleet::bring_up(DevboxPtr devbox) {
  if (devbox->status() == Status::queued) set_status(*devbox, Status::provisioning);
  const bool resumes = devbox->status() == Status::resuming;
  if (!resumes) co_await delay(devbox);
  if (devbox->over()) co_return "";
  const Deadline deadline = world_.engine.in(kPatience);
  std::string id = devbox->id.substr(4) + "-" + std::to_string(devbox->transitions.size());
  const bool holds_agent = devbox->blueprint && devbox->blueprint->holds_agent;
  sandbox::Spec spec = spec_of(std::move(id), devbox->launch.user, holds_agent);
  std::shared_ptr<emu::LocalSandbox> local = co_await world_.sandboxes.create(std::move(spec), deadline);
  if (devbox->over()) {
    co_await local->destroy(deadline);
    co_return "";
  }
  devbox->local = local;
  if (!resumes) set_status(*devbox, Status::initializing);
  (void)co_await local->agent().greet(deadline);
  devbox->executions.attach(local, devbox->launch.user, devbox->request.environment);
  co_await load(devbox, deadline);
  if (!resumes && !devbox->snapshot && devbox->blueprint && !devbox->blueprint->flaw.failure_reason.empty()) {
    co_return devbox->blueprint->flaw.failure_reason;
  }
  const bool launched = co_await run_launch_commands(devbox);
  co_return launched ? "" : "execution_failed";
}

asio::awaitable<void> Fleet::boot(Fleet& self, DevboxPtr devbox) {
  std::string failure;
  try {
    failure = co_await self.bring_up(devbox);
  } catch (const Error& error) {
    failure = error.code() == ErrorCode::quota_exceeded ? "out_of_disk" : "health_check_failed";
    LogLine line;
    line.source = "setup_commands";
    line.level = "error";
    line.message = error.what();
    self.log(*devbox, std::move(line));
  }
  if (devbox->over()) co_return;  // whoever ended it takes care of what is left
  if (failure.empty()) {
    devbox->files.reset();
    self.start_running(devbox);
  } else {
    co_await self.end(devbox, Status::failure, failure);
  }
}

void Fleet::start_running(const DevboxPtr& devbox) {
  devbox->last_used = world_.clock.now();
  set_status(*devbox, Status::running);
  arm(devbox);
  if (devbox->request.entrypoint.empty()) return;
  CommandRequest request;
  request.command = devbox->request.entrypoint;
  tasks_.spawn(follow_entrypoint(*this, devbox, devbox->executions.start(std::move(request))));
}

// A devbox lives as long as its entrypoint.
asio::awaitable<void> Fleet::follow_entrypoint(Fleet& self, DevboxPtr devbox, ExecutionPtr execution) {
  co_await devbox->executions.wait(execution);
  LogLine line;
  line.source = "entrypoint";
  line.command = devbox->request.entrypoint;
  line.exit_code = execution->exit_status;
  self.log(*devbox, std::move(line));
  if (devbox->status() == Status::running) co_await self.end(devbox, Status::shutdown, "entrypoint_exit");
}

// ---- Ends

asio::awaitable<void> Fleet::end(DevboxPtr devbox, Status how, std::string reason) {
  if (devbox->over()) co_return;
  devbox->ended = world_.clock.now();
  devbox->expiry = {};
  if (how == Status::shutdown) devbox->shutdown_reason = reason;
  set_status(*devbox, how, how == Status::failure ? reason : std::string());
  for (net::HttpExchange* exchange : devbox->traffic) exchange->abort();
  devbox->tunnel.reset();
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  std::exception_ptr failure;
  try {
    if (local) co_await local->destroy(world_.engine.in(kPatience));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  co_await devbox->executions.detach();
  devbox->local.reset();
  devbox->files.reset();
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> Fleet::shut_down(DevboxPtr devbox, bool force) {
  if (devbox->snapshots_in_progress > 0 && !devbox->over() && !force) {
    throw ApiError(409, "Devbox '" + devbox->id + "' has a snapshot in progress; use force to shut it down",
                   "snapshot_in_progress");
  }
  co_await end(devbox, Status::shutdown, "api_shutdown");
}

asio::awaitable<bool> Fleet::fail(std::string id) {
  const auto found = devboxes_.find(id);
  if (found == devboxes_.end() || found->second->over()) co_return false;
  const DevboxPtr devbox = found->second;
  co_await end(devbox, Status::failure, "health_check_failed");
  co_return true;
}

asio::awaitable<void> Fleet::close() {
  closing_ = true;
  const std::vector<DevboxPtr> all = order_;
  for (const DevboxPtr& each : all) {
    co_await end(each, Status::shutdown, "api_shutdown");
    each->changed.notify_all();
  }
  images_changed_->notify_all();
  co_await tasks_.join();
}

// ---- Suspending

void Fleet::suspend(const DevboxPtr& devbox) {
  if (devbox->status() == Status::suspended || devbox->status() == Status::suspending) return;
  if (devbox->status() != Status::running) {
    throw wrong_state("Devbox '" + devbox->id + "' cannot be suspended: its status is " +
                      std::string(to_string(devbox->status())));
  }
  devbox->expiry = {};
  set_status(*devbox, Status::suspending);
  for (net::HttpExchange* exchange : devbox->traffic) exchange->abort();
  tasks_.spawn(put_away(*this, devbox));
}

// Whatever they come to, it is suspended when their time is over.
asio::awaitable<void> Fleet::run_suspend_commands(DevboxPtr devbox) {
  const Deadline end = world_.engine.in(devbox->launch.suspend_patience);
  for (const std::string& command : devbox->launch.suspend_commands) {
    CommandRequest request;
    request.command = command;
    const ExecutionPtr execution = devbox->executions.start(std::move(request));
    while (!execution->over() && world_.engine.steady_now() < end) {
      (void)co_await execution->changed.wait_until(end);
    }
  }
}

// Its disk stays, its processes do not.
asio::awaitable<void> Fleet::put_away(Fleet& self, DevboxPtr devbox) {
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  const SavedFilesPtr files = self.new_folder();
  bool saved = false;
  try {
    co_await self.run_suspend_commands(devbox);
    const Deadline deadline = self.world_.engine.in(kPatience);
    co_await local->end_processes(deadline);
    co_await local->save_files(files->folder(), deadline);
    co_await local->destroy(deadline);
    saved = true;
  } catch (const Error&) {  // told by the devbox's status
  }
  if (devbox->over()) co_return;
  devbox->files = files;
  if (!saved) {
    co_await self.end(devbox, Status::failure, "health_check_failed");
    co_return;
  }
  co_await devbox->executions.detach();
  if (devbox->over()) co_return;
  devbox->local.reset();
  self.set_status(*devbox, Status::suspended);
}

void Fleet::resume(const DevboxPtr& devbox) {
  if (devbox->status() == Status::running || devbox->status() == Status::resuming) return;
  if (devbox->status() != Status::suspended) {
    throw wrong_state("Devbox '" + devbox->id + "' cannot be resumed: its status is " +
                      std::string(to_string(devbox->status())));
  }
  require_room({.name = devbox->account, .key = {}});
  set_status(*devbox, Status::resuming);
  tasks_.spawn(boot(*this, devbox));
}

// ---- Snapshots

SnapshotPtr Fleet::snapshot(const DevboxPtr& devbox, SnapshotRequest request) {
  SnapshotPtr made = images_.add_snapshot(devbox->account, std::move(request), next_time());
  made->source_devbox = devbox->id;
  made->source_blueprint = devbox->blueprint;
  made->user = devbox->launch.user;
  ++devbox->snapshots_in_progress;
  tasks_.spawn(copy_files(*this, devbox, made));
  return made;
}

asio::awaitable<void> Fleet::copy_files(Fleet& self, DevboxPtr devbox, SnapshotPtr snapshot) {
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  const std::string name = snapshot->request.name.value_or("");
  const SavedFilesPtr files = self.new_folder();
  std::string error;
  if (name == kFails) error = "The snapshot failed, as its name says";
  if (name == kSlow) {
    Hold hold(self.world_.engine, self.world_.clock, changed_of(devbox), kSlowTime);
    while (!hold.over() && !devbox->over()) co_await hold.wait();
  }
  try {
    if (error.empty()) co_await local->save_files(files->folder(), self.world_.engine.in(kPatience));
  } catch (const Error& thrown) {
    error = thrown.what();
  }
  if (devbox->over() && error.empty()) error = "The devbox ended while the snapshot was taken";
  --devbox->snapshots_in_progress;
  if (snapshot->status == SnapshotStatus::deleted) {
    // It was not waited for.
  } else if (!error.empty()) {
    snapshot->error = std::move(error);
    snapshot->status = SnapshotStatus::error;
  } else {
    snapshot->size_bytes = size_of(files->folder());
    snapshot->files = files;
    snapshot->status = SnapshotStatus::complete;
  }
  self.images_changed_->notify_all();
}

asio::awaitable<void> Fleet::wait(SnapshotPtr snapshot) {
  while (snapshot->status == SnapshotStatus::in_progress && !closing_) (void)co_await images_changed_->wait();
}

// ---- Blueprints

void Fleet::build(const BlueprintPtr& blueprint) {
  tasks_.spawn(run_build(*this, blueprint));
}

// The setup commands run in a sandbox, and what they leave on its disk is the blueprint. A Dockerfile is kept
// and shown, but there is nothing here that could follow it.
asio::awaitable<void> Fleet::run_setup_commands(BlueprintPtr blueprint) {
  const Deadline deadline = world_.engine.in(kBuildPatience);
  sandbox::Spec spec = spec_of("", "user", false);
  const std::shared_ptr<emu::LocalSandbox> local =
      co_await world_.sandboxes.create(std::move(spec), deadline);
  Executions executions(world_.engine, executor_);
  std::exception_ptr failure;
  try {
    (void)co_await local->agent().greet(deadline);
    if (blueprint->files) co_await local->load_files(blueprint->files->folder(), deadline);
    Texts none;
    executions.attach(local, "user", std::move(none));
    for (const std::string& command : blueprint->request.setup_commands) {
      blueprint->logs.push_back({.time = world_.clock.now(), .message = "RUN " + command});
      CommandRequest request;
      request.command = command;
      const ExecutionPtr execution = executions.start(std::move(request));
      co_await executions.wait(execution);
      blueprint->logs.push_back({.time = world_.clock.now(), .message = ending_of(*execution)});
      if (execution->exit_status == 0) continue;
      blueprint->failure_reason = "build_failed";
      break;
    }
    const SavedFilesPtr files = new_folder();
    co_await local->save_files(files->folder(), deadline);
    blueprint->files = files;
  } catch (const Error&) {
    failure = std::current_exception();
  }
  co_await local->destroy(deadline);
  co_await executions.detach();
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> Fleet::run_build(Fleet& self, BlueprintPtr blueprint) {
  const auto step = [&](BlueprintStatus status, std::string message) {
    blueprint->status = status;
    blueprint->logs.push_back({.time = self.world_.clock.now(), .message = std::move(message)});
  };
  step(BlueprintStatus::provisioning, "Provisioning the build");
  if (blueprint->request.name == kSlow) {
    Hold hold(self.world_.engine, self.world_.clock, self.images_changed_, kSlowTime);
    while (!hold.over() && !self.closing_) co_await hold.wait();
  }
  step(BlueprintStatus::building, "Building " + blueprint->request.name);
  if (blueprint->request.name == kFails) blueprint->failure_reason = "build_failed";
  try {
    const bool runs = blueprint->failure_reason.empty() && !blueprint->request.setup_commands.empty();
    if (runs && !self.closing_) co_await self.run_setup_commands(blueprint);
  } catch (const Error& error) {
    blueprint->failure_reason = "build_failed";
    blueprint->logs.push_back({.time = self.world_.clock.now(), .message = error.what()});
  }
  blueprint->finished = self.world_.clock.now();
  if (blueprint->failure_reason.empty()) {
    step(BlueprintStatus::build_complete, "Build complete");
  } else {
    step(BlueprintStatus::failed, "Build failed");
  }
}

}  // namespace sandkey::runloop::emulator
