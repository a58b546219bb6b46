// What is in a folder, and changing it: the routes on single entries, beside those that move their content.
//
//   GET    /sandkey/v1/entries?path=ABS[&depth=N][&attributes=PREFIX]   the entry, and N levels below it
//   POST   /sandkey/v1/folder?path=ABS          makes it and its parents; 409 if there is something
//   POST   /sandkey/v1/move?from=ABS&to=ABS     as rename(2), parents made, also between file systems
//   DELETE /sandkey/v1/entries?path=ABS         with all below; nothing there is no error
//   PUT    /sandkey/v1/attributes?path=ABS&prefix=P    {"name": "value"}: all extended attributes of that
//   prefix
//
// An entry is {"path", "type": "file"|"directory"|"symlink"|"other", "size", "mode", "uid", "gid", "modified"
// (nanoseconds since 1970)}; a symlink has "target" as well, resolved as far as it can be, and where it leads
// somewhere "target_type" and "target_mode"; with `attributes`, the extended ones of that prefix, without it.
// Links are listed and never followed, but for the path that was asked for. Order is that of the names.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <cstddef>

namespace sandkey::net {
class HttpExchange;
}

namespace sandkey::agent {

inline constexpr std::size_t kMaxEntries = 100'000;  // in one list; more are HttpError(413)

[[nodiscard]] boost::asio::awaitable<void> list_entries(net::HttpExchange& exchange);
[[nodiscard]] boost::asio::awaitable<void> make_folder(net::HttpExchange& exchange);
[[nodiscard]] boost::asio::awaitable<void> move_entry(net::HttpExchange& exchange);
[[nodiscard]] boost::asio::awaitable<void> remove_entries(net::HttpExchange& exchange);
[[nodiscard]] boost::asio::awaitable<void> set_attributes(net::HttpExchange& exchange);

}  // namespace sandkey::agent
