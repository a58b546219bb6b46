// Folders that are watched: for a stream of events, or for those who come and ask.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/engine.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <deque>
#include <envd.pb.h>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::e2b_envd {

// The events that one change of the agent's stands for, in envd's order.
[[nodiscard]] std::vector<FilesystemEvent> filesystem_events(const AgentWatch::Event& change);

// One watched folder, and what happened there that nobody took yet. On one thread.
class FolderWatch {
 public:
  static constexpr std::size_t kMaxEvents = 100'000;  // held; then the oldest go

  // Adds to an event what its watcher wants to know of the entry.
  using Complete = std::function<asio::awaitable<FilesystemEvent>(FilesystemEvent event)>;

  FolderWatch(Engine& engine, asio::any_io_executor executor, AgentWatch watch, Complete complete);

  // Throws Error when it cannot go on.
  [[nodiscard]] std::vector<FilesystemEvent> take();
  // Whether take() gives, or throws, anything.
  [[nodiscard]] bool ready() const noexcept { return !state_->events.empty() || state_->failure; }
  // Notified when there is something to take.
  [[nodiscard]] AsyncEvent& changed() noexcept { return state_->changed; }
  // What collects: cancel it, and join it before anything goes that Complete needs.
  [[nodiscard]] TaskGroup& task() noexcept { return task_; }

 private:
  struct State {
    State(asio::any_io_executor executor, AgentWatch watched, Complete completing)
        : watch(std::move(watched)), complete(std::move(completing)), changed(std::move(executor)) {}
    AgentWatch watch;
    Complete complete;
    AsyncEvent changed;
    std::deque<FilesystemEvent> events;
    std::exception_ptr failure;
  };
  static asio::awaitable<void> collect(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
  TaskGroup task_;
};

// Those who are asked, by their ids. On one thread.
class Watchers {
 public:
  explicit Watchers(Engine& engine) : engine_(engine) {}

  // Its id.
  [[nodiscard]] std::string add(std::unique_ptr<FolderWatch> watch);
  // Null if there is none.
  [[nodiscard]] FolderWatch* find(const std::string& id);
  // False if there is none.
  bool remove(const std::string& id);
  // Ends all of them.
  asio::awaitable<void> close();

 private:
  Engine& engine_;
  std::map<std::string, std::unique_ptr<FolderWatch>> watches_;
  std::vector<std::unique_ptr<FolderWatch>> ending_;  // removed, and not joined yet
};

}  // namespace sandkey::e2b_envd
