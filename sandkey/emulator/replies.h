// Answers of clouds that speak JSON.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator {

using Headers = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::string_view kJsonType = "application/json; charset=utf-8";

boost::asio::awaitable<void> reply_text(net::HttpExchange& exchange, int status, std::string body,
                                        Headers headers = {});
// What is given need not outlive the call.
boost::asio::awaitable<void> reply_json(net::HttpExchange& exchange, int status, const json::value& value,
                                        Headers headers = {});
// 204.
boost::asio::awaitable<void> reply_nothing(net::HttpExchange& exchange);

}  // namespace sandkey::emulator
