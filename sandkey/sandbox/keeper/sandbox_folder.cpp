#include "sandkey/sandbox/keeper/sandbox_folder.h"

#include "sandkey/base/error.h"
#include "sandkey/sandbox/keeper_protocol.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace sandkey::sandbox {
namespace {

std::string random_suffix() {
  std::uint64_t bits = 0;
  if (::getrandom(&bits, sizeof bits, 0) != sizeof bits) throw system_error("reading random bits", errno);
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(bits));
  return text;
}

// In the current folder, since the name of a socket may have no more than 107 bytes.
UniqueFd listen_at(const char* name) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) throw system_error("making a socket of a sandbox", errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, name, sizeof address.sun_path - 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd.get(), generic, sizeof address) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) {
    throw system_error("making the socket '" + std::string(name) + "' of a sandbox", errno);
  }
  return fd;
}

}  // namespace

SandboxFolder::SandboxFolder(const std::string& parent, const std::string& name) {
  try {
    make(parent, name);
  } catch (...) {
    remove();
    throw;
  }
}

void SandboxFolder::make(const std::string& parent, const std::string& name) {
  const std::string doing = "making the folder of sandbox " + name + " in " + parent;
  parent_.reset(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent_) throw system_error(doing, errno);
  const std::string unfinished = std::string(kUnfinishedPrefix) + random_suffix();
  if (::mkdirat(parent_.get(), unfinished.c_str(), 0700) != 0) throw system_error(doing, errno);
  current_name_ = unfinished;
  folder_.reset(::openat(parent_.get(), unfinished.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder_ || ::fchdir(folder_.get()) != 0) throw system_error(doing, errno);
  control_ = listen_at(kControlSocket);
  agent_ = listen_at(kAgentSocket);
  if (::chdir("/") != 0) throw system_error(doing, errno);
  // Replaces an empty folder at most, which nobody can be using.
  if (::renameat(parent_.get(), unfinished.c_str(), parent_.get(), name.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
      throw Error(ErrorCode::conflict, "creating sandbox " + name +
                                           ": there is one of that name; attach to it, remove it, or choose "
                                           "another name");
    }
    throw system_error(doing, errno);
  }
  current_name_ = name;
}

SandboxFolder::~SandboxFolder() {
  remove();
}

void SandboxFolder::write_file(const char* name, std::string_view text) const {
  const UniqueFd fd(::openat(folder_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw system_error("writing '" + std::string(name) + "' in the folder of a sandbox", errno);
  }
}

void SandboxFolder::remove() noexcept {
  if (current_name_.empty()) return;
  for (const char* file : {kAgentSocket, kGroupFile, kControlSocket}) {
    if (folder_) ::unlinkat(folder_.get(), file, 0);
  }
  ::unlinkat(parent_.get(), current_name_.c_str(), AT_REMOVEDIR);
  current_name_.clear();
}

}  // namespace sandkey::sandbox
