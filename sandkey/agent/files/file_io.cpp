#include "sandkey/agent/files/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace sandkey::agent::files {
namespace {

constexpr std::size_t kChunk = 64 * 1024;

int write_at(int fd, std::string_view bytes, std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : ENOSPC;
    bytes.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::size_t>(n);
  }
  return 0;
}

int set_size(int fd, std::size_t size) {
  return ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
}

// Fails only if the bytes are there and cannot be read; a file shortened meanwhile gives less.
int read_head(int fd, std::string& out, std::size_t size) {
  out.resize(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd, out.data() + done, size - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  out.resize(done);
  return 0;
}

}  // namespace

PathState look_at(const std::string& path) {
  PathState state;
  if (path.find('\0') != std::string::npos) return state;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const bool is_missing = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EBADF;
    state.error_number = is_missing ? 0 : errno;
    return state;
  }
  state.exists = true;
  state.is_directory = S_ISDIR(info.st_mode);
  state.is_regular = S_ISREG(info.st_mode);
  state.size = static_cast<unsigned long long>(info.st_size);
  return state;
}

UniqueFd open_file(const std::string& path, int flags, unsigned mode) {
  if (path.find('\0') != std::string::npos) {
    errno = EINVAL;
    return UniqueFd();
  }
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
  } while (fd < 0 && errno == EINTR);
  return UniqueFd(fd);
}

FileBytes read_bytes(int fd, std::size_t limit) {
  FileBytes out;
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    out.error_number = errno;
    return out;
  }
  if (!S_ISREG(info.st_mode)) {
    out.error_number = S_ISDIR(info.st_mode) ? EISDIR : ENODEV;
    return out;
  }
  // The size is a hint: files in /proc have none, and others grow.
  std::size_t room = std::min(limit, static_cast<std::size_t>(info.st_size)) + 1;
  std::size_t done = 0;
  for (;;) {
    if (out.bytes.size() < room) out.bytes.resize(room);
    const ssize_t n = ::read(fd, out.bytes.data() + done, room - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) out.error_number = errno;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
    if (done > limit) break;
    if (done == room) room = std::min(limit + 1, room + std::max(room / 2, kChunk));
  }
  out.is_larger = done > limit;
  out.bytes.resize(std::min(done, limit));
  return out;
}

FileBytes read_bytes(const std::string& path, std::size_t limit) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  if (!fd) return {{}, errno, false};
  return read_bytes(fd.get(), limit);
}

int replace_contents(int fd, std::string_view bytes) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno;
  const auto old_size = static_cast<std::size_t>(info.st_size);
  const std::size_t head = std::min(old_size, bytes.size());
  if (const int error = write_at(fd, bytes.substr(head), old_size); error != 0) {
    static_cast<void>(set_size(fd, old_size));
    return error;
  }
  std::string old_head;
  int error = read_head(fd, old_head, head);
  if (error == 0) error = write_at(fd, bytes.substr(0, head), 0);
  if (error != 0) {
    static_cast<void>(write_at(fd, old_head, 0));
    static_cast<void>(set_size(fd, old_size));
    return error;
  }
  return bytes.size() < old_size ? set_size(fd, bytes.size()) : 0;
}

void remove_new_file(int fd, const std::string& path) noexcept {
  struct stat ours {};
  struct stat there {};
  if (::fstat(fd, &ours) == 0 && ::lstat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
      ours.st_dev == there.st_dev) {
    ::unlink(path.c_str());
  }
}

}  // namespace sandkey::agent::files
