// How Runloop says no.
#pragma once

#include "sandkey/emulator/api_error.h"

#include <optional>
#include <string>

namespace sandkey::runloop::emulator {

// {"error", "message", "retryable"?} with that status; its error_code() is what "error" says.
using sandkey::emulator::ApiError;

[[nodiscard]] std::string to_body(const ApiError& error);
// Whether it says by itself if asking again helps; otherwise clients decide by the status.
[[nodiscard]] std::optional<bool> retryable(const ApiError& error) noexcept;

// What the request says cannot be: 400.
[[nodiscard]] ApiError invalid(const std::string& message);
// Something that is not there, or another account's: 400, as the cloud has it, and not 404.
[[nodiscard]] ApiError no_such(const std::string& what, const std::string& id);
// The devbox, the blueprint or the like is in a state that forbids it: 400, since a 409 is tried again.
[[nodiscard]] ApiError wrong_state(const std::string& message);
// What the cloud has and the emulator has not: 501.
[[nodiscard]] ApiError not_emulated(const std::string& what);
// A long poll that ended before what it waited for came: 408. SDKs ask again at once.
[[nodiscard]] ApiError still_waiting(const std::string& message);

}  // namespace sandkey::runloop::emulator
