#include "sandkey/sandbox/keeper_launch.h"

#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/sandbox/keeper_protocol.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace sandkey::sandbox {
namespace {

constexpr int kFirstCopy = 16;  // above what the keeper wants

UniqueFd copy_of(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstCopy));
  if (!copy) throw system_error("starting the keeper of a sandbox: copying a descriptor", errno);
  return copy;
}

// How the child differs from us.
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

}  // namespace

KeeperLaunch::KeeperLaunch(const std::string& keeper, const std::string& id, const std::string& request) {
  const UniqueFd request_file = copy_of(
      memory_file("sandkey-request", request, "starting the keeper of a sandbox: writing its request").get());
  // Sockets, since writing to a pipe nobody reads any more would be a signal for the whole process.
  std::array<int, 2> lifeline{};
  std::array<int, 2> answer{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lifeline.data()) != 0) {
    throw system_error("starting the keeper of a sandbox", errno);
  }
  lifeline_.reset(lifeline[1]);
  const UniqueFd lifeline_end(lifeline[0]);
  if (::pipe2(answer.data(), O_CLOEXEC) != 0) throw system_error("starting the keeper of a sandbox", errno);
  answer_.reset(answer[0]);
  const UniqueFd answer_end(answer[1]);
  const UniqueFd lifeline_copy = copy_of(lifeline_end.get());
  const UniqueFd answer_copy = copy_of(answer_end.get());

  SpawnSettings settings;
  for (const int fd : {0, 1, 2}) {
    ::posix_spawn_file_actions_addopen(&settings.actions, fd, "/dev/null", O_RDWR, 0);
  }
  ::posix_spawn_file_actions_adddup2(&settings.actions, request_file.get(), kRequestFd);
  ::posix_spawn_file_actions_adddup2(&settings.actions, lifeline_copy.get(), kLifelineFd);
  ::posix_spawn_file_actions_adddup2(&settings.actions, answer_copy.get(), kAnswerFd);
  sigset_t all;
  sigset_t none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&settings.attributes, &all);
  ::posix_spawnattr_setsigmask(&settings.attributes, &none);
  ::posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

  std::array<char*, 3> argv{const_cast<char*>("sandkey-keeper"), const_cast<char*>(id.c_str()), nullptr};
  std::array<char*, 1> no_environment{nullptr};
  const int error = ::posix_spawn(&starter_, keeper.c_str(), &settings.actions, &settings.attributes,
                                  argv.data(), no_environment.data());
  if (error == EAGAIN || error == ENOMEM) {
    throw Error(
        ErrorCode::capacity_unavailable,
        "starting the keeper of a sandbox: this machine, or this user, may have no more processes or memory; "
        "end some, or raise `ulimit -u`");
  }
  if (error != 0) throw system_error("starting " + keeper, error);
}

KeeperLaunch::~KeeperLaunch() {
  // It ends as soon as it has started the keeper. Somebody else may have reaped it, or nobody needs to.
  while (starter_ > 0 && ::waitpid(starter_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace sandkey::sandbox
