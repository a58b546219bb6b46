// Whole files between a sandbox and who speaks HTTP to the server inside it.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/http_server.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::machine {

// Whether it is the sandbox that is out of reach, so that nobody can be answered.
[[nodiscard]] bool is_lost(const Error& error) noexcept;

[[nodiscard]] std::span<char> chars(std::span<std::byte> bytes) noexcept;

// What is there once links are followed. Error(not_found) if nothing is.
[[nodiscard]] boost::asio::awaitable<RemoteEntry> look_through(AgentClient& agent, std::string path,
                                                               Deadline deadline);

// As AgentClient's, but what the source throws is thrown as it is.
[[nodiscard]] boost::asio::awaitable<void> write_file(AgentClient& agent, std::string path,
                                                      HttpBodySource source);

struct SendOptions {
  std::string content_type = {};  // empty: by name and content
  std::vector<net::HttpExchange::Header> headers = {};
};

// Answers with the regular file of that entry, or with the part of it that is asked for, as Go's
// http.ServeContent: one range, If-Range, If-Modified-Since. Throws Error before anything is sent.
[[nodiscard]] boost::asio::awaitable<void> send_file(net::HttpExchange& exchange, AgentClient& agent,
                                                     std::string path, RemoteEntry entry,
                                                     SendOptions options);

}  // namespace sandkey::machine
