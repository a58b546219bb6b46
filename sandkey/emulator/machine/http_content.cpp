#include "sandkey/emulator/machine/http_content.h"

#include "sandkey/base/utf8.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <utility>

namespace sandkey::machine {
namespace {

constexpr std::string_view kBinary = "application/octet-stream";
constexpr std::string_view kText = "text/plain; charset=utf-8";

constexpr std::array<std::pair<std::string_view, std::string_view>, 22> kTypes{{
    {".avif", "image/avif"},
    {".css", "text/css; charset=utf-8"},
    {".csv", "text/csv; charset=utf-8"},
    {".gif", "image/gif"},
    {".gz", "application/gzip"},
    {".htm", "text/html; charset=utf-8"},
    {".html", "text/html; charset=utf-8"},
    {".jpeg", "image/jpeg"},
    {".jpg", "image/jpeg"},
    {".js", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".mp4", "video/mp4"},
    {".pdf", "application/pdf"},
    {".png", "image/png"},
    {".svg", "image/svg+xml"},
    {".tar", "application/x-tar"},
    {".txt", "text/plain; charset=utf-8"},
    {".wasm", "application/wasm"},
    {".webp", "image/webp"},
    {".xml", "text/xml; charset=utf-8"},
    {".zip", "application/zip"},
}};

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The part before the separator, which goes with it.
std::string_view next_part(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return trim(part);
}

// The weight of one element of an Accept-Encoding header: "gzip;q=0.5".
double weight_of(std::string_view parameters) {
  while (!parameters.empty()) {
    const std::string parameter = lower(next_part(parameters, ';'));
    if (!parameter.starts_with("q=")) continue;
    char* end = nullptr;
    const double weight = std::strtod(parameter.c_str() + 2, &end);
    return *end == '\0' && weight >= 0 && weight <= 1 ? weight : 0;
  }
  return 1;
}

bool looks_like_text(std::string_view beginning) {
  if (!utf8::is_valid(beginning.substr(0, beginning.size() - utf8::incomplete_tail(beginning)))) return false;
  return std::ranges::none_of(beginning, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f' && byte != 0x1B;
  });
}

}  // namespace

std::string content_type_of(std::string_view path, std::string_view beginning) {
  const std::size_t dot = path.rfind('.');
  if (dot != std::string_view::npos && path.find('/', dot) == std::string_view::npos) {
    const std::string extension = lower(path.substr(dot));
    for (const auto& [known, type] : kTypes) {
      if (known == extension) return std::string(type);
    }
  }
  return std::string(looks_like_text(beginning) ? kText : kBinary);
}

RangeChoice choose_range(std::string_view header, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) return {};
  header.remove_prefix(kUnit.size());
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos || header.find(',') != std::string_view::npos) return {};
  const std::string_view from = trim(header.substr(0, dash));
  const std::string_view to = trim(header.substr(dash + 1));
  const auto first = number_of(from);
  const auto last = number_of(to);
  if (from.empty()) {
    if (!last) return {};
    const std::uint64_t length = std::min(*last, size);
    if (length == 0) return {.bytes = std::nullopt, .unsatisfiable = true};
    return {.bytes = ByteRange{.first = size - length, .length = length}};
  }
  if (!first || (!to.empty() && !last) || (last && *last < *first)) return {};
  if (*first >= size) return {.bytes = std::nullopt, .unsatisfiable = true};
  const std::uint64_t end = last ? std::min(*last, size - 1) : size - 1;
  return {.bytes = ByteRange{.first = *first, .length = end - *first + 1}};
}

std::string http_date(std::chrono::sys_seconds time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 40> text{};
  // Names of days and months in the C locale, which is ours: nobody calls setlocale.
  const std::size_t size = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text.data(), size};
}

std::optional<std::chrono::sys_seconds> parse_http_date(std::string_view text) {
  std::tm parts{};
  const std::string copy(text);
  const char* const end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&parts)));
}

std::optional<Encoding> choose_encoding(std::string_view accept) {
  if (trim(accept).empty()) return Encoding::identity;
  std::optional<double> gzip;
  std::optional<double> identity;
  std::optional<double> any;
  while (!accept.empty()) {
    std::string_view element = next_part(accept, ',');
    const std::string name = lower(next_part(element, ';'));
    const double weight = weight_of(element);
    if (name == "gzip" || name == "x-gzip") gzip = weight;
    if (name == "identity") identity = weight;
    if (name == "*") any = weight;
  }
  // What is not named is taken as `*` says, and identity also where nothing is said.
  const double for_gzip = gzip.value_or(any.value_or(0));
  const double for_identity = identity.value_or(any.value_or(gzip && *gzip > 0 ? 0.0001 : 1));
  if (for_gzip > 0 && gzip && for_gzip >= for_identity) return Encoding::gzip;
  if (for_identity > 0) return Encoding::identity;
  if (for_gzip > 0) return Encoding::gzip;
  return std::nullopt;
}

}  // namespace sandkey::machine
