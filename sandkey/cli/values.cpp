#include "sandkey/cli/values.h"

#include "sandkey/base/error.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

namespace sandkey::cli {
namespace {

[[noreturn]] void refuse(std::string_view option, std::string_view text, std::string_view advice) {
  throw Error(ErrorCode::invalid_argument, "reading " + std::string(option) + ": '" + std::string(text) +
                                               "' is not " + std::string(advice));
}

// A positive number and what stands behind it.
std::optional<std::pair<double, std::string_view>> split_unit(std::string_view text) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(value) || value <= 0) return std::nullopt;
  return std::pair{value, text.substr(static_cast<std::size_t>(end - text.data()))};
}

}  // namespace

std::chrono::milliseconds parse_duration(std::string_view text, std::string_view option) {
  constexpr double kLongest = 1e11;  // three years
  constexpr std::string_view kAdvice = "a duration; write 30s, 1500ms, 2m, 1h or 7d";
  const auto parts = split_unit(text);
  if (!parts) refuse(option, text, kAdvice);
  const auto [value, unit] = *parts;
  const double factor = unit.empty() || unit == "s" ? 1e3
                        : unit == "ms"              ? 1
                        : unit == "m"               ? 6e4
                        : unit == "h"               ? 3.6e6
                        : unit == "d"               ? 8.64e7
                                                    : 0;
  const double total = value * factor;
  if (factor == 0 || total < 1 || total > kLongest) refuse(option, text, kAdvice);
  return std::chrono::milliseconds(static_cast<std::int64_t>(total));
}

std::chrono::seconds parse_seconds(std::string_view text, std::string_view option) {
  return std::chrono::ceil<std::chrono::seconds>(parse_duration(text, option));
}

std::uint64_t parse_size(std::string_view text, std::string_view option) {
  constexpr std::string_view kAdvice = "a size; write 512M, 1.5G or a number of bytes";
  constexpr double kLargest = 9e18;
  const auto parts = split_unit(text);
  if (!parts) refuse(option, text, kAdvice);
  auto [value, unit] = *parts;
  if (unit.ends_with("iB")) {
    unit.remove_suffix(2);
  } else if (unit.size() > 1 && unit.ends_with('B')) {
    unit.remove_suffix(1);
  }
  const double factor = unit.empty() || unit == "B"  ? 1
                        : unit == "k" || unit == "K" ? 0x1p10
                        : unit == "m" || unit == "M" ? 0x1p20
                        : unit == "g" || unit == "G" ? 0x1p30
                        : unit == "t" || unit == "T" ? 0x1p40
                                                     : 0;
  const double total = value * factor;
  if (factor == 0 || total < 1 || total > kLargest) refuse(option, text, kAdvice);
  return static_cast<std::uint64_t>(total);
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
