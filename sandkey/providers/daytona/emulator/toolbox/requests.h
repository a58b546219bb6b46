// What clients say: JSON bodies and queries, with the daemon's judgement of them.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona_toolbox {

inline constexpr std::size_t kMaxBody = std::size_t{64} * 1024 * 1024;

using Variables = std::map<std::string, std::string>;

// A body of JSON with typed members. All throw ToolboxError(400) where a member is of another type or, for
// the required ones, missing or empty; null counts as missing. Members that are not asked for are ignored.
class Body {
 public:
  [[nodiscard]] static Body parse(std::string_view text);

  [[nodiscard]] std::string required(std::string_view name) const;
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const;  // absent: false
  // Whole numbers that are not below zero.
  [[nodiscard]] std::optional<std::uint32_t> number(std::string_view name) const;
  [[nodiscard]] std::optional<double> any_number(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view name) const;
  [[nodiscard]] Variables variables(std::string_view name) const;

 private:
  explicit Body(json::object object) : object_(std::move(object)) {}
  [[nodiscard]] const json::value* member(std::string_view name) const;

  json::object object_;
};

[[nodiscard]] boost::asio::awaitable<Body> read_json_body(net::HttpExchange& exchange);

// ToolboxError(400) where it is missing or empty.
[[nodiscard]] std::string required_query(const net::HttpExchange& exchange, std::string_view name);

// Names that a shell can have: [A-Za-z_][A-Za-z0-9_]*.
[[nodiscard]] bool is_variable_name(std::string_view name) noexcept;
// ToolboxError(400) that names the first that is none.
void check_variable_names(const Variables& variables);

// "0755" and "755"; nothing for anything else, or above 07777.
[[nodiscard]] std::optional<unsigned> parse_mode(std::string_view text) noexcept;

// What stands between single quotes in a shell.
[[nodiscard]] std::string shell_quoted(std::string_view text);

}  // namespace sandkey::daytona_toolbox
