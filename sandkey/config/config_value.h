// Values that remember where they came from.
#pragma once

#include "sandkey/base/secret.h"

#include <memory>
#include <string>
#include <string_view>

namespace sandkey {

// Where a value was found. In the order of precedence: what comes first wins.
struct Origin {
  enum class Kind {
    program,      // set by code, or by a flag of the command line
    environment,  // `name`: the variable
    config_file,  // `name`: the file, `line`
    profile,      // `name`: the profile, of our own file
    helper,       // `name`: the command
    vendor_file,  // `name`: the vendor's own command line's file
    keyring,
    default_value
  } kind = Kind::default_value;
  std::string name = {};
  int line = 0;

  // "E2B_API_KEY in the environment", "config.toml:12", "profile 'work'", "built-in default".
  [[nodiscard]] std::string to_string() const;
};

// One setting of a provider, as its folder declares it: data, so that no code elsewhere names a provider.
struct ConfigField {
  std::string_view key;      // in [core] of config.toml, by its historical OpenHands name: "daytona_api_key"
  bool secret = false;       // never shown
  std::string_view meaning;  // one line for people
};

// A value of such a field. Copyable: the secret is shared, not copied.
struct ConfigValue {
  std::shared_ptr<const Secret> value = {};  // a secret or not, kept as one
  bool secret = false;
  Origin origin = {};
};

}  // namespace sandkey
