#include "sandkey/runtime/agent_client.h"

#include "sandkey/base/archive/archive.h"
#include "sandkey/base/blocking_task.h"
#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/codec.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace sandkey {
namespace {

namespace fs = std::filesystem;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kMaxReply = std::size_t{256} * 1024 * 1024;  // an observation may hold a file
constexpr std::size_t kMaxErrorBody = std::size_t{64} * 1024;
constexpr std::uint64_t kAcknowledgeEvery = std::uint64_t{256} * 1024;  // a quarter of what the agent holds
// Between tries on a broken connection. The agent is there or it is not; this is not load shedding.
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
// An agent that is not reached for this long while a stream is followed is given up.
constexpr std::chrono::seconds kLostAfter{60};
// The agent sends something at least every 15 s.
constexpr std::chrono::seconds kSilence{45};

std::string_view chars(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// JSON would change what is not UTF-8 without a word.
void require_text(const std::string& text, const std::string& what) {
  if (!utf8::is_valid(text))
    throw Error(ErrorCode::invalid_argument, "start a command: " + what + " is not valid UTF-8");
}

// What is wrong with a reply is never the caller's fault, and the action was run.
Observation read_observation(const std::string& body, const std::string& operation) {
  try {
    return parse_observation(parse_json(body, "the agent's observation"));
  } catch (const Error& error) {
    ErrorContext context{.provider = {}, .operation = operation, .phase = {}, .request_id = {}};
    context.processed = Processed::yes;
    throw Error(ErrorCode::protocol, operation + ": " + error.what(), std::move(context));
  }
}

bool may_repeat(const Error& error) {
  return error.code() == ErrorCode::unavailable && !error.context().permanent;
}

std::string octal(unsigned mode) {
  std::array<char, 12> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), mode, 8).ptr;
  return {text.data(), end};
}

void write_all(int fd, std::string_view bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error(what, errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

// A local file as a request's body.
HttpBodySource file_source(std::shared_ptr<UniqueFd> file, std::string what, AgentClient::Progress progress) {
  auto total = std::make_shared<std::uint64_t>(0);
  return [file, what = std::move(what), progress = std::move(progress),
          total](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    while (true) {
      const ssize_t n = ::read(file->get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw system_error(what, errno);
      *total += static_cast<std::uint64_t>(n);
      if (progress) progress(*total);
      co_return static_cast<std::size_t>(n);
    }
  };
}

RemoteEntry::Type type_of(std::string_view name) {
  if (name == "file") return RemoteEntry::Type::file;
  if (name == "directory") return RemoteEntry::Type::directory;
  return name == "symlink" ? RemoteEntry::Type::symlink : RemoteEntry::Type::other;
}

RemoteEntry read_entry(const json::object& object) {
  const auto number = [&object](std::string_view key) {
    return static_cast<unsigned>(find_integer(object, key).value_or(0));
  };
  RemoteEntry entry;
  entry.type = type_of(find_string(object, "type").value_or("other"));
  entry.path = std::string(find_string(object, "path").value_or(""));
  entry.size = static_cast<std::uint64_t>(std::max(0LL, find_integer(object, "size").value_or(0)));
  entry.mode = number("mode");
  entry.uid = number("uid");
  entry.gid = number("gid");
  entry.modified = std::chrono::nanoseconds(find_integer(object, "modified").value_or(0));
  entry.target = std::string(find_string(object, "target").value_or(""));
  if (const auto type = find_string(object, "target_type")) entry.target_type = type_of(*type);
  entry.target_mode = number("target_mode");
  if (const json::value* attributes = find(object, "attributes");
      attributes != nullptr && attributes->is_object()) {
    for (const auto& [name, value] : attributes->get_object()) {
      if (value.is_string()) entry.attributes.emplace(name, value.get_string());
    }
  }
  return entry;
}

// An agent's refusals say {"detail": ...}.
std::optional<std::string> detail_of(const std::string& body) {
  try {
    const json::value value = parse_json(body, "the reply");
    const auto text = value.is_object() ? find_string(value.get_object(), "detail") : std::nullopt;
    return text ? std::string(*text) : std::string();
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Whether it is the answer of what stands before a sandbox, such as a cloud's proxy, where there is none (any
// more).
bool is_from_before(int status, const std::string& body) {
  if (status >= 502 && status <= 504) return true;
  // Some lead to a login page instead.
  return status >= 300 && status < 500 && detail_of(body).value_or("").empty();
}

UniqueFd open_to_read(const fs::path& path, struct stat& info) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::fstat(file.get(), &info) != 0) throw system_error("reading " + path.string(), errno);
  return file;
}

}  // namespace

AgentClient::AgentClient(Engine& engine, AgentAccess access)
    : engine_(engine),
      access_(std::make_shared<const AgentAccess>(std::move(access))),
      http_(engine.shared<HttpClient>()) {}

AgentClient::~AgentClient() = default;

void AgentClient::set_access(AgentAccess access) {
  auto next = std::make_shared<const AgentAccess>(std::move(access));
  const std::lock_guard lock(access_mutex_);
  access_ = std::move(next);
}

std::shared_ptr<const AgentAccess> AgentClient::access() const {
  const std::lock_guard lock(access_mutex_);
  return access_;
}

HttpRequest AgentClient::request(std::string method, std::string path, QueryParameters query,
                                 std::string operation, Deadline deadline) const {
  HttpRequest made;
  made.method = std::move(method);
  const std::shared_ptr<const AgentAccess> to = access();
  made.url = to->endpoint.url(path, query);
  made.unix_socket = to->endpoint.unix_socket();
  made.headers.set_all(to->headers);
  if (!to->session_key.empty()) made.headers.set("X-Session-API-Key", to->session_key);
  made.operation = std::move(operation);
  made.deadline = deadline;
  made.max_response_body = kMaxReply;
  return made;
}

void AgentClient::fail(int status, const std::string& body, const std::string& operation) const {
  const std::string detail = detail_of(body).value_or("the reply has no explanation");
  ErrorCode code = ErrorCode::protocol;
  std::string advice;
  switch (status) {
    case 400:
    case 405:
    case 413:
    case 416:
    case 422:
      code = ErrorCode::invalid_argument;
      break;
    case 401:
    case 403:
      code = detail == "Invalid API Key" || status == 401 ? ErrorCode::unauthenticated
                                                          : ErrorCode::permission_denied;
      if (code == ErrorCode::unauthenticated) advice = "; give the key the agent was started with";
      break;
    case 404:
      code = ErrorCode::not_found;
      break;
    case 409:
    case 410:
      code = ErrorCode::conflict;
      break;
    case 429:
      code = ErrorCode::rate_limited;
      break;
    case 302:
    case 307:
      code = ErrorCode::unauthenticated;  // the way to a login page
      advice = "; the sandbox was started anew meanwhile: connect again";
      break;
    case 507:
      code = ErrorCode::quota_exceeded;
      break;
    case 500:
      code = ErrorCode::internal;
      break;
    default:
      if (status >= 502 && status <= 504) code = ErrorCode::unavailable;
  }
  // Our own agent's words are for people; of others, all that may help is told.
  const bool own_words = greeting_.protocol > 0 && status < 500 && !detail.empty();
  const std::string message = own_words ? operation + ": " + detail + advice
                                        : operation + " at " + endpoint().to_string() + ": HTTP " +
                                              std::to_string(status) + ": " + detail + advice;
  ErrorContext context{.provider = {}, .operation = operation, .phase = {}, .request_id = {}};
  context.processed = status >= 500 ? Processed::unknown : Processed::no;
  throw_error(code, message, std::move(context));
}

asio::awaitable<HttpResponse> AgentClient::call(HttpRequest made) {
  const std::string operation = made.operation;
  HttpResponse response;
  std::exception_ptr unreached;
  try {
    response = co_await http_->send(std::move(made));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unavailable) throw;
    unreached = std::current_exception();
  }
  if (unreached) {
    co_await require_sandbox(operation);
    std::rethrow_exception(unreached);
  }
  if (is_from_before(response.status, response.body)) co_await require_sandbox(operation);
  if (response.status < 200 || response.status > 299) fail(response.status, response.body, operation);
  co_return response;
}

asio::awaitable<void> AgentClient::require_sandbox(std::string operation) {
  if (!sandbox_check_) co_return;
  bool there = true;
  std::string why;
  try {
    there = co_await sandbox_check_();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    if (error.code() == ErrorCode::sandbox_dead) {
      there = false;
      why = std::string(": ") + error.what();
    }  // anything else: it is not known
  }
  if (there) co_return;
  const std::string message = operation + ": the sandbox has ended" + why;
  throw Error(ErrorCode::sandbox_dead, message,
              {.provider = {},
               .operation = operation,
               .phase = {},
               .request_id = {},
               .processed = Processed::unknown});
}

std::string AgentClient::random_id() const {
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx", static_cast<unsigned long long>(engine_.random()),
                static_cast<unsigned long long>(engine_.random()));
  return text.data();
}

asio::awaitable<void> AgentClient::alive(Deadline deadline) {
  const HttpResponse response =
      co_await call(request("GET", "/alive", {}, "ask whether the agent is alive", deadline));
  // OpenHands' server says so with status 200 while it still starts.
  if (response.body.find("not initialized") != std::string::npos) {
    throw Error(ErrorCode::unavailable, "the agent at " + endpoint().to_string() + " is still starting");
  }
}

asio::awaitable<AgentGreeting> AgentClient::greet(Deadline deadline) {
  HttpRequest made = request("GET", "/sandkey/v1/hello", {}, "greet the agent", deadline);
  HttpResponse response = co_await http_->send(std::move(made));
  if (response.status == 404) {  // OpenHands' own server
    greeting_ = {};
    co_return greeting_;
  }
  if (response.status != 200) fail(response.status, response.body, "greet the agent");
  const json::value value = parse_json(response.body, "the agent's greeting");
  if (!value.is_object()) throw Error(ErrorCode::protocol, "the agent's greeting is not an object");
  const json::object& hello = value.get_object();
  AgentGreeting greeting;
  greeting.version = std::string(find_string(hello, "version").value_or("?"));
  greeting.protocol = static_cast<int>(find_integer(hello, "protocol").value_or(0));
  greeting.working_dir = std::string(find_string(hello, "working_dir").value_or(""));
  greeting.python = find_bool(hello, "python").value_or(true);
  if (greeting.protocol != kAgentProtocol) {
    throw Error(ErrorCode::unsupported,
                "greeting the agent at " + endpoint().to_string() + ": it speaks protocol " +
                    std::to_string(greeting.protocol) + " (version " + greeting.version + "), this client " +
                    std::to_string(kAgentProtocol) + "; use the same release on both sides");
  }
  greeting_ = greeting;
  co_return greeting_;
}

asio::awaitable<Observation> AgentClient::execute_action(Action action, std::string key, Deadline deadline) {
  json::object body;
  body["action"] = to_json(action);
  const std::string text = write_json(body);
  const std::string operation = "run the action '" + std::string(action.type_name()) + "'";
  const bool idempotent = greeting_.protocol > 0 && !key.empty();
  auto pause = kFirstPause;
  while (true) {
    HttpRequest made = request("POST", "/execute_action", {}, operation, deadline);
    made.headers.set("Content-Type", "application/json");
    if (idempotent) made.headers.set("Idempotency-Key", key);
    made.body = text;
    std::optional<Error> broken;
    try {
      const HttpResponse response = co_await call(std::move(made));
      Observation observation = read_observation(response.body, operation);
      if (action.id != EventHeader::kNoId) observation.cause = action.id;
      co_return observation;
    } catch (const Error& error) {
      const bool again = may_repeat(error) && (idempotent || error.context().processed == Processed::no);
      if (!again || engine_.steady_now() + pause >= deadline) throw;
      broken = error;
    }
    co_await engine_.sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

asio::awaitable<void> AgentClient::warm_python(Deadline deadline) {
  (void)co_await call(request("POST", "/sandkey/v1/warm_python", {}, "warm Python", deadline));
}

asio::awaitable<std::vector<std::string>> AgentClient::list_files(std::optional<std::string> path,
                                                                  Deadline deadline) {
  HttpRequest made = request("POST", "/list_files", {}, "list files", deadline);
  made.headers.set("Content-Type", "application/json");
  json::object body;
  if (path) body["path"] = *path;
  made.body = write_json(body);
  const HttpResponse response = co_await call(std::move(made));
  const json::value value = parse_json(response.body, "the list of files");
  if (!value.is_array()) throw Error(ErrorCode::protocol, "list files: the reply is not a list");
  std::vector<std::string> names;
  for (const json::value& name : value.get_array()) {
    if (!name.is_string())
      throw Error(ErrorCode::protocol, "list files: the reply holds something that is no name");
    names.emplace_back(name.get_string());
  }
  co_return names;
}

asio::awaitable<RemoteStat> AgentClient::stat(std::string path, Deadline deadline) {
  QueryParameters query{{"path", path}};
  const HttpResponse response =
      co_await call(request("GET", "/sandkey/v1/stat", std::move(query), "look at " + path, deadline));
  const json::value value = parse_json(response.body, "the reply to stat");
  if (!value.is_object())
    throw Error(ErrorCode::protocol, "look at " + path + ": the reply is not an object");
  const std::string type(find_string(value.get_object(), "type").value_or("other"));
  RemoteStat result;
  result.type = type == "missing"     ? RemoteStat::Type::missing
                : type == "file"      ? RemoteStat::Type::file
                : type == "directory" ? RemoteStat::Type::directory
                                      : RemoteStat::Type::other;
  result.size =
      static_cast<std::uint64_t>(std::max(0LL, find_integer(value.get_object(), "size").value_or(0)));
  result.mode = static_cast<unsigned>(find_integer(value.get_object(), "mode").value_or(0));
  co_return result;
}

asio::awaitable<std::vector<RemoteEntry>> AgentClient::entries(std::string path, unsigned depth,
                                                               Deadline deadline, std::string attributes) {
  QueryParameters query{{"path", path}, {"depth", std::to_string(depth)}};
  if (!attributes.empty()) query.emplace_back("attributes", attributes);
  const std::string operation = "look at " + path;
  const HttpResponse response =
      co_await call(request("GET", "/sandkey/v1/entries", std::move(query), operation, deadline));
  const json::value value = parse_json(response.body, "the list of entries");
  const json::value* list = value.is_object() ? find(value.get_object(), "entries") : nullptr;
  if (list == nullptr || !list->is_array() || list->get_array().empty()) {
    throw Error(ErrorCode::protocol, operation + ": the reply is not a list of entries");
  }
  std::vector<RemoteEntry> entries;
  entries.reserve(list->get_array().size());
  for (const json::value& entry : list->get_array()) {
    if (!entry.is_object())
      throw Error(ErrorCode::protocol, operation + ": the reply holds what is no entry");
    entries.push_back(read_entry(entry.get_object()));
  }
  co_return entries;
}

asio::awaitable<void> AgentClient::make_folder(std::string path, Deadline deadline) {
  QueryParameters query{{"path", path}};
  (void)co_await call(
      request("POST", "/sandkey/v1/folder", std::move(query), "make the folder " + path, deadline));
}

asio::awaitable<void> AgentClient::move(std::string from, std::string to, Deadline deadline) {
  QueryParameters query{{"from", from}, {"to", to}};
  (void)co_await call(
      request("POST", "/sandkey/v1/move", std::move(query), "move " + from + " to " + to, deadline));
}

asio::awaitable<void> AgentClient::remove(std::string path, Deadline deadline) {
  QueryParameters query{{"path", path}};
  (void)co_await call(request("DELETE", "/sandkey/v1/entries", std::move(query), "remove " + path, deadline));
}

asio::awaitable<void> AgentClient::set_attributes(std::string path, std::string prefix,
                                                  std::map<std::string, std::string> attributes,
                                                  Deadline deadline) {
  QueryParameters query{{"path", path}, {"prefix", prefix}};
  HttpRequest made =
      request("PUT", "/sandkey/v1/attributes", std::move(query), "set attributes of " + path, deadline);
  made.headers.set("Content-Type", "application/json");
  json::object body;
  for (const auto& [name, text] : attributes) body[name] = text;
  made.body = write_json(body);
  (void)co_await call(std::move(made));
}

asio::awaitable<AgentWatch> AgentClient::watch(std::string path, bool recursive, Deadline deadline) {
  const std::string operation = "watch " + path;
  QueryParameters query{{"path", path}};
  if (recursive) query.emplace_back("recursive", "1");
  HttpStream stream =
      co_await http_->open(request("GET", "/sandkey/v1/watch", std::move(query), operation, kNoDeadline));
  if (stream.status() != 200) {
    const std::string body = co_await stream.read_all(kMaxErrorBody);
    fail(stream.status(), body, operation);
  }
  AgentWatch watch(std::move(stream));
  const std::optional<json::value> first =
      co_await engine_.with_deadline(watch.lines_.next(), deadline, operation, "wait for its begin");
  if (!first || !first->is_object() || !find_bool(first->get_object(), "watching").value_or(false)) {
    throw Error(ErrorCode::protocol, operation + ": the agent did not say that it watches");
  }
  co_return watch;
}

asio::awaitable<AgentWatch::Event> AgentWatch::next() {
  const std::optional<json::value> line = co_await lines_.next();
  if (!line) throw Error(ErrorCode::unavailable, "watch a folder: the agent ended the reply");
  if (!line->is_object()) throw Error(ErrorCode::protocol, "watch a folder: a line is not an object");
  const json::object& object = line->get_object();
  if (const auto error = find_string(object, "error")) {
    throw Error(ErrorCode::quota_exceeded, "watch a folder: " + std::string(*error));
  }
  Event event;
  event.name = std::string(find_string(object, "name").value_or(""));
  if (const json::value* events = find(object, "events"); events != nullptr && events->is_array()) {
    for (const json::value& each : events->get_array()) {
      if (each.is_string()) event.events.emplace_back(each.get_string());
    }
  }
  co_return event;
}

asio::awaitable<HttpStream> AgentClient::open_file(std::string path, std::uint64_t offset,
                                                   std::optional<std::uint64_t> length) {
  const std::string operation = "read " + path;
  QueryParameters query{{"path", path}, {"offset", std::to_string(offset)}};
  if (length) query.emplace_back("length", std::to_string(*length));
  HttpStream stream =
      co_await http_->open(request("GET", "/sandkey/v1/file", std::move(query), operation, kNoDeadline));
  if (stream.status() != 200) {
    const std::string body = co_await stream.read_all(kMaxErrorBody);
    fail(stream.status(), body, operation);
  }
  co_return stream;
}

asio::awaitable<void> AgentClient::write_file(std::string path, HttpBodySource bytes, Deadline deadline) {
  QueryParameters query{{"path", path}, {"in_place", "1"}, {"mode", "644"}};
  HttpRequest made = request("PUT", "/sandkey/v1/file", std::move(query), "write " + path, deadline);
  made.source = std::move(bytes);
  made.repeatable = false;
  (void)co_await call(std::move(made));
}

asio::awaitable<void> AgentClient::put_file(fs::path from, std::string to, Deadline deadline,
                                            Progress progress) {
  struct stat info {};
  auto file = std::make_shared<UniqueFd>(open_to_read(from, info));
  QueryParameters query{{"path", to}, {"mode", octal(info.st_mode & 0777U)}};
  HttpRequest made =
      request("PUT", "/sandkey/v1/file", std::move(query), "upload " + from.string(), deadline);
  made.source = file_source(file, "reading " + from.string(), std::move(progress));
  made.repeatable = false;
  (void)co_await call(std::move(made));
}

asio::awaitable<void> AgentClient::get_file(std::string from, fs::path to, Deadline deadline,
                                            Progress progress) {
  const std::string operation = "download " + from;
  QueryParameters query{{"path", from}};
  HttpStream stream =
      co_await http_->open(request("GET", "/sandkey/v1/file", std::move(query), operation, deadline));
  if (stream.status() != 200) {
    const std::string body = co_await stream.read_all(kMaxErrorBody);
    fail(stream.status(), body, operation);
  }
  unsigned mode = 0644;
  if (const auto text = stream.headers().find("x-sandkey-mode")) {
    std::from_chars(text->data(), text->data() + text->size(), mode, 8);
  }
  // A device or a pipe is written to; a link's target is replaced; an existing file keeps its permissions.
  struct stat before {};
  const bool exists = ::stat(to.c_str(), &before) == 0;
  const bool special = exists && !S_ISREG(before.st_mode);
  if (exists && !special) {
    to = fs::canonical(to);
    mode = before.st_mode;
  }
  // Under another name until it is whole.
  std::string temporary = (to.parent_path() / ".sandkey-download-XXXXXX").string();
  const UniqueFd file(special ? ::open(to.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY)
                              : ::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) throw system_error("writing " + to.string(), errno);
  struct Remove {
    const std::string& path;
    bool keep = false;
    ~Remove() {
      if (!keep) ::unlink(path.c_str());
    }
  } remove{temporary, special};
  std::vector<std::byte> buffer(kPiece);
  std::uint64_t total = 0;
  while (true) {
    const std::size_t n = co_await stream.read_some(buffer);
    if (n == 0) break;
    write_all(file.get(), chars({buffer.data(), n}), "writing " + to.string());
    total += n;
    if (progress) progress(total);
  }
  if (special) co_return;
  if (::fchmod(file.get(), mode & 0777U) != 0 || ::rename(temporary.c_str(), to.c_str()) != 0) {
    throw system_error("writing " + to.string(), errno);
  }
  remove.keep = true;
}

asio::awaitable<void> AgentClient::put_tree(fs::path from, std::string to, Deadline deadline,
                                            Progress progress) {
  const auto executor = co_await asio::this_coro::executor;
  Pipe pipe = make_pipe("making a pipe");
  auto into = std::make_shared<UniqueFd>(std::move(pipe.write));
  BlockingTask packing(executor, [into, from] {
    const UniqueFd fd = std::move(*into);
    pack(fd.get(), from, {.format = ArchiveFormat::tar});
  });
  auto packed = std::make_shared<asio::posix::stream_descriptor>(executor, pipe.read.release());
  packed->native_non_blocking(true);

  QueryParameters query{{"path", to}};
  HttpRequest made =
      request("PUT", "/sandkey/v1/tree", std::move(query), "upload " + from.string(), deadline);
  made.headers.set("Content-Type", "application/x-tar");
  made.repeatable = false;
  auto total = std::make_shared<std::uint64_t>(0);
  made.source = [packed, total, progress = std::move(progress)](
                    std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const auto [error, n] =
        co_await packed->async_read_some(asio::buffer(buffer.data(), buffer.size()), kAsTuple);
    *total += n;
    if (progress) progress(*total);
    co_return n;  // 0 at its end; whether it ended well, the packer says
  };
  std::optional<Error> refused;
  try {
    (void)co_await call(std::move(made));
  } catch (const Error& error) {
    refused = error;
  }
  boost::system::error_code ignored;
  packed->close(ignored);
  co_await packing.join();  // what went wrong on our side comes first
  if (refused) throw_error(*refused);
}

asio::awaitable<void> AgentClient::get_tree(std::string from, fs::path to, Deadline deadline,
                                            Progress progress) {
  const auto executor = co_await asio::this_coro::executor;
  const std::string operation = "download " + from;
  QueryParameters query{{"path", from}, {"contents", "1"}};
  HttpStream stream =
      co_await http_->open(request("GET", "/sandkey/v1/tree", std::move(query), operation, deadline));
  if (stream.status() != 200) {
    const std::string body = co_await stream.read_all(kMaxErrorBody);
    fail(stream.status(), body, operation);
  }

  Pipe pipe = make_pipe("making a pipe");
  auto out_of = std::make_shared<UniqueFd>(std::move(pipe.read));
  BlockingTask unpacking(executor, [out_of, to] {
    const UniqueFd fd = std::move(*out_of);
    extract(fd.get(), to, {.format = ArchiveFormat::tar, .outward_symlinks = true});
  });
  asio::posix::stream_descriptor unpacker(executor, pipe.write.release());
  unpacker.native_non_blocking(true);
  std::vector<std::byte> buffer(kPiece);
  std::uint64_t total = 0;
  while (true) {
    const std::size_t n = co_await stream.read_some(buffer);
    if (n == 0) break;
    const auto [error, written] =
        co_await asio::async_write(unpacker, asio::buffer(buffer.data(), n), kAsTuple);
    if (error) break;
    total += n;
    if (progress) progress(total);
  }
  unpacker.close();
  co_await unpacking.join();
}

asio::awaitable<void> AgentClient::upload_file(fs::path from, std::string destination_folder, bool recursive,
                                               Deadline deadline) {
  const auto executor = co_await asio::this_coro::executor;
  const std::string boundary = "sandkey-" + random_id();
  const std::string name = from.filename().string() + (recursive ? ".zip" : "");
  std::string quoted;
  for (const char c : name) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  const std::string head = "--" + boundary +
                           "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + quoted +
                           "\"\r\nContent-Type: application/octet-stream\r\n\r\n";
  const std::string tail = "\r\n--" + boundary + "--\r\n";

  QueryParameters query{{"destination", destination_folder}, {"recursive", recursive ? "true" : "false"}};
  HttpRequest made = request("POST", "/upload_file", std::move(query), "upload " + from.string(), deadline);
  made.headers.set("Content-Type", "multipart/form-data; boundary=" + boundary);

  std::optional<BlockingTask> packing;
  HttpBodySource content;
  std::shared_ptr<asio::posix::stream_descriptor> packed;
  if (recursive) {
    Pipe pipe = make_pipe("making a pipe");
    auto into = std::make_shared<UniqueFd>(std::move(pipe.write));
    packing.emplace(executor, [into, from] {
      const UniqueFd fd = std::move(*into);
      pack(fd.get(), from, {.format = ArchiveFormat::zip, .with_base_name = true});
    });
    packed = std::make_shared<asio::posix::stream_descriptor>(executor, pipe.read.release());
    packed->native_non_blocking(true);
    content = [packed](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
      const auto [error, n] =
          co_await packed->async_read_some(asio::buffer(buffer.data(), buffer.size()), kAsTuple);
      co_return n;
    };
  } else {
    struct stat info {};
    content =
        file_source(std::make_shared<UniqueFd>(open_to_read(from, info)), "reading " + from.string(), {});
  }
  struct Form {
    std::string head, tail;
    HttpBodySource content;
    int part = 0;
  };
  auto form = std::make_shared<Form>(Form{head, tail, std::move(content)});
  made.source = [form](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const auto give = [&buffer](std::string& text) {
      const std::size_t n = std::min(buffer.size(), text.size());
      std::memcpy(buffer.data(), text.data(), n);
      text.erase(0, n);
      return n;
    };
    if (!form->head.empty()) co_return give(form->head);
    if (form->part == 0) {
      const std::size_t n = co_await form->content(buffer);
      if (n > 0) co_return n;
      form->part = 1;
    }
    co_return give(form->tail);
  };
  std::optional<Error> refused;
  try {
    (void)co_await call(std::move(made));
  } catch (const Error& error) {
    refused = error;
  }
  if (packed) {
    boost::system::error_code ignored;
    packed->close(ignored);
    co_await packing->join();
  }
  if (refused) throw_error(*refused);
}

asio::awaitable<void> AgentClient::download_files(std::string path, fs::path zip_file, Deadline deadline) {
  const std::string operation = "download " + path;
  QueryParameters query{{"path", path}};
  HttpStream stream =
      co_await http_->open(request("GET", "/download_files", std::move(query), operation, deadline));
  // OpenHands' client does not look, and takes an error for a zip.
  if (stream.status() != 200) {
    const std::string body = co_await stream.read_all(kMaxErrorBody);
    fail(stream.status(), body, operation);
  }
  const UniqueFd file(::open(zip_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) throw system_error("writing " + zip_file.string(), errno);
  std::vector<std::byte> buffer(kPiece);
  while (true) {
    const std::size_t n = co_await stream.read_some(buffer);
    if (n == 0) break;
    write_all(file.get(), chars({buffer.data(), n}), "writing " + zip_file.string());
  }
}

std::unique_ptr<AgentStream> AgentClient::exec(const ExecCommand& command) {
  require_text(command.cwd, "the working directory");
  for (const std::string& word : command.argv) require_text(word, "an argument");
  for (const auto& [name, value] : command.env) require_text(name + value, "a variable");
  std::string id = random_id();
  json::object body;
  body["id"] = id;
  json::array argv;
  for (const std::string& word : command.argv) argv.emplace_back(word);
  body["argv"] = std::move(argv);
  if (!command.env.empty()) {
    json::object env;
    for (const auto& [name, value] : command.env) env[name] = value;
    body["env"] = std::move(env);
  }
  if (!command.cwd.empty()) body["cwd"] = command.cwd;
  body["stdin"] = command.input;
  if (command.terminal) {
    body["pty"] = true;
    body["rows"] = command.terminal->first;
    body["columns"] = command.terminal->second;
  }
  if (command.to_end_of_output) body["to_end_of_output"] = true;
  if (command.linger) body["linger"] = command.linger->count();
  if (command.timeout) body["timeout"] = std::chrono::duration<double>(*command.timeout).count();
  return std::unique_ptr<AgentStream>(
      new AgentStream(*this, std::move(id), "/sandkey/v1/exec", write_json(body)));
}

std::unique_ptr<AgentStream> AgentClient::dial(std::uint16_t port) {
  std::string id = random_id();
  json::object body;
  body["id"] = id;
  body["port"] = port;
  return std::unique_ptr<AgentStream>(
      new AgentStream(*this, std::move(id), "/sandkey/v1/dial", write_json(body)));
}

AgentStream::AgentStream(AgentClient& client, std::string id, std::string start_path, std::string start_body)
    : client_(client),
      id_(std::move(id)),
      start_path_(std::move(start_path)),
      start_body_(std::move(start_body)) {}

asio::awaitable<HttpStream> AgentStream::open() {
  const std::string operation = started_ ? "follow a running command" : "start a command";
  HttpRequest made;
  if (started_) {
    QueryParameters query{{"stdout", std::to_string(received_[0])}, {"stderr", std::to_string(received_[1])}};
    made = client_.request("GET", "/sandkey/v1/streams/" + id_ + "/output", std::move(query), operation,
                           kNoDeadline);
  } else {
    made = client_.request("POST", start_path_, {}, operation, kNoDeadline);
    made.headers.set("Content-Type", "application/json");
    made.body = start_body_;
    made.repeatable = true;  // the id makes it so
  }
  HttpStream stream = co_await client_.http_->open(std::move(made));
  if (stream.status() != 200) {
    const std::string body = co_await stream.read_all(kMaxErrorBody);
    if (is_from_before(stream.status(), body)) co_await client_.require_sandbox(operation);
    client_.fail(stream.status(), body, operation);
  }
  started_ = true;
  if (const auto pid = stream.headers().find("x-sandkey-pid")) {
    std::from_chars(pid->data(), pid->data() + pid->size(), pid_);
  }
  co_return stream;
}

asio::awaitable<ExecResult> AgentStream::follow(ExecSink sink, std::function<void()> on_started) {
  Engine& engine = client_.engine_;
  auto lost_at = engine.in(kLostAfter);
  auto pause = kFirstPause;
  std::vector<std::byte> buffer(kPiece);
  bool in_sink = false;
  while (true) {
    std::optional<Error> broken;
    bool progress = false;
    try {
      HttpStream stream = co_await open();
      if (on_started) std::exchange(on_started, nullptr)();
      std::string head;        // of the frame that is arriving
      std::uint32_t left = 0;  // of its payload
      unsigned char kind = 0;
      std::string result;
      while (true) {
        const std::size_t n = co_await engine.with_deadline(stream.read_some(buffer), engine.in(kSilence),
                                                            "follow a running command", "wait for the agent");
        if (n == 0) break;
        lost_at = engine.in(kLostAfter);
        pause = kFirstPause;
        std::span<const std::byte> bytes(buffer.data(), n);
        while (!bytes.empty()) {
          if (left == 0) {
            const std::size_t take = std::min(bytes.size(), std::size_t{5} - head.size());
            head.append(chars(bytes.first(take)));
            bytes = bytes.subspan(take);
            if (head.size() < 5) continue;
            kind = static_cast<unsigned char>(head[0]);
            for (std::size_t i = 1; i < 5; ++i) left = (left << 8U) | static_cast<unsigned char>(head[i]);
            head.clear();
            if (kind > 3 || left > 16 * 1024 * 1024) {
              throw Error(ErrorCode::protocol,
                          "follow a running command: the agent sent a frame of no known kind");
            }
            continue;
          }
          const std::span<const std::byte> piece = bytes.first(std::min<std::size_t>(bytes.size(), left));
          bytes = bytes.subspan(piece.size());
          left -= static_cast<std::uint32_t>(piece.size());
          if (kind == 1 || kind == 2) {
            const std::size_t channel = kind - 1U;
            // Counted before it is handed over: what the sink saw must not come again, even if it throws.
            received_[channel] += piece.size();
            progress = true;
            in_sink = true;
            co_await sink(channel, piece);
            in_sink = false;
            if (received_[channel] - acknowledged_[channel] >= kAcknowledgeEvery) {
              acknowledged_[channel] = received_[channel];
              QueryParameters upto{{channel == 0 ? "stdout" : "stderr", std::to_string(received_[channel])}};
              co_await post("ack", std::move(upto));
            }
          } else if (kind == 3) {
            result.append(chars(piece));
          }
        }
      }
      if (!result.empty()) {
        const json::value value = parse_json(result, "the command's result");
        if (!value.is_object())
          throw Error(ErrorCode::protocol, "follow a running command: its result is not an object");
        const json::object& object = value.get_object();
        ExecResult ended;
        ended.exit_code = static_cast<int>(find_integer(object, "exit_code").value_or(0));
        if (const auto signal = find_integer(object, "signal")) ended.signal = static_cast<int>(*signal);
        ended.timed_out = find_bool(object, "timed_out").value_or(false);
        co_return ended;
      }
      broken.emplace(ErrorCode::unavailable, "follow a running command: the agent ended the reply early");
    } catch (const Error& error) {
      const bool again = may_repeat(error) || (started_ && error.code() == ErrorCode::deadline_exceeded);
      if (in_sink || !again || engine.steady_now() + pause >= lost_at) throw;
      broken = error;
    }
    if (broken) co_await client_.require_sandbox("follow a running command");
    if (progress) continue;  // an agent that was just heard is asked again at once
    co_await engine.sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

asio::awaitable<void> AgentStream::post(std::string verb, QueryParameters query) {
  HttpRequest made = client_.request("POST", "/sandkey/v1/streams/" + id_ + "/" + verb, std::move(query),
                                     verb + " a running command", client_.engine_.in(kLostAfter));
  made.repeatable = true;
  (void)co_await client_.call(std::move(made));
}

asio::awaitable<bool> AgentStream::send_input(std::span<const std::byte> bytes, bool eof) {
  Engine& engine = client_.engine_;
  const auto lost_at = engine.in(kLostAfter);
  auto pause = kFirstPause;
  while (true) {
    QueryParameters query{{"offset", std::to_string(sent_)}};
    if (eof) query.emplace_back("eof", "1");
    HttpRequest made = client_.request("POST", "/sandkey/v1/streams/" + id_ + "/input", std::move(query),
                                       "send input to a running command", kNoDeadline);
    made.headers.set("Content-Type", "application/octet-stream");
    made.body = chars(bytes);
    made.repeatable = true;  // the offset makes it so
    std::optional<Error> broken;
    try {
      const HttpResponse response = co_await client_.call(std::move(made));
      const json::value value = parse_json(response.body, "the reply to input");
      sent_ += bytes.size();
      co_return value.is_object() && find_bool(value.get_object(), "open").value_or(false);
    } catch (const Error& error) {
      if (!may_repeat(error) || engine.steady_now() + pause >= lost_at) throw;
      broken = error;
    }
    co_await engine.sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

asio::awaitable<bool> AgentStream::write(std::span<const std::byte> bytes) {
  return send_input(bytes, false);
}

asio::awaitable<void> AgentStream::close_input() {
  (void)co_await send_input({}, true);
}

asio::awaitable<void> AgentStream::signal(int number) {
  return post("signal", {{"number", std::to_string(number)}});
}

asio::awaitable<void> AgentStream::signal_alone(int number) {
  return post("signal", {{"number", std::to_string(number)}, {"alone", "1"}});
}

asio::awaitable<void> AgentStream::resize(unsigned rows, unsigned columns) {
  return post("resize", {{"rows", std::to_string(rows)}, {"columns", std::to_string(columns)}});
}

asio::awaitable<void> AgentStream::kill() {
  (void)co_await client_.call(client_.request("DELETE", "/sandkey/v1/streams/" + id_, {},
                                              "end a running command", client_.engine_.in(kLostAfter)));
}

}  // namespace sandkey
