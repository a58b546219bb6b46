// Finds a provider's credential, and can always say where it looked and why.
//
// The sources in their order, and the first that has it wins:
//   the program (code, or a flag)   the environment   config.toml   our own profile (profile_file.h)
//   the profile's helper command    the file of the vendor's own command line        the keyring
// A source that has half a credential, or one that cannot be meant, ends the search: the next source's may be
// somebody else's account.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/config/environment.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/credentials/credential.h"
#include "sandkey/credentials/credential_spec.h"
#include "sandkey/credentials/keyring.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

class Engine;
class ProfileFile;

// What the chain sees of the world. Files are found through the environment ($HOME and the like).
struct CredentialWorld {
  Environment environment = process_environment();
  // Looked at for .env files only, which are never read, but named: other tools read them.
  std::filesystem::path working_directory = ".";
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  // Null: the desktop's.
  std::shared_ptr<Keyring> keyring = nullptr;
  // Null: the user's, in config_folder().
  std::shared_ptr<const ProfileFile> profiles = nullptr;
};
// The engine's environment and clock. It must outlive the result.
[[nodiscard]] CredentialWorld world_of(const Engine& engine);

// Which account is wanted, where there are several.
struct CredentialChoice {
  // Not empty: only the program and this profile count (its keys, helper and keyring items, or what it names
  // as `source`).
  std::string profile = {};
  // Only the program and this source count.
  std::optional<Origin::Kind> source = std::nullopt;
};

struct SourceStep {
  enum class Outcome { found, not_configured, broken, not_asked };
  Origin::Kind source;
  Outcome outcome;
  std::string detail;  // a sentence that says it, without any value
};
// "environment", "vendor's file", ...
[[nodiscard]] std::string_view to_string(Origin::Kind source) noexcept;
// "found", "not there", "broken", "not asked".
[[nodiscard]] std::string_view to_string(SourceStep::Outcome outcome) noexcept;

// What the search came to: a credential or an error.
struct Resolution {
  std::optional<Credential> credential = std::nullopt;
  std::optional<Error> error = std::nullopt;
  std::vector<SourceStep> steps = {};   // in order
  std::vector<std::string> notes = {};  // .env files that were not read

  // The outcome, then a line for each source and note.
  [[nodiscard]] std::string explanation() const;
};

// Holds nothing open, and reads everything anew each time: cheap, and blocking (files, at most one helper,
// the keyring). Thread-safe as far as the world is.
class CredentialChain {
 public:
  explicit CredentialChain(const OpenHandsConfig& config, CredentialWorld world = {},
                           CredentialChoice choice = {});

  // Throws AuthenticationError(credential_missing) naming every source tried; (credential_malformed) for a
  // broken one; (permission_denied) where the endpoint comes from a less trusted source than the key;
  // Error(invalid_argument) for an endpoint that is none, or that would be told the key in cleartext.
  [[nodiscard]] Credential resolve(const CredentialSpec& spec) const;
  // The same with these errors as a value.
  [[nodiscard]] Resolution explain(const CredentialSpec& spec) const;

 private:
  std::map<std::string, ConfigValue> fields_;
  CredentialWorld world_;
  CredentialChoice choice_;
};

}  // namespace sandkey
