// Blocking work, such as packing an archive, beside an event loop.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

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

// Runs the work to its end on a thread of its own, also when the caller is cancelled meanwhile, and throws
// what it threw. For short work that cannot be broken off; the result says what became of it.
[[nodiscard]] boost::asio::awaitable<void> run_to_end(std::function<void()> work);

template <class Work>
[[nodiscard]] boost::asio::awaitable<std::invoke_result_t<Work>> run_blocking(Work work) {
  if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
    co_await run_to_end(std::move(work));
  } else {
    std::optional<std::invoke_result_t<Work>> result;
    std::function<void()> call = [&result, &work] { result.emplace(work()); };
    co_await run_to_end(std::move(call));
    co_return std::move(*result);
  }
}

}  // namespace sandkey
