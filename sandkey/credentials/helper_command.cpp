#include "sandkey/credentials/helper_command.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/config/toml_document.h"
#include "sandkey/credentials/redactor.h"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace sandkey {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxShownErrors = 4096;
constexpr int kReplyVersion = 1;

// What a program needs to find its home, its secrets' agent and its terminal; nothing that holds a
// credential.
constexpr auto kPassedOn =
    std::to_array<const char*>({"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM",
                                "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS",
                                "SSH_AUTH_SOCK", "GPG_TTY", "GNUPGHOME", "DISPLAY", "WAYLAND_DISPLAY"});

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A started program that does not outlive this object, nor do those it started in its process group.
class Child {
 public:
  explicit Child(pid_t pid) noexcept : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) kill_and_reap();
  }

  // Its wait status; nothing if it does not end in time.
  std::optional<int> wait_until(Clock::time_point deadline) {
    // Where there are no such handles, it is looked at from time to time.
    constexpr int kLookEvery = 5;
    const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    while (!ended()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return std::nullopt;
      pollfd end{.fd = handle.get(), .events = POLLIN, .revents = 0};
      ::poll(&end, 1, handle ? static_cast<int>(left) : kLookEvery);
    }
    return kill_and_reap();
  }

 private:
  [[nodiscard]] bool ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | WNOHANG) == 0 &&
           info.si_pid == pid_;
  }

  // What it left behind in its group goes as well. The group is signalled before the leader is reaped: until
  // then its number cannot be another's.
  int kill_and_reap() {
    ::kill(-pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  pid_t pid_;
};

struct Outcome {
  std::string out;
  std::string errors;
  std::string failure;  // the end of a sentence; empty: it exited with 0
  ~Outcome() { wipe(out.data(), out.size()); }
};

std::vector<std::string> helper_environment(const HelperCommand& helper, const CredentialSpec& spec,
                                            const Environment& environment) {
  std::vector<std::string> variables;
  for (const char* name : kPassedOn) {
    if (const auto value = environment(name)) variables.push_back(std::string(name) + "=" + *value);
  }
  variables.push_back("SANDKEY_PROVIDER=" + std::string(spec.provider));
  variables.push_back("SANDKEY_PROFILE=" + helper.profile);
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

int spawn(pid_t* pid, std::vector<std::string> command, std::vector<std::string> environment, int in, int out,
          int errors) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (::posix_spawn_file_actions_init(&actions) != 0) return ENOMEM;
  if (::posix_spawnattr_init(&attributes) != 0) {
    ::posix_spawn_file_actions_destroy(&actions);
    return ENOMEM;
  }
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  int error = 0;
  const auto also = [&](int result) { error = error != 0 ? error : result; };
  // Through numbers above those being replaced, or one dup2 might overwrite another's source.
  also(::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO));
  also(::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO));
  also(::posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO));
  also(::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1));
  also(::posix_spawn_file_actions_addchdir_np(&actions, "/"));
  also(::posix_spawnattr_setsigmask(&attributes, &none));
  also(::posix_spawnattr_setsigdefault(&attributes, &all));
  also(::posix_spawnattr_setpgroup(&attributes, 0));
  also(::posix_spawnattr_setflags(&attributes,
                                  POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  if (error == 0) {
    error = ::posix_spawn(pid, command.front().c_str(), &actions, &attributes, pointers(command).data(),
                          pointers(environment).data());
  }
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

// Moves a descriptor out of the range of the standard ones, where a daemon may have it.
bool lift(UniqueFd& fd) {
  if (fd.get() > STDERR_FILENO) return true;
  fd.reset(::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  return static_cast<bool>(fd);
}

// Nothing more to read from it, or it failed.
bool drained(const UniqueFd& fd, std::string& into, std::size_t keep, bool& overflow) {
  std::array<char, 4096> piece{};
  const ssize_t n = ::read(fd.get(), piece.data(), piece.size());
  if (n < 0) return errno != EINTR && errno != EAGAIN;
  const std::size_t taken = std::min(static_cast<std::size_t>(n), keep - into.size());
  into.append(piece.data(), taken);
  overflow = overflow || taken < static_cast<std::size_t>(n);
  wipe(piece.data(), piece.size());
  return n == 0;
}

// A program that reads nothing of its request must not end us by SIGPIPE, so the signal is blocked, and one
// that came taken back.
class NoPipeSignal {
 public:
  NoPipeSignal() noexcept {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;
  ~NoPipeSignal() {
    if (::sigismember(&before_, SIGPIPE) != 0) return;
    const timespec now{};
    while (::sigtimedwait(&pipe_, nullptr, &now) < 0 && errno == EINTR) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_{};
  sigset_t before_{};
};

Outcome run(const HelperCommand& helper, std::string request, std::vector<std::string> environment) {
  Outcome outcome;
  auto in = make_pipe();
  auto out = make_pipe();
  auto errors = make_pipe();
  if (!in || !out || !errors || !lift(in->read) || !lift(out->write) || !lift(errors->write)) {
    outcome.failure = "cannot be started (" + std::generic_category().message(errno) + ")";
    return outcome;
  }
  const Clock::time_point deadline = Clock::now() + helper.timeout;
  pid_t pid = -1;
  const int error = spawn(&pid, helper.command, std::move(environment), in->read.get(), out->write.get(),
                          errors->write.get());
  if (error != 0) {
    outcome.failure = "cannot be started (" + std::generic_category().message(error) + ")";
    return outcome;
  }
  Child child(pid);
  in->read.reset();
  out->write.reset();
  errors->write.reset();
  for (const UniqueFd* fd : {&in->write, &out->read, &errors->read}) {
    ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }

  const NoPipeSignal no_signal;
  const std::string late = fmt::format("did not end within {} ms and was killed", helper.timeout.count());
  std::string_view rest = request;
  bool too_much = false;
  bool ignored = false;
  while (out->read) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      outcome.failure = late;
      return outcome;
    }
    std::array<pollfd, 3> ready{{{.fd = out->read.get(), .events = POLLIN, .revents = 0},
                                 {.fd = errors->read.get(), .events = POLLIN, .revents = 0},
                                 {.fd = in->write.get(), .events = POLLOUT, .revents = 0}}};
    if (::poll(ready.data(), ready.size(), static_cast<int>(left)) < 0) continue;
    if (ready[2].revents != 0) {
      const ssize_t n = ::write(in->write.get(), rest.data(), rest.size());
      if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
      if (rest.empty() || (n < 0 && errno != EINTR && errno != EAGAIN)) in->write.reset();
    }
    if (ready[1].revents != 0 && drained(errors->read, outcome.errors, kMaxShownErrors, ignored)) {
      errors->read.reset();
    }
    if (ready[0].revents != 0 && drained(out->read, outcome.out, kMaxHelperReply, too_much)) {
      out->read.reset();
    }
    if (too_much) {
      outcome.failure = fmt::format("printed more than {} bytes", kMaxHelperReply);
      return outcome;
    }
  }
  in->write.reset();
  const std::optional<int> status = child.wait_until(deadline);
  // What it said last may still be in the pipe.
  while (errors->read && !drained(errors->read, outcome.errors, kMaxShownErrors, ignored)) {
    pollfd more{.fd = errors->read.get(), .events = POLLIN, .revents = 0};
    if (::poll(&more, 1, 0) <= 0) break;
  }
  if (!status) {
    outcome.failure = late;
  } else if (WIFSIGNALED(*status)) {
    outcome.failure = fmt::format("was ended by signal {}", WTERMSIG(*status));
  } else if (WEXITSTATUS(*status) != 0) {
    outcome.failure = fmt::format("exited with {}", WEXITSTATUS(*status));
  }
  return outcome;
}

std::string request_for(const HelperCommand& helper, const CredentialSpec& spec) {
  json::array forms;
  for (const FormSpec& form : spec.forms) {
    json::array parts;
    for (const PartSpec& part : form.parts) parts.emplace_back(part.name);
    forms.emplace_back(std::move(parts));
  }
  const json::object request{{"version", kReplyVersion},
                             {"provider", spec.provider},
                             {"profile", helper.profile},
                             {"forms", std::move(forms)}};
  return json::serialize(request) + "\n";
}

bool names_part(const CredentialSpec& spec, std::string_view name) {
  return std::any_of(spec.forms.begin(), spec.forms.end(), [&](const FormSpec& form) {
    return std::any_of(form.parts.begin(), form.parts.end(),
                       [&](const PartSpec& part) { return part.name == name; });
  });
}

// The object's texts, each given to `take`, which says whether it knows the name. What is wrong, or nothing.
template <typename Take>
std::string take_texts(const json::object& reply, std::string_view member, Take take) {
  const json::value* value = find(reply, member);
  if (value == nullptr || value->is_null()) return {};
  if (!value->is_object()) return fmt::format("whose \"{}\" is no object", member);
  for (const auto& [name, text] : value->get_object()) {
    const std::string shown = shown_key(std::string_view(name));
    if (!text.is_string()) return fmt::format("whose \"{}\" has a \"{}\" that is no text", member, shown);
    if (!take(std::string(name), std::string_view(text.get_string()))) {
      return fmt::format("whose \"{}\" has a \"{}\", which is not known", member, shown);
    }
  }
  return {};
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> time_from_text(std::string_view text) {
  // YYYY-MM-DDTHH:MM:SS, then a fraction, then Z or +HH:MM.
  const auto number = [&](std::size_t at, std::size_t size) -> std::optional<int> {
    if (at + size > text.size()) return std::nullopt;
    int value = 0;
    for (const char c : text.substr(at, size)) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    return value;
  };
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') ||
      text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  const auto year = number(0, 4);
  const auto month = number(5, 2);
  const auto day = number(8, 2);
  const auto hour = number(11, 2);
  const auto minute = number(14, 2);
  const auto second = number(17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;

  std::size_t at = 19;
  if (text[at] == '.') {
    const std::size_t end = text.find_first_not_of("0123456789", at + 1);
    if (end == std::string_view::npos || end == at + 1) return std::nullopt;
    at = end;
  }
  // What the clock cannot count to is always past, or always to come.
  if (*year < 1700) return std::chrono::system_clock::time_point::min();
  if (*year > 2250) return std::chrono::system_clock::time_point::max();
  std::chrono::minutes offset{0};
  if (text.substr(at) != "Z" && text.substr(at) != "z") {
    const auto hours = number(at + 1, 2);
    const auto minutes = number(at + 4, 2);
    if (text.size() != at + 6 || (text[at] != '+' && text[at] != '-') || text[at + 3] != ':' || !hours ||
        !minutes || *hours > 23 || *minutes > 59) {
      return std::nullopt;
    }
    offset = std::chrono::minutes(*hours * 60 + *minutes) * (text[at] == '-' ? -1 : 1);
  }
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) - offset;
}

Offer parse_helper_reply(std::string_view reply, const CredentialSpec& spec,
                         std::chrono::system_clock::time_point now) {
  json::value value;
  try {
    value = parse_json(reply, "what it printed");
  } catch (const Error&) {
    return Offer::broken("printed something that is not one JSON document");
  }
  if (!value.is_object()) return Offer::broken("printed JSON that is no object");
  const json::object& object = value.get_object();
  if (find_integer(object, "version") != kReplyVersion) {
    return Offer::broken(fmt::format("printed a reply without \"version\": {}", kReplyVersion));
  }
  Offer offer;
  std::string complaint = take_texts(object, "parts", [&](const std::string& name, std::string_view text) {
    offer.add_part(name, text);
    return names_part(spec, name);
  });
  if (complaint.empty()) {
    complaint = take_texts(object, "endpoints", [&](const std::string& name, std::string_view text) {
      offer.add_endpoint(name, text);
      return std::any_of(spec.endpoints.begin(), spec.endpoints.end(),
                         [&](const EndpointSpec& endpoint) { return endpoint.name == name; });
    });
  }
  if (!complaint.empty()) return Offer::broken("printed a reply " + complaint);
  if (const json::value* expiry = find(object, "expires_at"); expiry != nullptr && !expiry->is_null()) {
    if (expiry->is_string()) offer.expires_at = time_from_text(std::string_view(expiry->get_string()));
    if (!offer.expires_at) {
      return Offer::broken(
          "printed a reply whose \"expires_at\" is no time such as \"2030-01-31T12:00:00Z\"");
    }
    if (*offer.expires_at <= now) return Offer::broken("printed a credential that has already expired");
  }
  if (offer.parts.empty()) return Offer::nothing("has no credential for this provider");
  return offer;
}

Offer ask_helper(const HelperCommand& helper, const CredentialSpec& spec, const Environment& environment,
                 std::chrono::system_clock::time_point now) {
  Outcome outcome = run(helper, request_for(helper, spec), helper_environment(helper, spec, environment));
  Offer offer = parse_helper_reply(outcome.out, spec, now);
  if (!outcome.failure.empty()) {
    // What it printed before it failed may be what it complains of.
    Redactor redactor;
    for (const auto& [name, part] : offer.parts) redactor.add(part.value);
    const std::string said = redact_lookalikes(redactor.redact(outcome.errors));
    wipe(outcome.errors.data(), outcome.errors.size());
    return Offer::broken(outcome.failure + (said.empty() ? "" : "; it said: " + said));
  }
  return offer;
}

}  // namespace sandkey
