// The inside of a sandbox, as bubblewrap is told to make it.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/keeper/mounts.h"
#include "sandkey/sandbox/sandbox.h"

#include <string>
#include <utility>
#include <vector>

namespace sandkey::sandbox {

// Of process 1.
inline constexpr int kListenFd = 3;
inline constexpr int kReadyFd = 4;
// Of bubblewrap.
inline constexpr int kArgumentsFd = 5;
inline constexpr int kSeccompFd = 6;
inline constexpr int kInfoFd = 7;
inline constexpr int kBlockFd = 8;

struct BubblewrapArguments {
  std::vector<std::string> arguments;
  // (ours, bubblewrap's): files it reads.
  std::vector<std::pair<UniqueFd, int>> files;
};

// Throws Error(invalid_argument) for an image or a working directory that cannot be used.
[[nodiscard]] BubblewrapArguments bubblewrap_arguments(const Spec& spec, Mounts& mounts);

}  // namespace sandkey::sandbox
