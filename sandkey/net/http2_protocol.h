// HTTP/2 for an HttpServer, without TLS (prior knowledge) or behind a TlsListener: the same handlers, many
// requests at once on one connection, and trailers.
//
//   HttpServer server(executor, handler, options, http2_protocol());
//
// Bounded like HTTP/1.1: a peer may have kMaxHttp2Streams requests running, each of which holds at most
// kHttp2StreamWindow of a body nobody has read, and a connection kHttp2ConnectionWindow of all of them; a
// reply goes out as fast as its reader takes it. libnghttp2 stays behind this header.
#pragma once

#include "sandkey/net/http_server.h"

#include <cstdint>
#include <memory>

namespace sandkey::net {

inline constexpr std::uint32_t kMaxHttp2Streams = 128;
inline constexpr std::uint32_t kHttp2StreamWindow = 256 * 1024;
inline constexpr std::uint32_t kHttp2ConnectionWindow = 1024 * 1024;

[[nodiscard]] std::shared_ptr<HttpProtocol> http2_protocol();

}  // namespace sandkey::net
