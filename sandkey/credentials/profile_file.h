// Our own file of credentials: CONFIG_FOLDER/credentials.toml, for its owner only.
//
//   [default.e2b]                        # profile "default", provider "e2b"
//   api_key = "e2b_..."
//
//   [work.daytona]
//   api_key = "dtn_..."
//   api_url = "https://daytona.example.com/api"   # the key is bound to it
//   allow_cleartext = true                        # lets the key go over http to another machine
//
//   [ci.modal]
//   helper = ["/usr/local/bin/fetch-token", "modal"]  # a program that prints the credential
//   helper_timeout = "10s"
//
//   [laptop.runloop]
//   source = "keyring"                   # ask this source, and no other
#pragma once

#include "sandkey/base/secret.h"
#include "sandkey/config/environment.h"
#include "sandkey/config/toml_document.h"
#include "sandkey/credentials/credential_spec.h"

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

inline constexpr std::string_view kDefaultProfile = "default";

// $SANDKEY_CONFIG_DIR, else $XDG_CONFIG_HOME/sandkey, else $HOME/.config/sandkey. Nothing where none is set,
// or the one that counts is not an absolute path.
[[nodiscard]] std::optional<std::filesystem::path> config_folder(const Environment& environment);

// Of one provider in one profile.
struct ProfileEntry {
  Offer offer;  // not_configured where it names no parts
  std::vector<std::string> helper = {};
  std::chrono::milliseconds helper_timeout{10'000};
  // Where it has a helper and no parts: what holds for that which the helper gives.
  std::map<std::string, Offer::Text, std::less<>> endpoints_of_helper = {};
  std::map<std::string, Offer::Text, std::less<>> settings_of_helper = {};
  std::optional<Origin::Kind> source = std::nullopt;
  bool allow_cleartext = false;
};

class ProfileFile {
 public:
  // Reads nothing yet.
  explicit ProfileFile(std::filesystem::path folder);
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  // What the file says now. Broken, with the command that cures it, where folder or file belong to somebody
  // else or are open to others.
  [[nodiscard]] ProfileEntry read(const CredentialSpec& spec, std::string_view profile) const;
  // The names in it; empty also where it cannot be used.
  [[nodiscard]] std::vector<std::string> profiles() const;

  struct Line {
    std::string key;
    Secret value;
  };
  // Makes the entry consist of these lines, in place of what it held; all else in the file stays as it is,
  // comments too. Atomic, durable, and one at a time among processes. Throws Error: permission_denied as of
  // read(), invalid_argument for a file that is no TOML or writes the entry in a form that cannot be edited.
  void save(std::string_view profile, std::string_view provider, const std::vector<Line>& lines,
            bool allow_cleartext = false) const;
  // As if the file were there and held this entry alone: to try one before it is saved.
  [[nodiscard]] static ProfileFile draft(std::filesystem::path folder, std::string_view profile,
                                         std::string_view provider, const std::vector<Line>& lines,
                                         bool allow_cleartext = false);
  // Whether there was such an entry.
  bool remove(std::string_view profile, std::string_view provider) const;

 private:
  // Throws Error; nothing where it does not exist.
  [[nodiscard]] std::optional<std::string> load() const;
  bool replace(std::string_view profile, std::string_view provider,
               const std::optional<std::string>& section) const;

  std::filesystem::path folder_;
  std::filesystem::path path_;
  std::shared_ptr<const Secret> draft_;  // of draft(): the file's text
};

// 1 to 64 of A-Z a-z 0-9 _ -.
[[nodiscard]] bool is_profile_name(std::string_view name) noexcept;

// "environment", "config", "profile", "helper", "vendor", "keyring": as in `source = ...`.
[[nodiscard]] std::optional<Origin::Kind> source_from_text(std::string_view text) noexcept;

}  // namespace sandkey
