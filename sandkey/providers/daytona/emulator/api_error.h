// How Daytona's control plane says no.
#pragma once

#include "sandkey/emulator/api_error.h"
#include "sandkey/emulator/rfc3339.h"

#include <string>
#include <string_view>

namespace sandkey::daytona::emulator {

using sandkey::emulator::ApiError;

// As the error code of a body that is no JSON: those answers lack path and time.
inline constexpr std::string_view kPlainBody = "plain";

// {"path", "timestamp", "statusCode", "error", "message"}; `path` is the request's target.
[[nodiscard]] std::string to_body(const ApiError& error, std::string_view path, sandkey::emulator::Time time);

// One text for whatever is wrong with a credential.
[[nodiscard]] ApiError invalid_credentials();
// The credential is good, and does not hold the permission.
[[nodiscard]] ApiError access_denied();
// It is good, and of another organization.
[[nodiscard]] ApiError wrong_organization();
// A sandbox that is not there, or another organization's.
[[nodiscard]] ApiError no_such_sandbox(std::string_view id_or_name);
// It is on its way from one state to another.
[[nodiscard]] ApiError change_in_progress();
[[nodiscard]] ApiError too_many_requests();
[[nodiscard]] ApiError maintenance();

}  // namespace sandkey::daytona::emulator
