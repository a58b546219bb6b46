// GET and POST /files, POST /files/compose: whole files over plain HTTP.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/form_reader.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/envd/accounts.h"
#include "sandkey/providers/e2b/emulator/envd/signature.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::e2b_envd {

inline constexpr std::size_t kMaxMetadataKey = 246;
inline constexpr std::size_t kMaxMetadata = 4096;  // keys with their prefix, and values, of one file

using Metadata = std::map<std::string, std::string>;

// The X-Metadata-* headers: keys in lower case, of several the first. Throws ApiError(400) for what cannot be
// a file's.
[[nodiscard]] Metadata metadata_of(std::span<const net::HttpExchange::Header> headers);

// Throws ApiError. On one thread; everything referred to must outlive it.
class FileRoutes {
 public:
  // `access_token` empty: no request is checked.
  FileRoutes(Engine& engine, AgentClient& agent, Accounts& accounts, const std::string& access_token,
             std::string workdir);

  asio::awaitable<void> download(net::HttpExchange& exchange);
  asio::awaitable<void> upload(net::HttpExchange& exchange);
  asio::awaitable<void> compose(net::HttpExchange& exchange);

 private:
  // By token or signature.
  void check_allowed(const net::HttpExchange& exchange, FileOperation operation) const;
  asio::awaitable<Account> require_account(std::string name);
  [[nodiscard]] std::string resolve(const std::string& path, const Account& account) const;
  asio::awaitable<RemoteEntry> look_at(std::string path);
  asio::awaitable<void> send_compressed(net::HttpExchange& exchange, std::string path);
  // Gives what the answer says of them.
  asio::awaitable<json::array> upload_form(machine::FormReader& form, std::optional<std::string> wanted,
                                           Account account, Metadata metadata);
  asio::awaitable<void> write(std::string path, HttpBodySource source, Metadata metadata);
  asio::awaitable<void> require_sources(std::vector<std::string> paths, std::vector<std::string> names,
                                        std::string destination);

  Engine& engine_;
  AgentClient& agent_;
  Accounts& accounts_;
  const std::string& access_token_;
  std::string workdir_;
};

}  // namespace sandkey::e2b_envd
