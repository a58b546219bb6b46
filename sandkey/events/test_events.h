// One event of every type with every member set to something else than its default. For tests.
#pragma once

#include "sandkey/events/event.h"

#include <vector>

namespace sandkey::events_test {

[[nodiscard]] std::vector<Action> every_action();
[[nodiscard]] std::vector<Observation> every_observation();

}  // namespace sandkey::events_test
