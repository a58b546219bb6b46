// The values of options, as people write them. All throw Error(invalid_argument) naming the option and saying
// what would be right.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::cli {

// "30", "30s", "1500ms", "2m", "1h", "7d".
[[nodiscard]] std::chrono::milliseconds parse_duration(std::string_view text, std::string_view option);
// The same, rounded up; a lease of half a second is one of a second.
[[nodiscard]] std::chrono::seconds parse_seconds(std::string_view text, std::string_view option);

// "1048576", "64k", "512M", "1.5G", "2GiB": powers of 1024.
[[nodiscard]] std::uint64_t parse_size(std::string_view text, std::string_view option);

[[nodiscard]] std::uint64_t parse_number(std::string_view text, std::string_view option, std::uint64_t least,
                                         std::uint64_t most);

// "NAME=VALUE", or "NAME" for our own value; a later one replaces an earlier one.
[[nodiscard]] std::map<std::string, std::string> parse_variables(const std::vector<std::string>& texts);

// "8000" is {none, 8000}; "9000:8000" is {9000, 8000}: here and inside. Here 0 is any that is free.
[[nodiscard]] std::pair<std::optional<std::uint16_t>, std::uint16_t> parse_ports(std::string_view text);

// One side of `cp`: "SID:/path", or ":/path" for the agent of --agent; anything with a '/' before its first
// ':' or without one is a path here.
struct Location {
  std::optional<std::string> sid = std::nullopt;  // none: here
  std::string path = {};
};
[[nodiscard]] Location parse_location(const std::string& text);

}  // namespace sandkey::cli
