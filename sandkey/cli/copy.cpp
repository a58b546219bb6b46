// cp: files and folders between this machine and sandboxes.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/values.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/runtime/agent_client.h"

#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace sandkey::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours kTransferTimeout{12};

// One line on a terminal, rewritten as bytes pass; nothing in a pipe.
class ProgressLine {
 public:
  explicit ProgressLine(std::string name) : name_(std::move(name)), visible_(::isatty(STDERR_FILENO) != 0) {}
  ~ProgressLine() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // How many there will be, where that is known.
  void expect(std::uint64_t bytes) { expected_ = bytes; }
  void show(std::uint64_t bytes) {
    bytes_ = bytes;
    const auto now = std::chrono::steady_clock::now();
    if (!visible_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    shown_ = true;
    const double megabytes = static_cast<double>(bytes) / 1e6;
    const double rate = megabytes / std::chrono::duration<double>(now - begun_).count();
    if (expected_ > 0) {
      std::fprintf(stderr, "\r%s: %.1f of %.1f MB (%.0f %%), %.1f MB/s\033[K", name_.c_str(), megabytes,
                   static_cast<double>(expected_) / 1e6,
                   100.0 * static_cast<double>(bytes) / static_cast<double>(expected_), rate);
    } else {
      std::fprintf(stderr, "\r%s: %.1f MB, %.1f MB/s\033[K", name_.c_str(), megabytes, rate);
    }
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  const std::string name_;
  const bool visible_;
  bool shown_ = false;
  std::uint64_t bytes_ = 0;
  std::uint64_t expected_ = 0;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = begun_;
};

std::string base_name(const std::string& path) {
  const fs::path clean = fs::path(path).lexically_normal();
  return (clean.has_filename() ? clean.filename() : clean.parent_path().filename()).string();
}

std::string joined(const std::string& folder, const std::string& name) {
  return folder.ends_with('/') ? folder + name : folder + "/" + name;
}

// Those an archive leaves out.
std::size_t count_special_files(const std::string& folder) {
  std::size_t count = 0;
  std::error_code error;
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator at(folder, options, error); !error && at != fs::end(at);
       at.increment(error)) {
    const fs::file_type type = at->symlink_status(error).type();
    if (type == fs::file_type::fifo || type == fs::file_type::socket || type == fs::file_type::block ||
        type == fs::file_type::character) {
      ++count;
    }
  }
  return count;
}

// As cp(1): into a folder that exists (or is written with a '/' at its end), otherwise under the new name.
asio::awaitable<void> upload(AgentClient& agent, std::string from, std::string to, std::string name,
                             ProgressLine& progress) {
  const Deadline deadline = agent.engine().in(kTransferTimeout);
  std::error_code error;
  const fs::file_status status = fs::status(from, error);
  if (!fs::exists(status)) throw Error(ErrorCode::not_found, "copying " + from + ": there is no such file");
  const RemoteStat there = co_await agent.stat(to, deadline);
  if (there.type == RemoteStat::Type::directory || to.ends_with('/')) to = joined(to, name);
  const auto show = [&progress](std::uint64_t bytes) { progress.show(bytes); };
  if (fs::is_directory(status)) {
    co_await agent.put_tree(from, to, deadline, show);
  } else {
    if (fs::is_regular_file(status)) progress.expect(fs::file_size(from, error));
    co_await agent.put_file(from, to, deadline, show);
  }
}

asio::awaitable<void> download(AgentClient& agent, std::string from, std::string to, std::string shown,
                               ProgressLine& progress) {
  const Deadline deadline = agent.engine().in(kTransferTimeout);
  const RemoteStat there = co_await agent.stat(from, deadline);
  if (there.type == RemoteStat::Type::missing) {
    throw Error(ErrorCode::not_found, "copying " + shown + ": there is no such file in the sandbox");
  }
  std::error_code error;
  if (fs::is_directory(to, error) || to.ends_with('/')) {
    fs::create_directories(to, error);
    to = joined(to, base_name(from));
    // A link that an earlier copy brought along must not say where this one goes.
    if (fs::is_symlink(fs::symlink_status(to, error))) {
      throw Error(ErrorCode::conflict,
                  "copying " + shown + ": " + to +
                      " is a symbolic link here; remove it, or name the file it leads to");
    }
  }
  const auto show = [&progress](std::uint64_t bytes) { progress.show(bytes); };
  if (there.type == RemoteStat::Type::directory) {
    co_await agent.get_tree(from, to, deadline, show);
  } else {
    if (there.type == RemoteStat::Type::file) progress.expect(there.size);
    co_await agent.get_file(from, to, deadline, show);
  }
}

// A folder of ours in between, for copies from one sandbox to another.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((fs::temp_directory_path() / "sandkey-cp-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw system_error("making a temporary folder " + path_, errno);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

Sandbox attach(Context& context, const AgentOptions& agent, const std::string& sid) {
  if (!sid.empty()) {
    if (agent.address) {
      throw Error(ErrorCode::invalid_argument,
                  "copying: with --agent a path in the sandbox is written :/path, without a session");
    }
    return attach_to_session(context, sid, "copying");
  }
  if (!has_agent(context, agent)) {
    throw Error(ErrorCode::invalid_argument,
                "copying: :/path is for --agent; write SID:/path, with a session that 'sandkey ls' shows");
  }
  return attach_to_agent(context, agent, "copying");
}

}  // namespace

int copy(Context& context, const AgentOptions& agent, const std::string& source,
         const std::string& destination) {
  const Location from = parse_location(source);
  const Location to = parse_location(destination);
  if (!from.sid && !to.sid) {
    throw Error(ErrorCode::invalid_argument,
                "copying: one of the two paths must be in a sandbox, as in: sandkey cp file.txt "
                "SID:/workspace/");
  }
  const std::string name = base_name(from.path);
  ProgressLine progress(name);
  std::optional<TemporaryFolder> between;
  if (from.sid && to.sid) between.emplace();
  const std::string here = between ? joined(between->path(), "copy") : from.sid ? to.path : from.path;
  if (from.sid) {
    const Sandbox sandbox = attach(context, agent, *from.sid);
    context.wait(download(sandbox.runtime->agent(), from.path, here, source, progress));
  }
  if (to.sid) {
    const Sandbox sandbox = attach(context, agent, *to.sid);
    context.wait(upload(sandbox.runtime->agent(), here, to.path, name, progress));
    const std::size_t skipped = fs::is_directory(here) ? count_special_files(here) : 0;
    if (skipped > 0)
      context.warn("skipped " + std::to_string(skipped) +
                   (skipped == 1 ? " special file" : " special files"));
  }
  if (context.json()) {
    json::object document;
    document["source"] = source;
    document["destination"] = destination;
    document["bytes"] = progress.bytes();
    context.print_json(document);
  }
  return 0;
}

}  // namespace sandkey::cli
