// Finds the handler of a request by its method and path.
#pragma once

#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::emulator {

// What stood in the braces of the pattern, in its order, percent-decoded.
using Arguments = std::vector<std::string>;
using RouteHandler = std::function<boost::asio::awaitable<void>(net::HttpExchange&, Arguments)>;

class Router {
 public:
  // `route` is method and pattern, "POST /sandboxes/{sandboxID}/pause"; what is in braces matches one
  // segment. Of those that match, the one with the fewest braces is the one.
  void add(std::string route, RouteHandler handler);

  struct Match {
    const std::string* route;
    const RouteHandler* handler;
    Arguments arguments;
  };
  // `target` as it came: an encoded '/' separates nothing.
  [[nodiscard]] std::optional<Match> match(std::string_view method, std::string_view target) const;
  [[nodiscard]] std::vector<std::string> routes() const;

 private:
  struct Route {
    std::string name;
    std::string method;
    std::vector<std::string> segments;  // "{" stands for any one
    RouteHandler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace sandkey::emulator
