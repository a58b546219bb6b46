#include "sandkey/providers/daytona/emulator/toolbox/answers.h"

#include "sandkey/events/codec.h"

#include <string>
#include <string_view>
#include <utility>

namespace sandkey::daytona_toolbox {

namespace {

constexpr std::string_view kJson = "application/json; charset=utf-8";

}  // namespace

boost::asio::awaitable<void> reply_json(net::HttpExchange& exchange, json::object value, int status) {
  std::string body = write_json(value);
  co_await exchange.reply(status, std::move(body), kJson);
}

boost::asio::awaitable<void> reply_json(net::HttpExchange& exchange, json::array value) {
  std::string body = write_json(value);
  co_await exchange.reply(200, std::move(body), kJson);
}

boost::asio::awaitable<void> reply_empty(net::HttpExchange& exchange, int status) {
  std::string none;
  co_await exchange.reply(status, std::move(none), std::string_view());
}

}  // namespace sandkey::daytona_toolbox
