// The bodies of uploads, as they arrive: plain or compressed.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/machine/gzip.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <span>

namespace sandkey::e2b_envd {

// Throws ApiError(400) for what is not what its Content-Encoding says. Valid as long as the exchange.
class RequestBody {
 public:
  explicit RequestBody(net::HttpExchange& exchange);

  // 0 at the end.
  asio::awaitable<std::size_t> read_some(std::span<char> buffer);

 private:
  net::HttpExchange& exchange_;
  std::unique_ptr<machine::Decompressor> decompressor_;
};

}  // namespace sandkey::e2b_envd
