// The editor behind `edit` actions, and behind `read` actions with impl_source "oh_aci": what it says is what
// openhands-aci 0.3.2 says, down to the letter, because agents were trained on it.
//
//   FileEditor editor("/workspace");
//   const EditResult result = editor.run({.command = "str_replace", .path = "/workspace/a.c", .old_str = "x",
//   .new_str = "y"});
//   // result.status == ok or error: an `edit` observation with result.content() and
//   //                               edit_diff(result, "/workspace/a.c"); system_error: HTTP 500 with
//   result.text
#pragma once

#include "sandkey/agent/files/edit_history.h"
#include "sandkey/agent/files/file_actions.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sandkey::agent::files {

inline constexpr std::size_t kMaxEditBytes = 10UL * 1024 * 1024;  // largest file viewed or edited
inline constexpr std::size_t kMaxShownCharacters = 16'000;  // of a file or a directory, before numbering
inline constexpr std::size_t kMaxNamedLines = 1000;         // in "multiple occurrences ... in lines [...]"

// The arguments of an action; what an action did not give stays empty.
struct EditRequest {
  std::string command;  // view, create, str_replace, insert or undo_edit
  std::string path;
  std::optional<std::string> file_text{};
  std::optional<std::vector<long long>> view_range{};
  std::optional<std::string> old_str{};
  std::optional<std::string> new_str{};
  std::optional<std::variant<long long, std::string>> insert_line{};  // models send it as text, too
};

struct EditResult {
  FileStatus status = FileStatus::ok;
  std::string text;  // output, or the message
  // Both contents of a change that was made, line endings as \n. A new file has no old one.
  std::optional<std::string> old_content{};
  std::optional<std::string> new_content{};

  // The observation's: errors of the editor are ordinary observations that begin with "ERROR:".
  [[nodiscard]] std::string content() const { return status == FileStatus::ok ? text : "ERROR:\n" + text; }
};

// The `diff` of the observation; `path` as the action gave it.
[[nodiscard]] std::string edit_diff(const EditResult& result, std::string_view path);

// One action at a time. An error means that nothing was changed.
class FileEditor {
 public:
  // What a relative path was probably meant to be relative to; they are refused all the same.
  explicit FileEditor(std::string working_dir) : working_dir_(std::move(working_dir)) {}

  // A file keeps its encoding (UTF-8, with a mark or not, UTF-16 with a mark, else Latin-1), line endings,
  // owner and mode. Text is matched and shown with \n for every line ending.
  [[nodiscard]] EditResult run(const EditRequest& request);

 private:
  [[nodiscard]] EditResult create(const std::string& path, const EditRequest& request);
  [[nodiscard]] EditResult str_replace(const std::string& path, const EditRequest& request);
  [[nodiscard]] EditResult insert(const std::string& path, const EditRequest& request);
  [[nodiscard]] EditResult undo_edit(const std::string& path);

  std::string working_dir_;
  EditHistory history_;
};

}  // namespace sandkey::agent::files
