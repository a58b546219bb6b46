// Runloop's keys: how they look, what each kind may do, and what the API tells about its account.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/accounts.h"

#include <string>
#include <string_view>
#include <vector>

namespace sandkey::runloop::emulator {

// Kinds besides the standard ones. The first three are whole accounts, the others restricted keys.
//   blocked        disabled by Runloop: may look and take away, but make nothing
//   trial_over     the same, for its trial was cancelled
//   at_limit       has as many devboxes running as it may: none
//   restricted     may do everything with devboxes, blueprints and snapshots, but not ask for its account
//   read_only      may look at everything
//   account_only   may ask for its account, and nothing else
[[nodiscard]] std::vector<std::string> other_accounts();

// "ak_", or "rk_" for a restricted key, and 32 letters and digits; one that is malformed has no prefix.
[[nodiscard]] std::string make_key(const Engine& engine, std::string_view account);

// What a scope of a restricted key is for.
enum class Resource { devboxes, blueprints, snapshots, objects, account };
enum class Access { none, read, write };

// The account of the key in this Authorization header. Throws ApiError(401), with the same words for all that
// cannot be used.
[[nodiscard]] const sandkey::emulator::Account& authenticate(const sandkey::emulator::Accounts& accounts,
                                                             std::string_view authorization);
// Throws ApiError(403) unless its key goes so far.
void require_access(const sandkey::emulator::Account& account, Resource resource, Access access);
// Throws ApiError(403) for an account that is disabled, whatever the reason.
void require_enabled(const sandkey::emulator::Account& account);
// How many devboxes it may have running at once.
[[nodiscard]] std::size_t devbox_limit(const sandkey::emulator::Account& account) noexcept;

// What GET /v1/accounts/me answers.
[[nodiscard]] json::object to_account_view(const sandkey::emulator::Account& account);

}  // namespace sandkey::runloop::emulator
