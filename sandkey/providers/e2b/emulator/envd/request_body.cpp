#include "sandkey/providers/e2b/emulator/envd/request_body.h"

#include "sandkey/providers/e2b/emulator/envd/api_error.h"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

constexpr std::size_t kPiece = std::size_t{64} * 1024;

}  // namespace

RequestBody::RequestBody(net::HttpExchange& exchange) : exchange_(exchange) {
  const std::string_view encoding = exchange.header("content-encoding");
  if (encoding.empty() || encoding == "identity") return;
  if (encoding != "gzip") {
    throw ApiError(400, "error decompressing request body: unsupported Content-Encoding: " +
                            std::string(encoding) + ", supported: [gzip]");
  }
  decompressor_ = std::make_unique<machine::Decompressor>();
}

asio::awaitable<std::size_t> RequestBody::read_some(std::span<char> buffer) {
  if (!decompressor_) co_return co_await exchange_.read_some(buffer);
  std::vector<char> compressed(kPiece);
  try {
    while (true) {
      const std::string plain = decompressor_->take(buffer.size());
      if (!plain.empty()) {
        std::ranges::copy(plain, buffer.begin());
        co_return plain.size();
      }
      const std::size_t size = co_await exchange_.read_some(compressed);
      if (size == 0) break;
      decompressor_->feed({compressed.data(), size});
    }
  } catch (const std::invalid_argument& error) {
    throw ApiError(400, std::string("error decompressing request body: ") + error.what());
  }
  if (!decompressor_->complete()) throw ApiError(400, "error decompressing request body: unexpected EOF");
  co_return 0;
}

}  // namespace sandkey::e2b_envd
