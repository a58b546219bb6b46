// gzip (RFC 1952) as it streams, and in one go.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::machine {

class Compressor {
 public:
  Compressor();
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // What is ready after these bytes; with `last`, all that is left.
  [[nodiscard]] std::string feed(std::string_view bytes, bool last);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Throws std::invalid_argument for what is not gzip. Several members may follow each other.
class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // Input for decompress(), which must have taken all of the last.
  void feed(std::string_view bytes);
  // At most `size` bytes of plain text; empty when more input is needed.
  [[nodiscard]] std::string take(std::size_t size);
  // Whether the input so far ends where a member does.
  [[nodiscard]] bool complete() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Nothing for what is not gzip, is incomplete, or becomes longer than `limit`.
[[nodiscard]] std::optional<std::string> gunzip(std::string_view bytes, std::size_t limit);

}  // namespace sandkey::machine
