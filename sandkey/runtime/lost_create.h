// A create whose answer was lost, where the cloud has no request ids or forgets them.
#pragma once

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <optional>
#include <utility>

namespace sandkey {

template <typename Made>
struct RecoveredCreate {
  Made made;
  bool again = false;  // it was made anew, and what was lost may appear beside it yet
};

// Looks for what may be about to appear before anything is made again, and once more where that is lost, too.
// `look` and `create` are coroutines that give a std::optional<Made> and a Made; they must outlive this.
// Throws `lost`, or what came after it, where there is no time left to look.
template <typename Made, typename Look, typename Create>
asio::awaitable<RecoveredCreate<Made>> recover_create(Engine& engine, const Look& look, const Create& create,
                                                      Error lost, Deadline deadline) {
  constexpr int kRounds = 2;
  constexpr int kLooks = 5;
  for (int round = 1;; ++round) {
    std::chrono::milliseconds pause{100};
    for (int turn = 0; turn < kLooks; ++turn) {
      if (engine.in(pause) >= deadline) throw_error(lost);
      co_await engine.sleep_for(pause);
      pause *= 2;
      std::optional<Made> found = co_await look();
      if (found) co_return RecoveredCreate<Made>{std::move(*found), false};
    }
    try {
      Made made = co_await create();
      co_return RecoveredCreate<Made>{std::move(made), true};
    } catch (const Error& error) {
      if (!may_have_happened(error) || round == kRounds) throw;
      lost = error;
    }
  }
}

}  // namespace sandkey
