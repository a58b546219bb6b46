#include "sandkey/agent/request_parts.h"

#include <charconv>

namespace sandkey::agent {

using net::HttpError;
using net::HttpExchange;

int status_of(const Error& error) noexcept {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
    case ErrorCode::protocol:
      return 400;
    case ErrorCode::permission_denied:
      return 403;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::conflict:
      return 409;
    case ErrorCode::quota_exceeded:
      return 507;
    default:
      return 500;
  }
}

std::string absolute_path(const HttpExchange& exchange, std::string_view parameter) {
  const std::optional<std::string> path = exchange.query(parameter);
  if (!path || path->empty())
    throw HttpError(422, "The query parameter '" + std::string(parameter) + "' is missing.");
  if (path->front() != '/') {
    throw HttpError(400, "'" + std::string(parameter) + "' must be an absolute path, not " + *path + ".");
  }
  if (path->find('\0') != std::string::npos) throw HttpError(400, "The path has a NUL byte in it.");
  return *path;
}

std::optional<std::uint64_t> number(const HttpExchange& exchange, std::string_view parameter) {
  const std::optional<std::string> text = exchange.query(parameter);
  if (!text) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) {
    throw HttpError(400, "'" + std::string(parameter) + "' must be a non-negative integer.");
  }
  return value;
}

}  // namespace sandkey::agent
