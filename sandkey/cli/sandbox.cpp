#include "sandkey/cli/sandbox.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/base/utf8.h"
#include "sandkey/cli/values.h"
#include "sandkey/net/url.h"
#include "sandkey/providers/registry.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/runtime/fixed_agent.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <limits>
#include <utility>

namespace sandkey::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAgentTimeout = "10s";  // it runs already, or it does not
constexpr std::chrono::seconds kRequestTimeout{60};

// The first key of the file; the agent may know several.
Secret read_key(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw system_error("reading the session key file " + path, errno);
  std::array<char, 4096> buffer{};
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  if (n < 0) throw system_error("reading the session key file " + path, errno);
  std::string_view rest(buffer.data(), static_cast<std::size_t>(n));
  Secret key;
  while (!rest.empty() && key.empty()) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty() && line.front() != '#') key = Secret(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  wipe(buffer.data(), buffer.size());
  if (key.empty())
    throw Error(ErrorCode::credential_missing,
                "reading the session key file " + path + ": there is no key in it");
  return key;
}

// An option, or else its variable; one that is set to nothing counts as unset.
std::optional<std::string> option_or_variable(const Context& context,
                                              const std::optional<std::string>& option,
                                              const char* variable) {
  if (option) return option;
  std::optional<std::string> value = context.environment(variable);
  if (value && value->empty()) value.reset();
  return value;
}

// The names of OpenHands' own runtimes stand in many a config.toml, and mean nothing to us.
bool is_openhands_runtime(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames{"docker", "eventstream", "remote", "kubernetes", "cli"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

std::shared_ptr<Provider> fixed_agent(const Context& context, const AgentOptions& options) {
  const auto address = option_or_variable(context, options.address, "SANDKEY_AGENT");
  Endpoint endpoint = Endpoint::parse(address.value_or(""), "--agent");
  const auto key_file = option_or_variable(context, options.session_key_file, "SANDKEY_SESSION_KEY_FILE");
  Secret key = key_file ? read_key(*key_file) : Secret();
  return std::make_shared<FixedAgent>(std::move(endpoint), std::move(key));
}

void check_sid(const std::string& sid) {
  constexpr std::size_t kMaxSid = 256;  // as ActionExecutionClient has it
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  std::string wrong;
  if (sid.empty()) {
    wrong = "it is empty";
  } else if (sid.size() > kMaxSid) {
    wrong = "it has more than " + std::to_string(kMaxSid) + " bytes";
  } else if (std::any_of(sid.begin(), sid.end(), is_control)) {
    wrong = "it has control characters";
  } else if (!utf8::is_valid(sid)) {
    wrong = "it is not UTF-8";
  }
  if (!wrong.empty()) throw Error(ErrorCode::invalid_argument, "reading --sid: " + wrong);
}

// Those that are given and say what a sandbox is to be when it is made.
std::vector<std::string_view> creation_options(const SandboxOptions& options) {
  const std::array<std::pair<bool, std::string_view>, 8> all{{
      {options.image.has_value(), "--image"},
      {options.workspace.has_value(), "--workspace"},
      {options.network, "--network"},
      {options.memory.has_value(), "--memory"},
      {options.disk.has_value(), "--disk"},
      {options.processes.has_value(), "--processes"},
      {options.lease.has_value(), "--lease"},
      {options.keep, "--keep"},
  }};
  std::vector<std::string_view> given;
  for (const auto& [is_given, name] : all) {
    if (is_given) given.push_back(name);
  }
  return given;
}

bool uses_agent(const Context& context, const SandboxOptions& options) {
  // A provider or a session on the command line is a plainer word than a variable.
  if (!options.agent.address && (options.provider || options.sid)) return false;
  if (!has_agent(context, options.agent)) return false;
  std::vector<std::string_view> given = creation_options(options);
  if (options.provider) given.emplace_back("--provider");
  if (options.sid) given.emplace_back("--sid");
  if (!given.empty()) {
    const std::string agent = options.agent.address ? "--agent" : "SANDKEY_AGENT";
    throw Error(ErrorCode::invalid_argument, "choosing a sandbox: " + std::string(given.front()) +
                                                 " does not go with " + agent +
                                                 ", whose sandbox exists already; leave one of them out");
  }
  return true;
}

OpenHandsConfig make_config(Context& context, const SandboxOptions& options, std::string provider) {
  OpenHandsConfig config = context.config();
  config.runtime = std::move(provider);
  if (options.start_timeout) {
    config.sandbox.remote_runtime_init_timeout = parse_seconds(*options.start_timeout, "--start-timeout");
  }
  // Whoever types a command says so himself if something is to stay.
  config.sandbox.keep_runtime_alive = options.keep;
  if (options.image) config.sandbox.base_container_image = *options.image;
  if (options.workspace) {
    config.workspace_base = fs::absolute(*options.workspace).lexically_normal().string();
    config.origins["workspace_base"] = {Origin::Kind::program, "--workspace"};
  }
  if (options.network) config.sandbox.network = true;
  if (options.memory) config.sandbox.memory_limit = parse_size(*options.memory, "--memory");
  if (options.disk) config.sandbox.disk_limit = parse_size(*options.disk, "--disk");
  if (options.processes) {
    config.sandbox.process_limit = static_cast<unsigned>(
        parse_number(*options.processes, "--processes", 1, std::numeric_limits<int>::max()));
  }
  if (options.lease) config.sandbox.lease = parse_seconds(*options.lease, "--lease");
  return config;
}

std::string random_sid(Engine& engine) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "run-%08x", static_cast<unsigned>(engine.random()));
  return text.data();
}

bool same_image(const std::string& asked, const std::string& is) {
  std::error_code error;
  return asked == is || fs::weakly_canonical(asked, error) == fs::path(is);
}

// What was asked of a sandbox that exists already is refused where it is known to differ, and otherwise
// noted.
void compare(Context& context, const SandboxOptions& options, const std::string& sid,
             const SandboxInfo& info) {
  const std::string begin = "using the sandbox " + sid + ": it exists already, ";
  const std::string end = "; leave the option out, or choose another --sid";
  if (options.image && !same_image(*options.image, info.image)) {
    throw Error(
        ErrorCode::conflict,
        begin + (info.image.empty() ? "with the default image" : "with the image " + info.image) + end);
  }
  if (options.keep && !info.kept) {
    throw Error(ErrorCode::conflict, begin + "and ends with the process that made it" + end);
  }
  std::string names;
  for (const std::string_view name : creation_options(options)) {
    if (name != "--image" && name != "--keep") names += (names.empty() ? "" : ", ") + std::string(name);
  }
  if (!names.empty()) context.note("the sandbox " + sid + " exists already; not looked at: " + names);
}

// Nothing if it is gone.
std::optional<SandboxInfo> describe(Context& context, Provider& provider, const SandboxId& id) {
  try {
    return context.wait(provider.describe(id, request_deadline(context)));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::sandbox_dead) throw;
    return std::nullopt;
  }
}

RuntimeOptions runtime_options(Context& context) {
  RuntimeOptions options;
  options.setup_environment = false;
  options.status_callback = [&context](std::string_view level, RuntimeStatus status,
                                       const std::string& message) {
    const bool takes_long = status == RuntimeStatus::starting_runtime && !message.empty();
    if (level == "warning" || takes_long) {
      context.warn(message);
    } else if (context.verbose()) {
      context.note(std::string(to_string(status)) + (message.empty() ? "" : ": " + message));
    }
  };
  return options;
}

// Its cleaning up is not to be cancelled by the signal that led to it.
void close(Context& context, ActionExecutionClient& runtime) {
  context.engine().wait(runtime.async_close());
  context.note("closed");
}

// What a failed connect() left. One that is to be kept is no use to anybody under a name nobody knows.
void clean_up(Context& context, Sandbox& sandbox) {
  close(context, *sandbox.runtime);
  if (!sandbox.generated_sid) return;
  const std::string& sid = sandbox.runtime->sid();
  const std::optional<LedgerEntry> left = context.ledger()->find(sid);
  if (!left || !left->sandbox) return;
  context.engine().wait(sandbox.provider->destroy(*left->sandbox, request_deadline(context)));
  context.ledger()->forget(sid, *left->sandbox);
}

void connect(Context& context, Sandbox& sandbox, const std::string& what, std::string_view purpose,
             bool any_agent) {
  std::exception_ptr failure;
  try {
    context.wait(sandbox.runtime->async_connect(), what);
    if (!any_agent && sandbox.runtime->agent().greeting().protocol == 0) {
      throw Error(ErrorCode::unsupported, std::string(purpose) + ": the agent at " +
                                              sandbox.runtime->agent().endpoint().to_string() +
                                              " is not Sandkey's, and others cannot do this; start "
                                              "sandkey-agent there");
    }
    return;
  } catch (...) {
    failure = std::current_exception();
  }
  try {
    clean_up(context, sandbox);
  } catch (const Error& error) {
    context.warn(error.what());
  }
  std::rethrow_exception(failure);
}

Sandbox open_agent(Context& context, const AgentOptions& options,
                   const std::optional<std::string>& start_timeout, std::string_view what, bool any_agent) {
  Sandbox sandbox;
  sandbox.provider = fixed_agent(context, options);
  OpenHandsConfig config = context.config();
  config.sandbox.remote_runtime_init_timeout =
      parse_seconds(start_timeout.value_or(std::string(kAgentTimeout)), "--start-timeout");
  RuntimeOptions runtime = runtime_options(context);
  runtime.attach_to_existing = true;
  sandbox.runtime = std::make_unique<ActionExecutionClient>(context.engine(), sandbox.provider, config,
                                                            nullptr, "default", std::move(runtime));
  connect(context, sandbox, "waiting for the agent", what, any_agent);
  return sandbox;
}

// A limit that was asked for and does not hold is told, not refused: where it cannot hold, nothing could run.
void tell_missing_limits(Context& context, const SandboxOptions& options, const Sandbox& sandbox) {
  std::vector<std::string> asked;
  if (options.memory) asked.emplace_back("not limited: memory");
  if (options.disk) asked.emplace_back("not limited: disk");
  if (options.processes) asked.emplace_back("not limited: processes");
  if (asked.empty()) return;
  const std::optional<LedgerEntry> entry = context.ledger()->find(sandbox.runtime->sid());
  if (!entry || !entry->sandbox) return;
  std::optional<SandboxInfo> info;
  try {
    info = describe(context, *sandbox.provider, *entry->sandbox);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    context.warn("looking whether the limits hold: " + std::string(error.what()));
  }
  if (!info) return;
  for (const std::string& remark : info->remarks) {
    const auto about = [&remark](const std::string& limit) { return remark.starts_with(limit); };
    if (std::any_of(asked.begin(), asked.end(), about)) context.warn(remark);
  }
}

Sandbox open_sandbox(Context& context, const SandboxOptions& options, std::string_view what) {
  Sandbox sandbox;
  std::optional<LedgerEntry> known;
  if (options.sid) {
    check_sid(*options.sid);
    known = context.ledger()->find(*options.sid);
  }
  const std::string name =
      known && !options.provider ? known->provider : provider_name(context, options.provider);
  OpenHandsConfig config = make_config(context, options, name);
  // A session that is known is in the account it was made in.
  if (known && known->provider == name && config.profile.empty()) config.profile = known->profile;
  (void)find_provider(name);  // an unknown one is refused before anything is opened
  RuntimeOptions runtime = runtime_options(context);
  runtime.ledger = context.ledger();
  context.note("the ledger is open");
  sandbox.provider = context.provider(name, config.profile);
  if (known && known->provider == name && known->sandbox && !creation_options(options).empty()) {
    const auto info = describe(context, *sandbox.provider, *known->sandbox);
    if (info) compare(context, options, known->sid, *info);
  }
  sandbox.generated_sid = !options.sid;
  sandbox.runtime = std::make_unique<ActionExecutionClient>(
      context.engine(), sandbox.provider, config, nullptr,
      options.sid ? *options.sid : random_sid(context.engine()), std::move(runtime));
  connect(context, sandbox, known ? "reaching the sandbox" : "creating the sandbox", what, false);
  return sandbox;
}

std::string time_of_day(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm local{};
  std::array<char, 32> text{};
  const bool today = time - std::chrono::system_clock::now() < std::chrono::hours(20);
  std::strftime(text.data(), text.size(), today ? "%H:%M" : "%Y-%m-%d %H:%M",
                ::localtime_r(&seconds, &local));
  return text.data();
}

void announce_kept(Context& context, const std::string& sid) {
  const std::optional<LedgerEntry> entry = context.ledger()->find(sid);
  const std::string until =
      entry && entry->lease_end ? " until " + time_of_day(*entry->lease_end) : std::string();
  context.warn("kept as " + sid + until + "; sandkey shell --sid " + sid + ", sandkey rm " + sid);
}

}  // namespace

std::string provider_name(Context& context, const std::optional<std::string>& option) {
  const auto named = option_or_variable(context, option, "SANDKEY_PROVIDER");
  if (named) return *named;
  const std::string& runtime = context.config().runtime;
  if (!is_openhands_runtime(runtime)) return runtime;
  context.note("the configured runtime '" + runtime + "' is OpenHands' own; using " +
               std::string(kDefaultProvider));
  return std::string(kDefaultProvider);
}

bool has_agent(const Context& context, const AgentOptions& options) {
  return option_or_variable(context, options.address, "SANDKEY_AGENT").has_value();
}

Deadline request_deadline(Context& context) {
  return context.engine().in(kRequestTimeout);
}

int with_sandbox(Context& context, const SandboxOptions& options, std::string_view what, bool any_agent,
                 const std::function<int(Sandbox&)>& body) {
  const bool agent = uses_agent(context, options);
  Sandbox sandbox = agent ? open_agent(context, options.agent, options.start_timeout, what, any_agent)
                          : open_sandbox(context, options, what);
  std::exception_ptr failure;
  int code = kOwnFailure;
  try {
    if (!agent) tell_missing_limits(context, options, sandbox);
    code = body(sandbox);
  } catch (...) {
    failure = std::current_exception();
  }
  context.note("done; closing");
  try {
    close(context, *sandbox.runtime);
    if (options.keep && sandbox.generated_sid && (failure || !context.json()))
      announce_kept(context, sandbox.runtime->sid());
  } catch (const Error& error) {
    // What the command did stands, so its exit code does, too.
    context.warn(error.what());
  }
  if (failure) std::rethrow_exception(failure);
  return code;
}

Sandbox attach_to_agent(Context& context, const AgentOptions& options, std::string_view what) {
  return open_agent(context, options, std::nullopt, what, false);
}

Sandbox attach_to_session(Context& context, const std::string& sid, std::string_view what) {
  Located located = locate(context, sid);
  Sandbox sandbox;
  sandbox.provider = std::move(located.provider);
  OpenHandsConfig config = context.config();
  config.runtime = std::string(sandbox.provider->name());
  if (located.profile) config.profile = *located.profile;
  RuntimeOptions runtime = runtime_options(context);
  runtime.attach_to_existing = true;
  runtime.ledger = context.ledger();
  sandbox.runtime = std::make_unique<ActionExecutionClient>(context.engine(), sandbox.provider, config,
                                                            nullptr, sid, std::move(runtime));
  connect(context, sandbox, "reaching the sandbox", what, false);
  return sandbox;
}

Located locate(Context& context, const std::string& sid, const std::optional<std::string>& provider) {
  const std::optional<LedgerEntry> entry = context.ledger()->find(sid);
  const std::string name = entry && !provider ? entry->provider : provider_name(context, provider);
  const bool listed = entry && entry->provider == name;
  std::optional<std::string> profile;
  if (listed) profile = entry->profile;
  Located located{.sid = sid, .provider = context.provider(name, profile), .profile = profile, .id = {}};
  if (listed && entry->sandbox) {
    located.id = *entry->sandbox;
    return located;
  }
  if (listed && entry->owner.may_be_alive()) {
    throw Error(ErrorCode::conflict, "finding the sandbox " + sid +
                                         ": it is still being created, by process " +
                                         std::to_string(entry->owner.pid) + " of " + entry->owner.host +
                                         "; try again, or end that process");
  }
  const auto found = context.wait(located.provider->find(sid, request_deadline(context)));
  if (!found) {
    if (listed) context.ledger()->abandon(sid, entry->owner);  // its owner died before it was made
    throw Error(ErrorCode::not_found, "finding the sandbox " + sid + ": there is none at the provider " +
                                          name + "; 'sandkey ls' shows those there are");
  }
  located.id = *found;
  return located;
}

}  // namespace sandkey::cli
