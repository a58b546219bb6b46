#include "sandkey/providers/e2b/emulator/envd/signature.h"

#include "sandkey/base/base64.h"
#include "sandkey/credentials/sha256.h"

#include <cstddef>

namespace sandkey::e2b_envd {
namespace {

std::string bytes_of_hex(std::string_view hex) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes += static_cast<char>(static_cast<unsigned char>(digit(hex[at]) * 16 + digit(hex[at + 1])));
  return bytes;
}

}  // namespace

std::string file_signature(std::string_view path, FileOperation operation, std::string_view user,
                           std::string_view token, std::optional<std::int64_t> expiration) {
  Sha256 hash;
  hash.update(path).update(operation == FileOperation::read ? ":read:" : ":write:");
  hash.update(user).update(":").update(token);
  if (expiration) hash.update(":").update(std::to_string(*expiration));
  std::string text = base64_encode(bytes_of_hex(hash.hex_digest()));
  while (text.ends_with('=')) text.pop_back();
  return "v1_" + text;
}

bool equal_secrets(std::string_view left, std::string_view right) noexcept {
  if (left.size() != right.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < left.size(); ++i)
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(left[i]) ^ static_cast<unsigned char>(right[i]));
  return difference == 0;
}

}  // namespace sandkey::e2b_envd
