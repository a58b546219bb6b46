#include "sandkey/emulator/replies.h"

#include <boost/json/serialize.hpp>

namespace sandkey::emulator {

boost::asio::awaitable<void> reply_text(net::HttpExchange& exchange, int status, std::string body,
                                        Headers headers) {
  const std::vector<net::HttpExchange::Header> views(headers.begin(), headers.end());
  co_await exchange.reply(status, std::move(body), kJsonType, views);
}

// Not a coroutine: it has read the value when it returns.
boost::asio::awaitable<void> reply_json(net::HttpExchange& exchange, int status, const json::value& value,
                                        Headers headers) {
  return reply_text(exchange, status, json::serialize(value), std::move(headers));
}

boost::asio::awaitable<void> reply_nothing(net::HttpExchange& exchange) {
  co_await exchange.reply(204, "", "");
}

}  // namespace sandkey::emulator
