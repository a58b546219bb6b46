// The desktop's keyring, as a source of credentials.
#pragma once

#include "sandkey/base/secret.h"
#include "sandkey/config/environment.h"

#include <memory>
#include <optional>
#include <string>

namespace sandkey {

// One part of a credential: its attributes in the keyring are application "sandkey", and these.
struct KeyringItem {
  std::string profile;
  std::string provider;
  std::string part;
};

struct KeyringAnswer {
  std::optional<Secret> value = std::nullopt;
  std::string reason = {};   // why there is none: "has no such item", "is locked"
  bool unreachable = false;  // nor can it be asked for another
};

class Keyring {
 public:
  virtual ~Keyring() = default;
  // Blocks for seconds at most, never prompts, never throws.
  [[nodiscard]] virtual KeyringAnswer lookup(const KeyringItem& item) = 0;
};

// The Secret Service (GNOME Keyring, KWallet, KeePassXC), through libsecret, which is loaded by the first
// lookup and only where there is a session bus. Anything missing is a reason.
[[nodiscard]] std::shared_ptr<Keyring> desktop_keyring(Environment environment);

}  // namespace sandkey
