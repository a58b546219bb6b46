#include "sandkey/providers/daytona/emulator/state.h"

#include "sandkey/providers/daytona/emulator/api_error.h"

#include <algorithm>
#include <array>

namespace sandkey::daytona::emulator {
namespace {

constexpr std::array<std::string_view, 21> kListed{
    "creating",  "restoring",     "destroying",        "started",  "stopped",          "starting",
    "stopping",  "error",         "build_failed",      "unknown",  "pulling_snapshot", "archived",
    "archiving", "pending_build", "building_snapshot", "resizing", "snapshotting",     "forking",
    "pausing",   "paused",        "resuming"};

bool has_failed(State state) noexcept {
  return state == State::error || state == State::build_failed;
}

void require_working(const Condition& condition) {
  if (has_failed(condition.state)) throw ApiError(400, "Sandbox is in an errored state");
}

void require_settled(const Condition& condition) {
  if (condition.pending || condition.state != condition.desired) throw change_in_progress();
}

void require_rises(std::optional<std::int64_t> wanted, std::int64_t now, std::string_view what) {
  if (wanted && *wanted < now) {
    throw ApiError(400, "Cannot decrease " + std::string(what) + " of a started sandbox");
  }
}

}  // namespace

std::string_view to_string(State state) noexcept {
  switch (state) {
    case State::unknown:
      return "unknown";
    case State::pending_build:
      return "pending_build";
    case State::building_snapshot:
      return "building_snapshot";
    case State::creating:
      return "creating";
    case State::restoring:
      return "restoring";
    case State::started:
      return "started";
    case State::stopped:
      return "stopped";
    case State::archived:
      return "archived";
    case State::resizing:
      return "resizing";
    case State::snapshotting:
      return "snapshotting";
    case State::destroying:
      return "destroying";
    case State::destroyed:
      return "destroyed";
    case State::error:
      return "error";
    case State::build_failed:
      return "build_failed";
  }
  return "unknown";
}

bool is_state_name(std::string_view name) noexcept {
  return std::ranges::find(kListed, name) != kListed.end();
}

std::string_view shown_state(State state, State desired) noexcept {
  if (state == State::started && desired == State::stopped) return "stopping";
  if (state == State::started && desired == State::destroyed) return "destroying";
  if (state == State::stopped && desired == State::started) return "starting";
  if (state == State::stopped && desired == State::destroyed) return "destroying";
  if (state == State::stopped && desired == State::archived) return "archiving";
  if (state == State::unknown && desired == State::started) return "creating";
  return to_string(state);
}

bool check_start(const Condition& condition) {
  require_working(condition);
  if (condition.state == State::started && condition.desired == State::started) return false;
  if (condition.pending) throw change_in_progress();
  if (condition.state != State::stopped && condition.state != State::archived) {
    throw ApiError(400, "Sandbox is not in valid state");
  }
  return true;
}

void check_stop(const Condition& condition) {
  require_working(condition);
  require_settled(condition);
  if (condition.state != State::started) throw ApiError(400, "Sandbox is not in a stoppable state");
}

void check_archive(const Condition& condition) {
  require_working(condition);
  require_settled(condition);
  if (condition.state != State::stopped) throw ApiError(400, "Sandbox is not stopped");
  if (condition.ephemeral) throw ApiError(400, "Ephemeral sandboxes cannot be archived");
}

void check_recover(const Condition& condition) {
  if (condition.pending) throw change_in_progress();
  if (condition.state != State::error || !condition.recoverable) {
    throw ApiError(400, "Sandbox is not in a recoverable state");
  }
}

void check_remove(const Condition& condition) {
  const bool at_any_time = has_failed(condition.state) || condition.state == State::pending_build;
  if (condition.pending && !at_any_time) throw change_in_progress();
}

void check_snapshot(const Condition& condition) {
  require_working(condition);
  require_settled(condition);
  if (condition.state != State::started && condition.state != State::stopped) {
    throw ApiError(400, "Sandbox must be started or stopped to be snapshotted");
  }
}

Sizes check_resize(const Condition& condition, const Sizes& sizes, const SizeChange& change) {
  require_working(condition);
  require_settled(condition);
  const bool runs = condition.state == State::started;
  if (!runs && condition.state != State::stopped) throw ApiError(400, "Sandbox is not in valid state");
  const Sizes wanted{.cpu = change.cpu.value_or(sizes.cpu),
                     .memory = change.memory.value_or(sizes.memory),
                     .disk = change.disk.value_or(sizes.disk)};
  if (wanted.cpu == sizes.cpu && wanted.memory == sizes.memory && wanted.disk == sizes.disk) {
    throw ApiError(400, "No change in the sandbox's resources was requested");
  }
  if (wanted.disk < sizes.disk) throw ApiError(400, "Sandbox disk size cannot be decreased");
  if (!runs) return wanted;
  if (wanted.disk != sizes.disk) throw ApiError(400, "Disk can only be resized while the sandbox is stopped");
  require_rises(change.cpu, sizes.cpu, "CPU");
  require_rises(change.memory, sizes.memory, "memory");
  return wanted;
}

}  // namespace sandkey::daytona::emulator
