#include "sandkey/providers/daytona/emulator/api_error.h"

#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <boost/json/serialize.hpp>

namespace sandkey::daytona::emulator {

std::string_view reason_phrase(int status) noexcept {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

std::string to_body(const ApiError& error, std::string_view path, sandkey::emulator::Time time) {
  json::object object;
  if (error.error_code() != kPlainBody) {
    object["path"] = utf8::sanitize(path);
    object["timestamp"] = to_iso(time);
  }
  object["statusCode"] = error.status();
  object["error"] = reason_phrase(error.status());
  object["message"] = utf8::sanitize(error.what());
  return json::serialize(object);
}

ApiError invalid_credentials() {
  return {401, "Invalid credentials"};
}

ApiError access_denied() {
  return {403, "Access denied"};
}

ApiError wrong_organization() {
  return {403, "Invalid authentication context"};
}

ApiError no_such_sandbox(std::string_view id_or_name) {
  return {404, "Sandbox with ID or name " + std::string(id_or_name) + " not found"};
}

ApiError change_in_progress() {
  return {409, "Sandbox state change in progress"};
}

ApiError too_many_requests() {
  return {429, "ThrottlerException: Too Many Requests"};
}

ApiError maintenance() {
  return {503, "Daytona is currently undergoing maintenance. Please try again later"};
}

}  // namespace sandkey::daytona::emulator
