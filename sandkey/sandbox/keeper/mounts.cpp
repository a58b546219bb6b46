#include "sandkey/sandbox/keeper/mounts.h"

#include "sandkey/base/error.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

namespace sandkey::sandbox {
namespace {

// Every machine has it, and bubblewrap needs nothing of it.
constexpr const char* kStage = "/run";

void write_map(pid_t pid, const char* which, unsigned inside, unsigned outside) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + which;
  const std::string map = std::to_string(inside) + " " + std::to_string(outside) + " 1\n";
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), map.data(), map.size()) != static_cast<ssize_t>(map.size())) {
    throw system_error("mapping the owner of a workspace", errno);
  }
}

// A user namespace is made by a process in it, which may then go.
class NamespaceHolder {
 public:
  NamespaceHolder() {
    const pid_t parent = ::getpid();
    pid_ =
        static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (pid_ < 0) throw system_error("mapping the owner of a workspace", errno);
    if (pid_ == 0) {
      // Neither it nor what we have open may outlive us.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::syscall(SYS_close_range, 0, ~0U, 0);
      while (true) ::pause();
    }
  }
  ~NamespaceHolder() {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  NamespaceHolder(const NamespaceHolder&) = delete;
  NamespaceHolder& operator=(const NamespaceHolder&) = delete;
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  pid_t pid_;
};

UniqueFd map_owner(const struct stat& folder, const Identity& identity) {
  const NamespaceHolder holder;
  write_map(holder.pid(), "uid_map", folder.st_uid, identity.uid);
  write_map(holder.pid(), "gid_map", folder.st_gid, identity.gid);
  UniqueFd map(::open(("/proc/" + std::to_string(holder.pid()) + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  if (!map) throw system_error("mapping the owner of a workspace", errno);
  return map;
}

// Opened once, so that everything after is about the same file, whatever becomes of its path.
UniqueFd open_plain(const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
}

// A copy of what is mounted there, that is nowhere yet; none, and errno, if it cannot be had.
UniqueFd copy_mount(const UniqueFd& opened, const UniqueFd& owner_map) {
  constexpr unsigned kFlags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH;
  UniqueFd mount(static_cast<int>(::syscall(SYS_open_tree, opened.get(), "", kFlags)));
  if (!mount) return mount;
  mount_attr attributes{};
  attributes.propagation = MS_PRIVATE;
  if (owner_map) {
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<std::uint64_t>(owner_map.get());
  }
  if (::syscall(SYS_mount_setattr, mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                sizeof attributes) != 0) {
    const int error = errno;
    mount.reset();
    errno = error;
  }
  return mount;
}

struct stat stat_of(const UniqueFd& opened, const std::string& doing) {
  struct stat info {};
  if (::fstat(opened.get(), &info) != 0) throw system_error(doing, errno);
  return info;
}

// Whether an unprivileged user gets there and can read it, so that it need not be laid out (which costs a
// mount namespace, one to seven milliseconds).
bool reachable_by_all(const std::string& path) {
  struct stat info {};
  for (std::size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    if (::stat(path.substr(0, end).c_str(), &info) != 0 || (info.st_mode & S_IXOTH) == 0) return false;
  }
  if (!path.starts_with('/') || ::stat(path.c_str(), &info) != 0) return false;
  const mode_t needed = S_ISDIR(info.st_mode) ? S_IROTH | S_IXOTH : S_IROTH;
  return (info.st_mode & needed) == needed;
}

}  // namespace

Mounts::Mounts(const Identity& identity)
    : identity_(identity), needed_(identity.differs_from_ours && may_mount()) {}

std::string Mounts::stage(const std::string& path, bool folder, UniqueFd mount) {
  std::string to = std::string(kStage) + "/" + std::to_string(staged_.size());
  staged_.push_back({.from = path, .to = to, .folder = folder, .mount = std::move(mount)});
  return to;
}

std::string Mounts::source(const std::string& path) {
  // What is laid out covers kStage.
  const bool lay_out = !reachable_by_all(path) || path.starts_with(kStage);
  if (!needed_ || !lay_out) return path;
  const std::string doing = "using " + path + " for a sandbox";
  const UniqueFd opened = open_plain(path);
  if (!opened) throw system_error(doing, errno);
  UniqueFd mount = copy_mount(opened, UniqueFd());
  if (!mount) throw system_error(doing + ": mounting it", errno);
  return stage(path, S_ISDIR(stat_of(opened, doing).st_mode), std::move(mount));
}

std::string Mounts::writable_source(const std::string& path) {
  if (!identity_.differs_from_ours) return path;
  const std::string doing = "using " + path + " as a workspace: ";
  if (!needed_) {
    throw Error(
        ErrorCode::unsupported,
        doing +
            "that needs CAP_SYS_ADMIN when started by root; start it as an ordinary user, or leave out the "
            "workspace folder and copy files in and out");
  }
  const UniqueFd opened = open_plain(path);
  if (!opened && errno == ELOOP) {
    throw Error(ErrorCode::invalid_argument,
                doing + "a part of its path was made a symbolic link meanwhile; try again");
  }
  if (!opened) throw system_error(doing + "opening it", errno);
  const struct stat info = stat_of(opened, doing + "looking at it");
  if (!S_ISDIR(info.st_mode)) throw Error(ErrorCode::invalid_argument, doing + "it is not a folder");
  UniqueFd mount = copy_mount(opened, map_owner(info, identity_));
  if (!mount) {
    if (errno == EINVAL || errno == ENOSYS || errno == EPERM) {
      throw Error(
          ErrorCode::unsupported,
          doing +
              "its file system, or one mounted below it, or this kernel cannot map owners; use a folder "
              "elsewhere, or start it as the ordinary user who owns the folder");
    }
    throw system_error(doing + "mapping its owner", errno);
  }
  return stage(path, true, std::move(mount));
}

int Mounts::lay_out() noexcept {
  if (staged_.empty()) return 0;
  at_ = staged_.size();
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno;
  }
  if (::mount("sandkey", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=256k") != 0) return errno;
  for (at_ = 0; at_ < staged_.size(); ++at_) {
    const Staged& staged = staged_[at_];
    const bool made = staged.folder ? ::mkdir(staged.to.c_str(), 0700) == 0
                                    : ::mknod(staged.to.c_str(), S_IFREG | 0600, 0) == 0;
    if (!made || ::syscall(SYS_move_mount, staged.mount.get(), "", AT_FDCWD, staged.to.c_str(),
                           MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      return errno;
    }
  }
  return 0;
}

const std::string& Mounts::path_of(std::size_t mount) const noexcept {
  static const std::string kNone = "its mount namespace";
  return mount < staged_.size() ? staged_[mount].from : kNone;
}

}  // namespace sandkey::sandbox
