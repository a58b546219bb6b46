#include "sandkey/runtime/state_folder.h"

#include "sandkey/base/error.h"

#include <fmt/format.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

namespace sandkey {
namespace {

namespace fs = std::filesystem;

// The variable as a path, if it is set.
std::optional<fs::path> folder_of(Engine& engine, const std::string& variable) {
  const std::optional<std::string> value = engine.environment(variable);
  if (!value || value->empty()) return std::nullopt;
  if (value->front() != '/') {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("finding the state folder: ${} is '{}', which is no absolute path; set it to one",
                            variable, *value));
  }
  return fs::path(*value);
}

std::string quoted(const fs::path& path) {
  return "'" + path.string() + "'";
}

}  // namespace

fs::path state_folder(Engine& engine) {
  if (const auto chosen = folder_of(engine, "SANDKEY_STATE_DIR")) return *chosen;
  if (const auto states = folder_of(engine, "XDG_STATE_HOME")) return *states / "sandkey";
  if (const auto home = folder_of(engine, "HOME")) return *home / ".local" / "state" / "sandkey";
  throw Error(ErrorCode::invalid_argument,
              "finding the state folder: none of $SANDKEY_STATE_DIR, $XDG_STATE_HOME and $HOME is set; set "
              "SANDKEY_STATE_DIR to a folder that lasts");
}

fs::path require_state_folder(Engine& engine) {
  const fs::path folder = state_folder(engine);
  make_private_folders(folder);
  const std::string doing = "using the state folder " + quoted(folder);
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) throw system_error(doing, errno);
  if (!S_ISDIR(info.st_mode)) {
    throw Error(ErrorCode::conflict, doing + ": it is no folder; move it away, or set SANDKEY_STATE_DIR");
  }
  if (info.st_uid != ::geteuid()) {
    throw Error(
        ErrorCode::permission_denied,
        fmt::format("{}: it belongs to user {}, and we are user {}; set SANDKEY_STATE_DIR to a folder "
                    "of yours",
                    doing, info.st_uid, ::geteuid()));
  }
  if ((info.st_mode & 077U) != 0) {
    throw Error(ErrorCode::permission_denied,
                fmt::format("{}: others may use it (mode {:04o}); run: chmod 700 {}", doing,
                            info.st_mode & 07777U, quoted(folder)));
  }
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    const Error error = system_error(doing + ": it cannot be written", errno);
    throw Error(error.code(), std::string(error.what()) + "; set SANDKEY_STATE_DIR to another folder");
  }
  return folder;
}

void make_private_folders(const fs::path& folder) {
  // The usual case, and no reason to need more than the last folder's permission.
  struct stat info {};
  if (::stat(folder.c_str(), &info) == 0) return;
  fs::path made;
  for (const fs::path& part : folder) {
    made /= part;
    if (part.empty() || ::mkdir(made.c_str(), 0700) == 0 || errno == EEXIST) continue;
    const int error = errno;
    // A folder that exists may also be refused as read-only, say.
    if (::stat(made.c_str(), &info) != 0) throw system_error("making the folder " + quoted(made), error);
  }
}

}  // namespace sandkey
