// E2B's keys: how they look, and what becomes of a request that brings one.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/accounts.h"

#include <string>
#include <string_view>

namespace sandkey::e2b::emulator {

// A key of the form that the account of this name has: "e2b_" and 40 hexadecimal digits, but for those that
// are malformed, without the prefix ("malformed") or with other letters ("not_hex").
[[nodiscard]] std::string make_key(const Engine& engine, std::string_view account);

// Kinds besides the standard ones: one that is known and refused everywhere, one that is refused wherever
// something would change, and the other malformed one.
inline constexpr std::string_view kBanned = "banned";
inline constexpr std::string_view kBlocked = "blocked";
inline constexpr std::string_view kNotHex = "not_hex";

// The account whose key this is. Throws ApiError(401), or ApiError(403) for one that is banned, in the order
// in which the cloud looks: is there a key, has it the prefix, is the rest hexadecimal, is it known, is it
// banned.
[[nodiscard]] const sandkey::emulator::Account& authenticate(const sandkey::emulator::Accounts& accounts,
                                                             std::string_view key);
// Throws ApiError(403) for an account that may only look.
void require_unblocked(const sandkey::emulator::Account& account);
// How many sandboxes it may have running at once.
[[nodiscard]] std::size_t concurrency_limit(const sandkey::emulator::Account& account) noexcept;

}  // namespace sandkey::e2b::emulator
