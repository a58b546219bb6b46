// Exchanges that stand before another one: to keep a record of it, or to break it.
#pragma once

#include "sandkey/emulator/journal.h"
#include "sandkey/emulator/known_secrets.h"
#include "sandkey/net/http_server.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator {

// Passes everything on. The other must outlive it.
class ForwardingExchange : public net::HttpExchange {
 public:
  explicit ForwardingExchange(net::HttpExchange& next) : next_(next) {}

  std::string_view method() const override { return next_.method(); }
  std::string_view target() const override { return next_.target(); }
  const std::string& path() const override { return next_.path(); }
  std::optional<std::string> query(std::string_view name) const override { return next_.query(name); }
  std::string_view header(std::string_view name) const override { return next_.header(name); }
  std::vector<Header> headers() const override { return next_.headers(); }
  boost::asio::awaitable<std::size_t> read_some(std::span<char> buffer) override {
    return next_.read_some(buffer);
  }
  boost::asio::awaitable<std::string> read_body(std::size_t limit) override { return next_.read_body(limit); }
  boost::asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                                     std::span<const Header> headers) override {
    return next_.reply(status, std::move(body), content_type, headers);
  }
  boost::asio::awaitable<bool> start(int status, std::string_view content_type,
                                     std::optional<std::uint64_t> length,
                                     std::span<const Header> headers) override {
    return next_.start(status, content_type, length, headers);
  }
  boost::asio::awaitable<bool> write(std::span<const char> data) override { return next_.write(data); }
  boost::asio::awaitable<bool> finish() override { return next_.finish(); }
  boost::asio::awaitable<bool> finish_with(std::span<const Header> trailers) override {
    return next_.finish_with(trailers);
  }
  boost::asio::awaitable<bool> upgrade(std::span<const Header> headers) override {
    return next_.upgrade(headers);
  }
  bool peer_gone() const override { return next_.peer_gone(); }
  void abort() override { next_.abort(); }
  bool replied() const override { return next_.replied(); }

 protected:
  net::HttpExchange& next_;
};

// Writes down in a journal's entry what passes.
class RecordedExchange final : public ForwardingExchange {
 public:
  // Adds the entry.
  RecordedExchange(net::HttpExchange& next, Journal& journal, std::shared_ptr<JournalEntry> entry,
                   const KnownSecrets& secrets);
  ~RecordedExchange() override;

  boost::asio::awaitable<std::size_t> read_some(std::span<char> buffer) override;
  boost::asio::awaitable<std::string> read_body(std::size_t limit) override;
  boost::asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                                     std::span<const Header> headers) override;
  boost::asio::awaitable<bool> start(int status, std::string_view content_type,
                                     std::optional<std::uint64_t> length,
                                     std::span<const Header> headers) override;
  boost::asio::awaitable<bool> upgrade(std::span<const Header> headers) override;

  boost::asio::awaitable<bool> finish_with(std::span<const Header> trailers) override;

  // From now on the body is written down as this makes it; what it refers to must outlive the exchange.
  void show_body_by(std::function<std::string(std::string)> shown) { shown_ = std::move(shown); }

  // Takes what is left of the body, as far as the journal wants it.
  boost::asio::awaitable<void> read_rest();

 private:
  void keep(std::string_view bytes);
  [[nodiscard]] bool wants_more() const;
  void write_down();
  void note_grpc_status(std::span<const Header> headers);

  Journal& journal_;
  std::shared_ptr<JournalEntry> entry_;
  const KnownSecrets& secrets_;
  std::string body_;
  std::function<std::string(std::string)> shown_;
  bool ended_ = false;  // nothing more of the body will come
};

// Lets the handler believe that its reply was sent.
class SilentExchange final : public ForwardingExchange {
 public:
  using ForwardingExchange::ForwardingExchange;
  boost::asio::awaitable<void> reply(int, std::string, std::string_view, std::span<const Header>) override {
    replied_ = true;
    co_return;
  }
  boost::asio::awaitable<bool> start(int, std::string_view, std::optional<std::uint64_t>,
                                     std::span<const Header>) override {
    replied_ = true;
    co_return true;
  }
  boost::asio::awaitable<bool> write(std::span<const char>) override { co_return true; }
  boost::asio::awaitable<bool> finish() override { co_return true; }
  boost::asio::awaitable<bool> finish_with(std::span<const Header>) override { co_return true; }
  bool replied() const override { return replied_; }

 private:
  bool replied_ = false;
};

// Sends half of what a reply's body, or its first piece, is, and closes the connection.
class HalfExchange final : public ForwardingExchange {
 public:
  using ForwardingExchange::ForwardingExchange;
  boost::asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                                     std::span<const Header> headers) override;
  boost::asio::awaitable<bool> write(std::span<const char> data) override;

 private:
  bool broken_ = false;
};

// Sends so many bytes of a reply's body, and breaks it off there.
class CutExchange final : public ForwardingExchange {
 public:
  CutExchange(net::HttpExchange& next, std::uint64_t bytes) : ForwardingExchange(next), left_(bytes) {}
  boost::asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                                     std::span<const Header> headers) override;
  boost::asio::awaitable<bool> write(std::span<const char> data) override;

 private:
  std::uint64_t left_;
  bool broken_ = false;
};

}  // namespace sandkey::emulator
