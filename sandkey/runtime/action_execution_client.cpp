#include "sandkey/runtime/action_execution_client.h"

#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/event_stream.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/runtime/ledger.h"
#include "sandkey/runtime/shell_quote.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <utility>

namespace sandkey {
namespace {

namespace fs = std::filesystem;

// OpenHands gives the server this much longer than the action.
constexpr std::chrono::seconds kReplySlack{5};
constexpr std::chrono::seconds kAliveTimeout{5};
constexpr std::chrono::seconds kListTimeout{10};
constexpr std::chrono::seconds kTransferTimeout{600};
constexpr std::chrono::seconds kCloseTimeout{30};
// How long a creation is waited for whose caller gave up.
constexpr std::chrono::seconds kCreateGrace{10};
// Between questions whether the agent is alive: quick at first, since most are.
constexpr std::chrono::milliseconds kFirstProbePause{10};
constexpr std::chrono::milliseconds kLongestProbePause{1000};
// Between questions whether another process has created the session's sandbox.
constexpr std::chrono::milliseconds kLongestClaimPause{250};
constexpr std::chrono::hours kDefaultLease{1};
constexpr std::chrono::seconds kRenewalTimeout{30};
// After a renewal that failed; doubled each time, up to a third of the lease.
constexpr std::chrono::seconds kFirstRenewalPause{1};
constexpr std::size_t kLongestSid = 256;

std::chrono::milliseconds seconds_to_ms(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::clamp(seconds, 0.0, 1e8) * 1000));
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// A Python string literal: JSON's escapes are all Python's, too.
std::string python_quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out += '"';
}

void require_variables(const std::map<std::string, std::string>& variables) {
  for (const auto& [name, value] : variables) {
    if (!is_shell_name(name)) {
      throw Error(ErrorCode::invalid_argument,
                  "setting environment variables: '" + name + "' cannot be the name of a variable");
    }
    if (value.find('\0') != std::string::npos) {
      throw Error(ErrorCode::invalid_argument,
                  "setting environment variables: the value of " + name + " holds a NUL byte");
    }
    if (!utf8::is_valid(value)) {  // it travels as JSON, which would change it
      throw Error(ErrorCode::invalid_argument,
                  "setting environment variables: the value of " + name + " is not valid UTF-8");
    }
  }
}

void require_sid(const std::string& sid) {
  const bool control = std::any_of(sid.begin(), sid.end(),
                                   [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; });
  if (sid.empty() || sid.size() > kLongestSid || control || !utf8::is_valid(sid)) {
    throw Error(ErrorCode::invalid_argument, "making a runtime: a session id has 1 to " +
                                                 std::to_string(kLongestSid) +
                                                 " bytes of UTF-8 without control characters");
  }
}

// As shell_quote(), but on one line; for bash.
std::string bash_quote_line(const std::string& text) {
  std::string out;
  for (const char c : shell_quote(text)) {
    if (c == '\n') {
      out += "'$'\\n''";
    } else {
      out += c;
    }
  }
  return out;
}

// A value in git's configuration files.
std::string git_quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out += '"';
}

Error with_phase(const Error& error, const std::string& phase) {
  ErrorContext context = error.context();
  context.operation = "connect";
  context.phase = phase;
  const std::string message = "connecting (" + phase + "): " + error.what();
  return Error(error.code(), message, std::move(context));
}

}  // namespace

std::string_view to_string(RuntimeStatus status) noexcept {
  switch (status) {
    case RuntimeStatus::stopped:
      return "STATUS$STOPPED";
    case RuntimeStatus::starting_runtime:
      return "STATUS$STARTING_RUNTIME";
    case RuntimeStatus::runtime_started:
      return "STATUS$RUNTIME_STARTED";
    case RuntimeStatus::setting_up_workspace:
      return "STATUS$SETTING_UP_WORKSPACE";
    case RuntimeStatus::ready:
      return "STATUS$READY";
    case RuntimeStatus::error:
      return "STATUS$ERROR";
    case RuntimeStatus::disconnected:
      return "STATUS$ERROR_RUNTIME_DISCONNECTED";
  }
  return "STATUS$ERROR";
}

// All of its state is touched on executor_ only, except what is const and what is atomic.
class ActionExecutionClient::Impl : public std::enable_shared_from_this<ActionExecutionClient::Impl> {
 public:
  Impl(Engine& engine, std::shared_ptr<Provider> provider, OpenHandsConfig config,
       std::shared_ptr<EventStream> stream, std::string sid, RuntimeOptions options)
      : engine_(engine),
        executor_(engine.executor()),
        provider_(std::move(provider)),
        config_(std::move(config)),
        stream_(std::move(stream)),
        sid_(std::move(sid)),
        options_(std::move(options)),
        instance_(make_instance()),
        turnstile_(executor_),
        background_(engine, executor_) {
    if (!provider_) throw Error(ErrorCode::invalid_argument, "making a runtime: there is no provider");
    require_sid(sid_);
    for (const auto& [name, value] : config_.sandbox.initial_env_vars) env_vars_[upper(name)] = value;
    for (const auto& [name, value] : options_.env_vars) env_vars_[upper(name)] = value;
    std::map<std::string, Secret> masked;
    for (const auto& [provider_name, token] : options_.git_provider_tokens) {
      const std::string name = upper(provider_name) + "_TOKEN";
      env_vars_[name] = std::string(token.expose());
      masked.emplace(name, token.clone());
    }
    require_variables(env_vars_);
    require_variables(config_.sandbox.runtime_startup_env_vars);
    if (stream_ && !masked.empty()) stream_->update_secrets(std::move(masked));
  }

  ~Impl() {
    for (auto& [name, value] : env_vars_) wipe(value.data(), value.size());
  }

  void listen() {
    if (!stream_) return;
    stream_->subscribe(
        EventStreamSubscriber::runtime,
        [weak = weak_from_this()](const EventPtr& event) {
          const auto self = weak.lock();
          const Action* action = std::get_if<Action>(event.get());
          if (self && action != nullptr) self->background_.spawn(answer(self, *action));
        },
        sid_);
    subscribed_ = true;
  }

  void stop_listening() {
    if (subscribed_) stream_->unsubscribe(EventStreamSubscriber::runtime, sid_);
    subscribed_ = false;
    background_.cancel();
  }

  [[nodiscard]] const std::string& sid() const noexcept { return sid_; }
  [[nodiscard]] const OpenHandsConfig& config() const noexcept { return config_; }
  [[nodiscard]] RuntimeStatus status() const noexcept { return status_; }
  [[nodiscard]] const std::shared_ptr<Provider>& provider() const noexcept { return provider_; }
  [[nodiscard]] SandboxId sandbox_id() const {
    if (!connected_) throw not_connected("asking for the sandbox's id");
    return *sandbox_;
  }
  [[nodiscard]] AgentClient& agent() {
    if (!connected_) throw not_connected("using the agent");
    return *agent_;
  }

  // Runs on executor_, whoever calls; `self` since a caller may let go of the runtime meanwhile.
  template <class T>
  static asio::awaitable<T> here(std::shared_ptr<Impl> self, asio::awaitable<T> task) {
    co_return co_await asio::co_spawn(self->executor_, std::move(task), asio::use_awaitable);
  }

  asio::awaitable<void> connect() {
    if (connected_) co_return;
    if (closed_) throw Error(ErrorCode::cancelled, "connecting: the runtime was closed");
    if (connecting_) throw Error(ErrorCode::conflict, "connecting: another connect() is under way");
    struct Connecting {
      bool& flag;
      explicit Connecting(bool& f) : flag(f) { flag = true; }
      ~Connecting() { flag = false; }
      Connecting(const Connecting&) = delete;
      Connecting& operator=(const Connecting&) = delete;
    };
    const Connecting connecting(connecting_);
    const Deadline deadline = engine_.in(config_.sandbox.remote_runtime_init_timeout);
    std::string phase = "find the sandbox";
    std::optional<Error> failed;
    // What takes a while to load, while the sandbox is being made.
    std::optional<BlockingTask> preloading;
    if (!HttpClient::is_loaded()) preloading.emplace(executor_, &HttpClient::preload);
    try {
      if (options_.attach_to_existing) {
        sandbox_ = co_await find_existing(deadline);
      } else {
        set_status(RuntimeStatus::starting_runtime);
        co_await obtain_sandbox(deadline, phase);
      }
      phase = "start the agent";
      co_await provider_->start_agent(*sandbox_, deadline);
      phase = "reach the agent";
      AgentAccess access = co_await provider_->agent_endpoint(*sandbox_, deadline);
      agent_ = std::make_shared<AgentClient>(engine_, std::move(access));
      if (provider_->capabilities().create) agent_->set_sandbox_check([this] { return sandbox_exists(); });
      if (!options_.attach_to_existing) set_status(RuntimeStatus::runtime_started);

      phase = "wait until the agent is alive";
      co_await wait_until_alive(deadline);
      phase = "greet the agent";
      (void)co_await agent_->greet(deadline);
      if (sets_up()) {
        phase = "set up the environment";
        set_status(RuntimeStatus::setting_up_workspace);
        co_await setup_initial_env(deadline);
      }
      if (!closed_) {
        connected_ = true;
        if (lease_) background_.spawn(keep_lease(shared_from_this(), *lease_));
        set_status(RuntimeStatus::ready);
      }
    } catch (const Error& error) {
      failed = with_phase(error, phase);
    }
    if (closed_) {
      if (sandbox_) co_await end_sandbox();  // close() may not have known of it
      throw Error(ErrorCode::cancelled, "connecting: the runtime was closed meanwhile");
    }
    if (!failed) co_return;
    set_status(RuntimeStatus::error, failed->what());
    throw_error(*failed);
  }

  asio::awaitable<void> close() {
    if (!closed_.exchange(true)) {
      connected_ = false;
      stop_listening();
      set_status(RuntimeStatus::stopped);
    }
    if (sandbox_) co_await end_sandbox();  // again, where that failed
  }

  asio::awaitable<bool> check_if_alive() {
    const std::shared_ptr<AgentClient> agent = agent_;  // the next connect() replaces it
    if (!agent) co_return false;
    bool alive = true;
    try {
      co_await agent->alive(engine_.in(kAliveTimeout));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      alive = false;
    }
    co_return alive;
  }

  asio::awaitable<void> pause() {
    if (!sandbox_) throw not_connected("pausing");
    const auto pass = co_await turnstile_.enter();
    const bool was_paused = std::exchange(paused_, true);  // from now on there is no lease to renew
    try {
      co_await provider_->pause(*sandbox_, engine_.in(config_.sandbox.remote_runtime_api_timeout));
    } catch (const Error&) {
      paused_ = was_paused;
      throw;
    }
  }

  asio::awaitable<void> resume() {
    if (!sandbox_) throw not_connected("resuming");
    const Deadline deadline = engine_.in(config_.sandbox.remote_runtime_init_timeout);
    co_await provider_->resume(*sandbox_, deadline);
    paused_ = false;
    // What its provider gives it may be less.
    if (lease_) (void)co_await provider_->renew(*sandbox_, *lease_, deadline);
    if (!agent_) co_return;  // it was never reached: connect() will
    const bool anew = !provider_->capabilities().pause_keeps_processes;
    if (anew) {
      co_await provider_->start_agent(*sandbox_, deadline);
      AgentAccess access = co_await provider_->agent_endpoint(*sandbox_, deadline);
      agent_->set_access(std::move(access));
    }
    co_await wait_until_alive(deadline);
    if (anew && connected_ && sets_up()) co_await setup_initial_env(deadline);
  }

  asio::awaitable<Observation> run_action(Action action) {
    if (!action.runnable()) {
      if (action.as<AgentThinkAction>() != nullptr) {
        co_return Observation("Your thought has been logged.", AgentThinkObservation{});
      }
      co_return Observation("", NullObservation{});
    }
    if (action.confirmation_state() == ActionConfirmationStatus::awaiting_confirmation) {
      co_return Observation("", NullObservation{});
    }
    if (action.confirmation_state() == ActionConfirmationStatus::rejected) {
      co_return Observation("Action has been rejected by the user! Waiting for further user input.",
                            UserRejectObservation{});
    }
    if (action.as<MCPAction>() != nullptr) {
      co_return Observation(
          "Action call_tool_mcp is not supported in the current runtime: MCP tools are called by the "
          "orchestrator.",
          ErrorObservation{.error_id = "AGENT_ERROR$BAD_ACTION"});
    }
    if (const auto* edit = action.as<FileEditAction>();
        edit != nullptr && edit->impl_source == FileEditSource::llm_based_edit) {
      co_return Observation(
          "Action edit with impl_source llm_based_edit needs a language model, which runtimes do "
          "not have. Use impl_source oh_aci.",
          ErrorObservation{.error_id = "AGENT_ERROR$BAD_ACTION"});
    }
    if (!connected_) throw not_connected("running the action '" + std::string(action.type_name()) + "'");
    co_return co_await send(std::move(action));
  }

  asio::awaitable<void> copy_to(fs::path source, std::string destination, bool recursive) {
    AgentClient& agent = this->agent();
    std::error_code error;
    const fs::file_status status = fs::status(source, error);
    if (!fs::exists(status)) {
      throw Error(ErrorCode::not_found,
                  "copying " + source.string() + " to the sandbox: there is no such file");
    }
    if (fs::is_directory(status) != recursive) {
      throw Error(ErrorCode::invalid_argument,
                  "copying " + source.string() + " to the sandbox: it is " +
                      (recursive ? "not a folder" : "a folder; copy it with recursive"));
    }
    const Deadline deadline = engine_.in(kTransferTimeout);
    const fs::path clean = source.lexically_normal();
    const std::string name =
        (clean.has_filename() ? clean.filename() : clean.parent_path().filename()).string();
    if (agent.greeting().protocol == 0) {
      co_await agent.upload_file(std::move(source), std::move(destination), recursive, deadline);
    } else if (recursive) {
      co_await agent.put_tree(std::move(source), destination + "/" + name, deadline);
    } else {
      co_await agent.put_file(std::move(source), destination + "/" + name, deadline);
    }
  }

  asio::awaitable<fs::path> copy_from(std::string path) {
    AgentClient& agent = this->agent();
    std::string name = (fs::temp_directory_path() / "sandkey-XXXXXX.zip").string();
    const int fd = ::mkstemps(name.data(), 4);
    if (fd < 0) throw system_error("copying " + path + " from the sandbox: making a temporary file", errno);
    ::close(fd);
    std::exception_ptr failure;
    try {
      co_await agent.download_files(std::move(path), name, engine_.in(kTransferTimeout));
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) {
      ::unlink(name.c_str());
      std::rethrow_exception(failure);
    }
    co_return fs::path(name);
  }

  asio::awaitable<std::vector<std::string>> list_files(std::optional<std::string> path) {
    return agent().list_files(std::move(path), engine_.in(kListTimeout));
  }

  asio::awaitable<void> add_env_vars(std::map<std::string, std::string> variables) {
    std::map<std::string, std::string> upper_case;
    for (auto& [name, value] : variables) upper_case[upper(name)] = std::move(value);
    require_variables(upper_case);
    if (!connected_) throw not_connected("setting environment variables");
    co_await export_variables(upper_case, kNoDeadline);
  }

 private:
  // Ours is what we created or adopted, or what is left of one who died in creating it; without a ledger,
  // what we did not expressly attach to. Never what is to be kept.
  asio::awaitable<void> end_sandbox() {
    if (!owned_) co_return;
    const SandboxId id = *sandbox_;
    co_await provider_->destroy(id, engine_.in(kCloseTimeout));
    owned_ = false;
    if (options_.ledger) {
      auto forget = [ledger = options_.ledger, sid = sid_, id] { ledger->forget(sid, id); };
      co_await run_blocking(std::move(forget));
    }
  }

  asio::awaitable<SandboxId> find_existing(Deadline deadline) {
    std::optional<LedgerEntry> entry;
    if (options_.ledger) {
      auto look_up = [ledger = options_.ledger, sid = sid_] { return ledger->find(sid); };
      entry = co_await run_blocking(std::move(look_up));
    }
    if (entry && entry->provider != provider_->name()) {
      throw Error(ErrorCode::conflict,
                  "the sandbox of the session '" + sid_ + "' is of the provider '" + entry->provider + "'");
    }
    if (entry && provider_->capabilities().accounts && entry->profile != config_.profile) {
      throw Error(
          ErrorCode::conflict,
          "the sandbox of the session '" + sid_ + "' is in the account " +
              (entry->profile.empty() ? "without a profile" : "of the profile '" + entry->profile + "'") +
              "; choose that one (--profile)");
    }
    std::optional<SandboxId> found;
    if (entry && entry->sandbox) {
      found = entry->sandbox;
    } else {
      found = co_await provider_->find(sid_, deadline);
    }
    if (!found) {
      throw Error(ErrorCode::not_found, "there is no sandbox of the session '" + sid_ +
                                            "'; connect without attach_to_existing to create it");
    }
    const std::optional<SandboxInfo> info = co_await look_at(*found, deadline);
    if (!info) {
      if (entry) {
        auto forget = [ledger = options_.ledger, sid = sid_, id = *found] { ledger->forget(sid, id); };
        co_await run_blocking(std::move(forget));
      }
      throw Error(ErrorCode::not_found, "the sandbox of the session '" + sid_ + "' has ended");
    }
    co_return *found;
  }

  // For an agent that cannot be reached; it is ours, and so goes before us. Throws sandbox_dead where the
  // provider says why.
  asio::awaitable<bool> sandbox_exists() {
    SandboxInfo info;
    try {
      info = co_await provider_->describe(*sandbox_, engine_.in(kAliveTimeout));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;
      info.state = SandboxState::ended;
    }
    co_return info.state != SandboxState::ended;
  }

  // A sandbox that exists, ready to be used: wakes it if it is paused, and learns its lease. Nothing if it
  // has ended.
  asio::awaitable<std::optional<SandboxInfo>> look_at(SandboxId id, Deadline deadline) {
    std::optional<SandboxInfo> info = co_await describe(id, deadline);
    if (info && info->state == SandboxState::paused) {
      co_await provider_->resume(id, deadline);
      info = co_await describe(id, deadline);
    }
    lease_.reset();
    lease_began_.reset();
    const Capabilities can = provider_->capabilities();
    if (info && can.renew && (info->lease || info->lease_end)) {
      // Who asked for ten minutes does not get an hour because somebody looked in, and loses nothing of an
      // hour to one who needs it for a minute.
      std::chrono::seconds left{0};
      if (info->lease_end) {
        left = std::chrono::duration_cast<std::chrono::seconds>(*info->lease_end - engine_.system_now());
      }
      const auto wish = can.fixed_lease ? std::nullopt : config_.sandbox.lease;
      lease_ = std::max(wish.value_or(info->lease.value_or(kDefaultLease)), left);
    }
    co_return info;
  }

  // Nothing of one that has ended.
  asio::awaitable<std::optional<SandboxInfo>> describe(SandboxId id, Deadline deadline) {
    try {
      SandboxInfo info = co_await provider_->describe(std::move(id), deadline);
      if (info.state != SandboxState::ended) co_return info;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::sandbox_dead) throw;
    }
    co_return std::nullopt;
  }

  // A folder of this machine, where the provider can share one. Elsewhere OpenHands passes its setting over,
  // which stands in many a file; who asks for it in code or by a flag is refused instead.
  [[nodiscard]] std::string workspace() const {
    const auto origin = config_.origins.find("workspace_base");
    const bool asked = origin == config_.origins.end() || origin->second.kind == Origin::Kind::program;
    return asked || provider_->capabilities().workspace ? config_.workspace_base : std::string();
  }

  [[nodiscard]] SandboxIntent intent() const {
    SandboxIntent intent;
    intent.sid = sid_;
    intent.working_dir = config_.workspace_mount_path_in_sandbox;
    intent.environment = config_.sandbox.initial_env_vars;
    for (const auto& [name, value] : config_.sandbox.runtime_startup_env_vars)
      intent.environment[name] = value;
    intent.image = config_.sandbox.base_container_image;
    intent.workspace = workspace();
    intent.network = config_.sandbox.network;
    intent.memory_bytes = config_.sandbox.memory_limit;
    intent.disk_bytes = config_.sandbox.disk_limit;
    intent.processes = config_.sandbox.process_limit;
    intent.lease = config_.sandbox.lease;
    intent.keep = config_.sandbox.keep_runtime_alive;
    if (options_.status_callback) {
      intent.progress = [tell = options_.status_callback](const std::string& line) {
        tell("info", RuntimeStatus::starting_runtime, line);
      };
    }
    return intent;
  }

  // Sets sandbox_ and owned_.
  asio::awaitable<void> obtain_sandbox(Deadline deadline, std::string& phase) {
    if (!options_.ledger) {
      co_await asio::this_coro::throw_if_cancelled(false);
      co_await create_claimed(true, deadline, phase);
      co_return;
    }
    std::optional<SandboxId> gone;
    std::chrono::milliseconds pause{10};
    while (true) {
      // A claim that was made is ours to fulfil or to give back, although our caller may be cancelled
      // meanwhile.
      co_await asio::this_coro::throw_if_cancelled(false);
      const LedgerClaim claim = co_await claim_session(gone);
      if (claim.verdict == LedgerClaim::Verdict::create || claim.verdict == LedgerClaim::Verdict::recover) {
        co_await create_claimed(claim.verdict == LedgerClaim::Verdict::recover, deadline, phase);
        co_return;
      }
      co_await asio::this_coro::throw_if_cancelled(true);
      switch (claim.verdict) {
        case LedgerClaim::Verdict::create:
        case LedgerClaim::Verdict::recover:
          break;
        case LedgerClaim::Verdict::adopt:
        case LedgerClaim::Verdict::attach: {
          const std::optional<SandboxInfo> info = co_await look_at(*claim.entry.sandbox, deadline);
          if (info) {
            // Ours, too, if an earlier connect() of ours created it and failed later.
            owned_ =
                claim.verdict == LedgerClaim::Verdict::adopt || (owned_ && sandbox_ == claim.entry.sandbox);
            sandbox_ = claim.entry.sandbox;
            co_return;
          }
          gone = claim.entry.sandbox;
          break;
        }
        case LedgerClaim::Verdict::wait:
          if (closed_) throw Error(ErrorCode::cancelled, "the runtime was closed meanwhile");
          phase = "wait for the process that is creating the sandbox";
          if (engine_.steady_now() + pause >= deadline) {
            throw Error(ErrorCode::deadline_exceeded,
                        "process " + std::to_string(claim.entry.owner.pid) + " on " + claim.entry.owner.host +
                            " has been creating the sandbox of the session '" + sid_ + "' all the time");
          }
          co_await engine_.sleep_for(pause);
          pause = std::min(pause * 2, kLongestClaimPause);
          break;
      }
    }
  }

  asio::awaitable<LedgerClaim> claim_session(std::optional<SandboxId> gone) {
    LedgerEntry wanted;
    wanted.sid = sid_;
    wanted.provider = std::string(provider_->name());
    if (provider_->capabilities().accounts) wanted.profile = config_.profile;
    wanted.owner = ProcessIdentity::current();
    wanted.kept = config_.sandbox.keep_runtime_alive;
    wanted.created = engine_.system_now();
    const bool durable = provider_->capabilities().survives_reboot;
    auto claim = [ledger = options_.ledger, wanted = std::move(wanted), durable, gone = std::move(gone)] {
      return ledger->claim(wanted, durable, gone);
    };
    co_return co_await run_blocking(std::move(claim));
  }

  // It is ours to create. It may exist nevertheless: made by another machine, or by a process that died
  // before it could tell; then it is ours to end if `what_is_left_is_ours`. Sets sandbox_ and owned_. Called
  // with throw_if_cancelled(false), or a cancellation would keep it from being begun.
  asio::awaitable<void> create_claimed(bool what_is_left_is_ours, Deadline deadline, std::string& phase) {
    std::exception_ptr failure;
    try {
      co_await asio::this_coro::throw_if_cancelled(true);
      co_await find_or_create(what_is_left_is_ours, deadline, phase);
      // What became of it is written down even if our caller was cancelled meanwhile.
      co_await asio::this_coro::throw_if_cancelled(false);
      co_await uncancelled(write_down());
    } catch (...) {
      failure = std::current_exception();
    }
    co_await asio::this_coro::throw_if_cancelled(false);
    if (failure) {
      const bool nothing_happened = processed_in(failure) == Processed::no;
      co_await uncancelled(give_up_creation(what_is_left_is_ours, nothing_happened));
      std::rethrow_exception(failure);
    }
    co_await asio::this_coro::throw_if_cancelled(true);
  }

  asio::awaitable<void> find_or_create(bool what_is_left_is_ours, Deadline deadline, std::string& phase) {
    attempt_.clear();
    const bool keep = config_.sandbox.keep_runtime_alive;
    std::optional<SandboxId> found = co_await provider_->find(sid_, deadline);
    if (found) {
      const std::optional<SandboxInfo> info = co_await look_at(*found, deadline);
      if (info) {
        sandbox_ = std::move(found);
        owned_ = what_is_left_is_ours && !keep && !info->kept;
        co_return;
      }
    }
    phase = "create the sandbox";
    CreatedSandbox created = co_await create_sandbox(deadline);
    sandbox_ = std::move(created.id);
    owned_ = created.own && !keep;
  }

  asio::awaitable<void> write_down() {
    if (!options_.ledger) co_return;
    std::optional<std::chrono::system_clock::time_point> lease_end;
    if (lease_) lease_end = engine_.system_now() + *lease_;
    auto enter = [ledger = options_.ledger, sid = sid_, id = *sandbox_, lease_end, kept = !owned_] {
      (void)ledger->created(sid, ProcessIdentity::current(), id, lease_end, kept);
    };
    co_await run_blocking(std::move(enter));
  }

  [[nodiscard]] static Processed processed_in(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const Error& error) {
      return error.context().processed;
    } catch (...) {
      return Processed::unknown;
    }
  }

  asio::awaitable<CreatedSandbox> create_sandbox(Deadline deadline) {
    SandboxIntent wanted = intent();
    provider_->check(wanted);
    if (options_.status_callback) {
      for (const std::string& warning : provider_->account().warnings) {
        options_.status_callback("warning", status_, std::string(provider_->name()) + ": " + warning);
      }
    }
    const Capabilities can = provider_->capabilities();
    if (can.renew) {
      lease_ = wanted.lease;
      if (!lease_ && wanted.keep) lease_ = kDefaultLease;
      if (!lease_) lease_ = can.default_lease;
    }
    if (lease_) wanted.lease = lease_;
    lease_began_ = engine_.steady_now();
    wanted.attempt = attempt_ = make_instance();
    co_return co_await create_to_its_end(std::move(wanted), deadline);
  }

  // What a cloud makes of a request that was sent only its answer tells; a sandbox made after we looked would
  // be nobody's. So a creation whose caller gives up goes on for a while, and what came of it is ended.
  asio::awaitable<CreatedSandbox> create_to_its_end(SandboxIntent wanted, Deadline deadline) {
    std::optional<CreatedSandbox> made;
    std::exception_ptr failure;
    asio::steady_timer ended(executor_, asio::steady_timer::time_point::max());
    const auto create = [&]() -> asio::awaitable<void> {
      try {
        made = co_await provider_->create(std::move(wanted), deadline);
      } catch (...) {
        failure = std::current_exception();
      }
      ended.cancel();
    };
    TaskGroup creating(engine_, executor_);
    creating.spawn(create());
    (void)co_await ended.async_wait(asio::as_tuple(asio::use_awaitable));  // or until our caller gives up
    co_await asio::this_coro::throw_if_cancelled(false);
    const bool given_up =
        (co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none;
    try {
      co_await uncancelled(engine_.with_deadline(creating.join(), engine_.in(kCreateGrace), "create"));
    } catch (const Error& error) {
      if (!failure && !made) failure = std::make_exception_ptr(error);
    }
    if (given_up && made) {
      if (made->own) co_await uncancelled(provider_->destroy(made->id, engine_.in(kCloseTimeout)));
      attempt_.clear();  // nothing is left of it
      failure = std::make_exception_ptr(Error(ErrorCode::cancelled, "the caller gave up"));
    }
    co_await asio::this_coro::throw_if_cancelled(true);
    if (failure) std::rethrow_exception(failure);
    co_return *made;
  }

  // A creation that failed leaves nothing, says its provider; one that was broken off may have. What is found
  // is ended if this attempt of ours made it, and otherwise is somebody's. Where nobody can tell, the
  // ledger's entry stays, so that whoever comes next looks again. The failure is told, and not what fails
  // here.
  asio::awaitable<void> give_up_creation(bool recovering, bool nothing_happened) {
    bool certain = attempt_.empty() ? !recovering : nothing_happened;
    sandbox_.reset();
    owned_ = false;
    try {
      if (!attempt_.empty()) {
        const std::optional<SandboxId> left = co_await provider_->find(sid_, engine_.in(kCloseTimeout));
        std::optional<SandboxInfo> info;
        if (left) info = co_await describe(*left, engine_.in(kCloseTimeout));
        if (info && info->attempt == attempt_) {
          co_await provider_->destroy(*left, engine_.in(kCloseTimeout));
          certain = true;
        }
      }
    } catch (const Error&) {
      certain = false;
    }
    attempt_.clear();
    if (!options_.ledger) co_return;
    auto tell = [ledger = options_.ledger, sid = sid_, certain] {
      const ProcessIdentity owner = ProcessIdentity::current();
      certain ? ledger->abandon(sid, owner) : ledger->release(sid, owner);
    };
    try {
      co_await run_blocking(std::move(tell));
    } catch (const Error&) {
      co_return;  // it says so to the next who asks it
    }
  }

  static asio::awaitable<void> keep_lease(std::shared_ptr<Impl> self, std::chrono::seconds lease) {
    Engine& engine = self->engine_;
    const std::chrono::milliseconds third = std::chrono::milliseconds(lease) / 3;
    auto next = self->lease_began_ ? *self->lease_began_ + third : engine.steady_now();
    auto pause = std::min<std::chrono::milliseconds>(kFirstRenewalPause, third);
    while (true) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - engine.steady_now());
      if (left > std::chrono::milliseconds(0)) co_await engine.sleep_for(left);
      bool renewed = self->paused_;  // then it has no lease
      std::optional<Error> failed;
      if (!renewed) {
        try {
          co_await self->renew(lease, engine.in(std::min<std::chrono::milliseconds>(third, kRenewalTimeout)));
          renewed = true;
        } catch (const Error& error) {
          if (error.code() == ErrorCode::cancelled) throw;
          failed = error;
        }
      }
      if (renewed) {
        next = engine.steady_now() + third;
        pause = std::min<std::chrono::milliseconds>(kFirstRenewalPause, third);
        continue;
      }
      const bool is_gone =
          failed->code() == ErrorCode::not_found || failed->code() == ErrorCode::sandbox_dead;
      if (is_gone && !self->paused_) {
        const bool ended = co_await self->has_ended();  // or else somebody paused it
        if (ended) {
          self->set_status(RuntimeStatus::disconnected, failed->what());
          co_return;
        }
      }
      next = engine.steady_now() + pause;
      pause = std::min(pause * 2, third);
    }
  }

  asio::awaitable<void> renew(std::chrono::seconds lease, Deadline deadline) {
    const SandboxId id = *sandbox_;
    const auto end = co_await provider_->renew(id, lease, deadline);
    if (!options_.ledger) co_return;
    auto enter = [ledger = options_.ledger, sid = sid_, id, end] { ledger->renewed(sid, id, end); };
    co_await run_blocking(std::move(enter));
  }

  // What cannot be found out does not count.
  asio::awaitable<bool> has_ended() {
    try {
      const std::optional<SandboxInfo> info = co_await describe(*sandbox_, engine_.in(kAliveTimeout));
      co_return !info;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
    }
    co_return false;
  }

  // Goes on to its end although our caller was cancelled.
  asio::awaitable<void> uncancelled(asio::awaitable<void> task) {
    co_await asio::co_spawn(executor_, std::move(task),
                            asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
  }

  [[nodiscard]] std::string make_instance() const {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(engine_.random()));
    return text;
  }

  [[nodiscard]] Error not_connected(const std::string& what) const {
    return Error(
        ErrorCode::invalid_argument,
        what + (closed_ ? ": the runtime is closed" : ": the runtime is not connected; call connect() first"),
        {.provider = std::string(provider_->name()),
         .operation = what,
         .phase = {},
         .request_id = {},
         .processed = Processed::no});
  }

  void set_status(RuntimeStatus status, const std::string& message = {}) {
    status_ = status;
    const bool bad = status == RuntimeStatus::error || status == RuntimeStatus::disconnected;
    if (options_.status_callback) options_.status_callback(bad ? "error" : "info", status, message);
  }

  asio::awaitable<void> wait_until_alive(Deadline deadline) {
    auto pause = kFirstProbePause;
    std::string last = "it was not asked yet";
    while (true) {
      try {
        co_await agent_->alive(std::min(deadline, engine_.in(kAliveTimeout)));
        co_return;
      } catch (const Error& error) {
        // Only what time may cure is asked again: a refused key is refused again.
        const bool later = error.code() == ErrorCode::unavailable ||
                           error.code() == ErrorCode::deadline_exceeded ||
                           error.code() == ErrorCode::internal || error.code() == ErrorCode::rate_limited;
        if (!later || error.context().permanent) throw;
        last = error.what();
      }
      if (closed_) throw Error(ErrorCode::cancelled, "the runtime was closed meanwhile");
      if (engine_.steady_now() + pause >= deadline) {
        throw Error(ErrorCode::deadline_exceeded,
                    "the agent did not answer within " +
                        std::to_string(config_.sandbox.remote_runtime_init_timeout.count()) +
                        " s; the last try: " + last);
      }
      co_await engine_.sleep_for(pause);
      pause = std::min(pause * 2, kLongestProbePause);
    }
  }

  [[nodiscard]] bool wants_python() const {
    return std::any_of(options_.plugins.begin(), options_.plugins.end(),
                       [](const PluginRequirement& plugin) { return plugin.name == "jupyter"; });
  }

  [[nodiscard]] bool sets_up() const { return !options_.attach_to_existing && options_.setup_environment; }

  asio::awaitable<void> setup_initial_env(Deadline deadline) {
    std::map<std::string, std::string> variables = env_vars_;
    for (const auto& [name, value] : config_.sandbox.runtime_startup_env_vars) variables[upper(name)] = value;
    if (config_.sandbox.enable_auto_lint) variables["ENABLE_AUTO_LINT"] = "true";
    if (wants_python() && agent_->greeting().protocol > 0 && agent_->greeting().python) {
      co_await agent_->warm_python(deadline);
    }
    co_await export_variables(variables, deadline);
    // Usually there is no configuration yet, and writing one takes no other program. A failure only means
    // that git is not there, or that its configuration cannot be written.
    const std::string& name = config_.git_user_name;
    const std::string& email = config_.git_user_email;
    CmdRunAction git{.command =
                         "if [ -e ~/.gitconfig ] || [ -e \"${XDG_CONFIG_HOME:-$HOME/.config}/git/config\" ]; "
                         "then git config --global user.name " +
                         shell_quote(name) + " && git config --global user.email " + shell_quote(email) +
                         "; else printf '[user]\\n\\tname = %s\\n\\temail = %s\\n' " +
                         shell_quote(git_quote(name)) + " " + shell_quote(git_quote(email)) +
                         " > ~/.gitconfig; fi"};
    git.hidden = true;
    (void)co_await send(Action(std::move(git)), deadline);
  }

  asio::awaitable<void> export_variables(const std::map<std::string, std::string>& variables,
                                         Deadline deadline) {
    if (variables.empty()) co_return;
    if (wants_python()) {
      std::string code = "import os\n";
      for (const auto& [name, value] : variables)
        code += "os.environ[" + python_quote(name) + "] = " + python_quote(value) + "\n";
      IPythonRunCellAction cell{.code = std::move(code), .include_extra = false};
      (void)co_await send(Action(std::move(cell)), deadline);  // an image without Python still has a shell
    }
    // One logical line, since values may hold line breaks and several commands at once are refused.
    // ~/.bashrc, for the shells to come, gets a line more only where the last one for a variable says
    // something else.
    std::string command;
    for (const auto& [name, value] : variables) {
      const std::string line = shell_quote("export " + name + "=" + bash_quote_line(value));
      if (!command.empty()) command += " && ";
      command += "export " + name + "=" + shell_quote(value) + " && { [ \"$(grep " +
                 shell_quote("^export " + name + "=") + " ~/.bashrc 2>/dev/null | tail -n 1)\" = " + line +
                 " ] || printf '%s\\n' " + line + " >> ~/.bashrc; }";
    }
    CmdRunAction run{.command = std::move(command)};
    run.hidden = true;
    const Observation result = co_await send(Action(std::move(run)), deadline);
    const auto* output = result.as<CmdOutputObservation>();
    if (output == nullptr || output->metadata.exit_code != 0) {
      // The command holds values that may be secret, so only its outcome is told.
      throw Error(ErrorCode::internal,
                  "setting environment variables: the shell said no (exit code " +
                      (output ? std::to_string(output->metadata.exit_code) : std::string("unknown")) + ")");
    }
  }

  asio::awaitable<Observation> send(Action action, Deadline limit = kNoDeadline) {
    if (!action.timeout) {
      const auto* run = action.as<CmdRunAction>();
      if (run != nullptr && run->blocking) {
        throw Error(
            ErrorCode::invalid_argument,
            "running a command: a blocking command needs a timeout, or nothing would ever end the wait");
      }
      action.set_hard_timeout(static_cast<double>(config_.sandbox.timeout.count()), false);
    }
    const auto pass = co_await turnstile_.enter();
    if (closed_) throw not_connected("running the action '" + std::string(action.type_name()) + "'");
    const Deadline deadline = std::min(limit, engine_.in(seconds_to_ms(*action.timeout) + kReplySlack));
    const std::string key = instance_ + "-" + std::to_string(next_key_++);
    const bool hidden = action.as<CmdRunAction>() != nullptr && action.as<CmdRunAction>()->hidden;
    Observation observation = co_await agent_->execute_action(std::move(action), key, deadline);
    if (auto* output = observation.as<CmdOutputObservation>(); output != nullptr && hidden)
      output->hidden = true;
    co_return observation;
  }

  static asio::awaitable<void> answer(std::shared_ptr<Impl> self, Action action) {
    Observation observation;
    try {
      Action copy = action;
      // A stream's actions never wait forever, whatever they say.
      if (!copy.timeout)
        copy.set_hard_timeout(static_cast<double>(self->config_.sandbox.timeout.count()), false);
      observation = co_await self->run_action(std::move(copy));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      if (error.code() == ErrorCode::permission_denied) {
        observation = Observation(error.what(), ErrorObservation{});
      } else {
        self->set_status(
            error.code() == ErrorCode::unavailable ? RuntimeStatus::disconnected : RuntimeStatus::error,
            error.what());
        co_return;
      }
    }
    if (observation.as<NullObservation>() != nullptr) co_return;
    observation.cause = action.id;
    observation.tool_call_metadata = action.tool_call_metadata;
    observation.id = EventHeader::kNoId;
    self->stream_->add_event(std::move(observation), action.source.value_or(EventSource::agent));
  }

  Engine& engine_;
  asio::any_io_executor executor_;
  std::shared_ptr<Provider> provider_;
  const OpenHandsConfig config_;
  std::shared_ptr<EventStream> stream_;
  const std::string sid_;
  RuntimeOptions options_;
  const std::string instance_;  // makes this runtime's idempotency keys its own
  std::map<std::string, std::string> env_vars_;
  std::atomic<RuntimeStatus> status_{RuntimeStatus::stopped};
  std::atomic<bool> subscribed_{false};

  std::uint64_t next_key_ = 0;
  std::atomic<bool> connected_{false};
  std::atomic<bool> closed_{false};
  bool connecting_ = false;
  std::optional<SandboxId> sandbox_;
  bool owned_ = false;                         // close() ends it
  std::optional<std::chrono::seconds> lease_;  // what it is renewed to
  // When it began, as far as we know; else it is renewed at once.
  std::optional<std::chrono::steady_clock::time_point> lease_began_;
  bool paused_ = false;  // by us
  std::string attempt_;  // to create, that may have left something; empty: none
  std::shared_ptr<AgentClient> agent_;
  Turnstile turnstile_;
  TaskGroup background_;  // answers to the stream, and the lease
};

ActionExecutionClient::ActionExecutionClient(Engine& engine, std::shared_ptr<Provider> provider,
                                             const OpenHandsConfig& config,
                                             std::shared_ptr<EventStream> event_stream, std::string sid,
                                             RuntimeOptions options)
    : engine_(engine),
      impl_(std::make_shared<Impl>(engine, std::move(provider), config, std::move(event_stream),
                                   std::move(sid), std::move(options))) {
  impl_->listen();
}

ActionExecutionClient::~ActionExecutionClient() {
  impl_->stop_listening();
}

const std::string& ActionExecutionClient::sid() const noexcept {
  return impl_->sid();
}
const OpenHandsConfig& ActionExecutionClient::config() const noexcept {
  return impl_->config();
}
RuntimeStatus ActionExecutionClient::status() const noexcept {
  return impl_->status();
}
const std::shared_ptr<Provider>& ActionExecutionClient::provider() const noexcept {
  return impl_->provider();
}
SandboxId ActionExecutionClient::sandbox_id() const {
  return impl_->sandbox_id();
}
AgentClient& ActionExecutionClient::agent() {
  return impl_->agent();
}

asio::awaitable<void> ActionExecutionClient::async_connect() {
  return Impl::here(impl_, impl_->connect());
}
asio::awaitable<void> ActionExecutionClient::async_close() {
  return Impl::here(impl_, impl_->close());
}
asio::awaitable<bool> ActionExecutionClient::async_check_if_alive() {
  return Impl::here(impl_, impl_->check_if_alive());
}
asio::awaitable<void> ActionExecutionClient::async_pause() {
  return Impl::here(impl_, impl_->pause());
}
asio::awaitable<void> ActionExecutionClient::async_resume() {
  return Impl::here(impl_, impl_->resume());
}
asio::awaitable<Observation> ActionExecutionClient::async_run_action(Action action) {
  return Impl::here(impl_, impl_->run_action(std::move(action)));
}
asio::awaitable<Observation> ActionExecutionClient::async_run(CmdRunAction action,
                                                              std::optional<double> timeout) {
  const bool blocking = action.blocking;
  Action event(std::move(action));
  if (timeout) event.set_hard_timeout(timeout, blocking);
  return async_run_action(std::move(event));
}
asio::awaitable<Observation> ActionExecutionClient::async_run_ipython(IPythonRunCellAction action,
                                                                      std::optional<double> timeout) {
  return async_run_action(Action(std::move(action), timeout));
}
asio::awaitable<Observation> ActionExecutionClient::async_read(FileReadAction action) {
  return async_run_action(Action(std::move(action)));
}
asio::awaitable<Observation> ActionExecutionClient::async_write(FileWriteAction action) {
  return async_run_action(Action(std::move(action)));
}
asio::awaitable<Observation> ActionExecutionClient::async_edit(FileEditAction action) {
  return async_run_action(Action(std::move(action)));
}
asio::awaitable<void> ActionExecutionClient::async_copy_to(fs::path host_src, std::string sandbox_dest,
                                                           bool recursive) {
  return Impl::here(impl_, impl_->copy_to(std::move(host_src), std::move(sandbox_dest), recursive));
}
asio::awaitable<fs::path> ActionExecutionClient::async_copy_from(std::string path) {
  return Impl::here(impl_, impl_->copy_from(std::move(path)));
}
asio::awaitable<std::vector<std::string>> ActionExecutionClient::async_list_files(
    std::optional<std::string> path) {
  return Impl::here(impl_, impl_->list_files(std::move(path)));
}
asio::awaitable<void> ActionExecutionClient::async_add_env_vars(
    std::map<std::string, std::string> variables) {
  return Impl::here(impl_, impl_->add_env_vars(std::move(variables)));
}

void ActionExecutionClient::connect() {
  engine_.wait(async_connect());
}
void ActionExecutionClient::close() {
  engine_.wait(async_close());
}
bool ActionExecutionClient::check_if_alive() {
  return engine_.wait(async_check_if_alive());
}
void ActionExecutionClient::pause() {
  engine_.wait(async_pause());
}
void ActionExecutionClient::resume() {
  engine_.wait(async_resume());
}
Observation ActionExecutionClient::run_action(Action action) {
  return engine_.wait(async_run_action(std::move(action)));
}
Observation ActionExecutionClient::run(const CmdRunAction& action, std::optional<double> timeout) {
  return engine_.wait(async_run(action, timeout));
}
Observation ActionExecutionClient::run_ipython(const IPythonRunCellAction& action,
                                               std::optional<double> timeout) {
  return engine_.wait(async_run_ipython(action, timeout));
}
Observation ActionExecutionClient::read(const FileReadAction& action) {
  return engine_.wait(async_read(action));
}
Observation ActionExecutionClient::write(const FileWriteAction& action) {
  return engine_.wait(async_write(action));
}
Observation ActionExecutionClient::edit(const FileEditAction& action) {
  return engine_.wait(async_edit(action));
}
void ActionExecutionClient::copy_to(const fs::path& host_src, const std::string& sandbox_dest,
                                    bool recursive) {
  engine_.wait(async_copy_to(host_src, sandbox_dest, recursive));
}
fs::path ActionExecutionClient::copy_from(const std::string& path) {
  return engine_.wait(async_copy_from(path));
}
std::vector<std::string> ActionExecutionClient::list_files(std::optional<std::string> path) {
  return engine_.wait(async_list_files(std::move(path)));
}
void ActionExecutionClient::add_env_vars(const std::map<std::string, std::string>& variables) {
  engine_.wait(async_add_env_vars(variables));
}

RuntimeOptions with_user_ledger(Engine& engine, RuntimeOptions options) {
  if (!options.ledger) options.ledger = open_user_ledger(engine);
  return options;
}

}  // namespace sandkey
