// Traffic to a port inside a sandbox: which one a host's name means, and the way there.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/http_forward.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string_view>

namespace sandkey::emulator {

// "3000-abc.cloud.localhost:8080": 3000 and "abc". The number may be too large for a port.
struct PortName {
  std::uint64_t port = 0;
  std::string_view name = {};
};
// Nothing if the first label of the Host header is not of this form, or is the only one.
[[nodiscard]] std::optional<PortName> parse_port_name(std::string_view host);
// The Host header without a port.
[[nodiscard]] std::string_view without_port(std::string_view host);
// Digits only, and all of the text.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);

// Passes the request on to the port, as net::forward() does. False, and nothing answered, where nothing
// listens there.
boost::asio::awaitable<bool> forward_to_port(net::HttpExchange& exchange,
                                             boost::asio::any_io_executor executor, LocalSandbox& sandbox,
                                             std::uint16_t port, net::ForwardOptions options,
                                             Deadline dial_by);

// Whether a person looks at the answer, as far as the request tells; programs want JSON.
[[nodiscard]] bool is_browser(const net::HttpExchange& exchange);

}  // namespace sandkey::emulator
