// The parts of an uploaded form, one after the other, as they arrive.
#pragma once

#include "sandkey/net/http_client.h"
#include "sandkey/net/multipart.h"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sandkey::machine {

struct FormPart {
  std::string name;
  std::string filename;  // as it was sent, with folders
};

// What is malformed, or breaks off: what() is what Go's library says.
class FormError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws FormError, and what `body` throws.
class FormReader final : private net::MultipartParser {
 public:
  FormReader(HttpBodySource body, std::string_view boundary)
      : MultipartParser(boundary), body_(std::move(body)) {}

  // Skips what is left of the part before; nothing after the last one.
  boost::asio::awaitable<std::optional<FormPart>> next_part();
  // Of the current part; 0 at its end.
  boost::asio::awaitable<std::size_t> read_some(std::span<std::byte> buffer);

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
  boost::asio::awaitable<bool> fill();

  HttpBodySource body_;
  std::deque<Piece> pieces_;
};

}  // namespace sandkey::machine
