// Observations: what came of an action. Names, members, defaults and their order are OpenHands'.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/events/action.h"
#include "sandkey/events/event_header.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sandkey {

// Where a command ended. `prefix` and `suffix` are notes of the runtime around the output, kept apart from it
// so that no program can forge them.
struct CmdOutputMetadata {
  std::int64_t exit_code = -1;  // -1: still running, or not known
  std::int64_t pid = -1;        // of the last background job
  std::optional<std::string> username = std::nullopt;
  std::optional<std::string> hostname = std::nullopt;
  std::optional<std::string> working_dir = std::nullopt;
  std::optional<std::string> py_interpreter_path = std::nullopt;
  std::string prefix = {};
  std::string suffix = {};
  bool operator==(const CmdOutputMetadata&) const = default;
};

struct CmdOutputObservation {
  static constexpr std::string_view kType = "run";
  std::string command = {};
  CmdOutputMetadata metadata = {};
  bool hidden = false;
  bool operator==(const CmdOutputObservation&) const = default;
};

struct IPythonRunCellObservation {
  static constexpr std::string_view kType = "run_ipython";
  std::string code = {};
  std::optional<std::vector<std::string>> image_urls = std::nullopt;  // data:image/png;base64,...
  bool operator==(const IPythonRunCellObservation&) const = default;
};

struct FileReadObservation {
  static constexpr std::string_view kType = "read";
  std::string path = {};
  FileReadSource impl_source = FileReadSource::default_;
  bool operator==(const FileReadObservation&) const = default;
};

struct FileWriteObservation {
  static constexpr std::string_view kType = "write";
  std::string path = {};
  bool operator==(const FileWriteObservation&) const = default;
};

struct FileEditObservation {
  static constexpr std::string_view kType = "edit";
  std::string path = {};
  bool prev_exist = false;
  std::optional<std::string> old_content = std::nullopt;
  std::optional<std::string> new_content = std::nullopt;
  FileEditSource impl_source = FileEditSource::llm_based_edit;
  std::optional<std::string> diff = std::nullopt;
  std::optional<std::string> diff_cache = std::nullopt;  // "_diff_cache" on the wire
  bool operator==(const FileEditObservation&) const = default;
};

struct ErrorObservation {
  static constexpr std::string_view kType = "error";
  std::string error_id = {};
  bool operator==(const ErrorObservation&) const = default;
};

// The answer to an action that is not executed; never published.
struct NullObservation {
  static constexpr std::string_view kType = "null";
  bool operator==(const NullObservation&) const = default;
};

struct BrowserOutputObservation {
  static constexpr std::string_view kType = "browse";
  std::string url = {};
  std::string trigger_by_action = {};  // "browse" or "browse_interactive"
  std::string screenshot = {};
  std::optional<std::string> screenshot_path = std::nullopt;
  std::string set_of_marks = {};
  bool error = false;
  std::vector<std::string> goal_image_urls = {};
  std::vector<std::string> open_pages_urls = {};
  std::int64_t active_page_index = -1;
  json::object dom_object = {};
  json::object axtree_object = {};
  json::object extra_element_properties = {};
  std::string last_browser_action = {};
  std::string last_browser_action_error = {};
  std::string focused_element_bid = {};
  bool filter_visible_only = false;
  bool operator==(const BrowserOutputObservation&) const = default;
};

struct FileDownloadObservation {
  static constexpr std::string_view kType = "download";
  std::string file_path = {};
  bool operator==(const FileDownloadObservation&) const = default;
};

struct MCPObservation {
  static constexpr std::string_view kType = "mcp";
  std::string name = {};
  json::object arguments = {};
  bool operator==(const MCPObservation&) const = default;
};

struct AgentThinkObservation {
  static constexpr std::string_view kType = "think";
  bool operator==(const AgentThinkObservation&) const = default;
};

struct AgentStateChangedObservation {
  static constexpr std::string_view kType = "agent_state_changed";
  std::string agent_state = {};
  std::string reason = {};
  bool operator==(const AgentStateChangedObservation&) const = default;
};

struct UserRejectObservation {
  static constexpr std::string_view kType = "user_rejected";
  bool operator==(const UserRejectObservation&) const = default;
};

struct MicroagentKnowledge {
  std::string name = {};
  std::string trigger = {};
  std::string content = {};
  bool operator==(const MicroagentKnowledge&) const = default;
};

struct RecallObservation {
  static constexpr std::string_view kType = "recall";
  RecallType recall_type = RecallType::workspace_context;
  std::string repo_name = {};
  std::string repo_directory = {};
  std::string repo_branch = {};
  std::string repo_instructions = {};
  json::object runtime_hosts = {};  // host: port
  std::string additional_agent_instructions = {};
  std::string date = {};
  json::object custom_secrets_descriptions = {};
  std::string conversation_instructions = {};
  std::string working_dir = {};
  std::vector<MicroagentKnowledge> microagent_knowledge = {};
  bool operator==(const RecallObservation&) const = default;
};

struct TaskTrackingObservation {
  static constexpr std::string_view kType = "task_tracking";
  std::string command = {};
  json::array task_list = {};
  bool operator==(const TaskTrackingObservation&) const = default;
};

struct AgentCondensationObservation {
  static constexpr std::string_view kType = "condense";
  bool operator==(const AgentCondensationObservation&) const = default;
};

struct AgentDelegateObservation {
  static constexpr std::string_view kType = "delegate";
  json::object outputs = {};
  bool operator==(const AgentDelegateObservation&) const = default;
};

struct SuccessObservation {
  static constexpr std::string_view kType = "success";
  bool operator==(const SuccessObservation&) const = default;
};

struct LoopDetectionObservation {
  static constexpr std::string_view kType = "loop_detection";
  bool operator==(const LoopDetectionObservation&) const = default;
};

using ObservationBody =
    std::variant<NullObservation, CmdOutputObservation, IPythonRunCellObservation, FileReadObservation,
                 FileWriteObservation, FileEditObservation, ErrorObservation, BrowserOutputObservation,
                 FileDownloadObservation, MCPObservation, AgentThinkObservation, AgentStateChangedObservation,
                 UserRejectObservation, RecallObservation, TaskTrackingObservation,
                 AgentCondensationObservation, AgentDelegateObservation, SuccessObservation,
                 LoopDetectionObservation>;

// Observation("hello\n", CmdOutputObservation{.command = "echo hello"})
struct Observation : EventHeader {
  Observation() = default;
  // The output of a command that is not hidden is truncated here, as OpenHands does.
  explicit Observation(std::string text, ObservationBody what = NullObservation{});

  std::string content = {};
  ObservationBody body = NullObservation{};

  // The body if it is a T, otherwise null.
  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return std::get_if<T>(&body);
  }
  template <class T>
  [[nodiscard]] T* as() noexcept {
    return std::get_if<T>(&body);
  }

  [[nodiscard]] std::string_view type_name() const noexcept;  // "run", "error", ...

  bool operator==(const Observation&) const = default;
};

// Longest output of a command, in code points; longer ones lose their middle.
inline constexpr std::size_t kMaxContentLength = 30'000;

// The first and last 15 000 code points with a note between them if there are more than kMaxContentLength.
// Valid UTF-8 whatever came in. Doing it twice changes nothing.
[[nodiscard]] std::string truncate_content(std::string_view text);

// What a model is shown: for a command, the output between the runtime's notes, then working directory,
// interpreter and exit code on lines of their own, each where known; for everything else the content.
[[nodiscard]] std::string to_text(const Observation& observation);

}  // namespace sandkey
