#include "sandkey/sandbox/preflight.h"

#include "sandkey/base/error.h"
#include "sandkey/sandbox/keeper_protocol.h"
#include "sandkey/sandbox/network/internet.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <string_view>

namespace sandkey::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMinDisk = std::uint64_t{1} << 20;
constexpr std::uint64_t kMinMemory = std::uint64_t{32} << 20;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 60;
constexpr unsigned kMinProcesses = 16;
constexpr unsigned kMaxProcesses = 4'000'000;
constexpr std::uint64_t kMinFreeBytes = std::uint64_t{1} << 20;
constexpr auto kLongestLease = std::chrono::hours(24 * 365 * 10);
constexpr std::size_t kMaxTexts = 512 * 1024;  // of environment and arguments together
constexpr std::size_t kMaxPath = 1024;

bool is_program(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

bool is_folder(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "creating a sandbox: " + why);
}

void require_no_nul(std::string_view text, const char* what) {
  if (text.find('\0') != std::string_view::npos) refuse(std::string(what) + " holds a NUL character");
}

// As it stands in a request: absolute, without anything to resolve but links.
void require_plain_path(const std::string& path, const char* what) {
  require_no_nul(path, what);
  const fs::path as_path(path);
  if (!as_path.is_absolute()) refuse(std::string(what) + " '" + path + "' must be an absolute path");
  if (path.size() > kMaxPath)
    refuse(std::string(what) + " is longer than " + std::to_string(kMaxPath) + " bytes");
}

void check_limits(const Limits& limits) {
  if (limits.memory_bytes && (*limits.memory_bytes < kMinMemory || *limits.memory_bytes > kMaxBytes)) {
    refuse("the memory limit must be at least 32 MiB");
  }
  if (limits.processes < kMinProcesses || limits.processes > kMaxProcesses) {
    refuse("the limit of processes must be from 16 to 4000000");
  }
  if (limits.disk_bytes < kMinDisk || limits.disk_bytes > kMaxBytes) {
    refuse("the disk limit must be at least 1 MiB");
  }
}

void check_image(const std::string& image) {
  require_plain_path(image, "the image");
  if (!is_folder(image)) refuse("the image '" + image + "' is not a folder with a root file system");
  if (fs::path(image).lexically_normal() == "/") {
    refuse(
        "the image must not be '/', which has more than a system in it; leave it out to use this machine's "
        "/usr");
  }
  const auto has = [&](const char* part) {
    struct stat info {};
    return ::lstat((image + part).c_str(), &info) == 0;
  };
  if (!has("/bin") && !has("/usr/bin")) {
    refuse("the image '" + image + "' has neither /bin nor /usr/bin; name the folder that holds them");
  }
}

void check_workspace(const Spec& spec, const fs::path& folder) {
  const std::string& workspace = spec.workspace;
  require_plain_path(workspace, "the workspace");
  std::error_code error;
  const fs::path real = fs::canonical(workspace, error);
  if (error || !is_folder(real.string())) {
    refuse("the workspace '" + workspace + "' is not a folder; make it first");
  }
  if (::access(real.c_str(), R_OK | W_OK | X_OK) != 0) {
    refuse("the workspace '" + workspace + "' may not be written by this user");
  }
  // What must not be handed out in a whole: the system, all homes, and the folder that leads into sandboxes.
  static constexpr std::array<std::string_view, 17> kNever{
      "/",     "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc",
      "/root", "/run", "/sbin", "/sys", "/tmp", "/usr",  "/var", "/opt"};
  static constexpr std::array<std::string_view, 9> kNeverBelow{"/bin",  "/boot", "/dev", "/etc", "/lib",
                                                               "/proc", "/sbin", "/sys", "/usr"};
  const std::string name = real.string();
  const auto below = [&](std::string_view parent) {
    return name.starts_with(parent) && name.size() > parent.size() && name[parent.size()] == '/';
  };
  if (std::ranges::find(kNever, name) != kNever.end() || std::ranges::any_of(kNeverBelow, below)) {
    refuse("the workspace must not be " + name +
           ", which is a part of this machine's system; name a project's folder");
  }
  const fs::path state = fs::weakly_canonical(folder, error);
  if (!error) {
    const auto [end_of_name, end_of_state] =
        std::mismatch(real.begin(), real.end(), state.begin(), state.end());
    (void)end_of_state;
    if (end_of_name == real.end()) {
      refuse("the workspace " + name + " contains " + state.string() + ", the folder of sandboxes itself");
    }
  }
}

void check_working_dir(const std::string& path) {
  require_plain_path(path, "the working directory");
  if (fs::path(path).lexically_normal().string() != path || path.back() == '/') {
    refuse("the working directory '" + path + "' must be written without '.', '..', '//' and '/' at its end");
  }
  static constexpr std::array<std::string_view, 11> kSystem{"bin",   "boot", "dev",  "etc", "lib", "lib32",
                                                            "lib64", "proc", "sbin", "sys", "usr"};
  const std::string top = (++fs::path(path).begin())->string();
  if (std::ranges::find(kSystem, top) != kSystem.end() || top == "run" || top == "libx32") {
    refuse("the working directory must not be in /" + top + "; /workspace is the usual one");
  }
}

void check_user(const std::string& name) {
  constexpr std::size_t kLongest = 31;
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (name.empty() || name.size() > kLongest || name.front() < 'a' || !std::ranges::all_of(name, plain)) {
    refuse("the user '" + name + "' must be called by a-z, 0-9 and '-', at most 31, beginning with a letter");
  }
  if (name == "root" || name == "nobody") refuse("the user must not be " + name + ", which the system has");
}

void check_texts(const Spec& spec) {
  std::size_t size = 0;
  for (const auto& [name, value] : spec.environment) {
    require_no_nul(name, "a name in the environment");
    require_no_nul(value, "a value in the environment");
    if (name.empty() || name.find('=') != std::string::npos) {
      refuse("'" + name + "' cannot be the name of an environment variable");
    }
    size += name.size() + value.size();
  }
  for (const std::string& argument : spec.arguments) {
    require_no_nul(argument, "an argument");
    size += argument.size();
  }
  for (const auto& [name, value] : spec.labels) size += name.size() + value.size();
  if (size > kMaxTexts) refuse("environment, arguments and labels have more than 512 KiB together");
}

long long number_in(const fs::path& file, long long otherwise) {
  std::ifstream in(file);
  long long number = 0;
  return in >> number ? number : otherwise;
}

}  // namespace

std::string find_bubblewrap(const Engine& engine) {
  const std::string path = engine.environment("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string_view folder = rest.substr(0, colon);
    rest.remove_prefix(std::min(colon + 1, rest.size()));
    // A relative one would be whatever lies in the current folder.
    if (!folder.starts_with('/')) continue;
    std::string candidate = std::string(folder) + "/bwrap";
    if (is_program(candidate)) return candidate;
  }
  throw Error(
      ErrorCode::unsupported,
      "making sandboxes on this machine: the program bwrap is in no folder of PATH; install bubblewrap (apt "
      "install bubblewrap)");
}

void require_user_namespaces(const fs::path& proc_sys) {
  const std::string doing = "making sandboxes on this machine: ";
  if (number_in(proc_sys / "user/max_user_namespaces", 1) == 0) {
    throw Error(ErrorCode::unsupported,
                doing +
                    "user namespaces are switched off; as root run `sysctl "
                    "user.max_user_namespaces=15000` (or remove where that is set to 0)");
  }
  if (number_in(proc_sys / "kernel/unprivileged_userns_clone", 1) == 0) {
    throw Error(ErrorCode::unsupported,
                doing +
                    "user namespaces are switched off for ordinary users; as root run "
                    "`sysctl kernel.unprivileged_userns_clone=1`");
  }
}

void require_private_folder(const fs::path& folder, std::size_t id_size) {
  const std::string doing = "using " + folder.string() + " as the folder of sandboxes: ";
  const std::size_t longest =
      folder.string().size() + 1 + id_size + 1 + std::string_view(kControlSocket).size();
  if (longest >= sizeof(sockaddr_un::sun_path)) {
    throw Error(ErrorCode::invalid_argument, doing + "the path of a socket in it would have " +
                                                 std::to_string(longest) +
                                                 " bytes, and 107 are allowed; choose a shorter one");
  }
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) {
    std::error_code error;
    fs::create_directories(folder.parent_path(), error);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) throw system_error(doing + "making it", errno);
    if (::stat(folder.c_str(), &info) != 0) throw system_error(doing + "looking at it", errno);
  }
  if (!S_ISDIR(info.st_mode)) throw Error(ErrorCode::invalid_argument, doing + "it is not a folder");
  if (info.st_uid != ::geteuid()) {
    throw Error(ErrorCode::permission_denied, doing + "it belongs to another user; choose one of your own");
  }
  if ((info.st_mode & 077) != 0) {
    throw Error(ErrorCode::permission_denied,
                doing + "others may enter it, and so the sandboxes; run `chmod 700 " + folder.string() + "`");
  }
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) throw system_error(doing + "writing there", errno);
  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0) throw system_error(doing + "looking at it", errno);
  if ((space.f_flag & ST_RDONLY) != 0) {
    throw Error(ErrorCode::permission_denied, doing + "its file system is read-only");
  }
  const std::uint64_t free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  if (free_bytes < kMinFreeBytes || (space.f_files != 0 && space.f_favail == 0)) {
    throw Error(ErrorCode::capacity_unavailable, doing + "its disk is full; free some space");
  }
}

void require_valid(const Spec& spec, const fs::path& folder) {
  if (!spec.id.empty() && !is_valid_id(spec.id)) {
    refuse("'" + spec.id +
           "' cannot be its id: use letters, digits and '-', at most 40, not beginning with '-'");
  }
  check_limits(spec.limits);
  check_texts(spec);
  check_working_dir(spec.working_dir);
  for (const std::string& path : spec.writable_folders) check_working_dir(path);
  check_user(spec.user);
  if (spec.lease && (*spec.lease < std::chrono::seconds(1) || *spec.lease > kLongestLease)) {
    refuse("its lease must be at least one second, and at most ten years");
  }
  require_plain_path(spec.program.string(), "the program");
  if (!is_program(spec.program.string())) {
    refuse("the program " + spec.program.string() + " is not there, or may not be executed");
  }
  if (::geteuid() == 0) {
    struct stat info {};
    if (::stat(spec.program.c_str(), &info) == 0 && (info.st_mode & 05) != 05) {
      refuse("the program " + spec.program.string() +
             " must be readable and executable for all, since a sandbox does not run as root: chmod a+rx");
    }
  }
  if (!spec.image.empty() && spec.program_on_path) {
    refuse("the program cannot be added to an image; leave out one of the two");
  }
  if (!spec.image.empty()) check_image(spec.image);
  if (!spec.workspace.empty()) check_workspace(spec, folder);
  if (spec.network) require_internet_tools();
}

}  // namespace sandkey::sandbox
