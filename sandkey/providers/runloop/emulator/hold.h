// Waits that a client does not bear for ever: for something to change, but for so long at most.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/engine.h"
#include "sandkey/emulator/clock.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <memory>
#include <utility>

namespace sandkey::runloop::emulator {

// Ends when the time has passed on this machine or on the emulator's clock, whichever is first: a client
// waits in real time, and a clock that is moved moves all that waits.
class Hold {
 public:
  Hold(Engine& engine, sandkey::emulator::Clock& clock, std::shared_ptr<AsyncEvent> event,
       std::chrono::milliseconds time)
      : engine_(engine), event_(std::move(event)), end_(engine.in(time)) {
    // An alarm that has gone off may still be about to run when we have gone.
    alarm_ = clock.at(clock.now() + time,
                      [passed = passed_, weak = std::weak_ptr(event_)] { return end(passed, weak.lock()); });
  }

  [[nodiscard]] bool over() const { return *passed_ || engine_.steady_now() >= end_; }
  // Returns when the event was notified or the time has passed.
  asio::awaitable<void> wait() { (void)co_await event_->wait_until(end_); }

 private:
  static asio::awaitable<void> end(std::shared_ptr<bool> passed, std::shared_ptr<AsyncEvent> event) {
    *passed = true;
    if (event) event->notify_all();
    co_return;
  }

  Engine& engine_;
  std::shared_ptr<AsyncEvent> event_;
  Deadline end_;
  std::shared_ptr<bool> passed_ = std::make_shared<bool>(false);
  sandkey::emulator::Clock::Alarm alarm_;
};

}  // namespace sandkey::runloop::emulator
