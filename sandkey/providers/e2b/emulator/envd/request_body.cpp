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
  decompressor_ = std::make_unique<Decompressor>();
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

void FormReader::on_part(std::string_view name, std::string_view filename) {
  pieces_.push_back({.kind = Piece::Kind::part,
                     .part = {.name = std::string(name), .filename = std::string(filename)},
                     .data = {}});
}

void FormReader::on_data(std::string_view bytes) {
  pieces_.push_back({.kind = Piece::Kind::data, .part = {}, .data = std::string(bytes)});
}

void FormReader::on_part_end() {
  pieces_.push_back({.kind = Piece::Kind::end, .part = {}, .data = {}});
}

asio::awaitable<bool> FormReader::fill() {
  std::vector<char> buffer(kPiece);
  while (pieces_.empty()) {
    const std::size_t size = co_await body_.read_some(buffer);
    if (size == 0) {
      if (!complete()) throw ApiError(500, "error reading form: multipart: NextPart: EOF");
      co_return false;
    }
    try {
      feed({buffer.data(), size});
    } catch (const std::invalid_argument& error) {
      throw ApiError(500, std::string("error reading form: ") + error.what());
    }
  }
  co_return true;
}

asio::awaitable<std::optional<FormPart>> FormReader::next_part() {
  while (true) {
    const bool more = co_await fill();
    if (!more) co_return std::nullopt;
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    if (piece.kind == Piece::Kind::part) co_return std::move(piece.part);
  }
}

asio::awaitable<std::size_t> FormReader::read_some(std::span<char> buffer) {
  while (true) {
    const bool more = co_await fill();
    if (!more) co_return 0;
    Piece& piece = pieces_.front();
    if (piece.kind != Piece::Kind::data)
      co_return 0;  // the end stays, so that the next read is at it as well
    const std::size_t size = std::min(buffer.size(), piece.data.size());
    std::copy_n(piece.data.begin(), size, buffer.begin());
    piece.data.erase(0, size);
    if (piece.data.empty()) pieces_.pop_front();
    if (size > 0) co_return size;
  }
}

}  // namespace sandkey::e2b_envd
