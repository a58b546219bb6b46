#include "sandkey/providers/e2b/emulator/envd/file_routes.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/emulator/machine/file_text.h"
#include "sandkey/emulator/machine/file_transfer.h"
#include "sandkey/emulator/machine/gzip.h"
#include "sandkey/emulator/machine/http_content.h"
#include "sandkey/events/codec.h"
#include "sandkey/providers/e2b/emulator/envd/api_error.h"
#include "sandkey/providers/e2b/emulator/envd/filesystem_service.h"
#include "sandkey/providers/e2b/emulator/envd/request_body.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

namespace sandkey::e2b_envd {
namespace {

using machine::chars;
using machine::is_lost;
using net::HttpExchange;

constexpr std::chrono::seconds kPatience{60};
constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kMaxComposeBody = std::size_t{1024} * 1024;
constexpr std::string_view kMetadataHeader = "x-metadata-";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c <= 0x7E; });
}

std::optional<std::int64_t> expiration_of(const HttpExchange& exchange) {
  const auto text = exchange.query("signature_expiration");
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size())
    throw ApiError(400, "Invalid format for parameter signature_expiration: " + *text);
  return value;
}

json::object uploaded(const std::string& path, const Metadata& metadata) {
  json::object entry;
  entry["path"] = utf8::sanitize(path);
  entry["name"] = utf8::sanitize(machine::base_name(path));
  entry["type"] = "file";
  if (metadata.empty()) return entry;
  json::object told;
  for (const auto& [name, value] : metadata) told[name] = value;
  entry["metadata"] = std::move(told);
  return entry;
}

std::string media_type(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (content_type.ends_with(' ')) content_type.remove_suffix(1);
  return lower(content_type);
}

struct ComposeRequest {
  std::vector<std::string> sources = {};
  std::string destination = {};
  std::string username = {};
};

ComposeRequest parse_compose(const std::string& body) {
  ComposeRequest request;
  try {
    const json::value value = parse_json(body, "the request body");
    if (!value.is_object()) throw ApiError(400, "invalid request body: it is not an object");
    const json::object& object = value.get_object();
    if (const json::value* list = find(object, "source_paths"); list != nullptr && list->is_array()) {
      for (const json::value& path : list->get_array()) {
        if (!path.is_string()) throw ApiError(400, "invalid request body: source_paths must hold strings");
        request.sources.emplace_back(path.get_string());
      }
    }
    request.destination = std::string(find_string(object, "destination").value_or(""));
    request.username = std::string(find_string(object, "username").value_or(""));
  } catch (const Error& error) {
    throw ApiError(400, std::string("invalid request body: ") + error.what());
  }
  if (request.sources.empty()) throw ApiError(400, "source_paths must not be empty");
  if (request.destination.empty()) throw ApiError(400, "destination is required");
  return request;
}

// The files one after the other.
HttpBodySource chain_of(AgentClient& agent, std::vector<std::string> paths) {
  struct State {
    std::vector<std::string> paths;
    std::size_t next = 0;
    std::optional<HttpStream> open = std::nullopt;
  };
  auto state = std::make_shared<State>();
  state->paths = std::move(paths);
  return [&agent, state](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    while (true) {
      if (!state->open) {
        if (state->next == state->paths.size()) co_return 0;
        state->open.emplace(co_await agent.open_file(state->paths[state->next++]));
      }
      const std::size_t size = co_await state->open->read_some(buffer);
      if (size > 0) co_return size;
      state->open.reset();
    }
  };
}

}  // namespace

Metadata metadata_of(std::span<const HttpExchange::Header> headers) {
  Metadata metadata;
  std::size_t total = 0;
  for (const auto& [header, value] : headers) {
    const std::string name = lower(header);
    if (!name.starts_with(kMetadataHeader)) continue;
    const std::string key = name.substr(kMetadataHeader.size());
    if (metadata.contains(key)) continue;
    if (key.empty()) throw ApiError(400, "invalid metadata: empty key");
    if (!is_printable(key) || !is_printable(value))
      throw ApiError(400, "invalid metadata: key and value must be printable US-ASCII");
    if (key.size() > kMaxMetadataKey) {
      throw ApiError(400, "invalid metadata: key exceeds " + std::to_string(kMaxMetadataKey) + " bytes");
    }
    total += std::string_view(kMetadataPrefix).size() + key.size() + value.size();
    metadata.emplace(key, value);
  }
  if (total > kMaxMetadata)
    throw ApiError(400, "invalid metadata: total size exceeds " + std::to_string(kMaxMetadata) + " bytes");
  return metadata;
}

FileRoutes::FileRoutes(Engine& engine, AgentClient& agent, Accounts& accounts,
                       const std::string& access_token, std::string workdir)
    : engine_(engine),
      agent_(agent),
      accounts_(accounts),
      access_token_(access_token),
      workdir_(std::move(workdir)) {}

void FileRoutes::check_allowed(const HttpExchange& exchange, FileOperation operation) const {
  const std::optional<std::int64_t> expiration = expiration_of(exchange);
  if (access_token_.empty()) return;
  const std::string_view token = exchange.header("x-access-token");
  if (!token.empty()) {
    if (equal_secrets(token, access_token_)) return;
    throw ApiError(401, "access token present in header but does not match");
  }
  const auto signature = exchange.query("signature");
  if (!signature) throw ApiError(401, "missing signature query parameter");
  const std::string expected =
      file_signature(exchange.query("path").value_or(""), operation, exchange.query("username").value_or(""),
                     access_token_, expiration);
  if (!equal_secrets(*signature, expected)) throw ApiError(401, "invalid signature");
  const auto now = std::chrono::floor<std::chrono::seconds>(engine_.system_now()).time_since_epoch().count();
  if (expiration && *expiration < now) throw ApiError(401, "signature is already expired");
}

asio::awaitable<Account> FileRoutes::require_account(std::string name) {
  std::optional<Account> account = co_await accounts_.find(name);
  if (account) co_return std::move(*account);
  throw ApiError(401, "error looking up user '" + name + "': user: unknown user " + name);
}

std::string FileRoutes::resolve(const std::string& path, const Account& account) const {
  try {
    return resolve_path(path, account, workdir_);
  } catch (const PathError& error) {
    throw ApiError(400, std::string("error resolving path: ") + error.what());
  }
}

// What is there once links are followed.
asio::awaitable<RemoteEntry> FileRoutes::look_at(std::string path) {
  try {
    co_return co_await machine::look_through(agent_, path, engine_.in(kPatience));
  } catch (const Error& error) {
    if (is_lost(error)) throw;
    if (error.code() != ErrorCode::not_found)
      throw ApiError(500, "error checking if path exists '" + path + "': " + error.what());
  }
  throw ApiError(404, "path '" + path + "' does not exist");
}

asio::awaitable<void> FileRoutes::download(HttpExchange& exchange) {
  check_allowed(exchange, FileOperation::read);
  const Account account = co_await require_account(exchange.query("username").value_or(""));
  const std::string path = resolve(exchange.query("path").value_or(""), account);
  const RemoteEntry entry = co_await look_at(path);
  if (entry.type == RemoteEntry::Type::directory) throw ApiError(400, "path '" + path + "' is a directory");
  const auto encoding = machine::choose_encoding(exchange.header("accept-encoding"));
  if (!encoding) {
    throw ApiError(
        406, "error parsing Accept-Encoding: no acceptable encoding found, supported: [identity, gzip]");
  }
  bool plain = *encoding == machine::Encoding::identity;
  for (const char* header : {"range", "if-modified-since", "if-none-match", "if-range"})
    plain = plain || !exchange.header(header).empty();
  std::optional<ApiError> failure;
  try {
    if (plain) {
      machine::SendOptions options;
      options.headers = {{"Content-Disposition", "inline"}, {"Vary", "Accept-Encoding"}};
      co_await machine::send_file(exchange, agent_, path, entry, std::move(options));
    } else {
      co_await send_compressed(exchange, path);
    }
  } catch (const Error& error) {
    if (is_lost(error) || exchange.replied()) throw;
    failure.emplace(500, "error opening file '" + path + "': " + error.what());
  }
  if (failure) throw *failure;
}

asio::awaitable<void> FileRoutes::send_compressed(HttpExchange& exchange, std::string path) {
  HttpStream file = co_await agent_.open_file(path);
  std::vector<std::byte> buffer(kPiece);
  std::size_t size = co_await file.read_some(buffer);
  // Never guessed from the content, unlike a plain download.
  const std::string type = machine::content_type_of(path, std::string_view("\0", 1));
  const std::vector<HttpExchange::Header> headers{
      {"Content-Disposition", "inline"}, {"Content-Encoding", "gzip"}, {"Vary", "Accept-Encoding"}};
  bool alive = co_await exchange.start(200, type, std::nullopt, headers);
  machine::Compressor compressor;
  while (alive) {
    const std::string piece = compressor.feed({chars(buffer).data(), size}, size == 0);
    if (!piece.empty()) alive = co_await exchange.write(piece);
    if (size == 0) break;
    if (alive) size = co_await file.read_some(buffer);
  }
  if (alive) (void)co_await exchange.finish();
}

asio::awaitable<void> FileRoutes::write(std::string path, HttpBodySource source, Metadata metadata) {
  const RemoteStat before = co_await agent_.stat(path, engine_.in(kPatience));
  if (before.type == RemoteStat::Type::directory) throw ApiError(400, "path is a directory: " + path);
  std::optional<ApiError> failure;
  try {
    co_await machine::write_file(agent_, path, std::move(source));
    co_await agent_.set_attributes(path, kMetadataPrefix, metadata, engine_.in(kPatience));
  } catch (const Error& error) {
    if (is_lost(error)) throw;
    if (error.code() == ErrorCode::quota_exceeded) {
      failure.emplace(507, "not enough disk space available");
    } else {
      failure.emplace(500, std::string("error opening file: ") + error.what());
    }
  }
  if (failure) throw *failure;
}

asio::awaitable<json::array> FileRoutes::upload_form(machine::FormReader& form,
                                                     std::optional<std::string> wanted, Account account,
                                                     Metadata metadata) {
  json::array written;
  std::vector<std::string> paths;
  while (true) {
    const std::optional<machine::FormPart> part = co_await form.next_part();
    if (!part) co_return written;
    if (part->name != "file") continue;
    const std::string path = resolve(wanted.value_or(part->filename), account);
    if (std::ranges::find(paths, path) != paths.end()) {
      throw ApiError(400, "you cannot upload multiple files to the same path '" + path +
                              "' in one upload request, only the first specified file was uploaded");
    }
    HttpBodySource source = [&form](std::span<std::byte> buffer) { return form.read_some(buffer); };
    co_await write(path, std::move(source), metadata);
    written.push_back(uploaded(path, metadata));
    paths.push_back(path);
  }
}

asio::awaitable<void> FileRoutes::upload(HttpExchange& exchange) {
  check_allowed(exchange, FileOperation::write);
  const Account account = co_await require_account(exchange.query("username").value_or(""));
  const std::vector<HttpExchange::Header> headers = exchange.headers();
  const Metadata metadata = metadata_of(headers);
  const std::optional<std::string> wanted = exchange.query("path");
  const std::string_view content_type = exchange.header("content-type");
  const std::string type = media_type(content_type);
  RequestBody body(exchange);
  json::array written;

  if (type == "application/octet-stream") {
    if (!wanted) throw ApiError(400, "path query parameter is required for raw body upload");
    const std::string path = resolve(*wanted, account);
    HttpBodySource source = [&body](std::span<std::byte> buffer) { return body.read_some(chars(buffer)); };
    co_await write(path, std::move(source), metadata);
    written.push_back(uploaded(path, metadata));
  } else if (type.starts_with("multipart/")) {
    const std::string boundary = net::multipart_boundary(content_type);
    if (boundary.empty())
      throw ApiError(500, "error parsing multipart form: no multipart boundary param in Content-Type");
    HttpBodySource source = [&body](std::span<std::byte> buffer) { return body.read_some(chars(buffer)); };
    machine::FormReader form(std::move(source), boundary);
    try {
      written = co_await upload_form(form, wanted, account, metadata);
    } catch (const machine::FormError& error) {
      throw ApiError(500, std::string("error reading form: ") + error.what());
    }
  } else {
    throw ApiError(400, "unsupported content type: " + std::string(content_type) +
                            ", expected multipart/form-data or application/octet-stream");
  }
  // envd does not say that it is JSON, so that Go's server guesses.
  std::string reply = write_json(written);
  co_await exchange.reply(200, std::move(reply), "text/plain; charset=utf-8");
}

asio::awaitable<void> FileRoutes::require_sources(std::vector<std::string> paths,
                                                  std::vector<std::string> names, std::string destination) {
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (paths[i] == destination)
      throw ApiError(400, "source path \"" + names[i] + "\" cannot be the same as destination");
    const RemoteStat info = co_await agent_.stat(paths[i], engine_.in(kPatience));
    if (info.type == RemoteStat::Type::missing) throw ApiError(404, "source file not found: " + names[i]);
    if (info.type != RemoteStat::Type::file)
      throw ApiError(400, "source path is not a regular file: " + names[i]);
  }
}

asio::awaitable<void> FileRoutes::compose(HttpExchange& exchange) {
  const ComposeRequest request = parse_compose(co_await exchange.read_body(kMaxComposeBody));
  const Account account = co_await require_account(request.username);
  const std::string destination = resolve(request.destination, account);
  std::vector<std::string> paths;
  for (const std::string& source : request.sources) paths.push_back(resolve(source, account));
  co_await require_sources(paths, request.sources, destination);

  // Another name until it is whole, so that what was there is not lost when this fails.
  const std::string temporary = destination + ".e2b-compose." + std::to_string(engine_.random()) + ".tmp";
  HttpBodySource chain = chain_of(agent_, paths);
  std::optional<ApiError> failure;
  try {
    Metadata none;
    co_await write(temporary, std::move(chain), std::move(none));
    co_await agent_.move(temporary, destination, engine_.in(kPatience));
  } catch (const ApiError& error) {
    failure = error;
  } catch (const Error& error) {
    if (is_lost(error)) throw;
    failure.emplace(500, std::string("error finalizing compose: ") + error.what());
  }
  if (failure) {
    co_await agent_.remove(temporary, engine_.in(kPatience));
    throw *failure;
  }
  for (const std::string& path : paths) co_await agent_.remove(path, engine_.in(kPatience));
  std::string reply = write_json(uploaded(destination, {}));
  co_await exchange.reply(200, std::move(reply));
}

}  // namespace sandkey::e2b_envd
