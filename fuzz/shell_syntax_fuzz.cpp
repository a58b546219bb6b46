// Splitting a command loses nothing but blanks, and never crashes.
#include "sandkey/agent/shell/shell_syntax.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

bool blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

void append_visible(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (!blank(c)) out.push_back(c);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(data, data + size);
  const std::vector<std::string> pieces = sandkey::agent::split_commands(input);
  require(!pieces.empty());

  std::string expected;
  append_visible(expected, input);
  std::string found;
  for (const std::string& piece : pieces) {
    if (pieces.size() > 1) require(!piece.empty() && !blank(piece.back()));
    require(piece.empty() || input.find(piece) != std::string::npos);
    append_visible(found, piece);
  }
  require(found == expected);

  const auto key = sandkey::agent::control_key(input);
  require(!key || sandkey::agent::is_special_key(input));
  return 0;
}
