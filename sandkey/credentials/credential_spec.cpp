#include "sandkey/credentials/credential_spec.h"

namespace sandkey {

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
