#include "sandkey/sandbox/keeper/inner_network.h"

#include "sandkey/base/error.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace sandkey::sandbox {

InnerNetwork::InnerNetwork(pid_t init, const Identity& identity) : identity_(identity) {
  const std::string path = "/proc/" + std::to_string(init) + "/ns/net";
  int network = -1;
  int owner = -1;
  const int error = run_as(identity, [&] {
    network = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (network < 0) return errno;
    owner = ::ioctl(network, NS_GET_USERNS);
    return owner < 0 ? errno : 0;
  });
  network_.reset(network);
  owner_.reset(owner);
  if (error != 0) throw system_error("reaching the network of a sandbox", error);
}

UniqueFd InnerNetwork::tcp_socket(int family) const {
  int made = -1;
  const int error = run_as(identity_, [&] {
    if (::setns(owner_.get(), CLONE_NEWUSER) != 0 || ::setns(network_.get(), CLONE_NEWNET) != 0) return errno;
    made = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return made < 0 ? errno : 0;
  });
  UniqueFd result(made);
  if (error != 0) throw system_error("making a socket inside a sandbox", error);
  return result;
}

}  // namespace sandkey::sandbox
