// Lines of JSON from anywhere. A small limit, so that it is met.
#include "fuzz/frame_fuzz.h"
#include "sandkey/net/ndjson.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sandkey::fuzz_pieces(sandkey::NdjsonDecoder(64), data, size);
  return 0;
}
