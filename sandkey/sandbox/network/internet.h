// The internet for one sandbox, and nothing else: pasta carries the packets, what is private is refused.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

namespace sandkey::sandbox {

// What a sandbox's /etc/resolv.conf is to say when it has Internet: pasta hands questions that come there by
// UDP on to this machine's first resolver, whichever address that has. Chosen at first use so that it
// collides with nothing this machine is attached to, and the same from then on in this process.
[[nodiscard]] std::string resolver_address();

// Throws Error(unsupported) where there is no pasta, no /dev/net/tun, or no way out of this machine.
void require_internet_tools();

// A pasta process attached to the network namespace of `init`, owned by this object. Loopback, private,
// shared, link-local, metadata, multicast and reserved ranges of both families, and every address of this
// machine and its networks (those it has now), are refused twice: by routes, so that programs hear at once
// that nothing is there, and by a packet filter, since whoever binds a socket to an interface goes around
// routes. Both are out of the reach of processes without CAP_NET_ADMIN in there. IPv6 only where this machine
// has a way out by it.
class Internet {
 public:
  // Blocks until packets flow (tens of milliseconds). Throws Error with what pasta said. Single-threaded
  // callers only: it forks. The namespace belongs to a user namespace that is not root's.
  explicit Internet(pid_t init);
  ~Internet();  // ends pasta, as does the end of this process
  Internet(const Internet&) = delete;
  Internet& operator=(const Internet&) = delete;

  // A child of ours, which ends when pasta does.
  [[nodiscard]] pid_t pid() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::sandbox
