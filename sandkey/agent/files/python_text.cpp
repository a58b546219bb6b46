#include "sandkey/agent/files/python_text.h"

#include "sandkey/base/utf8.h"

#include <algorithm>
#include <system_error>

namespace sandkey::agent::files {

bool is_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view strip_right(std::string_view text) noexcept {
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0U) == 0x80U) --start;
    if (!is_space(utf8::decode(text.substr(start)).code_point)) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string_view strip(std::string_view text) noexcept {
  text = strip_right(text);
  while (!text.empty()) {
    const utf8::Decoded first = utf8::decode(text);
    if (!is_space(first.code_point)) break;
    text.remove_prefix(first.length);
  }
  return text;
}

std::string path_text(std::string_view path) {
  std::string out;
  // POSIX lets exactly two leading slashes mean something else, and Python keeps them.
  const std::size_t slashes = std::min(path.find_first_not_of('/'), path.size());
  if (slashes > 0) out = slashes == 2 ? "//" : "/";
  const std::size_t root = out.size();
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    if (!part.empty() && part != ".") {
      if (out.size() > root) out += '/';
      out += part;
    }
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return out.empty() ? "." : out;
}

std::string join_path(std::string_view directory, std::string_view path) {
  if (is_absolute(path)) return path_text(path);
  return path_text(std::string(directory) + "/" + std::string(path));
}

std::string_view file_name(std::string_view path) noexcept {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string_view suffix(std::string_view path) noexcept {
  const std::string_view name = file_name(path);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || dot == 0 || dot + 1 == name.size()) return {};
  return name.substr(dot);
}

std::string to_lower_ascii(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string repr(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x";
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 0xFU];
    } else {
      out += c;
    }
  }
  out += quote;
  return out;
}

std::string list_text(const std::vector<long long>& values) {
  std::string out = "[";
  for (const long long value : values) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(value);
  }
  return out + "]";
}

std::string os_error_text(int error_number, std::string_view path) {
  std::string out =
      "[Errno " + std::to_string(error_number) + "] " + std::generic_category().message(error_number);
  if (!path.empty()) out += ": " + repr(path);
  return out;
}

std::size_t next_line(std::string_view text, std::size_t begin) noexcept {
  const std::size_t end = text.find_first_of("\r\n", begin);
  if (end == std::string_view::npos) return text.size();
  return end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
}

}  // namespace sandkey::agent::files
