#include "sandkey/emulator/machine/file_transfer.h"

#include "sandkey/emulator/machine/http_content.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace sandkey::machine {
namespace {

using net::HttpExchange;

constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kSniffed = 512;

// Keeps what the source throws, which is not the agent's doing.
HttpBodySource watched(HttpBodySource source, std::shared_ptr<std::exception_ptr> thrown) {
  return [source = std::move(source),
          thrown = std::move(thrown)](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    try {
      co_return co_await source(buffer);
    } catch (...) {
      *thrown = std::current_exception();
      throw;
    }
  };
}

std::string range_text(ByteRange part, std::uint64_t size) {
  return "bytes " + std::to_string(part.first) + "-" + std::to_string(part.first + part.length - 1) + "/" +
         std::to_string(size);
}

asio::awaitable<void> send_part(HttpExchange& exchange, AgentClient& agent, std::string path, ByteRange part,
                                int status, SendOptions options) {
  HttpStream file = co_await agent.open_file(path, part.first, part.length);
  std::vector<std::byte> buffer(kPiece);
  std::size_t size = 0;
  if (part.length > 0) size = co_await file.read_some(buffer);
  const std::string type = options.content_type.empty()
                               ? content_type_of(path, {chars(buffer).data(), std::min(size, kSniffed)})
                               : options.content_type;
  bool alive = co_await exchange.start(status, type, part.length, options.headers);
  std::uint64_t left = part.length;
  while (alive && left > 0 && size > 0) {
    left -= size;
    alive = co_await exchange.write(chars(std::span(buffer).first(size)));
    if (alive && left > 0) size = co_await file.read_some(buffer);
  }
  if (alive && left > 0) exchange.abort();  // it became shorter meanwhile
  if (alive && left == 0) (void)co_await exchange.finish();
}

}  // namespace

bool is_lost(const Error& error) noexcept {
  return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::sandbox_dead ||
         error.code() == ErrorCode::cancelled;
}

std::span<char> chars(std::span<std::byte> bytes) noexcept {
  return {reinterpret_cast<char*>(bytes.data()), bytes.size()};
}

asio::awaitable<RemoteEntry> look_through(AgentClient& agent, std::string path, Deadline deadline) {
  std::vector<RemoteEntry> entries = co_await agent.entries(path, 0, deadline);
  RemoteEntry entry = std::move(entries.front());
  if (entry.type != RemoteEntry::Type::symlink) co_return entry;
  if (!entry.target_type) throw Error(ErrorCode::not_found, "there is nothing at " + path);
  entries = co_await agent.entries(entry.target, 0, deadline);
  co_return std::move(entries.front());
}

asio::awaitable<void> write_file(AgentClient& agent, std::string path, HttpBodySource source) {
  const auto thrown = std::make_shared<std::exception_ptr>();
  HttpBodySource from = watched(std::move(source), thrown);
  try {
    co_await agent.write_file(std::move(path), std::move(from), kNoDeadline);
  } catch (const Error&) {
    if (*thrown && !is_cancellation(*thrown)) std::rethrow_exception(*thrown);
    throw;
  }
}

asio::awaitable<void> send_file(HttpExchange& exchange, AgentClient& agent, std::string path,
                                RemoteEntry entry, SendOptions options) {
  const auto modified = std::chrono::sys_seconds(std::chrono::floor<std::chrono::seconds>(entry.modified));
  const std::string last_modified = http_date(modified);
  options.headers.emplace_back("Accept-Ranges", "bytes");
  options.headers.emplace_back("Last-Modified", last_modified);
  const auto since = parse_http_date(exchange.header("if-modified-since"));
  if (since && modified <= *since) {
    std::string none;
    co_await exchange.reply(304, std::move(none), std::string_view(), options.headers);
    co_return;
  }
  const std::string_view if_range = exchange.header("if-range");
  const bool whole = !if_range.empty() && if_range != last_modified;
  const RangeChoice choice = choose_range(whole ? std::string_view() : exchange.header("range"), entry.size);
  if (choice.unsatisfiable) {
    const std::string range = "bytes */" + std::to_string(entry.size);
    options.headers.emplace_back("Content-Range", range);
    std::string body = "invalid range: failed to overlap\n";
    co_await exchange.reply(416, std::move(body), "text/plain; charset=utf-8", options.headers);
    co_return;
  }
  const ByteRange part = choice.bytes.value_or(ByteRange{.first = 0, .length = entry.size});
  std::string range;
  if (choice.bytes) {
    range = range_text(part, entry.size);
    options.headers.emplace_back("Content-Range", range);
  }
  co_await send_part(exchange, agent, std::move(path), part, choice.bytes ? 206 : 200, std::move(options));
}

}  // namespace sandkey::machine
