// What a provider's client is made of: a key, where it may be sent, and where it came from.
#pragma once

#include "sandkey/base/secret.h"
#include "sandkey/config/config_value.h"
#include "sandkey/credentials/redactor.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// Move-only. Made by CredentialChain::resolve(): all parts are there and fit in a header, and every endpoint
// may be told them. Whether the provider accepts it, only the provider knows.
class Credential {
 public:
  struct Place {
    std::string value;  // a URL without a last '/', or a domain
    Origin origin;
  };
  struct Part {
    Secret value;
    bool secret = true;  // else it may be shown: an organization's id
  };
  struct Data {
    std::string provider;
    std::string form;  // "an API key"
    std::map<std::string, Part, std::less<>> parts;
    std::map<std::string, Place, std::less<>> endpoints;
    std::map<std::string, Place, std::less<>> settings;
    Origin origin;
    std::optional<std::chrono::system_clock::time_point> expires_at = std::nullopt;
    std::vector<std::string> warnings;
  };
  explicit Credential(Data data);
  Credential(Credential&&) noexcept = default;
  Credential& operator=(Credential&&) noexcept = default;
  Credential(const Credential&) = delete;
  Credential& operator=(const Credential&) = delete;
  ~Credential() = default;

  [[nodiscard]] const std::string& provider() const noexcept { return data_.provider; }
  [[nodiscard]] const std::string& form() const noexcept { return data_.form; }
  [[nodiscard]] bool has(std::string_view part) const { return data_.parts.contains(part); }
  // Throws Error(internal) for a part its form does not have.
  [[nodiscard]] const Secret& part(std::string_view name) const;
  // All that are known, by name.
  [[nodiscard]] const std::map<std::string, Place, std::less<>>& endpoints() const noexcept {
    return data_.endpoints;
  }
  [[nodiscard]] const std::map<std::string, Place, std::less<>>& settings() const noexcept {
    return data_.settings;
  }
  // Null where the spec names no default and nobody set it.
  [[nodiscard]] const Place* endpoint(std::string_view name) const noexcept;
  [[nodiscard]] const Place* setting(std::string_view name) const noexcept;
  [[nodiscard]] const Origin& origin() const noexcept { return data_.origin; }
  [[nodiscard]] std::optional<std::chrono::system_clock::time_point> expires_at() const noexcept {
    return data_.expires_at;
  }
  // Odd, but not refused: for people, whole sentences.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return data_.warnings; }

  // Twelve hexadecimal digits of a hash of the parts: the same for the same key, and no part of it.
  [[nodiscard]] std::string fingerprint() const { return digest_.substr(0, 12); }
  // The whole hash, every endpoint and every setting: what two clients must share to be one.
  [[nodiscard]] const std::string& identity() const noexcept { return identity_; }

  // Whether every endpoint and setting is the same.
  [[nodiscard]] bool same_places(const Credential& other) const;

  // Adds every part that must not be shown.
  void teach(Redactor& redactor) const;

  // "an API key with the fingerprint 0123456789ab, from E2B_API_KEY in the environment".
  [[nodiscard]] std::string described() const;
  // "e2b: an API key (fingerprint 0123456789ab) from E2B_API_KEY in the environment".
  [[nodiscard]] std::string to_string() const;

 private:
  Data data_;
  std::string digest_;
  std::string identity_;
};

}  // namespace sandkey
