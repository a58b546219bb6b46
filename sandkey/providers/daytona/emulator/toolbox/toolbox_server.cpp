#include "sandkey/providers/daytona/emulator/toolbox/toolbox_server.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/machine/file_transfer.h"
#include "sandkey/emulator/machine/processes.h"
#include "sandkey/emulator/machine/visits.h"
#include "sandkey/emulator/router.h"
#include "sandkey/providers/daytona/emulator/toolbox/absent.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/execute.h"
#include "sandkey/providers/daytona/emulator/toolbox/files.h"
#include "sandkey/providers/daytona/emulator/toolbox/git.h"
#include "sandkey/providers/daytona/emulator/toolbox/interpreter/interpreter.h"
#include "sandkey/providers/daytona/emulator/toolbox/ptys.h"
#include "sandkey/providers/daytona/emulator/toolbox/sessions.h"
#include "sandkey/providers/daytona/emulator/toolbox/system.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <exception>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

using emulator::Arguments;
using emulator::Router;
using net::HttpError;
using net::HttpExchange;

ToolboxError from_http(const HttpError& error) {
  return {error.status(), error.status() == 413 ? "INVALID_REQUEST_BODY" : "BAD_REQUEST", error.what()};
}

}  // namespace

class ToolboxServer::Impl {
 public:
  Impl(Engine& engine, asio::any_io_executor executor, AgentClient& agent, ToolboxSettings settings)
      : view_(engine, executor, agent, std::move(settings)),
        processes_(engine, executor),
        visits_(executor),
        system_(view_),
        execute_(view_),
        sessions_(view_, processes_),
        ptys_(view_, processes_),
        interpreter_(view_, processes_),
        files_(view_),
        git_(view_) {
    add_routes(router_, this);
  }

  // With no server the names only are of use.
  static void add_routes(Router& router, Impl* server);

  asio::awaitable<void> handle(HttpExchange& exchange, std::string path) {
    if (closed_) {
      exchange.abort();
      co_return;
    }
    co_await visits_.serve(exchange, serve(exchange, std::move(path)));
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
    sessions_.cancel();
    ptys_.cancel();
    co_await visits_.wait_for_end();
    co_await sessions_.join();
    co_await ptys_.join();
    co_await processes_.join();
  }

 private:
  // Every failure is answered, or breaks the connection.
  asio::awaitable<void> serve(HttpExchange& exchange, std::string path) {
    std::optional<ToolboxError> failure;
    try {
      co_await view_.prepare();
      co_await route(exchange, path);
    } catch (const ToolboxError& error) {
      failure = error;
    } catch (const HttpError& error) {
      failure = from_http(error);
    } catch (const Error& error) {
      const bool lost = machine::is_lost(error);
      if (!lost) failure = internal_error(error.what());
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
    json::object body = error_object(*failure, exchange.method(), path, view_.engine().system_now());
    co_await reply_json(exchange, std::move(body), failure->status());
  }

  asio::awaitable<void> route(HttpExchange& exchange, const std::string& path) {
    std::optional<Router::Match> match = router_.match(exchange.method(), path);
    if (match) {
      co_await (*match->handler)(exchange, std::move(match->arguments));
      co_return;
    }
    std::string body = "404 page not found";
    co_await exchange.reply(404, std::move(body), "text/plain");
  }

  MachineView view_;
  machine::ProcessTable processes_;
  machine::Visits visits_;
  bool closed_ = false;
  System system_;
  Execute execute_;
  Sessions sessions_;
  Ptys ptys_;
  Interpreter interpreter_;
  Files files_;
  Git git_;
  Router router_;
};

void ToolboxServer::Impl::add_routes(Router& router, Impl* server) {
  // One of a part's methods, with and without what stands in the path.
  const auto add = [&router, server](const char* route, auto part, auto method) {
    router.add(route, [server, part, method](HttpExchange& exchange, Arguments) {
      return ((server->*part).*method)(exchange);
    });
  };
  const auto add_one = [&router, server](const char* route, auto part, auto method) {
    router.add(route, [server, part, method](HttpExchange& exchange, Arguments arguments) {
      return ((server->*part).*method)(exchange, std::move(arguments[0]));
    });
  };
  const auto add_two = [&router, server](const char* route, auto part, auto method) {
    router.add(route, [server, part, method](HttpExchange& exchange, Arguments arguments) {
      return ((server->*part).*method)(exchange, std::move(arguments[0]), std::move(arguments[1]));
    });
  };
  add("GET /version", &Impl::system_, &System::version);
  add("GET /user-home-dir", &Impl::system_, &System::home);
  add("GET /project-dir", &Impl::system_, &System::home);
  add("GET /work-dir", &Impl::system_, &System::workdir);
  add("POST /init", &Impl::system_, &System::init);
  add("POST /env", &Impl::system_, &System::change_environment);
  add("GET /system/metrics", &Impl::system_, &System::metrics);
  add("GET /port", &Impl::system_, &System::ports);
  add_one("GET /port/{port}/in-use", &Impl::system_, &System::port_in_use);

  add("POST /process/execute", &Impl::execute_, &Execute::execute);
  add("POST /process/code-run", &Impl::execute_, &Execute::run_code);

  add("POST /process/session", &Impl::sessions_, &Sessions::create);
  add("GET /process/session", &Impl::sessions_, &Sessions::list);
  add("GET /process/session/entrypoint", &Impl::sessions_, &Sessions::entrypoint);
  add("GET /process/session/entrypoint/logs", &Impl::sessions_, &Sessions::entrypoint_logs);
  add_one("GET /process/session/{sessionId}", &Impl::sessions_, &Sessions::get);
  add_one("DELETE /process/session/{sessionId}", &Impl::sessions_, &Sessions::remove);
  add_one("POST /process/session/{sessionId}/exec", &Impl::sessions_, &Sessions::execute);
  add_two("GET /process/session/{sessionId}/command/{commandId}", &Impl::sessions_, &Sessions::command);
  add_two("GET /process/session/{sessionId}/command/{commandId}/logs", &Impl::sessions_, &Sessions::logs);
  add_two("POST /process/session/{sessionId}/command/{commandId}/input", &Impl::sessions_, &Sessions::input);

  add("POST /process/pty", &Impl::ptys_, &Ptys::create);
  add("GET /process/pty", &Impl::ptys_, &Ptys::list);
  add("GET /process/pty/create-connect", &Impl::ptys_, &Ptys::create_and_connect);
  add_one("GET /process/pty/{sessionId}", &Impl::ptys_, &Ptys::get);
  add_one("DELETE /process/pty/{sessionId}", &Impl::ptys_, &Ptys::remove);
  add_one("GET /process/pty/{sessionId}/connect", &Impl::ptys_, &Ptys::connect);
  add_one("POST /process/pty/{sessionId}/resize", &Impl::ptys_, &Ptys::resize);

  add("POST /process/interpreter/context", &Impl::interpreter_, &Interpreter::create);
  add("GET /process/interpreter/context", &Impl::interpreter_, &Interpreter::list);
  add_one("DELETE /process/interpreter/context/{id}", &Impl::interpreter_, &Interpreter::remove);
  add("GET /process/interpreter/execute", &Impl::interpreter_, &Interpreter::execute);

  add("GET /files", &Impl::files_, &Files::list);
  add("DELETE /files", &Impl::files_, &Files::remove);
  add("GET /files/info", &Impl::files_, &Files::info);
  add("POST /files/folder", &Impl::files_, &Files::make_folder);
  add("POST /files/move", &Impl::files_, &Files::move);
  add("POST /files/permissions", &Impl::files_, &Files::set_permissions);
  add("GET /files/search", &Impl::files_, &Files::search);
  add("GET /files/find", &Impl::files_, &Files::find);
  add("POST /files/replace", &Impl::files_, &Files::replace);
  add("GET /files/download", &Impl::files_, &Files::download);
  add("POST /files/bulk-download", &Impl::files_, &Files::bulk_download);
  add("POST /files/upload", &Impl::files_, &Files::upload);
  add("POST /files/upload-v2", &Impl::files_, &Files::upload_v2);
  add("POST /files/bulk-upload", &Impl::files_, &Files::bulk_upload);

  add("POST /git/clone", &Impl::git_, &Git::clone);
  add("POST /git/init", &Impl::git_, &Git::init);
  add("POST /git/add", &Impl::git_, &Git::add);
  add("POST /git/commit", &Impl::git_, &Git::commit);
  add("POST /git/push", &Impl::git_, &Git::push);
  add("POST /git/pull", &Impl::git_, &Git::pull);
  add("POST /git/reset", &Impl::git_, &Git::reset);
  add("POST /git/restore", &Impl::git_, &Git::restore);
  add("GET /git/branches", &Impl::git_, &Git::branches);
  add("POST /git/branches", &Impl::git_, &Git::create_branch);
  add("DELETE /git/branches", &Impl::git_, &Git::delete_branch);
  add("POST /git/checkout", &Impl::git_, &Git::checkout);
  add("GET /git/status", &Impl::git_, &Git::status);
  add("GET /git/history", &Impl::git_, &Git::history);
  add("GET /git/remotes", &Impl::git_, &Git::remotes);
  add("POST /git/remotes", &Impl::git_, &Git::add_remote);
  add("GET /git/config", &Impl::git_, &Git::get_config);
  add("POST /git/config", &Impl::git_, &Git::set_config);
  add("POST /git/config/user", &Impl::git_, &Git::set_user);
  add("POST /git/credentials", &Impl::git_, &Git::store_credentials);

  const auto add_absent = [&router](std::string_view route, auto answer) {
    router.add(std::string(route), [answer](HttpExchange& exchange, Arguments) { return answer(exchange); });
  };
  add_absent("POST /lsp/start", Absent::start_language_server);
  for (const std::string_view route :
       {"POST /lsp/stop", "POST /lsp/did-open", "POST /lsp/did-close", "POST /lsp/completions",
        "GET /lsp/document-symbols", "GET /lsp/workspacesymbols"}) {
    add_absent(route, Absent::ask_language_server);
  }
  for (const std::string_view route : Absent::kDesktopRoutes) add_absent(route, Absent::desktop);
}

ToolboxServer::ToolboxServer(Engine& engine, asio::any_io_executor executor, AgentClient& agent,
                             ToolboxSettings settings)
    : impl_(std::make_unique<Impl>(engine, std::move(executor), agent, std::move(settings))) {}

ToolboxServer::~ToolboxServer() = default;

asio::awaitable<void> ToolboxServer::handle(HttpExchange& exchange, std::string path) {
  return impl_->handle(exchange, std::move(path));
}

void ToolboxServer::paused() {
  impl_->paused();
}

void ToolboxServer::resumed() {
  impl_->resumed();
}

asio::awaitable<void> ToolboxServer::close() {
  return impl_->close();
}

std::vector<std::string> ToolboxServer::routes() {
  Router router;
  Impl::add_routes(router, nullptr);
  return router.routes();
}

std::optional<std::string> ToolboxServer::route_of(std::string_view method, std::string_view path) {
  static const Router kRouter = [] {
    Router router;
    Impl::add_routes(router, nullptr);
    return router;
  }();
  const std::optional<Router::Match> match = kRouter.match(method, path);
  return match ? std::optional(*match->route) : std::nullopt;
}

}  // namespace sandkey::daytona_toolbox
