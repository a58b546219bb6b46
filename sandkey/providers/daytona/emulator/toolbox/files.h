// /files: what is in a sandbox, changing it, and carrying it in and out.
#pragma once

#include "sandkey/emulator/machine/form_reader.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sandkey::daytona_toolbox {

// Throws ToolboxError. On one thread; the view must outlive it.
class Files {
 public:
  static constexpr const char* kBoundary = "DAYTONA-FILE-BOUNDARY";

  explicit Files(MachineView& view) : view_(view) {}

  asio::awaitable<void> list(net::HttpExchange& exchange);
  asio::awaitable<void> info(net::HttpExchange& exchange);
  asio::awaitable<void> make_folder(net::HttpExchange& exchange);
  asio::awaitable<void> remove(net::HttpExchange& exchange);
  asio::awaitable<void> move(net::HttpExchange& exchange);
  asio::awaitable<void> set_permissions(net::HttpExchange& exchange);
  asio::awaitable<void> search(net::HttpExchange& exchange);
  asio::awaitable<void> find(net::HttpExchange& exchange);
  asio::awaitable<void> replace(net::HttpExchange& exchange);
  asio::awaitable<void> download(net::HttpExchange& exchange);
  asio::awaitable<void> bulk_download(net::HttpExchange& exchange);
  asio::awaitable<void> upload(net::HttpExchange& exchange);
  asio::awaitable<void> upload_v2(net::HttpExchange& exchange);
  asio::awaitable<void> bulk_upload(net::HttpExchange& exchange);

 private:
  // What is there once links are followed; `shown` is the path as it was given.
  asio::awaitable<RemoteEntry> look_at(std::string path, std::string shown);
  // How many bytes were written.
  asio::awaitable<std::uint64_t> write(std::string path, HttpBodySource source);
  asio::awaitable<void> write_form_file(net::HttpExchange& exchange, std::string path);
  asio::awaitable<void> take_parts(machine::FormReader& form, json::array& errors, json::array& files);
  // Runs one of the programs every image has; ToolboxError(400) with what it says when it fails.
  asio::awaitable<Outcome> run_tool(std::vector<std::string> argv);
  // False: the client is gone.
  asio::awaitable<bool> send_part(net::HttpExchange& exchange, std::string name);
  asio::awaitable<json::object> replace_in(std::string file, std::string pattern, std::string value);

  MachineView& view_;
};

}  // namespace sandkey::daytona_toolbox
