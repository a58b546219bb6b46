#include "sandkey/emulator/cloud.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/replies.h"

#include <utility>

namespace sandkey::emulator {

asio::awaitable<void> Cloud::refuse(net::HttpExchange& exchange, int status, std::string message) const {
  std::string body = error_body(status, message);
  co_await exchange.reply(status, std::move(body), kJsonType, {});
}

asio::awaitable<void> Cloud::fail_call(net::HttpExchange& exchange, CallFailure failure) const {
  return refuse(exchange, 500, std::move(failure.message));
}

std::string Cloud::readable_body(const std::string&, std::string body) const {
  return body;
}

json::object Cloud::settings() const {
  return {};
}

void Cloud::change_settings(const json::object& settings) {
  if (settings.empty()) return;
  throw Error(ErrorCode::invalid_argument, "changing settings: this cloud has none called \"" +
                                               std::string(settings.begin()->key()) + "\"");
}

}  // namespace sandkey::emulator
