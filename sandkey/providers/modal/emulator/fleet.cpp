#include "sandkey/providers/modal/emulator/fleet.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/access.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <set>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;
using wire_result = modal_wire::GenericResult;

constexpr std::chrono::seconds kPatience{60};
constexpr std::uint32_t kDefaultLifetime = 300;
constexpr std::uint32_t kLongestLifetime = 24 * 60 * 60;
constexpr std::size_t kMaxEnded = 500;                                // that are remembered
constexpr std::size_t kMainOutput = std::size_t{1024} * 1024;         // v2: the newest
constexpr std::size_t kMainLog = std::size_t{16} * 1024 * 1024;       // v1
constexpr std::size_t kMaxRetained = std::size_t{256} * 1024 * 1024;  // of a sandbox's commands that ended
constexpr std::size_t kMaxExecs = 10'000;
constexpr int kTerminatedCode = 137;
constexpr int kTimeoutCode = 124;
constexpr const char* kFolder = "/root";

grpc::CallError invalid(const std::string& what) {
  return {grpc::Code::invalid_argument, what};
}

grpc::CallError not_placed(const Error& error) {
  const std::string message = std::string("Sandbox could not be started: ") + error.what();
  if (error.code() == ErrorCode::capacity_unavailable) return {grpc::Code::resource_exhausted, message};
  if (error.code() == ErrorCode::invalid_argument) return invalid(message);
  return {grpc::Code::internal, message};
}

// Where clients expect to be able to write, besides /root, /home and /tmp.
std::vector<std::string> writable_folders(const std::string& folder) {
  std::set<std::string> folders{"/workspace", "/app", "/data", "/mnt"};
  const bool within = std::ranges::any_of(
      folders, [&](const std::string& each) { return folder == each || folder.starts_with(each + "/"); });
  if (!within && folder != kFolder && !folder.starts_with("/tmp") && !folder.starts_with("/home"))
    folders.insert(folder);
  return {folders.begin(), folders.end()};
}

void check_port(const modal_wire::PortSpec& spec) {
  if (spec.port() == 0 || spec.port() > 65535)
    throw invalid("Port " + std::to_string(spec.port()) + " is not between 1 and 65535");
}

wire_result result_of_exit(const ExitStatus& exit) {
  const bool good = exit.code == 0 && !exit.signal;
  return make_result(good ? wire_result::GENERIC_STATUS_SUCCESS : wire_result::GENERIC_STATUS_FAILURE,
                     exit.code);
}

}  // namespace

wire_result make_result(wire_result::GenericStatus status, int exit_code, std::string exception) {
  wire_result result;
  result.set_status(status);
  result.set_exitcode(exit_code);
  result.set_exception(std::move(exception));
  return result;
}

wire_result terminated() {
  return make_result(wire_result::GENERIC_STATUS_TERMINATED, kTerminatedCode);
}

Fleet::Fleet(emu::World& world, asio::any_io_executor executor, Images& images, Tunnels& tunnels)
    : world_(world),
      executor_(executor),
      images_(images),
      tunnels_(tunnels),
      endings_(world.engine, executor) {}

// ---- Looking

SandboxPtr Fleet::find(const std::string& id) const noexcept {
  const auto found = sandboxes_.find(id);
  return found == sandboxes_.end() ? nullptr : found->second;
}

SandboxPtr Fleet::get(const emu::Account& account, const std::string& id) const {
  SandboxPtr sandbox = find(id);
  if (!sandbox || sandbox->account != account.name)
    throw grpc::CallError(grpc::Code::not_found, "Sandbox with ID " + id + " not found");
  return sandbox;
}

SandboxPtr Fleet::find_task(const std::string& task_id) const noexcept {
  const auto found = tasks_.find(task_id);
  return found == tasks_.end() ? nullptr : find(found->second);
}

SandboxPtr Fleet::find_name(const std::string& app_id, const std::string& name, bool also_ended) const {
  SandboxPtr best;
  for (const auto& [id, sandbox] : sandboxes_) {
    if (sandbox->app_id != app_id || sandbox->name != name) continue;
    if (running(*sandbox)) return sandbox;
    if (also_ended && (!best || best->created < sandbox->created)) best = sandbox;
  }
  return best;
}

std::vector<SandboxPtr> Fleet::of(const emu::Account& account) const {
  std::vector<SandboxPtr> list;
  for (const auto& [id, sandbox] : sandboxes_) {
    if (sandbox->account == account.name) list.push_back(sandbox);
  }
  std::ranges::sort(list, [](const SandboxPtr& a, const SandboxPtr& b) { return a->created > b->created; });
  return list;
}

std::vector<SandboxPtr> Fleet::all() const {
  std::vector<SandboxPtr> list;
  for (const auto& [id, sandbox] : sandboxes_) {
    if (running(*sandbox)) list.push_back(sandbox);
  }
  return list;
}

// ---- Beginning

// No two are created at the same time, or their order would not be that of their creation. Clients tell times
// with a double, which has room for microseconds.
emu::Time Fleet::next_creation() {
  const auto now = std::chrono::floor<std::chrono::microseconds>(world_.clock.now());
  last_creation_ = std::max<emu::Time>(now, last_creation_ + std::chrono::microseconds(1));
  return last_creation_;
}

void Fleet::check(const emu::Account& account, const CreateRequest& request) const {
  const modal_wire::Sandbox& wanted = request.definition;
  const auto running_now = static_cast<std::size_t>(std::ranges::count_if(sandboxes_, [&](const auto& each) {
    return each.second->account == account.name && running(*each.second);
  }));
  if (running_now >= concurrency_limit(account)) {
    throw grpc::CallError(grpc::Code::resource_exhausted,
                          "Your workspace has reached its limit of concurrent sandboxes");
  }
  if (wanted.timeout_secs() > kLongestLifetime)
    throw invalid("Sandbox timeout must be at most 86400 seconds, and is " +
                  std::to_string(wanted.timeout_secs()));
  if (wanted.has_workdir() && !wanted.workdir().starts_with('/'))
    throw invalid("workdir must be an absolute path, got " + wanted.workdir());
  if (wanted.has_name() && !is_name(wanted.name())) throw invalid("Invalid Sandbox name: " + wanted.name());
  if (wanted.has_name() && find_name(request.app_id, wanted.name(), false)) {
    throw grpc::CallError(grpc::Code::already_exists,
                          "A Sandbox with the name '" + wanted.name() + "' is already running in this App");
  }
  const bool gpu = !wanted.resources().gpu_config().gpu_type().empty();
  if (request.backend == Backend::v2 && gpu) throw invalid("GPUs are not supported by V2 Sandboxes");
  for (const modal_wire::PortSpec& spec : wanted.open_ports().ports()) check_port(spec);
  for (const auto& [name, value] : request.tags) {
    if (!is_tag_name(name) || !is_tag_value(value)) throw invalid("Invalid tag: " + name + "=" + value);
  }
}

asio::awaitable<void> Fleet::begin(SandboxPtr sandbox, std::vector<std::string> command) {
  const Deadline deadline = world_.engine.in(kPatience);
  sandbox::Spec spec;
  spec.user = "modal";
  spec.working_dir = kFolder;
  spec.program_on_path = sandbox->holds_agent;
  spec.writable_folders = writable_folders(sandbox->folder);
  const std::shared_ptr<emu::LocalSandbox> local =
      co_await world_.sandboxes.create(std::move(spec), deadline);
  if (!running(*sandbox)) {  // somebody ended it meanwhile
    co_await local->destroy(deadline);
    co_return;
  }
  sandbox->local = local;
  (void)co_await local->agent().greet(deadline);
  co_await add_tunnels(sandbox);
  if (command.empty()) co_return;
  Command made;
  made.argv = std::move(command);
  made.variables = sandbox->variables;
  made.folder = sandbox->folder;
  made.output_limit = sandbox->backend == Backend::v1 ? kMainLog : kMainOutput;
  const modal_wire::PTYInfo& terminal = sandbox->definition.pty_info();
  if (terminal.enabled()) made.terminal = std::pair(terminal.winsz_rows(), terminal.winsz_cols());
  sandbox->main = std::make_shared<Process>(executor_, sandbox->local, made);
  sandbox->tasks.spawn(Exec::run(sandbox->main));
  co_await sandbox->main->started();
}

asio::awaitable<void> Fleet::add_tunnels(SandboxPtr sandbox) {
  for (const modal_wire::PortSpec& spec : sandbox->definition.open_ports().ports()) {
    const auto port = static_cast<std::uint16_t>(spec.port());
    modal_wire::TunnelData tunnel = tunnels_.open(sandbox, port);
    if (spec.unencrypted()) {
      const std::uint16_t here = co_await sandbox->local->expose(port, world_.engine.in(kPatience));
      tunnel.set_unencrypted_host("127.0.0.1");
      tunnel.set_unencrypted_port(here);
    }
    sandbox->tunnels.push_back(std::move(tunnel));
  }
}

asio::awaitable<SandboxPtr> Fleet::create(const emu::Account& account, CreateRequest request) {
  check(account, request);
  const Image& image = images_.find(account, request.definition.image_id());
  if (!image.failure.empty()) throw grpc::CallError(grpc::Code::failed_precondition, image.failure);
  auto sandbox = std::make_shared<Sandbox>(world_.engine, executor_);
  sandbox->created = next_creation();
  sandbox->id = make_sandbox_id(world_.engine, request.backend, sandbox->created);
  sandbox->task_id = make_task_id(world_.engine, request.backend, sandbox->created);
  sandbox->backend = request.backend;
  sandbox->account = account.name;
  sandbox->app_id = request.app_id;
  sandbox->name = request.definition.name();
  sandbox->tags = std::move(request.tags);
  sandbox->definition = std::move(request.definition);
  sandbox->variables = image.variables;
  sandbox->holds_agent = image.holds_agent;
  for (auto& [name, value] : request.variables) sandbox->variables[name] = value;
  sandbox->variables["MODAL_SANDBOX_ID"] = sandbox->id;
  sandbox->variables["MODAL_TASK_ID"] = sandbox->task_id;
  sandbox->folder = sandbox->definition.workdir();
  if (sandbox->folder.empty()) sandbox->folder = image.folder.empty() ? kFolder : image.folder;
  const auto& arguments = sandbox->definition.entrypoint_args();
  std::vector<std::string> command(arguments.begin(), arguments.end());
  if (command.empty()) command = image.command;
  std::exception_ptr failure;
  // Its name is taken from now on.
  sandboxes_.emplace(sandbox->id, sandbox);
  tasks_.emplace(sandbox->task_id, sandbox->id);
  try {
    co_await begin(sandbox, std::move(command));
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    wire_result result = make_result(wire_result::GENERIC_STATUS_INIT_FAILURE);
    co_await end(sandbox, std::move(result));
    try {
      std::rethrow_exception(failure);
    } catch (const Error& error) {
      throw not_placed(error);
    }
  }
  if (!running(*sandbox)) throw grpc::CallError(grpc::Code::aborted, "The Sandbox was ended while it began");
  const std::uint32_t lifetime = sandbox->definition.timeout_secs();
  sandbox->ends = sandbox->created + std::chrono::seconds(lifetime == 0 ? kDefaultLifetime : lifetime);
  const std::weak_ptr<Sandbox> weak = sandbox;
  sandbox->expiry = world_.clock.at(sandbox->ends, [this, weak] { return expire(weak); });
  sandbox->last_used = sandbox->created;
  watch_idleness(sandbox);
  if (sandbox->main) endings_.spawn(run_main(*this, sandbox));
  co_return sandbox;
}

void Fleet::set_name(const SandboxPtr& sandbox, const std::string& name) {
  if (!is_name(name)) throw invalid("Invalid Sandbox name: " + name);
  if (!running(*sandbox)) throw grpc::CallError(grpc::Code::failed_precondition, "The Sandbox has finished");
  const SandboxPtr other = find_name(sandbox->app_id, name, false);
  if (other && other != sandbox) {
    throw grpc::CallError(grpc::Code::already_exists,
                          "A Sandbox with the name '" + name + "' is already running in this App");
  }
  if (!sandbox->name.empty() && sandbox->name != name)
    throw grpc::CallError(grpc::Code::failed_precondition, "The Sandbox has a name already");
  sandbox->name = name;
}

asio::awaitable<std::shared_ptr<Exec>> Fleet::start(SandboxPtr sandbox, std::string exec_id,
                                                    std::function<std::shared_ptr<Exec>()> make) {
  std::shared_ptr<Exec> exec;
  const auto known = sandbox->execs.find(exec_id);
  if (known != sandbox->execs.end()) {
    exec = known->second;
  } else {
    exec = make();
    forget_output(*sandbox);
    sandbox->execs[exec_id] = exec;
    sandbox->exec_order.push_back(exec_id);
    sandbox->tasks.spawn(Exec::run(exec));
  }
  sandbox->last_used = world_.clock.now();
  co_await exec->started();
  co_return exec;
}

// Of the commands that have ended, the oldest go first.
void Fleet::forget_output(Sandbox& sandbox) {
  std::size_t retained = 0;
  for (const auto& [id, exec] : sandbox.execs) {
    if (exec->over()) retained += exec->out().kept() + exec->error().kept();
  }
  std::deque<std::string> left;
  for (const std::string& id : sandbox.exec_order) {
    const std::shared_ptr<Exec>& exec = sandbox.execs.at(id);
    const bool too_much = retained > kMaxRetained || sandbox.execs.size() >= kMaxExecs;
    if (!too_much || !exec->over()) {
      left.push_back(id);
      continue;
    }
    retained -= exec->out().kept() + exec->error().kept();
    sandbox.execs.erase(id);
  }
  sandbox.exec_order = std::move(left);
}

// ---- End

asio::awaitable<void> Fleet::run_main(Fleet& fleet, SandboxPtr sandbox) {
  const std::shared_ptr<Exec> main = sandbox->main;
  while (!main->over()) (void)co_await main->changed().wait();
  wire_result result = main->exit() ? result_of_exit(*main->exit())
                                    : make_result(wire_result::GENERIC_STATUS_INTERNAL_FAILURE, 1,
                                                  "The Sandbox was lost with its worker");
  co_await fleet.end(sandbox, std::move(result));
}

asio::awaitable<void> Fleet::end(SandboxPtr sandbox, wire_result result) {
  if (sandbox->result) {
    while (sandbox->local) (void)co_await sandbox->changed.wait();
    co_return;
  }
  sandbox->result = std::move(result);
  sandbox->finished = world_.clock.now();
  sandbox->expiry = {};
  sandbox->idleness = {};
  tunnels_.close(*sandbox);
  for (net::HttpExchange* exchange : sandbox->traffic) exchange->abort();
  sandbox->changed.notify_all();
  const std::shared_ptr<emu::LocalSandbox> local = sandbox->local;
  std::exception_ptr failure;
  try {
    if (local) co_await local->destroy(world_.engine.in(kPatience));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  sandbox->tasks.cancel();
  co_await sandbox->tasks.join();
  // A task that had not begun never will.
  for (const auto& [id, exec] : sandbox->execs) exec->give_up();
  if (sandbox->main) sandbox->main->give_up();
  sandbox->execs.clear();
  sandbox->exec_order.clear();
  sandbox->local.reset();
  sandbox->changed.notify_all();
  ended_.push_back(sandbox->id);
  forget_old();
  if (failure) std::rethrow_exception(failure);
}

void Fleet::forget_old() {
  while (ended_.size() > kMaxEnded) {
    const SandboxPtr oldest = find(ended_.front());
    if (oldest) tasks_.erase(oldest->task_id);
    sandboxes_.erase(ended_.front());
    ended_.pop_front();
  }
}

asio::awaitable<void> Fleet::expire(std::weak_ptr<Sandbox> weak) {
  const SandboxPtr sandbox = weak.lock();
  if (!sandbox || !running(*sandbox)) co_return;
  wire_result result = make_result(wire_result::GENERIC_STATUS_TIMEOUT, kTimeoutCode, "Sandbox timed out");
  co_await end(sandbox, std::move(result));
}

void Fleet::watch_idleness(const SandboxPtr& sandbox) {
  if (!sandbox->definition.has_idle_timeout_secs()) return;
  const auto patience = std::chrono::seconds(sandbox->definition.idle_timeout_secs());
  const std::weak_ptr<Sandbox> weak = sandbox;
  sandbox->idleness =
      world_.clock.at(sandbox->last_used + patience, [this, weak] { return end_if_idle(weak); });
}

asio::awaitable<void> Fleet::end_if_idle(std::weak_ptr<Sandbox> weak) {
  const SandboxPtr sandbox = weak.lock();
  if (!sandbox || !running(*sandbox)) co_return;
  const bool busy = !sandbox->traffic.empty() || std::ranges::any_of(sandbox->execs, [](const auto& each) {
    return !each.second->over();
  });
  const emu::Time now = world_.clock.now();
  if (busy) sandbox->last_used = now;
  const auto patience = std::chrono::seconds(sandbox->definition.idle_timeout_secs());
  if (sandbox->last_used + patience > now) {
    watch_idleness(sandbox);
    co_return;
  }
  wire_result result = make_result(wire_result::GENERIC_STATUS_IDLE_TIMEOUT, 0, "Sandbox was idle");
  co_await end(sandbox, std::move(result));
}

asio::awaitable<bool> Fleet::fail(std::string id) {
  const SandboxPtr sandbox = find(id);
  if (!sandbox || !running(*sandbox)) co_return false;
  wire_result result =
      make_result(wire_result::GENERIC_STATUS_INTERNAL_FAILURE, 1, "The Sandbox was lost with its worker");
  co_await end(sandbox, std::move(result));
  co_return true;
}

asio::awaitable<void> Fleet::close() {
  for (const SandboxPtr& each : all()) {
    wire_result result = terminated();
    co_await end(each, std::move(result));
  }
  endings_.cancel();
  co_await endings_.join();
}

}  // namespace sandkey::modal::emulator
