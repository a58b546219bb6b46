// Files and folders into and out of the sandbox, streamed.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <string>

namespace sandkey::net {
class HttpExchange;
}

namespace sandkey::agent {

// OpenHands' routes (openhands/runtime/action_execution_server.py):
// POST /upload_file?destination=ABS&recursive=bool with a form field `file`; a .zip is unpacked into
// destination.
[[nodiscard]] boost::asio::awaitable<void> upload_file(boost::asio::any_io_executor executor,
                                                       net::HttpExchange& exchange);
// GET /download_files?path=ABS: a zip of the folder, uncompressed.
[[nodiscard]] boost::asio::awaitable<void> download_files(boost::asio::any_io_executor executor,
                                                          net::HttpExchange& exchange);

// Sandkey's own:
// GET /sandkey/v1/file?path=ABS[&offset=N][&length=N]: its bytes, with X-Sandkey-Mode (octal). PUT writes it,
// ?mode=644, parents made; with &in_place=1 an existing file is overwritten instead of replaced once all is
// there.
[[nodiscard]] boost::asio::awaitable<void> get_file(net::HttpExchange& exchange);
[[nodiscard]] boost::asio::awaitable<void> put_file(net::HttpExchange& exchange);
// GET /sandkey/v1/tree?path=ABS: a tar of it, named by its last component. PUT unpacks one into path.
[[nodiscard]] boost::asio::awaitable<void> get_tree(boost::asio::any_io_executor executor,
                                                    net::HttpExchange& exchange);
[[nodiscard]] boost::asio::awaitable<void> put_tree(boost::asio::any_io_executor executor,
                                                    net::HttpExchange& exchange);
// GET /sandkey/v1/stat?path=ABS: {"type": "file"|"directory"|"other"|"missing", "size", "mode"}
[[nodiscard]] boost::asio::awaitable<void> get_stat(net::HttpExchange& exchange);

}  // namespace sandkey::agent
