// How Daytona's daemon fails.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// Answered with its status and the body of error_body().
class ToolboxError : public std::runtime_error {
 public:
  ToolboxError(int status, std::string code, const std::string& message)
      : std::runtime_error(message), status_(status), code_(std::move(code)) {}
  [[nodiscard]] int status() const noexcept { return status_; }
  [[nodiscard]] const std::string& code() const noexcept { return code_; }

 private:
  int status_;
  std::string code_;
};

// Those without a code of their own, worded as the daemon does: by their kind first.
[[nodiscard]] ToolboxError bad_request(const std::string& message);
[[nodiscard]] ToolboxError not_found(const std::string& message);
[[nodiscard]] ToolboxError conflict(const std::string& message);
[[nodiscard]] ToolboxError internal_error(const std::string& message);
[[nodiscard]] ToolboxError invalid_body(const std::string& message);

[[nodiscard]] json::object error_object(const ToolboxError& error, std::string_view method,
                                        std::string_view path, std::chrono::system_clock::time_point now);

// "2026-01-31T09:08:07.123456789Z", as Go writes a time; zeros at the end of the fraction are left out.
[[nodiscard]] std::string go_time(std::chrono::sys_time<std::chrono::nanoseconds> time);

}  // namespace sandkey::daytona_toolbox
