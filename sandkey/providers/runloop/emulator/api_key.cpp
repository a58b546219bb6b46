#include "sandkey/providers/runloop/emulator/api_key.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/runloop/emulator/api_error.h"

#include <algorithm>
#include <array>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::size_t kKeyLength = 32;
constexpr std::size_t kDevboxes = 100;
constexpr std::string_view kLettersAndDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kBearer = "Bearer ";

// What a kind of account may do, where it differs from a working one with a key for everything.
struct Kind {
  std::string_view name;
  std::string_view status = "ACCOUNT_STATUS_ENABLED";
  std::string_view refusal = {};  // of what would make something
  bool restricted = false;
  Access account = Access::write;
  Access others = Access::write;
};
constexpr std::array<Kind, 7> kKinds{{
    {.name = "over_quota",
     .status = "ACCOUNT_STATUS_DISABLED_QUOTA_REACHED",
     .refusal = "The account is disabled: its quota has been reached"},
    {.name = "blocked",
     .status = "ACCOUNT_STATUS_DISABLED_BY_ADMIN",
     .refusal = "The account is disabled by an administrator"},
    {.name = "trial_over",
     .status = "ACCOUNT_STATUS_TRIAL_CANCELLED",
     .refusal = "The account is disabled: its trial has been cancelled"},
    {.name = "at_limit"},
    {.name = "restricted", .restricted = true, .account = Access::none},
    {.name = "read_only", .restricted = true, .account = Access::read, .others = Access::read},
    {.name = "account_only", .restricted = true, .account = Access::read, .others = Access::none},
}};

Kind kind_of(std::string_view account) {
  const auto* const found = std::ranges::find(kKinds, account, &Kind::name);
  return found == kKinds.end() ? Kind{.name = account} : *found;
}

std::string_view scope_of(Resource resource) noexcept {
  switch (resource) {
    case Resource::devboxes:
      return "RESOURCE_TYPE_DEVBOXES";
    case Resource::blueprints:
      return "RESOURCE_TYPE_BLUEPRINTS";
    case Resource::snapshots:
      return "RESOURCE_TYPE_SNAPSHOTS";
    case Resource::objects:
      return "RESOURCE_TYPE_OBJECTS";
    case Resource::account:
      return "RESOURCE_TYPE_ACCOUNT";
  }
  return "RESOURCE_TYPE_UNKNOWN";
}

}  // namespace

std::vector<std::string> other_accounts() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) {
    if (std::ranges::find(emu::kStandardAccounts, kind.name) == emu::kStandardAccounts.end())
      names.emplace_back(kind.name);
  }
  return names;
}

std::string make_key(const Engine& engine, std::string_view account) {
  const std::string text = emu::random_text(engine, kKeyLength, kLettersAndDigits);
  if (account == "malformed") return text;
  return (kind_of(account).restricted ? "rk_" : "ak_") + text;
}

const emu::Account& authenticate(const emu::Accounts& accounts, std::string_view authorization) {
  const emu::Account* account = nullptr;
  if (authorization.starts_with(kBearer)) account = accounts.find(authorization.substr(kBearer.size()));
  const bool refused = account == nullptr || account->name == "unknown" || account->name == "revoked" ||
                       account->name == "malformed";
  if (refused) throw ApiError(401, "Unauthorized: invalid authentication credentials", "unauthorized");
  return *account;
}

void require_access(const emu::Account& account, Resource resource, Access access) {
  const Kind kind = kind_of(account.name);
  if ((resource == Resource::account ? kind.account : kind.others) >= access) return;
  const std::string level = access == Access::write ? "ACCESS_LEVEL_WRITE" : "ACCESS_LEVEL_READ";
  throw ApiError(403, "Forbidden: the API key has no " + level + " for " + std::string(scope_of(resource)),
                 "forbidden");
}

void require_enabled(const emu::Account& account) {
  const Kind kind = kind_of(account.name);
  if (kind.refusal.empty()) return;
  const bool quota = account.name == "over_quota";
  throw ApiError(403, std::string(kind.refusal), quota ? "quota_reached" : "account_disabled");
}

std::size_t devbox_limit(const emu::Account& account) noexcept {
  return account.name == "at_limit" ? 0 : kDevboxes;
}

json::object to_account_view(const emu::Account& account) {
  json::object billing;
  billing["account_billing_type"] = "STRIPE";
  json::object view;
  view["id"] = "acc_" + account.name;
  view["name"] = account.name;
  view["created_at"] = "2025-01-01T00:00:00Z";
  view["account_status"] = kind_of(account.name).status;
  view["tier"] = account.name == "trial_over" ? "ACCOUNT_TIER_TRIAL" : "ACCOUNT_TIER_PRO";
  view["billing"] = std::move(billing);
  return view;
}

}  // namespace sandkey::runloop::emulator
