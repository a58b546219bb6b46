#include "sandkey/providers/modal/web_token.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"

#include <string>

namespace sandkey::modal {

std::optional<std::chrono::system_clock::time_point> expiry_of(std::string_view web_token) {
  const std::size_t first = web_token.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = web_token.find('.', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  std::string claims(web_token.substr(first + 1, second - first - 1));
  for (char& c : claims) {
    if (c == '-') c = '+';
    if (c == '_') c = '/';
  }
  const std::optional<std::string> text = base64_decode(claims);
  if (!text) return std::nullopt;
  try {
    const json::value value = parse_json(*text, "a web token");
    if (!value.is_object()) return std::nullopt;
    const std::optional<double> seconds = find_number(value.get_object(), "exp");
    constexpr double kLast = 4102444800;  // the year 2100
    if (!seconds || !(*seconds >= 0 && *seconds <= kLast)) return std::nullopt;
    return std::chrono::system_clock::time_point(std::chrono::seconds(static_cast<long long>(*seconds)));
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace sandkey::modal
