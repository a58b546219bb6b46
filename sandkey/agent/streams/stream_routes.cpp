#include "sandkey/agent/streams/stream_routes.h"

#include "sandkey/agent/process.h"
#include "sandkey/agent/request_parts.h"
#include "sandkey/agent/streams/exec_stream.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <optional>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using net::HttpError;
using net::HttpExchange;

constexpr std::size_t kMaxRequest = std::size_t{4} * 1024 * 1024;  // the kernel takes no larger command line
constexpr std::size_t kMaxId = 100;
constexpr std::chrono::milliseconds kInputHandOver{100};

std::uint64_t required_number(const HttpExchange& exchange, std::string_view name) {
  const auto value = number(exchange, name);
  if (!value) throw HttpError(422, "The query parameter '" + std::string(name) + "' is missing.");
  return *value;
}

json::object parse_body(const std::string& body) {
  json::value value;
  try {
    value = parse_json(body, "The request body");
  } catch (const Error& error) {
    throw HttpError(422, error.what());
  }
  if (!value.is_object()) throw HttpError(422, "The request body must be a JSON object.");
  return std::move(value.get_object());
}

std::string id_of(const json::object& body) {
  const auto id = find_string(body, "id");
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  };
  if (!id || id->empty() || id->size() > kMaxId || !std::all_of(id->begin(), id->end(), allowed)) {
    throw HttpError(422, "'id' must be 1 to 100 letters, digits, '-' or '_', chosen by the client.");
  }
  return std::string(*id);
}

std::string text_of(const json::value& value, std::string_view what) {
  if (!value.is_string()) throw HttpError(422, "'" + std::string(what) + "' must hold strings.");
  std::string text(value.get_string());
  if (text.find('\0') != std::string::npos) {
    throw HttpError(422, "'" + std::string(what) + "' holds a NUL byte, which the system cannot take.");
  }
  return text;
}

ExecRequest parse_exec(const json::object& body, const std::vector<std::string>& environment,
                       const std::string& working_dir) {
  ExecRequest request;
  request.environment = environment;
  request.working_dir = working_dir;
  const json::value* argv = find(body, "argv");
  if (argv == nullptr || !argv->is_array() || argv->get_array().empty()) {
    throw HttpError(422, "'argv' must be a list of at least one string.");
  }
  for (const json::value& word : argv->get_array()) request.argv.push_back(text_of(word, "argv"));
  if (const json::value* env = find(body, "env"); env != nullptr && !env->is_null()) {
    if (!env->is_object()) throw HttpError(422, "'env' must be an object of strings.");
    for (const auto& [name, value] : env->get_object()) {
      if (name.empty() || name.contains('=') || name.contains('\0')) {
        throw HttpError(422, "'env' has a name that is empty or holds '='.");
      }
      set_environment_value(request.environment, name, text_of(value, "env"));
    }
  }
  if (const auto cwd = find_string(body, "cwd"); cwd && !cwd->empty()) {
    request.working_dir = cwd->front() == '/' ? std::string(*cwd) : working_dir + "/" + std::string(*cwd);
  }
  request.input = find_bool(body, "stdin").value_or(true);
  request.to_end_of_output = find_bool(body, "to_end_of_output").value_or(false);
  const auto rows = find_integer(body, "rows");
  const auto columns = find_integer(body, "columns");
  if (find_bool(body, "pty").value_or(false)) {
    request.size = {static_cast<unsigned>(std::clamp<long long>(rows.value_or(24), 1, 10'000)),
                    static_cast<unsigned>(std::clamp<long long>(columns.value_or(80), 1, 10'000))};
    if (environment_value(request.environment, "TERM").empty()) {
      set_environment_value(request.environment, "TERM", "xterm-256color");
    }
  }
  if (const auto seconds = find_number(body, "timeout")) {
    if (!(*seconds > 0 && *seconds < 1e8))
      throw HttpError(422, "'timeout' must be a positive number of seconds.");
    request.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(*seconds * 1000));
  }
  return request;
}

std::string describe(Stream& stream) {
  json::object reply;
  reply["id"] = stream.id();
  if (stream.pid() != 0) reply["pid"] = stream.pid();
  reply["stdout"] = json::object{{"begin", stream.output(Stream::kStdout).begin()},
                                 {"end", stream.output(Stream::kStdout).end()}};
  reply["stderr"] = json::object{{"begin", stream.output(Stream::kStderr).begin()},
                                 {"end", stream.output(Stream::kStderr).end()}};
  reply["input"] = stream.input_offset();
  reply["input_open"] = stream.input_open();
  if (stream.finished()) reply["result"] = *stream.result();
  return write_json(reply);
}

void append_frame(std::string& out, FrameKind kind, std::string_view payload) {
  out += static_cast<char>(kind);
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += static_cast<char>(
        static_cast<unsigned char>((payload.size() >> static_cast<unsigned>(shift)) & 0xFFU));
  }
  out += payload;
}

}  // namespace

StreamRoutes::StreamRoutes(asio::any_io_executor executor, ChildReaper& reaper,
                           std::vector<std::string> environment, std::string working_dir)
    : executor_(std::move(executor)),
      reaper_(reaper),
      environment_(std::move(environment)),
      working_dir_(std::move(working_dir)) {}

StreamRoutes::~StreamRoutes() {
  close();
}

void StreamRoutes::close() {
  for (auto& [id, entry] : std::exchange(streams_, {})) entry.stream->kill();
}

asio::awaitable<bool> StreamRoutes::handle(HttpExchange& exchange, std::string_view path) {
  sweep();
  const bool post = exchange.method() == "POST";
  if (path == "exec" || path == "dial") {
    if (!post) throw HttpError(405, "Use POST.");
    if (path == "exec") {
      co_await start_exec_stream(exchange);
    } else {
      co_await start_dial_stream(exchange);
    }
    co_return true;
  }
  constexpr std::string_view kPrefix = "streams/";
  if (!path.starts_with(kPrefix)) co_return false;
  path.remove_prefix(kPrefix.size());
  const std::size_t slash = path.find('/');
  const std::string id(path.substr(0, slash));
  const std::string_view verb = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  const std::shared_ptr<Stream> stream = find(id);
  if (!stream)
    throw HttpError(404, "There is no stream '" + id + "'; it may have been forgotten after its end.");

  if (verb.empty() && exchange.method() == "GET") {
    co_await exchange.reply(200, describe(*stream));
  } else if (verb.empty() && exchange.method() == "DELETE") {
    streams_.erase(id);
    stream->kill();
    co_await exchange.reply(200, describe(*stream));
  } else if (verb == "output" && exchange.method() == "GET") {
    co_await follow(exchange, stream, number(exchange, "stdout").value_or(0),
                    number(exchange, "stderr").value_or(0));
  } else if (verb == "ack" && post) {
    if (const auto offset = number(exchange, "stdout")) stream->acknowledge(Stream::kStdout, *offset);
    if (const auto offset = number(exchange, "stderr")) stream->acknowledge(Stream::kStderr, *offset);
    co_await exchange.reply(200, "{}");
  } else if (verb == "input" && post) {
    co_await take_input(exchange, stream);
  } else if (verb == "signal" && post) {
    const std::uint64_t signal = required_number(exchange, "number");
    if (signal < 1 || signal > 64) throw HttpError(400, "'number' must be a signal from 1 to 64.");
    stream->signal(static_cast<int>(signal), exchange.query("alone").value_or("") == "1");
    co_await exchange.reply(200, "{}");
  } else if (verb == "resize" && post) {
    stream->resize(
        static_cast<unsigned>(std::min<std::uint64_t>(required_number(exchange, "rows"), 10'000)),
        static_cast<unsigned>(std::min<std::uint64_t>(required_number(exchange, "columns"), 10'000)));
    co_await exchange.reply(200, "{}");
  } else {
    co_return false;
  }
  co_return true;
}

std::shared_ptr<Stream> StreamRoutes::find(const std::string& id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.stream;
}

void StreamRoutes::make_room() {
  if (streams_.size() < kMaxStreams) return;
  // Results wait for a client that may come back, but not at the cost of new work.
  auto oldest = streams_.end();
  for (auto it = streams_.begin(); it != streams_.end(); ++it) {
    const Stream& stream = *it->second.stream;
    if (!stream.finished() || stream.followers > 0) continue;
    if (oldest == streams_.end() || stream.left_at < oldest->second.stream->left_at) oldest = it;
  }
  if (oldest == streams_.end()) {
    throw HttpError(429,
                    "There are " + std::to_string(kMaxStreams) + " streams already; end some of them first.");
  }
  oldest->second.stream->kill();  // what it left behind, as with any forgotten stream
  streams_.erase(oldest);
}

void StreamRoutes::sweep() {
  const auto now = Clock::now();
  for (auto it = streams_.begin(); it != streams_.end();) {
    Stream& stream = *it->second.stream;
    const auto limit = stream.finished() ? kForgetFinished : it->second.linger;
    if (stream.followers == 0 && limit.count() > 0 && now - stream.left_at > limit) {
      stream.kill();
      it = streams_.erase(it);
    } else {
      ++it;
    }
  }
}

asio::awaitable<void> StreamRoutes::start_exec_stream(HttpExchange& exchange) {
  const json::object body = parse_body(co_await exchange.read_body(kMaxRequest));
  const std::string id = id_of(body);
  std::shared_ptr<Stream> stream = find(id);
  if (!stream) {
    const ExecRequest request = parse_exec(body, environment_, working_dir_);
    const auto linger =
        std::clamp<long long>(find_integer(body, "linger").value_or(kDefaultLinger.count()), 0, 1 << 30);
    make_room();
    std::optional<HttpError> failure;
    try {
      stream = start_exec(executor_, reaper_, id, request);
    } catch (const Error& error) {
      failure.emplace(error.code() == ErrorCode::not_found           ? 404
                      : error.code() == ErrorCode::permission_denied ? 403
                                                                     : 500,
                      error.what());
    }
    if (failure) throw *failure;
    streams_.emplace(id, Entry{stream, std::chrono::seconds(linger)});
  }
  co_await follow(exchange, stream, stream->output(Stream::kStdout).begin(),
                  stream->output(Stream::kStderr).begin());
}

asio::awaitable<void> StreamRoutes::start_dial_stream(HttpExchange& exchange) {
  const json::object body = parse_body(co_await exchange.read_body(kMaxRequest));
  const std::string id = id_of(body);
  std::shared_ptr<Stream> stream = find(id);
  if (!stream) {
    const long long port = find_integer(body, "port").value_or(0);
    if (port < 1 || port > 65535) throw HttpError(422, "'port' must be a number from 1 to 65535.");
    std::optional<HttpError> failure;
    try {
      stream = co_await dial(executor_, id, static_cast<std::uint16_t>(port));
    } catch (const Error& error) {
      failure.emplace(502, error.what());
    }
    if (failure) throw *failure;
    if (const std::shared_ptr<Stream> other = find(id)) {  // made while we were connecting
      stream->kill();
      stream = other;
    } else {
      make_room();
      streams_.emplace(id, Entry{stream, kDefaultLinger});
    }
  }
  co_await follow(exchange, stream, stream->output(Stream::kStdout).begin(), 0);
}

asio::awaitable<void> StreamRoutes::follow(HttpExchange& exchange, std::shared_ptr<Stream> stream,
                                           std::uint64_t out, std::uint64_t err) {
  std::array<std::uint64_t, Stream::kChannels> at{out, err};
  for (std::size_t channel = 0; channel < at.size(); ++channel) {
    const OutputWindow& window = stream->output(channel);
    if (at[channel] < window.begin() || at[channel] > window.end()) {
      throw HttpError(416, "Offset " + std::to_string(at[channel]) + " is outside of what is held: " +
                               std::to_string(window.begin()) + " to " + std::to_string(window.end()) + ".");
    }
    stream->acknowledge(channel, at[channel]);
  }
  struct Following {
    Stream& stream;
    explicit Following(Stream& s) : stream(s) { ++stream.followers; }
    ~Following() {
      --stream.followers;
      stream.left_at = Clock::now();
    }
    Following(const Following&) = delete;
    Following& operator=(const Following&) = delete;
  };
  const Following following(*stream);

  const std::string pid = std::to_string(stream->pid());
  const std::array<HttpExchange::Header, 2> headers{
      {{"X-Sandkey-Stream", stream->id()}, {"X-Sandkey-Pid", pid}}};
  bool alive = co_await exchange.start(200, "application/vnd.sandkey.frames", std::nullopt, headers);
  auto next_keep_alive = Clock::now() + kKeepAlive;
  std::string frames;
  while (alive) {
    frames.clear();
    for (std::size_t channel = 0; channel < at.size(); ++channel) {
      // Another follower may have acknowledged what we have not sent; its client has it.
      OutputWindow& window = stream->output(channel);
      at[channel] = std::max(at[channel], window.begin());
      const std::string_view fresh = window.from(at[channel]).substr(0, kMaxFrame);
      if (fresh.empty()) continue;
      append_frame(frames, channel == Stream::kStdout ? FrameKind::out : FrameKind::err, fresh);
      at[channel] += fresh.size();
    }
    if (frames.empty() && stream->finished()) {
      append_frame(frames, FrameKind::result, write_json(*stream->result()));
      const bool sent = co_await exchange.write(frames);
      if (sent) (void)co_await exchange.finish();
      co_return;
    }
    if (frames.empty()) {
      const bool news = co_await stream->changed().wait_until(next_keep_alive);
      if (news) continue;
      append_frame(frames, FrameKind::keep_alive, {});
    }
    alive = co_await exchange.write(frames);
    next_keep_alive = Clock::now() + kKeepAlive;
  }
}

asio::awaitable<void> StreamRoutes::take_input(HttpExchange& exchange, std::shared_ptr<Stream> stream) {
  const std::uint64_t offset = required_number(exchange, "offset");
  const bool eof = exchange.query("eof").value_or("") == "1";
  // The request before this one may hang on a connection that is dead without anybody having noticed.
  while (stream->input_busy) {
    stream->cancel_input();
    (void)co_await stream->changed().wait_until(Clock::now() + kInputHandOver);
  }
  if (offset > stream->input_offset()) {
    throw HttpError(409, "Input begins at " + std::to_string(offset) + ", but only " +
                             std::to_string(stream->input_offset()) + " bytes were taken so far.");
  }
  struct Busy {
    Stream& stream;
    explicit Busy(Stream& s) : stream(s) { stream.input_busy = true; }
    ~Busy() {
      stream.input_busy = false;
      stream.changed().notify_all();
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
  };
  const Busy busy(*stream);
  std::uint64_t known = stream->input_offset() - offset;  // bytes at the front that were taken before
  std::vector<char> buffer(kMaxFrame);
  bool open = stream->input_open();
  while (true) {
    const std::size_t n = co_await exchange.read_some(buffer);
    if (n == 0) break;
    const std::size_t skip = static_cast<std::size_t>(std::min<std::uint64_t>(known, n));
    known -= skip;
    if (!open || skip == n) continue;
    open = co_await stream->write_input({buffer.data() + skip, n - skip});
    if (!open && stream->input_open()) throw HttpError(409, "Another request took over the input.");
  }
  if (eof && open) {
    stream->close_input();
    open = false;
  }
  json::object reply;
  reply["offset"] = stream->input_offset();
  reply["open"] = open;
  co_await exchange.reply(200, write_json(reply));
}

}  // namespace sandkey::agent
