// sandkey-keeper: stays beside one sandbox until that is over. Started by SandboxHost, not by people.
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/keeper/keeper.h"
#include "sandkey/sandbox/keeper_protocol.h"

#include <boost/json/serialize.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

namespace {

using namespace sandkey;
using namespace sandkey::sandbox;

std::string read_request() {
  const UniqueFd fd(kRequestFd);
  std::string text;
  std::array<char, 16 * 1024> piece{};
  while (true) {
    const ssize_t size = ::read(fd.get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw system_error("reading the keeper's request", errno);
    if (size == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
}

// Nobody's child, in nobody's session, with nothing of the client's.
void detach() {
  ::setsid();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what a dying bubblewrap leaves behind comes to us
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::umask(077);
  if (::chdir("/") != 0) throw system_error("going to /", errno);
  ::syscall(SYS_close_range, kAnswerFd + 1, ~0U, 0);
  for (const int fd : {kRequestFd, kLifelineFd, kAnswerFd}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

void keep() {
  UniqueFd lifeline(kLifelineFd);
  UniqueFd answer(kAnswerFd);
  KeeperRequest request;
  try {
    detach();
    request = request_from_json(read_request());
  } catch (const Error& error) {
    const std::string line = json::serialize(to_json(error)) + "\n";
    (void)!::write(answer.get(), line.data(), line.size());
    return;
  }
  Keeper(std::move(request), std::move(lifeline), std::move(answer)).run();
}

}  // namespace

int main() {
  for (const int fd : {kRequestFd, kLifelineFd, kAnswerFd}) {
    if (::fcntl(fd, F_GETFD) < 0) {
      std::fputs("sandkey-keeper is started by Sandkey for each sandbox on this machine, not by hand\n",
                 stderr);
      return 2;
    }
  }
  // The client waits for the first of the two only.
  const pid_t pid = ::fork();
  if (pid < 0) return 1;
  if (pid > 0) ::_exit(0);
  try {
    keep();
  } catch (const std::exception&) {
    ::_exit(1);  // there is nobody left to tell; the lifeline and the answer close
  }
  ::_exit(0);  // nothing is left that would have to be put away
}
