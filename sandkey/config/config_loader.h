// Makes an OpenHandsConfig of its sources. Precedence: the program's overrides, the environment, config.toml,
// the defaults.
//
// config.toml is OpenHands' own, and a user's file for it works unchanged. Of it we read
//   [core]     our settings and the providers' fields; OpenHands' other keys are passed over, keys that
//   neither
//              knows are warned of
//   [sandbox]  likewise, but unknown keys are errors, as with OpenHands
//   [sandkey]  our own: network, memory_limit, disk_limit, process_limit, lease; unknown keys are errors
// and ignore every other section.
//
// The environment overrides by OpenHands' rules: the key in capitals, with SANDBOX_ or SANDKEY_ before it
// for the keys of those sections; an empty variable counts as not set; one that cannot be read is warned of
// and passed over, except that a SANDKEY_ one is an error. The providers' fields are not among them: their
// variables belong to the credential chain. SANDBOX_ENV_NAME sets NAME in every sandbox, as OpenHands has it.
// SANDKEY_PROFILE chooses an account, which config.toml cannot.
#pragma once

#include "sandkey/config/environment.h"
#include "sandkey/config/openhands_config.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// A setting from the command line or from code, as text.
struct ConfigOverride {
  std::string key;     // as in `origins`: "runtime", "sandbox.timeout", "sandkey.lease"
  std::string value;   // as the environment would have it; durations and sizes in words ("5m", "2G") as well
  std::string source;  // shown as its origin: "--timeout"
};

struct ConfigSources {
  std::vector<ConfigOverride> overrides = {};
  // config.toml. Given, it must exist; else it is ./config.toml of the working directory, where that exists.
  std::optional<std::filesystem::path> file = std::nullopt;
  std::filesystem::path working_directory = ".";
  Environment environment = process_environment();
  // The names of all variables there are: SANDBOX_ENV_... are found in it.
  std::vector<std::string> variables = process_variables();
  // The providers' fields in [core].
  std::span<const ConfigField> fields = {};
};

struct LoadedConfig {
  OpenHandsConfig config;
  std::filesystem::path file = {};         // what was read; empty: there was none
  std::vector<std::string> warnings = {};  // whole lines for people, without secrets
};

// Throws Error(not_found) for a given file that is absent, else Error(invalid_argument) with all that is
// wrong: "reading the configuration: FILE:LINE: ...". No message quotes a value; it might be a key in the
// wrong place.
[[nodiscard]] LoadedConfig load_config(const ConfigSources& sources);

// The texts between config.toml and `config show`: every setting we know with its value, in a fixed order.
struct ShownSetting {
  std::string key;
  std::string value;  // "[secret]" for secrets, "(not set)"
  Origin origin;
};
[[nodiscard]] std::vector<ShownSetting> show_config(const OpenHandsConfig& config);

}  // namespace sandkey
