#include "sandkey/agent/mcp/mcp_config.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"

#include <boost/json/array.hpp>
#include <boost/json/string.hpp>

#include <algorithm>
#include <utility>

namespace sandkey::agent {
namespace {

using net::HttpError;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// What becomes an argument or a variable of a process ends at its first NUL there.
std::string without_nul(std::string_view text, const std::string& what) {
  if (text.find('\0') != std::string_view::npos)
    throw HttpError(422, what + " must not contain a NUL character.");
  return std::string(text);
}

std::vector<std::string> parse_args(const json::value& value, const std::string& of) {
  std::vector<std::string> args;
  if (value.is_null()) return args;
  if (!value.is_array()) throw HttpError(422, "'args'" + of + " must be an array of strings.");
  for (const json::value& arg : value.get_array()) {
    if (!arg.is_string()) throw HttpError(422, "'args'" + of + " must be an array of strings.");
    args.push_back(without_nul(arg.get_string(), "'args'" + of));
  }
  return args;
}

std::map<std::string, std::string> parse_env(const json::value& value, const std::string& of) {
  std::map<std::string, std::string> env;
  if (value.is_null()) return env;
  if (!value.is_object()) throw HttpError(422, "'env'" + of + " must be an object of strings.");
  for (const auto& [name, text] : value.get_object()) {
    if (!text.is_string()) throw HttpError(422, "'env'" + of + " must be an object of strings.");
    if (name.empty() || name.find('=') != json::string_view::npos) {
      throw HttpError(422, "'env'" + of + " has a name that no environment variable can have.");
    }
    env[without_nul(name, "'env'" + of)] = without_nul(text.get_string(), "'env'" + of);
  }
  return env;
}

McpServerConfig parse_server(const json::value& value, std::size_t index) {
  const std::string where = " of MCP server " + std::to_string(index);
  if (!value.is_object()) throw HttpError(422, "MCP server " + std::to_string(index) + " is not an object.");
  const json::object& object = value.get_object();

  McpServerConfig config;
  config.name = trim(find_string(object, "name").value_or(""));
  if (config.name.empty() || !std::all_of(config.name.begin(), config.name.end(), is_name_character)) {
    throw HttpError(422, "The name" + where + " must be letters, digits, hyphens and underscores.");
  }
  const std::string of = " of MCP server '" + config.name + "'";
  config.command = without_nul(trim(find_string(object, "command").value_or("")), "The command" + of);
  if (config.command.empty()) throw HttpError(422, "The command" + of + " is missing.");
  if (const json::value* args = find(object, "args")) config.args = parse_args(*args, of);
  if (const json::value* env = find(object, "env")) config.env = parse_env(*env, of);
  return config;
}

}  // namespace

std::vector<McpServerConfig> parse_mcp_servers(std::string_view body) {
  json::value value;
  try {
    value = parse_json(body, "The request body");
  } catch (const Error& error) {
    throw HttpError(400, error.what());
  }
  if (!value.is_array()) throw HttpError(400, "Request must be a list of MCP tools to sync");
  std::vector<McpServerConfig> servers;
  for (const json::value& entry : value.get_array()) {
    McpServerConfig config = parse_server(entry, servers.size());
    std::erase_if(servers, [&](const McpServerConfig& other) { return other.name == config.name; });
    servers.push_back(std::move(config));
    if (servers.size() > kMaxMcpServers) {
      throw HttpError(422, "There are more than " + std::to_string(kMaxMcpServers) + " MCP servers.");
    }
  }
  return servers;
}

}  // namespace sandkey::agent
