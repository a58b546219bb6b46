#include "sandkey/events/message.h"

#include "sandkey/base/utf8.h"

#include <boost/json/array.hpp>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace sandkey::events_detail {
namespace {

// Python's repr of a string. Beyond Latin-1 everything counts as printable, which differs from Python only
// for characters nobody sees.
std::string python_repr(std::string_view text) {
  const bool double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const utf8::Decoded step = utf8::decode(text);
    const char32_t c = step.code_point;
    if (c == U'\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c == U'\r') {
      out += "\\r";
    } else if (c == U'\t') {
      out += "\\t";
    } else if (c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      utf8::append(out, c);
    }
    text.remove_prefix(step.length);
  }
  out += quote;
  return out;
}

std::string python_repr(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "None";
    case json::kind::bool_:
      return value.get_bool() ? "True" : "False";
    case json::kind::int64:
      return std::to_string(value.get_int64());
    case json::kind::uint64:
      return std::to_string(value.get_uint64());
    case json::kind::double_:
      // Boost reads a number such as 0e999 as NaN, which is written as null.
      return std::isnan(value.get_double()) ? "None" : events_detail::python_repr(value.get_double());
    case json::kind::string:
      return python_repr(std::string_view(value.get_string()));
    case json::kind::array: {
      std::string out;
      for (const json::value& item : value.get_array())
        out.append(out.empty() ? "[" : ", ").append(python_repr(item));
      return out.empty() ? "[]" : out + "]";
    }
    case json::kind::object: {
      std::string out;
      for (const auto& [key, item] : value.get_object()) {
        out.append(out.empty() ? "{" : ", ").append(python_repr(std::string_view(key)));
        out.append(": ").append(python_repr(item));
      }
      return out.empty() ? "{}" : out + "}";
    }
  }
  return {};
}

std::string forgotten(const CondensationAction& it) {
  // A range may be any size; this line must not be.
  constexpr std::int64_t kMostListed = 1000;
  std::string out;
  const auto list = [&out](std::int64_t id) {
    out.append(out.empty() ? "" : ", ").append(std::to_string(id));
  };
  if (it.forgotten_event_ids) {
    for (const std::int64_t id : *it.forgotten_event_ids) list(id);
  } else if (it.forgotten_events_start_id && it.forgotten_events_end_id) {
    const std::int64_t first = *it.forgotten_events_start_id;
    const std::int64_t last = *it.forgotten_events_end_id;
    // Unsigned, as the difference of two hostile numbers may overflow.
    const auto span = static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(first);
    if (first <= last && span >= static_cast<std::uint64_t>(kMostListed))
      return fmt::format("[{}, ..., {}]", first, last);
    for (std::int64_t id = first; id <= last; ++id) {
      list(id);
      if (id == last) break;  // `last` may be the largest there is
    }
  }
  return "[" + out + "]";
}

struct ActionMessage {
  std::string operator()(const NullAction&) const { return "No action"; }
  std::string operator()(const CmdRunAction& it) const { return "Running command: " + it.command; }
  std::string operator()(const IPythonRunCellAction& it) const {
    return "Running Python code interactively: " + it.code;
  }
  std::string operator()(const FileReadAction& it) const { return "Reading file: " + it.path; }
  std::string operator()(const FileWriteAction& it) const { return "Writing file: " + it.path; }
  std::string operator()(const FileEditAction&) const { return {}; }
  std::string operator()(const BrowseURLAction& it) const { return "I am browsing the URL: " + it.url; }
  std::string operator()(const BrowseInteractiveAction& it) const {
    return "I am interacting with the browser:\n```\n" + it.browser_actions + "\n```";
  }
  std::string operator()(const MCPAction& it) const {
    return "I am interacting with the MCP server with name:\n```\n" + it.name +
           "\n```\nand arguments:\n```\n" + python_repr(json::value(it.arguments)) + "\n```";
  }
  std::string operator()(const AgentThinkAction& it) const { return "I am thinking...: " + it.thought; }
  std::string operator()(const AgentFinishAction& it) const {
    return it.thought.empty() ? "All done! What's next on the agenda?" : it.thought;
  }
  std::string operator()(const AgentRejectAction& it) const {
    std::string out = "Task is rejected by the agent.";
    if (const auto reason = find_string(it.outputs, "reason")) out.append(" Reason: ").append(*reason);
    return out;
  }
  std::string operator()(const AgentDelegateAction& it) const {
    return "I'm asking " + it.agent + " for help with this task.";
  }
  std::string operator()(const MessageAction& it) const { return it.content; }
  std::string operator()(const SystemMessageAction& it) const { return it.content; }
  std::string operator()(const RecallAction& it) const {
    const std::string query = utf8::sanitize(it.query);
    return "Retrieving content for: " + query.substr(0, utf8::offset_of(query, 50));
  }
  std::string operator()(const TaskTrackingAction& it) const {
    if (it.task_list.empty()) return "Clearing the task list.";
    if (it.task_list.size() == 1) return "Managing 1 task item.";
    return fmt::format("Managing {} task items.", it.task_list.size());
  }
  std::string operator()(const CondensationAction& it) const {
    if (!it.summary.value_or("").empty()) return "Summary: " + *it.summary;
    return "Condenser is dropping the events: " + forgotten(it) + ".";
  }
  std::string operator()(const CondensationRequestAction&) const {
    return "Requesting a condensation of the conversation history.";
  }
  std::string operator()(const ChangeAgentStateAction& it) const {
    return "Agent state changed to " + it.agent_state;
  }
  std::string operator()(const LoopRecoveryAction&) const { return {}; }
};

struct ObservationMessage {
  const std::string& content;

  std::string operator()(const NullObservation&) const { return "No observation"; }
  std::string operator()(const CmdOutputObservation& it) const {
    return fmt::format("Command `{}` executed with exit code {}.", it.command, it.metadata.exit_code);
  }
  std::string operator()(const IPythonRunCellObservation&) const { return "Code executed in IPython cell."; }
  std::string operator()(const FileReadObservation& it) const { return "I read the file " + it.path + "."; }
  std::string operator()(const FileWriteObservation& it) const {
    return "I wrote to the file " + it.path + ".";
  }
  std::string operator()(const FileEditObservation& it) const { return "I edited the file " + it.path + "."; }
  std::string operator()(const BrowserOutputObservation& it) const { return "Visited " + it.url; }
  std::string operator()(const FileDownloadObservation& it) const {
    return "Downloaded the file at location: " + it.file_path;
  }
  std::string operator()(const RecallObservation& it) const {
    return it.recall_type == RecallType::workspace_context ? "Added workspace context"
                                                           : "Added microagent knowledge";
  }
  std::string operator()(const AgentStateChangedObservation&) const { return {}; }
  std::string operator()(const AgentDelegateObservation&) const { return {}; }
  std::string operator()(const LoopDetectionObservation&) const { return {}; }
  std::string operator()(const auto&) const { return content; }
};

}  // namespace

std::string message_of(const Action& action) {
  return std::visit(ActionMessage{}, action.body);
}

std::string message_of(const Observation& observation) {
  return std::visit(ObservationMessage{observation.content}, observation.body);
}

std::string python_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const auto text = [&](std::chars_format format) {
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, format);
    return std::string(buffer.data(), end.ptr);
  };
  const double size = std::fabs(number);
  if (size != 0 && (size < 1e-4 || size >= 1e16)) return text(std::chars_format::scientific);
  std::string out = text(std::chars_format::fixed);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

}  // namespace sandkey::events_detail
