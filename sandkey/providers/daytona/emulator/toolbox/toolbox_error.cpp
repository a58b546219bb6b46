#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace sandkey::daytona_toolbox {

ToolboxError bad_request(const std::string& message) {
  return {400, "BAD_REQUEST", "bad request: " + message};
}

ToolboxError not_found(const std::string& message) {
  return {404, "NOT_FOUND", "not found: " + message};
}

ToolboxError conflict(const std::string& message) {
  return {409, "CONFLICT", "conflict: " + message};
}

ToolboxError internal_error(const std::string& message) {
  return {500, "INTERNAL_SERVER_ERROR", message};
}

ToolboxError invalid_body(const std::string& message) {
  return {400, "INVALID_REQUEST_BODY", "bad request: invalid request body: " + message};
}

json::object error_object(const ToolboxError& error, std::string_view method, std::string_view path,
                          std::chrono::system_clock::time_point now) {
  json::object body;
  body["statusCode"] = error.status();
  body["message"] = error.what();
  body["code"] = error.code();
  body["timestamp"] = go_time(now);
  body["path"] = path;
  body["method"] = method;
  body["source"] = "DAYTONA_DAEMON";
  return body;
}

std::string go_time(std::chrono::sys_time<std::chrono::nanoseconds> time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const std::time_t whole = seconds.time_since_epoch().count();
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  std::array<char, 32> text{};
  std::string out(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts));
  const auto nanoseconds = static_cast<long long>((time - seconds).count());
  if (nanoseconds > 0) {
    std::array<char, 24> fraction{};
    (void)std::snprintf(fraction.data(), fraction.size(), ".%09lld", nanoseconds);
    out += fraction.data();
    while (out.ends_with('0')) out.pop_back();
  }
  return out + "Z";
}

}  // namespace sandkey::daytona_toolbox
