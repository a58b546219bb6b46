// An event is an action or an observation.
#pragma once

#include "sandkey/events/action.h"
#include "sandkey/events/event_header.h"
#include "sandkey/events/observation.h"

#include <variant>

namespace sandkey {

using Event = std::variant<Action, Observation>;

[[nodiscard]] inline const EventHeader& header(const Event& event) {
  return std::visit([](const auto& it) -> const EventHeader& { return it; }, event);
}
[[nodiscard]] inline EventHeader& header(Event& event) {
  return std::visit([](auto& it) -> EventHeader& { return it; }, event);
}

}  // namespace sandkey
