#include "sandkey/providers/runloop/emulator/text_file.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

HttpBodySource source_of(std::string text) {
  struct State {
    std::string text;
    std::size_t read = 0;
  };
  auto state = std::make_shared<State>();
  state->text = std::move(text);
  return [state](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const std::string_view piece = std::string_view(state->text).substr(state->read, buffer.size());
    std::ranges::copy(std::as_bytes(std::span(piece)), buffer.begin());
    state->read += piece.size();
    co_return piece.size();
  };
}

}  // namespace

asio::awaitable<void> write_text(AgentClient& agent, std::string path, std::string text, Deadline deadline) {
  HttpBodySource source = source_of(std::move(text));
  co_await agent.write_file(std::move(path), std::move(source), deadline);
}

}  // namespace sandkey::runloop::emulator
