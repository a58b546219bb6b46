// The companion file viewer: pages that show a sandbox's files to a browser in that sandbox.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <cstddef>

namespace sandkey::net {
class HttpExchange;
}

namespace sandkey::agent {

inline constexpr std::size_t kMaxViewedFile = std::size_t{10} << 20U;

// GET / says that it runs. GET /view?path=ABSOLUTE answers a page titled "File Viewer - <name>": text as it
// is, images and PDF documents embedded. Nothing in the file is run or loaded: the page has no scripts and
// its Content-Security-Policy allows none.
//
// Refusals are pages too: 400 for a path that is not absolute or no file, 403 for a file that may not be read
// or a request that was not made to this machine, 404 for a missing file, 413 beyond kMaxViewedFile, 415 for
// other binary files. A missing path, other addresses and methods are net::HttpErrors (422, 404, 405).
//
// There is no authentication: serve it on a loopback address only. The Host header is checked besides,
// against web pages elsewhere that have their own name resolved to that address.
[[nodiscard]] boost::asio::awaitable<void> handle_file_viewer(net::HttpExchange& exchange);

}  // namespace sandkey::agent
