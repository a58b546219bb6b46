// gRPC for coroutines, by a module that is loaded when it is first needed (module.h says why).
//
//   GrpcChannel api = co_await GrpcChannel::open(engine, {.module = "libsandkey-modal.so", ...});
//   GrpcCall call{.method = "/modal.client.ModalClient/TokenInfoGet"};
//   call.deadline = engine.in(5s);
//   const GrpcReply reply = co_await api.unary(std::move(call));
//   if (!reply.status.ok()) ...
//
// A status other than success is an answer, not an error; what it means, the provider knows. Nothing is
// repeated. Proxies and trusted authorities are those of the HTTP client (network_settings.h); servers of
// this machine are reached directly, and `http` means HTTP/2 in the clear.
//
// Errors, all of them sandkey::Error:
//   unsupported       the module, or what it needs, is not installed
//   invalid_argument  an address that is none
//   cancelled         by the caller; the server is told
//   protocol          a header's value that none may have
//   internal          a request that does not fit its method: a defect of ours
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/url.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey {

// Metadata of a call. Values may be secret; names are lower case.
using GrpcHeaders = std::vector<std::pair<std::string, Secret>>;

struct GrpcCall {
  std::string method = {};  // "/package.Service/Method"
  // The request as protobuf's JSON has it, and its field `data`, if it has one.
  json::object request = {};
  std::string data = {};
  GrpcHeaders headers = {};
  Deadline deadline = kNoDeadline;
};

struct GrpcMessage {
  json::object fields = {};  // names as in the .proto, enumerations as numbers, 64 bits as texts
  std::string data = {};
};

// The numbers that all of gRPC shares.
enum class GrpcCode {
  malformed = -1,  // what came is not the message it should be
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};

struct GrpcStatus {
  GrpcCode code = GrpcCode::ok;
  std::string message = {};   // the server's, or gRPC's own: not to be shown before secrets are taken out
  json::object details = {};  // the error's, where they are of the channel's kind
  std::vector<std::pair<std::string, std::string>> trailers = {};

  [[nodiscard]] bool ok() const noexcept { return code == GrpcCode::ok; }
  // The first of that name, or "".
  [[nodiscard]] std::string_view trailer(std::string_view name) const noexcept;
};

// What a status means to us, and whether the server may have acted on the call.
[[nodiscard]] ErrorCode error_code_of(const GrpcStatus& status) noexcept;
[[nodiscard]] Processed processed_of(const GrpcStatus& status) noexcept;
// "NOT_FOUND", as gRPC writes it.
[[nodiscard]] std::string_view to_string(GrpcCode code) noexcept;

struct GrpcReply {
  GrpcStatus status;
  GrpcMessage message;  // if the status is success
};

// Replies of one call. Used by one coroutine at a time; destroying it breaks off what has not ended.
class GrpcStream {
 public:
  GrpcStream(GrpcStream&&) noexcept;
  GrpcStream& operator=(GrpcStream&&) noexcept;
  ~GrpcStream();

  // The next message; nothing at the end, whose status is then known. The server is made to wait while nobody
  // asks.
  asio::awaitable<std::optional<GrpcMessage>> next();
  // Of a call that has ended.
  [[nodiscard]] const GrpcStatus& status() const noexcept;

 private:
  friend class GrpcChannel;
  struct State;
  explicit GrpcStream(std::shared_ptr<State> state) noexcept;
  std::shared_ptr<State> state_;
};

struct GrpcDestination {
  std::string module = {};      // "libsandkey-NAME.so"
  std::string how_to_get = {};  // it: ends the message of an Error(unsupported)
  std::string details = {};     // what the details of its errors are: "package.Message"
};

// One server, over one connection that is made when it is first used, and again when it broke. A cheap handle
// that can be copied; thread-safe. The engine must outlive it.
class GrpcChannel {
 public:
  static asio::awaitable<GrpcChannel> open(Engine& engine, Endpoint server, GrpcDestination destination);

  asio::awaitable<GrpcReply> unary(GrpcCall call) const;
  // Sends the request; the replies are asked for.
  [[nodiscard]] GrpcStream stream(const GrpcCall& call) const;

 private:
  friend class GrpcStream;
  struct Impl;
  explicit GrpcChannel(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandkey
