// The events of one session in order: numbered, stamped, masked, kept, and handed to subscribers.
#pragma once

#include "sandkey/base/secret.h"
#include "sandkey/events/event.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// Who listens, in the order in which each event reaches them (OpenHands': by name).
enum class EventStreamSubscriber { agent_controller, main, memory, resolver, runtime, server, test };

[[nodiscard]] std::string_view to_string(EventStreamSubscriber subscriber) noexcept;

// Immutable and shared by everyone who sees the event.
using EventPtr = std::shared_ptr<const Event>;

struct EventStreamOptions {
  // Where to keep the events, one JSON line each, readable by the owner only. Empty: in memory only.
  std::filesystem::path file = {};
  // Read under the stream's lock, so it must not call the stream. Null: the system's clock.
  std::function<std::chrono::system_clock::time_point()> clock = {};
  // Told of a callback that threw, on the dispatcher thread; what it throws itself is dropped.
  std::function<void(EventStreamSubscriber, const std::string& callback_id, const std::string& what)>
      on_error = {};
};

// All members may be called from any thread, callbacks included. Callbacks run one after the other, in the
// order of the events, on one thread that the stream owns, so a callback that takes long delays all others:
// hand work over instead.
class EventStream final {
 public:
  using Callback = std::function<void(const EventPtr&)>;

  // Loads what the file holds; those events are not delivered. A last line that a crash cut short is removed.
  // Error(protocol) naming the line if another one is no event or out of sequence, Error(conflict) if another
  // stream has the file open, system errors as system_error() sorts them.
  explicit EventStream(std::string sid, EventStreamOptions options = {});
  // As close().
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  [[nodiscard]] const std::string& sid() const noexcept;

  // Gives the event the next id (from 0), the time and `source`, masks secrets, writes it to the file with
  // one write, and queues it for delivery. Returns the event as everyone will see it. Error(invalid_argument)
  // if it has an id already, which means it came from a stream, or if it could not be read back;
  // Error(cancelled) after close(). On any error the event is in neither the file nor the stream.
  EventPtr add_event(Event event, EventSource source);

  // `callback` gets every event added from now on. Error(conflict) if the pair is taken.
  void subscribe(EventStreamSubscriber subscriber, Callback callback, std::string callback_id);
  // Afterwards the callback does not run and is destroyed; waits for one that is running, unless called from
  // a callback. So do not call it holding a lock that the callback takes. False if there is no such
  // subscription.
  bool unsubscribe(EventStreamSubscriber subscriber, std::string_view callback_id);

  // Every occurrence of these values in the strings of later events becomes `<secret_hidden>`: in content,
  // args, extras and metadata, at any depth, in lists and in keys. Empty values are ignored. Names are only
  // for replacing a value by update_secrets.
  void set_secrets(std::map<std::string, Secret> secrets);
  void update_secrets(std::map<std::string, Secret> secrets);

  // How many events there are, which is also the next id.
  [[nodiscard]] std::int64_t size() const;
  // Null if there is none.
  [[nodiscard]] EventPtr get_event(std::int64_t id) const;
  // Those with from <= id < to.
  [[nodiscard]] std::vector<EventPtr> get_events(std::int64_t from = 0,
                                                 std::optional<std::int64_t> to = std::nullopt) const;

  // Waits until every event added before the call was delivered to everyone. False after `timeout`, after
  // close(), and in a callback, where that cannot be waited for.
  bool wait_delivered(std::chrono::milliseconds timeout) const;

  // Refuses further events, and ends delivery after the callback that is running (without waiting for it if
  // called from it). Events not delivered by then stay readable. Idempotent.
  void close();

 private:
  struct State;
  // Shared with the dispatcher thread, which outlives a stream that is destroyed in one of its callbacks.
  std::shared_ptr<State> state_;
};

}  // namespace sandkey
