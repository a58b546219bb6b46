#include "sandkey/agent/mcp/mcp_proxy.h"

#include "sandkey/agent/mcp/json_rpc.h"
#include "sandkey/agent/mcp/stdio_server.h"
#include "sandkey/agent/process.h"
#include "sandkey/base/async_event.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using net::HttpError;
using net::HttpExchange;

constexpr std::array<std::string_view, 4> kProtocolVersions{"2024-11-05", "2025-03-26", "2025-06-18",
                                                            "2025-11-25"};
constexpr int kMaxToolPages = 1000;
// Progress is dropped when a client has this much to read already; answers are not.
constexpr std::size_t kMaxQueuedProgress = std::size_t{1} << 20U;

std::string random_id() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw system_error("making an MCP session's id", errno);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

// The client's event stream and what it is waiting for.
struct Session {
  explicit Session(const asio::any_io_executor& executor) : changed(executor) {}

  AsyncEvent changed;  // there is something to send, or the end
  std::deque<std::string> outbox;
  std::size_t queued = 0;
  HttpExchange* exchange = nullptr;  // while handle_sse() runs
  bool ended = false;
  std::map<std::string, std::shared_ptr<McpCall>> running;  // by the JSON of the request's id
};

const json::object& params_of(const json::object& request) {
  static const json::object kNone;
  const json::value* params = find(request, "params");
  return params != nullptr && params->is_object() ? params->get_object() : kNone;
}

const json::value* progress_token(const json::object& params) {
  const json::value* meta = find(params, "_meta");
  return meta != nullptr && meta->is_object() ? find(meta->get_object(), "progressToken") : nullptr;
}

}  // namespace

struct McpProxy::State : std::enable_shared_from_this<State> {
  using Servers = std::vector<std::shared_ptr<StdioServer>>;
  using SessionPtr = std::shared_ptr<Session>;

  State(asio::any_io_executor executor_, ChildReaper& reaper_, McpOptions options_)
      : executor(std::move(executor_)), reaper(reaper_), options(std::move(options_)) {}

  static asio::awaitable<std::string> update(std::shared_ptr<State> self,
                                             std::vector<McpServerConfig> configs);
  static asio::awaitable<void> handle_update(std::shared_ptr<State> self, HttpExchange& exchange);
  static asio::awaitable<void> handle_sse(std::shared_ptr<State> self, HttpExchange& exchange);
  static asio::awaitable<void> handle_message(std::shared_ptr<State> self, HttpExchange& exchange);
  void close() noexcept;

  void require_open() const {
    if (closed) throw HttpError(503, "The agent is shutting down.");
  }

  void take(const SessionPtr& session, json::object message);
  static asio::awaitable<void> run(std::shared_ptr<State> self, SessionPtr session, json::object request,
                                   std::shared_ptr<McpCall> call);
  static asio::awaitable<json::value> answer(std::shared_ptr<State> self, json::object request,
                                             std::shared_ptr<McpCall> call);
  static asio::awaitable<json::value> list_tools(std::shared_ptr<State> self, std::shared_ptr<McpCall> call);
  static asio::awaitable<json::value> call_tool(std::shared_ptr<State> self, json::object params,
                                                std::shared_ptr<McpCall> call);
  static asio::awaitable<json::array> tools_of(std::shared_ptr<StdioServer> server,
                                               std::shared_ptr<McpCall> call, Clock::time_point deadline);

  void send(Session& session, const json::object& message);
  void respond(Session& session, const json::value& id, json::value result);
  void respond(Session& session, const json::value& id, const JsonRpcError& error);
  void notify_tools_changed();
  void end(Session& session) noexcept;

  [[nodiscard]] Clock::time_point call_deadline() const { return Clock::now() + options.call_timeout; }

  asio::any_io_executor executor;
  ChildReaper& reaper;  // not after close()
  McpOptions options;
  Servers servers;
  Servers leaving;  // told to stop, and not gone yet
  std::unordered_map<std::string, SessionPtr> sessions;
  std::size_t queued = 0;
  bool closed = false;
};

// ---- The servers

asio::awaitable<std::string> McpProxy::State::update(std::shared_ptr<State> self,
                                                     std::vector<McpServerConfig> configs) {
  if (self->closed) co_return "The MCP proxy is closed.";
  std::string problems;
  const auto report = [&problems](const std::string& text) {
    problems += (problems.empty() ? "" : "\n") + text;
  };

  Servers before = std::exchange(self->servers, {});
  Servers started;
  bool changed = false;
  for (McpServerConfig& config : configs) {
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&config](const auto& server) { return server->config() == config; });
    if (same != before.end()) {
      self->servers.push_back(std::move(*same));
      before.erase(same);
      continue;
    }
    auto server =
        std::make_shared<StdioServer>(self->executor, self->reaper, std::move(config),
                                      StdioServerOptions{.environment = self->options.environment,
                                                         .working_dir = self->options.working_dir,
                                                         .start_timeout = self->options.start_timeout},
                                      [weak = std::weak_ptr<State>(self)] {
                                        if (const auto state = weak.lock()) state->notify_tools_changed();
                                      });
    self->servers.push_back(server);
    changed = true;
    try {
      server->start();
      started.push_back(std::move(server));
    } catch (const JsonRpcError& error) {
      report(error.what());
    }
  }
  std::erase_if(self->leaving, [](const auto& server) { return server->gone(); });
  for (auto& server : before) {
    server->stop();
    self->leaving.push_back(std::move(server));
  }
  if (changed || !before.empty()) self->notify_tools_changed();

  const auto until = Clock::now() + self->options.update_wait;
  for (const auto& server : started) {
    const std::string problem = co_await StdioServer::wait_started(server, until);
    if (!problem.empty()) report(problem);
  }
  co_return problems;
}

asio::awaitable<json::array> McpProxy::State::tools_of(std::shared_ptr<StdioServer> server,
                                                       std::shared_ptr<McpCall> call,
                                                       Clock::time_point deadline) {
  json::array tools;
  std::optional<std::string> cursor;
  for (int page = 0; page < kMaxToolPages; ++page) {
    json::object params;
    if (cursor) params["cursor"] = *cursor;
    json::value result =
        co_await StdioServer::request(server, call, "tools/list", std::move(params), deadline);
    if (call->received > kMaxMcpListing) {
      throw JsonRpcError(rpc::kInternalError, "The MCP servers list more than " +
                                                  std::to_string(kMaxMcpListing >> 20U) + " MiB of tools.");
    }
    if (!result.is_object()) break;
    if (json::value* listed = result.get_object().if_contains("tools");
        listed != nullptr && listed->is_array()) {
      for (json::value& tool : listed->get_array()) {
        if (!tool.is_object() || !find_string(tool.get_object(), "name")) continue;
        tools.push_back(std::move(tool));
      }
    }
    const auto next = find_string(result.get_object(), "nextCursor");
    if (!next || (cursor && *cursor == *next)) break;
    cursor = std::string(*next);
  }
  co_return tools;
}

asio::awaitable<json::value> McpProxy::State::list_tools(std::shared_ptr<State> self,
                                                         std::shared_ptr<McpCall> call) {
  const Servers servers = self->servers;  // an update may come meanwhile
  const auto deadline = self->call_deadline();
  for (const auto& server : servers) {
    try {
      server->start();  // all at once, before the first is waited for
    } catch (const JsonRpcError&) {
      continue;  // said below
    }
  }
  json::array tools;
  json::object unavailable;
  std::string problems;
  for (const auto& server : servers) {
    try {
      json::array own = co_await tools_of(server, call, deadline);
      for (json::value& tool : own) {
        if (servers.size() > 1) {
          json::string& name = tool.get_object()["name"].get_string();
          name.insert(0, server->config().name + "_");
        }
        tools.push_back(std::move(tool));
      }
    } catch (const JsonRpcError& error) {
      if (servers.size() == 1) throw;
      const std::string text(find_string(error.object(), "message").value_or(error.what()));
      unavailable[server->config().name] = text;
      problems += (problems.empty() ? "" : "\n") + text;
    }
  }
  // The others' tools are of use without those of one that failed.
  if (!servers.empty() && unavailable.size() == servers.size())
    throw JsonRpcError(rpc::kServerUnavailable, problems);
  json::object result;
  result["tools"] = std::move(tools);
  if (!unavailable.empty()) result["_meta"] = json::object{{"sandkey/unavailable", std::move(unavailable)}};
  co_return result;
}

asio::awaitable<json::value> McpProxy::State::call_tool(std::shared_ptr<State> self, json::object params,
                                                        std::shared_ptr<McpCall> call) {
  const auto named = find_string(params, "name");
  if (!named) throw JsonRpcError(rpc::kInvalidParams, "tools/call needs a 'name'.");
  const std::string name(*named);
  const Servers servers = self->servers;
  const auto deadline = self->call_deadline();

  std::vector<std::pair<std::shared_ptr<StdioServer>, std::string>> candidates;
  if (servers.size() == 1) {
    candidates.emplace_back(servers.front(), name);
  } else {
    for (const auto& server : servers) {
      const std::string prefix = server->config().name + "_";
      if (name.starts_with(prefix)) candidates.emplace_back(server, name.substr(prefix.size()));
    }
  }
  if (candidates.empty()) throw JsonRpcError(rpc::kInvalidParams, "Unknown tool: '" + name + "'");
  // The servers "a" and "a_b" may both have a tool "a_b_c". The longer name goes first, if it has the tool.
  std::sort(candidates.begin(), candidates.end(),
            [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  auto chosen = candidates.front();
  for (std::size_t i = 0; candidates.size() > 1 && i < candidates.size(); ++i) {
    json::array tools;
    try {
      tools = co_await tools_of(candidates[i].first, call, deadline);
    } catch (const JsonRpcError&) {
      if (call->cancelled) throw;
      continue;
    }
    const auto has_it = [&](const json::value& tool) {
      return find_string(tool.get_object(), "name") == candidates[i].second;
    };
    if (std::any_of(tools.begin(), tools.end(), has_it)) {
      chosen = candidates[i];
      break;
    }
  }

  json::object forwarded;
  forwarded["name"] = chosen.second;
  for (const std::string_view key : {"arguments", "_meta"}) {
    if (const json::value* value = find(params, key)) forwarded[key] = *value;
  }
  // Taken here, not before: listing tools on the way has no progress to tell.
  if (const json::value* token = progress_token(params)) call->progress_token = *token;
  co_return co_await StdioServer::request(chosen.first, call, "tools/call", std::move(forwarded), deadline);
}

// ---- The clients

asio::awaitable<json::value> McpProxy::State::answer(std::shared_ptr<State> self, json::object request,
                                                     std::shared_ptr<McpCall> call) {
  const std::string method(*find_string(request, "method"));
  const json::object& params = params_of(request);
  if (method == "ping") co_return json::object();
  if (method == "initialize") {
    const std::string_view wanted = find_string(params, "protocolVersion").value_or("");
    const bool known =
        std::find(kProtocolVersions.begin(), kProtocolVersions.end(), wanted) != kProtocolVersions.end();
    json::object result;
    result["protocolVersion"] = known ? wanted : kProtocolVersions.back();
    result["capabilities"] = json::object{{"tools", json::object{{"listChanged", true}}}};
    result["serverInfo"] = json::object{{"name", "sandkey-agent"}, {"version", SANDKEY_VERSION}};
    co_return result;
  }
  if (method == "tools/list") co_return co_await list_tools(self, call);
  if (method == "tools/call") co_return co_await call_tool(self, params, call);
  throw JsonRpcError(rpc::kMethodNotFound, "Method not found");
}

asio::awaitable<void> McpProxy::State::run(std::shared_ptr<State> self, SessionPtr session,
                                           json::object request, std::shared_ptr<McpCall> call) {
  const json::value id = request["id"];
  json::value result;
  std::optional<JsonRpcError> failure;
  try {
    result = co_await answer(self, std::move(request), call);
  } catch (const JsonRpcError& error) {
    failure = error;
  } catch (const std::exception& error) {
    failure.emplace(rpc::kInternalError, error.what());
  }
  session->running.erase(json::serialize(id));
  if (call->cancelled) co_return;  // then the protocol wants no answer
  if (failure) {
    self->respond(*session, id, *failure);
  } else {
    self->respond(*session, id, std::move(result));
  }
}

// A message of the client, already known to be an object with a method, or an answer.
void McpProxy::State::take(const SessionPtr& session, json::object message) {
  const auto method = find_string(message, "method");
  if (!method) return;  // an answer: nothing was asked
  const json::value* id = find(message, "id");
  if (id == nullptr) {
    if (*method != "notifications/cancelled") return;
    const json::value* cancelled = find(params_of(message), "requestId");
    if (cancelled == nullptr) return;
    const auto found = session->running.find(json::serialize(*cancelled));
    if (found != session->running.end()) found->second->cancel();
    return;
  }
  const std::string key = json::serialize(*id);
  if (session->running.contains(key)) {
    return respond(*session, *id, JsonRpcError(rpc::kInvalidRequest, "A request with this id is running."));
  }
  if (session->running.size() >= kMaxMcpRequests) {
    return respond(*session, *id,
                   JsonRpcError(rpc::kServerUnavailable,
                                "More than " + std::to_string(kMaxMcpRequests) + " requests at a time."));
  }
  auto call = std::make_shared<McpCall>(executor);
  call->on_progress = [weak = weak_from_this(), to = std::weak_ptr<Session>(session)](json::object params) {
    const auto state = weak.lock();
    const auto target = to.lock();
    if (!state || !target || target->queued > kMaxQueuedProgress) return;
    state->send(*target,
                {{"jsonrpc", "2.0"}, {"method", "notifications/progress"}, {"params", std::move(params)}});
  };
  session->running.emplace(key, call);
  // Owned by `running`: the end of the session cancels it, that of its server or a deadline ends it.
  asio::co_spawn(executor, run(shared_from_this(), session, std::move(message), std::move(call)),
                 asio::detached);
}

void McpProxy::State::respond(Session& session, const json::value& id, json::value result) {
  send(session, {{"jsonrpc", "2.0"}, {"id", id}, {"result", std::move(result)}});
}

void McpProxy::State::respond(Session& session, const json::value& id, const JsonRpcError& error) {
  send(session, {{"jsonrpc", "2.0"}, {"id", id}, {"error", error.object()}});
}

void McpProxy::State::send(Session& session, const json::object& message) {
  if (session.ended) return;
  // Serialised JSON has no line break in it, so it is one line of data.
  std::string event = "event: message\r\ndata: " + json::serialize(message) + "\r\n\r\n";
  if (queued + event.size() > kMaxMcpQueued) return end(session);  // it does not read
  queued += event.size();
  session.queued += event.size();
  session.outbox.push_back(std::move(event));
  session.changed.notify_all();
}

void McpProxy::State::notify_tools_changed() {
  for (const auto& [id, session] : sessions) {
    send(*session, {{"jsonrpc", "2.0"}, {"method", "notifications/tools/list_changed"}});
  }
}

// The stream's handler does the rest when it sees it.
void McpProxy::State::end(Session& session) noexcept {
  if (session.ended) return;
  session.ended = true;
  for (const auto& [id, call] : session.running) call->cancel();
  queued -= session.queued;
  session.queued = 0;
  session.outbox.clear();
  if (session.exchange != nullptr) session.exchange->abort();  // it may be in the middle of a write
  session.changed.notify_all();
}

asio::awaitable<void> McpProxy::State::handle_sse(std::shared_ptr<State> self, HttpExchange& exchange) {
  if (exchange.method() != "GET") throw HttpError(405, "Method Not Allowed");
  self->require_open();
  if (self->sessions.size() >= kMaxMcpSessions) {
    throw HttpError(503, "There are " + std::to_string(kMaxMcpSessions) + " MCP sessions already.");
  }
  const std::string id = random_id();
  const auto session = std::make_shared<Session>(self->executor);
  session->exchange = &exchange;
  self->sessions.emplace(id, session);
  struct Registration {
    State& state;
    const std::string& id;
    Session& session;
    ~Registration() {
      session.exchange = nullptr;
      state.end(session);
      state.sessions.erase(id);
    }
  };
  const Registration registration{*self, id, *session};

  // Where messages go, beside the address the client came to: /mcp/sse -> /mcp/messages/.
  std::string base = exchange.path();
  base.resize(base.rfind('/') == std::string::npos ? 0 : base.rfind('/'));
  constexpr std::array<HttpExchange::Header, 2> kHeaders{
      {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}}};  // nor may a proxy hold events back
  const std::string endpoint =
      "event: endpoint\r\ndata: " + base + "/messages/?session_id=" + id + "\r\n\r\n";
  bool open = co_await exchange.start(200, "text/event-stream; charset=utf-8", std::nullopt, kHeaders);
  if (open) open = co_await exchange.write(endpoint);
  if (!open) co_return;
  while (!session->ended) {
    if (session->outbox.empty()) {
      const bool woken = co_await session->changed.wait_until(Clock::now() + self->options.keep_alive);
      if (woken || session->ended || !session->outbox.empty()) continue;
      // A comment: it shows proxies that the stream lives, and us when it does not.
      open = co_await exchange.write(std::string_view(": ping\r\n\r\n"));
      if (!open) co_return;
      continue;
    }
    const std::string event = std::move(session->outbox.front());
    session->outbox.pop_front();
    const bool sent = co_await exchange.write(event);
    if (session->ended) co_return;
    session->queued -= event.size();
    self->queued -= event.size();
    if (!sent) co_return;
  }
}

asio::awaitable<void> McpProxy::State::handle_message(std::shared_ptr<State> self, HttpExchange& exchange) {
  if (exchange.method() != "POST") throw HttpError(405, "Method Not Allowed");
  self->require_open();
  const auto id = exchange.query("session_id");
  if (!id) throw HttpError(400, "session_id is required");
  const auto found = self->sessions.find(*id);
  if (found == self->sessions.end()) throw HttpError(404, "Could not find session");
  const SessionPtr session = found->second;

  json::value message;
  try {
    message = parse_json(co_await exchange.read_body(kMaxMcpBody), "The message");
  } catch (const Error& error) {
    throw HttpError(400, error.what());
  }
  if (!message.is_object() || find_string(message.get_object(), "jsonrpc") != "2.0") {
    throw HttpError(400, "The message is not a JSON-RPC 2.0 object.");
  }
  json::object& object = message.get_object();
  const json::value* request_id = find(object, "id");
  if (request_id != nullptr && !request_id->is_string() && !request_id->is_number()) {
    throw HttpError(400, "The message's id must be a string or a number.");
  }
  if (!find_string(object, "method") &&
      (request_id == nullptr || (find(object, "result") == nullptr && find(object, "error") == nullptr))) {
    throw HttpError(400, "The message is neither a request, a notification nor an answer.");
  }
  co_await exchange.reply(202, "Accepted", "text/plain; charset=utf-8");
  if (!session->ended) self->take(session, std::move(object));
}

asio::awaitable<void> McpProxy::State::handle_update(std::shared_ptr<State> self, HttpExchange& exchange) {
  if (exchange.method() != "POST") throw HttpError(405, "Method Not Allowed");
  self->require_open();
  std::vector<McpServerConfig> servers = parse_mcp_servers(co_await exchange.read_body(kMaxMcpBody));
  self->require_open();
  const std::string problems = co_await update(self, std::move(servers));
  json::object body;
  body["detail"] = "MCP server updated successfully";
  body["router_error_log"] = problems;
  co_await exchange.reply(200, json::serialize(body));
}

void McpProxy::State::close() noexcept {
  if (closed) return;
  closed = true;
  for (const auto& [id, session] : sessions) end(*session);
  for (const auto& server : std::exchange(servers, {})) server->kill();
  for (const auto& server : std::exchange(leaving, {})) server->kill();
}

McpProxy::McpProxy(asio::any_io_executor executor, ChildReaper& reaper, McpOptions options)
    : state_(std::make_shared<State>(std::move(executor), reaper, std::move(options))) {}

McpProxy::~McpProxy() {
  close();
}

asio::awaitable<std::string> McpProxy::update(std::vector<McpServerConfig> servers) {
  return State::update(state_, std::move(servers));
}
asio::awaitable<void> McpProxy::handle_update(HttpExchange& exchange) {
  return State::handle_update(state_, exchange);
}
asio::awaitable<void> McpProxy::handle_sse(HttpExchange& exchange) {
  return State::handle_sse(state_, exchange);
}
asio::awaitable<void> McpProxy::handle_message(HttpExchange& exchange) {
  return State::handle_message(state_, exchange);
}
std::size_t McpProxy::sessions() const noexcept {
  return state_->sessions.size();
}
void McpProxy::close() noexcept {
  state_->close();
}

}  // namespace sandkey::agent
