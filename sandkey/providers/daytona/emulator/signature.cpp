#include "sandkey/providers/daytona/emulator/signature.h"

#include "sandkey/base/base64.h"

#include <array>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace sandkey::daytona::emulator {

std::string file_signature(std::string_view key, std::string_view method, std::string_view path,
                           std::string_view expires) {
  std::string message = "v1:files:";
  message.append(method).append(":").append(path).append(":").append(expires);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  ::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest.data(), &length);
  std::string text = base64_encode({reinterpret_cast<const char*>(digest.data()), length});
  while (text.ends_with('=')) text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return "v1_" + text;
}

}  // namespace sandkey::daytona::emulator
