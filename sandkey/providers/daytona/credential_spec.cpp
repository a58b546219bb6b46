#include "sandkey/providers/daytona/credential_spec.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/credentials/helper_command.h"

namespace sandkey::daytona {
namespace {

constexpr std::string_view kLogin = "; log in anew: daytona login";

std::optional<std::filesystem::path> cli_file(const Environment& environment) {
  if (const auto own = nonempty_variable(environment, "DAYTONA_CONFIG_DIR")) {
    return std::filesystem::path(*own) / "config.json";
  }
  if (const auto xdg = nonempty_variable(environment, "XDG_CONFIG_HOME")) {
    return std::filesystem::path(*xdg) / "daytona" / "config.json";
  }
  const auto home = nonempty_variable(environment, "HOME");
  if (!home) return std::nullopt;
  return std::filesystem::path(*home) / ".config" / "daytona" / "config.json";
}

Offer broken(std::string_view what) {
  return Offer::broken(std::string(what) + std::string(kLogin));
}

// The member that is a text, null or absent; false for anything else.
bool optional_text(const json::object& object, std::string_view key, std::string_view& text) {
  const json::value* value = find(object, key);
  if (value == nullptr || value->is_null()) return true;
  if (!value->is_string()) return false;
  text = value->get_string();
  return true;
}

Offer offer_of_profile(const json::object& profile, std::chrono::system_clock::time_point now) {
  const json::value* api_value = find(profile, "api");
  if (api_value == nullptr || !api_value->is_object())
    return broken("has an active profile without an \"api\"");
  const json::object& api = api_value->get_object();
  std::string_view url;
  std::string_view key;
  std::string_view organization;
  if (!optional_text(api, "url", url)) return broken("has an \"api.url\" that is no text");
  if (!optional_text(api, "key", key)) return broken("has an \"api.key\" that is no text");
  if (!optional_text(profile, "activeOrganizationId", organization)) {
    return broken("has an \"activeOrganizationId\" that is no text");
  }
  Offer offer;
  if (!url.empty()) offer.endpoints["api_url"] = {std::string(url), "api.url"};
  if (!key.empty()) {
    offer.parts["api_key"] = {Secret(key), "api.key", {}};
    return offer;
  }
  const json::value* token_value = find(api, "token");
  if (token_value == nullptr || token_value->is_null()) {
    return Offer::nothing("has neither key nor token in its active profile");
  }
  if (!token_value->is_object()) return broken("has an \"api.token\" that is no object");
  const json::object& token = token_value->get_object();
  std::string_view access;
  std::string_view expiry;
  if (!optional_text(token, "accessToken", access) || access.empty()) {
    return broken("has an \"api.token\" without an \"accessToken\"");
  }
  if (!optional_text(token, "expiresAt", expiry)) return broken("has an \"expiresAt\" that is no text");
  if (!expiry.empty()) {
    offer.expires_at = time_from_text(expiry);
    if (!offer.expires_at) return broken("has an \"expiresAt\" that is no time");
    if (*offer.expires_at <= now) return broken("has a login that has expired");
  }
  if (organization.empty()) {
    return Offer::broken(
        "has a login, but no active organization, which it needs; choose one: daytona organization use");
  }
  offer.parts["jwt_token"] = {Secret(access), "api.token.accessToken", {}};
  offer.parts["organization_id"] = {Secret(organization), "activeOrganizationId", {}};
  return offer;
}

}  // namespace

Offer parse_cli_file(std::string_view bytes, const Environment&, std::chrono::system_clock::time_point now) {
  json::value document;
  try {
    document = parse_json(bytes, "it");
  } catch (const Error&) {
    return broken("is not valid JSON");
  }
  if (!document.is_object()) return broken("holds no JSON object");
  const json::object& object = document.get_object();
  std::string_view active;
  if (!optional_text(object, "activeProfile", active))
    return broken("has an \"activeProfile\" that is no text");
  const json::value* profiles = find(object, "profiles");
  if (profiles == nullptr || profiles->is_null()) return Offer::nothing("has no profiles");
  if (!profiles->is_array()) return broken("has \"profiles\" that are no list");
  if (active.empty()) return Offer::nothing("has no active profile");
  for (const json::value& profile : profiles->get_array()) {
    if (!profile.is_object() || find_string(profile.get_object(), "id") != active) continue;
    return offer_of_profile(profile.get_object(), now);
  }
  return broken("names an active profile that it does not have");
}

const CredentialSpec& credential_spec() {
  static const CredentialSpec spec{
      .provider = "daytona",
      .forms =
          {{"an API key",
            {{.name = "api_key",
              .config_key = "daytona_api_key",
              .variables = {"DAYTONA_API_KEY"},
              .usual_prefixes = {"dtn_"}}}},
           {"a token with its organization",
            {{.name = "jwt_token", .config_key = "daytona_jwt_token", .variables = {"DAYTONA_JWT_TOKEN"}},
             {.name = "organization_id",
              .config_key = "daytona_organization_id",
              .variables = {"DAYTONA_ORGANIZATION_ID"},
              .secret = false}}}},
      .endpoints = {{.name = "api_url",
                     .config_key = "daytona_api_url",
                     .variables = {"DAYTONA_API_URL", "DAYTONA_SERVER_URL"},
                     .default_value = "https://app.daytona.io/api"}},
      .settings = {{.name = "target", .config_key = "daytona_target", .variables = {"DAYTONA_TARGET"}}},
      .vendor_files = {{"the Daytona CLI", cli_file, parse_cli_file}},
      .keys_page = "https://app.daytona.io/dashboard/keys",
  };
  return spec;
}

}  // namespace sandkey::daytona
