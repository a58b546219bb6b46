#include "sandkey/agent/agent.h"

#include "sandkey/agent/entries.h"
#include "sandkey/agent/files/file_actions.h"
#include "sandkey/agent/mcp/mcp_proxy.h"
#include "sandkey/agent/process.h"
#include "sandkey/agent/reply_cache.h"
#include "sandkey/agent/server_info.h"
#include "sandkey/agent/streams/stream_routes.h"
#include "sandkey/agent/transfers.h"
#include "sandkey/agent/version.h"
#include "sandkey/agent/viewer/file_viewer.h"
#include "sandkey/agent/watch.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using net::HttpError;
using net::HttpExchange;

// A write action carries a file's whole content.
constexpr std::size_t kMaxAction = std::size_t{64} * 1024 * 1024;
constexpr std::size_t kMaxSmallBody = std::size_t{64} * 1024;
constexpr const char* kViewerUrlFile = "/tmp/oh-server-url";  // where OpenHands' tools look for it
constexpr std::string_view kOwnPrefix = "/sandkey/v1/";

json::value parse_request(const std::string& body) {
  try {
    return parse_json(body, "The request body");
  } catch (const Error& error) {
    json::object detail;
    throw HttpError(422, std::string("Invalid request parameters: ") + error.what());
  }
}

McpOptions mcp_options(const ExecutorOptions& options) {
  McpOptions made;
  made.environment = options.environment;
  made.working_dir = options.working_dir;
  return made;
}

void require_method(const HttpExchange& exchange, std::string_view method) {
  if (exchange.method() != method) {
    throw HttpError(405, "Use " + std::string(method) + " for " + exchange.path() + ".");
  }
}

}  // namespace

class Agent::Impl {
 public:
  Impl(asio::any_io_executor executor, SessionKeys keys, AgentOptions options)
      : executor_(executor),
        keys_(std::move(keys)),
        reaper_(executor),
        actions_(executor, reaper_, options.executor),
        streams_(executor, reaper_, options.executor.environment, options.executor.working_dir),
        mcp_(executor, reaper_, mcp_options(options.executor)),
        replies_(executor),
        server_(executor, [this](HttpExchange& exchange) { return handle(exchange); }) {
    if (options.warm_python) actions_.warm_python();
  }

  net::HttpServer& server() noexcept { return server_; }
  [[nodiscard]] bool has_keys() const noexcept { return keys_.required(); }

  // The companion that OpenHands' browser tool looks at files through: for this machine only, without a key,
  // since a browser has none. Best effort: nothing else depends on it.
  void start_file_viewer() {
    try {
      viewer_.emplace(executor_, [](HttpExchange& exchange) { return handle_file_viewer(exchange); });
      const std::string url = "http://localhost:" + std::to_string(viewer_->listen_tcp("127.0.0.1", 0));
      const UniqueFd file(
          ::open(kViewerUrlFile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
      if (file) (void)!::write(file.get(), url.data(), url.size());
    } catch (const Error&) {
      viewer_.reset();
    }
  }

  void stop() {
    mcp_.close();
    server_.stop();
    if (viewer_) {
      viewer_->stop();
      ::unlink(kViewerUrlFile);
    }
    streams_.close();
    actions_.close();
  }

 private:
  asio::awaitable<void> handle(HttpExchange& exchange) {
    const std::string& path = exchange.path();
    if (path == "/alive") {
      require_method(exchange, "GET");
      co_await exchange.reply(200, R"({"status":"ok"})");
      co_return;
    }
    if (path == "/server_info") {
      require_method(exchange, "GET");
      co_await exchange.reply(
          200, write_json(server_info(started_, actions_.last_action(), actions_.options().working_dir)));
      co_return;
    }
    if (!keys_.allow(exchange.header("x-session-api-key"))) throw HttpError(403, "Invalid API Key");

    if (path == "/execute_action") {
      require_method(exchange, "POST");
      co_await execute_action(exchange);
    } else if (path == "/upload_file") {
      require_method(exchange, "POST");
      co_await upload_file(executor_, exchange);
    } else if (path == "/download_files") {
      require_method(exchange, "GET");
      co_await download_files(executor_, exchange);
    } else if (path == "/list_files") {
      require_method(exchange, "POST");
      co_await list_files(exchange);
    } else if (path == "/vscode/connection_token") {
      require_method(exchange, "GET");
      co_await exchange.reply(200, R"({"token":null})");
    } else if (path == "/update_mcp_server") {
      require_method(exchange, "POST");
      co_await mcp_.handle_update(exchange);
    } else if (path == "/mcp/sse" || path == "/sse") {
      require_method(exchange, "GET");
      co_await mcp_.handle_sse(exchange);
    } else if (path == "/mcp/messages/" || path == "/mcp/messages" || path == "/messages/") {
      require_method(exchange, "POST");
      co_await mcp_.handle_message(exchange);
    } else if (path.starts_with(kOwnPrefix)) {
      co_await handle_own(exchange, std::string_view(path).substr(kOwnPrefix.size()));
    } else {
      throw HttpError(404, "There is no route " + path + ".");
    }
  }

  asio::awaitable<void> handle_own(HttpExchange& exchange, std::string_view path) {
    if (path == "hello") {
      require_method(exchange, "GET");
      co_await exchange.reply(200, hello());
    } else if (path == "warm_python") {
      require_method(exchange, "POST");
      actions_.warm_python();
      co_await exchange.reply(202, "{}");
    } else if (path == "file" && exchange.method() == "PUT") {
      co_await put_file(exchange);
    } else if (path == "file") {
      require_method(exchange, "GET");
      co_await get_file(exchange);
    } else if (path == "tree" && exchange.method() == "PUT") {
      co_await put_tree(executor_, exchange);
    } else if (path == "tree") {
      require_method(exchange, "GET");
      co_await get_tree(executor_, exchange);
    } else if (path == "stat") {
      require_method(exchange, "GET");
      co_await get_stat(exchange);
    } else if (path == "entries" && exchange.method() == "DELETE") {
      co_await remove_entries(exchange);
    } else if (path == "entries") {
      require_method(exchange, "GET");
      co_await list_entries(exchange);
    } else if (path == "folder") {
      require_method(exchange, "POST");
      co_await make_folder(exchange);
    } else if (path == "move") {
      require_method(exchange, "POST");
      co_await move_entry(exchange);
    } else if (path == "attributes") {
      require_method(exchange, "PUT");
      co_await set_attributes(exchange);
    } else if (path == "watch") {
      require_method(exchange, "GET");
      co_await watch_folder(executor_, exchange);
    } else {
      const bool known = co_await streams_.handle(exchange, path);
      if (!known) throw HttpError(404, "There is no route " + exchange.path() + ".");
    }
  }

  [[nodiscard]] std::string hello() const {
    const ExecutorOptions& options = actions_.options();
    json::object reply;
    reply["agent"] = "sandkey-agent";
    reply["version"] = kVersion;
    reply["protocol"] = kProtocolVersion;
    reply["working_dir"] = options.working_dir;
    reply["username"] = options.identity.username;
    reply["hostname"] = options.identity.hostname;
    reply["shell"] = find_program("bash", options.environment).empty() ? "sh" : "bash";
    reply["python"] = !find_program("python3", options.environment).empty() ||
                      !find_program("python", options.environment).empty();
    return write_json(reply);
  }

  asio::awaitable<void> execute_action(HttpExchange& exchange) {
    const std::string key(exchange.header("idempotency-key"));
    if (key.size() > ReplyCache::kMaxKey)
      throw HttpError(400, "The idempotency key is over 200 characters long.");
    const std::string body = co_await exchange.read_body(kMaxAction);
    if (key.empty()) {
      CachedReply reply = co_await run_action(body);
      co_await exchange.reply(reply.status, std::move(reply.body));
      co_return;
    }
    const auto [slot, first] = replies_.claim(key);
    if (first) {
      replies_.fill(slot, co_await run_action(body));
    } else {
      while (!slot->done) (void)co_await slot->ready.wait();
    }
    if (!slot->reply) {
      throw HttpError(410, "This action was executed before, but its result is no longer held.");
    }
    const CachedReply reply = *slot->reply;
    co_await exchange.reply(reply.status, reply.body);
  }

  // Never throws: the reply, whatever it is, belongs to the idempotency key.
  asio::awaitable<CachedReply> run_action(std::string body) {
    CachedReply reply;
    std::string detail;
    try {
      const json::value request = parse_request(body);
      body = {};
      const json::value* event = request.is_object() ? find(request.get_object(), "action") : nullptr;
      if (event == nullptr) throw HttpError(422, "Invalid request parameters: there is no 'action' object.");
      reply.body = serialize(co_await actions_.execute(parse_action(*event)));
    } catch (const HttpError& error) {
      reply.status = error.status();
      detail = error.what();
    } catch (const Error& error) {
      reply.status = error.code() == ErrorCode::invalid_argument ? 400 : 500;
      detail = "Internal server error: " + std::string(error.what());
    } catch (const std::exception& error) {
      reply.status = 500;
      detail = "Internal server error: " + std::string(error.what());
    }
    if (reply.status != 200) reply.body = write_json(json::object{{"detail", detail}});
    co_return reply;
  }

  asio::awaitable<void> list_files(HttpExchange& exchange) {
    const std::string body = co_await exchange.read_body(kMaxSmallBody);
    std::optional<std::string> path;
    if (!body.empty()) {
      const json::value request = parse_request(body);
      if (request.is_object()) {
        if (const auto text = find_string(request.get_object(), "path")) path = std::string(*text);
      }
    }
    json::array reply;
    for (std::string& name : files::list_files(path, actions_.options().working_dir))
      reply.emplace_back(std::move(name));
    co_await exchange.reply(200, write_json(reply));
  }

  asio::any_io_executor executor_;
  SessionKeys keys_;
  ChildReaper reaper_;
  ActionExecutor actions_;
  StreamRoutes streams_;
  McpProxy mcp_;
  ReplyCache replies_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  net::HttpServer server_;
  std::optional<net::HttpServer> viewer_;
};

Agent::Agent(asio::any_io_executor executor, SessionKeys keys, AgentOptions options)
    : impl_(std::make_unique<Impl>(std::move(executor), std::move(keys), std::move(options))) {}
Agent::~Agent() {
  stop();
}

void Agent::listen_unix(const std::string& path) {
  impl_->server().listen_unix(path);
}

std::uint16_t Agent::listen_tcp(const std::string& host, std::uint16_t port) {
  if (!impl_->has_keys()) {
    throw Error(
        ErrorCode::invalid_argument,
        "listening on " + host + ":" + std::to_string(port) +
            ": a TCP port needs --session-key-file, or whoever reaches it could run anything here; without a "
            "key listen on unix:PATH");
  }
  const std::uint16_t bound = impl_->server().listen_tcp(host, port);
  impl_->start_file_viewer();
  return bound;
}

void Agent::listen_descriptor(int fd) {
  const auto option = [fd](int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
  };
  if (option(SO_DOMAIN) != AF_UNIX || option(SO_ACCEPTCONN) != 1) {
    throw Error(ErrorCode::invalid_argument,
                "listening on fd:" + std::to_string(fd) + ": it is not a Unix socket that listens");
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);  // not for what we start
  impl_->server().listen_descriptor(fd);
}

void Agent::stop() {
  impl_->stop();
}

}  // namespace sandkey::agent
