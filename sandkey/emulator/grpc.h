// The server's side of gRPC over HTTP exchanges, for clouds that speak it. Only the messages are protobuf's.
//
// A call is a POST to /SERVICE/METHOD over HTTP/2, plain or with TLS. Its body and that of the answer are
// messages, each behind a byte of flags and four of length; how it ended comes in trailers, or in the headers
// of an answer that is nothing but them.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <google/protobuf/message.h>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator::grpc {

inline constexpr std::size_t kMaxMessage = std::size_t{100} * 1024 * 1024;

// As they are numbered on the wire.
enum class Code {
  ok,
  cancelled,
  unknown,
  invalid_argument,
  deadline_exceeded,
  not_found,
  already_exists,
  permission_denied,
  resource_exhausted,
  failed_precondition,
  aborted,
  out_of_range,
  unimplemented,
  internal,
  unavailable,
  data_loss,
  unauthenticated,
};

// The code for what the host says with a status of HTTP.
[[nodiscard]] Code from_http(int status) noexcept;

// How a call fails, for its caller. `details` are the bytes of grpc-status-details-bin, if any.
class CallError : public std::runtime_error {
 public:
  CallError(Code code, const std::string& message, std::string details = {})
      : std::runtime_error(message), code_(code), details_(std::move(details)) {}

  [[nodiscard]] Code code() const noexcept { return code_; }
  [[nodiscard]] const std::string& details() const noexcept { return details_; }

 private:
  Code code_;
  std::string details_;
};

// A message as it travels. Throws CallError(resource_exhausted) for one whose length does not fit.
[[nodiscard]] std::string frame(std::string_view message);

// Takes a body apart. Throws CallError: internal for one that breaks off or has unknown flags,
// resource_exhausted for a message that is too long, unimplemented for a compressed one.
class MessageReader {
 public:
  void feed(std::string_view bytes);
  // There are no more bytes.
  void finish() { finished_ = true; }
  // The next message of what was fed.
  [[nodiscard]] std::optional<std::string> next();
  // What there is of a message that is not whole yet.
  [[nodiscard]] std::string_view begun() const noexcept;

 private:
  std::string buffer_;
  std::size_t begin_ = 0;
  bool finished_ = false;
};

// The value of grpc-timeout: one to eight digits and a unit. Nothing if it is empty; CallError(internal) for
// anything else.
[[nodiscard]] std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text);
// A message for grpc-message: what is not plain ASCII, and '%', percent-encoded.
[[nodiscard]] std::string encode_status_message(std::string_view message);

// One call. Valid as long as its exchange; one operation at a time.
class Call {
 public:
  Call(Engine& engine, net::HttpExchange& exchange);

  [[nodiscard]] std::string_view metadata(std::string_view name) const { return exchange_.header(name); }
  // By its grpc-timeout; kNoDeadline without one. Throws CallError(internal).
  [[nodiscard]] Deadline deadline() const;
  // Whether nobody waits for the answer any more.
  [[nodiscard]] bool gone() const { return exchange_.peer_gone(); }

  // The request's only message.
  asio::awaitable<void> read(google::protobuf::Message& message);
  // The next message of a streaming request; false at its end.
  asio::awaitable<bool> next(google::protobuf::Message& message);

  // Will be sent with the status.
  void add_trailer(std::string name, std::string value);

  // One message of a streaming answer. False: the client is gone.
  asio::awaitable<bool> send(const google::protobuf::Message& message);
  // Sends the headers, and what follows when it is there.
  asio::awaitable<bool> start();
  // The end of an answer, with status 0.
  asio::awaitable<void> finish();
  // The only message of an answer, and its end.
  asio::awaitable<void> reply(const google::protobuf::Message& message);
  // Instead of reply() or finish(), whatever was sent before.
  asio::awaitable<void> fail(CallError error);

 private:
  asio::awaitable<void> end(Code code, std::string message, std::string details);

  Engine& engine_;
  net::HttpExchange& exchange_;
  MessageReader reader_;
  std::vector<std::pair<std::string, std::string>> trailers_;
  bool started_ = false;
};

// Finds the handler of a call by its path, and knows what its requests are made of.
class Methods {
 public:
  using Handler = std::function<asio::awaitable<void>(Call&)>;

  // "/package.Service/Method" is the route "Service/Method". Request is what its messages are.
  template <typename Request>
  void add(const std::string& service, const std::string& method, Handler handler) {
    add(service, method, std::make_unique<Request>(), std::move(handler));
  }

  struct Match {
    std::string route;
    const Handler* handler;
  };
  [[nodiscard]] std::optional<Match> find(std::string_view path) const;
  [[nodiscard]] std::vector<std::string> routes() const;
  // Its messages as JSON, one to a line, with the names of their fields as in the .proto. The last one may
  // not be whole: then what there is of it, and {"@cut": true}. {"@malformed": true} stands for what is none.
  [[nodiscard]] std::string to_json_lines(const std::string& route, std::string_view body) const;

 private:
  void add(const std::string& service, const std::string& method,
           std::unique_ptr<google::protobuf::Message> request, Handler handler);

  struct Method {
    std::string path;
    std::unique_ptr<google::protobuf::Message> request;
    Handler handler;
  };
  std::map<std::string, Method, std::less<>> methods_;  // by route
};

}  // namespace sandkey::emulator::grpc
