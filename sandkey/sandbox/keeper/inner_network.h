// Sockets in a sandbox's network, made from outside of it.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/keeper/identity.h"

namespace sandkey::sandbox {

class InnerNetwork {
 public:
  InnerNetwork() = default;
  // The network of process 1, which must not have run a foreign program yet.
  InnerNetwork(pid_t init, const Identity& identity);

  // A TCP socket, not connected. Throws Error.
  [[nodiscard]] UniqueFd tcp_socket(int family) const;

 private:
  Identity identity_;
  UniqueFd network_;
  UniqueFd owner_;  // the user namespace that owns it
};

}  // namespace sandkey::sandbox
