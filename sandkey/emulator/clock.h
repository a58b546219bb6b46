// The time an emulated cloud lives by: this machine's, or one that stands still until it is told to move.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/rfc3339.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <functional>
#include <memory>

namespace sandkey::emulator {

// Runs on one executor; not thread-safe.
class Clock {
 public:
  enum class Kind { real, manual };

  Clock(Engine& engine, boost::asio::any_io_executor executor, Kind kind);
  ~Clock();
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  [[nodiscard]] Kind kind() const noexcept;
  [[nodiscard]] Time now() const;

  using Action = std::function<boost::asio::awaitable<void>()>;
  // Destroying it before its time keeps the action from being run.
  class Alarm {
   public:
    Alarm() noexcept;
    ~Alarm();
    Alarm(Alarm&&) noexcept;
    Alarm& operator=(Alarm&&) noexcept;

   private:
    friend class Clock;
    struct Entry;
    explicit Alarm(std::shared_ptr<Entry> entry) noexcept;
    std::shared_ptr<Entry> entry_;
  };
  // Runs the action once, when the clock has reached `when`, on its own: what it throws is dropped.
  [[nodiscard]] Alarm at(Time when, Action action);

  // Moves a manual clock: what is due on the way is run in its order, each at its time, and has ended when
  // this returns. Throws Error(invalid_argument) for a real clock.
  boost::asio::awaitable<void> advance(std::chrono::nanoseconds by);

  // Ends what runs and runs no more; awaited before anything goes that the actions refer to.
  boost::asio::awaitable<void> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sandkey::emulator
