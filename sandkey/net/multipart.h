// multipart/form-data (RFC 7578), parsed as it arrives.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::net {

// The boundary in a Content-Type header; empty if it is not multipart/form-data or has none that is valid.
[[nodiscard]] std::string multipart_boundary(std::string_view content_type);

// A push parser: feed it the body in any pieces and override what you need. A part's data is passed through
// as it comes, so a part of any size takes constant memory. Throws std::invalid_argument on malformed input.
class MultipartParser {
 public:
  static constexpr std::size_t kMaxPartHeader = std::size_t{8} * 1024;

  explicit MultipartParser(std::string_view boundary);
  virtual ~MultipartParser() = default;

  void feed(std::string_view bytes);
  // Whether the closing boundary was seen; without it the body is incomplete.
  [[nodiscard]] bool complete() const noexcept { return state_ == State::epilogue; }

 protected:
  // `filename` is as sent, possibly empty, possibly a path: judge it before use.
  virtual void on_part(std::string_view name, std::string_view filename) = 0;
  virtual void on_data(std::string_view bytes) = 0;
  virtual void on_part_end() = 0;

 private:
  enum class State { preamble, after_boundary, header, data, epilogue };
  void parse_header(std::string_view header);

  std::string delimiter_;  // "\r\n--boundary"
  std::string buffer_;
  State state_ = State::preamble;
};

}  // namespace sandkey::net
