#include "sandkey/providers/e2b/emulator/envd/envd_server.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/processes.h"
#include "sandkey/emulator/machine/usage.h"
#include "sandkey/emulator/machine/visits.h"
#include "sandkey/events/codec.h"
#include "sandkey/providers/e2b/emulator/envd/accounts.h"
#include "sandkey/providers/e2b/emulator/envd/api_error.h"
#include "sandkey/providers/e2b/emulator/envd/file_routes.h"
#include "sandkey/providers/e2b/emulator/envd/filesystem_service.h"
#include "sandkey/providers/e2b/emulator/envd/metrics.h"
#include "sandkey/providers/e2b/emulator/envd/process_service.h"
#include "sandkey/providers/e2b/emulator/envd/rpc.h"
#include "sandkey/providers/e2b/emulator/envd/signature.h"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

using net::HttpError;
using net::HttpExchange;

// One procedure of Connect.
struct Procedure {
  bool streaming = false;
  bool keeps_deadline = false;  // by itself: it has something to do when it comes
  std::function<asio::awaitable<void>(RpcCall& call, Account account)> run;
};
using Procedures = std::map<std::string, Procedure, std::less<>>;

template <typename Service, typename Request, typename Response>
Procedure unary(Service& service, asio::awaitable<Response> (Service::*method)(Account, Request)) {
  return {.streaming = false,
          .keeps_deadline = false,
          .run = [&service, method](RpcCall& call, Account account) -> asio::awaitable<void> {
            Request request;
            co_await call.read(request);
            const Response response = co_await (service.*method)(std::move(account), std::move(request));
            co_await call.reply(response);
          }};
}

template <typename Service>
Procedure streaming(Service& service, asio::awaitable<void> (Service::*method)(RpcCall&, Account),
                    bool keeps_deadline) {
  return {.streaming = true,
          .keeps_deadline = keeps_deadline,
          .run = [&service, method](RpcCall& call, Account account) {
            return (service.*method)(call, std::move(account));
          }};
}

Variables variables_of(const EnvdSettings& settings) {
  Variables variables{{"E2B_SANDBOX", "true"},
                      {"E2B_SANDBOX_ID", settings.sandbox_id},
                      {"E2B_TEMPLATE_ID", settings.template_id}};
  for (const auto& [name, value] : settings.env_vars) variables[name] = value;
  return variables;
}

std::string error_json(int status, std::string_view message) {
  json::object body;
  body["code"] = status;
  body["message"] = message;
  return write_json(body);
}

// What became of a request whose agent failed it; nothing where its connection is to break instead.
std::optional<RpcError> rpc_error_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::cancelled:
    case ErrorCode::sandbox_dead:
    case ErrorCode::unavailable:
      return std::nullopt;
    case ErrorCode::deadline_exceeded:
      return RpcError(RpcCode::deadline_exceeded, "context deadline exceeded");
    case ErrorCode::not_found:
      return RpcError(RpcCode::not_found, error.what());
    case ErrorCode::invalid_argument:
      return RpcError(RpcCode::invalid_argument, error.what());
    case ErrorCode::quota_exceeded:
    case ErrorCode::rate_limited:
      return RpcError(RpcCode::resource_exhausted, error.what());
    default:
      return RpcError(RpcCode::internal, error.what());
  }
}

}  // namespace

class EnvdServer::Impl {
 public:
  Impl(Engine& engine, asio::any_io_executor executor, AgentClient& agent, EnvdSettings settings)
      : engine_(engine),
        settings_(std::move(settings)),
        variables_(variables_of(settings_)),
        accounts_(agent, settings_.default_user),
        processes_(engine, executor),
        process_service_(executor, agent, processes_, variables_, settings_.default_workdir),
        filesystem_service_(engine, executor, agent, accounts_, settings_.default_workdir),
        files_(engine, agent, accounts_, settings_.access_token, settings_.default_workdir),
        usage_(agent, {.processors = settings_.cpu_count, .memory_bytes = settings_.memory_bytes}),
        visits_(executor),
        procedures_(make_procedures()) {}

  asio::awaitable<void> handle(HttpExchange& exchange) {
    if (closed_) {
      exchange.abort();
      co_return;
    }
    co_await visits_.serve(exchange, serve(exchange));
  }

  void paused() {
    processes_.set_paused(true);
    visits_.break_off();
  }
  void resumed() { processes_.set_paused(false); }

  asio::awaitable<void> close() {
    closed_ = true;
    visits_.break_off();
    processes_.cancel();
    co_await visits_.wait_for_end();
    co_await filesystem_service_.close();
    co_await processes_.join();
  }

 private:
  Procedures make_procedures() {
    Procedures made;
    const auto process = [&made](std::string_view name, Procedure procedure) {
      made.emplace("/process.Process/" + std::string(name), std::move(procedure));
    };
    const auto filesystem = [&made](std::string_view name, Procedure procedure) {
      made.emplace("/filesystem.Filesystem/" + std::string(name), std::move(procedure));
    };
    process("List", unary(process_service_, &ProcessService::list));
    process("Start", streaming(process_service_, &ProcessService::start, true));
    process("Connect", streaming(process_service_, &ProcessService::connect, true));
    process("Update", unary(process_service_, &ProcessService::update));
    process("StreamInput", streaming(process_service_, &ProcessService::stream_input, false));
    process("SendInput", unary(process_service_, &ProcessService::send_input));
    process("SendSignal", unary(process_service_, &ProcessService::send_signal));
    process("CloseStdin", unary(process_service_, &ProcessService::close_stdin));
    filesystem("Stat", unary(filesystem_service_, &FilesystemService::stat));
    filesystem("MakeDir", unary(filesystem_service_, &FilesystemService::make_dir));
    filesystem("Move", unary(filesystem_service_, &FilesystemService::move));
    filesystem("ListDir", unary(filesystem_service_, &FilesystemService::list_dir));
    filesystem("Remove", unary(filesystem_service_, &FilesystemService::remove));
    filesystem("WatchDir", streaming(filesystem_service_, &FilesystemService::watch_dir, true));
    filesystem("CreateWatcher", unary(filesystem_service_, &FilesystemService::create_watcher));
    filesystem("GetWatcherEvents", unary(filesystem_service_, &FilesystemService::get_watcher_events));
    filesystem("RemoveWatcher", unary(filesystem_service_, &FilesystemService::remove_watcher));
    return made;
  }

  // Every failure is answered, or breaks the connection.
  asio::awaitable<void> serve(HttpExchange& exchange) {
    std::optional<ApiError> failure;
    try {
      co_await route(exchange);
    } catch (const ApiError& error) {
      failure = error;
    } catch (const HttpError& error) {
      failure.emplace(error.status(), error.what());
    } catch (const Error& error) {
      const bool lost = !rpc_error_of(error) && error.code() != ErrorCode::deadline_exceeded;
      if (!lost) failure.emplace(500, error.what());
      if (lost) exchange.abort();
    } catch (...) {
      exchange.abort();
      if (!is_cancellation(std::current_exception())) throw;
    }
    if (!failure) co_return;
    if (exchange.replied()) {
      exchange.abort();
      co_return;
    }
    std::string body = error_json(failure->status(), failure->what());
    co_await exchange.reply(failure->status(), std::move(body));
  }

  asio::awaitable<void> route(HttpExchange& exchange) {
    const std::string_view method = exchange.method();
    const std::string& path = exchange.path();
    if (method == "OPTIONS") {
      co_await allow_cross_origin(exchange);
      co_return;
    }
    check_token(exchange);
    const std::string user = basic_user(exchange.header("authorization")).value_or("");
    const auto procedure = procedures_.find(path);
    if (procedure != procedures_.end()) {
      co_await call(exchange, procedure->second, user);
      co_return;
    }
    if (!user.empty()) {
      const std::optional<Account> account = co_await accounts_.find(user);
      if (!account) {
        RpcCall rpc(engine_, exchange, {});
        co_await rpc.fail(unknown_user(user));  // in Connect's form, whatever the route
        co_return;
      }
    }
    if (path == "/health" && method == "GET") {
      const std::array<HttpExchange::Header, 1> headers{{{"Cache-Control", "no-store"}}};
      co_await reply_without_body(exchange, 204, headers);
    } else if (path == "/metrics" && method == "GET") {
      const std::optional<Account> account = co_await accounts_.find(user);
      std::string folder = account ? account->home : "/";
      const machine::Usage usage = co_await usage_.measure(std::move(folder));
      const json::object measured = metrics_of(usage, engine_.system_now());
      co_await reply_json(exchange, measured);
    } else if (path == "/envs" && method == "GET") {
      json::object envs;
      for (const auto& [name, value] : variables_) envs[name] = value;
      co_await reply_json(exchange, envs);
    } else if (path == "/files" && method == "GET") {
      co_await files_.download(exchange);
    } else if (path == "/files" && method == "POST") {
      co_await files_.upload(exchange);
    } else if (path == "/files/compose" && method == "POST") {
      co_await files_.compose(exchange);
    } else {
      co_await refuse(exchange);
    }
  }

  static asio::awaitable<void> reply_without_body(HttpExchange& exchange, int status,
                                                  std::span<const HttpExchange::Header> headers) {
    std::string none;
    co_await exchange.reply(status, std::move(none), std::string_view(), headers);
  }

  static asio::awaitable<void> reply_json(HttpExchange& exchange, const json::object& value) {
    const std::array<HttpExchange::Header, 1> headers{{{"Cache-Control", "no-store"}}};
    std::string body = write_json(value);
    co_await exchange.reply(200, std::move(body), "application/json", headers);
  }

  // As Go's router: a path that is there with another method is 405, another path 404.
  static asio::awaitable<void> refuse(HttpExchange& exchange) {
    constexpr std::array<std::string_view, 5> kPaths{"/health", "/metrics", "/envs", "/files",
                                                     "/files/compose"};
    const bool known = std::find(kPaths.begin(), kPaths.end(), exchange.path()) != kPaths.end();
    std::string body = known ? "" : "404 page not found\n";
    co_await exchange.reply(known ? 405 : 404, std::move(body), "text/plain; charset=utf-8");
  }

  static asio::awaitable<void> allow_cross_origin(HttpExchange& exchange) {
    const std::string wanted(exchange.header("access-control-request-headers"));
    std::vector<HttpExchange::Header> headers{
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, HEAD"},
        {"Access-Control-Max-Age", "7200"}};
    if (!wanted.empty()) headers.emplace_back("Access-Control-Allow-Headers", wanted);
    co_await reply_without_body(exchange, 204, headers);
  }

  void check_token(const HttpExchange& exchange) const {
    if (settings_.access_token.empty()) return;
    const bool is_get = exchange.method() == "GET";
    const bool open = (is_get && exchange.path() == "/health") ||
                      ((is_get || exchange.method() == "POST") && exchange.path() == "/files");
    if (open || equal_secrets(exchange.header("x-access-token"), settings_.access_token)) return;
    throw ApiError(401,
                   "unauthorized access, please provide a valid access token or method signing if supported");
  }

  static RpcError unknown_user(const std::string& name) {
    return {RpcCode::unauthenticated, "invalid username: '" + name + "'"};
  }

  asio::awaitable<void> call(HttpExchange& exchange, const Procedure& procedure, std::string user) {
    if (exchange.method() != "POST") {
      const std::array<HttpExchange::Header, 1> headers{{{"Allow", "POST"}}};
      co_await reply_without_body(exchange, 405, headers);
      co_return;
    }
    const std::optional<RpcFormat> format = rpc_format(exchange.header("content-type"));
    if (!format || format->streaming != procedure.streaming) {
      const std::string accepted = std::string(content_type({false, procedure.streaming})) + ", " +
                                   std::string(content_type({true, procedure.streaming}));
      const std::array<HttpExchange::Header, 1> headers{{{"Accept-Post", accepted}}};
      co_await reply_without_body(exchange, 415, headers);
      co_return;
    }
    RpcCall rpc(engine_, exchange, *format);
    std::optional<RpcError> failure;
    try {
      co_await run(rpc, procedure, std::move(user));
    } catch (const RpcError& error) {
      failure = error;
    } catch (const Error& error) {
      failure = rpc_error_of(error);
      if (!failure) throw;
    }
    if (failure) co_await rpc.fail(*failure);
  }

  asio::awaitable<void> run(RpcCall& rpc, const Procedure& procedure, std::string user) {
    const std::optional<Account> account = co_await accounts_.find(user);
    if (!account) throw unknown_user(user);
    asio::awaitable<void> running = procedure.run(rpc, *account);
    const Deadline deadline = rpc.deadline();
    if (procedure.keeps_deadline) {
      co_await std::move(running);
    } else {
      co_await engine_.with_deadline(std::move(running), deadline, "call " + rpc.exchange().path());
    }
  }

  Engine& engine_;
  EnvdSettings settings_;
  Variables variables_;
  Accounts accounts_;
  machine::ProcessTable processes_;
  ProcessService process_service_;
  FilesystemService filesystem_service_;
  FileRoutes files_;
  machine::UsageMeter usage_;
  bool closed_ = false;
  machine::Visits visits_;
  Procedures procedures_;
};

EnvdServer::EnvdServer(Engine& engine, asio::any_io_executor executor, AgentClient& agent,
                       EnvdSettings settings)
    : impl_(std::make_unique<Impl>(engine, std::move(executor), agent, std::move(settings))) {}

EnvdServer::~EnvdServer() = default;

asio::awaitable<void> EnvdServer::handle(HttpExchange& exchange) {
  return impl_->handle(exchange);
}

void EnvdServer::paused() {
  impl_->paused();
}

void EnvdServer::resumed() {
  impl_->resumed();
}

asio::awaitable<void> EnvdServer::close() {
  return impl_->close();
}

}  // namespace sandkey::e2b_envd
