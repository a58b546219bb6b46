#include "sandkey/providers/e2b/emulator/listing.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/percent.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/api_error.h"

#include <algorithm>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kSeparator = "__";
constexpr std::string_view kAscending = "__asc";

std::string unescape(std::string_view text) {
  auto decoded = percent_decode(text, true);
  if (!decoded) throw ApiError(400, "Error parsing metadata: invalid URL escape");
  return std::move(*decoded);
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
  const auto time = emu::parse_rfc3339(rest.substr(0, separator));
  const std::string_view id = rest.substr(separator + kSeparator.size());
  if (!time || id.empty()) throw invalid;
  return {.time = *time, .id = std::string(id)};
}

}  // namespace sandkey::e2b::emulator
