#include "sandkey/providers/daytona/emulator/toolbox/ids.h"

#include "sandkey/base/base64.h"
#include "sandkey/net/ascii.h"

#include <array>
#include <cstdio>

namespace sandkey::daytona_toolbox {

std::string random_hex(Engine& engine) {
  std::array<char, 40> text{};
  (void)std::snprintf(text.data(), text.size(), "%016llx%016llx",
                      static_cast<unsigned long long>(engine.random()),
                      static_cast<unsigned long long>(engine.random()));
  return text.data();
}

std::string random_uuid(Engine& engine) {
  std::string hex = random_hex(engine);
  hex[12] = '4';
  hex[16] = "89ab"[static_cast<std::size_t>(hex[16]) % 4];
  for (const std::size_t at : {8U, 13U, 18U, 23U}) hex.insert(at, 1, '-');
  return hex;
}

bool is_token(std::string_view subprotocol, std::string_view name) noexcept {
  return subprotocol.size() > name.size() && subprotocol[name.size()] == '~' &&
         same_ignoring_case(subprotocol.substr(0, name.size()), name);
}

std::string base64url_decode(std::string_view text) {
  std::string plain(text);
  for (char& c : plain) {
    if (c == '+' || c == '/' || c == '=') return {};
    if (c == '-') c = '+';
    if (c == '_') c = '/';
  }
  return base64_decode(plain).value_or("");
}

}  // namespace sandkey::daytona_toolbox
