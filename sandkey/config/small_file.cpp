#include "sandkey/config/small_file.h"

#include "sandkey/base/unique_fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace sandkey {
namespace {

SmallFile unusable(std::string reason) {
  return {.state = SmallFile::State::unusable, .reason = std::move(reason)};
}

std::string because(const char* what, int error) {
  return std::string(what) + " (" + std::generic_category().message(error) + ")";
}

}  // namespace

SmallFile read_small_file(const std::filesystem::path& path, std::size_t limit, Links links) {
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (links == Links::refuse ? O_NOFOLLOW : 0);
  const UniqueFd fd(::open(path.c_str(), flags));
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    if (errno == ELOOP && links == Links::refuse) return unusable("is a symbolic link");
    return unusable(because("cannot be opened", errno));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return unusable(because("cannot be examined", errno));
  if (!S_ISREG(info.st_mode)) return unusable("is no regular file");

  SmallFile file{.state = SmallFile::State::read, .owner = info.st_uid, .mode = info.st_mode & 07777U};
  std::array<char, 16384> piece{};
  while (true) {
    const ssize_t n = ::read(fd.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return unusable(because("cannot be read", errno));
    if (n == 0) return file;
    file.text.append(piece.data(), static_cast<std::size_t>(n));
    if (file.text.size() > limit) {
      return unusable("is larger than " + std::to_string(limit) + " bytes");
    }
  }
}

}  // namespace sandkey
