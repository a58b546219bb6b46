#include "sandkey/runtime/process_identity.h"

#include "sandkey/base/unique_fd.h"

#include <climits>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <string_view>

namespace sandkey {
namespace {

// The first kilobytes of a small file, without the newline at its end; empty if it cannot be read.
std::string read_line(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  std::array<char, 4096> buffer;
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  std::string text(buffer.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string read_link(const char* path) {
  std::array<char, 128> buffer;
  const ssize_t n = ::readlink(path, buffer.data(), buffer.size());
  return {buffer.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
}

struct Stat {
  std::int64_t pid = 0;
  char state = '?';
  std::int64_t threads = 0;
  std::uint64_t start_time = 0;
};

// See proc(5); fields are counted from 1.
std::optional<Stat> read_stat(const std::string& process) {
  const std::string line = read_line("/proc/" + process + "/stat");
  // The second field is the program's name, in parentheses; it may hold any character.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  Stat stat;
  bool complete = false;
  const auto read_number = [](std::string_view text, auto& number) {
    return std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
  };
  if (!read_number(line, stat.pid)) return std::nullopt;
  std::string_view rest = std::string_view(line).substr(name_end + 1);
  for (int field = 3; !complete && !rest.empty(); ++field) {
    rest.remove_prefix(1);
    const std::string_view text = rest.substr(0, rest.find(' '));
    if (text.empty()) return std::nullopt;
    if (field == 3) stat.state = text.front();
    if (field == 20 && !read_number(text, stat.threads)) return std::nullopt;
    if (field == 22) complete = read_number(text, stat.start_time);
    rest.remove_prefix(text.size());
  }
  if (!complete) return std::nullopt;
  return stat;
}

}  // namespace

ProcessIdentity ProcessIdentity::current() {
  ProcessIdentity identity;
  identity.pid = ::getpid();
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) identity.host = name.data();
  identity.machine = read_line("/etc/machine-id");
  identity.boot_id = read_line("/proc/sys/kernel/random/boot_id");
  const std::optional<Stat> stat = read_stat("self");
  // Otherwise this /proc shows another namespace's processes.
  if (stat && stat->pid == identity.pid) {
    identity.start_time = stat->start_time;
    identity.namespaces = read_link("/proc/self/ns/pid") + " " + read_link("/proc/self/ns/time");
  }
  return identity;
}

bool ProcessIdentity::may_be_alive() const {
  if (*this == nobody()) return false;
  const ProcessIdentity here = current();
  if (host.empty() || host != here.host || machine != here.machine) return true;
  if (boot_id.empty() || here.boot_id.empty()) return true;
  // Without a machine id this may be a namesake.
  if (boot_id != here.boot_id) return machine.empty();
  if (namespaces.empty() || namespaces != here.namespaces || pid <= 0) return true;
  const std::optional<Stat> stat = read_stat(std::to_string(pid));
  if (!stat) {
    // No such process, or a /proc that hides those of others.
    return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH;
  }
  if (start_time != 0 && stat->start_time != start_time) return false;
  // A process also shows as a zombie while its first thread has ended and others run on.
  return (stat->state != 'Z' && stat->state != 'X') || stat->threads > 1;
}

}  // namespace sandkey
