// What the agent's routes on files have in common: reading a path from the query, and the status of an error.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/net/http_server.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::agent {

// 400, 403, 404, 409 or 507 where the code says it, else 500.
[[nodiscard]] int status_of(const Error& error) noexcept;

// Throws HttpError (422 if it is missing, 400 for what is not an absolute path).
[[nodiscard]] std::string absolute_path(const net::HttpExchange& exchange, std::string_view parameter);

// Throws HttpError(400) for what is not a non-negative integer.
[[nodiscard]] std::optional<std::uint64_t> number(const net::HttpExchange& exchange,
                                                  std::string_view parameter);

}  // namespace sandkey::agent
