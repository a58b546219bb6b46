// What a provider's folder says about its credentials: data, so that no code elsewhere names a provider.
#pragma once

#include "sandkey/base/secret.h"
#include "sandkey/config/config_value.h"
#include "sandkey/config/environment.h"

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// One text of a credential.
struct PartSpec {
  std::string_view name;        // "api_key": in profiles, in a helper's reply
  std::string_view config_key;  // in [core] of config.toml; empty: has none
  // Names of the same thing: two that are set must agree.
  std::vector<std::string_view> variables;
  std::vector<std::string_view> usual_prefixes = {};  // {"e2b_"}: others are warned of, never refused
  bool secret = true;
};

// The parts that make up one credential. All are needed; it has been begun where one of its secret parts is
// set.
struct FormSpec {
  std::string_view name;  // "an API key"
  std::vector<PartSpec> parts;
};

// A place the credential is sent to. The first of a spec is the API.
struct EndpointSpec {
  enum class Kind { url, domain };
  std::string_view name;  // "api_url"
  std::string_view config_key;
  std::vector<std::string_view> variables;  // the first that is set counts
  // May hold the value of one listed after it: "https://api.{domain}". Empty: there is none.
  std::string_view default_value;
  Kind kind = Kind::url;
  // Of a comma-separated list the first counts.
  bool list = false;
};

// What travels with a credential and is none: a region, an environment.
struct SettingSpec {
  std::string_view name;
  std::string_view config_key;
  std::vector<std::string_view> variables;  // the first that is set counts
};

// What one source has to say.
struct Offer {
  enum class Outcome {
    found,           // it has something: to be judged whether that makes a credential
    not_configured,  // ask the next
    broken           // stop: what it has cannot be meant
  };
  struct Part {
    Secret value;
    std::string label;   // what the value is called there: "E2B_API_KEY"
    Origin origin = {};  // where each part has one of its own
  };
  struct Text {
    std::string value;
    std::string label;
  };

  Outcome outcome = Outcome::found;
  std::string reason = {};  // where not found: the end of a sentence, without any value
  std::map<std::string, Part, std::less<>> parts = {};
  std::map<std::string, Text, std::less<>> endpoints = {};
  std::map<std::string, Text, std::less<>> settings = {};
  std::optional<std::chrono::system_clock::time_point> expires_at = std::nullopt;
  std::vector<std::string> notes = {};

  [[nodiscard]] static Offer nothing(std::string why) {
    return {.outcome = Outcome::not_configured, .reason = std::move(why)};
  }
  [[nodiscard]] static Offer broken(std::string why) {
    return {.outcome = Outcome::broken, .reason = std::move(why)};
  }
  void add_part(const std::string& name, std::string_view value) { parts[name] = {Secret(value), name, {}}; }
  void add_endpoint(const std::string& name, std::string_view value) {
    endpoints[name] = {std::string(value), name};
  }
};

// The file a vendor's own command line keeps its login in.
struct VendorFileSpec {
  std::string_view owner;  // "the Modal CLI"
  // Nothing where it cannot be known, as without $HOME.
  std::optional<std::filesystem::path> (*path)(const Environment& environment);
  // Never throws for what the bytes hold: that is a broken offer, whose reason quotes nothing secret.
  Offer (*parse)(std::string_view bytes, const Environment& environment,
                 std::chrono::system_clock::time_point now);
};

struct CredentialSpec {
  std::string_view provider;
  std::vector<FormSpec> forms;  // the first one complete in a source is taken
  std::vector<EndpointSpec> endpoints;
  std::vector<SettingSpec> settings = {};
  std::vector<VendorFileSpec> vendor_files = {};
  std::string_view keys_page;  // where people make keys
};

// Where the API usually is: what counts when nobody says otherwise.
[[nodiscard]] std::string usual_address(const CredentialSpec& spec);

// The fields of [core] in config.toml that the spec names, for the loader.
[[nodiscard]] std::vector<ConfigField> config_fields(const CredentialSpec& spec);

}  // namespace sandkey
