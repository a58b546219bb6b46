// Which user of this machine a sandbox is, and doing things as that user.
#pragma once

#include <sys/types.h>

#include <functional>

namespace sandkey::sandbox {

// Started by root, a sandbox is a user of its own that owns nothing on this machine; otherwise it is ours.
struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  bool differs_from_ours = false;

  [[nodiscard]] static Identity choose();
};

// Whether we may change mounts (of a mount namespace of our own).
[[nodiscard]] bool may_mount() noexcept;

// What a child that shares our memory does to become that user; 0 or errno.
[[nodiscard]] int become(const Identity& identity) noexcept;

// Runs `work` in a child that is that user and shares our memory and our descriptors, so that a descriptor it
// opens is ours afterwards, while what it does to its user, namespaces or limits ends with it. `work` makes
// system calls only and returns 0 or errno, as does this.
[[nodiscard]] int run_as(const Identity& identity, const std::function<int()>& work);

}  // namespace sandkey::sandbox
