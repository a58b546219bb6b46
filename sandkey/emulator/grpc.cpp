#include "sandkey/emulator/grpc.h"

#include "sandkey/base/base64.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/wire_format_lite.h>
#include <limits>

namespace sandkey::emulator::grpc {
namespace {

using google::protobuf::Message;
using net::HttpExchange;

constexpr std::string_view kContentType = "application/grpc";
constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kHead = 5;
constexpr unsigned char kCompressed = 1;
constexpr std::size_t kTimeoutDigits = 8;
constexpr const char* kMalformed = R"({"@malformed": true})";

std::string json_of(const Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  return status.ok() ? text : kMalformed;
}

// Of a message that breaks off, the fields that are whole.
std::string whole_fields(std::string_view bytes) {
  google::protobuf::io::CodedInputStream in(
      static_cast<const std::uint8_t*>(static_cast<const void*>(bytes.data())),
      static_cast<int>(bytes.size()));
  std::size_t whole = 0;
  for (std::uint32_t tag = in.ReadTag(); tag != 0; tag = in.ReadTag()) {
    if (!google::protobuf::internal::WireFormatLite::SkipField(&in, tag)) break;
    whole = static_cast<std::size_t>(in.CurrentPosition());
  }
  return std::string(bytes.substr(0, whole));
}

std::vector<HttpExchange::Header> views(const std::vector<std::pair<std::string, std::string>>& headers) {
  return {headers.begin(), headers.end()};
}

std::string without_padding(std::string base64) {
  base64.erase(base64.find_last_not_of('=') + 1);
  return base64;
}

}  // namespace

Code from_http(int status) noexcept {
  switch (status) {
    case 400:
      return Code::invalid_argument;
    case 401:
      return Code::unauthenticated;
    case 403:
      return Code::permission_denied;
    case 404:
      return Code::not_found;
    case 408:
      return Code::deadline_exceeded;
    case 413:
    case 429:
      return Code::resource_exhausted;
    case 503:
      return Code::unavailable;
    default:
      return Code::internal;
  }
}

std::string frame(std::string_view message) {
  if (message.size() > kMaxMessage) throw CallError(Code::resource_exhausted, "the message is too large");
  std::string framed(kHead, '\0');
  for (std::size_t i = 1; i < kHead; ++i) {
    framed[i] = static_cast<char>(message.size() >> (8 * (kHead - 1 - i)) & 0xFF);
  }
  framed += message;
  return framed;
}

void MessageReader::feed(std::string_view bytes) {
  buffer_.erase(0, std::exchange(begin_, 0));
  buffer_ += bytes;
}

std::optional<std::string> MessageReader::next() {
  const std::string_view left = std::string_view(buffer_).substr(begin_);
  if (left.size() < kHead) {
    if (finished_ && !left.empty())
      throw CallError(Code::internal, "the request ends within a message's head");
    return std::nullopt;
  }
  const auto byte = [left](std::size_t i) { return static_cast<unsigned char>(left[i]); };
  if (byte(0) == kCompressed) throw CallError(Code::unimplemented, "compressed messages are not supported");
  if (byte(0) != 0) throw CallError(Code::internal, "a message has the flags " + std::to_string(byte(0)));
  std::uint32_t size = 0;
  for (std::size_t i = 1; i < kHead; ++i) size = size << 8U | byte(i);
  if (size > kMaxMessage) {
    throw CallError(Code::resource_exhausted, "received message larger than max (" + std::to_string(size) +
                                                  " vs. " + std::to_string(kMaxMessage) + ")");
  }
  if (left.size() < kHead + size) {
    if (finished_) throw CallError(Code::internal, "the request ends within a message");
    return std::nullopt;
  }
  begin_ += kHead + size;
  return std::string(left.substr(kHead, size));
}

std::string_view MessageReader::begun() const noexcept {
  const std::string_view left = std::string_view(buffer_).substr(begin_);
  return left.substr(std::min(left.size(), kHead));
}

std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const std::string_view digits = text.substr(0, text.size() - 1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool is_number = error == std::errc() && end == digits.data() + digits.size() && !digits.empty() &&
                         digits.size() <= kTimeoutDigits && digits.front() != '-';
  std::int64_t unit = 0;
  switch (text.back()) {
    case 'H':
      unit = std::int64_t{3600} * 1'000'000'000;
      break;
    case 'M':
      unit = std::int64_t{60} * 1'000'000'000;
      break;
    case 'S':
      unit = 1'000'000'000;
      break;
    case 'm':
      unit = 1'000'000;
      break;
    case 'u':
      unit = 1000;
      break;
    case 'n':
      unit = 1;
      break;
    default:
      break;
  }
  if (!is_number || unit == 0) throw CallError(Code::internal, "grpc-timeout is malformed");
  const bool fits = value <= std::numeric_limits<std::int64_t>::max() / unit;
  return std::chrono::nanoseconds(fits ? value * unit : std::numeric_limits<std::int64_t>::max());
}

std::string encode_status_message(std::string_view message) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte <= 0x7E && c != '%') {
      encoded += c;
    } else {
      encoded.append("%").append(1, kHex[byte >> 4]).append(1, kHex[byte & 0xF]);
    }
  }
  return encoded;
}

// ---- Calls

Call::Call(Engine& engine, HttpExchange& exchange) : engine_(engine), exchange_(exchange) {}

Deadline Call::deadline() const {
  const auto timeout = parse_timeout(exchange_.header("grpc-timeout"));
  return timeout ? engine_.in(*timeout) : kNoDeadline;
}

asio::awaitable<void> Call::read(Message& message) {
  const bool found = co_await next(message);
  if (!found) throw CallError(Code::internal, "the request has no message");
}

asio::awaitable<bool> Call::next(Message& message) {
  std::vector<char> buffer(kPiece);
  for (bool more = true; more;) {
    const std::optional<std::string> found = reader_.next();
    if (found) {
      const bool parsed = message.ParseFromString(*found);
      if (!parsed) throw CallError(Code::internal, "the request is no such message");
      co_return true;
    }
    const std::size_t size = co_await exchange_.read_some(buffer);
    if (size == 0) {
      reader_.finish();
      more = false;
    } else {
      reader_.feed({buffer.data(), size});
    }
  }
  (void)reader_.next();  // throws if the last one broke off
  co_return false;
}

void Call::add_trailer(std::string name, std::string value) {
  trailers_.emplace_back(std::move(name), std::move(value));
}

asio::awaitable<bool> Call::start() {
  if (started_) co_return true;
  started_ = true;
  co_return co_await exchange_.start(200, kContentType);
}

asio::awaitable<bool> Call::send(const Message& message) {
  const std::string framed = frame(message.SerializeAsString());
  bool alive = co_await start();
  if (alive) alive = co_await exchange_.write(framed);
  co_return alive;
}

asio::awaitable<void> Call::reply(const Message& message) {
  const bool alive = co_await send(message);
  if (alive) co_await finish();
}

asio::awaitable<void> Call::finish() {
  const bool alive = co_await start();
  if (alive) co_await end(Code::ok, {}, {});
}

asio::awaitable<void> Call::fail(CallError error) {
  return end(error.code(), error.what(), error.details());
}

asio::awaitable<void> Call::end(Code code, std::string message, std::string details) {
  std::vector<std::pair<std::string, std::string>> fields;
  fields.emplace_back("grpc-status", std::to_string(static_cast<int>(code)));
  if (!message.empty()) fields.emplace_back("grpc-message", encode_status_message(message));
  if (!details.empty())
    fields.emplace_back("grpc-status-details-bin", without_padding(base64_encode(details)));
  for (const auto& trailer : trailers_) fields.push_back(trailer);
  const std::vector<HttpExchange::Header> headers = views(fields);
  if (started_) {
    (void)co_await exchange_.finish_with(headers);
  } else {
    started_ = true;
    co_await exchange_.reply(200, {}, kContentType, headers);
  }
}

// ---- Methods

void Methods::add(const std::string& service, const std::string& method, std::unique_ptr<Message> request,
                  Handler handler) {
  const std::string route = service.substr(service.rfind('.') + 1) + "/" + method;
  methods_[route] = {
      .path = "/" + service + "/" + method, .request = std::move(request), .handler = std::move(handler)};
}

std::optional<Methods::Match> Methods::find(std::string_view path) const {
  const std::size_t dot = path.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto found = methods_.find(path.substr(dot + 1));
  if (found == methods_.end() || found->second.path != path) return std::nullopt;
  return Match{.route = found->first, .handler = &found->second.handler};
}

std::vector<std::string> Methods::routes() const {
  std::vector<std::string> names;
  for (const auto& [route, method] : methods_) names.push_back(route);
  return names;
}

std::string Methods::to_json_lines(const std::string& route, std::string_view body) const {
  const auto found = methods_.find(route);
  if (found == methods_.end()) return std::string(body);
  MessageReader reader;
  reader.feed(body);
  reader.finish();
  std::string lines;
  const std::unique_ptr<Message> message(found->second.request->New());
  try {
    while (const std::optional<std::string> bytes = reader.next()) {
      const bool parsed = message->ParseFromString(*bytes);
      lines += (parsed ? json_of(*message) : std::string(kMalformed)) + "\n";
    }
  } catch (const CallError& error) {
    if (error.code() != Code::internal) return lines + kMalformed + "\n";
    (void)message->ParseFromString(whole_fields(reader.begun()));
    lines += json_of(*message) + "\n{\"@cut\": true}\n";
  }
  return lines;
}

}  // namespace sandkey::emulator::grpc
