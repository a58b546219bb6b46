// Daytona's keys, users and organizations: who asks, and what that one may.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/rfc3339.h"
#include "sandkey/net/http_server.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona::emulator {

// Accounts besides the standard ones. All but the last three belong to the organization of "valid".
inline constexpr std::string_view kExpired = "expired";
inline constexpr std::string_view kScopeless = "scopeless";      // no permission at all
inline constexpr std::string_view kReadOnly = "read_only";       // all but those for sandboxes
inline constexpr std::string_view kNoDelete = "no_delete";       // all but deleting sandboxes
inline constexpr std::string_view kJwt = "jwt";                  // a person's token instead of a key
inline constexpr std::string_view kSuspended = "suspended";      // its organization is
inline constexpr std::string_view kThrottled = "throttled";      // its organization has low rate limits
inline constexpr std::string_view kMaintenance = "maintenance";  // meets a cloud that is being maintained
[[nodiscard]] std::vector<std::string> other_accounts();

inline constexpr std::string_view kWriteSandboxes = "write:sandboxes";
inline constexpr std::string_view kDeleteSandboxes = "delete:sandboxes";
inline constexpr std::string_view kWriteSnapshots = "write:snapshots";
inline constexpr std::string_view kDeleteSnapshots = "delete:snapshots";
inline constexpr std::string_view kReadVolumes = "read:volumes";
inline constexpr std::string_view kWriteVolumes = "write:volumes";
inline constexpr std::string_view kDeleteVolumes = "delete:volumes";

// A key of the form that the account of this name has: "dtn_" and 64 hexadecimal digits, three parts for a
// JWT, and nothing like either if it is malformed.
[[nodiscard]] std::string make_key(const Engine& engine, std::string_view account);
// What lists show of a key: its ends.
[[nodiscard]] std::string masked(std::string_view key);
// Behind "Bearer "; empty if there is none.
[[nodiscard]] std::string_view bearer_of(const net::HttpExchange& exchange);

// Who asks.
struct Caller {
  const sandkey::emulator::Account* account = nullptr;
  std::string organization = {};  // the account after which it is named; empty: a person who named none
  std::string organization_id = {};
  std::vector<std::string> permissions = {};
  bool is_person = false;

  [[nodiscard]] bool may(std::string_view permission) const noexcept;
};

// What a route takes.
enum class Credentials { key_or_token, key, token };

class Directory {
 public:
  Directory(const Engine& engine, const sandkey::emulator::Accounts& accounts, sandkey::emulator::Time now);

  // Throws ApiError: 401 for a credential that is none, or is not of the kind, 403 for a person without an
  // organization, or with another's.
  [[nodiscard]] Caller authenticate(const net::HttpExchange& exchange, Credentials kind) const;
  // For traffic: the organization of a credential that is good; empty otherwise.
  [[nodiscard]] std::string organization_of(const net::HttpExchange& exchange) const;
  [[nodiscard]] const std::string& id_of(const std::string& organization) const {
    return organizations_.at(organization);
  }

  // Whether its credential meets a cloud that is being maintained.
  [[nodiscard]] bool in_maintenance(const net::HttpExchange& exchange) const noexcept;
  // When keys, users and organizations were made.
  [[nodiscard]] const std::string& made() const noexcept { return made_; }

  // The record of a key, of an organization, of a user.
  [[nodiscard]] json::object key_record(const Caller& caller) const;
  [[nodiscard]] json::object organization_record(const std::string& organization) const;
  [[nodiscard]] json::object user_record() const;

 private:
  const sandkey::emulator::Accounts& accounts_;
  std::string made_;
  std::string user_id_;
  std::map<std::string, std::string> organizations_;  // name -> id
};

}  // namespace sandkey::daytona::emulator
