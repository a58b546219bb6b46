#include "sandkey/providers/e2b/emulator/api_error.h"

#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"

#include <boost/json/serialize.hpp>

namespace sandkey::e2b::emulator {

std::string to_body(const ApiError& error) {
  json::object object;
  object["code"] = error.status();
  object["message"] = utf8::sanitize(error.what());
  if (!error.error_code().empty()) object["error_code"] = error.error_code();
  return json::serialize(object);
}

ApiError schema_error(const std::string& what) {
  return {400, "validation error: " + what};
}

ApiError no_such_sandbox(const std::string& id) {
  return {404, "Sandbox \"" + id + "\" doesn't exist or you don't have access to it"};
}

}  // namespace sandkey::e2b::emulator
