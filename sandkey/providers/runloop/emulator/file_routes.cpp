#include "sandkey/providers/runloop/emulator/file_routes.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/machine/file_text.h"
#include "sandkey/emulator/machine/file_transfer.h"
#include "sandkey/emulator/machine/form_reader.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/net/multipart.h"
#include "sandkey/providers/runloop/emulator/requests.h"
#include "sandkey/providers/runloop/emulator/text_file.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::chrono::seconds kPatience{60};
constexpr std::uint64_t kMaxText = std::uint64_t{100} * 1024 * 1024;
constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kMaxPath = 4096;
constexpr std::size_t kTemporaryLength = 16;

ApiError no_file(const std::string& path) {
  return {400, "There is no file '" + path + "'", "file_not_found"};
}

// The rest of a part, which must be short.
asio::awaitable<std::string> read_text(machine::FormReader& form) {
  std::string text;
  std::vector<std::byte> buffer(kMaxPath + 1);
  while (true) {
    const std::size_t size = co_await form.read_some(buffer);
    if (size == 0) co_return text;
    text += std::string_view(machine::chars(std::span(buffer).first(size)).data(), size);
    if (text.size() > kMaxPath) throw invalid("'path' is too long");
  }
}

}  // namespace

std::string resolve_path(std::string_view path, std::string_view home) {
  if (path.empty() || path.find('\0') != std::string_view::npos) throw invalid("The path is none");
  if (path == "~") return std::string(home);
  if (path.starts_with("~/")) path.remove_prefix(2);
  if (path.starts_with('/')) return std::string(path);
  return std::string(home) + "/" + std::string(path);
}

FileRoutes::FileRoutes(emu::World& world, Fleet& fleet, Api& api) : world_(world), fleet_(fleet) {
  add(api, "POST /v1/devboxes/{id}/read_file_contents", &FileRoutes::read);
  add(api, "POST /v1/devboxes/{id}/write_file_contents", &FileRoutes::write);
  add(api, "POST /v1/devboxes/{id}/upload_file", &FileRoutes::upload);
  add(api, "POST /v1/devboxes/{id}/download_file", &FileRoutes::download);
}

void FileRoutes::add(Api& api, const char* route, Action action) {
  api.add(route, kUse, [this, action](Exchange& exchange, const Account& account, Arguments arguments) {
    return (this->*action)(exchange, account, std::move(arguments));
  });
}

// ---- Reading

asio::awaitable<void> FileRoutes::send(Exchange& exchange, DevboxPtr devbox, std::string path, bool as_text) {
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  std::optional<RemoteEntry> entry;
  try {
    entry = co_await machine::look_through(local->agent(), path, world_.engine.in(kPatience));
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
  }
  if (!entry) throw no_file(path);
  if (entry->type != RemoteEntry::Type::file) throw invalid("'" + path + "' is no regular file");
  if (as_text && entry->size > kMaxText) throw invalid("'" + path + "' is too large; use download_file");
  HttpStream file = co_await local->agent().open_file(path);
  std::vector<std::byte> buffer(kPiece);
  // Some of /proc say that they are empty, so the length is told by the end.
  bool alive =
      co_await exchange.start(200, as_text ? "text/plain; charset=utf-8" : "application/octet-stream");
  while (alive) {
    const std::size_t size = co_await file.read_some(buffer);
    if (size == 0) break;
    alive = co_await exchange.write(machine::chars(std::span(buffer).first(size)));
  }
  if (alive) (void)co_await exchange.finish();
}

asio::awaitable<void> FileRoutes::read(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const std::string path = require_text(body, "file_path");
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  co_await send(exchange, devbox, resolve_path(path, devbox->executions.home()), true);
}

asio::awaitable<void> FileRoutes::download(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const std::string path = require_text(body, "path");
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  co_await send(exchange, devbox, resolve_path(path, devbox->executions.home()), false);
}

// ---- Writing

asio::awaitable<std::string> FileRoutes::obstacle(std::shared_ptr<emu::LocalSandbox> local,
                                                  std::string path) {
  const Deadline deadline = world_.engine.in(kPatience);
  const RemoteStat there = co_await local->agent().stat(path, deadline);
  if (there.type == RemoteStat::Type::directory) co_return path + ": Is a directory";
  std::string folder = machine::parent_of(path);
  const RemoteStat parent = co_await local->agent().stat(std::move(folder), deadline);
  if (parent.type == RemoteStat::Type::missing) co_return path + ": No such file or directory";
  co_return parent.type == RemoteStat::Type::directory ? "" : path + ": Not a directory";
}

// What cannot be written is told as by a command that failed.
asio::awaitable<void> FileRoutes::write(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const std::string given = require_text(body, "file_path");
  std::optional<std::string> contents = parse_text(body, "contents");
  if (!contents) throw invalid("'contents' is required");
  if (contents->size() > kMaxText) throw invalid("'contents' is too large; use upload_file");
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  const std::string path = resolve_path(given, devbox->executions.home());
  std::string problem = co_await obstacle(local, path);
  if (problem.empty()) {
    try {
      co_await write_text(local->agent(), path, std::move(*contents), kNoDeadline);
    } catch (const Error& error) {
      if (machine::is_lost(error)) throw;
      problem = path + ": " + error.what();
    }
  }
  json::object view;
  view["devbox_id"] = devbox->id;
  view["exit_status"] = problem.empty() ? 0 : 1;
  view["stdout"] = "";
  view["stderr"] = problem.empty() ? "" : "bash: " + problem + "\n";
  co_await emu::reply_json(exchange, 200, json::value(std::move(view)));
}

// Parts come in any order: a file that comes before its path waits under a name of its own.
asio::awaitable<void> FileRoutes::upload(Exchange& exchange, const Account& account, Arguments arguments) {
  const std::string boundary = net::multipart_boundary(exchange.header("content-type"));
  if (boundary.empty()) throw invalid("The request's body is no multipart/form-data");
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  const std::string temporary = "/tmp/.upload-" + emu::random_hex(world_.engine, kTemporaryLength);
  HttpBodySource body = [&exchange](std::span<std::byte> buffer) {
    return exchange.read_some(machine::chars(buffer));
  };
  machine::FormReader form(std::move(body), boundary);
  std::string path;
  bool waits = false;
  std::optional<ApiError> failure;
  try {
    while (true) {
      const std::optional<machine::FormPart> part = co_await form.next_part();
      if (!part) break;
      if (part->name == "path") {
        const std::string given = co_await read_text(form);
        path = resolve_path(given, devbox->executions.home());
      } else if (part->name == "file") {
        HttpBodySource source = [&form](std::span<std::byte> buffer) { return form.read_some(buffer); };
        waits = path.empty();
        const std::string to = waits ? temporary : path;
        co_await machine::write_file(local->agent(), to, std::move(source));
      }
    }
    if (path.empty()) throw invalid("'path' is required");
    if (waits) co_await local->agent().move(temporary, path, world_.engine.in(kPatience));
  } catch (const machine::FormError& error) {
    failure = invalid(std::string("The form is malformed: ") + error.what());
  } catch (const ApiError& error) {
    failure = error;
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    failure = invalid(std::string("The file cannot be written: ") + error.what());
  }
  if (!failure) {
    co_await emu::reply_text(exchange, 200, "{}");
    co_return;
  }
  if (waits) co_await local->agent().remove(temporary, world_.engine.in(kPatience));
  throw *failure;
}

}  // namespace sandkey::runloop::emulator
