// One sandbox, from its making to its end.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/keeper_protocol.h"

#include <memory>

namespace sandkey::sandbox {

class Keeper {
 public:
  // `lifeline` and `answer` as in keeper_protocol.h.
  Keeper(KeeperRequest request, UniqueFd lifeline, UniqueFd answer);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Makes the sandbox, serves it, and returns when it is over and nothing is left of it. All failures are
  // told through `answer`.
  void run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::sandbox
