#include "sandkey/emulator/exchange.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace sandkey::emulator {
namespace {

std::string lower(std::string_view text) {
  std::string made(text);
  std::ranges::transform(made, made.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return made;
}

}  // namespace

RecordedExchange::RecordedExchange(net::HttpExchange& next, Journal& journal,
                                   std::shared_ptr<JournalEntry> entry, const KnownSecrets& secrets)
    : ForwardingExchange(next), journal_(journal), entry_(std::move(entry)), secrets_(secrets) {
  journal_.add(entry_);
  const std::string_view target = net::without_authority(next.target());
  const std::size_t mark = std::min(target.find('?'), target.size());
  entry_->method = next.method();
  entry_->path = secrets_.mask(target.substr(0, mark));
  entry_->query = secrets_.mask(target.substr(std::min(mark + 1, target.size())));
  for (const auto& [name, value] : next.headers()) {
    std::string key = lower(name);
    std::string shown = secrets_.mask_header(key, value);
    entry_->headers.emplace_back(std::move(key), std::move(shown));
  }
}

RecordedExchange::~RecordedExchange() {
  write_down();
}

void RecordedExchange::keep(std::string_view bytes) {
  body_ += bytes.substr(0, kMaxJournalBody - std::min(body_.size(), kMaxJournalBody));
}

void RecordedExchange::write_down() {
  journal_.set_body(*entry_, secrets_.mask(shown_ ? shown_(body_) : body_));
}

void RecordedExchange::note_grpc_status(std::span<const Header> headers) {
  for (const auto& [name, value] : headers) {
    if (name == "grpc-status") entry_->grpc_status = value;
  }
}

boost::asio::awaitable<std::size_t> RecordedExchange::read_some(std::span<char> buffer) {
  const std::size_t n = co_await next_.read_some(buffer);
  if (!ended_) keep({buffer.data(), n});  // what an upgraded connection carries is no body
  if (n == 0) ended_ = true;
  co_return n;
}

boost::asio::awaitable<std::string> RecordedExchange::read_body(std::size_t limit) {
  std::string body = co_await next_.read_body(limit);
  keep(body);
  ended_ = true;
  co_return body;
}

bool RecordedExchange::wants_more() const {
  if (ended_ || body_.size() >= kMaxJournalBody) return false;
  if (!next_.header("content-type").starts_with("application/grpc")) return true;
  // Whoever streams a call may wait for the answer before saying more: the first message will do. It stands
  // behind a byte and its length in four.
  constexpr std::size_t kHead = 5;
  if (body_.size() < kHead) return true;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kHead; ++i) size = size << 8U | static_cast<unsigned char>(body_[i]);
  return body_.size() - kHead < size;
}

boost::asio::awaitable<void> RecordedExchange::read_rest() {
  // A client that waits for leave to send it would now get that.
  if (!next_.header("expect").empty()) co_return;
  std::array<char, 16 * 1024> piece{};
  try {
    while (wants_more()) (void)co_await read_some(piece);
  } catch (const net::HttpError&) {  // it broke off: the reply meets that as well
    ended_ = true;
  }
  write_down();
}

boost::asio::awaitable<void> RecordedExchange::reply(int status, std::string body,
                                                     std::string_view content_type,
                                                     std::span<const Header> headers) {
  co_await read_rest();
  entry_->status = status;
  note_grpc_status(headers);
  co_await next_.reply(status, std::move(body), content_type, headers);
}

boost::asio::awaitable<bool> RecordedExchange::start(int status, std::string_view content_type,
                                                     std::optional<std::uint64_t> length,
                                                     std::span<const Header> headers) {
  co_await read_rest();
  entry_->status = status;
  const bool started = co_await next_.start(status, content_type, length, headers);
  co_return started;
}

boost::asio::awaitable<bool> RecordedExchange::finish_with(std::span<const Header> trailers) {
  note_grpc_status(trailers);
  return next_.finish_with(trailers);
}

boost::asio::awaitable<bool> RecordedExchange::upgrade(std::span<const Header> headers) {
  const bool upgraded = co_await next_.upgrade(headers);
  ended_ = true;
  if (upgraded) entry_->status = 101;
  co_return upgraded;
}

boost::asio::awaitable<void> HalfExchange::reply(int status, std::string body, std::string_view content_type,
                                                 std::span<const Header> headers) {
  const bool started = co_await next_.start(status, content_type, body.size(), headers);
  if (started) (void)co_await next_.write(std::span(body.data(), body.size() / 2));
  next_.abort();
}

boost::asio::awaitable<bool> HalfExchange::write(std::span<const char> data) {
  if (broken_) co_return false;
  broken_ = true;
  (void)co_await next_.write(data.first(data.size() / 2));
  next_.abort();
  co_return false;
}

boost::asio::awaitable<void> CutExchange::reply(int status, std::string body, std::string_view content_type,
                                                std::span<const Header> headers) {
  if (body.size() <= left_) {
    co_await next_.reply(status, std::move(body), content_type, headers);
    co_return;
  }
  const bool started = co_await next_.start(status, content_type, body.size(), headers);
  if (started) (void)co_await write(body);
}

boost::asio::awaitable<bool> CutExchange::write(std::span<const char> data) {
  if (broken_) co_return false;
  if (data.size() <= left_) {
    left_ -= data.size();
    co_return co_await next_.write(data);
  }
  broken_ = true;
  (void)co_await next_.write(data.first(static_cast<std::size_t>(left_)));
  next_.abort();
  co_return false;
}

}  // namespace sandkey::emulator
