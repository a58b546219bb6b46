#include "sandkey/emulator/clock.h"

#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace sandkey::emulator {
namespace {

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
// The machine's clock may be set meanwhile, so nobody sleeps longer than this without a look at it.
constexpr std::chrono::seconds kLongestSleep{5};

asio::awaitable<void> run(Clock::Action action) {
  try {
    co_await action();
  } catch (const std::exception&) {  // nobody waits for it
  }
}

}  // namespace

struct Clock::Alarm::Entry {
  Action action;
  bool cancelled = false;
};

Clock::Alarm::Alarm() noexcept = default;
Clock::Alarm::Alarm(std::shared_ptr<Entry> entry) noexcept : entry_(std::move(entry)) {}
Clock::Alarm::Alarm(Alarm&& other) noexcept = default;
Clock::Alarm& Clock::Alarm::operator=(Alarm&& other) noexcept {
  if (entry_ && entry_ != other.entry_) entry_->cancelled = true;
  entry_ = std::move(other.entry_);
  return *this;
}
Clock::Alarm::~Alarm() {
  if (entry_) entry_->cancelled = true;
}

struct Clock::State {
  State(Engine& used_engine, const asio::any_io_executor& executor, Kind chosen)
      : engine(used_engine),
        kind(chosen),
        time(used_engine.system_now()),
        timer(executor),
        tasks(engine, executor) {}

  [[nodiscard]] Time now() const { return kind == Kind::manual ? time : engine.system_now(); }

  // The next one that is due; those given up are dropped on the way.
  [[nodiscard]] Action take_due(Time limit) {
    while (!alarms.empty() && alarms.begin()->first <= limit) {
      const std::shared_ptr<Alarm::Entry> entry = alarms.begin()->second;
      if (kind == Kind::manual) time = std::max(time, alarms.begin()->first);
      alarms.erase(alarms.begin());
      if (!entry->cancelled) return std::move(entry->action);
    }
    return {};
  }

  static asio::awaitable<void> watch(std::shared_ptr<State> state) {
    while (true) {
      while (Action action = state->take_due(state->now())) state->tasks.spawn(run(std::move(action)));
      auto pause = std::chrono::nanoseconds(kLongestSleep);
      if (!state->alarms.empty()) {
        pause = std::min<std::chrono::nanoseconds>(pause, state->alarms.begin()->first - state->now());
      }
      state->timer.expires_after(pause);
      (void)co_await state->timer.async_wait(kAsTuple);
    }
  }

  Engine& engine;
  const Kind kind;
  Time time;  // of a manual clock
  std::multimap<Time, std::shared_ptr<Alarm::Entry>> alarms;
  asio::steady_timer timer;
  TaskGroup tasks;
};

Clock::Clock(Engine& engine, asio::any_io_executor executor, Kind kind)
    : state_(std::make_shared<State>(engine, executor, kind)) {
  if (kind == Kind::real) state_->tasks.spawn(State::watch(state_));
}

Clock::~Clock() {
  state_->tasks.cancel();
}

Clock::Kind Clock::kind() const noexcept {
  return state_->kind;
}

Time Clock::now() const {
  return state_->now();
}

Clock::Alarm Clock::at(Time when, Action action) {
  auto entry = std::make_shared<Alarm::Entry>();
  entry->action = std::move(action);
  const auto place = state_->alarms.emplace(when, entry);
  if (place == state_->alarms.begin()) state_->timer.cancel();  // earlier than what is waited for
  return Alarm(std::move(entry));
}

asio::awaitable<void> Clock::advance(std::chrono::nanoseconds by) {
  if (state_->kind != Kind::manual) {
    throw Error(ErrorCode::invalid_argument,
                "moving the clock: it is this machine's; start the emulator with --clock virtual");
  }
  const std::shared_ptr<State> state = state_;
  const Time end = state->time + std::chrono::duration_cast<Time::duration>(by);
  while (Action action = state->take_due(end)) co_await run(std::move(action));
  state->time = std::max(state->time, end);
}

asio::awaitable<void> Clock::stop() {
  state_->alarms.clear();
  state_->tasks.cancel();
  co_await state_->tasks.join();
}

}  // namespace sandkey::emulator
