#include "sandkey/providers/daytona/emulator/toolbox/requests.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

ToolboxError wrong_type(std::string_view name, std::string_view wanted) {
  return invalid_body("'" + std::string(name) + "' must be " + std::string(wanted));
}

}  // namespace

Body Body::parse(std::string_view text) {
  json::value value;
  try {
    value = parse_json(text, "the request body");
  } catch (const Error& error) {
    throw invalid_body(error.what());
  }
  if (!value.is_object()) throw invalid_body("it is not an object");
  return Body(std::move(value.get_object()));
}

const json::value* Body::member(std::string_view name) const {
  const json::value* found = find(object_, name);
  return found != nullptr && !found->is_null() ? found : nullptr;
}

std::string Body::required(std::string_view name) const {
  std::optional<std::string> value = text(name);
  if (!value || value->empty()) throw invalid_body("'" + std::string(name) + "' is required");
  return std::move(*value);
}

std::optional<std::string> Body::text(std::string_view name) const {
  const json::value* value = member(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) throw wrong_type(name, "a string");
  return std::string(value->get_string());
}

bool Body::flag(std::string_view name) const {
  const json::value* value = member(name);
  if (value == nullptr) return false;
  if (!value->is_bool()) throw wrong_type(name, "a boolean");
  return value->get_bool();
}

std::optional<std::uint32_t> Body::number(std::string_view name) const {
  if (member(name) == nullptr) return std::nullopt;
  const std::optional<long long> value = find_integer(object_, name);
  if (!value || *value < 0 || *value > std::numeric_limits<std::uint32_t>::max())
    throw wrong_type(name, "a whole number that is not negative");
  return static_cast<std::uint32_t>(*value);
}

std::optional<double> Body::any_number(std::string_view name) const {
  if (member(name) == nullptr) return std::nullopt;
  const std::optional<double> value = find_number(object_, name);
  if (!value) throw wrong_type(name, "a number");
  return value;
}

std::vector<std::string> Body::texts(std::string_view name) const {
  std::vector<std::string> list;
  const json::value* value = member(name);
  if (value == nullptr) return list;
  if (!value->is_array()) throw wrong_type(name, "an array of strings");
  for (const json::value& each : value->get_array()) {
    if (!each.is_string()) throw wrong_type(name, "an array of strings");
    list.emplace_back(each.get_string());
  }
  return list;
}

Variables Body::variables(std::string_view name) const {
  Variables made;
  const json::value* value = member(name);
  if (value == nullptr) return made;
  if (!value->is_object()) throw wrong_type(name, "an object of strings");
  for (const auto& [key, each] : value->get_object()) {
    if (!each.is_string()) throw wrong_type(name, "an object of strings");
    made.emplace(key, each.get_string());
  }
  return made;
}

boost::asio::awaitable<Body> read_json_body(net::HttpExchange& exchange) {
  const std::string text = co_await exchange.read_body(kMaxBody);
  co_return Body::parse(text);
}

std::string required_query(const net::HttpExchange& exchange, std::string_view name) {
  std::optional<std::string> value = exchange.query(name);
  if (!value || value->empty()) throw bad_request(std::string(name) + " is required");
  return std::move(*value);
}

bool is_variable_name(std::string_view name) noexcept {
  return !name.empty() && is_letter(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || is_digit(c); });
}

void check_variable_names(const Variables& variables) {
  for (const auto& [name, value] : variables) {
    if (!is_variable_name(name)) throw bad_request("invalid environment variable name: '" + name + "'");
  }
}

std::optional<unsigned> parse_mode(std::string_view text) noexcept {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || mode > 07777U)
    return std::nullopt;
  return mode;
}

std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace sandkey::daytona_toolbox
