#include "sandkey/providers/modal/tags.h"

#include "sandkey/accounts/rest_answer.h"

#include <boost/json/array.hpp>
#include <fmt/format.h>

#include <string_view>

namespace sandkey::modal {
namespace {

constexpr std::size_t kLongest = 63;

bool stands_for_itself(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// Never empty, which a tag must not be.
std::string encoded(std::string_view text) {
  std::string code;
  for (const char c : text) {
    if (stands_for_itself(c)) {
      code += c;
    } else {
      code += fmt::format(".{:02X}", static_cast<unsigned char>(c));
    }
  }
  return code.empty() ? "." : code;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decoded(std::string_view code) {
  if (code == ".") return {};
  std::string text;
  for (std::size_t i = 0; i < code.size(); ++i) {
    if (code[i] == '.' && i + 2 < code.size() && digit(code[i + 1]) >= 0 && digit(code[i + 2]) >= 0) {
      text += static_cast<char>(digit(code[i + 1]) * 16 + digit(code[i + 2]));
      i += 2;
    } else {
      text += code[i];
    }
  }
  return text;
}

std::string part_name(const std::string& name, std::size_t part) {
  return part == 0 ? name : fmt::format("{}.{}", name, part);
}

}  // namespace

std::map<std::string, std::string> to_tags(const Labels& labels) {
  std::map<std::string, std::string> tags;
  for (const auto& [name, value] : labels) {
    const std::string code = encoded(value);
    for (std::size_t at = 0, part = 0; at < code.size(); at += kLongest, ++part) {
      tags[part_name(name, part)] = code.substr(at, kLongest);
    }
  }
  return tags;
}

Labels labels_of(const std::map<std::string, std::string>& tags) {
  Labels labels;
  for (const auto& [name, first] : tags) {
    if (name.find('.') != std::string::npos) continue;  // a part of another, or none of ours
    std::string code = first;
    for (std::size_t part = 1;; ++part) {
      const auto more = tags.find(part_name(name, part));
      if (more == tags.end()) break;
      code += more->second;
    }
    labels[name] = decoded(code);
  }
  return labels;
}

json::array to_json(const std::map<std::string, std::string>& tags) {
  json::array list;
  for (const auto& [name, value] : tags)
    list.push_back(json::object{{"tag_name", name}, {"tag_value", value}});
  return list;
}

std::map<std::string, std::string> tags_in(const json::object& message) {
  std::map<std::string, std::string> tags;
  const json::value* list = find(message, "tags");
  if (list == nullptr || !list->is_array()) return tags;
  for (const json::value& tag : list->get_array()) {
    if (!tag.is_object()) continue;
    tags[text_of(tag.get_object(), "tag_name")] = text_of(tag.get_object(), "tag_value");
  }
  return tags;
}

}  // namespace sandkey::modal
