// How an emulated cloud says no, whatever words it has for it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace sandkey::emulator {

// Thrown by whatever finds that a request must be refused; the cloud makes its own kind of body of it.
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

}  // namespace sandkey::emulator
