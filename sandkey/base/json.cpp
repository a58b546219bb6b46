#include "sandkey/base/json.h"

#include "sandkey/base/error.h"

#include <boost/json/src.hpp>

#include <array>
#include <cmath>
#include <utility>

namespace sandkey {

json::value parse_json(std::string_view text, std::string_view what, json::storage_ptr storage) {
  json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  boost::system::error_code error;
  std::array<unsigned char, 4096> scratch;  // enough for most; the parser asks for more when it needs it
  json::stream_parser parser({}, options, scratch.data(), scratch.size());
  parser.reset(std::move(storage));
  const std::size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error && used == text.size()) parser.finish(error);
  if (error || used != text.size()) {
    throw Error(ErrorCode::protocol, std::string(what) + " is not valid JSON (byte " + std::to_string(used) +
                                         " of " + std::to_string(text.size()) + ": " +
                                         (error ? error.message() : std::string("text after the document")) +
                                         ")");
  }
  return parser.release();
}

const json::value* find(const json::object& object, std::string_view key) noexcept {
  return object.if_contains(key);
}

std::optional<std::string_view> find_string(const json::object& object, std::string_view key) noexcept {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string_view(value->get_string());
}

std::optional<bool> find_bool(const json::object& object, std::string_view key) noexcept {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_bool()) return std::nullopt;
  return value->get_bool();
}

std::optional<long long> find_integer(const json::object& object, std::string_view key) noexcept {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_int64()) return value->get_int64();
  if (value->is_double()) {
    const double number = value->get_double();
    if (std::trunc(number) == number && std::fabs(number) < 9e15) return static_cast<long long>(number);
  }
  return std::nullopt;
}

std::optional<double> find_number(const json::object& object, std::string_view key) noexcept {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->to_number<double>();
}

}  // namespace sandkey
