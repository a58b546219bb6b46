// Blocking work, such as packing an archive, beside an event loop.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <functional>
#include <memory>
#include <thread>

namespace sandkey {

// One call on a thread of its own. The destructor blocks until it has ended, so declare what makes it end
// (our side of its pipe) after the task: it then goes first.
class BlockingTask {
 public:
  // `executor` must run one thing at a time.
  BlockingTask(boost::asio::any_io_executor executor, std::function<void()> work);
  ~BlockingTask();
  BlockingTask(const BlockingTask&) = delete;
  BlockingTask& operator=(const BlockingTask&) = delete;

  // Waits for the end without blocking the event loop, then throws what the work threw. One caller, once.
  [[nodiscard]] boost::asio::awaitable<void> join();

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace sandkey
