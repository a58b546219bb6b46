#include "sandkey/credentials/credential.h"

#include "sandkey/base/error.h"
#include "sandkey/credentials/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sandkey {

Credential::Credential(Data data) : data_(std::move(data)) {
  // With lengths, or two different sets of parts could be one text.
  Sha256 hash;
  hash.update(data_.provider);
  for (const auto& [name, part] : data_.parts) {
    hash.update(fmt::format("\n{}:{}:", name, part.value.expose().size())).update(part.value.expose());
  }
  digest_ = hash.hex_digest();
  identity_ = data_.provider + " " + digest_;
  for (const auto* places : {&data_.endpoints, &data_.settings}) {
    for (const auto& [name, place] : *places) identity_ += fmt::format(" {}={}", name, place.value);
  }
}

const Secret& Credential::part(std::string_view name) const {
  const auto found = data_.parts.find(name);
  if (found == data_.parts.end()) {
    ErrorContext context;
    context.provider = data_.provider;
    throw Error(
        ErrorCode::internal,
        fmt::format("reading the credential of {}: {} has no part '{}'", data_.provider, data_.form, name),
        context);
  }
  return found->second.value;
}

const Credential::Place* Credential::endpoint(std::string_view name) const noexcept {
  const auto found = data_.endpoints.find(name);
  return found == data_.endpoints.end() ? nullptr : &found->second;
}

const Credential::Place* Credential::setting(std::string_view name) const noexcept {
  const auto found = data_.settings.find(name);
  return found == data_.settings.end() ? nullptr : &found->second;
}

void Credential::teach(Redactor& redactor) const {
  for (const auto& [name, part] : data_.parts) {
    if (part.secret) redactor.add(part.value);
  }
}

bool Credential::same_places(const Credential& other) const {
  const auto same = [](const auto& one, const auto& two) {
    return std::equal(one.begin(), one.end(), two.begin(), two.end(), [](const auto& a, const auto& b) {
      return a.first == b.first && a.second.value == b.second.value;
    });
  };
  return same(data_.endpoints, other.data_.endpoints) && same(data_.settings, other.data_.settings);
}

std::string Credential::described() const {
  return fmt::format("{} with the fingerprint {}, from {}", data_.form, fingerprint(),
                     data_.origin.to_string());
}

std::string Credential::to_string() const {
  return fmt::format("{}: {} (fingerprint {}) from {}", data_.provider, data_.form, fingerprint(),
                     data_.origin.to_string());
}

}  // namespace sandkey
