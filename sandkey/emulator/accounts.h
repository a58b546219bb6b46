// The accounts of an emulated cloud: one of each kind, with keys that are random at every start.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/emulator/known_secrets.h"

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::emulator {

// What every cloud has. Clouds add kinds of their own.
//   valid, second   work; neither sees what is the other's
//   unknown         looks right and was never given out
//   revoked         was given out and taken back
//   malformed       cannot be a key of this cloud
//   over_quota      works, but has used up what it may have
inline constexpr std::array<std::string_view, 6> kStandardAccounts{"valid",   "second",    "unknown",
                                                                   "revoked", "malformed", "over_quota"};

struct Account {
  std::string name;
  std::string key;
};

class Accounts {
 public:
  // Makes the key of the account of that name.
  using MakeKey = std::function<std::string(std::string_view name)>;
  // `others` are kinds besides the standard ones. The keys become known to `secrets` as "account NAME".
  Accounts(const std::vector<std::string>& others, const MakeKey& make, KnownSecrets& secrets);

  // Throws Error(internal) if there is none of that name.
  [[nodiscard]] const Account& named(std::string_view name) const;
  [[nodiscard]] const Account* find(std::string_view key) const noexcept;
  [[nodiscard]] json::object to_json() const;

 private:
  std::vector<Account> accounts_;
};

}  // namespace sandkey::emulator
