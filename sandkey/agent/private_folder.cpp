#include "sandkey/agent/private_folder.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace sandkey::agent {

PrivateFolder::PrivateFolder() {
  const char* configured = std::getenv("TMPDIR");
  for (const char* parent : {configured, "/tmp", "/dev/shm", "/run", "/var/tmp"}) {
    if (parent == nullptr || *parent != '/') continue;
    std::string path = std::string(parent) + "/sandkey-XXXXXX";
    if (path.find('\'') != std::string::npos) continue;  // it is quoted in shell hooks
    if (::mkdtemp(path.data()) != nullptr) {
      path_ = std::move(path);
      return;
    }
  }
  throw Error(
      ErrorCode::unavailable,
      "making a private folder: none of $TMPDIR, /tmp, /dev/shm, /run and /var/tmp can be written; mount a "
      "tmpfs on /tmp");
}

PrivateFolder::~PrivateFolder() {
  remove();
}

void PrivateFolder::remove() noexcept {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  path_.clear();
}

void PrivateFolder::write(const std::string& name, std::string_view content) {
  const std::string path = path_ + "/" + name;
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) throw system_error("writing " + path, errno);
  while (!content.empty()) {
    const ssize_t n = ::write(fd.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error("writing " + path, errno);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
}

void PrivateFolder::make_fifo(const std::string& name) {
  // A folder that somebody else made in its place is no good.
  struct stat info {};
  const bool ours = ::lstat(path_.c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
                    info.st_uid == ::geteuid() && (info.st_mode & 077) == 0;
  if (!ours && ::mkdir(path_.c_str(), 0700) != 0) throw system_error("making " + path_, errno);
  const std::string path = path_ + "/" + name;
  (void)::unlink(path.c_str());
  if (::mkfifo(path.c_str(), 0600) != 0) throw system_error("making " + path, errno);
}

bool PrivateFolder::is_fifo(const std::string& name) const noexcept {
  struct stat info {};
  return ::fstatat(AT_FDCWD, (path_ + "/" + name).c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISFIFO(info.st_mode);
}

}  // namespace sandkey::agent
