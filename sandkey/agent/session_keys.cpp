#include "sandkey/agent/session_keys.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace sandkey::agent {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view strip(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(kBlank) - begin + 1);
}

}  // namespace

SessionKeys::SessionKeys(std::string path) : path_(std::move(path)) {
  load();
}

SessionKeys::Version SessionKeys::version() const noexcept {
  struct stat info {};
  if (::stat(path_.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino, info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size};
}

void SessionKeys::load() {
  const std::string what = "reading the session key file " + path_;
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw system_error(what, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) throw system_error(what, errno);
  if (S_ISREG(info.st_mode) && (info.st_mode & 077) != 0) {
    throw Error(ErrorCode::permission_denied,
                what + ": others may read or write it; run: chmod 600 " + path_);
  }
  loaded_ = version();

  // On the stack and wiped, so that no copy stays behind on the heap.
  std::array<char, kMaxFile + 1>
      buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  std::size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t n = ::read(fd.get(), buffer.data() + size, buffer.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error(what, errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  std::vector<Secret> keys;
  bool too_short = false;
  std::string_view rest(buffer.data(), size);
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string_view key = strip(rest.substr(0, end));
    if (key.size() >= kMinKey && key.front() != '#') {
      keys.emplace_back(key);
    } else if (!key.empty() && key.front() != '#') {
      too_short = true;
    }
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  wipe(buffer.data(), buffer.size());
  if (size > kMaxFile) throw Error(ErrorCode::invalid_argument, what + ": it is over 64 KiB");
  if (too_short) {
    throw Error(ErrorCode::credential_malformed,
                what + ": a key has fewer than " + std::to_string(kMinKey) + " characters");
  }
  if (keys.empty()) throw Error(ErrorCode::credential_missing, what + ": there is no key in it");
  keys_ = std::move(keys);
}

bool SessionKeys::known(std::string_view candidate) const noexcept {
  bool found = false;
  for (const Secret& key : keys_) found = key.matches(candidate) || found;  // all of them, whichever matches
  return found;
}

bool SessionKeys::allow(std::string_view candidate) {
  if (!required()) return true;
  if (candidate.empty()) return false;
  if (known(candidate)) return true;
  if (version() == loaded_) return false;
  try {
    load();
  } catch (const Error&) {
    return false;  // half written, or gone: the keys known so far stay
  }
  return known(candidate);
}

}  // namespace sandkey::agent
