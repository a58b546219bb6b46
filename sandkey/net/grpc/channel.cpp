#include "sandkey/net/grpc/channel.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/base/percent.h"
#include "sandkey/net/grpc/library.h"
#include "sandkey/net/network_settings.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>

namespace sandkey {

namespace gm = grpc_module;

namespace {

constexpr std::string_view kNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

gm::Text text_of(std::string_view text) {
  return {text.data(), text.size()};
}
std::string copy(gm::Text text) {
  return {text.bytes, text.size};
}

json::object object_in(gm::Text text) {
  if (text.size == 0) return {};
  json::value value = parse_json({text.bytes, text.size}, "a gRPC message");
  if (value.is_object()) return std::move(value.get_object());
  return {};
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// All certificates of a folder in OpenSSL's form, whose links to them are named HASH.NUMBER.
std::string read_folder(const std::filesystem::path& folder) {
  std::string all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string extension = entry.path().extension().string();
    if (extension.size() == 2 && extension[1] >= '0' && extension[1] <= '9') all += read_file(entry.path());
  }
  return all;
}

// As the HTTP client has it: what the environment names, each in place of the system's. A file that is
// missing leaves nobody to trust. Blocks.
std::string trusted_authorities(const Engine& engine, const NetworkSettings& settings,
                                const Endpoint& server) {
  const NetworkDescription description = describe_network(engine, {}, server.url("/"));
  std::string all = description.ca_file.empty() ? std::string() : read_file(description.ca_file);
  // The system's folder holds what its file does.
  const bool own_folder = settings.ca_folder() && !settings.ca_folder()->empty();
  if (own_folder || all.empty()) all += "\n" + read_folder(description.ca_folder);
  if (all.size() > 1) return all;
  throw Error(ErrorCode::unavailable,
              "connecting to " + server.origin() + ": no trusted authorities can be read (" +
                  description.ca_source + ")",
              {.provider = {},
               .operation = {},
               .phase = {},
               .request_id = {},
               .processed = Processed::no,
               .permanent = true});
}

struct Proxy {
  std::string address;  // HOST:PORT
  std::string header;   // its user and password; gRPC puts a blank behind the colon
};

Proxy parse_proxy(std::string address) {
  Proxy proxy;
  constexpr std::string_view kScheme = "http://";
  if (const std::size_t scheme = address.find("://"); scheme != std::string::npos) {
    if (!address.starts_with(kScheme)) {
      throw Error(ErrorCode::invalid_argument, "reading the proxy's address: gRPC takes http proxies only");
    }
    address.erase(0, kScheme.size());
  }
  address = address.substr(0, address.find('/'));
  if (const std::size_t at = address.rfind('@'); at != std::string::npos) {
    const std::string user = address.substr(0, at);
    proxy.header = "Proxy-Authorization:Basic " + base64_encode(percent_decode(user, false).value_or(user));
    address.erase(0, at + 1);
  }
  constexpr std::string_view kUsualPort = ":1080";  // libcurl's
  if (address.find(':') == std::string::npos) address += kUsualPort;
  proxy.address = std::move(address);
  return proxy;
}

std::string target_of(const Endpoint& server) {
  if (server.is_unix()) return "unix:" + server.unix_socket();
  const bool six = server.host().find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", six ? "[" : "", server.host(), six ? "]" : "", server.port());
}

// gRPC ends the process over one that is none.
void require_header_value(const std::string& method, const std::string& name, std::string_view value) {
  const bool is_one = std::ranges::all_of(value, [](char c) { return c >= ' ' && c <= '~'; });
  if (is_one) return;
  throw Error(ErrorCode::protocol, "calling " + method + ": the value of the header " + name +
                                       " has a character that none may have");
}

}  // namespace

std::string_view GrpcStatus::trailer(std::string_view name) const noexcept {
  for (const auto& [known, value] : trailers) {
    if (known == name) return value;
  }
  return {};
}

std::string_view to_string(GrpcCode code) noexcept {
  const auto number = static_cast<int>(code);
  if (number < 0 || static_cast<std::size_t>(number) >= std::size(kNames)) return "MALFORMED";
  return kNames[static_cast<std::size_t>(number)];
}

ErrorCode error_code_of(const GrpcStatus& status) noexcept {
  switch (status.code) {
    case GrpcCode::invalid_argument:
    case GrpcCode::out_of_range:
      return ErrorCode::invalid_argument;
    case GrpcCode::deadline_exceeded:
      return ErrorCode::deadline_exceeded;
    case GrpcCode::not_found:
      return ErrorCode::not_found;
    case GrpcCode::already_exists:
    case GrpcCode::failed_precondition:
    case GrpcCode::aborted:
      return ErrorCode::conflict;
    case GrpcCode::permission_denied:
      return ErrorCode::permission_denied;
    case GrpcCode::resource_exhausted:
      return ErrorCode::rate_limited;
    case GrpcCode::unimplemented:
      return ErrorCode::unsupported;
    case GrpcCode::unauthenticated:
      return ErrorCode::unauthenticated;
    case GrpcCode::malformed:
    case GrpcCode::data_loss:
      return ErrorCode::protocol;
    case GrpcCode::ok:
    case GrpcCode::cancelled:
    case GrpcCode::unknown:
    case GrpcCode::internal:
    case GrpcCode::unavailable:
      break;
  }
  return ErrorCode::unavailable;
}

Processed processed_of(const GrpcStatus& status) noexcept {
  switch (status.code) {
    case GrpcCode::malformed:
    case GrpcCode::cancelled:
    case GrpcCode::unknown:
    case GrpcCode::deadline_exceeded:
    case GrpcCode::internal:
    case GrpcCode::data_loss:
      return Processed::unknown;
    case GrpcCode::unavailable: {
      // gRPC's own words for a connection that was never made; nothing else tells.
      const bool never = status.message.starts_with("failed to connect to all addresses") ||
                         status.message.starts_with("DNS resolution failed") ||
                         status.message.find("name resolution") != std::string::npos;
      return never ? Processed::no : Processed::unknown;
    }
    default:
      return Processed::no;
  }
}

struct GrpcChannel::Impl {
  Impl(const gm::Functions& the_functions, gm::Channel* the_channel, Engine& the_engine)
      : functions(the_functions), channel(the_channel), engine(the_engine) {}
  ~Impl() { functions.close(channel); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  const gm::Functions& functions;
  gm::Channel* const channel;
  Engine& engine;
};

// Shared with the module, which tells the end even if nobody cares any more.
struct GrpcStream::State {
  explicit State(std::shared_ptr<GrpcChannel::Impl> the_channel) : channel(std::move(the_channel)) {}

  static State& of(void* self) { return **static_cast<std::shared_ptr<State>*>(self); }

  static void on_message(void* self, gm::Text text, gm::Text bytes) {
    State& state = of(self);
    const std::lock_guard lock(state.mutex);
    state.json.assign(text.bytes, text.size);
    state.data.assign(bytes.bytes, bytes.size);
    state.has_message = true;
    state.wake();
  }

  static void on_end(void* self, const gm::Ending* ending) {
    const std::unique_ptr<std::shared_ptr<State>> ours(static_cast<std::shared_ptr<State>*>(self));
    State& state = **ours;
    const std::lock_guard lock(state.mutex);
    state.status.code = static_cast<GrpcCode>(ending->status);
    state.status.message = copy(ending->message);
    // gRPC's own words for an answer without a status: no server of gRPC's gave it.
    const bool is_none = state.status.code == GrpcCode::unknown && state.status.message == "Stream removed";
    if (is_none) state.status.code = GrpcCode::malformed;
    state.details = copy(ending->details);
    for (std::size_t i = 0; i < ending->trailer_count; ++i) {
      state.status.trailers.emplace_back(copy(ending->trailers[i].name), copy(ending->trailers[i].value));
    }
    state.has_ended = true;
    state.wake();
  }

  // With the mutex held: whoever waits cannot go meanwhile.
  void wake() {
    if (!waiter) return;
    const auto where = waiter->get_executor();
    asio::post(where, [alarm = std::move(waiter)] { alarm->cancel(); });
  }

  // Returns when there is a message, or the end.
  asio::awaitable<void> arrival() {
    const auto executor = co_await asio::this_coro::executor;
    const auto alarm = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
    struct Waiting {
      State& state;
      ~Waiting() {
        const std::lock_guard lock(state.mutex);
        state.waiter = nullptr;
      }
    };
    {
      const std::lock_guard lock(mutex);
      if (has_message || has_ended) co_return;
      waiter = alarm;
    }
    const Waiting waiting{*this};
    [[maybe_unused]] const auto [error] = co_await alarm->async_wait(asio::as_tuple(asio::use_awaitable));
    const std::lock_guard lock(mutex);
    if (!has_message && !has_ended) throw Error(ErrorCode::cancelled, "cancelled");
  }

  const std::shared_ptr<GrpcChannel::Impl> channel;
  gm::Call* call = nullptr;
  bool asked = false;  // for a message that has not come
  bool over = false;   // the end was seen

  std::mutex mutex;
  // Guarded by mutex until has_ended.
  std::shared_ptr<asio::steady_timer> waiter;
  bool has_message = false;
  bool has_ended = false;
  std::string json;
  std::string data;
  std::string details;
  GrpcStatus status;
};

GrpcStream::GrpcStream(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
GrpcStream::GrpcStream(GrpcStream&&) noexcept = default;
GrpcStream& GrpcStream::operator=(GrpcStream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
GrpcStream::~GrpcStream() {
  if (state_) state_->channel->functions.release(state_->call);
}

asio::awaitable<std::optional<GrpcMessage>> GrpcStream::next() {
  const std::shared_ptr<State> state = state_;
  if (state->over) co_return std::nullopt;
  if (!state->asked) state->channel->functions.read(state->call);
  state->asked = true;
  co_await state->arrival();
  std::string text;
  GrpcMessage message;
  {
    const std::lock_guard lock(state->mutex);
    if (state->has_message) {
      state->has_message = false;
      state->asked = false;
      text.swap(state->json);
      message.data.swap(state->data);
    } else {
      state->over = true;
    }
  }
  if (state->over) {
    state->status.details = object_in(text_of(state->details));
    co_return std::nullopt;
  }
  message.fields = object_in(text_of(text));
  co_return message;
}

const GrpcStatus& GrpcStream::status() const noexcept {
  return state_->status;
}

GrpcChannel::GrpcChannel(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

asio::awaitable<GrpcChannel> GrpcChannel::open(Engine& engine, Endpoint server, GrpcDestination destination) {
  const auto open = [&] {
    const gm::Functions& functions = load_grpc_module(engine, destination.module, destination.how_to_get);
    const NetworkSettings settings(engine, {});
    const std::string proxy_address = settings.proxy_for(server.is_https(), server.host()).address;
    const Proxy proxy = proxy_address.empty() ? Proxy() : parse_proxy(proxy_address);
    const std::string roots =
        server.is_https() ? trusted_authorities(engine, settings, server) : std::string();
    const std::string target = target_of(server);
    const gm::Destination to{.target = text_of(target),
                             .proxy = text_of(proxy.address),
                             .proxy_header = text_of(proxy.header),
                             .user_agent = text_of("sandkey/" SANDKEY_VERSION),
                             .roots = text_of(roots),
                             .details = text_of(destination.details),
                             .encrypted = server.is_https()};
    return std::make_shared<Impl>(functions, functions.open(&to), engine);
  };
  std::shared_ptr<Impl> impl = co_await run_blocking(open);
  co_return GrpcChannel(std::move(impl));
}

GrpcStream GrpcChannel::stream(const GrpcCall& call) const {
  std::vector<gm::Header> headers;
  for (const auto& [name, value] : call.headers) {
    require_header_value(call.method, name, value.expose());
    headers.push_back({text_of(name), text_of(value.expose())});
  }
  std::int64_t timeout = -1;
  if (call.deadline != kNoDeadline) {
    const auto left = call.deadline - impl_->engine.steady_now();
    timeout = std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(left).count(), 0);
  }
  const std::string request = json::serialize(call.request);
  const gm::Request sent{.method = text_of(call.method),
                         .json = text_of(request),
                         .data = text_of(call.data),
                         .headers = headers.data(),
                         .header_count = headers.size(),
                         .timeout_us = timeout};
  auto state = std::make_shared<GrpcStream::State>(impl_);
  auto for_module = std::make_unique<std::shared_ptr<GrpcStream::State>>(state);
  const gm::Listener listener{for_module.get(), &GrpcStream::State::on_message, &GrpcStream::State::on_end};
  std::string complaint;
  const auto complain = [](void* told, gm::Text text) {
    static_cast<std::string*>(told)->assign(text.bytes, text.size);
  };
  state->call = impl_->functions.start(impl_->channel, &sent, listener, &complaint, complain);
  if (state->call == nullptr) {
    throw Error(ErrorCode::internal, "calling " + call.method + ": " + complaint);
  }
  (void)for_module.release();  // on_end() has it
  return GrpcStream(std::move(state));
}

asio::awaitable<GrpcReply> GrpcChannel::unary(GrpcCall call) const {
  GrpcStream replies = stream(call);
  GrpcReply reply;
  std::size_t messages = 0;
  for (;;) {
    std::optional<GrpcMessage> message = co_await replies.next();
    if (!message) break;
    reply.message = std::move(*message);
    ++messages;
  }
  reply.status = replies.status();
  if (reply.status.ok() && messages != 1) reply.status.code = GrpcCode::malformed;
  co_return reply;
}

}  // namespace sandkey
