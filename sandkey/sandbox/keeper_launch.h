// Starting a keeper.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <sys/types.h>

#include <string>

namespace sandkey::sandbox {

// A keeper being started. It is nobody's child; the process that starts it is, and is reaped here.
class KeeperLaunch {
 public:
  // Throws Error.
  KeeperLaunch(const std::string& keeper, const std::string& id, const std::string& request);
  ~KeeperLaunch();
  KeeperLaunch(const KeeperLaunch&) = delete;
  KeeperLaunch& operator=(const KeeperLaunch&) = delete;

  [[nodiscard]] UniqueFd take_lifeline() noexcept { return std::move(lifeline_); }
  [[nodiscard]] UniqueFd take_answer() noexcept { return std::move(answer_); }

 private:
  UniqueFd lifeline_;
  UniqueFd answer_;
  pid_t starter_ = -1;
};

}  // namespace sandkey::sandbox
