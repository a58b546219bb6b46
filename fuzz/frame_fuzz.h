// For the fuzzers of streamed messages: the same frames, or the same error, in whatever pieces the bytes
// come.
#pragma once

#include "sandkey/base/error.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

template <typename Decoder>
struct FuzzOutcome {
  std::vector<typename Decoder::Frame> frames;
  std::optional<ErrorCode> error;
  std::string message;
  bool operator==(const FuzzOutcome&) const = default;
};

template <typename Decoder>
FuzzOutcome<Decoder> fuzz_decode(Decoder decoder, std::string_view bytes, std::size_t piece) {
  FuzzOutcome<Decoder> outcome;
  try {
    const auto drain = [&] {
      while (auto frame = decoder.next()) outcome.frames.push_back(std::move(*frame));
    };
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      decoder.feed(bytes.substr(0, piece));
      drain();
    }
    decoder.finish();
    drain();
  } catch (const Error& error) {
    outcome.error = error.code();
    outcome.message = error.what();
  }
  return outcome;
}

// The first byte of the input chooses the pieces.
template <typename Decoder>
void fuzz_pieces(const Decoder& decoder, const std::uint8_t* data, std::size_t size) {
  if (size == 0) return;
  const void* const bytes = data + 1;
  const std::string_view stream(static_cast<const char*>(bytes), size - 1);
  const auto whole = fuzz_decode(decoder, stream, stream.size() + 1);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{data[0]} + 2}) {
    if (fuzz_decode(decoder, stream, piece) != whole) std::abort();
  }
}

}  // namespace sandkey
