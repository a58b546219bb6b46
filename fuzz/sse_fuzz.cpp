// Event streams from anywhere. Small limits, so that they are met.
#include "fuzz/frame_fuzz.h"
#include "sandkey/net/sse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sandkey::fuzz_pieces(sandkey::SseDecoder(64, 128), data, size);
  return 0;
}
