// Whatever a program prints, and however it arrives, the screen is the same, valid UTF-8 and bounded.
#include "sandkey/agent/shell/terminal_screen.h"
#include "sandkey/base/utf8.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using sandkey::agent::TerminalScreen;

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

// The first byte chooses how the rest is cut into chunks and where a mark is taken.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t chunk = 1 + data[0] % 16;
  const std::string input(data + 1, data + size);
  constexpr auto kKeep = TerminalScreen::TrailingLines::keep;

  TerminalScreen whole;
  whole.feed(input);

  TerminalScreen parts;
  TerminalScreen::Mark mark = parts.mark();
  for (std::size_t i = 0; i < input.size(); i += chunk) {
    if (i / chunk == data[0] / 16U) mark = parts.mark();
    parts.feed(std::string_view(input).substr(i, chunk));
    require(parts.text_since(parts.mark()).empty());
  }

  const std::string text = whole.text(kKeep);
  require(text == parts.text(kKeep));
  require(whole.text() == parts.text());
  require(whole.size() == parts.size());
  require(whole.lost_lines() == parts.lost_lines());
  require(whole.alternate_screen() == parts.alternate_screen());
  const std::string replies = whole.take_replies();
  require(replies == parts.take_replies());
  require(replies.size() <= TerminalScreen::kMaxReplyBytes);

  require(sandkey::utf8::is_valid(text));
  require(text.find('\r') == std::string::npos && text.find('\x1b') == std::string::npos);
  // History is trimmed to kMaxBytes; a screen's rows, primary and alternate, are bounded one by one.
  require(whole.size() <=
          TerminalScreen::kMaxBytes + 4 * TerminalScreen::kRows * TerminalScreen::kMaxRowBytes);
  require(parts.text().ends_with(parts.text_since(mark)));
  require(parts.text_since({}) == parts.text());

  whole.reset();
  require(whole.size() == 0 && whole.text(kKeep).empty() && !whole.has_replies());
  return 0;
}
