// Files of devboxes, as the API has them.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/api.h"
#include "sandkey/providers/runloop/emulator/fleet.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace sandkey::runloop::emulator {

// A relative path, and one that begins with "~", is within the home; others are as they are. Throws
// ApiError(400) for one that cannot be a file's.
[[nodiscard]] std::string resolve_path(std::string_view path, std::string_view home);

class FileRoutes {
 public:
  // Adds its routes; all must outlive them.
  FileRoutes(sandkey::emulator::World& world, Fleet& fleet, Api& api);

 private:
  using Exchange = net::HttpExchange;
  using Account = sandkey::emulator::Account;
  using Arguments = sandkey::emulator::Arguments;
  using Action = asio::awaitable<void> (FileRoutes::*)(Exchange&, const Account&, Arguments);
  void add(Api& api, const char* route, Action action);

  asio::awaitable<void> read(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> write(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> upload(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> download(Exchange& exchange, const Account& account, Arguments arguments);

  // What a shell would say if it could not write there; empty if it can.
  asio::awaitable<std::string> obstacle(std::shared_ptr<sandkey::emulator::LocalSandbox> local,
                                        std::string path);
  asio::awaitable<void> send(Exchange& exchange, DevboxPtr devbox, std::string path, bool as_text);

  sandkey::emulator::World& world_;
  Fleet& fleet_;
};

}  // namespace sandkey::runloop::emulator
