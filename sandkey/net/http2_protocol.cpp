#include "sandkey/net/http2_protocol.h"

#include "sandkey/base/percent.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <map>
#include <nghttp2/nghttp2.h>
#include <optional>
#include <utility>
#include <vector>

namespace sandkey::net {
namespace {

namespace asio = boost::asio;
using Protocol = asio::generic::stream_protocol;
using Socket = asio::basic_stream_socket<Protocol>;
using Header = HttpExchange::Header;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kReadPiece = 32 * 1024;
constexpr std::size_t kWritePiece = 64 * 1024;
// Handlers whose peer has reset their stream still run to their end; a peer that makes more and more of them
// is refused.
constexpr std::size_t kMaxHandlers = 2 * std::size_t{kMaxHttp2Streams};
constexpr std::size_t kMaxSettings = 32;  // in one frame
// A body nobody read is taken up to this much; beyond it, a reset is cheaper, though not every client sees
// the reply then.
constexpr std::size_t kMaxDrain = 1024 * 1024;

bool equal_names(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// What HTTP/2 has no place for (RFC 9113, 8.2.2).
bool is_connection_header(std::string_view name) {
  for (const std::string_view each :
       {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}) {
    if (equal_names(name, each)) return true;
  }
  return false;
}

// Fields for nghttp2, which copies them when they are submitted.
class Fields {
 public:
  void add(std::string name, std::string_view value) {
    owned_.emplace_back(std::move(name), std::string(value));
  }
  void add_all(std::span<const Header> headers) {
    for (const auto& [name, value] : headers) {
      if (!is_connection_header(name)) add(lower(name), value);
    }
  }
  [[nodiscard]] std::vector<nghttp2_nv> list() {
    std::vector<nghttp2_nv> list;
    for (auto& [name, value] : owned_) {
      list.push_back({reinterpret_cast<std::uint8_t*>(name.data()),
                      reinterpret_cast<std::uint8_t*>(value.data()), name.size(), value.size(),
                      NGHTTP2_NV_FLAG_NONE});
    }
    return list;
  }

 private:
  std::vector<std::pair<std::string, std::string>> owned_;
};

// Waiting coroutines are woken by every notify(); each looks again for what it waits for.
class Event {
 public:
  explicit Event(const asio::any_io_executor& executor) : timer_(executor) {}
  void notify() { timer_.cancel(); }
  // False when the time is up.
  asio::awaitable<bool> wait(std::chrono::milliseconds timeout) {
    timer_.expires_after(timeout);
    const auto [error] = co_await timer_.async_wait(kAsTuple);
    co_return error == asio::error::operation_aborted;
  }

 private:
  asio::steady_timer timer_;
};

class Connection;

// A request and what goes out for it.
struct Stream {
  Stream(std::int32_t number, const asio::any_io_executor& executor)
      : id(number), input_changed(executor), output_taken(executor) {}

  const std::int32_t id;
  std::string method;
  std::string target;
  std::string path;
  std::vector<std::pair<std::string, std::string>> headers;
  std::size_t header_bytes = 0;
  bool headers_too_large = false;

  std::string input;  // of the body, received and not read
  std::size_t input_head = 0;
  bool input_ended = false;
  Event input_changed;

  std::span<const char> output;  // what the write that waits still has to hand over
  bool output_ended = false;     // nothing comes after it
  bool output_finished = false;  // and all of it, to the end, was handed over
  std::vector<std::pair<std::string, std::string>> trailers;
  Event output_taken;

  bool closed = false;  // by either side; nothing more comes or goes
};

class Exchange final : public HttpExchange {
 public:
  Exchange(std::shared_ptr<Connection> connection, std::shared_ptr<Stream> stream)
      : connection_(std::move(connection)), stream_(std::move(stream)) {
    const std::string_view target = without_authority(stream_->target);
    const std::size_t mark = target.find('?');
    auto decoded = percent_decode(target.substr(0, mark), false);
    if (!decoded) throw HttpError(400, "The request target has a malformed percent escape.");
    stream_->path = std::move(*decoded);
    if (mark != std::string_view::npos) query_ = target.substr(mark + 1);
    if (target.empty()) throw HttpError(400, "The request has no target.");
  }

  std::string_view method() const override { return stream_->method; }
  std::string_view target() const override { return stream_->target; }
  const std::string& path() const override { return stream_->path; }
  std::optional<std::string> query(std::string_view name) const override { return query_value(query_, name); }
  std::string_view header(std::string_view name) const override {
    for (const auto& [key, value] : stream_->headers) {
      if (equal_names(key, name)) return value;
    }
    return {};
  }
  std::vector<Header> headers() const override { return {stream_->headers.begin(), stream_->headers.end()}; }

  asio::awaitable<std::size_t> read_some(std::span<char> buffer) override;
  asio::awaitable<std::string> read_body(std::size_t limit) override;
  asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                              std::span<const Header> headers) override;
  asio::awaitable<bool> start(int status, std::string_view content_type, std::optional<std::uint64_t> length,
                              std::span<const Header> headers) override;
  asio::awaitable<bool> write(std::span<const char> data) override;
  asio::awaitable<bool> finish() override { co_return co_await finish_with({}); }
  asio::awaitable<bool> finish_with(std::span<const Header> trailers) override;
  asio::awaitable<bool> upgrade(std::span<const Header>) override { co_return false; }
  bool peer_gone() const override { return stream_->closed; }
  void abort() override;
  bool replied() const override { return replied_; }
  asio::awaitable<void> drain();

 private:
  [[nodiscard]] bool is_head() const { return stream_->method == "HEAD"; }
  void submit(int status, std::string_view content_type, std::optional<std::uint64_t> length,
              std::span<const Header> headers, bool body);

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<Stream> stream_;
  std::string_view query_;
  bool replied_ = false;
  bool continued_ = false;
};

class Connection final : public HttpProtocol::Session, public std::enable_shared_from_this<Connection> {
 public:
  Connection(const asio::any_io_executor& executor, UniqueFd fd, std::string begun,
             const HttpHandler& handler, const HttpServerOptions& options)
      : executor_(executor),
        socket_(executor),
        begun_(std::move(begun)),
        handler_(handler),
        options_(options),
        output_wanted_(executor),
        ended_(executor),
        idle_(executor) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    socket_.assign(Protocol(storage.ss_family, 0), fd.release());
    open_session();
  }
  ~Connection() override { nghttp2_session_del(session_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  asio::awaitable<void> run() override;
  void close() noexcept override;

  [[nodiscard]] nghttp2_session* session() noexcept { return session_; }
  [[nodiscard]] const HttpServerOptions& options() const noexcept { return options_; }
  // There is something to send.
  void kick() { output_wanted_.notify(); }
  void consumed(Stream& stream, std::size_t size) {
    nghttp2_session_consume(session_, stream.id, size);
    kick();
  }

 private:
  void open_session();
  void begin(std::int32_t id);
  void start_handler(const std::shared_ptr<Stream>& stream);
  static asio::awaitable<void> handle(std::shared_ptr<Connection> self, std::shared_ptr<Stream> stream);
  static asio::awaitable<void> send(std::shared_ptr<Connection> self);
  static asio::awaitable<void> watch(std::shared_ptr<Connection> self);
  [[nodiscard]] std::shared_ptr<Stream> find(std::int32_t id) {
    const auto found = streams_.find(id);
    return found == streams_.end() ? nullptr : found->second;
  }
  [[nodiscard]] bool feed(std::string_view bytes);
  void became_idle();

  static Connection& self(void* user) { return *static_cast<Connection*>(user); }
  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user);
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void* user);
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user);
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* user);
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user);

  asio::any_io_executor executor_;
  Socket socket_;
  std::string begun_;
  const HttpHandler& handler_;
  const HttpServerOptions& options_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, std::shared_ptr<Stream>> streams_;
  Event output_wanted_;
  Event ended_;
  asio::steady_timer idle_;
  std::size_t handlers_ = 0;
  std::size_t tasks_ = 0;  // coroutines besides run(), which waits for them
  bool closed_ = false;
};

// ---- Requests

int Connection::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    self(user).begin(frame->hd.stream_id);
  }
  return 0;
}

void Connection::begin(std::int32_t id) {
  idle_.cancel();
  streams_.emplace(id, std::make_shared<Stream>(id, executor_));
}

int Connection::on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                          std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                          std::uint8_t, void* user) {
  const std::shared_ptr<Stream> stream = self(user).find(frame->hd.stream_id);
  // A request's own trailers are of no use to any handler.
  if (!stream || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  const std::string_view key(reinterpret_cast<const char*>(name), name_size);
  const std::string_view text(reinterpret_cast<const char*>(value), value_size);
  stream->header_bytes += name_size + value_size;
  if (stream->header_bytes > self(user).options_.max_header_bytes) {
    stream->headers_too_large = true;
    return 0;
  }
  if (key == ":method") {
    stream->method = text;
  } else if (key == ":path") {
    stream->target = text;
  } else if (key == ":authority") {
    stream->headers.emplace_back("host", text);
  } else if (key == "host" && !stream->headers.empty() && stream->headers.front().first == "host") {
    return 0;  // ":authority" said it
  } else if (!key.starts_with(':')) {
    stream->headers.emplace_back(key, text);
  }
  return 0;
}

int Connection::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  const std::shared_ptr<Stream> stream = self(user).find(frame->hd.stream_id);
  if (!stream) return 0;
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
    stream->input_ended = true;
    stream->input_changed.notify();
  }
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    self(user).start_handler(stream);
  }
  return 0;
}

int Connection::on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                        std::size_t size, void* user) {
  const std::shared_ptr<Stream> stream = self(user).find(id);
  if (!stream) {
    nghttp2_session_consume(session, id, size);
    return 0;
  }
  // Bounded by the stream's window, which opens again as the handler reads.
  stream->input.append(reinterpret_cast<const char*>(data), size);
  stream->input_changed.notify();
  return 0;
}

int Connection::on_close(nghttp2_session* session, std::int32_t id, std::uint32_t, void* user) {
  Connection& connection = self(user);
  const std::shared_ptr<Stream> stream = connection.find(id);
  if (!stream) return 0;
  stream->closed = true;
  // What nobody reads any more must not keep the connection's window closed.
  nghttp2_session_consume_connection(session, stream->input.size() - stream->input_head);
  stream->input_changed.notify();
  stream->output_taken.notify();
  connection.streams_.erase(id);
  if (connection.streams_.empty()) connection.became_idle();
  return 0;
}

void Connection::start_handler(const std::shared_ptr<Stream>& stream) {
  if (handlers_ >= kMaxHandlers) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_REFUSED_STREAM);
    return;
  }
  ++handlers_;
  ++tasks_;
  // Owned by run(), which waits for it.
  asio::co_spawn(executor_, handle(shared_from_this(), stream), asio::detached);
}

asio::awaitable<void> Connection::handle(std::shared_ptr<Connection> self, std::shared_ptr<Stream> stream) {
  std::optional<HttpError> failure;
  std::optional<Exchange> exchange;
  try {
    if (stream->headers_too_large) throw HttpError(431, "The request head is too large.");
    exchange.emplace(self, stream);
    co_await self->handler_(*exchange);
    if (!exchange->replied()) failure.emplace(500, "The handler gave no reply.");
  } catch (const HttpError& caught) {
    failure = caught;
  } catch (const std::exception&) {
    failure.emplace(500, "An unexpected error occurred. Please try again later.");
  }
  if (failure && !exchange) {
    stream->target = "/";
    exchange.emplace(self, stream);
  }
  if (failure) {
    if (exchange->replied()) {
      exchange->abort();
    } else {
      co_await exchange->reply(failure->status(), error_body(failure->what()), "application/json", {});
    }
  }
  // A body that the handler left would hold its window for ever; but first the whole reply.
  bool in_time = true;
  while (in_time && !stream->closed && !stream->output_finished) {
    in_time = co_await stream->output_taken.wait(self->options_.transfer_timeout);
  }
  if (exchange) co_await exchange->drain();
  if (!stream->closed && (!stream->input_ended || !in_time)) {
    nghttp2_submit_rst_stream(self->session_, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
    self->kick();
  }
  --self->handlers_;
  --self->tasks_;
  self->ended_.notify();
}

asio::awaitable<std::size_t> Exchange::read_some(std::span<char> buffer) {
  if (buffer.empty()) co_return 0;
  if (!continued_) {
    continued_ = true;
    if (equal_names(header("expect"), "100-continue") && !stream_->input_ended && stream_->input.empty()) {
      Fields fields;
      fields.add(":status", "100");
      std::vector<nghttp2_nv> list = fields.list();
      nghttp2_submit_headers(connection_->session(), NGHTTP2_FLAG_NONE, stream_->id, nullptr, list.data(),
                             list.size(), nullptr);
      connection_->kick();
    }
  }
  while (true) {
    const std::size_t held = stream_->input.size() - stream_->input_head;
    if (held > 0) {
      const std::size_t n = std::min(held, buffer.size());
      std::memcpy(buffer.data(), stream_->input.data() + stream_->input_head, n);
      stream_->input_head += n;
      if (stream_->input_head == stream_->input.size()) {
        stream_->input.clear();
        stream_->input_head = 0;
      }
      if (!stream_->closed) connection_->consumed(*stream_, n);
      co_return n;
    }
    if (stream_->input_ended) co_return 0;
    if (stream_->closed) throw HttpError(400, "The request body broke off.");
    const bool changed = co_await stream_->input_changed.wait(connection_->options().transfer_timeout);
    if (!changed) throw HttpError(408, "The request body did not arrive in time.");
  }
}

asio::awaitable<void> Exchange::drain() {
  std::array<char, 16 * 1024> scrap;  // NOLINT(cppcoreguidelines-pro-type-member-init): never read
  continued_ = true;
  try {
    for (std::size_t total = 0; total < kMaxDrain && !stream_->closed;) {
      const std::size_t n = co_await read_some(scrap);
      if (n == 0) break;
      total += n;
    }
  } catch (const HttpError&) {  // there is no more of it
  }
}

asio::awaitable<std::string> Exchange::read_body(std::size_t limit) {
  std::string body;
  std::array<char, 16 * 1024> piece;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  while (true) {
    const std::size_t n = co_await read_some(piece);
    if (n == 0) break;
    if (body.size() + n > limit) {
      throw HttpError(413, "The request body is over the limit of " + std::to_string(limit) + " bytes.");
    }
    body.append(piece.data(), n);
  }
  co_return body;
}

// ---- Replies

ssize_t take_output(nghttp2_session* session, std::int32_t id, std::uint8_t* buffer, std::size_t size,
                    std::uint32_t* flags, nghttp2_data_source* source, void*) {
  Stream& stream = *static_cast<Stream*>(source->ptr);
  const std::size_t n = std::min(size, stream.output.size());
  if (n > 0) {
    std::memcpy(buffer, stream.output.data(), n);
    stream.output = stream.output.subspan(n);
    if (stream.output.empty()) stream.output_taken.notify();
  }
  if (stream.output.empty() && stream.output_ended) {
    stream.output_finished = true;
    stream.output_taken.notify();
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream.trailers.empty()) {
      Fields fields;
      for (const auto& [name, value] : stream.trailers) fields.add(name, value);
      std::vector<nghttp2_nv> list = fields.list();
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      nghttp2_submit_trailer(session, id, list.data(), list.size());
    }
    return static_cast<ssize_t>(n);
  }
  if (n == 0) return NGHTTP2_ERR_DEFERRED;
  return static_cast<ssize_t>(n);
}

void Exchange::submit(int status, std::string_view content_type, std::optional<std::uint64_t> length,
                      std::span<const Header> headers, bool body) {
  replied_ = true;
  Fields fields;
  fields.add(":status", std::to_string(status));
  if (!content_type.empty()) fields.add("content-type", content_type);
  if (length && status != 204) fields.add("content-length", std::to_string(*length));
  fields.add_all(headers);
  std::vector<nghttp2_nv> list = fields.list();
  nghttp2_data_provider provider{};
  provider.source.ptr = stream_.get();
  provider.read_callback = take_output;
  nghttp2_submit_response(connection_->session(), stream_->id, list.data(), list.size(),
                          body ? &provider : nullptr);
  connection_->kick();
}

asio::awaitable<void> Exchange::reply(int status, std::string body, std::string_view content_type,
                                      std::span<const Header> headers) {
  if (stream_->closed) {
    replied_ = true;
    co_return;
  }
  const bool bare = is_head() || status == 204 || status == 304 || body.empty();
  submit(status, content_type, body.size(), headers, !bare);
  stream_->output_ended = true;
  if (bare) {
    stream_->output_finished = true;
  } else {
    (void)co_await write(body);
  }
}

asio::awaitable<bool> Exchange::start(int status, std::string_view content_type,
                                      std::optional<std::uint64_t> length, std::span<const Header> headers) {
  if (stream_->closed) {
    replied_ = true;
    co_return false;
  }
  submit(status, content_type, length, headers, !is_head());
  stream_->output_finished = is_head();
  co_return true;
}

asio::awaitable<bool> Exchange::write(std::span<const char> data) {
  if (stream_->closed) co_return false;
  if (data.empty() || is_head()) co_return true;
  stream_->output = data;
  nghttp2_session_resume_data(connection_->session(), stream_->id);
  connection_->kick();
  bool in_time = true;
  while (in_time && !stream_->output.empty() && !stream_->closed) {
    const std::size_t before = stream_->output.size();
    const bool woken = co_await stream_->output_taken.wait(connection_->options().transfer_timeout);
    in_time = woken || stream_->output.size() != before;
  }
  const bool taken = stream_->output.empty();
  stream_->output = {};  // the caller's, and soon gone
  if (!in_time) abort();
  co_return taken && !stream_->closed;
}

asio::awaitable<bool> Exchange::finish_with(std::span<const Header> trailers) {
  if (stream_->closed) co_return false;
  if (is_head()) co_return true;
  for (const auto& [name, value] : trailers) stream_->trailers.emplace_back(lower(name), value);
  stream_->output_ended = true;
  nghttp2_session_resume_data(connection_->session(), stream_->id);
  connection_->kick();
  co_return true;
}

void Exchange::abort() {
  replied_ = true;
  if (stream_->closed) return;
  stream_->output = {};
  nghttp2_submit_rst_stream(connection_->session(), NGHTTP2_FLAG_NONE, stream_->id, NGHTTP2_INTERNAL_ERROR);
  connection_->kick();
}

// ---- The connection

void Connection::open_session() {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_settings(option, kMaxSettings);
  nghttp2_session_server_new2(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  const std::array<nghttp2_settings_entry, 3> settings{
      {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxHttp2Streams},
       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kHttp2StreamWindow},
       {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(options_.max_header_bytes)}}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(kHttp2ConnectionWindow));
}

bool Connection::feed(std::string_view bytes) {
  const ssize_t used =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  kick();
  return used >= 0;
}

asio::awaitable<void> Connection::run() {
  const std::shared_ptr<Connection> self = shared_from_this();
  tasks_ += 2;
  asio::co_spawn(executor_, send(self), asio::detached);
  asio::co_spawn(executor_, watch(self), asio::detached);
  bool good = feed(begun_);
  begun_ = {};
  std::vector<char> piece(kReadPiece);
  bool connected = true;
  while (good && connected && !closed_ && nghttp2_session_want_read(session_) != 0) {
    const auto [error, n] = co_await socket_.async_read_some(asio::buffer(piece), kAsTuple);
    connected = !error;
    if (connected) good = feed({piece.data(), n});
  }
  // A peer that broke the rules is still told which.
  if (!closed_ && connected) (void)co_await ended_.wait(std::chrono::seconds(1));
  close();
  while (tasks_ > 0) (void)co_await ended_.wait(std::chrono::hours(1));
}

void Connection::close() noexcept {
  if (closed_) return;
  closed_ = true;
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_both, ignored);
  socket_.close(ignored);
  idle_.cancel();
  for (const auto& [id, stream] : streams_) {
    stream->closed = true;
    stream->input_changed.notify();
    stream->output_taken.notify();
  }
  streams_.clear();
  kick();
  ended_.notify();
}

// Sends what there is, in large pieces.
asio::awaitable<void> Connection::send(std::shared_ptr<Connection> self) {
  std::string out;
  while (!self->closed_) {
    out.clear();
    while (out.size() < kWritePiece) {
      const std::uint8_t* data = nullptr;
      const ssize_t n = nghttp2_session_mem_send(self->session_, &data);
      if (n <= 0) break;
      out.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(n));
    }
    if (out.empty()) {
      if (nghttp2_session_want_read(self->session_) == 0 && nghttp2_session_want_write(self->session_) == 0) {
        break;
      }
      (void)co_await self->output_wanted_.wait(std::chrono::hours(1));
      continue;
    }
    asio::steady_timer patience(self->executor_, self->options_.transfer_timeout);
    patience.async_wait([self](boost::system::error_code error) {
      if (!error) self->close();
    });
    const auto [error, n] = co_await asio::async_write(self->socket_, asio::buffer(out), kAsTuple);
    patience.cancel();
    if (error) break;
  }
  self->close();
  --self->tasks_;
  self->ended_.notify();
}

void Connection::became_idle() {
  idle_.expires_after(options_.idle_timeout);
}

// Ends the connection when it has been without a request for long.
asio::awaitable<void> Connection::watch(std::shared_ptr<Connection> self) {
  self->idle_.expires_after(self->options_.idle_timeout);
  while (!self->closed_) {
    const auto [error] = co_await self->idle_.async_wait(kAsTuple);
    if (error == asio::error::operation_aborted) {
      // A request came; look again when it may have ended.
      if (!self->closed_ && !self->streams_.empty()) self->idle_.expires_after(self->options_.idle_timeout);
      continue;
    }
    if (self->streams_.empty()) break;
    self->idle_.expires_after(self->options_.idle_timeout);
  }
  self->close();
  --self->tasks_;
  self->ended_.notify();
}

class Http2 final : public HttpProtocol {
 public:
  std::string_view preface() const noexcept override {
    return {NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN};
  }
  std::shared_ptr<Session> start(asio::any_io_executor executor, UniqueFd connection, std::string begun,
                                 const HttpHandler& handler, const HttpServerOptions& options) override {
    return std::make_shared<Connection>(executor, std::move(connection), std::move(begun), handler, options);
  }
};

}  // namespace

std::shared_ptr<HttpProtocol> http2_protocol() {
  return std::make_shared<Http2>();
}

}  // namespace sandkey::net
