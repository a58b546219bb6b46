// Events from anywhere: what is accepted is written so that it reads back the same, as valid UTF-8.
#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/codec.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sandkey;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Event event;
  try {
    event = parse_event(parse_json(text, "input"));
  } catch (const Error&) {
    return 0;
  }
  const std::string written = serialize(event);
  if (!utf8::is_valid(written) || written.find('\n') != std::string::npos) std::abort();
  const Event back = parse_event(parse_json(written, "own output"));  // an exception here is a finding, too
  if (back != event || serialize(back) != written) std::abort();
  (void)truncate_content(text);
  if (const auto* observation = std::get_if<Observation>(&event)) (void)to_text(*observation);
  return 0;
}
