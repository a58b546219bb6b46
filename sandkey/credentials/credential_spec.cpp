#include "sandkey/credentials/credential_spec.h"

namespace sandkey {

std::string usual_address(const CredentialSpec& spec) {
  if (spec.endpoints.empty()) return {};
  std::string text(spec.endpoints.front().default_value);
  for (const EndpointSpec& endpoint : spec.endpoints) {
    const std::string mark = "{" + std::string(endpoint.name) + "}";
    const std::size_t at = text.find(mark);
    if (at != std::string::npos) text.replace(at, mark.size(), endpoint.default_value);
  }
  return text;
}

std::vector<ConfigField> config_fields(const CredentialSpec& spec) {
  std::vector<ConfigField> fields;
  const auto add = [&](std::string_view key, bool secret, std::string_view meaning) {
    if (!key.empty()) fields.push_back({key, secret, meaning});
  };
  for (const FormSpec& form : spec.forms) {
    for (const PartSpec& part : form.parts) add(part.config_key, part.secret, form.name);
  }
  for (const EndpointSpec& endpoint : spec.endpoints) add(endpoint.config_key, false, "where it is sent to");
  for (const SettingSpec& setting : spec.settings) add(setting.config_key, false, setting.name);
  return fields;
}

}  // namespace sandkey
