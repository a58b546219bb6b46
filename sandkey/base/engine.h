// The threads Sandkey's coroutines run on, the way into them from blocking code, and the world they see.
//
//   Engine engine;                                        // one thread; make it first, destroy it last
//   auto text = engine.wait(fetch(engine, "..."));        // blocking code: runs a coroutine, gives its
//   result
//
//   TaskGroup tasks(engine);                              // coroutine code: nothing is ever detached
//   tasks.spawn(serve(...));
//   ...
//   tasks.cancel();
//   co_await tasks.join();
//
// Every io thread runs an event loop of its own. A coroutine stays on the thread it was spawned on, so state
// that is only touched by coroutines of one executor needs no lock (but may change across every co_await).
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <utility>

namespace sandkey {

namespace asio = boost::asio;

// An absolute point on the engine's clock; Engine::in(5s) makes one.
using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

// The world, replaceable by tests. Every function may be called from several threads at once; an empty one
// means the real thing.
struct EngineOptions {
  std::size_t threads = 1;
  std::function<std::chrono::steady_clock::time_point()> steady_now = {};
  std::function<std::chrono::system_clock::time_point()> system_now = {};
  // 64 uniformly distributed bits. The real one is the kernel's generator, good enough for ids and nonces.
  std::function<std::uint64_t()> random = {};
  // The variable's value if it is set, be it empty. Whoever calls setenv meanwhile races with the real one.
  std::function<std::optional<std::string>(const std::string& name)> environment = {};
  // How long the destructor lets cancelled tasks clean up before it drops them where they stand.
  std::chrono::milliseconds shutdown_grace{2000};
};

// Thread-safe. Must outlive everything that was given a reference to it.
class Engine {
 public:
  // Throws Error(invalid_argument) for no threads, Error(unavailable...) when the system has no more of them.
  explicit Engine(EngineOptions options = {});
  // Cancels the tasks of every living TaskGroup, gives them the grace to end, then stops and joins the
  // threads. Must not run on one of its own threads (aborts), nor while another thread is inside wait().
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Runs the coroutine on an io thread and blocks until it ends; its exceptions come out here, Asio's own
  // cancellation as Error(cancelled). A stop request cancels the coroutine, and wait() then still waits for
  // its end. Throws Error(invalid_argument) on a thread of any engine, where it would block the loop it is
  // waiting for.
  template <typename T>
  T wait(asio::awaitable<T> task, std::stop_token stop = {}) {
    if constexpr (std::is_void_v<T>) {
      wait_void(std::move(task), std::move(stop));
    } else {
      std::optional<T> result;
      wait_void(store(std::move(task), &result), std::move(stop));
      return std::move(*result);
    }
  }

  // Runs `inner` and cancels it when the deadline comes; then throws Error(deadline_exceeded) naming
  // operation and phase. Always waits for the end of `inner`, so what it refers to may live in the caller's
  // frame; a result it gives in spite of the cancellation is returned. A deadline already past throws without
  // starting it.
  template <typename T>
  asio::awaitable<T> with_deadline(asio::awaitable<T> inner, Deadline deadline, std::string operation,
                                   std::string phase = {}) {
    if (deadline == kNoDeadline) co_return co_await std::move(inner);
    if constexpr (std::is_void_v<T>) {
      co_await race(std::move(inner), deadline, std::move(operation), std::move(phase));
    } else {
      std::optional<T> result;
      co_await race(store(std::move(inner), &result), deadline, std::move(operation), std::move(phase));
      co_return std::move(*result);
    }
  }

  // Throws Error(cancelled) when cancelled.
  asio::awaitable<void> sleep_until(Deadline when);
  asio::awaitable<void> sleep_for(std::chrono::steady_clock::duration time) { return sleep_until(in(time)); }

  // The calling io thread's executor; for other threads the next io thread's, in turn.
  [[nodiscard]] asio::any_io_executor executor();
  // The executor of one io thread.
  [[nodiscard]] asio::any_io_executor executor(std::size_t thread);
  [[nodiscard]] std::size_t threads() const noexcept;
  // Which of this engine's io threads is calling, if any.
  [[nodiscard]] std::optional<std::size_t> this_thread() const noexcept;
  // True once the destructor has joined the threads: what is destroyed now is destroyed by it, and alone.
  [[nodiscard]] bool stopped() const noexcept;

  [[nodiscard]] std::chrono::steady_clock::time_point steady_now() const { return options_.steady_now(); }
  [[nodiscard]] std::chrono::system_clock::time_point system_now() const { return options_.system_now(); }
  // What all users of this engine share, such as a pool of connections: a T made of this engine by the first
  // who asks. The engine gives its own share up at its end, after its last task; whoever holds one longer,
  // but not longer than the engine lives, keeps it.
  template <typename T>
  [[nodiscard]] std::shared_ptr<T> shared() {
    return std::static_pointer_cast<T>(
        shared_of(typeid(T), [this]() -> std::shared_ptr<void> { return std::make_shared<T>(*this); }));
  }

  // The deadline that far away; never overflows.
  [[nodiscard]] Deadline in(std::chrono::steady_clock::duration time) const;
  [[nodiscard]] std::uint64_t random() const { return options_.random(); }
  [[nodiscard]] std::optional<std::string> environment(const std::string& name) const {
    return options_.environment(name);
  }

 private:
  friend class TaskGroup;
  struct Core;

  template <typename T>
  static asio::awaitable<void> store(asio::awaitable<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }
  void wait_void(asio::awaitable<void> task, std::stop_token stop);
  std::shared_ptr<void> shared_of(std::type_index type, const std::function<std::shared_ptr<void>()>& make);
  asio::awaitable<void> race(asio::awaitable<void> inner, Deadline deadline, std::string operation,
                             std::string phase);

  EngineOptions options_;
  std::unique_ptr<Core> core_;
};

// Owns background coroutines: each one spawned is joined, here or, if the group dies first, by the engine's
// destructor. All run on one executor. Thread-safe.
class TaskGroup {
 public:
  explicit TaskGroup(Engine& engine);
  TaskGroup(Engine& engine, asio::any_io_executor executor);
  // Cancels what still runs and leaves the joining to the engine: tasks that refer to anything which dies
  // before the engine does must be joined first.
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts the task, from the event loop, never within this call. A task that throws leaves the others
  // running; join() gives the first exception. Once the group is cancelled, tasks not started yet are dropped
  // unrun.
  void spawn(asio::awaitable<void> task);

  // Sends every task a terminal cancellation, and starts no more. Returns at once; join() waits for them.
  void cancel();
  [[nodiscard]] bool cancelled() const noexcept;

  // Waits until no task is left, then throws the first failure, if any (tasks ended by cancel() are none). If
  // the joining coroutine is cancelled meanwhile, the group is cancelled with it and still joined. A
  // coroutine cancelled *before* cannot co_await anything: use run() where tasks must be joined on every way
  // out.
  asio::awaitable<void> join();

  // Runs `body`, then joins; if the body throws or was cancelled, cancels the tasks first, and throws what it
  // threw.
  asio::awaitable<void> run(asio::awaitable<void> body);

  [[nodiscard]] std::size_t size() const noexcept;  // tasks not ended yet
  [[nodiscard]] asio::any_io_executor executor() const;

 private:
  friend class Engine;
  struct State;
  std::shared_ptr<State> state_;
};

// Whether this is a cancellation, in Asio's clothes (operation_aborted) or in ours (Error(cancelled)).
[[nodiscard]] bool is_cancellation(const std::exception_ptr& exception) noexcept;

}  // namespace sandkey
