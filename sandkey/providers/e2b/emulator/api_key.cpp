#include "sandkey/providers/e2b/emulator/api_key.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/e2b/emulator/api_error.h"

#include <algorithm>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kPrefix = "e2b_";
constexpr std::size_t kDigits = 40;
constexpr std::size_t kConcurrency = 100;
constexpr std::string_view kInvalid =
    "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n";

bool is_hex(std::string_view text) noexcept {
  return text.size() % 2 == 0 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
         });
}

ApiError invalid(std::string_view why) {
  return {401, std::string(kInvalid).append(why)};
}

}  // namespace

std::string make_key(const Engine& engine, std::string_view account) {
  if (account == "malformed") return "key_" + emu::random_hex(engine, kDigits);
  if (account == kNotHex)
    return std::string(kPrefix) + emu::random_text(engine, kDigits, "ghijklmnopqrstuvwxyz");
  return std::string(kPrefix) + emu::random_hex(engine, kDigits);
}

const emu::Account& authenticate(const emu::Accounts& accounts, std::string_view key) {
  if (key.empty()) throw ApiError(401, "authorization header is missing");
  if (!key.starts_with(kPrefix)) throw ApiError(401, "authorization header is malformed");
  if (!is_hex(key.substr(kPrefix.size()))) throw invalid("Invalid API key format");
  const emu::Account* account = accounts.find(key);
  if (account == nullptr || account->name == "unknown" || account->name == "revoked") {
    throw invalid("Cannot get the team for the given API key");
  }
  if (account->name == kBanned) throw ApiError(403, "team is banned");
  return *account;
}

void require_unblocked(const emu::Account& account) {
  if (account.name == kBlocked) throw ApiError(403, "team is blocked: missing payment method");
}

std::size_t concurrency_limit(const emu::Account& account) noexcept {
  return account.name == "over_quota" ? 0 : kConcurrency;
}

}  // namespace sandkey::e2b::emulator
