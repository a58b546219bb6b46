#include "sandkey/providers/modal/emulator/file_tools.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/machine/file_text.h"
#include "sandkey/emulator/machine/file_transfer.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
using Kind = FileRequest::Kind;

constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::minutes kTransferPatience{30};
constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kMaxWaiting = std::size_t{1024} * 1024;  // of input
constexpr unsigned kOwner = 1000;

constexpr std::array<std::pair<std::string_view, Kind>, 7> kCommands{{
    {"ReadFile", Kind::read},
    {"WriteFile", Kind::write},
    {"ListFiles", Kind::list},
    {"Stat", Kind::stat},
    {"MakeDirectory", Kind::make_folder},
    {"Remove", Kind::remove},
    {"Watch", Kind::watch},
}};

// How the program says no.
struct ToolError {
  std::string kind;
  std::string message;
};

ToolError refused(std::string kind, const std::string& path) {
  return {kind, path + ": " + kind};
}

ToolError to_tool_error(const Error& error, const std::string& path) {
  switch (error.code()) {
    case ErrorCode::not_found:
      return refused("NotFound", path);
    case ErrorCode::permission_denied:
      return refused("PermissionDenied", path);
    case ErrorCode::conflict:
      return refused("AlreadyExists", path);
    case ErrorCode::quota_exceeded:
      return refused("NoSpace", path);
    default:
      return {"Other", path + ": " + error.what()};
  }
}

std::string_view type_name(RemoteEntry::Type type) {
  switch (type) {
    case RemoteEntry::Type::directory:
      return "directory";
    case RemoteEntry::Type::symlink:
      return "symlink";
    default:
      return "file";
  }
}

std::string_view event_name(std::string_view event) {
  if (event == "create") return "Create";
  if (event == "remove") return "Remove";
  if (event == "rename") return "Rename";
  return "Modify";
}

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return made;
}

}  // namespace

std::optional<FileRequest> parse_file_request(std::string_view text) {
  json::value value;
  try {
    value = parse_json(text, "the argument");
  } catch (const Error&) {
    return std::nullopt;
  }
  if (!value.is_object() || value.get_object().size() != 1) return std::nullopt;
  const auto& [name, arguments] = *value.get_object().begin();
  const auto known =
      std::ranges::find(kCommands, std::string_view(name), &std::pair<std::string_view, Kind>::first);
  if (known == kCommands.end() || !arguments.is_object()) return std::nullopt;
  const json::object& object = arguments.get_object();
  FileRequest request;
  request.kind = known->second;
  request.path = find_string(object, "path").value_or("");
  if (!request.path.starts_with('/')) return std::nullopt;
  request.path = machine::absolute_path(request.path, "/");
  request.deep =
      find_bool(object, request.kind == Kind::make_folder ? "parents" : "recursive").value_or(false);
  if (const json::value* filter = find(object, "filter"); filter != nullptr && filter->is_array()) {
    for (const json::value& each : filter->get_array()) {
      if (each.is_string()) request.filter.insert(std::string(std::string_view(each.get_string())));
    }
  }
  const auto timeout = find_integer(object, "timeout_secs");
  if (timeout && *timeout >= 0 && *timeout < 1'000'000'000) request.timeout = std::chrono::seconds(*timeout);
  return request;
}

std::string permissions_of(RemoteEntry::Type type, unsigned mode) {
  constexpr std::string_view kLetters = "rwxrwxrwx";
  std::string text(1, type == RemoteEntry::Type::directory ? 'd'
                      : type == RemoteEntry::Type::symlink ? 'l'
                                                           : '-');
  for (std::size_t i = 0; i < kLetters.size(); ++i) text += (mode >> (8 - i) & 1U) != 0 ? kLetters[i] : '-';
  return text;
}

json::object to_json(const RemoteEntry& entry) {
  const std::string owner = entry.uid == kOwner ? "modal"
                            : entry.uid == 0    ? "root"
                                                : std::to_string(entry.uid);
  const std::string group = entry.gid == kOwner ? "modal"
                            : entry.gid == 0    ? "root"
                                                : std::to_string(entry.gid);
  json::object object;
  object["name"] = machine::base_name(entry.path);
  object["path"] = entry.path;
  object["type"] = type_name(entry.type);
  object["size"] = entry.size;
  object["mode"] = entry.mode;
  object["permissions"] = permissions_of(entry.type, entry.mode);
  object["owner"] = owner;
  object["group"] = group;
  object["modified_time"] = std::chrono::duration<double>(entry.modified).count();
  object["symlink_target"] =
      entry.type == RemoteEntry::Type::symlink ? json::value(entry.target) : json::value(nullptr);
  return object;
}

FileTool::FileTool(Engine& engine, asio::any_io_executor executor, std::shared_ptr<emu::LocalSandbox> sandbox,
                   std::string argument, std::size_t output_limit)
    : Exec(std::move(executor), output_limit),
      engine_(engine),
      sandbox_(std::move(sandbox)),
      argument_(std::move(argument)),
      output_limit_(output_limit) {}

Deadline FileTool::soon() const {
  return engine_.in(kPatience);
}

asio::awaitable<ExitStatus> FileTool::perform() {
  mark_started();
  const std::optional<FileRequest> request = parse_file_request(argument_);
  std::optional<ToolError> failure;
  if (!request) {
    failure = ToolError{"InvalidCommand", "the argument is no command: " + argument_};
  } else {
    try {
      co_await run(*request);
    } catch (const ToolError& error) {
      failure = error;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::sandbox_dead || error.code() == ErrorCode::cancelled) throw;
      failure = to_tool_error(error, request->path);
    }
  }
  done_ = true;
  if (!failure) co_return ExitStatus{};
  json::object object;
  object["error_kind"] = failure->kind;
  object["message"] = failure->message;
  put(error(), json::serialize(object));
  ExitStatus status;
  status.code = 1;
  co_return status;
}

asio::awaitable<void> FileTool::run(FileRequest request) {
  switch (request.kind) {
    case Kind::read:
      return read(std::move(request.path));
    case Kind::write:
      return write(std::move(request.path));
    case Kind::list:
      return list(std::move(request.path));
    case Kind::stat:
      return stat(std::move(request.path));
    case Kind::make_folder:
      return make_folder(std::move(request.path), request.deep);
    case Kind::remove:
      return remove(std::move(request.path), request.deep);
    case Kind::watch:
      break;
  }
  return watch(std::move(request));
}

// ---- Input

asio::awaitable<bool> FileTool::feed(std::string data) {
  while (!done_ && input_.size() > kMaxWaiting) (void)co_await changed().wait();
  if (done_) co_return false;
  input_ += data;
  changed().notify_all();
  co_return true;
}

asio::awaitable<void> FileTool::close_input() {
  input_ended_ = true;
  changed().notify_all();
  co_return;
}

asio::awaitable<std::size_t> FileTool::take_input(std::span<std::byte> buffer) {
  while (input_.empty() && !input_ended_) (void)co_await changed().wait();
  const std::size_t size = std::min(buffer.size(), input_.size());
  std::memcpy(buffer.data(), input_.data(), size);
  input_.erase(0, size);
  changed().notify_all();
  co_return size;
}

// ---- Commands

asio::awaitable<std::optional<RemoteEntry>> FileTool::look(std::string path) {
  const bool top = path == "/";
  std::string folder = top ? path : machine::parent_of(path);
  try {
    const std::vector<RemoteEntry> found = co_await agent().entries(std::move(folder), top ? 0 : 1, soon());
    for (const RemoteEntry& each : found) {
      if (top || machine::base_name(each.path) == machine::base_name(path)) {
        RemoteEntry entry = each;
        entry.path = path;
        if (top || &each != &found.front()) co_return entry;
      }
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
  co_return std::nullopt;
}

asio::awaitable<void> FileTool::read(std::string path) {
  const RemoteStat there = co_await agent().stat(path, soon());
  if (there.type == RemoteStat::Type::missing) throw refused("NotFound", path);
  if (there.type == RemoteStat::Type::directory) throw refused("IsDirectory", path);
  if (there.size > output_limit_) throw refused("FileTooLarge", path);
  HttpStream stream = co_await agent().open_file(path);
  std::vector<std::byte> buffer(kPiece);
  for (bool more = true; more;) {
    const std::size_t size = co_await stream.read_some(buffer);
    put(out(), {reinterpret_cast<const char*>(buffer.data()), size});
    more = size > 0;
  }
}

asio::awaitable<void> FileTool::write(std::string path) {
  const RemoteStat there = co_await agent().stat(path, soon());
  if (there.type == RemoteStat::Type::directory) throw refused("IsDirectory", path);
  for (std::string above = machine::parent_of(path); above != "/"; above = machine::parent_of(above)) {
    const RemoteStat folder = co_await agent().stat(above, soon());
    if (folder.type == RemoteStat::Type::directory) break;
    if (folder.type != RemoteStat::Type::missing) throw refused("NotDirectory", path);
  }
  const HttpBodySource source = [this](std::span<std::byte> buffer) { return take_input(buffer); };
  co_await agent().write_file(path, source, engine_.in(kTransferPatience));
}

asio::awaitable<void> FileTool::list(std::string path) {
  const RemoteStat there = co_await agent().stat(path, soon());
  if (there.type == RemoteStat::Type::missing) throw refused("NotFound", path);
  if (there.type != RemoteStat::Type::directory) throw refused("NotDirectory", path);
  const std::vector<RemoteEntry> found = co_await agent().entries(path, 1, soon());
  json::array array;
  for (std::size_t i = 1; i < found.size(); ++i) array.emplace_back(to_json(found[i]));
  put(out(), json::serialize(array));
}

asio::awaitable<void> FileTool::stat(std::string path) {
  const std::optional<RemoteEntry> entry = co_await look(path);
  if (!entry) throw refused("NotFound", path);
  put(out(), json::serialize(to_json(*entry)));
}

asio::awaitable<void> FileTool::make_folder(std::string path, bool parents) {
  const RemoteStat there = co_await agent().stat(path, soon());
  if (there.type == RemoteStat::Type::directory && parents) co_return;
  if (there.type != RemoteStat::Type::missing) throw refused("PathAlreadyExists", path);
  if (!parents) {
    const RemoteStat above = co_await agent().stat(machine::parent_of(path), soon());
    if (above.type == RemoteStat::Type::missing) throw refused("NotFound", path);
    if (above.type != RemoteStat::Type::directory) throw refused("NotDirectory", path);
  }
  co_await agent().make_folder(path, soon());
}

asio::awaitable<void> FileTool::remove(std::string path, bool recursive) {
  if (path == "/") throw refused("NotSupported", path);
  const std::optional<RemoteEntry> entry = co_await look(path);
  if (!entry) throw refused("NotFound", path);
  if (entry->type == RemoteEntry::Type::directory && !recursive) {
    const std::vector<RemoteEntry> below = co_await agent().entries(path, 1, soon());
    if (below.size() > 1) throw refused("DirectoryNotEmpty", path);
  }
  co_await agent().remove(path, soon());
}

asio::awaitable<void> FileTool::tell_changes(FileTool& tool, FileRequest request) {
  struct Told {
    FileTool& tool;
    ~Told() { tool.changed().notify_all(); }
  };
  const Told told{tool};
  AgentWatch watch = co_await tool.agent().watch(request.path, request.deep, tool.soon());
  for (;;) {
    const AgentWatch::Event event = co_await watch.next();
    for (const std::string& each : event.events) {
      const std::string_view name = event_name(each);
      if (!request.filter.empty() && !request.filter.contains(std::string(name)) &&
          !request.filter.contains(lower(name))) {
        continue;
      }
      json::object object;
      object["event_type"] = name;
      json::array paths;
      paths.emplace_back(event.name == "." ? request.path : machine::absolute_path(event.name, request.path));
      object["paths"] = std::move(paths);
      tool.put(tool.out(), json::serialize(object) + "\n");
    }
  }
}

// Until its input ends, or its time is over, or there is nothing more to be told.
asio::awaitable<void> FileTool::end_watching(TaskGroup& watching, Deadline deadline) {
  bool in_time = true;
  while (in_time && !input_ended_ && watching.size() > 0) in_time = co_await changed().wait_until(deadline);
  watching.cancel();
}

asio::awaitable<void> FileTool::watch(FileRequest request) {
  const RemoteStat there = co_await agent().stat(request.path, soon());
  if (there.type == RemoteStat::Type::missing) throw refused("NotFound", request.path);
  const Deadline deadline = request.timeout ? engine_.in(*request.timeout) : kNoDeadline;
  TaskGroup watching(engine_, executor());
  watching.spawn(tell_changes(*this, std::move(request)));
  co_await watching.run(end_watching(watching, deadline));
}

}  // namespace sandkey::modal::emulator
