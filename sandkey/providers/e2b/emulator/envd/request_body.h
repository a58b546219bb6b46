// The bodies of uploads, as they arrive: plain or compressed, and the forms in them.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_server.h"
#include "sandkey/net/multipart.h"
#include "sandkey/providers/e2b/emulator/envd/gzip.h"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sandkey::e2b_envd {

// Throws ApiError(400) for what is not what its Content-Encoding says. Valid as long as the exchange.
class RequestBody {
 public:
  explicit RequestBody(net::HttpExchange& exchange);

  // 0 at the end.
  asio::awaitable<std::size_t> read_some(std::span<char> buffer);

 private:
  net::HttpExchange& exchange_;
  std::unique_ptr<Decompressor> decompressor_;
};

struct FormPart {
  std::string name;
  std::string filename;  // as it was sent, with folders
};

// The parts of a form one after the other. Throws ApiError(500) for a malformed form, as envd does.
class FormReader final : private net::MultipartParser {
 public:
  FormReader(RequestBody& body, std::string_view boundary) : MultipartParser(boundary), body_(body) {}

  // Skips what is left of the part before; nothing after the last one.
  asio::awaitable<std::optional<FormPart>> next_part();
  // Of the current part; 0 at its end.
  asio::awaitable<std::size_t> read_some(std::span<char> buffer);

 private:
  struct Piece {
    enum class Kind { part, data, end } kind = Kind::data;
    FormPart part = {};
    std::string data = {};
  };
  void on_part(std::string_view name, std::string_view filename) override;
  void on_data(std::string_view bytes) override;
  void on_part_end() override;
  // False when the form is over.
  asio::awaitable<bool> fill();

  RequestBody& body_;
  std::deque<Piece> pieces_;
};

}  // namespace sandkey::e2b_envd
