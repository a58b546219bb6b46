// /proxy/{port}/...: the way to what listens inside, as the daemon leads it.
#pragma once

#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

inline constexpr const char* kProxyRoute = "ANY /proxy/{port}/{path}";

struct ProxyTarget {
  std::uint16_t port = 0;  // 0: what stands there is none
  std::string path = {};   // from its '/' on
  bool operator==(const ProxyTarget&) const = default;
};
// "/proxy/3000/a/b": 3000 and "/a/b"; nothing for other paths.
[[nodiscard]] std::optional<ProxyTarget> parse_proxy_path(std::string_view path);

// Throws ToolboxError.
[[nodiscard]] asio::awaitable<void> pass_to_port(net::HttpExchange& exchange, MachineView& view,
                                                 ProxyTarget target);

}  // namespace sandkey::daytona_toolbox
