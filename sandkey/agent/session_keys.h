// The keys that open the agent.
#pragma once

#include "sandkey/base/secret.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::agent {

// A set of keys, one a line of a file (blank lines and lines starting with '#' do not count). Every one of
// them opens the agent, so another client gets in by adding its own line, through the sandbox provider's
// authenticated channel, and nobody has to give up theirs. A key that is not known makes the file be read
// again if it changed.
class SessionKeys {
 public:
  // Without a file every request is allowed; the caller must then see to it that only its owner can connect.
  SessionKeys() = default;
  // Throws Error when the file cannot be read, holds no key, or others may read or write it.
  explicit SessionKeys(std::string path);

  [[nodiscard]] bool required() const noexcept { return !path_.empty(); }
  [[nodiscard]] bool allow(std::string_view candidate);

  static constexpr std::size_t kMaxFile = std::size_t{64} * 1024;
  static constexpr std::size_t kMinKey = 16;  // shorter ones are typing mistakes or guessable

 private:
  struct Version {
    std::uint64_t device = 0, inode = 0;
    std::int64_t seconds = 0, nanoseconds = 0, size = -1;
    bool operator==(const Version&) const = default;
  };
  [[nodiscard]] bool known(std::string_view candidate) const noexcept;
  [[nodiscard]] Version version() const noexcept;
  void load();

  std::string path_;
  Version loaded_;
  std::vector<Secret> keys_;
};

}  // namespace sandkey::agent
