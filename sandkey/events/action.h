// Actions: what an agent or a user wants done. Names, members, defaults and their order are OpenHands'.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/events/event_header.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sandkey {

enum class ActionConfirmationStatus { confirmed, rejected, awaiting_confirmation };
enum class ActionSecurityRisk { unknown = -1, low = 0, medium = 1, high = 2 };  // the numbers are on the wire
enum class FileReadSource { default_, oh_aci };
enum class FileEditSource { llm_based_edit, oh_aci };
enum class RecallType { workspace_context, knowledge };

[[nodiscard]] std::string_view to_string(ActionConfirmationStatus status) noexcept;
[[nodiscard]] std::string_view to_string(FileReadSource source) noexcept;
[[nodiscard]] std::string_view to_string(FileEditSource source) noexcept;
[[nodiscard]] std::string_view to_string(RecallType type) noexcept;

// A line number as it came: models send "12" as readily as 12, and who executes the action says what is wrong
// with anything else.
using LineArgument = std::variant<std::int64_t, std::string>;

// kType is the name on the wire; kRunnable says whether a runtime executes it in the sandbox.

struct CmdRunAction {
  static constexpr std::string_view kType = "run";
  static constexpr bool kRunnable = true;
  std::string command = {};  // empty: ask for more output of the command that is running
  bool is_input = false;     // `command` is input to the running program
  std::string thought = {};
  bool blocking = false;   // only the action's timeout ends the wait, not the lack of output
  bool is_static = false;  // in a fresh shell of its own
  std::optional<std::string> cwd = std::nullopt;  // used only with is_static
  bool hidden = false;                            // not meant for a model; its output is never truncated
  ActionConfirmationStatus confirmation_state = ActionConfirmationStatus::confirmed;
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  bool operator==(const CmdRunAction&) const = default;
};

struct IPythonRunCellAction {
  static constexpr std::string_view kType = "run_ipython";
  static constexpr bool kRunnable = true;
  std::string code = {};
  std::string thought = {};
  bool include_extra = true;  // add the working directory and the interpreter to the output
  ActionConfirmationStatus confirmation_state = ActionConfirmationStatus::confirmed;
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  std::string kernel_init_code = {};
  bool operator==(const IPythonRunCellAction&) const = default;
};

struct FileReadAction {
  static constexpr std::string_view kType = "read";
  static constexpr bool kRunnable = true;
  std::string path = {};
  std::int64_t start = 0;
  std::int64_t end = -1;
  std::string thought = {};
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  FileReadSource impl_source = FileReadSource::default_;
  // [first, last], used only with oh_aci. Any length is kept: the editor has its own words for a wrong one.
  std::optional<std::vector<std::int64_t>> view_range = std::nullopt;
  bool operator==(const FileReadAction&) const = default;
};

struct FileWriteAction {
  static constexpr std::string_view kType = "write";
  static constexpr bool kRunnable = true;
  std::string path = {};
  std::string content = {};
  std::int64_t start = 0;
  std::int64_t end = -1;
  std::string thought = {};
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  bool operator==(const FileWriteAction&) const = default;
};

struct FileEditAction {
  static constexpr std::string_view kType = "edit";
  static constexpr bool kRunnable = true;
  std::string path = {};
  // For oh_aci: view, create, str_replace, insert or undo_edit, and what each takes.
  std::string command = {};
  std::optional<std::string> file_text = std::nullopt;
  std::optional<std::string> old_str = std::nullopt;
  std::optional<std::string> new_str = std::nullopt;
  std::optional<LineArgument> insert_line = std::nullopt;
  // For llm_based_edit; lines count from 1, both included, start -1 appends.
  std::string content = {};
  std::int64_t start = 1;
  std::int64_t end = -1;
  std::string thought = {};
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  FileEditSource impl_source = FileEditSource::oh_aci;
  bool operator==(const FileEditAction&) const = default;
};

struct BrowseURLAction {
  static constexpr std::string_view kType = "browse";
  static constexpr bool kRunnable = true;
  std::string url = {};
  std::string thought = {};
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  bool return_axtree = false;
  bool operator==(const BrowseURLAction&) const = default;
};

struct BrowseInteractiveAction {
  static constexpr std::string_view kType = "browse_interactive";
  static constexpr bool kRunnable = true;
  std::string browser_actions = {};
  std::string thought = {};
  std::string browsergym_send_msg_to_user = {};
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  bool return_axtree = false;
  bool operator==(const BrowseInteractiveAction&) const = default;
};

struct MCPAction {
  static constexpr std::string_view kType = "call_tool_mcp";
  static constexpr bool kRunnable = true;
  std::string name = {};
  json::object arguments = {};
  std::string thought = {};
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  bool operator==(const MCPAction&) const = default;
};

struct AgentThinkAction {
  static constexpr std::string_view kType = "think";
  static constexpr bool kRunnable = false;
  std::string thought = {};
  bool operator==(const AgentThinkAction&) const = default;
};

struct AgentFinishAction {
  static constexpr std::string_view kType = "finish";
  static constexpr bool kRunnable = false;
  std::string final_thought = {};
  json::object outputs = {};
  std::string thought = {};
  bool operator==(const AgentFinishAction&) const = default;
};

struct AgentRejectAction {
  static constexpr std::string_view kType = "reject";
  static constexpr bool kRunnable = false;
  json::object outputs = {};
  std::string thought = {};
  bool operator==(const AgentRejectAction&) const = default;
};

struct AgentDelegateAction {
  static constexpr std::string_view kType = "delegate";
  static constexpr bool kRunnable = false;
  std::string agent = {};
  json::object inputs = {};
  std::string thought = {};
  bool operator==(const AgentDelegateAction&) const = default;
};

struct MessageAction {
  static constexpr std::string_view kType = "message";
  static constexpr bool kRunnable = false;
  std::string content = {};
  std::optional<std::vector<std::string>> file_urls = std::nullopt;
  std::optional<std::vector<std::string>> image_urls = std::nullopt;
  bool wait_for_response = false;
  ActionSecurityRisk security_risk = ActionSecurityRisk::unknown;
  bool operator==(const MessageAction&) const = default;
};

struct SystemMessageAction {
  static constexpr std::string_view kType = "system";
  static constexpr bool kRunnable = false;
  std::string content = {};
  std::optional<json::array> tools = std::nullopt;
  std::optional<std::string> openhands_version = std::nullopt;
  std::optional<std::string> agent_class = std::nullopt;
  bool operator==(const SystemMessageAction&) const = default;
};

struct RecallAction {
  static constexpr std::string_view kType = "recall";
  static constexpr bool kRunnable = false;
  RecallType recall_type = RecallType::workspace_context;
  std::string query = {};
  std::string thought = {};
  bool operator==(const RecallAction&) const = default;
};

struct TaskTrackingAction {
  static constexpr std::string_view kType = "task_tracking";
  static constexpr bool kRunnable = false;
  std::string command = "view";
  json::array task_list = {};  // of {id, title, status: todo|in_progress|done, notes}
  std::string thought = {};
  bool operator==(const TaskTrackingAction&) const = default;
};

// Forgets either the events listed or those in the range (both ends included), never both and never neither;
// summary and offset come together. Reading and EventStream::add_event refuse anything else.
struct CondensationAction {
  static constexpr std::string_view kType = "condensation";
  static constexpr bool kRunnable = false;
  std::optional<std::vector<std::int64_t>> forgotten_event_ids = std::nullopt;
  std::optional<std::int64_t> forgotten_events_start_id = std::nullopt;
  std::optional<std::int64_t> forgotten_events_end_id = std::nullopt;
  std::optional<std::string> summary = std::nullopt;
  std::optional<std::int64_t> summary_offset = std::nullopt;
  bool operator==(const CondensationAction&) const = default;
};

struct CondensationRequestAction {
  static constexpr std::string_view kType = "condensation_request";
  static constexpr bool kRunnable = false;
  bool operator==(const CondensationRequestAction&) const = default;
};

struct ChangeAgentStateAction {
  static constexpr std::string_view kType = "change_agent_state";
  static constexpr bool kRunnable = false;
  std::string agent_state = {};  // "running", "paused", "finished", ...: OpenHands does not check it either
  std::string thought = {};
  bool operator==(const ChangeAgentStateAction&) const = default;
};

struct NullAction {
  static constexpr std::string_view kType = "null";
  static constexpr bool kRunnable = false;
  bool operator==(const NullAction&) const = default;
};

struct LoopRecoveryAction {
  static constexpr std::string_view kType = "loop_recovery";
  static constexpr bool kRunnable = false;
  std::int64_t option = 1;  // 1: the user prompts again, 2: repeat the latest prompt, 3: stop
  bool operator==(const LoopRecoveryAction&) const = default;
};

using ActionBody =
    std::variant<NullAction, CmdRunAction, IPythonRunCellAction, FileReadAction, FileWriteAction,
                 FileEditAction, BrowseURLAction, BrowseInteractiveAction, MCPAction, AgentThinkAction,
                 AgentFinishAction, AgentRejectAction, AgentDelegateAction, MessageAction,
                 SystemMessageAction, RecallAction, TaskTrackingAction, CondensationAction,
                 CondensationRequestAction, ChangeAgentStateAction, LoopRecoveryAction>;

// Action(CmdRunAction{.command = "make"}, 600.0)
struct Action : EventHeader {
  Action() = default;
  explicit Action(ActionBody what, std::optional<double> seconds = std::nullopt)
      : body(std::move(what)), timeout(seconds) {}

  ActionBody body = NullAction{};
  std::optional<double> timeout = std::nullopt;  // in seconds

  // The body if it is a T, otherwise null.
  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return std::get_if<T>(&body);
  }
  template <class T>
  [[nodiscard]] T* as() noexcept {
    return std::get_if<T>(&body);
  }

  [[nodiscard]] bool runnable() const noexcept;
  [[nodiscard]] std::string_view type_name() const noexcept;  // "run", "read", ...
  // `confirmed` for the types that cannot be anything else.
  [[nodiscard]] ActionConfirmationStatus confirmation_state() const noexcept;
  // Sets the timeout and, where there is such a member, `blocking`.
  void set_hard_timeout(std::optional<double> seconds, bool blocking = true) noexcept;

  bool operator==(const Action&) const = default;
};

}  // namespace sandkey
