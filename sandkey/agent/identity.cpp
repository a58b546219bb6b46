#include "sandkey/agent/identity.h"

#include "sandkey/agent/process.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

extern char** environ;

namespace sandkey::agent {
namespace {

// OpenHands' names for the key of its own servers; whoever starts us may have set them for others.
constexpr std::array<std::string_view, 2> kSecretVariables{"SESSION_API_KEY", "OH_SESSION_API_KEYS_"};

}  // namespace

Identity current_identity() {
  Identity identity;
  if (std::FILE* passwd = std::fopen("/etc/passwd", "re")) {
    while (const struct passwd* entry = ::fgetpwent(passwd)) {
      if (entry->pw_uid != ::geteuid()) continue;
      identity = {entry->pw_name, entry->pw_dir, entry->pw_shell, {}};
      break;
    }
    std::fclose(passwd);
  }
  if (identity.username.empty()) identity.username = ::geteuid() == 0 ? "root" : std::to_string(::geteuid());
  if (identity.home.empty()) identity.home = ::geteuid() == 0 ? "/root" : "/";
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) identity.hostname = name.data();
  // As bash's \h: up to the first dot.
  identity.hostname.resize(std::min(identity.hostname.size(), identity.hostname.find('.')));
  return identity;
}

std::vector<std::string> child_environment(const Identity& identity) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    bool secret = false;
    for (const std::string_view name : kSecretVariables) secret = secret || text.starts_with(name);
    if (!secret) environment.emplace_back(text);
  }
  const auto complete = [&environment](std::string_view name, std::string_view value) {
    if (!value.empty() && environment_value(environment, name).empty()) {
      set_environment_value(environment, name, value);
    }
  };
  complete("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  complete("HOME", identity.home);
  complete("USER", identity.username);
  complete("LOGNAME", identity.username);
  complete("SHELL", identity.shell);
  complete("LANG", "C.UTF-8");
  return environment;
}

}  // namespace sandkey::agent
