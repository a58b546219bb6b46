// JSON as Sandkey reads and writes it: Boost.JSON, compiled once, with bounds and our errors.
#pragma once

#include <boost/json/fwd.hpp>
#include <boost/json/object.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

namespace json = boost::json;

// Deepest nesting accepted from others.
inline constexpr std::size_t kMaxJsonDepth = 64;

// Throws Error(protocol) saying what `what` was and where it stopped being JSON; never quotes the text, which
// may hold a secret. The value lives in `storage`; for one that is read and dropped, a
// json::monotonic_resource halves the time.
[[nodiscard]] json::value parse_json(std::string_view text, std::string_view what,
                                     json::storage_ptr storage = {});

// The member if it is there and of that type; nothing (or null) otherwise.
[[nodiscard]] const json::value* find(const json::object& object, std::string_view key) noexcept;
[[nodiscard]] std::optional<std::string_view> find_string(const json::object& object,
                                                          std::string_view key) noexcept;
[[nodiscard]] std::optional<bool> find_bool(const json::object& object, std::string_view key) noexcept;
// Integers, and doubles without a fraction that fit.
[[nodiscard]] std::optional<long long> find_integer(const json::object& object,
                                                    std::string_view key) noexcept;
// Any number.
[[nodiscard]] std::optional<double> find_number(const json::object& object, std::string_view key) noexcept;

}  // namespace sandkey
