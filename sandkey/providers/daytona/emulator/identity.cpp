#include "sandkey/providers/daytona/emulator/identity.h"

#include "sandkey/base/base64.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/rate_limits.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <algorithm>
#include <array>
#include <chrono>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::size_t kDigits = 64;
constexpr std::size_t kShownAtEachEnd = 3;
constexpr std::size_t kStars = 20;
constexpr std::string_view kBearer = "Bearer ";

constexpr std::array<std::string_view, 16> kAllPermissions{
    "write:registries", "delete:registries", kWriteSnapshots,   kDeleteSnapshots,
    kWriteSandboxes,    kDeleteSandboxes,    kReadVolumes,      kWriteVolumes,
    kDeleteVolumes,     "write:regions",     "delete:regions",  "read:runners",
    "write:runners",    "delete:runners",    "read:audit_logs", "read:limits"};

std::string base64url(std::string_view bytes) {
  std::string text = base64_encode(bytes);
  while (text.ends_with('=')) text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

std::string make_token(const Engine& engine) {
  return base64url(R"({"alg":"RS256","typ":"JWT"})") + "." +
         base64url(R"({"iss":"emulator","sub":")" + emu::random_uuid(engine) + "\"}") + "." +
         base64url(emu::random_hex(engine, kDigits));
}

std::vector<std::string> permissions_of(std::string_view account) {
  std::vector<std::string> permissions;
  if (account == kScopeless) return permissions;
  for (const std::string_view each : kAllPermissions) {
    const bool writes = each == kWriteSandboxes;
    const bool deletes = each == kDeleteSandboxes;
    const bool withheld = (account == kReadOnly && (writes || deletes)) || (account == kNoDelete && deletes);
    if (!withheld) permissions.emplace_back(each);
  }
  return permissions;
}

bool has_own_organization(std::string_view account) {
  return account == "valid" || account == "second" || account == "over_quota" || account == kSuspended ||
         account == kThrottled || account == kMaintenance;
}

bool is_good(std::string_view account) {
  return account != "unknown" && account != "revoked" && account != "malformed" && account != kExpired;
}

}  // namespace

std::vector<std::string> other_accounts() {
  std::vector<std::string> names;
  for (const std::string_view name :
       {kExpired, kScopeless, kReadOnly, kNoDelete, kJwt, kSuspended, kThrottled, kMaintenance}) {
    names.emplace_back(name);
  }
  return names;
}

std::string make_key(const Engine& engine, std::string_view account) {
  if (account == kJwt) return make_token(engine);
  if (account == "malformed") return "key_" + emu::random_hex(engine, kDigits);
  return "dtn_" + emu::random_hex(engine, kDigits);
}

std::string masked(std::string_view key) {
  return std::string(key.substr(0, kShownAtEachEnd)) + std::string(kStars, '*') +
         std::string(key.substr(key.size() - std::min(key.size(), kShownAtEachEnd)));
}

std::string_view bearer_of(const net::HttpExchange& exchange) {
  const std::string_view value = exchange.header("authorization");
  return value.starts_with(kBearer) ? value.substr(kBearer.size()) : std::string_view();
}

bool Caller::may(std::string_view permission) const noexcept {
  return std::ranges::find(permissions, permission) != permissions.end();
}

Directory::Directory(const Engine& engine, const emu::Accounts& accounts, emu::Time now)
    : accounts_(accounts), made_(to_iso(now)), user_id_(emu::random_uuid(engine)) {
  for (const char* name : {"valid", "second", "over_quota"}) organizations_[name] = emu::random_uuid(engine);
  for (const std::string_view name : {kSuspended, kThrottled, kMaintenance}) {
    organizations_[std::string(name)] = emu::random_uuid(engine);
  }
}

Caller Directory::authenticate(const net::HttpExchange& exchange, Credentials kind) const {
  const emu::Account* account = accounts_.find(bearer_of(exchange));
  if (account == nullptr || !is_good(account->name)) throw invalid_credentials();
  Caller caller{.account = account, .is_person = account->name == kJwt};
  if (kind == Credentials::key && caller.is_person) throw invalid_credentials();
  if (kind == Credentials::token && !caller.is_person) throw invalid_credentials();
  caller.organization = has_own_organization(account->name) ? account->name : "valid";
  caller.organization_id = id_of(caller.organization);
  caller.permissions = permissions_of(account->name);
  // A key is bound to its organization; a person says which one.
  if (caller.is_person && kind == Credentials::key_or_token &&
      exchange.header("x-daytona-organization-id") != caller.organization_id) {
    throw wrong_organization();
  }
  return caller;
}

std::string Directory::organization_of(const net::HttpExchange& exchange) const {
  try {
    const emu::Account* account = accounts_.find(bearer_of(exchange));
    const bool person = account != nullptr && account->name == kJwt;
    return authenticate(exchange, person ? Credentials::token : Credentials::key).organization;
  } catch (const ApiError&) {
    return {};
  }
}

bool Directory::in_maintenance(const net::HttpExchange& exchange) const noexcept {
  const emu::Account* account = accounts_.find(bearer_of(exchange));
  return account != nullptr && account->name == kMaintenance;
}

json::object Directory::key_record(const Caller& caller) const {
  json::object record;
  record["name"] = caller.account->name;
  record["value"] = masked(caller.account->key);
  record["createdAt"] = made_;
  json::array permissions;
  for (const std::string& each : caller.permissions) permissions.emplace_back(each);
  record["permissions"] = std::move(permissions);
  record["lastUsedAt"] = nullptr;
  record["expiresAt"] = nullptr;
  record["userId"] = user_id_;
  record["organizationId"] = caller.organization_id;
  return record;
}

json::object Directory::organization_record(const std::string& organization) const {
  json::object record;
  record["id"] = id_of(organization);
  record["name"] = organization;
  record["createdBy"] = user_id_;
  record["personal"] = false;
  record["createdAt"] = made_;
  record["updatedAt"] = made_;
  record["suspended"] = organization == kSuspended;
  record["suspendedAt"] = organization == kSuspended ? json::value(made_) : json::value(nullptr);
  record["suspensionReason"] = nullptr;
  record["suspendedUntil"] = nullptr;
  record["suspensionCleanupGracePeriodHours"] = 0;
  record["maxCpuPerSandbox"] = kMaxCpu;
  record["maxMemoryPerSandbox"] = kMaxMemory;
  record["maxDiskPerSandbox"] = kMaxDisk;
  record["snapshotDeactivationTimeoutMinutes"] = 20160;
  record["sandboxLimitedNetworkEgress"] = true;
  record["previewWarningEnabled"] = true;
  record["defaultRegionId"] = kDefaultRegion;
  record["authenticatedRateLimit"] = limit_of(Bucket::authenticated, organization);
  record["sandboxCreateRateLimit"] = limit_of(Bucket::create, organization);
  record["sandboxLifecycleRateLimit"] = limit_of(Bucket::lifecycle, organization);
  record["experimentalConfig"] = json::object();
  return record;
}

json::object Directory::user_record() const {
  json::object record;
  record["id"] = user_id_;
  record["name"] = "Emulated User";
  record["email"] = "user@emulator.invalid";
  record["emailVerified"] = true;
  record["publicKeys"] = json::array();
  record["createdAt"] = made_;
  return record;
}

}  // namespace sandkey::daytona::emulator
