// sandkey-emulator: emulated sandbox clouds on this machine, for a program or until it is interrupted.
#include "sandkey/base/descriptors.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/emulator/clouds.h"
#include "sandkey/emulator/host.h"
#include "sandkey/emulator/program.h"
#include "sandkey/net/http_client.h"

#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

extern char** environ;

namespace {

namespace fs = std::filesystem;
using namespace sandkey;

constexpr int kOwnFailure = 125;
constexpr int kCannotStart = 126;
constexpr int kNoSuchCommand = 127;

struct Options {
  std::string clock = "real";
  std::string state = {};
  std::vector<std::string> command = {};
};

constexpr std::string_view kFolderName = "sandkey-emulator-";
constexpr const char* kLockFile = "lock";

// Held as long as the descriptor is open; none if another process holds it.
UniqueFd try_lock(const fs::path& folder) {
  UniqueFd file(::open((folder / kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) file.reset();
  return file;
}

// What emulators that were killed have left.
void remove_leftovers(const fs::path& parent) {
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    struct stat info {};
    const fs::path& path = entry->path();
    if (!path.filename().string().starts_with(kFolderName) || ::lstat(path.c_str(), &info) != 0) continue;
    // One that has no lock yet is being made this moment.
    const bool ours = S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() && fs::exists(path / kLockFile);
    if (!ours || !try_lock(path)) continue;
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
}

// The folder for sockets and certificates: the one that was named, or one that goes with us.
class StateFolder {
 public:
  explicit StateFolder(const std::string& chosen) : path_(chosen), ours_(chosen.empty()) {
    if (ours_) {
      const char* parent = std::getenv("TMPDIR");
      const fs::path where = parent != nullptr && *parent != '\0' ? parent : "/tmp";
      remove_leftovers(where);
      std::string name = (where / kFolderName).string() + "XXXXXX";
      if (::mkdtemp(name.data()) == nullptr) throw system_error("making " + name, errno);
      path_ = name;
    } else {
      std::error_code error;
      fs::create_directories(path_.parent_path(), error);
      if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) throw system_error("making " + chosen, errno);
      path_ = fs::canonical(path_);
    }
    lock_ = try_lock(path_);
    if (!lock_) {
      throw Error(ErrorCode::conflict,
                  "using " + path_.string() + ": another emulator does, or it cannot be written");
    }
  }
  ~StateFolder() {
    std::error_code ignored;
    if (ours_) fs::remove_all(path_, ignored);
  }
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
  bool ours_;
  UniqueFd lock_;
};

// On an engine's thread, where all of it stays.
asio::awaitable<std::unique_ptr<emulator::Host>> open(Engine& engine, emulator::HostOptions options) {
  co_return std::make_unique<emulator::Host>(engine, engine.executor(0), emulator::clouds(), options);
}

asio::awaitable<void> close(std::unique_ptr<emulator::Host> host) {
  co_await host->close();
}

int serve(const Options& options, emulator::BlockedSignals& signals, const emulator::Host& host) {
  const emulator::ProgramEnvironment environment = host.environment();
  if (options.command.empty()) {
    std::fputs(emulator::shell_lines(environment, environ).c_str(), stdout);
    std::fflush(stdout);
    signals.wait_for_end();
    return 0;
  }
  try {
    return signals.wait_for(emulator::start_program(options.command, emulator::apply(environment, environ)));
  } catch (const Error& error) {
    std::fprintf(stderr, "sandkey-emulator: %s\n", error.what());
    if (error.code() == ErrorCode::not_found) return kNoSuchCommand;
    return error.code() == ErrorCode::permission_denied ? kCannotStart : kOwnFailure;
  }
}

int run(const Options& options) {
  emulator::BlockedSignals signals;
  std::optional<StateFolder> folder;
  try {
    folder.emplace(options.state);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sandkey-emulator: %s\n", error.what());
    return kOwnFailure;
  }
  // libcurl takes 6 ms to load, and the first sandbox needs it.
  std::thread loading([] {
    try {
      HttpClient::preload();
    } catch (const Error&) {  // told by whoever needs it
    }
  });
  int status = kOwnFailure;
  try {
    Engine engine;
    emulator::HostOptions made{
        .clock = options.clock == "virtual" ? emulator::Clock::Kind::manual : emulator::Clock::Kind::real,
        .folder = folder->path()};
    std::unique_ptr<emulator::Host> host = engine.wait(open(engine, std::move(made)));
    status = serve(options, signals, *host);
    engine.wait(close(std::move(host)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sandkey-emulator: %s\n", error.what());
    status = kOwnFailure;
  }
  loading.join();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);
  Options options;
  CLI::App app{"Emulated sandbox clouds on this machine, with real sandboxes behind them.",
               "sandkey-emulator"};
  app.set_version_flag("--version", "sandkey-emulator " SANDKEY_VERSION);
  app.add_option("--clock", options.clock, "real, or virtual: one that moves when it is told to")
      ->check(CLI::IsMember({"real", "virtual"}));
  app.add_option("--state", options.state, "A folder to use instead of a temporary one")->type_name("DIR");
  app.add_option("command", options.command, "What to run against them, behind '--'")->type_name("COMMAND");
  app.positionals_at_end();
  app.footer(
      "Examples:\n"
      "  sandkey-emulator -- pytest tests/\n"
      "  sandkey-emulator --clock virtual -- node agent.mjs\n"
      "  sandkey-emulator > variables &         then: . ./variables\n"
      "\n"
      "Runs COMMAND with every vendor's variables set to a working account, and exits with its status (125: "
      "a\n"
      "failure of its own). Without a command it prints the variables, and serves until SIGINT or SIGTERM.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "sandkey-emulator: %s; see sandkey-emulator --help\n", error.what());
    return kOwnFailure;
  }
  return run(options);
}
