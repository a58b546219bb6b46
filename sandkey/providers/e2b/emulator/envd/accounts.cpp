#include "sandkey/providers/e2b/emulator/envd/accounts.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/emulator/machine/file_text.h"

#include <charconv>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

constexpr std::size_t kMaxTable = std::size_t{1024} * 1024;
constexpr std::chrono::seconds kPatience{30};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

std::string resolve_path(std::string_view path, const Account& account, std::string_view workdir) {
  if (path.empty()) path = workdir;
  if (path.starts_with('/')) return std::string(path);
  if (path.starts_with('~')) {
    if (path.size() > 1 && path[1] != '/' && path[1] != '\\') {
      throw PathError("failed to expand path '" + std::string(path) + "' for user '" + account.name +
                      "': cannot expand user-specific home dir");
    }
    path.remove_prefix(1);
    while (path.starts_with('/')) path.remove_prefix(1);
  }
  return machine::absolute_path(path, account.home);
}

std::optional<std::string> basic_user(std::string_view authorization) {
  constexpr std::string_view kScheme = "basic ";
  if (authorization.size() < kScheme.size()) return std::nullopt;
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kScheme[i]) return std::nullopt;
  }
  const auto decoded = base64_decode(authorization.substr(kScheme.size()));
  if (!decoded) return std::nullopt;
  const std::size_t colon = decoded->find(':');
  if (colon == std::string::npos) return std::nullopt;
  return decoded->substr(0, colon);
}

NameTable NameTable::parse(std::string_view text) {
  NameTable table;
  for (const std::string_view line : split(text, '\n')) {
    const std::vector<std::string_view> fields = split(line, ':');
    if (fields.size() < 3 || fields[0].empty()) continue;
    Row row;
    const auto [end, error] =
        std::from_chars(fields[2].data(), fields[2].data() + fields[2].size(), row.number);
    if (error != std::errc() || end != fields[2].data() + fields[2].size()) continue;
    if (fields.size() > 5) row.home = fields[5];
    table.rows.emplace(fields[0], std::move(row));
  }
  return table;
}

std::optional<std::string> NameTable::name_of(unsigned number) const {
  for (const auto& [name, row] : rows) {
    if (row.number == number) return name;
  }
  return std::nullopt;
}

Accounts::Accounts(AgentClient& agent, std::string default_user)
    : agent_(agent), default_user_(std::move(default_user)) {}

asio::awaitable<std::optional<Account>> Accounts::find(std::string name) {
  if (!loaded_) co_await load();
  if (name.empty()) name = default_user_;
  const auto found = users_.rows.find(name);
  if (found == users_.rows.end() && name != default_user_) co_return std::nullopt;
  Account account{.name = name, .home = found == users_.rows.end() ? "" : found->second.home};
  if (account.home.empty()) account.home = "/home/" + name;
  if (!home_exists_.contains(account.home)) {
    const RemoteStat info = co_await agent_.stat(account.home, agent_.engine().in(kPatience));
    home_exists_[account.home] = info.type == RemoteStat::Type::directory;
  }
  // An account of the image that nobody made a home for works in that of who runs it.
  if (!home_exists_[account.home])
    account.home = users_.rows.contains(default_user_) ? users_.rows.find(default_user_)->second.home
                                                       : agent_.greeting().working_dir;
  co_return account;
}

asio::awaitable<void> Accounts::load() {
  NameTable users = NameTable::parse(co_await read("/etc/passwd"));
  NameTable groups = NameTable::parse(co_await read("/etc/group"));
  users_ = std::move(users);
  groups_ = std::move(groups);
  loaded_ = true;
}

asio::awaitable<std::string> Accounts::read(std::string path) {
  try {
    HttpStream file = co_await agent_.open_file(std::move(path));
    co_return co_await file.read_all(kMaxTable);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
  co_return std::string();  // an image without accounts
}

std::string Accounts::owner(unsigned uid) const {
  return users_.name_of(uid).value_or(std::to_string(uid));
}

std::string Accounts::group(unsigned gid) const {
  return groups_.name_of(gid).value_or(std::to_string(gid));
}

}  // namespace sandkey::e2b_envd
