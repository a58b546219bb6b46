#include "sandkey/providers/e2b/emulator/listing.h"

#include "sandkey/base/base64.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/api_error.h"

#include <algorithm>
#include <charconv>
#include <ctime>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kSeparator = "__";
constexpr std::string_view kAscending = "__asc";

std::string unescape(std::string_view text) {
  auto decoded = net::percent_decode(text, true);
  if (!decoded) throw ApiError(400, "Error parsing metadata: invalid URL escape");
  return std::move(*decoded);
}

// `digits` digits at the front of the text, taken off it.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
  int number = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  text.remove_prefix(digits);
  return number;
}

bool take(std::string_view& text, std::string_view one_of) {
  if (text.empty() || one_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::chrono::nanoseconds> take_fraction(std::string_view& text) {
  std::chrono::nanoseconds::rep fraction = 0;
  if (!take(text, ".")) return std::chrono::nanoseconds(0);
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > 9) return std::nullopt;
  for (std::size_t i = 0; i < 9; ++i) fraction = fraction * 10 + (i < digits ? text[i] - '0' : 0);
  text.remove_prefix(digits);
  return std::chrono::nanoseconds(fraction);
}

std::optional<std::chrono::minutes> take_offset(std::string_view& text) {
  if (take(text, "Zz")) return std::chrono::minutes(0);
  const bool west = text.starts_with('-');
  if (!take(text, "+-")) return std::nullopt;
  const auto hours = take_number(text, 2);
  if (!hours || !take(text, ":")) return std::nullopt;
  const auto minutes = take_number(text, 2);
  if (!minutes) return std::nullopt;
  const std::chrono::minutes offset(*hours * 60 + *minutes);
  return west ? -offset : offset;
}

}  // namespace

std::map<std::string, std::string> parse_metadata_filter(std::string_view value) {
  std::map<std::string, std::string> filter;
  const std::string query = unescape(value);
  std::string_view rest = query;
  while (true) {
    const std::size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || pair.find('=', equals + 1) != std::string_view::npos) {
      throw ApiError(400, "Error parsing metadata: invalid key value pair in query");
    }
    filter[unescape(pair.substr(0, equals))] = unescape(pair.substr(equals + 1));
    if (end == std::string_view::npos) return filter;
    rest.remove_prefix(end + 1);
  }
}

bool matches(const std::map<std::string, std::string>& filter,
             const std::map<std::string, std::string>& metadata) {
  return std::ranges::all_of(filter, [&](const auto& wanted) {
    const auto found = metadata.find(wanted.first);
    return found != metadata.end() && found->second == wanted.second;
  });
}

std::string write_page_token(const PageToken& token, bool ascending) {
  std::string text = emu::to_rfc3339(token.time);
  text.append(kSeparator).append(token.id);
  if (ascending) text.append(kAscending);
  std::string encoded = base64_encode(text);
  for (char& c : encoded) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return encoded;
}

PageToken read_page_token(std::string_view text, bool ascending) {
  const ApiError invalid(400, "Invalid next token");
  std::string standard(text);
  for (char& c : standard) c = c == '-' ? '+' : c == '_' ? '/' : c;
  const auto decoded = base64_decode(standard);
  if (!decoded) throw invalid;
  std::string_view rest = *decoded;
  if (rest.ends_with(kAscending) != ascending) throw invalid;
  if (ascending) rest.remove_suffix(kAscending.size());
  const std::size_t separator = rest.find(kSeparator);
  if (separator == std::string_view::npos) throw invalid;
  const auto time = parse_rfc3339(rest.substr(0, separator));
  const std::string_view id = rest.substr(separator + kSeparator.size());
  if (!time || id.empty()) throw invalid;
  return {.time = *time, .id = std::string(id)};
}

std::optional<emu::Time> parse_rfc3339(std::string_view text) {
  const auto year = take_number(text, 4);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = take_number(text, 2);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = take_number(text, 2);
  if (!day || !take(text, "Tt ")) return std::nullopt;
  const auto hour = take_number(text, 2);
  if (!hour || !take(text, ":")) return std::nullopt;
  const auto minute = take_number(text, 2);
  if (!minute || !take(text, ":")) return std::nullopt;
  const auto second = take_number(text, 2);
  const auto fraction = take_fraction(text);
  const auto offset = take_offset(text);
  if (!second || !fraction || !offset || !text.empty()) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  if (*year < 1700 || *year > 2250) return std::nullopt;  // the clock does not count that far
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + *fraction - *offset;
}

}  // namespace sandkey::e2b::emulator
