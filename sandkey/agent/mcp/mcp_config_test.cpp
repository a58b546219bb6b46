#include "sandkey/agent/mcp/mcp_config.h"

#include "sandkey/net/http_server.h"

#include <gtest/gtest.h>

#include <string>

namespace sandkey::agent {
namespace {

int status_of(const std::string& body) {
  try {
    (void)parse_mcp_servers(body);
  } catch (const net::HttpError& error) {
    return error.status();
  }
  return 200;
}

TEST(McpConfig, ReadsWhatOpenHandsSends) {
  const auto servers = parse_mcp_servers(
      R"([{"name": " fetch ", "command": "uvx", "args": ["mcp-server-fetch", ""], "env": {"A": "b=c", "B": ""}},
          {"name": "bare", "command": "/opt/a server"}, {"name": "nulls", "command": "x", "args": null, "env": null}])");
  ASSERT_EQ(servers.size(), 3U);
  EXPECT_EQ(servers[0],
            (McpServerConfig{"fetch", "uvx", {"mcp-server-fetch", ""}, {{"A", "b=c"}, {"B", ""}}}));
  EXPECT_EQ(servers[1], (McpServerConfig{"bare", "/opt/a server", {}, {}}));
  EXPECT_EQ(servers[2], (McpServerConfig{"nulls", "x", {}, {}}));
  EXPECT_TRUE(parse_mcp_servers("[]").empty());
}

TEST(McpConfig, KeepsTheLastOfEqualNames) {
  const auto servers = parse_mcp_servers(
      R"([{"name": "a", "command": "1"}, {"name": "b", "command": "2"}, {"name": "a", "command": "3"}])");
  ASSERT_EQ(servers.size(), 2U);
  EXPECT_EQ(servers[0].name, "b");
  EXPECT_EQ(servers[1].command, "3");
}

TEST(McpConfig, RefusesWhatIsNotAList) {
  EXPECT_EQ(status_of(""), 400);
  EXPECT_EQ(status_of("[{]"), 400);
  EXPECT_EQ(status_of("{}"), 400);
  EXPECT_EQ(status_of("null"), 400);
}

TEST(McpConfig, RefusesWhatIsNotAServer) {
  for (const char* entry :
       {R"(1)", R"({})", R"({"name": "a"})", R"({"command": "x"})", R"({"name": "", "command": "x"})",
        R"({"name": "a b", "command": "x"})", R"({"name": "a", "command": " "})",
        R"({"name": 1, "command": "x"})", R"({"name": "a", "command": "x", "args": "y"})",
        R"({"name": "a", "command": "x", "args": [1]})", R"({"name": "a", "command": "x", "env": []})",
        R"({"name": "a", "command": "x", "env": {"A": 1}})",
        R"({"name": "a", "command": "x", "env": {"": "1"}})",
        R"({"name": "a", "command": "x", "env": {"A=": "1"}})",
        R"({"name": "a", "command": "x", "args": ["\u0000"]})", R"({"name": "a", "command": "x\u0000y"})"}) {
    EXPECT_EQ(status_of("[" + std::string(entry) + "]"), 422) << entry;
  }
}

TEST(McpConfig, BoundsTheirNumber) {
  std::string body;
  for (std::size_t i = 0; i < kMaxMcpServers; ++i) {
    body +=
        (i == 0 ? "[" : ",") + std::string(R"({"name": "s)") + std::to_string(i) + R"(", "command": "x"})";
  }
  EXPECT_EQ(parse_mcp_servers(body + "]").size(), kMaxMcpServers);
  EXPECT_EQ(status_of(body + R"(,{"name": "more", "command": "x"}])"), 422);
}

}  // namespace
}  // namespace sandkey::agent
