// GET /sandkey/v1/watch?path=ABS[&recursive=1]: what changes in a folder, as lines of JSON.
//
//   {"watching": true}                             from now on nothing is missed
//   {"name": "a/b.txt", "events": ["create"]}      relative to the folder, "." for itself
//   {"error": "..."}                               the last line, if it cannot go on
//
// Events, in this order where several are one: create, rename (moved away), attributes, write, remove. What
// is in a folder that appears while it is watched recursively counts as created. Blank lines keep the
// connection alive.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>

namespace sandkey::net {
class HttpExchange;
}

namespace sandkey::agent {

inline constexpr std::size_t kMaxWatchedFolders = 8192;  // of one request
inline constexpr std::chrono::seconds kWatchKeepAlive{15};

// Ends when the client is gone.
[[nodiscard]] boost::asio::awaitable<void> watch_folder(boost::asio::any_io_executor executor,
                                                        net::HttpExchange& exchange);

}  // namespace sandkey::agent
