#include "sandkey/config/units.h"

#include <charconv>
#include <cmath>
#include <utility>

namespace sandkey {
namespace {

// A positive number and what stands behind it.
std::optional<std::pair<double, std::string_view>> split_unit(std::string_view text) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(value) || value <= 0) return std::nullopt;
  return std::pair{value, text.substr(static_cast<std::size_t>(end - text.data()))};
}

}  // namespace

std::optional<std::chrono::milliseconds> duration_from_text(std::string_view text) {
  constexpr double kLongest = 1e12;  // thirty years
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  const auto [value, unit] = *parts;
  const double factor = unit.empty() || unit == "s" ? 1e3
                        : unit == "ms"              ? 1
                        : unit == "m"               ? 6e4
                        : unit == "h"               ? 3.6e6
                        : unit == "d"               ? 8.64e7
                                                    : 0;
  const double total = value * factor;
  if (total < 1 || total > kLongest) return std::nullopt;
  return std::chrono::milliseconds(static_cast<std::int64_t>(total));
}

std::optional<std::uint64_t> size_from_text(std::string_view text) {
  constexpr double kLargest = 9e18;
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
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
  if (total < 1 || total > kLargest) return std::nullopt;
  return static_cast<std::uint64_t>(total);
}

}  // namespace sandkey
