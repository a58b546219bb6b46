// The members of every action and observation under their wire names and in wire order. Reading, writing and
// masking all walk these lists, so a member added here is known to all three. Internal to this folder.
#pragma once

#include "sandkey/events/event.h"

#include <array>
#include <concepts>
#include <type_traits>

namespace sandkey::events_detail {

template <class Self, class T>
concept Is = std::same_as<std::remove_const_t<Self>, T>;

enum class Need { optional, required };
inline constexpr Need kRequired = Need::required;

// Every enumerator that is written by name.
template <class Enum>
inline constexpr std::array<Enum, 0> kAll = {};
template <>
inline constexpr std::array kAll<EventSource> = {EventSource::agent, EventSource::user,
                                                 EventSource::environment};
template <>
inline constexpr std::array kAll<ActionConfirmationStatus> = {
    ActionConfirmationStatus::confirmed, ActionConfirmationStatus::rejected,
    ActionConfirmationStatus::awaiting_confirmation};
template <>
inline constexpr std::array kAll<FileReadSource> = {FileReadSource::default_, FileReadSource::oh_aci};
template <>
inline constexpr std::array kAll<FileEditSource> = {FileEditSource::llm_based_edit, FileEditSource::oh_aci};
template <>
inline constexpr std::array kAll<RecallType> = {RecallType::workspace_context, RecallType::knowledge};

// Actions

void for_each_field(Is<NullAction> auto&, auto&) {}
void for_each_field(Is<CondensationRequestAction> auto&, auto&) {}

void for_each_field(Is<CmdRunAction> auto& it, auto& field) {
  field("command", it.command, kRequired);
  field("is_input", it.is_input);
  field("thought", it.thought);
  field("blocking", it.blocking);
  field("is_static", it.is_static);
  field("cwd", it.cwd);
  field("hidden", it.hidden);
  field("confirmation_state", it.confirmation_state);
  field("security_risk", it.security_risk);
}

void for_each_field(Is<IPythonRunCellAction> auto& it, auto& field) {
  field("code", it.code, kRequired);
  field("thought", it.thought);
  field("include_extra", it.include_extra);
  field("confirmation_state", it.confirmation_state);
  field("security_risk", it.security_risk);
  field("kernel_init_code", it.kernel_init_code);
}

void for_each_field(Is<FileReadAction> auto& it, auto& field) {
  field("path", it.path, kRequired);
  field("start", it.start);
  field("end", it.end);
  field("thought", it.thought);
  field("security_risk", it.security_risk);
  field("impl_source", it.impl_source);
  field("view_range", it.view_range);
}

void for_each_field(Is<FileWriteAction> auto& it, auto& field) {
  field("path", it.path, kRequired);
  field("content", it.content, kRequired);
  field("start", it.start);
  field("end", it.end);
  field("thought", it.thought);
  field("security_risk", it.security_risk);
}

void for_each_field(Is<FileEditAction> auto& it, auto& field) {
  field("path", it.path, kRequired);
  field("command", it.command);
  field("file_text", it.file_text);
  field("old_str", it.old_str);
  field("new_str", it.new_str);
  field("insert_line", it.insert_line);
  field("content", it.content);
  field("start", it.start);
  field("end", it.end);
  field("thought", it.thought);
  field("security_risk", it.security_risk);
  field("impl_source", it.impl_source);
}

void for_each_field(Is<BrowseURLAction> auto& it, auto& field) {
  field("url", it.url, kRequired);
  field("thought", it.thought);
  field("security_risk", it.security_risk);
  field("return_axtree", it.return_axtree);
}

void for_each_field(Is<BrowseInteractiveAction> auto& it, auto& field) {
  field("browser_actions", it.browser_actions, kRequired);
  field("thought", it.thought);
  field("browsergym_send_msg_to_user", it.browsergym_send_msg_to_user);
  field("security_risk", it.security_risk);
  field("return_axtree", it.return_axtree);
}

void for_each_field(Is<MCPAction> auto& it, auto& field) {
  field("name", it.name, kRequired);
  field("arguments", it.arguments);
  field("thought", it.thought);
  field("security_risk", it.security_risk);
}

void for_each_field(Is<AgentThinkAction> auto& it, auto& field) {
  field("thought", it.thought);
}

void for_each_field(Is<AgentFinishAction> auto& it, auto& field) {
  field("final_thought", it.final_thought);
  field("outputs", it.outputs);
  field("thought", it.thought);
}

void for_each_field(Is<AgentRejectAction> auto& it, auto& field) {
  field("outputs", it.outputs);
  field("thought", it.thought);
}

void for_each_field(Is<AgentDelegateAction> auto& it, auto& field) {
  field("agent", it.agent, kRequired);
  field("inputs", it.inputs, kRequired);
  field("thought", it.thought);
}

void for_each_field(Is<MessageAction> auto& it, auto& field) {
  field("content", it.content, kRequired);
  field("file_urls", it.file_urls);
  field("image_urls", it.image_urls);
  field("wait_for_response", it.wait_for_response);
  field("security_risk", it.security_risk);
}

void for_each_field(Is<SystemMessageAction> auto& it, auto& field) {
  field("content", it.content, kRequired);
  field("tools", it.tools);
  field("openhands_version", it.openhands_version);
  field("agent_class", it.agent_class);
}

void for_each_field(Is<RecallAction> auto& it, auto& field) {
  field("recall_type", it.recall_type, kRequired);
  field("query", it.query);
  field("thought", it.thought);
}

void for_each_field(Is<TaskTrackingAction> auto& it, auto& field) {
  field("command", it.command);
  field("task_list", it.task_list);
  field("thought", it.thought);
}

void for_each_field(Is<CondensationAction> auto& it, auto& field) {
  field("forgotten_event_ids", it.forgotten_event_ids);
  field("forgotten_events_start_id", it.forgotten_events_start_id);
  field("forgotten_events_end_id", it.forgotten_events_end_id);
  field("summary", it.summary);
  field("summary_offset", it.summary_offset);
}

void for_each_field(Is<ChangeAgentStateAction> auto& it, auto& field) {
  field("agent_state", it.agent_state, kRequired);
  field("thought", it.thought);
}

void for_each_field(Is<LoopRecoveryAction> auto& it, auto& field) {
  field("option", it.option);
}

// Observations

void for_each_field(Is<NullObservation> auto&, auto&) {}
void for_each_field(Is<AgentThinkObservation> auto&, auto&) {}
void for_each_field(Is<UserRejectObservation> auto&, auto&) {}
void for_each_field(Is<AgentCondensationObservation> auto&, auto&) {}
void for_each_field(Is<SuccessObservation> auto&, auto&) {}
void for_each_field(Is<LoopDetectionObservation> auto&, auto&) {}

void for_each_field(Is<CmdOutputMetadata> auto& it, auto& field) {
  field("exit_code", it.exit_code);
  field("pid", it.pid);
  field("username", it.username);
  field("hostname", it.hostname);
  field("working_dir", it.working_dir);
  field("py_interpreter_path", it.py_interpreter_path);
  field("prefix", it.prefix);
  field("suffix", it.suffix);
}

void for_each_field(Is<CmdOutputObservation> auto& it, auto& field) {
  field("command", it.command, kRequired);
  field("metadata", it.metadata);
  field("hidden", it.hidden);
}

void for_each_field(Is<IPythonRunCellObservation> auto& it, auto& field) {
  field("code", it.code, kRequired);
  field("image_urls", it.image_urls);
}

void for_each_field(Is<FileReadObservation> auto& it, auto& field) {
  field("path", it.path, kRequired);
  field("impl_source", it.impl_source);
}

void for_each_field(Is<FileWriteObservation> auto& it, auto& field) {
  field("path", it.path, kRequired);
}

void for_each_field(Is<FileEditObservation> auto& it, auto& field) {
  field("path", it.path);
  field("prev_exist", it.prev_exist);
  field("old_content", it.old_content);
  field("new_content", it.new_content);
  field("impl_source", it.impl_source);
  field("diff", it.diff);
  field("_diff_cache", it.diff_cache);
}

void for_each_field(Is<ErrorObservation> auto& it, auto& field) {
  field("error_id", it.error_id);
}

void for_each_field(Is<BrowserOutputObservation> auto& it, auto& field) {
  field("url", it.url, kRequired);
  field("trigger_by_action", it.trigger_by_action, kRequired);
  field("screenshot", it.screenshot);
  field("screenshot_path", it.screenshot_path);
  field("set_of_marks", it.set_of_marks);
  field("error", it.error);
  field("goal_image_urls", it.goal_image_urls);
  field("open_pages_urls", it.open_pages_urls);
  field("active_page_index", it.active_page_index);
  field("dom_object", it.dom_object);
  field("axtree_object", it.axtree_object);
  field("extra_element_properties", it.extra_element_properties);
  field("last_browser_action", it.last_browser_action);
  field("last_browser_action_error", it.last_browser_action_error);
  field("focused_element_bid", it.focused_element_bid);
  field("filter_visible_only", it.filter_visible_only);
}

void for_each_field(Is<FileDownloadObservation> auto& it, auto& field) {
  field("file_path", it.file_path, kRequired);
}

void for_each_field(Is<MCPObservation> auto& it, auto& field) {
  field("name", it.name);
  field("arguments", it.arguments);
}

void for_each_field(Is<AgentStateChangedObservation> auto& it, auto& field) {
  field("agent_state", it.agent_state, kRequired);
  field("reason", it.reason);
}

void for_each_field(Is<MicroagentKnowledge> auto& it, auto& field) {
  field("name", it.name, kRequired);
  field("trigger", it.trigger, kRequired);
  field("content", it.content, kRequired);
}

void for_each_field(Is<RecallObservation> auto& it, auto& field) {
  field("recall_type", it.recall_type, kRequired);
  field("repo_name", it.repo_name);
  field("repo_directory", it.repo_directory);
  field("repo_branch", it.repo_branch);
  field("repo_instructions", it.repo_instructions);
  field("runtime_hosts", it.runtime_hosts);
  field("additional_agent_instructions", it.additional_agent_instructions);
  field("date", it.date);
  field("custom_secrets_descriptions", it.custom_secrets_descriptions);
  field("conversation_instructions", it.conversation_instructions);
  field("working_dir", it.working_dir);
  field("microagent_knowledge", it.microagent_knowledge);
}

void for_each_field(Is<TaskTrackingObservation> auto& it, auto& field) {
  field("command", it.command);
  field("task_list", it.task_list);
}

void for_each_field(Is<AgentDelegateObservation> auto& it, auto& field) {
  field("outputs", it.outputs, kRequired);
}

}  // namespace sandkey::events_detail
