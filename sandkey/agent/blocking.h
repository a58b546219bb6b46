// Blocking work, such as packing an archive, beside the agent's one thread.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <thread>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace sandkey::agent {

// One call on a thread of its own. join() waits for it without blocking the event loop and rethrows what it threw;
// the destructor blocks until it ended, so see to it that it can (close its pipe).
class BlockingTask {
 public:
  BlockingTask(boost::asio::any_io_executor executor, std::function<void()> work);
  ~BlockingTask();
  BlockingTask(const BlockingTask&) = delete;
  BlockingTask& operator=(const BlockingTask&) = delete;

  [[nodiscard]] boost::asio::awaitable<void> join();

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace sandkey::agent
