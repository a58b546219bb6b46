#include "sandkey/providers/e2b/emulator/envd/watchers.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace sandkey::e2b_envd {
namespace {

constexpr std::array<std::pair<std::string_view, EventType>, 5> kTypes{{
    {"create", EVENT_TYPE_CREATE},
    {"rename", EVENT_TYPE_RENAME},
    {"attributes", EVENT_TYPE_CHMOD},
    {"write", EVENT_TYPE_WRITE},
    {"remove", EVENT_TYPE_REMOVE},
}};

// As the vendor's: 20 characters after the 'w'.
std::string random_id(Engine& engine) {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id = "w";
  while (id.size() < 21) id += kLetters[engine.random() % kLetters.size()];
  return id;
}

}  // namespace

std::vector<FilesystemEvent> filesystem_events(const AgentWatch::Event& change) {
  std::vector<FilesystemEvent> events;
  for (const auto& [name, type] : kTypes) {
    for (const std::string& each : change.events) {
      if (each != name) continue;
      FilesystemEvent& event = events.emplace_back();
      event.set_name(change.name);
      event.set_type(type);
    }
  }
  return events;
}

FolderWatch::FolderWatch(Engine& engine, asio::any_io_executor executor, AgentWatch watch, Complete complete)
    : state_(std::make_shared<State>(executor, std::move(watch), std::move(complete))),
      task_(engine, executor) {
  task_.spawn(collect(state_));
}

asio::awaitable<void> FolderWatch::collect(std::shared_ptr<State> state) {
  try {
    while (true) {
      const AgentWatch::Event change = co_await state->watch.next();
      for (FilesystemEvent& event : filesystem_events(change)) {
        FilesystemEvent complete = co_await state->complete(std::move(event));
        if (state->events.size() >= kMaxEvents) state->events.pop_front();
        state->events.push_back(std::move(complete));
        state->changed.notify_all();
      }
    }
  } catch (...) {
    if (is_cancellation(std::current_exception())) throw;
    state->failure = std::current_exception();
  }
  state->changed.notify_all();
}

std::vector<FilesystemEvent> FolderWatch::take() {
  if (state_->events.empty() && state_->failure) std::rethrow_exception(state_->failure);
  std::deque<FilesystemEvent> events = std::exchange(state_->events, {});
  return {std::make_move_iterator(events.begin()), std::make_move_iterator(events.end())};
}

std::string Watchers::add(std::unique_ptr<FolderWatch> watch) {
  std::erase_if(ending_, [](const auto& each) { return each->task().size() == 0; });
  std::string id = random_id(engine_);
  watches_.emplace(id, std::move(watch));
  return id;
}

FolderWatch* Watchers::find(const std::string& id) {
  const auto found = watches_.find(id);
  return found == watches_.end() ? nullptr : found->second.get();
}

bool Watchers::remove(const std::string& id) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return false;
  found->second->task().cancel();
  ending_.push_back(std::move(found->second));
  watches_.erase(found);
  return true;
}

asio::awaitable<void> Watchers::close() {
  for (auto& [id, watch] : std::exchange(watches_, {})) ending_.push_back(std::move(watch));
  const std::vector<std::unique_ptr<FolderWatch>> all = std::exchange(ending_, {});
  for (const auto& watch : all) watch->task().cancel();
  for (const auto& watch : all) co_await watch->task().join();
}

}  // namespace sandkey::e2b_envd
