// The one exception Sandkey throws, and its closed list of codes.
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sandkey {

// What went wrong, in a closed list: retry, exit code and HTTP status are all derived from it.
enum class ErrorCode {
  invalid_argument,      // the caller's input; nothing was sent
  credential_missing,    // no source has it
  credential_malformed,  // a source has it, but it cannot be one
  unauthenticated,       // the other side does not know the credential
  permission_denied,     // it knows it and says no
  quota_exceeded,        // the account's limit; waiting does not help
  rate_limited,          // too fast; waiting helps
  capacity_unavailable,  // the provider has no room just now
  not_found,
  conflict,      // it exists already, or is in a state that forbids this
  sandbox_dead,  // the sandbox ended
  unavailable,   // nobody answered, or only "try later"
  deadline_exceeded,
  cancelled,    // by our own caller; never retried, never relabelled
  protocol,     // the other side answered something its protocol does not allow
  unsupported,  // this provider or server cannot do it
  internal,     // a defect of Sandkey
};

[[nodiscard]] std::string_view to_string(ErrorCode code) noexcept;

// Whether the other side acted on the request that failed. Only `no` makes a repeat harmless by itself.
enum class Processed { no, yes, unknown };

[[nodiscard]] std::string_view to_string(Processed processed) noexcept;

// Where an error arose. Empty fields were not known.
struct ErrorContext {
  std::string provider;    // "e2b", "local", ...
  std::string operation;   // what was being done: "connect", "run", "upload"
  std::string phase;       // the part of a longer operation: "wait until alive"
  std::string request_id;  // the provider's own id of the request, for its support
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;
  Processed processed = Processed::unknown;
  // Asking again as things are would fail the same way, whatever the code says in general: a certificate that
  // is not trusted stays so. Nobody repeats such a request by himself.
  bool permanent = false;
};

// Branch on code(); show what() to people: it says what was being done, what happened and what to do next.
// Never holds a secret.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, ErrorContext context = {});

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const ErrorContext& context() const noexcept { return context_; }

 private:
  ErrorCode code_;
  ErrorContext context_;
};

// credential_missing, credential_malformed, unauthenticated or permission_denied.
class AuthenticationError : public Error {
 public:
  using Error::Error;
};

// Throws an AuthenticationError where the code is one of its four, otherwise an Error. For code that has its
// error as a value: a value of type Error has lost what it derived from.
[[noreturn]] void throw_error(ErrorCode code, const std::string& message, ErrorContext context = {});
[[noreturn]] inline void throw_error(const Error& error) {
  throw_error(error.code(), error.what(), error.context());
}

// `operation: what strerror says`, as `unavailable` unless errno names something more exact.
[[nodiscard]] Error system_error(const std::string& what, int error_number);

}  // namespace sandkey
