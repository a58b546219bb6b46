#include "sandkey/events/secret_mask.h"

#include "sandkey/events/fields.h"

#include <boost/json/array.hpp>

#include <algorithm>

namespace sandkey::events_detail {

struct SecretMask::Field {
  const SecretMask& mask;

  template <class T>
  void operator()(std::string_view, T& member, Need = Need::optional) {
    visit(member);
  }

  void visit(std::string& it) { mask.apply(it); }
  void visit(json::object& it) { mask.apply(it); }
  void visit(json::array& it) {
    for (json::value& item : it) mask.apply(item);
  }
  void visit(LineArgument& it) {
    if (auto* text = std::get_if<std::string>(&it)) mask.apply(*text);
  }
  template <class T>
  void visit(std::optional<T>& it) {
    if (it) visit(*it);
  }
  template <class T>
  void visit(std::vector<T>& it) {
    for (T& item : it) visit(item);
  }
  void visit(CmdOutputMetadata& it) { for_each_field(it, *this); }
  void visit(MicroagentKnowledge& it) { for_each_field(it, *this); }
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void visit(T&) {}
};

SecretMask::SecretMask(const std::map<std::string, Secret>& secrets) {
  for (const auto& [name, secret] : secrets) {
    if (!secret.empty()) secrets_.push_back(secret.clone());
  }
}

void SecretMask::apply(Event& event) const {
  if (secrets_.empty()) return;
  EventHeader& head = header(event);
  apply(head.tool_call_metadata);
  apply(head.llm_metrics);
  Field field{*this};
  if (auto* observation = std::get_if<Observation>(&event)) apply(observation->content);
  std::visit(
      [&field](auto& it) { std::visit([&field](auto& body) { for_each_field(body, field); }, it.body); },
      event);
}

void SecretMask::apply(std::string& text) const {
  // All places first, and those that overlap as one: replacing one secret after the other would leave the
  // rest of a longer one behind, or find one in the replacement of another.
  std::vector<std::pair<std::size_t, std::size_t>> places;
  for (const Secret& secret : secrets_) {
    const std::string_view value = secret.expose();
    for (std::size_t at = text.find(value); at != std::string::npos; at = text.find(value, at + 1)) {
      places.emplace_back(at, at + value.size());
    }
  }
  if (places.empty()) return;
  std::sort(places.begin(), places.end());
  std::string out;
  std::size_t done = 0;
  for (auto place = places.begin(); place != places.end();) {
    const std::size_t begin = place->first;
    std::size_t end = place->second;
    while (++place != places.end() && place->first < end) end = std::max(end, place->second);
    out.append(text, done, begin - done).append(kSecretHidden);
    done = end;
  }
  out.append(text, done);
  text = std::move(out);
}

void SecretMask::apply_to_text(json::string& text) const {
  std::string copy(text);
  apply(copy);
  if (copy != std::string_view(text)) text = copy;
}

void SecretMask::apply(json::value& value) const {
  if (value.is_string()) {
    apply_to_text(value.get_string());
  } else if (value.is_array()) {
    for (json::value& item : value.get_array()) apply(item);
  } else if (value.is_object()) {
    apply(value.get_object());
  }
}

void SecretMask::apply(json::object& object) const {
  json::object out;
  out.reserve(object.size());
  for (auto& member : object) {
    std::string key(member.key());
    apply(key);
    apply(member.value());
    out.insert_or_assign(key, std::move(member.value()));
  }
  object = std::move(out);
}

}  // namespace sandkey::events_detail
