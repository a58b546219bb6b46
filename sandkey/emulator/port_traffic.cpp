#include "sandkey/emulator/port_traffic.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string>
#include <utility>

namespace sandkey::emulator {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

std::optional<PortName> parse_port_name(std::string_view host) {
  const std::string_view name = without_port(host);
  const std::string_view label = name.substr(0, name.find('.'));
  const std::size_t dash = label.find('-');
  if (dash == std::string_view::npos || label.size() == name.size()) return std::nullopt;
  const auto port = parse_number(label.substr(0, dash));
  if (!port) return std::nullopt;
  return PortName{.port = *port, .name = label.substr(dash + 1)};
}

boost::asio::awaitable<bool> forward_to_port(net::HttpExchange& exchange,
                                             boost::asio::any_io_executor executor, LocalSandbox& sandbox,
                                             std::uint16_t port, net::ForwardOptions options,
                                             Deadline dial_by) {
  UniqueFd connection;
  try {
    connection = co_await sandbox.dial(port, dial_by);
  } catch (const Error&) {  // nothing listens there, or there is no sandbox any more
  }
  if (!connection) co_return false;
  const net::Forwarded result =
      co_await net::forward(exchange, std::move(executor), std::move(connection), std::move(options));
  co_return result == net::Forwarded::answered;
}

bool is_browser(const net::HttpExchange& exchange) {
  const auto lower = [](std::string_view text) {
    std::string made(text);
    std::ranges::transform(made, made.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return made;
  };
  const std::string agent = lower(exchange.header("user-agent"));
  const bool names_one = std::ranges::any_of(
      std::array<std::string_view, 7>{"mozilla", "chrome", "safari", "firefox", "edge", "opera", "msie"},
      [&](std::string_view name) { return agent.find(name) != std::string::npos; });
  const bool is_script = lower(exchange.header("accept")).find("json") != std::string::npos ||
                         lower(exchange.header("content-type")).find("json") != std::string::npos ||
                         exchange.header("sec-fetch-dest") == "empty" ||
                         !exchange.header("x-requested-with").empty();
  return names_one && !is_script;
}

}  // namespace sandkey::emulator
