#include "sandkey/base/error.h"

#include <cerrno>
#include <system_error>
#include <utility>

namespace sandkey {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::credential_missing:
      return "credential_missing";
    case ErrorCode::credential_malformed:
      return "credential_malformed";
    case ErrorCode::unauthenticated:
      return "unauthenticated";
    case ErrorCode::permission_denied:
      return "permission_denied";
    case ErrorCode::quota_exceeded:
      return "quota_exceeded";
    case ErrorCode::rate_limited:
      return "rate_limited";
    case ErrorCode::capacity_unavailable:
      return "capacity_unavailable";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::sandbox_dead:
      return "sandbox_dead";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::deadline_exceeded:
      return "deadline_exceeded";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::protocol:
      return "protocol";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

std::string_view to_string(Processed processed) noexcept {
  switch (processed) {
    case Processed::no:
      return "no";
    case Processed::yes:
      return "yes";
    case Processed::unknown:
      return "unknown";
  }
  return "unknown";
}

Error::Error(ErrorCode code, const std::string& message, ErrorContext context)
    : std::runtime_error(message), code_(code), context_(std::move(context)) {}

void throw_error(ErrorCode code, const std::string& message, ErrorContext context) {
  switch (code) {
    case ErrorCode::credential_missing:
    case ErrorCode::credential_malformed:
    case ErrorCode::unauthenticated:
    case ErrorCode::permission_denied:
      throw AuthenticationError(code, message, std::move(context));
    default:
      throw Error(code, message, std::move(context));
  }
}

Error system_error(const std::string& what, int error_number) {
  ErrorCode code = ErrorCode::unavailable;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      code = ErrorCode::not_found;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = ErrorCode::permission_denied;
      break;
    case EEXIST:
    case EBUSY:
    case ENOTEMPTY:
    case EISDIR:
    case EADDRINUSE:
      code = ErrorCode::conflict;
      break;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
      code = ErrorCode::invalid_argument;
      break;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      code = ErrorCode::quota_exceeded;
      break;
    default:
      break;
  }
  return Error(code, what + ": " + std::generic_category().message(error_number));
}

}  // namespace sandkey
