#include "sandkey/cli/values.h"

#include "sandkey/base/error.h"
#include "sandkey/config/units.h"

#include <charconv>
#include <cstdlib>

namespace sandkey::cli {
namespace {

[[noreturn]] void refuse(std::string_view option, std::string_view text, std::string_view advice) {
  throw Error(ErrorCode::invalid_argument, "reading " + std::string(option) + ": '" + std::string(text) +
                                               "' is not " + std::string(advice));
}

}  // namespace

std::chrono::milliseconds parse_duration(std::string_view text, std::string_view option) {
  constexpr std::chrono::milliseconds kLongest{100'000'000'000};  // three years
  const auto value = duration_from_text(text);
  if (!value || *value > kLongest) refuse(option, text, "a duration; write 30s, 1500ms, 2m, 1h or 7d");
  return *value;
}

std::chrono::seconds parse_seconds(std::string_view text, std::string_view option) {
  return std::chrono::ceil<std::chrono::seconds>(parse_duration(text, option));
}

std::uint64_t parse_size(std::string_view text, std::string_view option) {
  const auto value = size_from_text(text);
  if (!value) refuse(option, text, "a size; write 512M, 1.5G or a number of bytes");
  return *value;
}

std::uint64_t parse_number(std::string_view text, std::string_view option, std::uint64_t least,
                           std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    refuse(option, text, "a number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

std::map<std::string, std::string> parse_variables(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> variables;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || text.empty()) {
      throw Error(ErrorCode::invalid_argument, "reading --env: it must be NAME=VALUE or NAME");
    }
    if (equals != std::string::npos) {
      variables[text.substr(0, equals)] = text.substr(equals + 1);
      continue;
    }
    const char* own = std::getenv(text.c_str());
    if (own == nullptr) {
      throw Error(ErrorCode::invalid_argument,
                  "reading --env: " + text + " is not set here, so give it as " + text + "=VALUE");
    }
    variables[text] = own;
  }
  return variables;
}

std::pair<std::optional<std::uint16_t>, std::uint16_t> parse_ports(std::string_view text) {
  constexpr std::uint64_t kMostPort = 65535;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return {std::nullopt, static_cast<std::uint16_t>(parse_number(text, "PORT", 1, kMostPort))};
  }
  return {static_cast<std::uint16_t>(parse_number(text.substr(0, colon), "the local port", 0, kMostPort)),
          static_cast<std::uint16_t>(parse_number(text.substr(colon + 1), "PORT", 1, kMostPort))};
}

Location parse_location(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || text.find('/') < colon) return {.path = text};
  Location there{.sid = text.substr(0, colon), .path = text.substr(colon + 1)};
  if (!there.path.starts_with('/')) {
    throw Error(ErrorCode::invalid_argument,
                "copying: the path in the sandbox must be absolute, as in " + *there.sid +
                    ":/workspace/file (a file here whose name holds a ':' is written ./" + text + ")");
  }
  return there;
}

}  // namespace sandkey::cli
