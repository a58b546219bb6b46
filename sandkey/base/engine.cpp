#include "sandkey/base/engine.h"

#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace sandkey {

namespace {

// What a coroutine suspended in one of our own operations is resumed by.
using Resume = asio::async_result<asio::use_awaitable_t<>, void()>::handler_type;

// Longest single wait handed to a timer, well inside what its arithmetic can hold.
constexpr std::chrono::hours kLongestWait{24 * 365};

thread_local const void* current_engine = nullptr;
thread_local std::size_t current_index = 0;

std::uint64_t kernel_random() {
  std::uint64_t bits = 0;
  // A read this short is never partial once the generator is initialised, and blocks before.
  while (getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
  }
  return bits;
}

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

EngineOptions completed(EngineOptions options) {
  if (options.threads == 0) throw Error(ErrorCode::invalid_argument, "an engine needs at least one thread");
  if (!options.steady_now) options.steady_now = [] { return std::chrono::steady_clock::now(); };
  if (!options.system_now) options.system_now = [] { return std::chrono::system_clock::now(); };
  if (!options.random) options.random = kernel_random;
  if (!options.environment) options.environment = process_environment;
  return options;
}

}  // namespace

bool is_cancellation(const std::exception_ptr& exception) noexcept {
  if (!exception) return false;
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error.code() == ErrorCode::cancelled;
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

struct Engine::Core {
  // Exactly one thread runs it, so Asio may leave most of its locking out of the way.
  struct Loop {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
    std::thread thread;
  };

  std::vector<std::unique_ptr<Loop>> loops;
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> stopped = false;

  std::mutex mutex;
  std::condition_variable idle;
  std::list<std::weak_ptr<TaskGroup::State>> groups;  // guarded by mutex
  std::size_t tasks = 0;                              // guarded by mutex

  // Recursive: making one may ask for another.
  std::recursive_mutex shared_mutex;
  std::vector<std::pair<std::type_index, std::shared_ptr<void>>> shared;  // in the order of their making

  // Lock order: a group's mutex is never held while this one is taken, nor the other way round.
  void task_began() {
    const std::lock_guard lock(mutex);
    ++tasks;
  }
  void task_ended() {
    const std::lock_guard lock(mutex);
    if (--tasks == 0) idle.notify_all();
  }
};

struct TaskGroup::State : std::enable_shared_from_this<TaskGroup::State> {
  State(Engine::Core& the_core, asio::any_io_executor the_executor)
      : core(the_core), executor(std::move(the_executor)) {}

  ~State() {
    const std::lock_guard lock(core.mutex);
    if (registered) core.groups.erase(place);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void register_self() {
    const std::lock_guard lock(core.mutex);
    place = core.groups.insert(core.groups.end(), weak_from_this());
    registered = true;
  }

  void spawn(asio::awaitable<void> task) {
    {
      const std::lock_guard lock(mutex);
      if (cancelled) return;
      ++running;
    }
    core.task_began();
    asio::post(executor, [self = shared_from_this(), task = std::move(task)]() mutable {
      self->start(std::move(task));
    });
  }

  // On the executor, like all that touches `signals`.
  void start(asio::awaitable<void> task) {
    {
      std::unique_lock lock(mutex);
      if (cancelled) {
        lock.unlock();
        return end(nullptr);
      }
    }
    const auto signal = signals.emplace(signals.end());
    asio::co_spawn(executor, std::move(task),
                   asio::bind_cancellation_slot(
                       signal->slot(), [self = shared_from_this(), signal](std::exception_ptr error) {
                         // Not here: the signal may be the one whose emission brought us here.
                         asio::post(self->executor, [self, signal, error = std::move(error)]() mutable {
                           self->signals.erase(signal);
                           self->end(std::move(error));
                         });
                       }));
  }

  void end(std::exception_ptr error) {
    std::vector<Resume> resumed;
    {
      const std::lock_guard lock(mutex);
      if (error && !failure && !(cancelled && is_cancellation(error))) failure = std::move(error);
      if (--running == 0) resumed.swap(joiners);
    }
    for (Resume& joiner : resumed) resume(std::move(joiner));
    core.task_ended();
  }

  void cancel() {
    {
      const std::lock_guard lock(mutex);
      if (cancelled) return;
      cancelled = true;
      if (running == 0) return;
    }
    asio::post(executor, [self = shared_from_this()] {
      for (asio::cancellation_signal& signal : self->signals) signal.emit(asio::cancellation_type::terminal);
    });
  }

  static void resume(Resume joiner) {
    const auto where = asio::get_associated_executor(joiner);
    asio::post(where, [joiner = std::move(joiner)]() mutable {
      asio::get_associated_cancellation_slot(joiner).clear();
      std::move(joiner)();
    });
  }

  void add_joiner(Resume joiner) {
    auto slot = asio::get_associated_cancellation_slot(joiner);
    if (slot.is_connected()) {
      slot.assign([self = weak_from_this()](asio::cancellation_type) {
        if (const auto state = self.lock()) state->cancel();
      });
    }
    {
      const std::lock_guard lock(mutex);
      if (running != 0) {
        joiners.push_back(std::move(joiner));
        return;
      }
    }
    resume(std::move(joiner));
  }

  static asio::awaitable<void> settle(std::shared_ptr<State> self) {
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [](Resume joiner, State* state) { state->add_joiner(std::move(joiner)); }, asio::use_awaitable,
        self.get());
  }

  std::exception_ptr take_failure() {
    const std::lock_guard lock(mutex);
    return std::exchange(failure, nullptr);
  }

  static asio::awaitable<void> join(std::shared_ptr<State> self) {
    co_await settle(self);
    if (auto error = self->take_failure()) std::rethrow_exception(error);
  }

  static asio::awaitable<void> run(std::shared_ptr<State> self, asio::awaitable<void> body) {
    std::exception_ptr error;
    try {
      co_await std::move(body);
    } catch (...) {
      error = std::current_exception();
    }
    const asio::cancellation_state cancellation = co_await asio::this_coro::cancellation_state;
    if (error || cancellation.cancelled() != asio::cancellation_type::none) self->cancel();
    // Joined even though we are cancelled, and the cancellation is still there for our caller afterwards.
    const bool throwing = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await settle(self);
    co_await asio::this_coro::throw_if_cancelled(throwing);
    std::exception_ptr failure = self->take_failure();
    // The body is often cancelled because, or fails after, a task did; the body's own word comes first all
    // the same.
    if (!error) error = std::move(failure);
    if (error) std::rethrow_exception(error);
  }

  Engine::Core& core;
  const asio::any_io_executor executor;
  std::list<std::weak_ptr<State>>::iterator place;
  bool registered = false;
  std::list<asio::cancellation_signal> signals;

  std::mutex mutex;  // guards all below
  std::size_t running = 0;
  bool cancelled = false;
  std::exception_ptr failure;
  std::vector<Resume> joiners;
};

Engine::Engine(EngineOptions options)
    : options_(completed(std::move(options))), core_(std::make_unique<Core>()) {
  core_->loops.reserve(options_.threads);
  for (std::size_t i = 0; i < options_.threads; ++i) core_->loops.push_back(std::make_unique<Core::Loop>());
  try {
    for (std::size_t i = 0; i < options_.threads; ++i) {
      Core::Loop& loop = *core_->loops[i];
      loop.thread = std::thread([this, &loop, i] {
        current_engine = this;
        current_index = i;
        loop.context.run();
      });
    }
  } catch (const std::system_error& error) {
    for (const auto& loop : core_->loops) loop->context.stop();
    for (const auto& loop : core_->loops) {
      if (loop->thread.joinable()) loop->thread.join();
    }
    throw system_error("start the engine's threads", error.code().value());
  }
}

Engine::~Engine() {
  if (this_thread()) {
    std::fputs("sandkey: an Engine was destroyed on one of its own threads\n", stderr);
    std::abort();
  }
  std::vector<std::shared_ptr<TaskGroup::State>> groups;
  {
    const std::lock_guard lock(core_->mutex);
    for (const auto& group : core_->groups) {
      if (auto state = group.lock()) groups.push_back(std::move(state));
    }
  }
  for (const auto& group : groups) group->cancel();
  groups.clear();
  {
    std::unique_lock lock(core_->mutex);
    core_->idle.wait_for(lock, options_.shutdown_grace, [this] { return core_->tasks == 0; });
  }
  for (const auto& loop : core_->loops) {
    loop->work.reset();
    loop->context.stop();
  }
  for (const auto& loop : core_->loops) loop->thread.join();
  core_->stopped = true;
  while (!core_->shared.empty()) core_->shared.pop_back();  // the last ones may use the first ones
  // With what is left of the coroutines; their groups' states still need the rest of the core.
  core_->loops.clear();
}

std::shared_ptr<void> Engine::shared_of(std::type_index type,
                                        const std::function<std::shared_ptr<void>()>& make) {
  const std::lock_guard lock(core_->shared_mutex);
  for (const auto& [known, object] : core_->shared) {
    if (known == type) return object;
  }
  std::shared_ptr<void> made = make();
  core_->shared.emplace_back(type, made);
  return made;
}

std::size_t Engine::threads() const noexcept {
  return options_.threads;
}

bool Engine::stopped() const noexcept {
  return core_->stopped;
}

std::optional<std::size_t> Engine::this_thread() const noexcept {
  if (current_engine != this) return std::nullopt;
  return current_index;
}

asio::any_io_executor Engine::executor() {
  if (current_engine == this) return executor(current_index);
  return executor(core_->next.fetch_add(1, std::memory_order_relaxed) % core_->loops.size());
}

asio::any_io_executor Engine::executor(std::size_t thread) {
  if (thread >= core_->loops.size()) {
    throw Error(ErrorCode::invalid_argument,
                "the engine has " + std::to_string(core_->loops.size()) + " threads");
  }
  return core_->loops[thread]->context.get_executor();
}

Deadline Engine::in(std::chrono::steady_clock::duration time) const {
  const Deadline now = steady_now();
  return time > kNoDeadline - std::max(now, Deadline{}) ? kNoDeadline : now + time;
}

void Engine::wait_void(asio::awaitable<void> task, std::stop_token stop) {
  if (current_engine != nullptr) {
    throw Error(
        ErrorCode::invalid_argument,
        "a blocking call was made on an engine thread, where it would wait for itself; co_await the async_ "
        "form instead");
  }
  struct Call {
    asio::cancellation_signal signal;  // io thread only
    std::mutex mutex;
    std::condition_variable ended;
    bool done = false;
    std::exception_ptr error;
  };
  const auto call = std::make_shared<Call>();
  const asio::any_io_executor where = executor();
  asio::post(where, [call, where, task = std::move(task)]() mutable {
    asio::co_spawn(where, std::move(task),
                   asio::bind_cancellation_slot(call->signal.slot(), [call, where](std::exception_ptr error) {
                     // Not here: what called us must first let go of the signal, and of its reference to the
                     // exception.
                     asio::post(where, [call, error = std::move(error)]() mutable {
                       const std::lock_guard lock(call->mutex);
                       call->done = true;
                       call->error = std::move(error);
                       call->ended.notify_one();
                     });
                   }));
  });
  {
    const std::stop_callback on_stop(std::move(stop), [call, where] {
      asio::post(where, [call] { call->signal.emit(asio::cancellation_type::terminal); });
    });
    std::unique_lock lock(call->mutex);
    call->ended.wait(lock, [&] { return call->done; });
  }
  const std::exception_ptr error = std::exchange(call->error, nullptr);
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& failure) {
    if (failure.code() == asio::error::operation_aborted) throw Error(ErrorCode::cancelled, "cancelled");
    throw;
  }
}

asio::awaitable<void> Engine::race(asio::awaitable<void> inner, Deadline deadline, std::string operation,
                                   std::string phase) {
  const auto exceeded = [&] {
    std::string message = operation + ": deadline exceeded";
    if (!phase.empty()) message += " (" + phase + ")";
    return Error(ErrorCode::deadline_exceeded, message,
                 {.provider = {}, .operation = operation, .phase = phase, .request_id = {}});
  };
  const auto left = deadline - steady_now();
  if (left <= left.zero()) throw exceeded();

  struct Race {
    explicit Race(const asio::any_io_executor& executor) : timer(executor) {}
    asio::steady_timer timer;
    asio::cancellation_signal signal;
    std::optional<Resume> handler;
    std::exception_ptr error;
    bool expired = false;
    bool done = false;
  };
  const asio::any_io_executor where = co_await asio::this_coro::executor;
  const auto state = std::make_shared<Race>(where);
  state->timer.expires_after(std::min<std::chrono::steady_clock::duration>(left, kLongestWait));

  const auto start = [](Resume handler, const std::shared_ptr<Race>& race_state,
                        const asio::any_io_executor& executor, asio::awaitable<void> body) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    race_state->handler.emplace(std::move(handler));
    if (slot.is_connected()) {
      // Not owning: cleared before the state goes, and an owner would be a cycle through the suspended
      // caller.
      slot.assign([raw = race_state.get()](asio::cancellation_type type) { raw->signal.emit(type); });
    }
    race_state->timer.async_wait([race_state](const boost::system::error_code& error) {
      if (error || race_state->done) return;
      race_state->expired = true;
      race_state->signal.emit(asio::cancellation_type::terminal);
    });
    asio::co_spawn(executor, std::move(body),
                   asio::bind_cancellation_slot(race_state->signal.slot(),
                                                [race_state, executor, slot](std::exception_ptr error) {
                                                  race_state->done = true;
                                                  race_state->error = std::move(error);
                                                  race_state->timer.cancel();
                                                  asio::post(executor, [race_state, slot]() mutable {
                                                    if (slot.is_connected()) slot.clear();
                                                    Resume resume = std::move(*race_state->handler);
                                                    race_state->handler.reset();
                                                    std::move(resume)();
                                                  });
                                                }));
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(start, asio::use_awaitable, state,
                                                                        where, std::move(inner));
  if (!state->error) co_return;
  if (state->expired && is_cancellation(state->error)) throw exceeded();
  std::rethrow_exception(state->error);
}

asio::awaitable<void> Engine::sleep_until(Deadline when) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (;;) {
    const auto left = when == kNoDeadline ? Deadline::duration(kLongestWait) : when - steady_now();
    if (left <= left.zero()) co_return;
    timer.expires_after(std::min<Deadline::duration>(left, kLongestWait));
    const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (error) throw Error(ErrorCode::cancelled, "cancelled");
    // A replaced clock stands still while a real timer runs: one wait is all it gets.
    if (left <= kLongestWait) co_return;
  }
}

TaskGroup::TaskGroup(Engine& engine) : TaskGroup(engine, engine.executor()) {}

TaskGroup::TaskGroup(Engine& engine, asio::any_io_executor executor)
    : state_(std::make_shared<State>(*engine.core_, std::move(executor))) {
  state_->register_self();
}

TaskGroup::~TaskGroup() {
  state_->cancel();
}

void TaskGroup::spawn(asio::awaitable<void> task) {
  state_->spawn(std::move(task));
}
void TaskGroup::cancel() {
  state_->cancel();
}

bool TaskGroup::cancelled() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->cancelled;
}

asio::awaitable<void> TaskGroup::join() {
  return State::join(state_);
}
asio::awaitable<void> TaskGroup::run(asio::awaitable<void> body) {
  return State::run(state_, std::move(body));
}

std::size_t TaskGroup::size() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->running;
}

asio::any_io_executor TaskGroup::executor() const {
  return state_->executor;
}

}  // namespace sandkey
