#include "sandkey/providers/runloop/emulator/api_error.h"

#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"

#include <boost/json/serialize.hpp>

namespace sandkey::runloop::emulator {

std::string to_body(const ApiError& error) {
  json::object object;
  object["error"] = error.error_code();
  object["message"] = utf8::sanitize(error.what());
  if (const auto verdict = retryable(error)) object["retryable"] = *verdict;
  return json::serialize(object);
}

std::optional<bool> retryable(const ApiError& error) noexcept {
  if (error.error_code() == "wait_timeout" || error.error_code() == "tunnel_service_not_ready") return true;
  // Clients repeat what ends with 5xx: for what is not there they would wait half a minute in vain.
  if (error.error_code() == "tunnel_unavailable" || error.error_code() == "not_emulated") return false;
  return std::nullopt;
}

ApiError invalid(const std::string& message) {
  return {400, message, "invalid_argument"};
}

ApiError no_such(const std::string& what, const std::string& id) {
  return {400, what + " '" + id + "' was not found", "not_found"};
}

ApiError wrong_state(const std::string& message) {
  return {400, message, "failed_precondition"};
}

ApiError not_emulated(const std::string& what) {
  return {501, what + " is not emulated", "not_emulated"};
}

ApiError still_waiting(const std::string& message) {
  return {408, message, "wait_timeout"};
}

}  // namespace sandkey::runloop::emulator
