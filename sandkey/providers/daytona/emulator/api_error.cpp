#include "sandkey/providers/daytona/emulator/api_error.h"

#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <boost/json/serialize.hpp>

namespace sandkey::daytona::emulator {

std::string to_body(const ApiError& error, std::string_view path, sandkey::emulator::Time time) {
  json::object object;
  if (error.error_code() != kPlainBody) {
    object["path"] = utf8::sanitize(path);
    object["timestamp"] = to_iso(time);
  }
  object["statusCode"] = error.status();
  object["error"] = net::reason_phrase(error.status());
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
