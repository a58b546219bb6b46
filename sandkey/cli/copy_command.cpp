// cp: files and folders between this machine and the sandbox.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/command.h"
#include "sandkey/events/codec.h"
#include "sandkey/runtime/agent_client.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
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

  void show(std::uint64_t bytes) {
    total_ = bytes;
    const auto now = std::chrono::steady_clock::now();
    if (!visible_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    shown_ = true;
    std::fprintf(stderr, "\r%s: %.1f MB\033[K", name_.c_str(), static_cast<double>(bytes) / 1e6);
  }
  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }

 private:
  std::string name_;
  bool visible_;
  bool shown_ = false;
  std::uint64_t total_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::string base_name(const std::string& path) {
  const fs::path clean = fs::path(path).lexically_normal();
  return (clean.has_filename() ? clean.filename() : clean.parent_path().filename()).string();
}

std::string joined(const std::string& folder, const std::string& name) {
  return folder.ends_with('/') ? folder + name : folder + "/" + name;
}

// As cp(1): into a folder that exists (or is written with a '/' at its end), otherwise under the new name.
asio::awaitable<void> upload(AgentClient& agent, std::string from, std::string to, ProgressLine& progress) {
  const Deadline deadline = agent.engine().in(kTransferTimeout);
  std::error_code error;
  const fs::file_status status = fs::status(from, error);
  if (!fs::exists(status)) throw Error(ErrorCode::not_found, "copying " + from + ": there is no such file");
  const RemoteStat there = co_await agent.stat(to, deadline);
  if (there.type == RemoteStat::Type::directory || to.ends_with('/')) to = joined(to, base_name(from));
  const auto show = [&progress](std::uint64_t bytes) { progress.show(bytes); };
  if (fs::is_directory(status)) {
    co_await agent.put_tree(from, to, deadline, show);
  } else {
    co_await agent.put_file(from, to, deadline, show);
  }
}

asio::awaitable<void> download(AgentClient& agent, std::string from, std::string to, ProgressLine& progress) {
  const Deadline deadline = agent.engine().in(kTransferTimeout);
  const RemoteStat there = co_await agent.stat(from, deadline);
  if (there.type == RemoteStat::Type::missing) {
    throw Error(ErrorCode::not_found, "copying :" + from + ": there is no such file in the sandbox");
  }
  std::error_code error;
  if (fs::is_directory(to, error) || to.ends_with('/')) {
    fs::create_directories(to, error);
    to = joined(to, base_name(from));
  }
  const auto show = [&progress](std::uint64_t bytes) { progress.show(bytes); };
  if (there.type == RemoteStat::Type::directory) {
    co_await agent.get_tree(from, to, deadline, show);
  } else {
    co_await agent.get_file(from, to, deadline, show);
  }
}

}  // namespace

int copy(Engine& engine, const CopyOptions& options) {
  const bool from_sandbox = options.source.starts_with(':');
  const bool to_sandbox = options.destination.starts_with(':');
  if (from_sandbox == to_sandbox) {
    throw Error(ErrorCode::invalid_argument,
                "copying: exactly one of the two paths must be in the sandbox, as in: sandkey cp file.txt "
                ":/workspace/");
  }
  const std::string inside = (from_sandbox ? options.source : options.destination).substr(1);
  if (!inside.starts_with('/')) {
    throw Error(ErrorCode::invalid_argument,
                "copying: the path in the sandbox must be absolute, as in :/workspace/file");
  }
  const auto runtime = attach_own(engine, options.target, "copying");
  ProgressLine progress(base_name(from_sandbox ? inside : options.source));
  if (from_sandbox) {
    engine.wait(download(runtime->agent(), inside, options.destination, progress));
  } else {
    engine.wait(upload(runtime->agent(), options.source, inside, progress));
  }
  if (options.json) {
    json::object document;
    document["source"] = options.source;
    document["destination"] = options.destination;
    document["bytes"] = progress.total();
    write_all(STDOUT_FILENO, write_json(document) + "\n");
  }
  return 0;
}

}  // namespace sandkey::cli
