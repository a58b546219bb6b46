// The two forms in which the daemon answers.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

namespace sandkey::daytona_toolbox {

[[nodiscard]] boost::asio::awaitable<void> reply_json(net::HttpExchange& exchange, json::object value,
                                                      int status = 200);
[[nodiscard]] boost::asio::awaitable<void> reply_json(net::HttpExchange& exchange, json::array value);
[[nodiscard]] boost::asio::awaitable<void> reply_empty(net::HttpExchange& exchange, int status);

}  // namespace sandkey::daytona_toolbox
