#include "sandkey/providers/daytona/emulator/toolbox/files.h"

#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/emulator/machine/file_text.h"
#include "sandkey/emulator/machine/file_transfer.h"
#include "sandkey/emulator/machine/http_content.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/multipart.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/file_info.h"

#include <charconv>
#include <map>
#include <optional>
#include <span>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

using machine::FormError;
using machine::FormPart;
using machine::FormReader;
using net::HttpExchange;

constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kMaxPath = std::size_t{64} * 1024;
constexpr std::size_t kMaxReplaced = std::size_t{64} * 1024 * 1024;
constexpr unsigned kMaxDepth = 1000;

// The daemon's answer to what the agent says of a file.
ToolboxError file_error(const Error& error, const std::string& path) {
  switch (error.code()) {
    case ErrorCode::not_found:
      return {404, "FILE_NOT_FOUND", "file not found: " + path};
    case ErrorCode::permission_denied:
      return {403, "FILE_ACCESS_DENIED", "permission denied: " + path};
    default:
      return bad_request(error.what());
  }
}

HttpBodySource body_of(HttpExchange& exchange) {
  return [&exchange](std::span<std::byte> buffer) { return exchange.read_some(machine::chars(buffer)); };
}

unsigned depth_of(const HttpExchange& exchange) {
  const auto text = exchange.query("depth");
  if (!text || text->empty()) return 1;
  unsigned depth = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), depth);
  if (error != std::errc() || end != text->data() + text->size() || depth == 0)
    throw bad_request("depth must be a number of at least 1");
  return std::min(depth, kMaxDepth);
}

// Not to be taken for an option.
std::string as_operand(const std::string& path) {
  return path.starts_with('-') ? "./" + path : path;
}

bool is_json_safe(std::string_view name) {
  return utf8::is_valid(name);
}

FormReader form_of(HttpExchange& exchange) {
  const std::string boundary = net::multipart_boundary(exchange.header("content-type"));
  if (boundary.empty()) throw bad_request("request Content-Type isn't multipart/form-data");
  return FormReader(body_of(exchange), boundary);
}

asio::awaitable<std::string> read_all(FormReader& form, std::size_t limit) {
  std::string text;
  std::vector<std::byte> buffer(kPiece);
  while (true) {
    const std::size_t size = co_await form.read_some(buffer);
    if (size == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), size);
    if (text.size() > limit) throw FormError("a path is too long");
  }
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kBlank) - begin + 1));
}

}  // namespace

// ---- Looking

asio::awaitable<RemoteEntry> Files::look_at(std::string path, std::string shown) {
  try {
    co_return co_await machine::look_through(view_.agent(), path, view_.soon());
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    throw file_error(error, shown);
  }
}

asio::awaitable<void> Files::list(HttpExchange& exchange) {
  const std::string shown = exchange.query("path").value_or("");
  const std::string path = view_.resolve(shown);
  const unsigned depth = depth_of(exchange);
  const RemoteEntry folder = co_await look_at(path, shown);
  if (folder.type != RemoteEntry::Type::directory) throw bad_request("not a directory: " + shown);
  std::vector<RemoteEntry> entries;
  try {
    entries = co_await view_.agent().entries(path, depth, view_.soon());
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    throw file_error(error, shown);
  }
  json::array list;
  for (std::size_t i = 1; i < entries.size(); ++i) {
    RemoteEntry& entry = entries[i];
    const std::string its_path = entry.path;
    if (entry.type == RemoteEntry::Type::symlink && entry.target_type)
      entry = co_await look_at(its_path, its_path);
    list.push_back(file_info(its_path, entry));
  }
  co_await reply_json(exchange, std::move(list));
}

asio::awaitable<void> Files::info(HttpExchange& exchange) {
  const std::string shown = required_query(exchange, "path");
  const std::string path = view_.resolve(shown);
  const RemoteEntry entry = co_await look_at(path, shown);
  json::object answer = file_info(path, entry);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<Outcome> Files::run_tool(std::vector<std::string> argv) {
  Command command;
  command.argv = std::move(argv);
  command.merged = false;
  Outcome outcome = co_await view_.run(std::move(command));
  co_return outcome;
}

asio::awaitable<void> Files::search(HttpExchange& exchange) {
  const std::string path = required_query(exchange, "path");
  const std::string pattern = required_query(exchange, "pattern");
  const std::string absolute = view_.resolve(path);
  (void)co_await look_at(absolute, path);
  std::vector<std::string> tool{"/usr/bin/find", as_operand(path), "-name", pattern, "-print0"};
  const Outcome found = co_await run_tool(std::move(tool));
  json::object answer;
  answer["files"] = parse_paths(found.out);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Files::find(HttpExchange& exchange) {
  const std::string path = required_query(exchange, "path");
  const std::string pattern = required_query(exchange, "pattern");
  const std::string absolute = view_.resolve(path);
  (void)co_await look_at(absolute, path);
  std::vector<std::string> tool{"/bin/grep", "-rnHIF", "--null", "-e", pattern, "--", path};
  const Outcome found = co_await run_tool(std::move(tool));
  json::array matches = parse_matches(found.out);
  co_await reply_json(exchange, std::move(matches));
}

// ---- Changing

asio::awaitable<void> Files::make_folder(HttpExchange& exchange) {
  const std::string path = required_query(exchange, "path");
  const std::string mode_text = exchange.query("mode").value_or("");
  const std::optional<unsigned> mode = parse_mode(mode_text.empty() ? "0755" : mode_text);
  if (!mode) throw bad_request("invalid mode format");
  std::vector<std::string> tool{"/bin/mkdir",       "-p", "-m", mode_text.empty() ? "0755" : mode_text, "--",
                                view_.resolve(path)};
  const Outcome made = co_await run_tool(std::move(tool));
  if (made.result.exit_code != 0) throw bad_request(trimmed(made.err));
  co_await reply_empty(exchange, 201);
}

asio::awaitable<void> Files::remove(HttpExchange& exchange) {
  const std::string shown = required_query(exchange, "path");
  const std::string path = view_.resolve(shown);
  const bool recursive = exchange.query("recursive").value_or("") == "true";
  std::optional<ToolboxError> failure;
  try {
    const std::vector<RemoteEntry> entries = co_await view_.agent().entries(path, 0, view_.soon());
    if (entries.front().type == RemoteEntry::Type::directory && !recursive)
      throw bad_request("cannot delete directory without recursive flag");
    co_await view_.agent().remove(path, view_.soon());
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    failure = file_error(error, shown);
  }
  if (failure) throw *failure;
  co_await reply_empty(exchange, 204);
}

asio::awaitable<void> Files::move(HttpExchange& exchange) {
  const std::string source = required_query(exchange, "source");
  const std::string destination = required_query(exchange, "destination");
  const std::string from = view_.resolve(source);
  const std::string to = view_.resolve(destination);
  std::optional<ToolboxError> failure;
  try {
    (void)co_await view_.agent().entries(from, 0, view_.soon());
    const std::string folder = machine::parent_of(to);
    const RemoteStat parent = co_await view_.agent().stat(folder, view_.soon());
    if (parent.type != RemoteStat::Type::directory)
      throw ToolboxError(404, "FILE_NOT_FOUND", "destination directory not found: " + folder);
    const RemoteStat there = co_await view_.agent().stat(to, view_.soon());
    if (there.type != RemoteStat::Type::missing) throw conflict("destination already exists: " + destination);
    co_await view_.agent().move(from, to, view_.soon());
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    failure = file_error(error, source);
  }
  if (failure) throw *failure;
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Files::set_permissions(HttpExchange& exchange) {
  const std::string shown = required_query(exchange, "path");
  const std::string path = view_.resolve(shown);
  const std::string mode = exchange.query("mode").value_or("");
  const std::string owner = exchange.query("owner").value_or("");
  const std::string group = exchange.query("group").value_or("");
  if (!mode.empty() && !parse_mode(mode)) throw bad_request("invalid mode format");
  (void)co_await look_at(path, shown);
  if (!mode.empty()) {
    std::vector<std::string> tool{"/bin/chmod", mode, "--", path};
    const Outcome changed = co_await run_tool(std::move(tool));
    if (changed.result.exit_code != 0) throw bad_request(trimmed(changed.err));
  }
  if (!owner.empty() || !group.empty()) {
    const std::string both = group.empty() ? owner : owner + ":" + group;
    std::vector<std::string> tool{"/bin/chown", both, "--", path};
    const Outcome changed = co_await run_tool(std::move(tool));
    if (changed.result.exit_code != 0) throw bad_request(trimmed(changed.err));
  }
  co_await reply_empty(exchange, 200);
}

asio::awaitable<json::object> Files::replace_in(std::string file, std::string pattern, std::string value) {
  json::object result;
  result["file"] = file;
  const std::string path = view_.resolve(file);
  try {
    HttpStream stream = co_await view_.agent().open_file(path);
    const std::string text = co_await stream.read_all(kMaxReplaced);
    const auto rest = std::make_shared<std::string>(replaced(text, pattern, value));
    HttpBodySource source = [rest](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
      const std::size_t size = rest->copy(machine::chars(buffer).data(), buffer.size());
      rest->erase(0, size);
      co_return size;
    };
    (void)co_await write(path, std::move(source));
    result["success"] = true;
  } catch (const ToolboxError& error) {
    result["success"] = false;
    result["error"] = error.what();
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    result["success"] = false;
    result["error"] = file_error(error, file).what();
  }
  co_return result;
}

asio::awaitable<void> Files::replace(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::vector<std::string> files = body.texts("files");
  const std::string pattern = body.required("pattern");
  const std::optional<std::string> value = body.text("newValue");
  if (files.empty()) throw invalid_body("'files' is required");
  if (!value) throw invalid_body("'newValue' is required");
  json::array results;
  for (const std::string& file : files) {
    json::object result = co_await replace_in(file, pattern, *value);
    results.push_back(std::move(result));
  }
  co_await reply_json(exchange, std::move(results));
}

// ---- Out

asio::awaitable<void> Files::download(HttpExchange& exchange) {
  const std::string shown = required_query(exchange, "path");
  const std::string path = view_.resolve(shown);
  const RemoteEntry entry = co_await look_at(path, shown);
  if (entry.type != RemoteEntry::Type::file) throw bad_request("path must be a file: " + shown);
  const std::string disposition = "attachment; filename=" + machine::base_name(path);
  machine::SendOptions options;
  options.content_type = "application/octet-stream";
  options.headers = {{"Content-Description", "File Transfer"},
                     {"Content-Disposition", disposition},
                     {"Content-Transfer-Encoding", "binary"}};
  std::optional<ToolboxError> failure;
  try {
    co_await machine::send_file(exchange, view_.agent(), path, entry, std::move(options));
  } catch (const Error& error) {
    if (machine::is_lost(error) || exchange.replied()) throw;
    failure = file_error(error, shown);
  }
  if (failure) throw *failure;
}

asio::awaitable<bool> Files::send_part(HttpExchange& exchange, std::string name) {
  const std::string path = view_.resolve(name);
  const std::string begin = std::string("--") + kBoundary + "\r\n";
  std::optional<ToolboxError> failure;
  std::optional<HttpStream> file;
  std::uint64_t left = 0;
  try {
    const RemoteEntry entry = co_await machine::look_through(view_.agent(), path, view_.soon());
    if (entry.type != RemoteEntry::Type::file)
      throw ToolboxError(400, "INVALID_FILE_PATH", "path must be a file: " + name);
    left = entry.size;
    HttpStream opened = co_await view_.agent().open_file(path, 0, left);
    file.emplace(std::move(opened));
  } catch (const ToolboxError& error) {
    failure = error;
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    const bool known = error.code() == ErrorCode::not_found || error.code() == ErrorCode::permission_denied;
    failure = known ? file_error(error, name) : ToolboxError(500, "FILE_READ_FAILED", error.what());
  }
  if (failure) {
    const json::object error =
        error_object(*failure, exchange.method(), exchange.path(), view_.engine().system_now());
    const std::string text =
        begin + part_head("error", name, "application/json") + write_json(error) + "\r\n";
    co_return co_await exchange.write(std::span<const char>(text));
  }
  const std::string type = machine::content_type_of(name, std::string_view("\0", 1));
  const std::string length = "Content-Length: " + std::to_string(left) + "\r\n";
  const std::string head = begin + part_head("file", name, type, length);
  bool alive = co_await exchange.write(std::span<const char>(head));
  std::vector<std::byte> buffer(kPiece);
  while (alive && left > 0) {
    const std::size_t size = co_await file->read_some(buffer);
    if (size == 0) {
      exchange.abort();  // it became shorter meanwhile: a stream without its end is the only honest answer
      co_return false;
    }
    left -= size;
    alive = co_await exchange.write(machine::chars(std::span(buffer).first(size)));
  }
  const std::string end = "\r\n";
  if (alive) alive = co_await exchange.write(std::span<const char>(end));
  co_return alive;
}

asio::awaitable<void> Files::bulk_download(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::vector<std::string> paths = body.texts("paths");
  if (paths.empty()) throw invalid_body("'paths' must not be empty");
  const std::string type = std::string("multipart/form-data; boundary=") + kBoundary;
  bool alive = co_await exchange.start(200, type);
  for (const std::string& path : paths) {
    if (!alive) co_return;
    alive = co_await send_part(exchange, path);
  }
  const std::string end = std::string("--") + kBoundary + "--\r\n";
  if (alive) alive = co_await exchange.write(std::span<const char>(end));
  if (alive) (void)co_await exchange.finish();
}

// ---- In

asio::awaitable<std::uint64_t> Files::write(std::string path, HttpBodySource source) {
  const auto count = std::make_shared<std::uint64_t>(0);
  HttpBodySource counted = [source = std::move(source),
                            count](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const std::size_t size = co_await source(buffer);
    *count += size;
    co_return size;
  };
  const RemoteStat before = co_await view_.agent().stat(path, view_.soon());
  if (before.type == RemoteStat::Type::directory) throw bad_request("open " + path + ": is a directory");
  try {
    co_await machine::write_file(view_.agent(), path, std::move(counted));
  } catch (const Error& error) {
    if (machine::is_lost(error)) throw;
    throw file_error(error, path);
  }
  co_return *count;
}

asio::awaitable<void> Files::write_form_file(HttpExchange& exchange, std::string path) {
  FormReader form = form_of(exchange);
  std::optional<ToolboxError> failure;
  bool written = false;
  try {
    while (!written) {
      const std::optional<FormPart> part = co_await form.next_part();
      if (!part) break;
      if (part->name != "file") continue;
      HttpBodySource source = [&form](std::span<std::byte> buffer) { return form.read_some(buffer); };
      (void)co_await write(path, std::move(source));
      written = true;
    }
  } catch (const FormError& error) {
    failure = bad_request(error.what());
  }
  if (failure) throw *failure;
  if (!written) throw bad_request("no such file: the form has no field 'file'");
}

asio::awaitable<void> Files::upload(HttpExchange& exchange) {
  const std::string path = view_.resolve(required_query(exchange, "path"));
  co_await write_form_file(exchange, path);
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Files::upload_v2(HttpExchange& exchange) {
  const std::string shown = required_query(exchange, "path");
  const std::string path = view_.resolve(shown);
  if (!net::multipart_boundary(exchange.header("content-type")).empty()) {
    co_await write_form_file(exchange, path);
  } else {
    HttpBodySource source = body_of(exchange);
    (void)co_await write(path, std::move(source));
  }
  json::object answer;
  answer["name"] = machine::base_name(path);
  answer["path"] = path;
  answer["type"] = "file";
  co_await reply_json(exchange, std::move(answer));
}

// Goes on after a file that cannot be written, and tells of each.
asio::awaitable<void> Files::take_parts(FormReader& form, json::array& errors, json::array& files) {
  std::map<std::string, std::string> destinations;
  while (true) {
    const std::optional<FormPart> part = co_await form.next_part();
    if (!part) co_return;
    const UploadField field = upload_field(part->name);
    if (field.kind == UploadField::Kind::path) {
      const std::string text = trimmed(co_await read_all(form, kMaxPath));
      if (text.empty() || !is_json_safe(text)) {
        errors.emplace_back("path[" + field.index + "]: empty path");
      } else {
        destinations[field.index] = text;
      }
      continue;
    }
    if (field.kind != UploadField::Kind::file) continue;
    const auto destination = destinations.find(field.index);
    if (destination == destinations.end()) {
      errors.emplace_back("file[" + field.index + "]: missing .path metadata");
      continue;
    }
    HttpBodySource source = [&form](std::span<std::byte> buffer) { return form.read_some(buffer); };
    try {
      std::string path = view_.resolve(destination->second);
      const std::uint64_t size = co_await write(std::move(path), std::move(source));
      json::object file;
      file["path"] = destination->second;
      file["bytes"] = size;
      files.push_back(std::move(file));
    } catch (const ToolboxError& error) {
      errors.emplace_back(destination->second + ": " + error.what());
    }
  }
}

asio::awaitable<void> Files::bulk_upload(HttpExchange& exchange) {
  json::array errors;
  json::array files;
  if (net::multipart_boundary(exchange.header("content-type")).empty()) {
    errors.emplace_back("invalid multipart form");
  } else {
    FormReader form = form_of(exchange);
    try {
      co_await take_parts(form, errors, files);
    } catch (const FormError& error) {
      errors.emplace_back(std::string("reading part: ") + error.what());
    }
  }
  json::object answer;
  const int status = errors.empty() ? 200 : 400;
  if (!errors.empty()) answer["errors"] = std::move(errors);
  answer["files"] = std::move(files);
  co_await reply_json(exchange, std::move(answer), status);
}

}  // namespace sandkey::daytona_toolbox
