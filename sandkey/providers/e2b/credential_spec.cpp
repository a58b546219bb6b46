#include "sandkey/providers/e2b/credential_spec.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"

namespace sandkey::e2b {
namespace {

std::optional<std::filesystem::path> cli_file(const Environment& environment) {
  const auto home = nonempty_variable(environment, "HOME");
  if (!home) return std::nullopt;
  return std::filesystem::path(*home) / ".e2b" / "config.json";
}

// The first of these keys that has a text in it.
std::optional<std::string_view> first_of(const json::object& object,
                                         std::initializer_list<std::string_view> keys, Offer& offer) {
  for (const std::string_view key : keys) {
    const json::value* value = find(object, key);
    if (value == nullptr || value->is_null()) continue;
    if (!value->is_string()) {
      offer = Offer::broken("has a " + std::string(key) + " that is no text; log in anew: e2b auth login");
      return std::nullopt;
    }
    if (!value->get_string().empty()) {
      offer.parts["api_key"] = {Secret(std::string_view(value->get_string())), std::string(key), {}};
      return key;
    }
  }
  offer = Offer::nothing("has no key of a project");
  return std::nullopt;
}

}  // namespace

Offer parse_cli_file(std::string_view bytes, const Environment&, std::chrono::system_clock::time_point) {
  constexpr long long kNewestVersion = 2;
  json::value document;
  try {
    document = parse_json(bytes, "it");
  } catch (const Error&) {
    return Offer::broken("is not valid JSON; log in anew: e2b auth login");
  }
  if (!document.is_object()) return Offer::broken("holds no JSON object; log in anew: e2b auth login");
  const json::object& object = document.get_object();
  const json::value* version = find(object, "version");
  Offer offer;
  if (version == nullptr) {
    if (first_of(object, {"teamApiKey", "defaultTeamApiKey"}, offer)) {
      offer.notes.emplace_back(
          "the E2B CLI's file is of an old form, which the CLI itself takes for logged out; its key may be "
          "outdated");
    }
    return offer;
  }
  const auto number = find_integer(object, "version");
  if (!number || *number < 1) return Offer::broken("has a version that is none; log in anew: e2b auth login");
  if (*number > kNewestVersion) {
    // Newer than this program: fine as long as what we need is where it was.
    if (first_of(object, {"projectApiKey"}, offer)) {
      offer.notes.emplace_back("the E2B CLI's file is of a newer form than this program knows");
    }
    return offer;
  }
  if (*number == 1) {
    (void)first_of(object, {"teamApiKey"}, offer);
  } else {
    (void)first_of(object, {"projectApiKey"}, offer);
  }
  return offer;
}

const CredentialSpec& credential_spec() {
  static const CredentialSpec spec{
      .provider = "e2b",
      .forms = {{"an API key",
                 {{.name = "api_key",
                   .config_key = "e2b_api_key",
                   .variables = {"E2B_API_KEY"},
                   .usual_prefixes = {"e2b_"}}}}},
      .endpoints = {{.name = "api_url",
                     .config_key = "e2b_api_url",
                     .variables = {"E2B_API_URL"},
                     .default_value = "https://api.{domain}"},
                    {.name = "sandbox_url",
                     .config_key = "e2b_sandbox_url",
                     .variables = {"E2B_SANDBOX_URL"},
                     .default_value = ""},
                    {.name = "domain",
                     .config_key = "e2b_domain",
                     .variables = {"E2B_DOMAIN"},
                     .default_value = "e2b.app",
                     .kind = EndpointSpec::Kind::domain}},
      .vendor_files = {{"the E2B CLI", cli_file, parse_cli_file}},
      .keys_page = "https://e2b.dev/dashboard?tab=keys",
  };
  return spec;
}

}  // namespace sandkey::e2b
