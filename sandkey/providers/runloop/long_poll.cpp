#include "sandkey/providers/runloop/long_poll.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace sandkey::runloop {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kHold = 25s;  // Runloop's own are 25 and 30
constexpr std::chrono::seconds kSlack = 5s;
// What comes back sooner was not held.
constexpr std::chrono::seconds kHeld = 1s;
constexpr std::chrono::milliseconds kFirstPause = 50ms;
constexpr std::chrono::milliseconds kLongestPause = 2s;
constexpr int kMostFailures = 6;  // in a row

Question next_question(const Engine& engine, Deadline deadline) {
  const auto left = std::chrono::floor<std::chrono::seconds>(deadline - engine.steady_now());
  const std::chrono::seconds hold = std::clamp<std::chrono::seconds>(left, 1s, kHold);
  return {hold, std::min(deadline, engine.in(hold + kSlack))};
}

[[noreturn]] void time_is_up(const std::string& operation, const std::string& state,
                             const std::optional<Error>& failed) {
  std::string text = operation + ": its time is up";
  if (!state.empty()) text += "; it is still " + state;
  if (failed) text += std::string("; the last try: ") + failed->what();
  throw Error(ErrorCode::deadline_exceeded, text,
              {.provider = "runloop",
               .operation = operation,
               .phase = {},
               .request_id = {},
               .processed = Processed::unknown});
}

}  // namespace

asio::awaitable<void> long_poll(Engine& engine, std::string operation, Deadline deadline, Ask ask) {
  std::string state;
  std::chrono::milliseconds pause = kFirstPause;
  int failures = 0;
  for (;;) {
    const auto begin = engine.steady_now();
    std::optional<Error> failed;
    try {
      state = co_await ask(next_question(engine, deadline));
      if (state.empty()) co_return;
    } catch (const Error& error) {
      const bool passing = error.code() == ErrorCode::unavailable && !error.context().permanent;
      if (!passing && error.code() != ErrorCode::deadline_exceeded) throw;
      if (passing) failed = error;
    }
    failures = failed ? failures + 1 : 0;
    if (failures == kMostFailures) throw_error(*failed);
    const bool held = engine.steady_now() - begin >= kHeld;
    if (held) pause = kFirstPause;
    if (engine.in(held ? 0ms : pause) >= deadline) time_is_up(operation, state, failed);
    if (held) continue;
    co_await engine.sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace sandkey::runloop
