#include "sandkey/base/blocking_task.h"

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace sandkey {
namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
  Pipe() {
    std::array<int, 2> fds{};
    if (::pipe(fds.data()) != 0) throw std::runtime_error("no pipe");
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
};

// Blocks until the other end of the pipe is closed.
void wait_for_end(int fd) {
  char byte = 0;
  while (::read(fd, &byte, 1) > 0) {
  }
}

TEST(BlockingTask, JoinWaitsForTheEndOfTheWork) {
  Engine engine;
  std::atomic<bool> done{false};
  const auto task = [](std::atomic<bool>* flag) -> asio::awaitable<bool> {
    const auto executor = co_await asio::this_coro::executor;
    BlockingTask work(executor, [flag] { *flag = true; });
    co_await work.join();
    co_return flag->load();
  };
  EXPECT_TRUE(engine.wait(task(&done)));
}

TEST(BlockingTask, RunsOnAThreadThatMayBlockWhileTheLoopGoesOn) {
  Engine engine;
  Pipe pipe;
  const auto task = [](Engine* on, Pipe* through) -> asio::awaitable<bool> {
    std::promise<std::thread::id> where;
    const auto executor = co_await asio::this_coro::executor;
    BlockingTask work(executor, [&where, fd = through->read.get()] {
      where.set_value(std::this_thread::get_id());
      wait_for_end(fd);
    });
    co_await on->sleep_for(std::chrono::milliseconds(1));  // the loop is not held up by the work
    through->write.reset();
    co_await work.join();
    co_return where.get_future().get() != std::this_thread::get_id();
  };
  EXPECT_TRUE(engine.wait(task(&engine, &pipe)));
}

TEST(BlockingTask, JoinThrowsWhatTheWorkThrew) {
  Engine engine;
  const auto task = []() -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    BlockingTask work(executor, [] { throw Error(ErrorCode::quota_exceeded, "the disk is full"); });
    co_await work.join();
  };
  try {
    engine.wait(task());
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::quota_exceeded);
  }
}

TEST(BlockingTask, WhatTheWorkHeldOpenIsClosedBeforeJoinReturns) {
  Engine engine;
  const auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = held;
  const auto task = [](std::shared_ptr<int> what, std::weak_ptr<int> still) -> asio::awaitable<bool> {
    const auto executor = co_await asio::this_coro::executor;
    BlockingTask work(executor, [what = std::move(what)] { (void)what; });
    co_await work.join();
    co_return still.expired();
  };
  std::shared_ptr<int> given = held;
  auto running = task(std::move(given), seen);
  const_cast<std::shared_ptr<int>&>(held).reset();
  EXPECT_TRUE(engine.wait(std::move(running)));
}

TEST(BlockingTask, TheDestructorWaitsForWorkThatNobodyJoined) {
  Engine engine;
  std::atomic<bool> done{false};
  const auto task = [](std::atomic<bool>* flag) -> asio::awaitable<void> {
    Pipe pipe;
    {
      const auto executor = co_await asio::this_coro::executor;
      BlockingTask work(executor, [flag, fd = pipe.read.get()] {
        wait_for_end(fd);
        *flag = true;
      });
      pipe.write.reset();
    }
    EXPECT_TRUE(*flag);
  };
  engine.wait(task(&done));
}

TEST(BlockingTask, ACancelledJoinEndsAtOnceAndTheWorkIsStillWaitedFor) {
  Engine engine;
  Pipe pipe;
  std::promise<void> joining;
  std::atomic<bool> done{false};
  const auto task = [](Pipe* through, std::promise<void>* started,
                       std::atomic<bool>* flag) -> asio::awaitable<void> {
    struct CloseLast {
      Pipe* pipe;
      ~CloseLast() { pipe->write.reset(); }
    };
    const auto executor = co_await asio::this_coro::executor;
    BlockingTask work(executor, [flag, fd = through->read.get()] {
      wait_for_end(fd);
      *flag = true;
    });
    const CloseLast closing{through};  // goes first, as the header asks for
    started->set_value();
    co_await work.join();
  };
  std::stop_source stop;
  std::thread stopper([&] {
    joining.get_future().wait();
    stop.request_stop();
  });
  try {
    engine.wait(task(&pipe, &joining, &done), stop.get_token());
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
  stopper.join();
  EXPECT_TRUE(done);
}

TEST(BlockingTask, ManyAtOnceAllEnd) {
  Engine engine;
  const auto task = []() -> asio::awaitable<int> {
    std::atomic<int> sum{0};
    std::vector<std::unique_ptr<BlockingTask>> works;
    const auto executor = co_await asio::this_coro::executor;
    for (int i = 1; i <= 20; ++i)
      works.push_back(std::make_unique<BlockingTask>(executor, [&sum, i] { sum += i; }));
    for (const auto& work : works) co_await work->join();
    co_return sum.load();
  };
  EXPECT_EQ(engine.wait(task()), 210);
}

}  // namespace
}  // namespace sandkey
