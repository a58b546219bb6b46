#include "sandkey/events/event_stream.h"

#include "sandkey/base/error.h"
#include "sandkey/events/codec.h"
#include "sandkey/events/event_log.h"
#include "sandkey/events/secret_mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <ctime>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace sandkey {
namespace {

using events_detail::EventLog;
using events_detail::SecretMask;

struct Subscription {
  EventStreamSubscriber subscriber;
  std::string callback_id;
  EventStream::Callback callback;
  std::size_t first;  // the first event it gets
  // Both under the lock.
  bool removed = false;
  bool removed_itself = false;  // in its callback
};

// As Python's datetime.now().isoformat(), but with the microseconds even where they are 0.
std::string local_iso_time(std::chrono::system_clock::time_point time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - seconds).count();
  const std::time_t clock = std::chrono::system_clock::to_time_t(seconds);
  std::tm local = {};
  ::localtime_r(&clock, &local);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, micros);
}

}  // namespace

std::string_view to_string(EventStreamSubscriber subscriber) noexcept {
  switch (subscriber) {
    case EventStreamSubscriber::agent_controller:
      return "agent_controller";
    case EventStreamSubscriber::main:
      return "main";
    case EventStreamSubscriber::memory:
      return "memory";
    case EventStreamSubscriber::resolver:
      return "openhands_resolver";
    case EventStreamSubscriber::runtime:
      return "runtime";
    case EventStreamSubscriber::server:
      return "server";
    case EventStreamSubscriber::test:
      return "test";
  }
  return "test";
}

struct EventStream::State {
  std::string sid;
  EventStreamOptions options;

  mutable std::mutex mutex;
  mutable std::condition_variable changed;  // an event, a callback's end, a delivery, closing
  std::vector<EventPtr> events;             // by id
  std::size_t delivered = 0;                // how many of them were handed to everyone
  std::vector<std::shared_ptr<Subscription>> subscriptions;  // in order of subscriber, then of arrival
  std::shared_ptr<Subscription> running;                     // whose callback runs right now
  std::map<std::string, Secret> secrets;
  std::shared_ptr<const SecretMask> mask =
      std::make_shared<const SecretMask>(std::map<std::string, Secret>());
  std::optional<EventLog> log;
  bool closed = false;

  std::mutex joining;
  std::thread dispatcher;
  std::thread::id dispatcher_id;

  [[nodiscard]] bool in_callback() const { return std::this_thread::get_id() == dispatcher_id; }

  void dispatch() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return closed || delivered < events.size(); });
      if (closed) return;
      const EventPtr event = events[delivered];
      // A copy, as callbacks subscribe and unsubscribe.
      auto receivers = subscriptions;
      for (auto& receiver : receivers) {
        if (receiver->removed || receiver->first > delivered) continue;
        running = receiver;
        lock.unlock();
        call(*receiver, event);
        lock.lock();
        running.reset();
        changed.notify_all();
        if (receiver->removed_itself) {
          EventStream::Callback doomed = std::move(receiver->callback);
          lock.unlock();
          doomed = nullptr;  // without the lock: it may own anything
          lock.lock();
        }
        if (closed) return;
      }
      ++delivered;
      changed.notify_all();
    }
  }

  void call(const Subscription& receiver, const EventPtr& event) const {
    try {
      receiver.callback(event);
    } catch (const std::exception& error) {
      report(receiver, error.what());
    } catch (...) {
      report(receiver, "an exception that is no std::exception");
    }
  }

  void report(const Subscription& receiver, const std::string& what) const {
    try {
      if (options.on_error) options.on_error(receiver.subscriber, receiver.callback_id, what);
    } catch (...) {  // there is nobody left to tell
    }
  }

  template <class Iterator>
  [[nodiscard]] static Iterator find(Iterator begin, Iterator end, EventStreamSubscriber subscriber,
                                     std::string_view callback_id) {
    return std::find_if(begin, end, [&](const auto& it) {
      return it->subscriber == subscriber && it->callback_id == callback_id;
    });
  }
};

EventStream::EventStream(std::string sid, EventStreamOptions options) : state_(std::make_shared<State>()) {
  state_->sid = std::move(sid);
  state_->options = std::move(options);
  if (!state_->options.clock) state_->options.clock = [] { return std::chrono::system_clock::now(); };
  if (!state_->options.file.empty()) {
    std::vector<Event> loaded;
    state_->log.emplace(state_->options.file, loaded);
    for (Event& event : loaded) state_->events.push_back(std::make_shared<const Event>(std::move(event)));
    state_->delivered = state_->events.size();
  }
  // The lock makes the id known to the dispatcher before its first callback.
  const std::lock_guard lock(state_->mutex);
  state_->dispatcher = std::thread([state = state_] { state->dispatch(); });
  state_->dispatcher_id = state_->dispatcher.get_id();
}

EventStream::~EventStream() {
  close();
  // Destroyed in one of its own callbacks: the thread ends by itself right after it.
  if (state_->in_callback() && state_->dispatcher.joinable()) state_->dispatcher.detach();
}

const std::string& EventStream::sid() const noexcept {
  return state_->sid;
}

EventPtr EventStream::add_event(Event event, EventSource source) {
  State& state = *state_;
  if (const std::int64_t id = header(event).id; id != EventHeader::kNoId) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("the event has an id already ({}); was it added again by one of its subscribers?", id));
  }
  std::shared_ptr<const SecretMask> mask;
  {
    const std::lock_guard lock(state.mutex);
    mask = state.mask;
  }
  mask->apply(event);
  // What subscribers see is what a reader of the file will see, and what cannot be read is never written.
  event = parse_event(to_json(event));
  header(event).source = source;

  const std::lock_guard lock(state.mutex);
  if (state.closed) throw Error(ErrorCode::cancelled, "the event stream is closed");
  header(event).id = static_cast<std::int64_t>(state.events.size());
  header(event).timestamp = local_iso_time(state.options.clock());
  // Everything that can fail comes before the write.
  if (state.events.size() == state.events.capacity()) state.events.reserve(2 * state.events.size() + 16);
  auto stored = std::make_shared<const Event>(std::move(event));
  if (state.log) state.log->append(serialize(*stored) + "\n");
  state.events.push_back(stored);
  state.changed.notify_all();
  return stored;
}

void EventStream::subscribe(EventStreamSubscriber subscriber, Callback callback, std::string callback_id) {
  State& state = *state_;
  if (!callback) throw Error(ErrorCode::invalid_argument, "a subscriber needs a callback");
  const std::lock_guard lock(state.mutex);
  auto& all = state.subscriptions;
  if (State::find(all.begin(), all.end(), subscriber, callback_id) != all.end()) {
    throw Error(ErrorCode::conflict,
                fmt::format("subscriber {} has a callback '{}' already", to_string(subscriber), callback_id));
  }
  const auto after =
      std::upper_bound(all.begin(), all.end(), subscriber,
                       [](EventStreamSubscriber a, const auto& b) { return a < b->subscriber; });
  all.insert(after, std::make_shared<Subscription>(Subscription{.subscriber = subscriber,
                                                                .callback_id = std::move(callback_id),
                                                                .callback = std::move(callback),
                                                                .first = state.events.size()}));
}

bool EventStream::unsubscribe(EventStreamSubscriber subscriber, std::string_view callback_id) {
  State& state = *state_;
  Callback doomed;  // destroyed last, without the lock: it may own anything
  std::unique_lock lock(state.mutex);
  const auto found =
      State::find(state.subscriptions.begin(), state.subscriptions.end(), subscriber, callback_id);
  if (found == state.subscriptions.end()) return false;
  const std::shared_ptr<Subscription> gone = *found;
  state.subscriptions.erase(found);
  gone->removed = true;
  if (state.running == gone && state.in_callback()) {
    gone->removed_itself = true;  // the dispatcher destroys the callback as soon as it has returned
    return true;
  }
  state.changed.wait(lock, [&] { return state.running != gone; });
  doomed = std::move(gone->callback);
  lock.unlock();
  return true;
}

void EventStream::set_secrets(std::map<std::string, Secret> secrets) {
  auto mask = std::make_shared<const SecretMask>(secrets);
  const std::lock_guard lock(state_->mutex);
  state_->secrets.swap(secrets);
  state_->mask = std::move(mask);
}

void EventStream::update_secrets(std::map<std::string, Secret> secrets) {
  const std::lock_guard lock(state_->mutex);
  for (auto& [name, secret] : secrets) state_->secrets.insert_or_assign(name, std::move(secret));
  state_->mask = std::make_shared<const SecretMask>(state_->secrets);
}

std::int64_t EventStream::size() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<std::int64_t>(state_->events.size());
}

EventPtr EventStream::get_event(std::int64_t id) const {
  const std::lock_guard lock(state_->mutex);
  if (id < 0 || static_cast<std::size_t>(id) >= state_->events.size()) return nullptr;
  return state_->events[static_cast<std::size_t>(id)];
}

std::vector<EventPtr> EventStream::get_events(std::int64_t from, std::optional<std::int64_t> to) const {
  const std::lock_guard lock(state_->mutex);
  const auto size = static_cast<std::int64_t>(state_->events.size());
  const std::int64_t last = std::clamp<std::int64_t>(to.value_or(size), 0, size);
  const std::int64_t first = std::clamp<std::int64_t>(from, 0, last);
  return {state_->events.begin() + first, state_->events.begin() + last};
}

bool EventStream::wait_delivered(std::chrono::milliseconds timeout) const {
  const State& state = *state_;
  std::unique_lock lock(state.mutex);
  const std::size_t wanted = state.events.size();
  if (state.in_callback()) return state.delivered >= wanted;
  state.changed.wait_for(lock, timeout, [&] { return state.closed || state.delivered >= wanted; });
  return state.delivered >= wanted;
}

void EventStream::close() {
  State& state = *state_;
  bool in_callback = false;
  {
    const std::lock_guard lock(state.mutex);
    state.closed = true;
    in_callback = state.in_callback();
    state.changed.notify_all();
  }
  if (in_callback) return;
  const std::lock_guard joining(state.joining);
  if (state.dispatcher.joinable()) state.dispatcher.join();
}

}  // namespace sandkey
