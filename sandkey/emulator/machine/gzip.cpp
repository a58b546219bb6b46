#include "sandkey/emulator/machine/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>

namespace sandkey::machine {
namespace {

constexpr int kGzip = 16 + MAX_WBITS;  // zlib's way to ask for gzip's framing
constexpr std::size_t kPiece = std::size_t{64} * 1024;

Bytef* bytes_of(const char* data) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(data));  // zlib reads it only
}

}  // namespace

struct Compressor::Impl {
  z_stream stream{};
};

Compressor::Compressor() : impl_(std::make_unique<Impl>()) {
  if (deflateInit2(&impl_->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::bad_alloc();
}

Compressor::~Compressor() {
  deflateEnd(&impl_->stream);
}

std::string Compressor::feed(std::string_view bytes, bool last) {
  z_stream& stream = impl_->stream;
  stream.next_in = bytes_of(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  std::array<char, kPiece> piece;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  do {
    stream.next_out = bytes_of(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    deflate(&stream, last ? Z_FINISH : Z_NO_FLUSH);
    out.append(piece.data(), piece.size() - stream.avail_out);
  } while (stream.avail_out == 0);
  return out;
}

struct Decompressor::Impl {
  z_stream stream{};
  std::string input;
  bool between_members = true;
};

Decompressor::Decompressor() : impl_(std::make_unique<Impl>()) {
  if (inflateInit2(&impl_->stream, kGzip) != Z_OK) throw std::bad_alloc();
}

Decompressor::~Decompressor() {
  inflateEnd(&impl_->stream);
}

void Decompressor::feed(std::string_view bytes) {
  impl_->input = bytes;
  impl_->stream.next_in = bytes_of(impl_->input.data());
  impl_->stream.avail_in = static_cast<uInt>(impl_->input.size());
}

std::string Decompressor::take(std::size_t size) {
  z_stream& stream = impl_->stream;
  std::string out(size, '\0');
  stream.next_out = bytes_of(out.data());
  stream.avail_out = static_cast<uInt>(size);
  // More may come out of what went in before, so that the end of the input is not the end.
  while (stream.avail_out > 0 && (stream.avail_in > 0 || !impl_->between_members)) {
    impl_->between_members = false;
    const int result = inflate(&stream, Z_NO_FLUSH);
    if (result == Z_BUF_ERROR) break;  // it needs more input
    if (result == Z_STREAM_END) {
      impl_->between_members = true;
      if (inflateReset(&stream) != Z_OK) throw std::invalid_argument("gzip: invalid data");
    } else if (result != Z_OK) {
      throw std::invalid_argument("gzip: invalid data");
    }
  }
  out.resize(size - stream.avail_out);
  return out;
}

bool Decompressor::complete() const noexcept {
  return impl_->between_members;
}

std::optional<std::string> gunzip(std::string_view bytes, std::size_t limit) {
  Decompressor decompressor;
  std::string out;
  try {
    while (!bytes.empty()) {
      decompressor.feed(bytes.substr(0, kPiece));
      bytes.remove_prefix(std::min(kPiece, bytes.size()));
      for (std::string piece = decompressor.take(kPiece); !piece.empty(); piece = decompressor.take(kPiece)) {
        if (out.size() + piece.size() > limit) return std::nullopt;
        out += piece;
      }
    }
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
  if (!decompressor.complete()) return std::nullopt;
  return out;
}

}  // namespace sandkey::machine
