// Replaces secrets in events. Internal to this folder.
#pragma once

#include "sandkey/base/secret.h"
#include "sandkey/events/event.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::events_detail {

inline constexpr std::string_view kSecretHidden = "<secret_hidden>";

class SecretMask {
 public:
  explicit SecretMask(const std::map<std::string, Secret>& secrets);

  // In every string of the body, the content and the metadata. Not in type names, enumerators, time and
  // source.
  void apply(Event& event) const;

 private:
  void apply(std::string& text) const;
  void apply(json::value& value) const;
  void apply(json::object& object) const;
  void apply_to_text(json::string& text) const;
  struct Field;

  std::vector<Secret> secrets_;
};

}  // namespace sandkey::events_detail
