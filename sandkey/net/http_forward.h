// Passes a request on to another server and its answer back: a reverse proxy's one step.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace sandkey::net {

struct ForwardOptions {
  std::string host = {};                            // instead of the Host that came; empty: that one
  std::vector<std::string> dropped_headers = {};    // of the request, in lower case
  std::size_t max_header_bytes = 64 * 1024;         // of the answer
  std::chrono::milliseconds head_timeout{600'000};  // for the answer to begin
};

// What came of it. Where no answer was sent, the caller gives one.
enum class Forwarded { answered, no_answer };

// Speaks HTTP/1.1 over `server`, a connected stream socket that is used for this request only. Bodies stream
// both ways at once, each as fast as it is taken; a protocol the server switches to (WebSocket) is carried as
// bytes until either side ends. A server that breaks off in mid-answer breaks the exchange off; a client that
// leaves is told to the server by the end of its connection, even while neither sends anything.
[[nodiscard]] boost::asio::awaitable<Forwarded> forward(HttpExchange& exchange,
                                                        boost::asio::any_io_executor executor,
                                                        UniqueFd server, ForwardOptions options);

}  // namespace sandkey::net
