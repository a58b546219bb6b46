#include "sandkey/emulator/machine/gzip.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace sandkey::machine {
namespace {

std::string compressed(const std::string& text) {
  Compressor compressor;
  return compressor.feed(text, true);
}

// Fed and taken in pieces.
std::string decompressed(const std::string& bytes, std::size_t in, std::size_t out) {
  Decompressor decompressor;
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += in) {
    decompressor.feed(std::string_view(bytes).substr(at, in));
    for (std::string piece = decompressor.take(out); !piece.empty(); piece = decompressor.take(out))
      text += piece;
  }
  EXPECT_TRUE(decompressor.complete());
  return text;
}

TEST(Gzip, ReadsWhatItWritesInAnyPieces) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * i) + (i % 7 == 0 ? "\n" : " ");
  const std::string bytes = compressed(text);
  EXPECT_LT(bytes.size(), text.size());
  for (const std::size_t in : {std::size_t{1}, std::size_t{10}, std::size_t{4096}, bytes.size()}) {
    for (const std::size_t out : {std::size_t{1}, std::size_t{1000}, std::size_t{1000000}})
      EXPECT_EQ(decompressed(bytes, in, out), text) << in << " " << out;
  }
  EXPECT_EQ(decompressed(compressed(""), 3, 3), "");
}

TEST(Gzip, WritesPieceByPiece) {
  Compressor compressor;
  std::string bytes = compressor.feed("one ", false);
  bytes += compressor.feed("two", false);
  bytes += compressor.feed("", true);
  EXPECT_EQ(gunzip(bytes, 100), "one two");
}

TEST(Gzip, SeveralMembersAreOne) {
  EXPECT_EQ(gunzip(compressed("one ") + compressed("two"), 100), "one two");
}

TEST(Gzip, HasABound) {
  const std::string bytes = compressed(std::string(1000, 'x'));
  EXPECT_EQ(gunzip(bytes, 1000), std::string(1000, 'x'));
  EXPECT_EQ(gunzip(bytes, 999), std::nullopt);
}

TEST(Gzip, RefusesWhatItIsNot) {
  const std::string bytes = compressed("some text");
  std::string damaged = bytes;
  damaged[bytes.size() - 6] = static_cast<char>(damaged[bytes.size() - 6] ^ 1);  // of the checksum
  for (const std::string& bad :
       {std::string("no gzip"), bytes.substr(0, bytes.size() - 1), damaged, bytes + "x"})
    EXPECT_EQ(gunzip(bad, 100), std::nullopt);
  EXPECT_EQ(gunzip("", 100), "");
  Decompressor decompressor;
  decompressor.feed("no gzip");
  EXPECT_THROW((void)decompressor.take(10), std::invalid_argument);
}

}  // namespace
}  // namespace sandkey::machine
