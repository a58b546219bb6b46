#include "sandkey/emulator/accounts.h"

#include "sandkey/base/error.h"

#include <algorithm>

namespace sandkey::emulator {

Accounts::Accounts(const std::vector<std::string>& others, const MakeKey& make, KnownSecrets& secrets) {
  for (const std::string_view name : kStandardAccounts) accounts_.push_back({std::string(name), make(name)});
  for (const std::string& name : others) accounts_.push_back({name, make(name)});
  for (const Account& account : accounts_) secrets.add(account.key, "account " + account.name);
}

const Account& Accounts::named(std::string_view name) const {
  const auto found = std::ranges::find(accounts_, name, &Account::name);
  if (found == accounts_.end()) {
    throw Error(ErrorCode::internal, "looking for the account '" + std::string(name) + "': there is none");
  }
  return *found;
}

const Account* Accounts::find(std::string_view key) const noexcept {
  const auto found = std::ranges::find(accounts_, key, &Account::key);
  return found == accounts_.end() ? nullptr : &*found;
}

json::object Accounts::to_json() const {
  json::object object;
  for (const Account& account : accounts_) object[account.name] = account.key;
  return object;
}

}  // namespace sandkey::emulator
