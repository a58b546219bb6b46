#include "sandkey/events/action.h"

namespace sandkey {

std::string_view to_string(EventSource source) noexcept {
  switch (source) {
    case EventSource::agent:
      return "agent";
    case EventSource::user:
      return "user";
    case EventSource::environment:
      return "environment";
  }
  return "environment";
}

std::string_view to_string(ActionConfirmationStatus status) noexcept {
  switch (status) {
    case ActionConfirmationStatus::confirmed:
      return "confirmed";
    case ActionConfirmationStatus::rejected:
      return "rejected";
    case ActionConfirmationStatus::awaiting_confirmation:
      return "awaiting_confirmation";
  }
  return "awaiting_confirmation";
}

std::string_view to_string(FileReadSource source) noexcept {
  return source == FileReadSource::oh_aci ? "oh_aci" : "default";
}

std::string_view to_string(FileEditSource source) noexcept {
  return source == FileEditSource::oh_aci ? "oh_aci" : "llm_based_edit";
}

std::string_view to_string(RecallType type) noexcept {
  return type == RecallType::knowledge ? "knowledge" : "workspace_context";
}

bool Action::runnable() const noexcept {
  return std::visit([](const auto& it) { return it.kRunnable; }, body);
}

std::string_view Action::type_name() const noexcept {
  return std::visit([](const auto& it) { return it.kType; }, body);
}

ActionConfirmationStatus Action::confirmation_state() const noexcept {
  return std::visit(
      [](const auto& it) {
        if constexpr (requires { it.confirmation_state; }) return it.confirmation_state;
        return ActionConfirmationStatus::confirmed;
      },
      body);
}

void Action::set_hard_timeout(std::optional<double> seconds, bool blocking) noexcept {
  timeout = seconds;
  if (auto* run = as<CmdRunAction>()) run->blocking = blocking;
}

}  // namespace sandkey
