#include "sandkey/base/turnstile.h"

#include "sandkey/base/engine.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey {
namespace {

using ::testing::ElementsAre;

// Everything on one loop that runs until nothing is left to do, so each order of events is exact.
class TurnstileTest : public ::testing::Test {
 protected:
  // Goes through, notes its name and waits at `door` with the pass in hand.
  asio::awaitable<void> visit(std::string name, asio::steady_timer* door) {
    const auto pass = co_await turnstile_.enter();
    log_.push_back(name + " in");
    if (door != nullptr) co_await door->async_wait(asio::use_awaitable);
    log_.push_back(name + " out");
  }

  // Starts it, cancellable with `signal`.
  void start(std::string name, asio::steady_timer* door = nullptr,
             asio::cancellation_signal* signal = nullptr) {
    auto note = [this, name](const std::exception_ptr& failure) {
      if (failure) log_.push_back(name + (is_cancellation(failure) ? " cancelled" : " failed"));
    };
    if (signal == nullptr) {
      asio::co_spawn(context_, visit(name, door), note);
    } else {
      asio::co_spawn(context_, visit(name, door), asio::bind_cancellation_slot(signal->slot(), note));
    }
  }

  // Runs what can run now.
  void settle() {
    context_.restart();
    context_.poll();
  }

  asio::io_context context_;
  Turnstile turnstile_{context_.get_executor()};
  asio::steady_timer door_{context_, asio::steady_timer::time_point::max()};
  std::vector<std::string> log_;
};

TEST_F(TurnstileTest, LetsOneThroughAtATimeInTheOrderTheyCame) {
  start("a", &door_);
  start("b");
  start("c");
  settle();
  EXPECT_THAT(log_, ElementsAre("a in"));
  door_.cancel();  // ends a's visit with an error, which gives the pass back all the same
  settle();
  EXPECT_THAT(log_, ElementsAre("a in", "a cancelled", "b in", "b out", "c in", "c out"));
}

TEST_F(TurnstileTest, IsFreeAgainAfterwards) {
  start("a");
  settle();
  start("b");
  settle();
  EXPECT_THAT(log_, ElementsAre("a in", "a out", "b in", "b out"));
}

TEST_F(TurnstileTest, WhoeverComesWhileTheNextIsOnItsWayWaitsBehindIt) {
  start("a");
  start("b");
  start("c");
  context_.restart();
  context_.run_one();  // a is through and gone before b or c have run at all
  start("d");
  settle();
  EXPECT_THAT(log_, ElementsAre("a in", "a out", "b in", "b out", "c in", "c out", "d in", "d out"));
}

TEST_F(TurnstileTest, ACancelledWaiterLeavesTheQueue) {
  asio::cancellation_signal signal;
  start("a", &door_);
  start("b", nullptr, &signal);
  start("c");
  settle();
  signal.emit(asio::cancellation_type::terminal);
  settle();
  EXPECT_THAT(log_, ElementsAre("a in", "b cancelled"));
  door_.cancel();
  settle();
  EXPECT_THAT(log_, ElementsAre("a in", "b cancelled", "a cancelled", "c in", "c out"));
}

TEST_F(TurnstileTest, ACancellationJustWhenItIsGrantedPassesTheTurnOn) {
  asio::cancellation_signal signal;
  asio::steady_timer never(context_, asio::steady_timer::time_point::max());
  std::optional<Turnstile::Pass> held;
  asio::co_spawn(
      context_,
      [](Turnstile& turnstile, std::optional<Turnstile::Pass>& into) -> asio::awaitable<void> {
        Turnstile::Pass pass = co_await turnstile.enter();
        into.emplace(std::move(pass));
      }(turnstile_, held),
      asio::detached);
  start("b", &never, &signal);
  start("c");
  settle();
  ASSERT_TRUE(held);
  held.reset();                                    // b is granted the turn, but has not run yet
  signal.emit(asio::cancellation_type::terminal);  // and now never will
  settle();
  EXPECT_THAT(log_.back(), "c out");
  EXPECT_THAT(log_, ::testing::Contains("b cancelled"));
}

TEST_F(TurnstileTest, ALoopThatIsDroppedWithWaitersInItEndsCleanly) {
  auto context = std::make_unique<asio::io_context>();
  auto turnstile = std::make_unique<Turnstile>(context->get_executor());
  const auto wait = [](Turnstile& at) -> asio::awaitable<void> {
    const auto pass = co_await at.enter();
    asio::steady_timer forever(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    co_await forever.async_wait(asio::use_awaitable);
  };
  for (int i = 0; i < 3; ++i) asio::co_spawn(*context, wait(*turnstile), asio::detached);
  context->poll();
  context.reset();  // destroys the frames, the holder's and the waiters'
  turnstile.reset();
}

}  // namespace
}  // namespace sandkey
