#include "sandkey/agent/action_executor.h"

#include "sandkey/agent/files/binary_detection.h"
#include "sandkey/agent/files/file_actions.h"
#include "sandkey/agent/files/file_editor.h"
#include "sandkey/agent/python/python_worker.h"
#include "sandkey/agent/shell/shell_session.h"
#include "sandkey/base/error.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/net/http_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using net::HttpError;

// OpenHands' client always sends a timeout; this is for those who do not.
constexpr double kDefaultTimeout = 120;

std::string strip_right(std::string text) {
  text.erase(text.find_last_not_of(" \t\n\r\v\f") + 1);
  return text;
}

Observation error(std::string text) {
  return Observation(std::move(text), ErrorObservation{});
}

}  // namespace

class ActionExecutor::Impl {
 public:
  Impl(asio::any_io_executor executor, ChildReaper& reaper, ExecutorOptions options)
      : executor_(executor),
        reaper_(reaper),
        options_(std::move(options)),
        turnstile_(executor),
        editor_(options_.working_dir),
        shell_(executor, reaper, shell_options(options_.working_dir)),
        python_(executor, reaper,
                PythonOptions{.environment = options_.environment, .working_dir = options_.working_dir}) {}

  asio::awaitable<Observation> execute(Action action) {
    last_action_ = std::chrono::steady_clock::now();
    const auto pass = co_await turnstile_.enter();
    Observation result;
    if (auto* run = action.as<CmdRunAction>()) {
      result = co_await execute_run(std::move(*run), action.timeout);
    } else if (auto* cell = action.as<IPythonRunCellAction>()) {
      result = co_await execute_cell(std::move(*cell), action.timeout);
    } else if (const auto* read = action.as<FileReadAction>()) {
      result = execute_read(*read);
    } else if (const auto* write = action.as<FileWriteAction>()) {
      result = execute_write(*write);
    } else if (const auto* edit = action.as<FileEditAction>()) {
      result = execute_edit(*edit);
    } else if (action.as<BrowseURLAction>() != nullptr || action.as<BrowseInteractiveAction>() != nullptr) {
      result = error("Browser functionality is not supported or disabled.");
    } else {
      throw HttpError(
          400, "The action '" + std::string(action.type_name()) +
                   "' is not executed in the sandbox. It takes run, run_ipython, read, write and edit.");
    }
    last_action_ = std::chrono::steady_clock::now();
    co_return result;
  }

  void close() {
    shell_.close();
    python_.close();
  }

  [[nodiscard]] const ExecutorOptions& options() const noexcept { return options_; }
  [[nodiscard]] std::chrono::steady_clock::time_point last_action() const noexcept { return last_action_; }
  void warm_python() { python_.warm(); }

 private:
  [[nodiscard]] ShellOptions shell_options(const std::string& working_dir) const {
    return {.environment = options_.environment,
            .working_dir = working_dir,
            .soft_timeout = options_.soft_timeout,
            .username = options_.identity.username,
            .hostname = options_.identity.hostname};
  }

  asio::awaitable<Observation> execute_run(CmdRunAction run, std::optional<double> timeout) {
    if (!timeout && !run.blocking) timeout = kDefaultTimeout;
    const bool hidden = run.hidden;
    try {
      if (!run.is_static) co_return co_await shell_.execute(std::move(run), timeout);
      ShellSession fresh(executor_, reaper_, shell_options(run.cwd.value_or(options_.working_dir)));
      co_return co_await fresh.execute(std::move(run), timeout);
    } catch (const Error& caught) {
      // A hidden command's answer must be a `run` observation, or OpenHands' client cannot read it.
      if (hidden) co_return Observation(caught.what(), CmdOutputObservation{.hidden = true});
      co_return error(caught.what());
    }
  }

  asio::awaitable<Observation> execute_cell(IPythonRunCellAction cell, std::optional<double> timeout) {
    const std::string cwd = shell_.working_dir();
    // Named: GCC 12 destroys a braced temporary twice when it is made inside a co_await expression.
    CellRequest request;
    request.code = cell.code;
    request.cwd = cwd;
    request.timeout = std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::duration<double>(std::clamp(timeout.value_or(kDefaultTimeout), 0.0, 1e8)));
    CellResult result = co_await python_.run(std::move(request));
    if (result.error == CellError::no_python) co_return error(std::move(result.text));
    std::string content = strip_right(std::move(result.text));
    if (cell.include_extra) {
      content += "\n[Jupyter current working directory: " + cwd + "]";
      content += "\n[Jupyter Python interpreter: " + result.interpreter + "]";
    }
    IPythonRunCellObservation observation{.code = std::move(cell.code)};
    if (!result.images.empty()) observation.image_urls = std::move(result.images);
    co_return Observation(std::move(content), std::move(observation));
  }

  Observation execute_read(const FileReadAction& read) {
    if (files::is_binary_file(read.path)) return error("ERROR_BINARY_FILE");
    if (read.impl_source == FileReadSource::oh_aci) {
      std::optional<std::vector<long long>> range;
      if (read.view_range) range.emplace(read.view_range->begin(), read.view_range->end());
      const files::EditResult result =
          editor_.run({.command = "view", .path = read.path, .view_range = std::move(range)});
      refuse_system_error(result.status, result.text);
      return Observation(result.content(),
                         FileReadObservation{.path = read.path, .impl_source = FileReadSource::oh_aci});
    }
    files::FileResult result = files::read_file(
        {.path = read.path, .working_dir = shell_.working_dir(), .start = read.start, .end = read.end});
    refuse_system_error(result.status, result.text);
    if (result.status == files::FileStatus::error) return error(std::move(result.text));
    return Observation(std::move(result.text), FileReadObservation{.path = std::move(result.path)});
  }

  Observation execute_write(const FileWriteAction& write) {
    files::FileResult result = files::write_file({.path = write.path,
                                                  .working_dir = shell_.working_dir(),
                                                  .content = write.content,
                                                  .start = write.start,
                                                  .end = write.end});
    refuse_system_error(result.status, result.text);
    if (result.status == files::FileStatus::error) return error(std::move(result.text));
    return Observation("", FileWriteObservation{.path = std::move(result.path)});
  }

  Observation execute_edit(const FileEditAction& edit) {
    std::optional<std::variant<long long, std::string>> line;
    if (edit.insert_line) {
      std::visit([&line](const auto& value) { line.emplace(value); }, *edit.insert_line);
    }
    const files::EditResult result = editor_.run({.command = edit.command,
                                                  .path = edit.path,
                                                  .file_text = edit.file_text,
                                                  .old_str = edit.old_str,
                                                  .new_str = edit.new_str,
                                                  .insert_line = std::move(line)});
    refuse_system_error(result.status, result.text);
    return Observation(result.content(), FileEditObservation{.path = edit.path,
                                                             .old_content = edit.old_str,
                                                             .new_content = edit.new_str,
                                                             .impl_source = FileEditSource::oh_aci,
                                                             .diff = files::edit_diff(result, edit.path)});
  }

  static void refuse_system_error(files::FileStatus status, const std::string& text) {
    if (status == files::FileStatus::system_error) throw HttpError(500, "Internal server error: " + text);
  }

  asio::any_io_executor executor_;
  ChildReaper& reaper_;
  ExecutorOptions options_;
  Turnstile turnstile_;
  files::FileEditor editor_;
  ShellSession shell_;
  PythonWorker python_;
  std::chrono::steady_clock::time_point last_action_ = std::chrono::steady_clock::now();
};

ActionExecutor::ActionExecutor(asio::any_io_executor executor, ChildReaper& reaper, ExecutorOptions options)
    : impl_(std::make_unique<Impl>(std::move(executor), reaper, std::move(options))) {}
ActionExecutor::~ActionExecutor() = default;
asio::awaitable<Observation> ActionExecutor::execute(Action action) {
  return impl_->execute(std::move(action));
}
void ActionExecutor::warm_python() {
  impl_->warm_python();
}
const ExecutorOptions& ActionExecutor::options() const noexcept {
  return impl_->options();
}
std::chrono::steady_clock::time_point ActionExecutor::last_action() const noexcept {
  return impl_->last_action();
}
void ActionExecutor::close() {
  impl_->close();
}

}  // namespace sandkey::agent
