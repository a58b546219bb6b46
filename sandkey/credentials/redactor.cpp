#include "sandkey/credentials/redactor.h"

#include "sandkey/base/utf8.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace sandkey {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The characters of base64 that the value alone decides when `offset` bytes stand before it in their group.
std::string base64_within(std::string_view value, std::size_t offset) {
  std::string bytes(offset, '\0');
  bytes += value;
  std::string encoded;
  const std::size_t bits = bytes.size() * 8;
  for (std::size_t at = (offset * 8 + 5) / 6 * 6; at + 6 <= bits; at += 6) {
    unsigned six = 0;
    for (std::size_t bit = at; bit < at + 6; ++bit) {
      six = six << 1U | (static_cast<unsigned char>(bytes[bit / 8]) >> (7U - bit % 8) & 1U);
    }
    encoded += kBase64[six];
  }
  wipe(bytes.data(), bytes.size());
  return encoded;
}

std::string url_alphabet(std::string text) {
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

std::string json_escaped(std::string_view value, bool slashes) {
  std::string escaped;
  for (const char c : value) {
    if (c == '"' || c == '\\' || (slashes && c == '/')) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10U;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10U;
  return std::nullopt;
}

// How many characters of `text` spell `value`, each of them as itself or percent-encoded; nothing if they do
// not.
std::optional<std::size_t> percent_match(std::string_view text, std::string_view value) {
  std::size_t at = 0;
  for (const char wanted : value) {
    if (at >= text.size()) return std::nullopt;
    if (text[at] == '%' && at + 2 < text.size()) {
      const auto high = hex_digit(text[at + 1]);
      const auto low = hex_digit(text[at + 2]);
      if (high && low && static_cast<char>(*high << 4U | *low) == wanted) {
        at += 3;
        continue;
      }
    }
    if (text[at] != wanted) return std::nullopt;
    ++at;
  }
  return at;
}

bool key_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '+' || c == '=' ||
         c == '%' || c == '~';
}

bool looks_like_key(std::string_view word) {
  constexpr std::size_t kShortestKey = 16;
  const auto any = [&](auto test) {
    return std::any_of(word.begin(), word.end(),
                       [&](char c) { return test(static_cast<unsigned char>(c)) != 0; });
  };
  return word.size() >= kShortestKey && any([](int c) { return std::isdigit(c); }) &&
         any([](int c) { return std::isalpha(c); });
}

}  // namespace

void Redactor::add_form(std::string form) {
  if (form.size() >= kShortest &&
      std::none_of(forms_.begin(), forms_.end(), [&](const Secret& known) { return known.matches(form); })) {
    const auto place = std::find_if(forms_.begin(), forms_.end(),
                                    [&](const Secret& known) { return known.expose().size() < form.size(); });
    forms_.insert(place, Secret(form));
  }
  wipe(form.data(), form.size());
}

void Redactor::add(std::string_view secret) {
  if (secret.size() < kShortest) return;
  add_form(std::string(secret));
  add_form(json_escaped(secret, false));
  add_form(json_escaped(secret, true));
  for (std::size_t offset = 0; offset < 3; ++offset) {
    add_form(base64_within(secret, offset));
    add_form(url_alphabet(base64_within(secret, offset)));
  }
  percent_.emplace_back(secret);
}

std::string Redactor::redact(std::string_view text) const {
  std::string result;
  std::size_t at = 0;
  const bool encoded = text.find('%') != std::string_view::npos;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    std::size_t length = 0;
    for (const Secret& form : forms_) {
      if (rest.starts_with(form.expose())) {
        length = form.expose().size();
        break;
      }
    }
    if (encoded) {
      for (const Secret& value : percent_) {
        length = std::max(length, percent_match(rest, value.expose()).value_or(0));
      }
    }
    if (length == 0) {
      result += text[at++];
    } else {
      result += kRedacted;
      at += length;
    }
  }
  return result;
}

std::string redact_lookalikes(std::string_view text, std::size_t limit) {
  std::string result;
  std::size_t at = 0;
  while (at < text.size() && result.size() < limit) {
    std::size_t end = at;
    while (end < text.size() && key_character(text[end])) ++end;
    const std::string_view word = text.substr(at, end - at);
    if (!word.empty()) {
      result += looks_like_key(word) ? kRedacted : word;
      at = end;
    } else {
      const char c = text[at++];
      result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  const bool cut = at < text.size() || result.size() > limit;
  result.resize(std::min(result.size(), limit));
  result.erase(result.find_last_not_of(' ') + 1);
  result = utf8::sanitize(result);
  return cut ? result + "..." : result;
}

}  // namespace sandkey
