// The routes of the REST API, and what all of them have in common: who asks, whether he may, and how a
// refusal is worded.
#pragma once

#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/emulator/router.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/api_error.h"
#include "sandkey/providers/runloop/emulator/api_key.h"

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::runloop::emulator {

// What a route needs of who asks. `makes`: refused to accounts that are disabled.
struct Needs {
  Resource resource = Resource::devboxes;
  Access access = Access::read;
  bool makes = false;
};
inline constexpr Needs kLook{Resource::devboxes, Access::read, false};
inline constexpr Needs kEnd{Resource::devboxes, Access::write, false};
inline constexpr Needs kUse{Resource::devboxes, Access::write, true};

class Api {
 public:
  using Account = sandkey::emulator::Account;
  using Arguments = sandkey::emulator::Arguments;
  using Handler = std::function<asio::awaitable<void>(net::HttpExchange&, const Account&, Arguments)>;

  explicit Api(const sandkey::emulator::Accounts& accounts) : accounts_(accounts) {}

  // `route` as Router has it.
  void add(const char* route, Needs needs, Handler handler);
  // A route of the cloud's that is refused with 501.
  void add_not_emulated(const char* route);

  // The route of a request, and what answers it: whatever is not known as well.
  [[nodiscard]] sandkey::emulator::Call route(const net::HttpExchange& exchange) const;
  [[nodiscard]] std::vector<std::string> routes() const { return router_.routes(); }

 private:
  asio::awaitable<void> run(net::HttpExchange& exchange, Needs needs, const Handler& handler,
                            Arguments arguments) const;

  const sandkey::emulator::Accounts& accounts_;
  sandkey::emulator::Router router_;
};

// Runs it, and answers whatever it throws as the cloud words it.
asio::awaitable<void> answer_refusals(net::HttpExchange& exchange, asio::awaitable<void> work);

// The body of a request as an object.
asio::awaitable<json::object> read_object(net::HttpExchange& exchange);

}  // namespace sandkey::runloop::emulator
