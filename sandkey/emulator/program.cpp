#include "sandkey/emulator/program.h"

#include "sandkey/base/error.h"

#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <map>
#include <string_view>
#include <utility>

namespace sandkey::emulator {
namespace {

bool is_masked(std::string_view name, const ProgramEnvironment& environment) {
  return std::ranges::any_of(environment.removed_prefixes,
                             [&](const std::string& prefix) { return name.starts_with(prefix); });
}

std::map<std::string, std::string> ours_as_map(char** ours) {
  std::map<std::string, std::string> variables;
  for (char** each = ours; *each != nullptr; ++each) {
    const std::string_view text = *each;
    const std::size_t equals = text.find('=');
    if (equals != text.npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::map<std::string, std::string> as_map(const ProgramEnvironment& environment) {
  std::map<std::string, std::string> set;
  for (const auto& [name, value] : environment.set) set[name] = value;  // the last one holds
  return set;
}

std::string quoted(const std::string& value) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("_-./:,@%+=").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!value.empty() && std::ranges::all_of(value, plain)) return value;
  std::string text = "'";
  for (const char c : value) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

}  // namespace

std::vector<std::string> apply(const ProgramEnvironment& environment, char** ours) {
  std::map<std::string, std::string> variables = ours_as_map(ours);
  std::erase_if(variables, [&](const auto& each) { return is_masked(each.first, environment); });
  for (const auto& [name, value] : as_map(environment)) variables[name] = value;
  std::vector<std::string> list;
  for (const auto& [name, value] : variables) list.push_back(name + "=" + value);
  return list;
}

std::string shell_lines(const ProgramEnvironment& environment, char** ours) {
  const std::map<std::string, std::string> set = as_map(environment);
  std::string lines;
  for (const auto& [name, value] : ours_as_map(ours)) {
    if (is_masked(name, environment) && !set.contains(name)) lines += "unset " + name + "\n";
  }
  for (const auto& [name, value] : set) lines += "export " + name + "=" + quoted(value) + "\n";
  return lines;
}

BlockedSignals::BlockedSignals() {
  sigset_t set = ending_signals();
  sigaddset(&set, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void BlockedSignals::wait_for_end() {
  const sigset_t set = ending_signals();
  int number = 0;
  while (::sigwait(&set, &number) != 0) {
  }
}

int BlockedSignals::wait_for(pid_t program) {
  sigset_t set = ending_signals();
  sigaddset(&set, SIGCHLD);
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(program, &status, WNOHANG);
    if (ended == program) return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (ended < 0 && errno != EINTR) throw system_error("waiting for the program", errno);
    int number = 0;
    if (::sigwait(&set, &number) == 0 && (number == SIGTERM || number == SIGHUP)) ::kill(program, number);
  }
}

pid_t start_program(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  sigset_t reset;
  sigemptyset(&reset);
  sigaddset(&reset, SIGPIPE);  // we ignore it
  ::posix_spawnattr_setsigdefault(&attributes, &reset);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const std::vector<char*> arguments = pointers(command);
  const std::vector<char*> variables = pointers(environment);
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, arguments[0], nullptr, &attributes, arguments.data(), variables.data());
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) throw system_error("starting " + command[0], error);
  return pid;
}

}  // namespace sandkey::emulator
