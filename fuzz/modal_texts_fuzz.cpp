// What Modal sends as plain text: short-lived tokens, and tags that anybody may have written.
#include "sandkey/providers/modal/tags.h"
#include "sandkey/providers/modal/web_token.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)sandkey::modal::expiry_of(text);

  const std::size_t half = size / 2;
  const std::map<std::string, std::string> tags{{"sandkey-sid", std::string(text.substr(0, half))},
                                                {"sandkey-sid.1", std::string(text.substr(half))}};
  (void)sandkey::modal::labels_of(tags);
  // What we write we can read.
  const sandkey::Labels labels{{"sandkey-sid", std::string(text)}};
  if (sandkey::modal::labels_of(sandkey::modal::to_tags(labels)) != labels) std::abort();
  return 0;
}
