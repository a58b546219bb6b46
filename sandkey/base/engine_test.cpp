#include "sandkey/base/engine.h"

#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

namespace sandkey {
namespace {

using namespace std::chrono_literals;

asio::awaitable<int> give(int value) {
  co_return value;
}

asio::awaitable<int> fail() {
  throw std::runtime_error("broken");
  co_return 0;
}

asio::awaitable<void> forever() {
  asio::steady_timer timer(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  co_await timer.async_wait(asio::use_awaitable);
}

// Tells that it runs, then waits until cancelled, then tells that it was.
asio::awaitable<void> wait_for_cancel(std::promise<void>* started, std::atomic<int>* ended) {
  if (started != nullptr) started->set_value();
  try {
    co_await forever();
  } catch (...) {
    ++*ended;
    throw;
  }
}

template <typename Call>
ErrorCode code_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::internal;
}

struct MoveOnly {  // no default constructor either
  explicit MoveOnly(int v) : value(std::make_unique<int>(v)) {}
  std::unique_ptr<int> value;
};

asio::awaitable<MoveOnly> give_move_only(int value) {
  co_return MoveOnly(value);
}

TEST(Engine, WaitGivesTheResult) {
  Engine engine;
  EXPECT_EQ(engine.wait(give(7)), 7);
  EXPECT_EQ(*engine.wait(give_move_only(8)).value, 8);
}

TEST(Engine, WaitPassesExceptionsOn) {
  Engine engine;
  EXPECT_THROW(engine.wait(fail()), std::runtime_error);
}

TEST(Engine, WaitOnAnEngineThreadIsRefusedAlsoFromAnotherEngine) {
  Engine engine;
  Engine other;
  const auto nested = [](Engine* target) -> asio::awaitable<int> { co_return target->wait(give(1)); };
  EXPECT_EQ(code_of([&] { engine.wait(nested(&engine)); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { engine.wait(nested(&other)); }), ErrorCode::invalid_argument);
}

TEST(Engine, StopRequestCancelsAndIsReportedAsCancelled) {
  Engine engine;
  std::stop_source stop;
  std::promise<void> started;
  std::atomic<int> ended = 0;
  std::jthread stopper([&] {
    started.get_future().wait();
    stop.request_stop();
  });
  EXPECT_EQ(code_of([&] { engine.wait(wait_for_cancel(&started, &ended), stop.get_token()); }),
            ErrorCode::cancelled);
  EXPECT_EQ(ended, 1);
}

TEST(Engine, StopRequestedBeforeCancelsToo) {
  Engine engine;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(code_of([&] { engine.wait(forever(), stop.get_token()); }), ErrorCode::cancelled);
}

TEST(Engine, NoThreadsIsRefused) {
  EXPECT_EQ(code_of([] { Engine engine({.threads = 0}); }), ErrorCode::invalid_argument);
}

TEST(Engine, EveryThreadHasItsOwnExecutor) {
  Engine engine({.threads = 3});
  EXPECT_EQ(engine.threads(), 3U);
  EXPECT_EQ(engine.this_thread(), std::nullopt);
  const auto where = [](Engine* e) -> asio::awaitable<std::size_t> { co_return e->this_thread().value(); };
  std::vector<std::size_t> seen;
  for (int i = 0; i < 3; ++i) seen.push_back(engine.wait(where(&engine)));
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(code_of([&] { (void)engine.executor(3); }), ErrorCode::invalid_argument);
}

TEST(Engine, TheWorldIsReplaceable) {
  const Deadline then{42s};
  Engine engine(
      {.steady_now = [=] { return then; },
       .system_now = [] { return std::chrono::system_clock::time_point(1s); },
       .random = [] { return std::uint64_t{4}; },
       .environment = [](const std::string& name) -> std::optional<std::string> { return name + "!"; }});
  EXPECT_EQ(engine.steady_now(), then);
  EXPECT_EQ(engine.in(8s), Deadline(50s));
  EXPECT_EQ(engine.in(Deadline::duration::max()), kNoDeadline);
  EXPECT_EQ(engine.system_now(), std::chrono::system_clock::time_point(1s));
  EXPECT_EQ(engine.random(), 4U);
  EXPECT_EQ(engine.environment("X"), "X!");
}

TEST(Engine, TheRealWorldIsTheDefault) {
  Engine engine;
  EXPECT_NE(engine.random(), engine.random());
  EXPECT_EQ(engine.environment("SANDKEY_TEST_SURELY_NOT_SET"), std::nullopt);
  EXPECT_TRUE(engine.environment("PATH").has_value());
}

TEST(Deadlines, ResultInTime) {
  Engine engine;
  EXPECT_EQ(engine.wait(engine.with_deadline(give(5), engine.in(1h), "count")), 5);
  EXPECT_EQ(engine.wait(engine.with_deadline(give(6), kNoDeadline, "count")), 6);
  EXPECT_THROW(engine.wait(engine.with_deadline(fail(), engine.in(1h), "count")), std::runtime_error);
}

TEST(Deadlines, ExceededNamesOperationAndPhaseAndEndsTheInnerOne) {
  Engine engine;
  std::atomic<int> ended = 0;
  try {
    engine.wait(engine.with_deadline(wait_for_cancel(nullptr, &ended), engine.in(5ms), "create sandbox",
                                     "wait until alive"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
    EXPECT_STREQ(error.what(), "create sandbox: deadline exceeded (wait until alive)");
    EXPECT_EQ(error.context().operation, "create sandbox");
    EXPECT_EQ(error.context().phase, "wait until alive");
  }
  EXPECT_EQ(ended, 1);
}

TEST(Deadlines, PastDeadlineStartsNothing) {
  Engine engine;
  std::atomic<int> ended = 0;
  std::promise<void> started;
  EXPECT_EQ(code_of([&] {
              engine.wait(engine.with_deadline(wait_for_cancel(&started, &ended), engine.steady_now(), "x"));
            }),
            ErrorCode::deadline_exceeded);
  EXPECT_EQ(ended, 0);
  EXPECT_EQ(started.get_future().wait_for(0s), std::future_status::timeout);
}

TEST(Deadlines, OuterCancellationReachesTheInnerOneAndIsNotRelabelled) {
  Engine engine;
  std::stop_source stop;
  std::promise<void> started;
  std::atomic<int> ended = 0;
  std::jthread stopper([&] {
    started.get_future().wait();
    stop.request_stop();
  });
  EXPECT_EQ(code_of([&] {
              engine.wait(engine.with_deadline(wait_for_cancel(&started, &ended), engine.in(1h), "x"),
                          stop.get_token());
            }),
            ErrorCode::cancelled);
  EXPECT_EQ(ended, 1);
}

TEST(Deadlines, TheCallerGoesOnAfterOne) {
  Engine engine;
  const auto body = [](Engine* e) -> asio::awaitable<int> {
    bool exceeded = false;
    try {
      co_await e->with_deadline(forever(), e->in(1ms), "x");
    } catch (const Error&) {
      exceeded = true;
    }
    co_await e->sleep_for(1ms);  // would throw if the cancellation had leaked into us
    co_return exceeded ? 1 : 0;
  };
  EXPECT_EQ(engine.wait(body(&engine)), 1);
}

TEST(Deadlines, SleepIsCancellable) {
  Engine engine;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(code_of([&] { engine.wait(engine.sleep_for(1h), stop.get_token()); }), ErrorCode::cancelled);
  EXPECT_EQ(code_of([&] { engine.wait(engine.sleep_until(kNoDeadline), stop.get_token()); }),
            ErrorCode::cancelled);
}

TEST(TaskGroup, JoinWaitsForAll) {
  Engine engine({.threads = 2});
  TaskGroup tasks(engine);
  std::atomic<int> count = 0;
  const auto task = [](std::atomic<int>* n) -> asio::awaitable<void> {
    ++*n;
    co_return;
  };
  for (int i = 0; i < 100; ++i) tasks.spawn(task(&count));
  engine.wait(tasks.join());
  EXPECT_EQ(count, 100);
  EXPECT_EQ(tasks.size(), 0U);
  engine.wait(tasks.join());  // and again
}

TEST(TaskGroup, CancelEndsThemAndIsNoFailure) {
  Engine engine;
  TaskGroup tasks(engine);
  std::promise<void> started;
  std::atomic<int> ended = 0;
  tasks.spawn(wait_for_cancel(nullptr, &ended));
  tasks.spawn(wait_for_cancel(&started, &ended));
  started.get_future().wait();
  tasks.cancel();
  engine.wait(tasks.join());
  EXPECT_EQ(ended, 2);
  EXPECT_TRUE(tasks.cancelled());
  tasks.spawn(wait_for_cancel(nullptr, &ended));  // dropped
  EXPECT_EQ(tasks.size(), 0U);
}

TEST(TaskGroup, JoinGivesTheFirstFailure) {
  Engine engine;
  TaskGroup tasks(engine);
  const auto task = []() -> asio::awaitable<void> { (void)co_await fail(); };
  tasks.spawn(task());
  EXPECT_THROW(engine.wait(tasks.join()), std::runtime_error);
}

TEST(TaskGroup, CancellingTheJoinerCancelsTheGroupAndStillJoins) {
  Engine engine;
  TaskGroup tasks(engine);
  std::promise<void> started;
  std::atomic<int> ended = 0;
  tasks.spawn(wait_for_cancel(&started, &ended));
  std::stop_source stop;
  started.get_future().wait();
  stop.request_stop();
  try {
    engine.wait(tasks.join(), stop.get_token());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
  tasks.cancel();  // had the request come too early, join() was never entered
  engine.wait(tasks.join());
  EXPECT_EQ(ended, 1);
}

TEST(TaskGroup, RunJoinsWhenTheBodyThrows) {
  Engine engine;
  TaskGroup tasks(engine);
  std::atomic<int> ended = 0;
  tasks.spawn(wait_for_cancel(nullptr, &ended));
  const auto body = []() -> asio::awaitable<void> { (void)co_await fail(); };
  EXPECT_THROW(engine.wait(tasks.run(body())), std::runtime_error);
  EXPECT_EQ(tasks.size(), 0U);
  EXPECT_EQ(ended, 1);
}

TEST(TaskGroup, RunJoinsWhenTheBodyIsCancelled) {
  Engine engine;
  TaskGroup tasks(engine);
  std::promise<void> started;
  std::atomic<int> ended = 0;
  std::stop_source stop;
  std::jthread stopper([&] {
    started.get_future().wait();
    stop.request_stop();
  });
  tasks.spawn(wait_for_cancel(nullptr, &ended));
  EXPECT_EQ(code_of([&] { engine.wait(tasks.run(wait_for_cancel(&started, &ended)), stop.get_token()); }),
            ErrorCode::cancelled);
  EXPECT_EQ(tasks.size(), 0U);
  EXPECT_EQ(ended, 2);
}

TEST(TaskGroup, TheEngineJoinsWhatAGroupLeftBehind) {
  std::atomic<int> ended = 0;
  {
    Engine engine;
    std::promise<void> started;
    {
      TaskGroup tasks(engine);
      tasks.spawn(wait_for_cancel(&started, &ended));
      started.get_future().wait();
    }
    TaskGroup living(engine);
    living.spawn(forever());
  }
  EXPECT_EQ(ended, 1);
}

TEST(TaskGroup, TasksThatIgnoreCancellationAreDroppedAfterTheGrace) {
  const auto stubborn = [](std::shared_ptr<int> held) -> asio::awaitable<void> {
    co_await asio::this_coro::throw_if_cancelled(false);
    for (;;) {
      asio::steady_timer timer(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      if (!held) break;
      co_await asio::this_coro::reset_cancellation_state();
    }
  };
  const auto held = std::make_shared<int>(1);
  {
    Engine engine({.shutdown_grace = 10ms});
    TaskGroup tasks(engine);
    tasks.spawn(stubborn(held));
    const auto nothing = []() -> asio::awaitable<void> { co_return; };
    engine.wait(nothing());
  }
  EXPECT_EQ(held.use_count(), 1) << "the frame was not destroyed";
}

TEST(TaskGroup, SpawningFromManyThreads) {
  Engine engine({.threads = 2});
  TaskGroup tasks(engine);
  std::atomic<int> count = 0;
  const auto task = [](Engine* e, std::atomic<int>* n) -> asio::awaitable<void> {
    co_await e->sleep_for(1us);
    ++*n;
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) tasks.spawn(task(&engine, &count));
      });
    }
  }
  engine.wait(tasks.join());
  EXPECT_EQ(count, 200);
}

struct First {
  explicit First(Engine&) {}
};
struct Second {
  explicit Second(Engine& engine) : first(engine.shared<First>()) {}
  ~Second() { *alone = first.use_count() == 2; }  // the engine's share and ours
  std::shared_ptr<First> first;
  bool* alone = nullptr;
};

TEST(Engine, WhatItsUsersShareIsMadeOnceAndEndsWithIt) {
  bool alone = false;
  std::weak_ptr<First> first;
  {
    Engine engine;
    const auto second = engine.shared<Second>();
    second->alone = &alone;
    EXPECT_EQ(engine.shared<Second>(), second);
    EXPECT_EQ(engine.shared<First>(), second->first);
    first = second->first;
    EXPECT_FALSE(first.expired());
  }
  EXPECT_TRUE(alone) << "what was made later goes first";
  EXPECT_TRUE(first.expired());
}

TEST(Cancellation, IsRecognisedInBothClothes) {
  EXPECT_FALSE(is_cancellation(nullptr));
  EXPECT_TRUE(is_cancellation(std::make_exception_ptr(Error(ErrorCode::cancelled, "x"))));
  EXPECT_FALSE(is_cancellation(std::make_exception_ptr(Error(ErrorCode::internal, "x"))));
  EXPECT_TRUE(
      is_cancellation(std::make_exception_ptr(boost::system::system_error(asio::error::operation_aborted))));
  EXPECT_FALSE(is_cancellation(std::make_exception_ptr(1)));
}

}  // namespace
}  // namespace sandkey
