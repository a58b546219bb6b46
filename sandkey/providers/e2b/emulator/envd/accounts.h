// Whom a request works as, and what its paths mean.
//
// A sandbox on this machine has one account that runs everything. Names that the sandbox's /etc/passwd has,
// and the default user's, are accepted, and decide about home, environment and relative paths; the files and
// processes of all of them belong to that one account.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>

#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sandkey::e2b_envd {

struct Account {
  std::string name;
  std::string home;
};

// What() is what envd says.
class PathError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An absolute path as it is; a relative one, and one that begins with '~', within the account's home; an
// empty one is the work folder, or the home where there is none. Throws PathError for another user's '~name'.
[[nodiscard]] std::string resolve_path(std::string_view path, const Account& account,
                                       std::string_view workdir);

// The user in an Authorization header; nothing if it is not of the Basic kind.
[[nodiscard]] std::optional<std::string> basic_user(std::string_view authorization);

// Names and numbers of /etc/passwd or /etc/group, with homes where there are any.
struct NameTable {
  struct Row {
    unsigned number = 0;
    std::string home;
  };
  std::map<std::string, Row, std::less<>> rows;

  [[nodiscard]] static NameTable parse(std::string_view text);
  [[nodiscard]] std::optional<std::string> name_of(unsigned number) const;
};

// The accounts of one sandbox. On one thread.
class Accounts {
 public:
  // `agent` must outlive it.
  Accounts(AgentClient& agent, std::string default_user);

  // An empty name is the default user. Nothing for one that is unknown.
  asio::awaitable<std::optional<Account>> find(std::string name);
  // The names of a file's owner and group; the number where there is none. For use after find().
  [[nodiscard]] std::string owner(unsigned uid) const;
  [[nodiscard]] std::string group(unsigned gid) const;

 private:
  asio::awaitable<void> load();
  asio::awaitable<std::string> read(std::string path);

  AgentClient& agent_;
  std::string default_user_;
  bool loaded_ = false;
  NameTable users_;
  NameTable groups_;
  std::map<std::string, bool, std::less<>> home_exists_;
};

}  // namespace sandkey::e2b_envd
