// Where bubblewrap finds what it is to mount. The user a sandbox runs as need not be able to reach that by
// its own rights (a workspace below /root, say): then it is laid out for it in a mount namespace of its own.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/keeper/identity.h"

#include <cstddef>
#include <string>
#include <vector>

namespace sandkey::sandbox {

class Mounts {
 public:
  explicit Mounts(const Identity& identity);

  // The path by which bubblewrap finds `path`, which has no links in it. What is laid out is opened here and
  // now, and stays the same whatever becomes of its path.
  std::string source(const std::string& path);
  // The same for a folder that the sandbox writes: what it makes there belongs to the folder's owner.
  // Throws Error(unsupported) where that cannot be had.
  std::string writable_source(const std::string& path);

  // For the child that becomes bubblewrap: makes the namespace and the mounts. System calls only. Returns 0
  // or errno; then `path_of(reached())` is where, of which the second is for the child to tell.
  [[nodiscard]] int lay_out() noexcept;
  [[nodiscard]] std::size_t reached() const noexcept { return at_; }
  [[nodiscard]] const std::string& path_of(std::size_t mount) const noexcept;

 private:
  struct Staged {
    std::string from;
    std::string to;
    bool folder = false;
    UniqueFd mount;
  };
  std::string stage(const std::string& path, bool folder, UniqueFd mount);

  Identity identity_;
  bool needed_;
  std::vector<Staged> staged_;
  std::size_t at_ = 0;
};

}  // namespace sandkey::sandbox
