// /git: repositories in the sandbox, by its own git.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <boost/asio/awaitable.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona_toolbox {

// What `git status --porcelain=v2 --branch -z` printed, in the daemon's words. What is not understood is left
// out.
[[nodiscard]] json::object parse_git_status(std::string_view output);

// What `git log` printed in the format kGitLogFormat.
inline constexpr const char* kGitLogFormat = "--format=%H%x00%an%x00%ae%x00%aI%x00%B%x1e";
[[nodiscard]] json::array parse_git_log(std::string_view output);

// What git's complaint means.
[[nodiscard]] ToolboxError git_error(const std::string& complaint);

// Throws ToolboxError. On one thread; the view must outlive it.
class Git {
 public:
  explicit Git(MachineView& view) : view_(view) {}

  asio::awaitable<void> clone(net::HttpExchange& exchange);
  asio::awaitable<void> init(net::HttpExchange& exchange);
  asio::awaitable<void> add(net::HttpExchange& exchange);
  asio::awaitable<void> commit(net::HttpExchange& exchange);
  asio::awaitable<void> push(net::HttpExchange& exchange);
  asio::awaitable<void> pull(net::HttpExchange& exchange);
  asio::awaitable<void> branches(net::HttpExchange& exchange);
  asio::awaitable<void> create_branch(net::HttpExchange& exchange);
  asio::awaitable<void> delete_branch(net::HttpExchange& exchange);
  asio::awaitable<void> checkout(net::HttpExchange& exchange);
  asio::awaitable<void> status(net::HttpExchange& exchange);
  asio::awaitable<void> history(net::HttpExchange& exchange);
  asio::awaitable<void> reset(net::HttpExchange& exchange);
  asio::awaitable<void> restore(net::HttpExchange& exchange);
  asio::awaitable<void> remotes(net::HttpExchange& exchange);
  asio::awaitable<void> add_remote(net::HttpExchange& exchange);
  asio::awaitable<void> get_config(net::HttpExchange& exchange);
  asio::awaitable<void> set_config(net::HttpExchange& exchange);
  asio::awaitable<void> set_user(net::HttpExchange& exchange);
  asio::awaitable<void> store_credentials(net::HttpExchange& exchange);

 private:
  using Arguments = std::vector<std::string>;
  // In the repository at the path, or anywhere where that is empty. Gives what was printed; throws what
  // git_error() makes of a failure.
  asio::awaitable<std::string> git(std::string path, Arguments arguments, Variables variables);
  asio::awaitable<Outcome> try_git(std::string path, Arguments arguments, Variables variables,
                                   std::string input);

  MachineView& view_;
};

}  // namespace sandkey::daytona_toolbox
