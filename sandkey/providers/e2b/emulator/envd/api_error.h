// How envd's plain HTTP routes fail.
#pragma once

#include <stdexcept>
#include <string>

namespace sandkey::e2b_envd {

// Answered with its status and {"code": status, "message": what()}: unlike those of Connect, the code is a
// number.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message) : std::runtime_error(message), status_(status) {}
  [[nodiscard]] int status() const noexcept { return status_; }

 private:
  int status_;
};

}  // namespace sandkey::e2b_envd
