#include "sandkey/providers/modal/credential_spec.h"

#include "sandkey/base/error.h"
#include "sandkey/config/toml_document.h"

#include <fmt/format.h>

namespace sandkey::modal {
namespace {

std::optional<std::filesystem::path> cli_file(const Environment& environment) {
  if (const auto own = nonempty_variable(environment, "MODAL_CONFIG_PATH"))
    return std::filesystem::path(*own);
  const auto home = nonempty_variable(environment, "HOME");
  if (!home) return std::nullopt;
  return std::filesystem::path(*home) / ".modal.toml";
}

// The text of that key, if it is there; what is wrong with it, if anything is.
std::string read_text(const TomlValue& profile, std::string_view key, std::optional<std::string>& text) {
  const TomlValue* value = profile.find(key);
  if (value == nullptr) return {};
  if (!value->is(TomlValue::Type::text)) {
    return fmt::format("has, in line {}, a {} that is no text", value->line, key);
  }
  text = value->text;
  return {};
}

Offer offer_of_profile(const TomlValue& profile) {
  Offer offer;
  for (const char* key : {"token_id", "token_secret", "server_url", "environment"}) {
    std::optional<std::string> text;
    if (std::string problem = read_text(profile, key, text); !problem.empty()) {
      return Offer::broken(std::move(problem));
    }
    if (!text || text->empty()) continue;
    const std::string name = key;
    const std::string label = fmt::format("{} of profile '{}'", key, shown_key(profile.key));
    if (name == "server_url") {
      offer.endpoints[name] = {*text, label};
    } else if (name == "environment") {
      offer.settings[name] = {*text, label};
    } else {
      offer.parts[name] = {Secret(*text), label, {}};
    }
  }
  if (offer.parts.empty()) {
    return Offer::nothing(fmt::format("has no token in its profile '{}'", shown_key(profile.key)));
  }
  return offer;
}

}  // namespace

Offer parse_cli_file(std::string_view bytes, const Environment& environment,
                     std::chrono::system_clock::time_point) {
  TomlValue document;
  try {
    document = parse_toml(bytes, "line");
  } catch (const Error& error) {
    return Offer::broken(std::string("is broken: ") + error.what());
  }
  const TomlValue* active = nullptr;
  for (const TomlValue& profile : document.items) {
    if (!profile.is(TomlValue::Type::table)) {
      return Offer::broken(fmt::format("has, in line {}, a key outside every profile", profile.line));
    }
    const TomlValue* mark = profile.find("active");
    if (mark == nullptr || !mark->is(TomlValue::Type::boolean) || !mark->boolean) continue;
    if (active != nullptr) {
      return Offer::broken(
          fmt::format("has two active profiles, '{}' and '{}'; run: modal profile activate NAME",
                      shown_key(active->key), shown_key(profile.key)));
    }
    active = &profile;
  }
  if (const auto wanted = nonempty_variable(environment, "MODAL_PROFILE")) {
    const TomlValue* profile = document.find(*wanted);
    if (profile == nullptr) {
      return Offer::broken(
          fmt::format("has no profile '{}', which $MODAL_PROFILE names", shown_key(*wanted)));
    }
    return offer_of_profile(*profile);
  }
  if (active == nullptr) active = document.find("default");
  if (active != nullptr) return offer_of_profile(*active);
  if (document.items.empty()) return Offer::nothing("has no profile");
  return Offer::nothing("has no active profile; run: modal profile activate NAME");
}

const CredentialSpec& credential_spec() {
  static const CredentialSpec spec{
      .provider = "modal",
      .forms = {{"a token",
                 {{.name = "token_id",
                   .config_key = "modal_api_token_id",
                   .variables = {"MODAL_TOKEN_ID", "MODAL_API_TOKEN_ID"},
                   .usual_prefixes = {"ak-"}},
                  {.name = "token_secret",
                   .config_key = "modal_api_token_secret",
                   .variables = {"MODAL_TOKEN_SECRET", "MODAL_API_TOKEN_SECRET"},
                   .usual_prefixes = {"as-"}}}}},
      .endpoints = {{.name = "server_url",
                     .config_key = "modal_server_url",
                     .variables = {"MODAL_SERVER_URL"},
                     .default_value = "https://api.modal.com",
                     .list = true}},
      .settings = {{.name = "environment",
                    .config_key = "modal_environment",
                    .variables = {"MODAL_ENVIRONMENT"}}},
      .vendor_files = {{"the Modal CLI", cli_file, parse_cli_file}},
      .keys_page = "https://modal.com/settings/tokens",
  };
  return spec;
}

}  // namespace sandkey::modal
