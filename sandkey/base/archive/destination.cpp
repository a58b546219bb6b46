#include "sandkey/base/archive/destination.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace sandkey::archive {

namespace {

constexpr mode_t kPermissions = 0777;  // without setuid, setgid and sticky
constexpr mode_t kAllBits = 07777;
constexpr mode_t kOwner = 0700;

Error refused(const std::string& message) {
  return extract_error(ErrorCode::invalid_argument, message);
}

}  // namespace

Components split(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) throw refused("the name holds a NUL byte");
  if (name.size() > kMaxArchiveName) throw refused("the name is longer than 4096 bytes");
  if (name.starts_with('/')) throw refused("the name is absolute");
  Components components;
  while (!name.empty()) {
    const std::string_view component = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(name.size(), component.size() + 1));
    if (component == "..") throw refused("the name holds '..'");
    if (!component.empty() && component != ".") components.emplace_back(component);
  }
  if (components.size() > kMaxArchiveDepth) throw refused("the name has more than 1000 components");
  return components;
}

Destination::Destination(const std::filesystem::path& root, const ExtractOptions& options)
    : options_(options) {
  std::error_code failure;
  std::filesystem::create_directories(root, failure);  // the open tells what is wrong
  root_ = UniqueFd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_) throw system_error("opening the destination " + shown(root.native()), errno);
}

Destination::~Destination() {
  abandon_file();
}

void Destination::count_entry() {
  if (entries_ >= options_.max_entries) {
    throw extract_error(ErrorCode::quota_exceeded,
                        "the archive holds more than " + std::to_string(options_.max_entries) + " entries");
  }
  entries_++;
}

UniqueFd Destination::open_directory(int parent, const std::string& name, bool make) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd opened(::openat(parent, name.c_str(), kFlags));
  if (!opened && errno == ENOENT && make) {
    count_entry();
    if (::mkdirat(parent, name.c_str(), kPermissions) == 0) {
      report_.directories++;
    } else if (errno != EEXIST) {
      throw system_error("making the directory " + shown(name), errno);
    }
    opened.reset(::openat(parent, name.c_str(), kFlags));
  }
  if (opened) return opened;
  const int cause = errno;
  struct stat status {};
  if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode)) {
    throw refused(shown(name) + " on its way is a symbolic link, which is not followed");
  }
  throw system_error("opening the directory " + shown(name), cause);
}

UniqueFd Destination::walk(std::span<const std::string> names, bool make) {
  UniqueFd directory(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0));
  if (!directory) throw system_error("opening the destination", errno);
  for (const std::string& name : names) directory = open_directory(directory.get(), name, make);
  return directory;
}

int Destination::parent_of(const Components& name) {
  const std::span<const std::string> parents = std::span(name).first(name.size() - 1);
  if (!open_parent_ || !std::ranges::equal(parents, open_name_)) {
    open_parent_.reset();
    open_parent_ = walk(parents, true);
    open_name_.assign(parents.begin(), parents.end());
  }
  return open_parent_.get();
}

void Destination::directory(const Components& name, const Entry& entry) {
  const int parent = parent_of(name);
  // The owner's bits are lent until finish(), or nothing could be put into a read-only directory.
  const mode_t mode = entry.mode & kPermissions;
  count_entry();
  if (::mkdirat(parent, name.back().c_str(), mode | kOwner) == 0) {
    report_.directories++;
    made_.push_back({.name = name, .mode = mode, .mtime = entry.mtime});
  } else if (errno == EEXIST) {
    entries_--;
    const UniqueFd existing = open_directory(parent, name.back(), false);  // refuses links and files
    lend_owner_bits(existing.get(), name);
  } else {
    throw system_error("making the directory", errno);
  }
}

// One that cannot be changed is told by what is put into it.
void Destination::lend_owner_bits(int directory, const Components& name) {
  struct stat status {};
  if (::fstat(directory, &status) != 0 || (status.st_mode & kOwner) == kOwner) return;
  if (::fchmod(directory, (status.st_mode & kAllBits) | kOwner) != 0) return;
  made_.push_back(
      {.name = name, .mode = status.st_mode & kPermissions, .mtime = {.tv_sec = 0, .tv_nsec = UTIME_OMIT}});
}

template <typename Make>
std::string Destination::make_temporary(Make make) {
  static std::atomic<unsigned> counter{0};
  for (;;) {
    std::string name = ".sandkey-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    if (make(name.c_str()) == 0) return name;
    if (errno != EEXIST) throw system_error("writing", errno);
  }
}

void Destination::rename_over(int directory, const std::string& temporary, const std::string& name) {
  const int result = ::renameat(directory, temporary.c_str(), directory, name.c_str());
  const int cause = errno;
  // After a failure the temporary name is still there, and also after success if both were links to one file.
  (void)::unlinkat(directory, temporary.c_str(), 0);
  if (result != 0) throw system_error("replacing what is there", cause);
}

void Destination::check_link(const Components& name, const std::string& target) const {
  if (target.empty() || target.find('\0') != std::string::npos)
    throw refused("the link's target is not a path");
  if (options_.outward_symlinks) return;
  const std::string where = "the symbolic link leads to " + shown(target) + ", ";
  if (target.starts_with('/')) throw refused(where + "out of the destination");
  // ".." is exact only before the first name: the link's own directories are real, those it names may be
  // links.
  std::size_t up = 0;
  bool named = false;
  for (std::string_view left = target; !left.empty();) {
    const std::string_view component = left.substr(0, left.find('/'));
    left.remove_prefix(std::min(left.size(), component.size() + 1));
    if (component == "..") {
      if (named) throw refused(where + "whose '..' after a name may lead out of the destination");
      up++;
    } else if (!component.empty() && component != ".") {
      named = true;
    }
  }
  if (up >= name.size()) throw refused(where + "out of the destination");
}

void Destination::symlink(const Components& name, const Entry& entry) {
  check_link(name, entry.link_target);
  const int parent = parent_of(name);
  count_entry();
  const std::string temporary = make_temporary(
      [&](const char* candidate) { return ::symlinkat(entry.link_target.c_str(), parent, candidate); });
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, entry.mtime};
  (void)::utimensat(parent, temporary.c_str(), times, AT_SYMLINK_NOFOLLOW);
  rename_over(parent, temporary, name.back());
  report_.links++;
}

void Destination::hard_link(const Components& name, const Components& target) {
  if (target.empty()) throw refused("the hard link has no target");
  const UniqueFd source = walk(std::span(target).first(target.size() - 1), false);
  struct stat status {};
  if (::fstatat(source.get(), target.back().c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    throw system_error("looking for the hard link's target", errno);
  }
  // A link's text means something else in another directory, so hard-linking one would pass by check_link().
  if (!S_ISREG(status.st_mode)) throw refused("the hard link's target is not a file");
  const int parent = parent_of(name);
  count_entry();
  const std::string temporary = make_temporary([&](const char* candidate) {
    return ::linkat(source.get(), target.back().c_str(), parent, candidate, 0);
  });
  rename_over(parent, temporary, name.back());
  report_.links++;
}

void Destination::begin_file(const Components& name, const Entry& entry) {
  const int parent = parent_of(name);
  count_entry();
  file_temporary_ = make_temporary([&](const char* candidate) {
    file_.reset(::openat(parent, candidate, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         entry.mode & kPermissions));
    return file_ ? 0 : -1;
  });
  file_name_ = name.back();
  file_mtime_ = entry.mtime;
}

void Destination::expect(std::uint64_t bytes) const {
  if (bytes > options_.max_total_bytes - report_.bytes) {
    throw extract_error(ErrorCode::quota_exceeded,
                        "the archive holds more than " + std::to_string(options_.max_total_bytes) + " bytes");
  }
}

void Destination::write(std::string_view bytes) {
  expect(bytes.size());  // not every size is stated truthfully
  write_all(file_.get(), bytes, "writing");
  report_.bytes += bytes.size();
}

void Destination::commit_file() {
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, file_mtime_};
  (void)::futimens(file_.get(), times);
  // Network file systems report a full disk as late as here.
  if (::close(file_.release()) != 0) {
    const int cause = errno;
    (void)::unlinkat(open_parent_.get(), file_temporary_.c_str(), 0);
    throw system_error("writing", cause);
  }
  rename_over(open_parent_.get(), file_temporary_, file_name_);
  report_.files++;
}

void Destination::abandon_file() noexcept {
  if (!file_) return;
  file_.reset();
  (void)::unlinkat(open_parent_.get(), file_temporary_.c_str(), 0);
}

void Destination::finish() {
  // Children first: a mode may close the way to what is below.
  for (; !made_.empty(); made_.pop_back()) {
    const Made& made = made_.back();
    UniqueFd directory;
    try {
      directory = walk(made.name, false);
    } catch (const Error&) {
      continue;  // moved or replaced by somebody else meanwhile
    }
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, made.mtime};
    (void)::futimens(directory.get(), times);
    struct stat status {};
    if ((made.mode & kOwner) != kOwner && ::fstat(directory.get(), &status) == 0) {
      (void)::fchmod(directory.get(), status.st_mode & kAllBits & (made.mode | ~kOwner));
    }
  }
}

}  // namespace sandkey::archive
