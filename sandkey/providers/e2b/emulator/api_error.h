// How E2B's control plane says no.
#pragma once

#include <stdexcept>
#include <string>

namespace sandkey::e2b::emulator {

// Thrown by whatever finds that a request must be refused: {"code", "message", "error_code"?} with that
// status.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string error_code = {})
      : std::runtime_error(message), status_(status), error_code_(std::move(error_code)) {}

  [[nodiscard]] int status() const noexcept { return status_; }
  [[nodiscard]] const std::string& error_code() const noexcept { return error_code_; }

 private:
  int status_;
  std::string error_code_;
};

[[nodiscard]] std::string to_body(const ApiError& error);

// A request that the API's schema does not allow.
[[nodiscard]] ApiError schema_error(const std::string& what);
// A sandbox that is not there, or another account's.
[[nodiscard]] ApiError no_such_sandbox(const std::string& id);

}  // namespace sandkey::e2b::emulator
