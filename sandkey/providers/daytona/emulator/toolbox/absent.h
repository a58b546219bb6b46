// What the daemon answers for those of its parts that need programs which are not in the sandbox: language
// servers and a desktop.
#pragma once

#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <array>
#include <string_view>

namespace sandkey::daytona_toolbox {

class Absent {
 public:
  // Routes of /computeruse.
  static constexpr std::array<std::string_view, 37> kDesktopRoutes{
      "POST /computeruse/a11y/find",
      "POST /computeruse/a11y/node/focus",
      "POST /computeruse/a11y/node/invoke",
      "POST /computeruse/a11y/node/value",
      "GET /computeruse/a11y/tree",
      "GET /computeruse/display/info",
      "GET /computeruse/display/windows",
      "POST /computeruse/keyboard/hotkey",
      "POST /computeruse/keyboard/key",
      "POST /computeruse/keyboard/type",
      "POST /computeruse/mouse/click",
      "POST /computeruse/mouse/drag",
      "POST /computeruse/mouse/move",
      "GET /computeruse/mouse/position",
      "POST /computeruse/mouse/scroll",
      "GET /computeruse/process-status",
      "GET /computeruse/process/{processName}/errors",
      "GET /computeruse/process/{processName}/logs",
      "POST /computeruse/process/{processName}/restart",
      "GET /computeruse/process/{processName}/status",
      "GET /computeruse/recordings",
      "POST /computeruse/recordings/start",
      "POST /computeruse/recordings/stop",
      "GET /computeruse/recordings/{id}",
      "DELETE /computeruse/recordings/{id}",
      "GET /computeruse/recordings/{id}/download",
      "GET /computeruse/screenshot",
      "GET /computeruse/screenshot/compressed",
      "GET /computeruse/screenshot/region",
      "GET /computeruse/screenshot/region/compressed",
      "POST /computeruse/start",
      "GET /computeruse/status",
      "POST /computeruse/stop",
      "POST /computeruse/keyboard/down",
      "POST /computeruse/keyboard/up",
      "POST /computeruse/mouse/down",
      "POST /computeruse/mouse/up",
  };

  // All throw ToolboxError.
  static boost::asio::awaitable<void> desktop(net::HttpExchange& exchange);
  static boost::asio::awaitable<void> start_language_server(net::HttpExchange& exchange);
  static boost::asio::awaitable<void> ask_language_server(net::HttpExchange& exchange);
};

}  // namespace sandkey::daytona_toolbox
