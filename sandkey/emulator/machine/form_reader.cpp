#include "sandkey/emulator/machine/form_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace sandkey::machine {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kPiece = std::size_t{64} * 1024;

}  // namespace

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
  std::vector<std::byte> buffer(kPiece);
  while (pieces_.empty()) {
    const std::size_t size = co_await body_(buffer);
    if (size == 0) {
      if (!complete()) throw FormError("multipart: NextPart: EOF");
      co_return false;
    }
    try {
      feed({reinterpret_cast<const char*>(buffer.data()), size});
    } catch (const std::invalid_argument& error) {
      throw FormError(error.what());
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

asio::awaitable<std::size_t> FormReader::read_some(std::span<std::byte> buffer) {
  while (true) {
    const bool more = co_await fill();
    if (!more) co_return 0;
    Piece& piece = pieces_.front();
    if (piece.kind != Piece::Kind::data)
      co_return 0;  // the end stays, so that the next read is at it as well
    const std::size_t size = std::min(buffer.size(), piece.data.size());
    std::memcpy(buffer.data(), piece.data.data(), size);
    piece.data.erase(0, size);
    if (piece.data.empty()) pieces_.pop_front();
    if (size > 0) co_return size;
  }
}

}  // namespace sandkey::machine
