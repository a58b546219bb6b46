// How E2B's control plane says no.
#pragma once

#include "sandkey/emulator/api_error.h"

#include <string>

namespace sandkey::e2b::emulator {

using sandkey::emulator::ApiError;

// {"code", "message", "error_code"?}.
[[nodiscard]] std::string to_body(const ApiError& error);

// A request that the API's schema does not allow.
[[nodiscard]] ApiError schema_error(const std::string& what);
// A sandbox that is not there, or another account's.
[[nodiscard]] ApiError no_such_sandbox(const std::string& id);

}  // namespace sandkey::e2b::emulator
