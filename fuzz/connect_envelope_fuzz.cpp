// Connect envelopes from anywhere; what was read can be written again, byte for byte.
#include "fuzz/frame_fuzz.h"
#include "sandkey/net/connect_envelope.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sandkey;
  fuzz_pieces(ConnectDecoder(64), data, size);
  if (size == 0) return 0;
  const void* const bytes = data + 1;
  const std::string_view stream(static_cast<const char*>(bytes), size - 1);
  std::string again;
  for (const ConnectMessage& message : fuzz_decode(ConnectDecoder(64), stream, size).frames) {
    again += connect_envelope(message.payload, message.end_of_stream);
    if (!message.end_of_stream) continue;
    try {
      (void)parse_connect_end(message.payload);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::protocol) std::abort();
    }
  }
  if (!stream.starts_with(again)) std::abort();
  return 0;
}
