// An account at a provider, as the provider told when it accepted the credential.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {

struct Account {
  std::string name = {};  // empty where the provider does not tell
  // What else is known, for people, in the order it is shown: {"organization", "..."}. Never a secret.
  std::vector<std::pair<std::string, std::string>> details = {};
  std::optional<std::chrono::system_clock::time_point> expires_at = std::nullopt;  // of the key
  // Why nothing can be created though the credential is good: "the account is disabled". Empty: nothing
  // known.
  std::string blocked = {};
  // What one should know before anything is created, whole sentences.
  std::vector<std::string> warnings = {};
};

}  // namespace sandkey
