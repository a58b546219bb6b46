// What can be changed of the emulated cloud while it runs, by the emulator's admin API.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <cstdint>

namespace sandkey::daytona::emulator {

struct Knobs {
  std::chrono::milliseconds list_delay{1000};   // how long lists lag behind what GET tells
  std::chrono::milliseconds create_time{0};     // 0: the answer to create waits until it runs
  std::chrono::milliseconds change_time{2000};  // of each change of a slow sandbox
  std::int64_t failed_auths = 1000;             // in a minute, until nobody is let in
  bool maintenance = false;                     // for everybody
};

// {"list_delay_seconds", "create_seconds", "change_seconds", "failed_auths_per_minute", "maintenance"}.
[[nodiscard]] json::object to_json(const Knobs& knobs);
// With those that are named. Throws Error(invalid_argument).
[[nodiscard]] Knobs changed(const Knobs& knobs, const json::object& settings);

}  // namespace sandkey::daytona::emulator
