#include "sandkey/providers/modal/emulator/settings.h"

#include "sandkey/base/error.h"

#include <string_view>

namespace sandkey::modal::emulator {
namespace {

constexpr std::string_view kAuthToken = "auth_token_seconds";
constexpr std::string_view kRouterToken = "router_token_seconds";
constexpr std::string_view kTells = "create_tells_router";
constexpr std::string_view kWarning = "warning";
constexpr long long kDay = 24 * 60 * 60;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::invalid_argument, "changing settings: " + what);
}

std::chrono::seconds seconds_of(const json::object& wanted, std::string_view key) {
  const long long value = find_integer(wanted, key).value_or(0);
  if (value < 1 || value > kDay) refuse("\"" + std::string(key) + "\" must be from 1 to 86400");
  return std::chrono::seconds(value);
}

}  // namespace

json::object Settings::to_json() const {
  json::object object;
  object[kAuthToken] = auth_token.count();
  object[kRouterToken] = router_token.count();
  object[kTells] = create_tells_router;
  object[kWarning] = warning;
  return object;
}

void Settings::change(const json::object& wanted) {
  Settings made = *this;
  for (const auto& [key, value] : wanted) {
    if (key == kAuthToken) {
      made.auth_token = seconds_of(wanted, kAuthToken);
    } else if (key == kRouterToken) {
      made.router_token = seconds_of(wanted, kRouterToken);
    } else if (key == kTells && value.is_bool()) {
      made.create_tells_router = value.get_bool();
    } else if (key == kWarning && value.is_string()) {
      made.warning = std::string_view(value.get_string());
    } else {
      refuse("there is none called \"" + std::string(key) + "\" that can be this");
    }
  }
  *this = made;
}

}  // namespace sandkey::modal::emulator
