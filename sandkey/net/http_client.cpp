#include "sandkey/net/http_client.h"

#include "sandkey/base/unique_fd.h"
#include "sandkey/net/ascii.h"
#include "sandkey/net/curl_library.h"
#include "sandkey/net/network_settings.h"
#include "sandkey/net/url.h"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <deque>
#include <exception>
#include <new>

#ifndef SANDKEY_VERSION
#define SANDKEY_VERSION "0"
#endif

// How it works. Each io thread has a Loop: one curl multi handle, and an epoll descriptor of our own that
// holds the sockets curl wants watched; Asio watches only that descriptor. Compared with one Asio object per
// socket this saves a system call per request and all questions of who owns a descriptor that curl closes.
//
// Curl's callbacks never resume a coroutine: they note what happened and mark the transfer ready; the
// coroutines go on when curl has returned, since they may add, remove or unpause transfers, which curl
// forbids inside callbacks.

namespace sandkey {

namespace {

using Resume = asio::async_result<asio::use_awaitable_t<>, void()>::handler_type;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kMaxIdleHandles = 64;  // per io thread and kind
// Taken at a time; enough that connections which answer fast do not keep those that wait from their turn.
constexpr std::size_t kMaxEvents = 1024;
constexpr long kStreamReadSize =
    64 * 1024;  // curl's own buffer; its default of 16 KiB is right for small answers

// libcurl takes a long, a pointer or a number of 64 bits, and believes the caller; an int would be misread.
void set(CURL* easy, CURLoption option, long value) {
  curl().easy_setopt(easy, option, value);
}
void set(CURL* easy, CURLoption option, std::nullptr_t) {
  curl().easy_setopt(easy, option, static_cast<void*>(nullptr));
}
template <typename T>
void set(CURL* easy, CURLoption option, T* value) {
  curl().easy_setopt(easy, option, value);
}

bool is_token(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
}

bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return is_token(c); });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() &&
         (text.back() == '\n' || text.back() == '\r' || text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

std::string_view name_of(const Secret& line) noexcept {
  const std::string_view text = line.expose();
  return text.substr(0, text.find_first_of(":;"));
}

bool is_line_of(const Secret& line, std::string_view name) noexcept {
  const std::string_view text = line.expose();
  return text.size() > name.size() && (text[name.size()] == ':' || text[name.size()] == ';') &&
         same_ignoring_case(text.substr(0, name.size()), name);
}

// Where a suspended coroutine waits for something to change; one waiter at most. Cancellation wakes it too,
// with `cancelled` set.
struct Event {
  std::optional<Resume> waiter;
  bool cancelled = false;

  void wait(Resume handler) {
    cancelled = false;
    auto slot = asio::get_associated_cancellation_slot(handler);
    waiter.emplace(std::move(handler));
    if (slot.is_connected()) {
      slot.assign([this](asio::cancellation_type) {
        if (!waiter) return;
        cancelled = true;
        // Posted: we run inside the emission of the slot that must be cleared first.
        const auto where = asio::get_associated_executor(*waiter);
        asio::post(where, [handler = take()]() mutable { complete(std::move(handler)); });
      });
    }
  }

  // `here` is the executor of the calling thread's loop: its own coroutines are resumed on the spot.
  void wake(const asio::any_io_executor& here) {
    if (!waiter) return;
    Resume handler = take();
    const auto where = asio::get_associated_executor(handler);
    if (where == here) return complete(std::move(handler));
    asio::dispatch(where, [handler = std::move(handler)]() mutable { complete(std::move(handler)); });
  }

 private:
  Resume take() {
    Resume handler = std::move(*waiter);
    waiter.reset();
    return handler;
  }
  static void complete(Resume handler) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.clear();
    std::move(handler)();
  }
};

asio::awaitable<void> wait_for(Event* event) {
  return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
      [](Resume handler, Event* waited) { waited->wait(std::move(handler)); }, asio::use_awaitable, event);
}

// scheme://host:port of a URL that passed check(), or the socket: what messages may show of it.
struct Target {
  std::string_view origin;
  std::string_view host;
  bool https = false;
};

Target target_of(std::string_view url) {
  const auto refuse = [](const char* why) {
    return Error(
        ErrorCode::invalid_argument, std::string("the request's URL ") + why,
        {.provider = {}, .operation = {}, .phase = {}, .request_id = {}, .processed = Processed::no});
  };
  Target target;
  std::size_t begin = 0;
  if (url.starts_with("http://")) {
    begin = 7;
  } else if (url.starts_with("https://")) {
    begin = 8;
    target.https = true;
  } else {
    throw refuse("begins with neither http:// nor https://");
  }
  for (const char c : url) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f)
      throw refuse("has blanks or control characters in it");
  }
  const std::size_t end = std::min(url.find_first_of("/?#", begin), url.size());
  const std::string_view authority = url.substr(begin, end - begin);
  if (authority.find('@') != authority.npos) throw refuse("holds a user name or password");
  target.origin = url.substr(0, end);
  target.host = authority;
  const std::size_t colon = authority.rfind(':');
  const std::size_t bracket = authority.rfind(']');
  if (colon != authority.npos && (bracket == authority.npos || colon > bracket))
    target.host = authority.substr(0, colon);
  if (target.host.empty()) throw refuse("has no host");
  return target;
}

}  // namespace

// --- headers ---

HttpHeaders::HttpHeaders(std::initializer_list<std::pair<std::string_view, std::string_view>> headers) {
  for (const auto& [name, value] : headers) set(name, value);
}

void HttpHeaders::put(std::string_view name, std::string_view prefix, std::string_view value) {
  if (!is_token(name)) {
    throw Error(ErrorCode::invalid_argument,
                "a request header has an invalid name (" + std::to_string(name.size()) + " characters)");
  }
  for (const std::string_view text : {prefix, value}) {
    if (text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos) {
      throw Error(ErrorCode::invalid_argument, "the value of the request header " + std::string(name) +
                                                   " has a line break or a NUL in it");
    }
  }
  // Curl takes "Name:" as "do not send it", and "Name;" as "send it empty".
  const bool empty = trimmed(prefix).empty() && trimmed(value).empty();
  std::string line;
  // Reserved in full: growing would leave copies of the secret behind.
  line.reserve(std::max<std::size_t>(name.size() + 2 + prefix.size() + value.size() + 1, 32));
  line += name;
  if (empty) {
    line += ';';
  } else {
    line += ": ";
    line += prefix;
    line += value;
  }
  line += '\0';
  auto kept = std::make_shared<const Secret>(line);
  wipe(line.data(), line.size());
  erase(name);
  lines_.push_back(std::move(kept));
}

void HttpHeaders::set_all(const HttpHeaders& other) {
  for (const auto& line : other.lines_) erase(name_of(*line));
  lines_.insert(lines_.end(), other.lines_.begin(), other.lines_.end());
}

void HttpHeaders::erase(std::string_view name) {
  std::erase_if(lines_, [&](const auto& line) { return is_line_of(*line, name); });
}

bool HttpHeaders::contains(std::string_view name) const noexcept {
  return std::any_of(lines_.begin(), lines_.end(), [&](const auto& line) { return is_line_of(*line, name); });
}

HttpHeaders HttpHeaders::clone() const {
  HttpHeaders copy;
  copy.lines_.reserve(lines_.size() + 2);  // for a credential, which is often what a clone is made for
  copy.lines_ = lines_;
  return copy;
}

bool HttpHeaders::operator==(const HttpHeaders& other) const noexcept {
  return std::equal(lines_.begin(), lines_.end(), other.lines_.begin(), other.lines_.end(),
                    [](const auto& a, const auto& b) { return a->matches(b->expose()); });
}

std::string HttpHeaders::mask(std::string text) const {
  constexpr std::size_t kShortestSecret = 8;
  for (const auto& line : lines_) {
    std::string_view rest = line->expose();
    rest.remove_prefix(std::min(rest.size(), name_of(*line).size() + 1));
    if (rest.ends_with('\0')) rest.remove_suffix(1);
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(' '), rest.size());
      const std::string_view word = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (word.size() < kShortestSecret) continue;
      for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at)) {
        text.replace(at, word.size(), "***");
      }
    }
  }
  return text;
}

bool HttpRequest::may_repeat() const noexcept {
  if (source) return false;
  return repeatable.value_or(method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" ||
                             method == "OPTIONS");
}

HttpRequest HttpRequest::clone() const {
  if (source) {
    throw Error(ErrorCode::invalid_argument, "a request whose body comes from a source cannot be repeated");
  }
  return {.method = method,
          .url = url,
          .unix_socket = unix_socket,
          .headers = headers.clone(),
          .body = body,
          .source = nullptr,
          .source_size = std::nullopt,
          .deadline = deadline,
          .max_response_body = max_response_body,
          .operation = operation,
          .repeatable = repeatable};
}

HttpResponseHeaders::HttpResponseHeaders(
    std::initializer_list<std::pair<std::string_view, std::string_view>> headers) {
  for (const auto& [name, value] : headers) append(name, value);
}

void HttpResponseHeaders::clear() noexcept {
  text_.clear();
  fields_.clear();
}

void HttpResponseHeaders::append_line(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == line.npos || colon == 0) return;
  const std::string_view value = trimmed(line.substr(colon + 1));
  keep(line, {.at = 0, .size = colon},
       {.at = value.empty() ? colon : static_cast<std::size_t>(value.data() - line.data()),
        .size = value.size()});
}

void HttpResponseHeaders::append(std::string_view name, std::string_view value) {
  std::string line(name);
  line += value;
  keep(line, {.at = 0, .size = name.size()}, {.at = name.size(), .size = value.size()});
}

// Bounded by kMaxResponseHeader, so 32 bits are plenty.
void HttpResponseHeaders::keep(std::string_view line, Part name, Part value) {
  if (fields_.empty()) {
    text_.reserve(512);
    fields_.reserve(16);
  }
  const std::size_t begin = text_.size();
  text_ += line;
  fields_.push_back({.name = static_cast<std::uint32_t>(begin + name.at),
                     .name_size = static_cast<std::uint32_t>(name.size),
                     .value = static_cast<std::uint32_t>(begin + value.at),
                     .value_size = static_cast<std::uint32_t>(value.size)});
}

std::optional<std::string_view> HttpResponseHeaders::find(std::string_view name) const noexcept {
  for (const Field& field : fields_) {
    if (same_ignoring_case(name_of(field), name)) return value_of(field);
  }
  return std::nullopt;
}

std::vector<std::string_view> HttpResponseHeaders::find_all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const Field& field : fields_) {
    if (same_ignoring_case(name_of(field), name)) values.push_back(value_of(field));
  }
  return values;
}

std::vector<std::pair<std::string_view, std::string_view>> HttpResponseHeaders::list() const {
  std::vector<std::pair<std::string_view, std::string_view>> fields;
  fields.reserve(fields_.size());
  for (const Field& field : fields_) fields.emplace_back(name_of(field), value_of(field));
  return fields;
}

// --- one exchange ---

// A pooled easy handle with all that its callbacks need. Lives on one io thread.
struct HttpClient::Transfer : std::enable_shared_from_this<HttpClient::Transfer> {
  enum class Mode { whole, stream };
  // Why we ourselves ended it, where curl's code cannot say.
  enum class Stop { none, header_too_long, body_too_long, not_repeatable, client_closed };

  Transfer(Loop& the_loop, Mode the_mode);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Throws Error(invalid_argument) or Error(deadline_exceeded) for a request that is not to be sent.
  void prepare(HttpRequest&& the_request, SteadyClock::time_point now);
  void wipe_headers() {
    request.headers = {};
    header_list.clear();
  }
  // Continues the directions that are not paused (any more).
  void apply_pauses() {
    curl().easy_pause(easy, (receive_paused ? CURLPAUSE_RECV : 0) | (send_paused ? CURLPAUSE_SEND : 0));
  }
  [[nodiscard]] std::size_t buffered() const noexcept { return buffer.size() - buffer_begin; }
  [[nodiscard]] bool failed() const noexcept {
    // Curl takes headers that end with the connection for an answer.
    return finished &&
           (source_error || result != CURLE_OK || stop != Stop::none || (!headers_done && !closed_by_us));
  }
  [[noreturn]] void throw_failure();
  [[nodiscard]] Error error(ErrorCode code, const std::string& cause, Processed processed,
                            bool permanent = false) const;
  [[nodiscard]] Error cancelled() const { return error(ErrorCode::cancelled, "cancelled", sent_anything()); }
  [[nodiscard]] Processed sent_anything() const;
  [[nodiscard]] std::string certificate_problem() const;
  [[nodiscard]] std::string trusted() const;

  // Lets curl write straight into a reader's buffer, for as long as the reader waits.
  class OpenWindow {
   public:
    OpenWindow(Transfer& transfer, std::span<std::byte> buffer) : transfer_(transfer) {
      transfer.window = buffer;
      transfer.window_filled = 0;
    }
    ~OpenWindow() { transfer_.window = {}; }
    OpenWindow(const OpenWindow&) = delete;
    OpenWindow& operator=(const OpenWindow&) = delete;

   private:
    Transfer& transfer_;
  };

  // Curl's callbacks.
  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_read(char* data, std::size_t, std::size_t size, void* self);
  static int on_prerequisite(void* self, char*, char*, int, int);
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

 private:
  // The parts of prepare().
  void forget_last();
  void check(SteadyClock::time_point now);
  void set_target();
  void set_method();
  void set_deadline(SteadyClock::time_point now);
  void set_headers();
  [[nodiscard]] bool is_plain_get() const noexcept {
    return request.method == "GET" && !request.source && request.body.empty();
  }

 public:
  Loop& loop;
  const Mode mode;
  CURL* easy = nullptr;
  std::array<char, CURL_ERROR_SIZE> error_text{};

  HttpRequest request;
  std::vector<curl_slist> header_list;  // nodes that point into request.headers
  SteadyClock::time_point started;
  bool repeatable = false;
  // What curl was last told.
  bool last_was_plain_get = false;
  std::string last_url;
  std::string last_origin;
  std::string last_socket;

  bool active = false;  // in the multi handle
  bool leased = false;  // out of the pool, and so in Loop::leased_
  std::size_t leased_index = 0;
  bool ready = false;  // in Loop::ready_
  bool finished = false;
  bool closed_by_us = false;
  CURLcode result = CURLE_OK;
  Stop stop = Stop::none;
  int attempts = 0;

  int status = 0;
  bool headers_done = false;
  std::size_t header_bytes = 0;
  HttpResponseHeaders headers;
  Event event;  // the caller: headers, data, or the end

  // The body. Whole: all of it, in `buffer`. Stream: what `window` had no room for.
  std::string buffer;
  std::size_t buffer_begin = 0;
  bool body_begun = false;
  std::span<std::byte> window;  // of the reader that waits just now
  std::size_t window_filled = 0;
  bool receive_paused = false;

  // The upload. Only with a source.
  std::unique_ptr<TaskGroup> upload;
  Event upload_event;  // the pump: curl has taken all, or the end
  std::vector<std::byte> upload_buffer;
  std::size_t upload_begin = 0;
  std::size_t upload_end = 0;
  bool upload_complete = false;
  bool send_paused = false;
  bool poke = false;  // let curl notice that it need not send the rest
  std::exception_ptr source_error;
};

// --- one io thread ---

class HttpClient::Loop : public std::enable_shared_from_this<HttpClient::Loop> {
 public:
  Loop(Engine& engine, std::size_t thread, asio::any_io_executor executor, const HttpClientOptions& options)
      : engine_(engine),
        thread_(thread),
        executor_(std::move(executor)),
        options_(options),
        settings_(engine, options),
        timer_(executor_),
        watch_(executor_) {
    UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll) throw system_error("create an epoll descriptor", errno);
    multi_ = curl().multi_init();
    if (multi_ == nullptr) throw std::bad_alloc();
    curl().multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Loop::on_socket);
    curl().multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl().multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Loop::on_timer);
    curl().multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    curl().multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options.max_idle_connections));
    watch_.assign(epoll.get());
    epoll_ = epoll.release();
  }

  // After the loop's thread, or on it; never beside it.
  ~Loop() {
    for (auto& pool : idle_) pool.clear();
    curl().multi_cleanup(multi_);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] const HttpClientOptions& options() const noexcept { return options_; }
  [[nodiscard]] const NetworkSettings& settings() const noexcept { return settings_; }
  [[nodiscard]] const std::optional<std::string>& ca_folder() const noexcept { return ca_folder_; }
  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] Engine& engine() const noexcept { return engine_; }
  [[nodiscard]] bool taking_events() const noexcept { return taking_events_; }
  [[nodiscard]] bool is_here() const noexcept { return engine_.this_thread() == thread_; }

  std::shared_ptr<Transfer> take(Transfer::Mode mode) {
    auto& pool = idle_[mode == Transfer::Mode::stream ? 1 : 0];
    std::shared_ptr<Transfer> transfer;
    if (pool.empty()) {
      transfer = std::make_shared<Transfer>(*this, mode);
    } else {
      transfer = std::move(pool.back());
      pool.pop_back();
    }
    transfer->leased_index = leased_.size();
    leased_.push_back(transfer.get());
    transfer->leased = true;
    return transfer;
  }

  void start(Transfer& transfer) {
    if (!watching_) watch();
    if (curl().multi_add_handle(multi_, transfer.easy) != CURLM_OK) {
      throw transfer.error(ErrorCode::internal, "libcurl refused the request", Processed::no);
    }
    transfer.active = true;
  }

  // Takes the transfer away from curl; its coroutines are not woken. Never in a curl callback.
  void abort(Transfer& transfer) {
    if (transfer.active) curl().multi_remove_handle(multi_, transfer.easy);
    transfer.active = false;
    transfer.finished = true;
  }

  // The caller is done with it. On the loop's thread, or after its end.
  void recycle(std::shared_ptr<Transfer> transfer) {
    abort(*transfer);
    unmark_ready(*transfer);
    transfer->wipe_headers();
    if (transfer->upload) {
      // Its pump may still run, and holds a share of it; the last one to let go destroys it.
      transfer->upload->cancel();
      if (transfer->upload->size() != 0 && !engine_.stopped()) {
        asio::post(executor_,
                   [self = shared_from_this(), transfer] { transfer->upload_event.wake(self->executor_); });
      }
      return;
    }
    auto& pool = idle_[transfer->mode == Transfer::Mode::stream ? 1 : 0];
    if (closed_ || pool.size() >= kMaxIdleHandles) return;
    transfer->request.body = {};
    transfer->request.source = nullptr;
    unlease(*transfer);
    pool.push_back(std::move(transfer));
  }

  void unlease(Transfer& transfer) noexcept {
    if (!transfer.leased) return;
    transfer.leased = false;
    Transfer* const last = leased_.back();
    leased_[transfer.leased_index] = last;
    last->leased_index = transfer.leased_index;
    leased_.pop_back();
  }

  // Its coroutines will look at it as soon as curl has returned.
  void mark_ready(Transfer& transfer) {
    if (transfer.ready) return;
    transfer.ready = true;
    ready_.push_back(&transfer);
    if (!driving_) want_drive();
  }

  void unmark_ready(Transfer& transfer) noexcept {
    if (transfer.ready) std::erase(ready_, &transfer);
    transfer.ready = false;
  }

  // For the client's destructor: every request in flight ends as cancelled.
  void close() {
    closed_ = true;
    end_all();
    run_ready();
    timer_.cancel();
    boost::system::error_code ignored;
    watch_.cancel(ignored);
  }

  // Instead of close(), when the engine has stopped before it could run: a suspended coroutine and the
  // transfer it waits for own each other, and nobody will resume it any more.
  void drop() noexcept {
    closed_ = true;
    for (;;) {
      const auto waiting = std::find_if(leased_.begin(), leased_.end(), [](const Transfer* transfer) {
        return transfer->event.waiter || transfer->upload_event.waiter;
      });
      if (waiting == leased_.end()) return;
      const std::shared_ptr<Transfer> keep = (*waiting)->shared_from_this();
      const std::optional<Resume> caller = std::exchange(keep->event.waiter, std::nullopt);
      const std::optional<Resume> pump = std::exchange(keep->upload_event.waiter, std::nullopt);
    }
  }

  static curl_socket_t on_open(void* self, curlsocktype, curl_sockaddr* address) {
    const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0)
      static_cast<Loop*>(self)->socket_at(fd) = {.ours = true, .registered = false, .mask = 0, .wanted = 0};
    return fd;
  }
  static int on_close(void* self, curl_socket_t fd) {
    static_cast<Loop*>(self)->socket_at(fd) = {};  // the kernel takes it out of the epoll set
    return ::close(fd);
  }

 private:
  // What our epoll set knows of a descriptor, and what curl wants of it.
  struct Socket {
    // Connections, of which we see the end: these stay registered between requests. Others (the resolver's)
    // may be closed behind our back.
    bool ours = false;
    bool registered = false;
    std::uint32_t mask = 0;
    std::uint32_t wanted = 0;
  };

  Socket& socket_at(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= sockets_.size()) sockets_.resize(index + 16);
    return sockets_[index];
  }

  void set_interest(int fd, Socket& socket, std::uint32_t mask) {
    if (socket.registered && socket.mask == mask) return;
    epoll_event event{};
    event.events = mask;
    event.data.fd = fd;
    const int operation = socket.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll_, operation, fd, &event) != 0) {
      const int other = operation == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
      if ((errno != ENOENT && errno != EEXIST) || epoll_ctl(epoll_, other, fd, &event) != 0) return;
    }
    socket.registered = true;
    socket.mask = mask;
  }

  void drop_interest(int fd, Socket& socket) {
    epoll_event event{};
    if (socket.registered) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, &event);
    socket.registered = false;
    socket.mask = 0;
  }

  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
    Loop& loop = *static_cast<Loop*>(self);
    Socket& socket = loop.socket_at(fd);
    switch (what) {
      case CURL_POLL_IN:
        socket.wanted = EPOLLIN;
        break;
      case CURL_POLL_OUT:
        socket.wanted = EPOLLOUT;
        break;
      case CURL_POLL_INOUT:
        socket.wanted = EPOLLIN | EPOLLOUT;
        break;
      default:
        socket.wanted = 0;
        if (!socket.ours) loop.drop_interest(fd, socket);
        return 0;
    }
    loop.set_interest(fd, socket, socket.wanted);
    return 0;
  }

  static int on_timer(CURLM*, long milliseconds, void* self) {
    Loop& loop = *static_cast<Loop*>(self);
    if (milliseconds < 0) {
      loop.due_ = kNoDeadline;  // the armed timer finds nothing to do
    } else if (milliseconds == 0) {
      loop.due_ = kNoDeadline;
      loop.want_drive();
    } else {
      loop.due_ = SteadyClock::now() + std::chrono::milliseconds(milliseconds);
      // Only ever re-armed for something earlier: with deadlines far away that is once in many requests.
      if (loop.due_ < loop.armed_) loop.arm();
    }
    return 0;
  }

  void arm() {
    armed_ = due_;
    timer_.expires_at(armed_);
    timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (error || self->closed_) return;
      self->armed_ = kNoDeadline;
      if (self->due_ == kNoDeadline) return;
      if (self->due_ > SteadyClock::now()) return self->arm();
      self->due_ = kNoDeadline;
      self->drive();
    });
  }

  // Has curl called as soon as may be: by settle() if that is yet to come, else from the event loop.
  void want_drive() {
    drive_wanted_ = true;
    if (driving_ || settling_ || drive_posted_) return;
    drive_posted_ = true;
    asio::post(executor_, [self = shared_from_this()] {
      self->drive_posted_ = false;
      if (self->drive_wanted_) self->drive();
    });
  }

  void drive() {
    drive_once();
    settle();
  }

  void drive_once() {
    drive_wanted_ = false;
    driving_ = true;
    int running = 0;
    curl().multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
    driving_ = false;
  }

  void watch() {
    watching_ = true;
    watch_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        if (error || self->closed_) return;
                        self->take_events();
                        if (!self->closed_) self->watch();
                      });
  }

  void take_events() {
    std::array<epoll_event, kMaxEvents> events;
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    driving_ = true;
    taking_events_ = true;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      const int fd = event.data.fd;
      Socket& socket = socket_at(fd);
      if (socket.wanted == 0) {
        // An idle connection that its server closed, or a paused one: level-triggered, it would wake us for
        // ever.
        drop_interest(fd, socket);
        continue;
      }
      int action = 0;
      if ((event.events & EPOLLIN) != 0) action |= CURL_CSELECT_IN;
      if ((event.events & EPOLLOUT) != 0) action |= CURL_CSELECT_OUT;
      if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) action |= CURL_CSELECT_ERR;
      int running = 0;
      curl().multi_socket_action(multi_, fd, action, &running);
    }
    taking_events_ = false;
    driving_ = false;
    settle();
  }

  // After curl has returned: lets the coroutines go on, and sends what they then ask for. A post for that
  // would cost a round of the event loop, and so a system call, for every request that follows upon another.
  // What comes of it in turn is left to a post: others on the event loop have waited.
  void settle() {
    settling_ = true;
    collect_finished();
    run_ready();
    if (drive_wanted_) {
      drive_once();
      collect_finished();
      run_ready();
    }
    settling_ = false;
    if (drive_wanted_) want_drive();
  }

  void collect_finished() {
    int left = 0;
    while (const CURLMsg* message = curl().multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      char* attached = nullptr;
      curl().easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &attached);
      Transfer& transfer = *static_cast<Transfer*>(static_cast<void*>(attached));
      transfer.result = message->data.result;
      finished_.push_back(&transfer);
    }
    driving_ = true;  // no drive for what we are about to run anyway
    // Only now: to take a handle away, curl goes through all messages that are left.
    for (Transfer* const transfer : finished_) {
      abort(*transfer);
      mark_ready(*transfer);
    }
    driving_ = false;
    finished_.clear();
  }

  void end_all() {
    driving_ = true;
    for (Transfer* const transfer : leased_) {
      if (!transfer->active) continue;
      abort(*transfer);
      transfer->stop = Transfer::Stop::client_closed;
      mark_ready(*transfer);
    }
    driving_ = false;
  }

  void run_ready() {
    // Coroutines woken here may mark transfers, take them off, end them, or bring us here again.
    const std::shared_ptr<Loop> self = shared_from_this();
    while (!ready_.empty()) {
      const std::shared_ptr<Transfer> transfer = ready_.front()->shared_from_this();
      ready_.pop_front();
      transfer->ready = false;
      if (std::exchange(transfer->poke, false) && transfer->active && transfer->send_paused) {
        transfer->send_paused = false;
        transfer->apply_pauses();
      }
      transfer->upload_event.wake(executor_);
      transfer->event.wake(executor_);
    }
  }

  Engine& engine_;
  const std::size_t thread_;
  const asio::any_io_executor executor_;
  const HttpClientOptions options_;
  const NetworkSettings settings_;
  const std::optional<std::string> ca_folder_ = settings_.ca_folder_in_use();
  CURLM* multi_ = nullptr;
  int epoll_ = -1;  // owned by watch_
  asio::steady_timer timer_;
  asio::posix::stream_descriptor watch_;
  std::vector<Socket> sockets_;    // by descriptor
  std::vector<Transfer*> leased_;  // all that are in somebody's hands
  std::deque<Transfer*> ready_;
  std::vector<Transfer*> finished_;                             // of collect_finished()
  std::array<std::vector<std::shared_ptr<Transfer>>, 2> idle_;  // by mode
  SteadyClock::time_point due_ = kNoDeadline;                   // when curl wants to be called
  SteadyClock::time_point armed_ = kNoDeadline;                 // when the timer fires
  bool drive_wanted_ = false;
  bool drive_posted_ = false;
  bool driving_ = false;   // curl is running: its callbacks are
  bool settling_ = false;  // coroutines are running that curl's news have woken
  bool taking_events_ = false;
  bool watching_ = false;
  bool closed_ = false;
};

// A transfer in somebody's hands, with the loop it lives on.
class HttpClient::Lease {
 public:
  Lease(std::shared_ptr<Loop> loop, Transfer::Mode mode)
      : loop_(std::move(loop)), transfer_(loop_->take(mode)) {}
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) = delete;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (!transfer_) return;
    if (loop_->is_here() || loop_->engine().stopped()) {
      loop_->recycle(std::move(transfer_));
      return;
    }
    const asio::any_io_executor where = loop_->executor();
    asio::post(where,
               [loop = std::move(loop_), transfer = std::move(transfer_)] { loop->recycle(transfer); });
  }

  [[nodiscard]] Transfer& operator*() const noexcept { return *transfer_; }
  [[nodiscard]] Transfer* operator->() const noexcept { return transfer_.get(); }
  [[nodiscard]] const std::shared_ptr<Loop>& loop() const noexcept { return loop_; }

  // Puts the request on its way.
  void start(HttpRequest&& request) {
    Engine& engine = loop_->engine();
    transfer_->prepare(std::move(request), engine.steady_now());
    if (transfer_->request.source) {
      transfer_->upload = std::make_unique<TaskGroup>(engine, loop_->executor());
      transfer_->upload->spawn(pump(loop_, transfer_));
    }
    loop_->start(*transfer_);
  }

  // Until the headers are there, or it is over.
  static asio::awaitable<void> headers(Transfer* transfer) {
    while (!transfer->headers_done && !transfer->finished) {
      co_await wait_for(&transfer->event);
      if (transfer->event.cancelled && !transfer->headers_done && !transfer->finished)
        throw transfer->cancelled();
    }
  }

  static asio::awaitable<void> end(Transfer* transfer) {
    while (!transfer->finished) {
      co_await wait_for(&transfer->event);
      if (transfer->event.cancelled && !transfer->finished) throw transfer->cancelled();
    }
  }

  // Ends the exchange and joins the pump, also for a coroutine that was cancelled.
  static asio::awaitable<void> stop_upload(std::shared_ptr<Loop> loop, std::shared_ptr<Transfer> transfer) {
    loop->abort(*transfer);
    if (!transfer->upload) co_return;
    transfer->upload->cancel();
    loop->mark_ready(*transfer);
    co_await transfer->upload->join();
  }

  [[nodiscard]] std::shared_ptr<Transfer> share() const noexcept { return transfer_; }

 private:
  // Fetches from the source whenever curl has taken all there was. Ends with the transfer; never throws.
  static asio::awaitable<void> pump(std::shared_ptr<Loop> loop, std::shared_ptr<Transfer> transfer) {
    std::uint64_t total = 0;
    try {
      transfer->upload_buffer.resize(kUploadBuffer);
      while (!transfer->finished) {
        if (transfer->upload_begin != transfer->upload_end) {
          co_await wait_for(&transfer->upload_event);
          if (transfer->upload_event.cancelled) co_return;
          continue;
        }
        const std::size_t size = co_await transfer->request.source(std::span(transfer->upload_buffer));
        if (transfer->finished) co_return;
        if (size > transfer->upload_buffer.size()) {
          throw transfer->error(ErrorCode::internal,
                                "the body's source claims more bytes than its buffer holds",
                                Processed::unknown);
        }
        total += size;
        const auto& expected = transfer->request.source_size;
        if (expected && (total > *expected || (size == 0 && total != *expected))) {
          throw transfer->error(ErrorCode::invalid_argument,
                                "the body's source gave " + std::string(size == 0 ? "only " : "") +
                                    std::to_string(total) + " bytes instead of " + std::to_string(*expected),
                                Processed::unknown);
        }
        transfer->upload_begin = 0;
        transfer->upload_end = size;
        transfer->upload_complete = size == 0;
        if (transfer->send_paused) {
          transfer->send_paused = false;
          transfer->apply_pauses();
        }
        if (size == 0) co_return;
      }
    } catch (...) {
      if (transfer->finished) co_return;
      transfer->source_error = std::current_exception();
      loop->abort(*transfer);
      loop->mark_ready(*transfer);
    }
  }

  std::shared_ptr<Loop> loop_;
  std::shared_ptr<Transfer> transfer_;
};

// --- one exchange, continued ---

HttpClient::Transfer::Transfer(Loop& the_loop, Mode the_mode)
    : loop(the_loop), mode(the_mode), easy(curl().easy_init()) {
  if (easy == nullptr) throw std::bad_alloc();
  const HttpClientOptions& options = loop.options();
  set(easy, CURLOPT_PRIVATE, static_cast<void*>(this));
  set(easy, CURLOPT_ERRORBUFFER, error_text.data());
  set(easy, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  set(easy, CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  set(easy, CURLOPT_WRITEDATA, static_cast<void*>(this));
  set(easy, CURLOPT_READFUNCTION, &Transfer::on_read);
  set(easy, CURLOPT_READDATA, static_cast<void*>(this));
  set(easy, CURLOPT_PREREQFUNCTION, &Transfer::on_prerequisite);
  set(easy, CURLOPT_PREREQDATA, static_cast<void*>(this));
  set(easy, CURLOPT_XFERINFOFUNCTION, &Transfer::on_progress);
  set(easy, CURLOPT_XFERINFODATA, static_cast<void*>(this));
  // The loop and not the transfer: connections outlive transfers.
  set(easy, CURLOPT_OPENSOCKETFUNCTION, &Loop::on_open);
  set(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(&loop));
  set(easy, CURLOPT_CLOSESOCKETFUNCTION, &Loop::on_close);
  set(easy, CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&loop));
  set(easy, CURLOPT_NOSIGNAL, 1L);
  // Else a request cancelled while its host is looked up would block the thread until the lookup ends.
  set(easy, CURLOPT_QUICK_EXIT, 1L);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set(easy, CURLOPT_PATH_AS_IS, 1L);
  set(easy, CURLOPT_TCP_NODELAY, 1L);
  set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
  set(easy, CURLOPT_UPLOAD_BUFFERSIZE, static_cast<long>(kUploadBuffer));
  if (mode == Mode::stream) set(easy, CURLOPT_BUFFERSIZE, kStreamReadSize);
  set(easy, CURLOPT_NOPROXY, "");  // NetworkSettings has read the environment
  const NetworkSettings& settings = loop.settings();
  const auto set_path = [this](CURLoption option, const std::optional<std::string>& path) {
    if (path) set(easy, option, path->empty() ? nullptr : path->c_str());
  };
  set_path(CURLOPT_CAINFO, settings.ca_file());
  set_path(CURLOPT_CAPATH, loop.ca_folder());
  if (!settings.ca_pem().empty()) {
    curl_blob pem{.data = const_cast<char*>(settings.ca_pem().data()),  // the loop's, which outlives us
                  .len = settings.ca_pem().size(),
                  .flags = CURL_BLOB_NOCOPY};
    set(easy, CURLOPT_CAINFO_BLOB, &pem);
  }
}

HttpClient::Transfer::~Transfer() {
  loop.unmark_ready(*this);
  loop.unlease(*this);
  wipe_headers();
  curl().easy_cleanup(easy);
}

void HttpClient::Transfer::prepare(HttpRequest&& the_request, SteadyClock::time_point now) {
  forget_last();
  request = std::move(the_request);
  if (request.operation.empty()) request.operation = request.method;
  check(now);
  started = now;
  repeatable = request.may_repeat();
  set_target();
  set_method();
  set_deadline(now);
  set_headers();
}

void HttpClient::Transfer::forget_last() {
  finished = false;
  closed_by_us = false;
  result = CURLE_OK;
  stop = Stop::none;
  attempts = 0;
  status = 0;
  headers_done = false;
  header_bytes = 0;
  headers.clear();
  buffer.clear();
  buffer_begin = 0;
  body_begun = false;
  receive_paused = false;
  send_paused = false;
  poke = false;
  error_text[0] = '\0';
}

void HttpClient::Transfer::check(SteadyClock::time_point now) {
  if (!is_token(request.method)) {
    request.operation = "request";
    throw error(ErrorCode::invalid_argument, "the HTTP method has characters that are not allowed",
                Processed::no);
  }
  if (request.source && !request.body.empty()) {
    throw error(ErrorCode::invalid_argument, "a request has a body or a source of one, not both",
                Processed::no);
  }
  if (request.deadline != kNoDeadline && request.deadline <= now) {
    throw error(ErrorCode::deadline_exceeded, "the deadline had passed before the request was sent",
                Processed::no);
  }
}

// Options that most requests share with the one before on this handle are left as they are; so in
// set_method().
void HttpClient::Transfer::set_target() {
  if (request.url == last_url && request.unix_socket == last_socket) return;
  const Target target = target_of(request.url);
  last_url.clear();  // whatever goes wrong from here
  set(easy, CURLOPT_URL, request.url.c_str());
  if (target.origin != last_origin || request.unix_socket != last_socket) {
    last_origin = target.origin;
    last_socket = request.unix_socket;
    const bool unix = !last_socket.empty();
    set(easy, CURLOPT_UNIX_SOCKET_PATH, unix ? last_socket.c_str() : nullptr);
    const std::string proxy =
        unix ? std::string() : loop.settings().proxy_for(target.https, target.host).address;
    set(easy, CURLOPT_PROXY, proxy.c_str());  // an empty one is none, whatever the environment says
    set(easy, CURLOPT_HTTP_VERSION,
        target.https ? static_cast<long>(CURL_HTTP_VERSION_2TLS) : static_cast<long>(CURL_HTTP_VERSION_1_1));
    // Rather share the connection that is just being made than make one each.
    set(easy, CURLOPT_PIPEWAIT, target.https ? 1L : 0L);
  }
  last_url = request.url;
}

void HttpClient::Transfer::set_method() {
  const std::string& method = request.method;
  const bool plain_get = is_plain_get();
  if (plain_get && last_was_plain_get) return;
  // First back to GET, which undoes the upload, the missing body and the fields of the request before.
  set(easy, CURLOPT_POSTFIELDS, nullptr);
  set(easy, CURLOPT_HTTPGET, 1L);
  set(easy, CURLOPT_NOPROGRESS, request.source ? 0L : 1L);
  const char* custom = method.c_str();
  if (request.source) {
    set(easy, CURLOPT_UPLOAD, 1L);
    set(easy, CURLOPT_INFILESIZE_LARGE,
        request.source_size ? static_cast<curl_off_t>(*request.source_size) : curl_off_t{-1});
  } else if (!request.body.empty() || method == "POST" || method == "PUT" || method == "PATCH") {
    set(easy, CURLOPT_POST, 1L);
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    if (method == "POST") custom = nullptr;
  } else if (method == "HEAD") {
    set(easy, CURLOPT_NOBODY, 1L);
    custom = nullptr;
  } else if (method == "GET") {
    custom = nullptr;
  }
  set(easy, CURLOPT_CUSTOMREQUEST, custom);
  last_was_plain_get = plain_get;
}

void HttpClient::Transfer::set_deadline(SteadyClock::time_point now) {
  long milliseconds = 0;  // none
  if (request.deadline != kNoDeadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(request.deadline - now).count();
    milliseconds = static_cast<long>(std::min<std::int64_t>(left, 1'000'000'000));
  }
  set(easy, CURLOPT_TIMEOUT_MS, milliseconds);
}

void HttpClient::Transfer::set_headers() {
  static char user_agent[] = "User-Agent: sandkey/" SANDKEY_VERSION;
  static char no_expect[] = "Expect:";
  static char no_content_type[] = "Content-Type:";
  header_list.clear();
  header_list.reserve(request.headers.lines_.size() + 3);
  const auto add = [&](char* line) { header_list.push_back({.data = line, .next = nullptr}); };
  for (const auto& line : request.headers.lines_) {
    add(const_cast<char*>(line->expose().data()));  // curl only reads it
  }
  // For half of what CURLOPT_USERAGENT costs, which curl prints twice for every request.
  if (!request.headers.contains("User-Agent")) add(user_agent);
  if (!is_plain_get()) {
    if (!request.headers.contains("Expect")) add(no_expect);
    // Curl would call any body a web form.
    if (!request.headers.contains("Content-Type")) add(no_content_type);
  }
  for (std::size_t i = 0; i + 1 < header_list.size(); ++i) header_list[i].next = &header_list[i + 1];
  set(easy, CURLOPT_HTTPHEADER, header_list.data());
}

Processed HttpClient::Transfer::sent_anything() const {
  long size = 0;
  curl().easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &size);
  return size == 0 ? Processed::no : Processed::unknown;
}

Error HttpClient::Transfer::error(ErrorCode code, const std::string& cause, Processed processed,
                                  bool permanent) const {
  std::string where;
  if (!request.unix_socket.empty()) {
    where = " (unix:" + request.unix_socket + ")";
  } else {
    try {
      where = " (" + std::string(target_of(request.url).origin) + ")";
    } catch (const Error&) {
      // Not a URL: then the cause says so, and quoting it could show a password.
    }
  }
  std::string phase = "connect";
  if (headers_done) {
    phase = "read the answer";
  } else if (processed != Processed::no) {
    phase = "wait for the answer";
  }
  return Error(code, request.operation + ": " + cause + where,
               {.provider = {},
                .operation = request.operation,
                .phase = std::move(phase),
                .request_id = {},
                .processed = processed,
                .permanent = permanent});
}

void HttpClient::Transfer::throw_failure() {
  if (source_error) std::rethrow_exception(std::exchange(source_error, nullptr));
  const Processed processed = sent_anything();
  switch (stop) {
    case Stop::none:
      break;
    case Stop::header_too_long:
      throw error(ErrorCode::protocol,
                  "the answer's headers are longer than " + std::to_string(kMaxResponseHeader) + " bytes",
                  processed);
    case Stop::body_too_long:
      throw error(ErrorCode::protocol,
                  "the answer is longer than " + std::to_string(request.max_response_body) + " bytes",
                  processed);
    case Stop::not_repeatable:
      throw error(
          ErrorCode::unavailable,
          "the connection was closed before an answer came, and the request may have been carried out",
          Processed::unknown);
    case Stop::client_closed:
      throw cancelled();
  }

  long os_error = 0;
  curl().easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
  const std::string text = curl().easy_strerror(result);
  const std::string reason =
      os_error != 0 ? std::generic_category().message(static_cast<int>(os_error)) : std::string("no answer");
  const std::string_view detail(error_text.data());
  long connect_status = 0;  // of a proxy asked for a tunnel
  curl().easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
  if (connect_status >= 300) {
    throw error(ErrorCode::unavailable,
                "the proxy refused to connect (HTTP status " + std::to_string(connect_status) +
                    "); check https_proxy and what the proxy allows",
                Processed::no, connect_status < 500 && connect_status != 429);
  }
  switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
      throw error(ErrorCode::unavailable,
                  "the host name cannot be resolved; check the address and the network", Processed::no);
    case CURLE_COULDNT_RESOLVE_PROXY:
      throw error(ErrorCode::unavailable,
                  "the proxy's host name cannot be resolved; check http_proxy, https_proxy and all_proxy",
                  Processed::no);
    case CURLE_COULDNT_CONNECT:
      throw error(ErrorCode::unavailable,
                  "cannot connect: " + reason + "; check that the server runs and the address is right",
                  Processed::no);
    case CURLE_PROXY:
      throw error(ErrorCode::unavailable, "the proxy refused to connect", Processed::no);
    case CURLE_PEER_FAILED_VERIFICATION:
      throw error(ErrorCode::unavailable, "no secure connection: " + certificate_problem(), Processed::no,
                  true);
    case CURLE_SSL_CACERT_BADFILE:
      throw error(ErrorCode::unavailable,
                  "no secure connection: the trusted certificates cannot be read (" + trusted() +
                      "); check the path and that it is PEM",
                  Processed::no, true);
    case CURLE_OPERATION_TIMEDOUT: {
      const auto limit = loop.options().connect_timeout;
      const bool by_deadline = request.deadline != kNoDeadline && request.deadline - started <= limit;
      if (processed == Processed::no && !by_deadline) {
        throw error(ErrorCode::unavailable,
                    "no connection within " + std::to_string(limit.count()) +
                        " ms; check the address and the network",
                    Processed::no);
      }
      throw error(ErrorCode::deadline_exceeded, "deadline exceeded", processed);
    }
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
      // OpenSSL's own words: no part of the request is in them.
      throw error(ErrorCode::unavailable,
                  "no secure connection: " + (detail.empty() ? text : std::string(detail)), Processed::no,
                  result != CURLE_SSL_CONNECT_ERROR);  // which may be a server that is just going down
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      // The second is also what curl calls an answer that is not HTTP/1 or later.
      if (processed == Processed::no) {
        throw error(ErrorCode::invalid_argument, "the request's URL is malformed", Processed::no);
      }
      throw error(ErrorCode::protocol, "the answer is not HTTP", processed);
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR:
      throw error(ErrorCode::protocol, "the answer is malformed: " + text, processed);
    case CURLE_OUT_OF_MEMORY: {
      // Also what curl says of a header that outgrows its own limit.
      if (processed == Processed::no) throw std::bad_alloc();
      throw error(ErrorCode::protocol, "the answer is malformed: a header is too long", processed);
    }
    case CURLE_RECV_ERROR:
      if (detail.find("chunked-encoding") != detail.npos) {
        throw error(ErrorCode::protocol, "the answer is malformed: not a valid chunk", processed);
      }
      [[fallthrough]];
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
      throw error(ErrorCode::unavailable, "the connection broke: " + (os_error != 0 ? reason : text),
                  processed);
    case CURLE_GOT_NOTHING:
      throw error(ErrorCode::unavailable, "the server closed the connection without an answer", processed);
    case CURLE_OK:  // without the end of its headers
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2_STREAM:
      throw error(ErrorCode::unavailable, "the connection was closed in the middle of the answer", processed);
    default:
      throw error(ErrorCode::unavailable, "the exchange failed: " + text, processed);
  }
}

// Which authorities the connection's certificate was checked with.
std::string HttpClient::Transfer::trusted() const {
  const auto known = [this](const std::optional<std::string>& path, CURLINFO built_in) {
    if (path) return *path;
    char* own = nullptr;
    curl().easy_getinfo(easy, built_in, &own);  // an old libcurl does not tell
    return std::string(own != nullptr ? own : "");
  };
  const NetworkSettings& settings = loop.settings();
  if (!settings.ca_pem().empty()) return "given as text, by " + settings.ca_source();
  std::string text = known(settings.ca_file(), CURLINFO_CAINFO);
  const std::string folder = known(loop.ca_folder(), CURLINFO_CAPATH);
  if (!folder.empty()) text += (text.empty() ? "" : " and ") + folder;
  if (!text.empty()) text += ", by ";
  return text + settings.ca_source();
}

std::string HttpClient::Transfer::certificate_problem() const {
  // OpenSSL's X509_V_ERR_*, whose numbers are part of its interface.
  constexpr long kNotYetValid = 9;
  constexpr long kExpired = 10;
  constexpr long kSelfSigned = 18;
  constexpr long kSelfSignedInChain = 19;
  constexpr long kNoIssuer = 20;
  constexpr long kNoIssuerOfLeaf = 21;
  long verified = 0;
  curl().easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verified);
  switch (verified) {
    case kNotYetValid:
      return "the server's certificate is not valid yet; check this machine's clock";
    case kExpired:
      return "the server's certificate has expired; check this machine's clock, or tell the server's owner";
    case kSelfSigned:
    case kSelfSignedInChain:
    case kNoIssuer:
    case kNoIssuerOfLeaf:
      return "the server's certificate comes from an authority that is not trusted here (trusted: " +
             trusted() +
             "); if it should be, as that of a company's proxy, name a PEM file with that authority's "
             "certificate in SSL_CERT_FILE or HttpClientOptions::ca_file";
    default:
      break;
  }
  // The check of the name is curl's own, and has no number.
  const std::string_view detail(error_text.data());
  if (detail.find("subject name") != detail.npos) {
    return "the server's certificate is for another host name; check the address, and whether something on "
           "the way answers in the server's place";
  }
  // OpenSSL's own words: no part of the request is in them.
  return std::string(detail.empty() ? curl().easy_strerror(result) : detail);
}

std::size_t HttpClient::Transfer::on_header(char* data, std::size_t, std::size_t size, void* self) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  const std::string_view line(data, size);
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxResponseHeader) {
    transfer.stop = Stop::header_too_long;
    return 0;
  }
  if (transfer.headers_done) return size;  // trailers
  if (line.starts_with("HTTP/")) {
    transfer.headers.clear();
    transfer.status = 0;
    const std::size_t blank = line.find(' ');
    if (blank != line.npos) std::from_chars(data + blank + 1, data + size, transfer.status);
  } else if (line.find_first_not_of("\r\n") == line.npos) {
    // 1xx announce; the answer is still to come. (101 is one we never ask for.)
    if (transfer.status >= 200) {
      transfer.headers_done = true;
      if (transfer.mode == Mode::stream) transfer.loop.mark_ready(transfer);
    }
  } else {
    transfer.headers.append_line(line);
  }
  return size;
}

std::size_t HttpClient::Transfer::on_body(char* data, std::size_t, std::size_t size, void* self) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  if (transfer.mode == Mode::whole) {
    const std::size_t limit = transfer.request.max_response_body;
    if (!transfer.body_begun) {
      transfer.body_begun = true;
      curl_off_t length = -1;
      curl().easy_getinfo(transfer.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
      // What a server announces is not yet there: at most a megabyte on its word alone.
      if (length > 0 && static_cast<std::uint64_t>(length) <= limit) {
        transfer.buffer.reserve(std::min<std::size_t>(static_cast<std::size_t>(length), 1024 * 1024));
      } else if (length > 0) {
        transfer.stop = Stop::body_too_long;
        return 0;
      }
    }
    if (size > limit - transfer.buffer.size()) {
      transfer.stop = Stop::body_too_long;
      return 0;
    }
    transfer.buffer.append(data, size);
    return size;
  }

  const std::size_t direct = transfer.buffered() == 0 ? std::min(size, transfer.window.size()) : 0;
  if (transfer.buffered() + (size - direct) > kStreamBuffer) {
    transfer.receive_paused = true;  // curl keeps these bytes and brings them again
    return CURL_WRITEFUNC_PAUSE;
  }
  if (direct != 0) {
    std::memcpy(transfer.window.data(), data, direct);
    transfer.window = transfer.window.subspan(direct);
    transfer.window_filled += direct;
  }
  if (direct != size) {
    if (transfer.buffer_begin != 0 && transfer.buffer.size() + size > kStreamBuffer) {
      transfer.buffer.erase(0, transfer.buffer_begin);
      transfer.buffer_begin = 0;
    }
    transfer.buffer.append(data + direct, size - direct);
  }
  transfer.loop.mark_ready(transfer);
  return size;
}

std::size_t HttpClient::Transfer::on_read(char* data, std::size_t, std::size_t size, void* self) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  const std::size_t count = std::min(size, transfer.upload_end - transfer.upload_begin);
  if (count == 0) {
    if (transfer.upload_complete) return 0;
    transfer.send_paused = true;
    return CURL_READFUNC_PAUSE;
  }
  std::memcpy(data, transfer.upload_buffer.data() + transfer.upload_begin, count);
  transfer.upload_begin += count;
  if (transfer.upload_begin == transfer.upload_end) transfer.loop.mark_ready(transfer);
  return count;
}

// Called before each time the request is sent. Curl sends it again, unasked, when a kept connection ends
// without an answer; whether the server has acted on the first one nobody knows.
int HttpClient::Transfer::on_prerequisite(void* self, char*, char*, int, int) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  if (++transfer.attempts == 1 || transfer.repeatable) return CURL_PREREQFUNC_OK;
  transfer.stop = Stop::not_repeatable;
  return CURL_PREREQFUNC_ABORT;
}

// Called after each step of an upload. Curl 7.88 does not end an exchange that the server has ended (an error
// status, or all of a response with "Connection: close") while its upload is paused: it must be unpaused to
// find out. Tried once for whatever arrives, or trying would itself be the next step, and so on for ever.
int HttpClient::Transfer::on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  if (transfer.headers_done && transfer.send_paused && transfer.loop.taking_events()) {
    transfer.poke = true;
    transfer.loop.mark_ready(transfer);
  }
  return 0;
}

// --- the client ---

Error redirect_error(std::string_view operation, int status, const HttpResponseHeaders& headers) {
  std::string where = "to another path of the same server";
  const std::string_view location = headers.find("Location").value_or("");
  if (location.empty()) {
    where = "to nowhere";
  } else if (location.starts_with("//") || location.find("://") < location.find_first_of("/?#")) {
    const std::string origin = origin_of(location);
    where = origin.empty() ? "to another place, in an address that cannot be shown" : "to " + origin;
  }
  return Error(ErrorCode::protocol,
               std::string(operation) + ": the server redirects (HTTP status " + std::to_string(status) +
                   ") " + where + ", which is not followed; check the configured address",
               {.provider = {},
                .operation = std::string(operation),
                .phase = "read the answer",
                .request_id = {},
                .processed = Processed::no});
}

namespace {

// Runs `close` of what it holds, or `drop` if it is destroyed without having run.
template <typename Closed>
class CloseOnce {
 public:
  explicit CloseOnce(std::shared_ptr<Closed> closed) noexcept : closed_(std::move(closed)) {}
  CloseOnce(CloseOnce&&) noexcept = default;
  CloseOnce& operator=(CloseOnce&&) = delete;
  CloseOnce(const CloseOnce&) = delete;
  CloseOnce& operator=(const CloseOnce&) = delete;
  ~CloseOnce() {
    if (closed_) closed_->drop();
  }
  void operator()() { std::exchange(closed_, nullptr)->close(); }

 private:
  std::shared_ptr<Closed> closed_;
};

}  // namespace

void HttpClient::preload() {
  (void)curl();
}

bool HttpClient::is_loaded() noexcept {
  return curl_is_loaded();
}

HttpClient::HttpClient(Engine& engine, HttpClientOptions options) : engine_(engine) {
  (void)curl();
  if (options.connect_timeout.count() <= 0) {
    throw Error(ErrorCode::invalid_argument, "the HTTP client's connect timeout must be positive");
  }
  loops_.reserve(engine.threads());
  for (std::size_t i = 0; i < engine.threads(); ++i) {
    loops_.push_back(std::make_shared<Loop>(engine, i, engine.executor(i), options));
  }
}

HttpClient::~HttpClient() {
  for (auto& loop : loops_) {
    const asio::any_io_executor where = loop->executor();
    asio::post(where, CloseOnce<Loop>(std::move(loop)));
  }
}

std::shared_ptr<HttpClient::Loop> HttpClient::loop_here() const {
  const auto thread = engine_.this_thread();
  if (!thread) {
    throw Error(ErrorCode::invalid_argument, "an HTTP request was awaited outside the threads of its engine");
  }
  return loops_[*thread];
}

asio::awaitable<HttpResponse> HttpClient::send(HttpRequest request) {
  Lease transfer(loop_here(), Transfer::Mode::whole);
  transfer.start(std::move(request));
  if (transfer->upload) {
    std::exception_ptr error;
    try {
      co_await Lease::end(&*transfer);
    } catch (...) {
      error = std::current_exception();
    }
    const bool throwing = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await Lease::stop_upload(transfer.loop(), transfer.share());
    co_await asio::this_coro::throw_if_cancelled(throwing);
    if (error) std::rethrow_exception(error);
  } else {
    // Lease::end, without a coroutine of its own: this is the common case.
    while (!transfer->finished) {
      co_await wait_for(&transfer->event);
      if (transfer->event.cancelled && !transfer->finished) throw transfer->cancelled();
    }
  }
  if (transfer->failed()) transfer->throw_failure();
  HttpResponse response;
  response.status = transfer->status;
  response.headers = std::move(transfer->headers);
  response.body = std::move(transfer->buffer);
  co_return response;
}

struct HttpStream::Impl {
  HttpClient::Lease transfer;
};

asio::awaitable<HttpStream> HttpClient::open(HttpRequest request) {
  Lease transfer(loop_here(), Transfer::Mode::stream);
  transfer.start(std::move(request));
  std::exception_ptr error;
  try {
    co_await Lease::headers(&*transfer);
    if (!transfer->headers_done) transfer->throw_failure();
  } catch (...) {
    error = std::current_exception();
  }
  if (error) {
    const bool throwing = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await Lease::stop_upload(transfer.loop(), transfer.share());
    co_await asio::this_coro::throw_if_cancelled(throwing);
    std::rethrow_exception(error);
  }
  co_return HttpStream(std::make_unique<HttpStream::Impl>(HttpStream::Impl{std::move(transfer)}));
}

HttpStream::HttpStream(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
HttpStream::HttpStream(HttpStream&&) noexcept = default;
HttpStream& HttpStream::operator=(HttpStream&&) noexcept = default;
HttpStream::~HttpStream() = default;

int HttpStream::status() const noexcept {
  return impl_->transfer->status;
}
const HttpResponseHeaders& HttpStream::headers() const noexcept {
  return impl_->transfer->headers;
}

asio::awaitable<std::size_t> HttpStream::read_some(std::span<std::byte> buffer) {
  HttpClient::Transfer& transfer = *impl_->transfer;
  if (!impl_->transfer.loop()->is_here()) {
    throw Error(ErrorCode::invalid_argument,
                "an HTTP stream was read on another thread than it was opened on");
  }
  if (buffer.empty()) co_return 0;
  for (;;) {
    if (const std::size_t ready = transfer.buffered(); ready != 0) {
      const std::size_t count = std::min(ready, buffer.size());
      std::memcpy(buffer.data(), transfer.buffer.data() + transfer.buffer_begin, count);
      transfer.buffer_begin += count;
      if (transfer.buffer_begin == transfer.buffer.size()) {
        transfer.buffer.clear();
        transfer.buffer_begin = 0;
      }
      // Early enough that the server is busy again before we run dry.
      if (transfer.receive_paused && transfer.buffered() <= kStreamBuffer / 2) {
        transfer.receive_paused = false;
        transfer.apply_pauses();
      }
      co_return count;
    }
    if (transfer.receive_paused && !transfer.finished) {
      transfer.receive_paused = false;
      transfer.apply_pauses();
      continue;
    }
    if (transfer.finished) {
      if (transfer.failed()) transfer.throw_failure();
      if (transfer.closed_by_us) throw transfer.cancelled();
      co_return 0;
    }
    {
      const HttpClient::Transfer::OpenWindow window(transfer, buffer);
      co_await wait_for(&transfer.event);
    }
    const std::size_t filled = std::exchange(transfer.window_filled, 0);
    if (filled != 0) co_return filled;
    if (transfer.event.cancelled) throw transfer.cancelled();
  }
}

asio::awaitable<std::string> HttpStream::read_all(std::size_t limit) {
  std::string body;
  std::array<std::byte, 16 * 1024> piece;
  for (;;) {
    const std::size_t count = co_await read_some(piece);
    if (count == 0) co_return body;
    if (count > limit - body.size()) {
      throw impl_->transfer->error(ErrorCode::protocol,
                                   "the answer is longer than " + std::to_string(limit) + " bytes",
                                   Processed::unknown);
    }
    const void* const data = piece.data();
    body.append(static_cast<const char*>(data), count);
  }
}

asio::awaitable<void> HttpStream::close() {
  if (!impl_) co_return;
  HttpClient::Transfer& transfer = *impl_->transfer;
  if (!impl_->transfer.loop()->is_here()) {
    throw Error(ErrorCode::invalid_argument,
                "an HTTP stream was closed on another thread than it was opened on");
  }
  transfer.closed_by_us = true;
  transfer.buffer.clear();
  transfer.buffer_begin = 0;
  const bool throwing = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await HttpClient::Lease::stop_upload(impl_->transfer.loop(), impl_->transfer.share());
  co_await asio::this_coro::throw_if_cancelled(throwing);
}

}  // namespace sandkey
