// The states of Daytona's sandboxes, and what may be done in which of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sandkey::daytona::emulator {

// Those that an emulated sandbox comes through. The cloud knows more (is_state_name): of virtual machines,
// and of copies.
enum class State {
  unknown,  // before anything was done
  pending_build,
  building_snapshot,
  creating,
  restoring,
  started,
  stopped,
  archived,
  resizing,
  snapshotting,
  destroying,
  destroyed,
  error,
  build_failed
};

[[nodiscard]] std::string_view to_string(State state) noexcept;
// Whether lists may be asked for it: any of the cloud's but "destroyed".
[[nodiscard]] bool is_state_name(std::string_view name) noexcept;

// As GET shows it: a state that another one is wanted for looks like the way between the two ("stopping").
[[nodiscard]] std::string_view shown_state(State state, State desired) noexcept;

struct Condition {
  State state = State::unknown;
  State desired = State::started;
  bool pending = false;  // something is being done to it
  bool recoverable = false;
  bool ephemeral = false;  // it is deleted when it stops
};

// Each throws ApiError as the cloud refuses: 400 in the wrong state, 409 while something is being done.
// False: there is nothing to do.
[[nodiscard]] bool check_start(const Condition& condition);
void check_stop(const Condition& condition);
void check_archive(const Condition& condition);
void check_recover(const Condition& condition);
void check_remove(const Condition& condition);
void check_snapshot(const Condition& condition);

struct Sizes {
  std::int64_t cpu = 1;
  std::int64_t memory = 1;
  std::int64_t disk = 3;
};
struct SizeChange {
  std::optional<std::int64_t> cpu = std::nullopt;
  std::optional<std::int64_t> memory = std::nullopt;
  std::optional<std::int64_t> disk = std::nullopt;
};
// What it has afterwards.
[[nodiscard]] Sizes check_resize(const Condition& condition, const Sizes& sizes, const SizeChange& change);

}  // namespace sandkey::daytona::emulator
