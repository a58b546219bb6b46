#include "sandkey/sandbox/keeper/bubblewrap_arguments.h"

#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/sandbox/network/internet.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <set>
#include <string_view>

namespace sandkey::sandbox {
namespace {

constexpr int kFirstFileFd = 9;
constexpr std::size_t kMaxEntries = 1000;  // of an image's /, /var or /etc
constexpr off_t kLargestCopy = 16 * 1024;

constexpr const char* kMakingFile = "making a file in memory";
constexpr std::string_view kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// What programs need of /etc and nobody would hide. Settings that may hold a secret (pip.conf, npmrc,
// gitconfig, environment, profile.d) are not here; and since mounting costs bubblewrap a fifth of a
// millisecond each, of the larger things only those without which common programs fail.
constexpr std::array kEtc{
    "alternatives", "bash.bashrc", "debian_version", "fonts",           "host.conf",  "inputrc",
    "ld.so.cache",  "localtime",   "magic",          "maven",           "os-release", "profile",
    "protocols",    "services",    "ssl/certs",      "ssl/openssl.cnf", "timezone",
};
constexpr const char* kLocalPrograms = "/usr/local/bin";
// Java's settings have its version in their name.
constexpr std::string_view kJava = "java";

// Of an image these are never used: they are made, or must not be there.
constexpr std::array<std::string_view, 7> kNotOfImage{"proc", "dev",  "sys",       "tmp",
                                                      "run",  "home", "lost+found"};
constexpr std::array<std::string_view, 3> kNotOfImagesVar{"tmp", "run", "lock"};

struct Made {
  const char* name;
  std::string text;
};

std::string home_of(const Spec& spec) {
  return "/home/" + spec.user;
}

std::array<Made, 6> made_files(const Spec& spec) {
  return {{
      {"passwd", "root:x:0:0:root:/root:/bin/sh\n" + spec.user + ":x:1000:1000:Sandkey:" + home_of(spec) +
                     ":/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
      {"group", "root:x:0:\n" + spec.user + ":x:1000:\nnogroup:x:65534:\n"},
      {"hosts", "127.0.0.1\tlocalhost " + spec.id + "\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
      {"hostname", spec.id + "\n"},
      {"nsswitch.conf",
       "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"},
      {"resolv.conf", spec.network ? "nameserver " + resolver_address() + "\n" : std::string()},
  }};
}

std::vector<std::string> entries_of(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(folder.c_str()), ::closedir);
  if (!opened) throw system_error("reading the folder " + folder + " for a sandbox", errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(opened.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (names.size() > kMaxEntries) {
    throw Error(ErrorCode::invalid_argument, "using " + folder + " in a sandbox: it has more than " +
                                                 std::to_string(kMaxEntries) + " entries");
  }
  std::ranges::sort(names);
  return names;
}

std::string first_component(std::string_view path) {
  path.remove_prefix(1);
  return std::string(path.substr(0, path.find('/')));
}

template <typename Names>
bool is_one_of(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

class Builder {
 public:
  Builder(const Spec& spec, Mounts& mounts) : spec_(spec), mounts_(mounts) {}

  BubblewrapArguments build() {
    isolate();
    if (spec_.image.empty()) {
      use_this_machine();
    } else {
      use_image();
    }
    add({"--proc", "/proc", "--dev", "/dev"});
    tmpfs("/dev/shm", "1777");
    tmpfs("/tmp", "1777");
    tmpfs("/home", "0755");
    add({"--perms", "0700", "--dir", home_of(spec_)});
    if (spec_.workspace.empty()) {
      tmpfs(spec_.working_dir, "0755");
    } else {
      add({"--bind", mounts_.writable_source(spec_.workspace), spec_.working_dir});
    }
    for (const std::string& folder : spec_.writable_folders) tmpfs(folder, "0755");
    const std::string program = "/run/sandkey/" + spec_.program.filename().string();
    const std::string source = mounts_.source(std::filesystem::canonical(spec_.program).string());
    add({"--ro-bind", source, program});
    if (spec_.program_on_path) show_on_path(source);
    add({"--remount-ro", "/dev", "--remount-ro", "/", "--chdir", spec_.working_dir});
    environment();
    add({"--seccomp", std::to_string(kSeccompFd), "--info-fd", std::to_string(kInfoFd), "--block-fd",
         std::to_string(kBlockFd), "--", program});
    for (const std::string& argument : spec_.arguments) add({argument});
    return std::move(result_);
  }

 private:
  void add(const std::vector<std::string>& arguments) {
    result_.arguments.insert(result_.arguments.end(), arguments.begin(), arguments.end());
  }

  void isolate() {
    add({"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
         "--unshare-cgroup-try", "--disable-userns", "--uid", "1000", "--gid", "1000", "--hostname", spec_.id,
         "--as-pid-1", "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"});
  }

  void environment() {
    const std::map<std::string, std::string> standard{
        {"PATH", std::string(kPath)}, {"HOME", home_of(spec_)}, {"USER", spec_.user},
        {"LOGNAME", spec_.user},      {"LANG", "C.UTF-8"},      {"SHELL", "/bin/sh"},
    };
    for (const auto& [name, value] : standard) {
      if (!spec_.environment.contains(name)) add({"--setenv", name, value});
    }
    for (const auto& [name, value] : spec_.environment) add({"--setenv", name, value});
  }

  void tmpfs(const std::string& path, const char* mode) {
    add({"--perms", mode, "--size", std::to_string(spec_.limits.disk_bytes), "--tmpfs", path});
  }

  void file(UniqueFd contents, const std::string& path) {
    const int number = kFirstFileFd + static_cast<int>(result_.files.size());
    add({"--perms", "0444", "--file", std::to_string(number), path});
    result_.files.emplace_back(std::move(contents), number);
  }

  // As it is outside: a link stays one, a small file is copied (a mount costs bubblewrap more), all else is
  // mounted. What is not there is left out.
  void show(const std::string& from, const std::string& to) {
    struct stat info {};
    if (::lstat(from.c_str(), &info) != 0) return;
    if (S_ISLNK(info.st_mode)) {
      std::array<char, 4096> target{};
      const ssize_t size = ::readlink(from.c_str(), target.data(), target.size());
      if (size > 0) add({"--symlink", std::string(target.data(), static_cast<std::size_t>(size)), to});
      return;
    }
    const bool readable_by_all = (info.st_mode & S_IROTH) != 0;
    if (S_ISREG(info.st_mode) && info.st_size <= kLargestCopy && readable_by_all) {
      UniqueFd contents(::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (contents) file(std::move(contents), to);
    } else if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) {
      add({"--ro-bind", mounts_.source(from), to});
    }
  }

  void make_etc_files(const std::string& where) {
    for (const Made& made : made_files(spec_))
      file(memory_file(made.name, made.text, kMakingFile), where + made.name);
  }

  void use_this_machine() {
    add({"--ro-bind", "/usr", "/usr"});
    for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) show_system(name);
    make_etc_files("/etc/");
    for (const char* name : kEtc) show_system("/etc/" + std::string(name));
    for (const std::string& name : entries_of("/etc")) {
      if (name.starts_with(kJava)) show_system("/etc/" + name);
    }
    add({"--dir", "/var", "--symlink", "../tmp", "/var/tmp"});
  }

  // Of this machine, which every user can reach: nothing needs to be laid out.
  void show_system(const std::string& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return;
    if (S_ISDIR(info.st_mode) || (S_ISREG(info.st_mode) && info.st_size > kLargestCopy)) {
      add({"--ro-bind", path, path});
    } else {
      show(path, path);
    }
  }

  // Nothing can be added to what is mounted read-only, so the folder is made anew, with all that is in it.
  void show_on_path(const std::string& source) {
    if (!is_folder(kLocalPrograms)) return;
    const std::string folder = std::string(kLocalPrograms) + "/";
    const std::string own = spec_.program.filename().string();
    add({"--perms", "0755", "--tmpfs", kLocalPrograms});
    for (const std::string& name : entries_of(kLocalPrograms)) {
      struct stat info {};
      if (name == own || ::lstat((folder + name).c_str(), &info) != 0) continue;
      if (S_ISLNK(info.st_mode)) {
        show(folder + name, folder + name);
      } else {
        add({"--ro-bind", folder + name, folder + name});
      }
    }
    add({"--ro-bind", source, folder + own, "--remount-ro", kLocalPrograms});
  }

  void use_image() {
    const std::string working = first_component(spec_.working_dir);
    const bool own_top_level = spec_.working_dir == "/" + working;
    require_folders_of_image("/etc");
    if (!own_top_level || working != "var") require_folders_of_image("/var");
    if (!own_top_level && !is_one_of(kNotOfImage, working)) require_folders_of_image(spec_.working_dir);
    for (const std::string& name : entries_of(spec_.image)) {
      if (is_one_of(kNotOfImage, name)) continue;
      if (own_top_level && name == working) continue;
      const std::string from = spec_.image + "/" + name;
      if (name == "var" && is_folder(from)) {
        show_entries(from, "/var/", {kNotOfImagesVar.begin(), kNotOfImagesVar.end()});
      } else if (name == "etc") {
        use_etc_of_image(from);
      } else {
        show(from, "/" + name);
      }
    }
    if (!is_folder(spec_.image + "/etc")) make_etc_files("/etc/");
    add({"--dir", "/var", "--symlink", "../tmp", "/var/tmp"});
  }

  // bubblewrap follows links where it makes something, at a time when all of this machine is still to be
  // seen: below a link of the image we would make it outside.
  void require_folders_of_image(const std::string& path) {
    for (std::size_t end = 0; end != std::string::npos;) {
      end = path.find('/', end + 1);
      const std::string part = path.substr(0, end);
      if (part.starts_with("/var/") && is_one_of(kNotOfImagesVar, part.substr(5))) return;
      struct stat info {};
      if (::lstat((spec_.image + part).c_str(), &info) != 0) {
        if (errno == ENOENT) return;
        throw system_error("using the image " + spec_.image + ": looking at its " + part, errno);
      }
      if (S_ISDIR(info.st_mode)) continue;
      throw Error(ErrorCode::invalid_argument,
                  "using the image " + spec_.image + ": its " + part + " is " +
                      (S_ISLNK(info.st_mode) ? "a symbolic link" : "not a folder") +
                      ", and files must be added below it; make it a folder" +
                      (part == "/etc" || part == "/var" ? "" : ", or choose another working directory"));
    }
  }

  void use_etc_of_image(const std::string& etc) {
    const std::array<Made, 6> made = made_files(spec_);
    // Mounted whole if our files can be mounted over its own; nothing can be added to it.
    const bool all_there = std::ranges::all_of(made, [&](const Made& each) {
      struct stat info {};
      return ::lstat((etc + "/" + each.name).c_str(), &info) == 0 && S_ISREG(info.st_mode);
    });
    if (!all_there) {
      std::set<std::string, std::less<>> ours;
      for (const Made& each : made) ours.insert(each.name);
      show_entries(etc, "/etc/", ours);
      make_etc_files("/etc/");
      return;
    }
    add({"--ro-bind", mounts_.source(etc), "/etc"});
    for (const Made& each : made) {
      const int number = kFirstFileFd + static_cast<int>(result_.files.size());
      add({"--perms", "0444", "--ro-bind-data", std::to_string(number), "/etc/" + std::string(each.name)});
      result_.files.emplace_back(memory_file(each.name, each.text, kMakingFile), number);
    }
  }

  void show_entries(const std::string& folder, const std::string& where,
                    const std::set<std::string, std::less<>>& but) {
    for (const std::string& name : entries_of(folder)) {
      if (!but.contains(name)) show(folder + "/" + name, where + name);
    }
  }

  static bool is_folder(const std::string& path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  }

  const Spec& spec_;
  Mounts& mounts_;
  BubblewrapArguments result_;
};

}  // namespace

BubblewrapArguments bubblewrap_arguments(const Spec& spec, Mounts& mounts) {
  return Builder(spec, mounts).build();
}

}  // namespace sandkey::sandbox
