#include "sandkey/emulator/random_text.h"

#include <cstdint>

namespace sandkey::emulator {

std::string random_text(const Engine& engine, std::size_t length, std::string_view alphabet) {
  // Bytes beyond the last whole multiple would favour the first characters.
  const std::size_t limit = 256 - 256 % alphabet.size();
  std::string text;
  while (true) {
    std::uint64_t bits = engine.random();
    for (int i = 0; i < 8; ++i, bits >>= 8) {
      if (text.size() == length) return text;
      const std::size_t byte = bits & 0xFF;
      if (byte < limit) text += alphabet[byte % alphabet.size()];
    }
  }
}

std::string random_hex(const Engine& engine, std::size_t digits) {
  return random_text(engine, digits, "0123456789abcdef");
}

std::string random_uuid(const Engine& engine) {
  std::string text = random_hex(engine, 32);
  text[12] = '4';
  text[16] = random_text(engine, 1, "89ab")[0];
  for (std::size_t at = 20; at >= 8; at -= 4) text.insert(at, "-");
  return text;
}

}  // namespace sandkey::emulator
