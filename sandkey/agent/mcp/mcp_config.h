// Which stdio MCP servers to run: the body of POST /update_mcp_server.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::agent {

inline constexpr std::size_t kMaxMcpServers = 64;

struct McpServerConfig {
  std::string name;     // letters, digits, '-' and '_'
  std::string command;  // a program, looked for in PATH
  std::vector<std::string> args;
  std::map<std::string, std::string> env;  // besides the agent's; may hold secrets, so never print it

  friend bool operator==(const McpServerConfig&, const McpServerConfig&) = default;
};

// Reads a JSON array of {name, command, args?, env?}. Throws net::HttpError: 400 when it is not JSON or not
// an array, 422 when a server's description is not one. Of servers with the same name the last one is kept.
[[nodiscard]] std::vector<McpServerConfig> parse_mcp_servers(std::string_view body);

}  // namespace sandkey::agent
