// The derived `message` of events: one line for people, in OpenHands' words. Internal to this folder.
#pragma once

#include "sandkey/events/event.h"

#include <string>

namespace sandkey::events_detail {

[[nodiscard]] std::string message_of(const Action& action);
[[nodiscard]] std::string message_of(const Observation& observation);

// A double as Python's repr, which is also JSON: shortest digits, always with a point or an exponent.
[[nodiscard]] std::string python_repr(double number);

}  // namespace sandkey::events_detail
