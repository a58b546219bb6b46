#include "sandkey/providers/daytona/emulator/toolbox/file_info.h"

#include "sandkey/base/percent.h"
#include "sandkey/base/utf8.h"
#include "sandkey/emulator/machine/file_text.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <vector>

namespace sandkey::daytona_toolbox {
namespace {

std::string octal(unsigned mode) {
  std::array<char, 16> text{};
  (void)std::snprintf(text.data(), text.size(), "%04o", mode & 0777U);
  return text.data();
}

// As Go prints a time: "2026-01-31 09:08:07.5 +0000 UTC".
std::string go_print(const std::string& time) {
  std::string text = time;
  text[text.find('T')] = ' ';
  text.pop_back();
  return text + " +0000 UTC";
}

// What a header can hold between quotes: letters beyond Latin-1 become '?', as do control characters.
std::string latin1_fallback(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (size == 2 && lead <= 0xC3 && at + 1 < text.size()) {
      out += static_cast<char>(((lead & 0x03U) << 6U) | (static_cast<unsigned char>(text[at + 1]) & 0x3FU));
    } else if (size > 1 || lead < 0x20 || lead == 0x7F) {
      out += '?';
    } else {
      if (lead == '"' || lead == '\\') out += '\\';
      out += text[at];
    }
    at += size;
  }
  return out;
}

}  // namespace

json::object file_info(const std::string& path, const RemoteEntry& entry) {
  const std::string modified = go_time(std::chrono::sys_time<std::chrono::nanoseconds>(entry.modified));
  json::object info;
  info["name"] = utf8::sanitize(machine::base_name(path));
  info["path"] = utf8::sanitize(path);
  info["size"] = entry.size;
  info["mode"] = machine::go_permissions(entry.type, entry.mode);
  info["modTime"] = go_print(modified);
  info["modifiedAt"] = modified;
  info["isDir"] = entry.type == RemoteEntry::Type::directory;
  info["owner"] = std::to_string(entry.uid);
  info["group"] = std::to_string(entry.gid);
  info["permissions"] = octal(entry.mode);
  return info;
}

std::string part_head(std::string_view name, std::string_view filename, std::string_view content_type,
                      std::string_view more) {
  std::string head = "Content-Disposition: form-data; name=\"";
  head.append(name).append("\"; filename=\"").append(latin1_fallback(filename));
  head.append("\"; filename*=utf-8''").append(percent_encode(filename));
  head.append("\r\nContent-Type: ").append(content_type).append("\r\n").append(more);
  return head.append("\r\n");
}

UploadField upload_field(std::string_view name) {
  constexpr std::string_view kBegin = "files[";
  if (!name.starts_with(kBegin)) return {};
  name.remove_prefix(kBegin.size());
  const std::size_t end = name.find(']');
  if (end == std::string_view::npos) return {};
  const std::string index(name.substr(0, end));
  const std::string_view kind = name.substr(end + 1);
  if (kind == ".path") return {.kind = UploadField::Kind::path, .index = index};
  if (kind == ".file") return {.kind = UploadField::Kind::file, .index = index};
  return {};
}

std::string replaced(std::string_view text, std::string_view pattern, std::string_view value) {
  if (pattern.empty()) return std::string(text);
  std::string out;
  while (true) {
    const std::size_t found = text.find(pattern);
    if (found == std::string_view::npos) return out.append(text);
    out.append(text.substr(0, found)).append(value);
    text.remove_prefix(found + pattern.size());
  }
}

json::array parse_matches(std::string_view output) {
  json::array matches;
  while (!output.empty()) {
    const std::size_t zero = output.find('\0');
    if (zero == std::string_view::npos) break;
    const std::string_view file = output.substr(0, zero);
    output.remove_prefix(zero + 1);
    const std::size_t end = std::min(output.find('\n'), output.size());
    const std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    std::uint64_t number = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), number);
    const auto digits = static_cast<std::size_t>(rest - line.data());
    if (error != std::errc() || digits == line.size() || *rest != ':') continue;
    json::object match;
    match["file"] = utf8::sanitize(file);
    match["line"] = number;
    match["content"] = utf8::sanitize(line.substr(digits + 1));
    matches.push_back(std::move(match));
  }
  return matches;
}

json::array parse_paths(std::string_view output) {
  std::vector<std::string> paths;
  while (!output.empty()) {
    const std::size_t end = std::min(output.find('\0'), output.size());
    paths.push_back(utf8::sanitize(output.substr(0, end)));
    output.remove_prefix(std::min(end + 1, output.size()));
  }
  std::ranges::sort(paths);
  json::array made;
  for (std::string& path : paths) made.emplace_back(std::move(path));
  return made;
}

}  // namespace sandkey::daytona_toolbox
