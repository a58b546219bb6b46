#include "sandkey/events/codec.h"

#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/fields.h"
#include "sandkey/events/message.h"

#include <boost/json/array.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace sandkey {
namespace {

using events_detail::for_each_field;
using events_detail::kAll;
using events_detail::Need;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, message);
}

// A name that came from outside, made fit for a message.
std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 64;
  std::string out = utf8::sanitize(name.substr(0, 4 * kLongest));
  if (utf8::length(out) > kLongest) out.replace(utf8::offset_of(out, kLongest), std::string::npos, "...");
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return out;
}

std::string_view kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
  }
  return "something else";
}

// ---- Writing

json::string text_value(std::string_view text) {
  return utf8::is_valid(text) ? json::string(text) : json::string(utf8::sanitize(text));
}

// What parse_json will accept; `depth` counts the containers around the value.
json::value sanitized(const json::value& value, std::size_t depth) {
  if (value.is_string()) return text_value(value.get_string());
  if (value.is_double() && std::isnan(value.get_double())) return nullptr;
  if (!value.is_structured()) return value;
  if (depth >= kMaxJsonDepth) {
    refuse(fmt::format("an event may not hold JSON nested deeper than {} levels", kMaxJsonDepth));
  }
  if (value.is_array()) {
    json::array out;
    out.reserve(value.get_array().size());
    for (const json::value& item : value.get_array()) out.push_back(sanitized(item, depth + 1));
    return out;
  }
  json::object out;
  out.reserve(value.get_object().size());
  for (const auto& [key, item] : value.get_object()) {
    out.insert_or_assign(json::string_view(text_value(key)), sanitized(item, depth + 1));
  }
  return out;
}

class Writer {
 public:
  explicit Writer(std::size_t depth) : depth_(depth) {}

  template <class T>
  void operator()(std::string_view name, const T& member, Need = Need::optional) {
    out_.emplace(name, value_of(member));
  }

  [[nodiscard]] json::object take() { return std::move(out_); }

 private:
  [[nodiscard]] json::value value_of(const std::string& it) const { return text_value(it); }
  [[nodiscard]] json::value value_of(bool it) const { return it; }
  [[nodiscard]] json::value value_of(std::int64_t it) const { return it; }
  [[nodiscard]] json::value value_of(ActionSecurityRisk it) const { return static_cast<int>(it); }
  [[nodiscard]] json::value value_of(const json::object& it) const { return sanitized(it, depth_); }
  [[nodiscard]] json::value value_of(const json::array& it) const { return sanitized(it, depth_); }
  [[nodiscard]] json::value value_of(const LineArgument& it) const {
    return std::visit([this](const auto& line) { return value_of(line); }, it);
  }
  template <class T>
  requires std::is_enum_v<T>
  [[nodiscard]] json::value value_of(T it) const { return json::string(to_string(it)); }
  template <class T>
  [[nodiscard]] json::value value_of(const std::optional<T>& it) const {
    return it ? value_of(*it) : json::value(nullptr);
  }
  template <class T>
  [[nodiscard]] json::value value_of(const std::vector<T>& list) const {
    json::array out;
    out.reserve(list.size());
    for (const T& item : list) out.push_back(value_of(item));
    return out;
  }
  template <class T>
  requires requires(const T& it, Writer& writer) { for_each_field(it, writer); }
  [[nodiscard]] json::value value_of(const T& it) const {
    Writer inner(depth_ + 1);
    for_each_field(it, inner);
    return inner.take();
  }

  std::size_t depth_;
  json::object out_;
};

template <class Body>
json::object fields_of(const Body& body) {
  Writer writer(2);  // the event and its args or extras
  std::visit([&writer](const auto& it) { for_each_field(it, writer); }, body);
  return writer.take();
}

// Everything up to and with llm_metrics.
json::object envelope(const EventHeader& head, const std::string& message, std::string_view kind,
                      std::string_view type) {
  json::object out;
  if (head.id != EventHeader::kNoId) out.emplace("id", head.id);
  if (!head.timestamp.empty()) out.emplace("timestamp", text_value(head.timestamp));
  if (head.source) out.emplace("source", to_string(*head.source));
  out.emplace("message", text_value(message));
  if (head.cause) out.emplace("cause", *head.cause);
  out.emplace(kind, type);
  const auto verbatim = [&out](std::string_view name, const json::value& value) {
    if (json::value clean = sanitized(value, 1); !clean.is_null()) out.emplace(name, std::move(clean));
  };
  verbatim("tool_call_metadata", head.tool_call_metadata);
  verbatim("llm_metrics", head.llm_metrics);
  return out;
}

// ---- Reading

const json::object& object_of(const json::value& value, std::string_view what) {
  if (!value.is_object()) refuse(fmt::format("{} must be an object, not {}", what, kind_name(value)));
  return value.get_object();
}

// Reads members off an object; what is missing, unknown or of the wrong type is reported against `what`.
class Reader {
 public:
  // `noun` is what a member is called there: argument, extra.
  Reader(const json::object& from, std::string what, std::string_view noun)
      : from_(from), what_(std::move(what)), noun_(noun) {}

  template <class T>
  void operator()(std::string_view name, T& member, Need need = Need::optional) {
    known_.push_back(name);
    const json::value* value = from_.if_contains(name);
    if (value == nullptr) {
      if (need == Need::required) missing_.push_back(name);
    } else if (!value->is_null() || need == Need::required) {
      current_ = name;
      read(*value, member);
    }
  }

  void refuse_missing() const {
    if (missing_.empty()) return;
    refuse(fmt::format("{}: missing required {}{} '{}'", what_, noun_, missing_.size() > 1 ? "s" : "",
                       fmt::join(missing_, "', '")));
  }
  void refuse_unknown() const {
    for (const auto& member : from_) {
      const std::string_view name = member.key();
      if (std::find(known_.begin(), known_.end(), name) == known_.end()) {
        refuse(fmt::format("{}: unknown {} '{}'", what_, noun_, shown(name)));
      }
    }
  }

 private:
  [[noreturn]] void wrong(const json::value& value, std::string_view wanted) const {
    refuse(fmt::format("{}: {} '{}' must be {}, not {}", what_, noun_, current_, wanted, kind_name(value)));
  }

  void read(const json::value& value, std::string& out) const {
    if (!value.is_string()) wrong(value, "a string");
    out = std::string_view(value.get_string());
  }
  void read(const json::value& value, bool& out) const {
    if (!value.is_bool()) wrong(value, "a boolean");
    out = value.get_bool();
  }
  void read(const json::value& value, std::int64_t& out) const { out = integer(value, "an integer"); }
  void read(const json::value& value, LineArgument& out) const {
    if (value.is_string()) {
      out = std::string(value.get_string());
    } else {
      out = integer(value, "a line number");
    }
  }
  void read(const json::value& value, json::object& out) const {
    if (!value.is_object()) wrong(value, "an object");
    out = value.get_object();
  }
  void read(const json::value& value, json::array& out) const {
    if (!value.is_array()) wrong(value, "a list");
    out = value.get_array();
  }
  void read(const json::value& value, ActionSecurityRisk& out) const {
    out = static_cast<ActionSecurityRisk>(
        integer(value, "a security risk"));  // parse_action has checked the range
  }
  template <class T>
  requires std::is_enum_v<T>
  void read(const json::value& value, T& out) const {
    std::string names;
    for (const T candidate : kAll<T>) {
      if (value.is_string() && std::string_view(value.get_string()) == to_string(candidate)) {
        out = candidate;
        return;
      }
      names.append(names.empty() ? "" : ", ").append(to_string(candidate));
    }
    refuse(fmt::format("{}: {} '{}' must be one of {}", what_, noun_, current_, names));
  }
  template <class T>
  void read(const json::value& value, std::optional<T>& out) const {
    read(value, out.emplace());
  }
  template <class T>
  void read(const json::value& value, std::vector<T>& out) const {
    if (!value.is_array()) wrong(value, "a list");
    out.clear();
    out.reserve(value.get_array().size());
    for (const json::value& item : value.get_array()) read(item, out.emplace_back());
  }
  void read(const json::value& value, MicroagentKnowledge& out) const {
    if (!value.is_object()) wrong(value, "a list of objects");
    Reader inner(value.get_object(), fmt::format("{}: {} '{}'", what_, noun_, current_), "member");
    for_each_field(out, inner);
    inner.refuse_missing();
    inner.refuse_unknown();
  }
  // OpenHands checks metadata by other rules: more members are fine, and numbers may be written as strings.
  void read(const json::value& value, CmdOutputMetadata& out) const {
    if (!value.is_object()) return;
    json::object members = value.get_object();
    for (const std::string_view name : {"exit_code", "pid"}) {
      if (const auto text = find_string(members, name)) {
        std::int64_t number = 0;
        const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
        if (error == std::errc() && end == text->data() + text->size()) members[name] = number;
      }
    }
    Reader inner(members, fmt::format("{}: {} '{}'", what_, noun_, current_), "member");
    for_each_field(out, inner);
  }

  [[nodiscard]] std::int64_t integer(const json::value& value, std::string_view wanted) const {
    if (value.is_int64()) return value.get_int64();
    if (value.is_uint64() && std::in_range<std::int64_t>(value.get_uint64())) {
      return static_cast<std::int64_t>(value.get_uint64());
    }
    if (value.is_double()) {
      const double number = value.get_double();
      if (std::trunc(number) == number && std::fabs(number) < 9e15) return static_cast<std::int64_t>(number);
    }
    wrong(value, wanted);
  }

  const json::object& from_;
  std::string what_;
  std::string_view noun_;
  std::string_view current_;
  std::vector<std::string_view> known_;
  std::vector<std::string_view> missing_;
};

template <class Variant, std::size_t... I>
bool emplace_by_name(Variant& body, std::string_view type, std::index_sequence<I...>) {
  return ((std::variant_alternative_t<I, Variant>::kType == type && (body.template emplace<I>(), true)) ||
          ...);
}

// Makes `body` the alternative that `event[kind]` names, with all defaults, and returns that name.
template <class... T>
std::string select_body(const json::object& event, std::string_view kind, std::variant<T...>& body) {
  const json::value* type = event.if_contains(kind);
  if (type == nullptr) refuse(fmt::format("the event has no '{}'", kind));
  if (!type->is_string()) refuse(fmt::format("'{}' must be a string, not {}", kind, kind_name(*type)));
  const std::string_view name = type->get_string();
  if (!emplace_by_name(body, name, std::index_sequence_for<T...>())) {
    refuse(fmt::format("unknown {} '{}'", kind, shown(name)));
  }
  return fmt::format("{} '{}'", kind, name);
}

// Left out or null is the same.
void read_header(const json::object& event, const std::string& what, EventHeader& head) {
  Reader reader(event, what, "member");
  reader("id", head.id);
  reader("timestamp", head.timestamp);
  reader("source", head.source);
  reader("cause", head.cause);
  if (head.id < EventHeader::kNoId) refuse(what + ": member 'id' must not be negative");
  if (const json::value* it = find(event, "tool_call_metadata")) head.tool_call_metadata = *it;
  if (const json::value* it = find(event, "llm_metrics")) head.llm_metrics = *it;
}

// The member, which may be missing but not be anything else than an object.
json::object inner_object(const json::object& event, const std::string& what, std::string_view name) {
  const json::value* value = event.if_contains(name);
  return value == nullptr ? json::object() : object_of(*value, fmt::format("{}: '{}'", what, name));
}

bool is_security_risk(const json::value& value) {
  if (!value.is_number()) return false;
  const double number = value.to_number<double>();
  return std::trunc(number) == number && number >= -1 && number <= 2;
}

void update_older_args(json::object& args, EventHeader& head) {
  if (const auto timestamp = find_string(args, "timestamp")) head.timestamp = *timestamp;
  args.erase("timestamp");
  if (const json::value* it = find(args, "is_confirmed")) {
    if (!it->is_null()) args["confirmation_state"] = json::value(*it);
    args.erase("is_confirmed");
  }
  if (const json::value* it = find(args, "images_urls")) {
    args["image_urls"] = json::value(*it);
    args.erase("images_urls");
  }
  if (const json::value* it = find(args, "security_risk");
      it != nullptr && !it->is_null() && !is_security_risk(*it)) {
    args.erase("security_risk");
  }
  args.erase("keep_prompt");
  args.erase("task_completed");
  // OpenHands also evaluates the Python literal in here for more arguments. Streams that have this argument
  // repeat in it what the others say, so we do not.
  if (args.erase("translated_ipython_code") != 0 && find_string(args, "command") == "view")
    args.erase("command");
}

void check(const CondensationAction& it, const std::string& what) {
  const bool list = it.forgotten_event_ids.has_value();
  const bool range = it.forgotten_events_start_id.has_value() && it.forgotten_events_end_id.has_value();
  if (list == range) {
    refuse(what +
           ": needs either 'forgotten_event_ids' or both 'forgotten_events_start_id' and "
           "'forgotten_events_end_id'");
  }
  if (it.summary.has_value() != it.summary_offset.has_value()) {
    refuse(what + ": 'summary' and 'summary_offset' come together or not at all");
  }
}

void append_json(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

// JSON has no infinities, but a number that is too large reads as one, here and in Python.
void append_json(std::string& out, double number) {
  if (std::isfinite(number)) {
    out += events_detail::python_repr(number);
  } else if (std::isnan(number)) {
    out += "null";
  } else {
    out += number < 0 ? "-1e999" : "1e999";
  }
}

void append_text(std::string& out, std::string_view text) {
  if (utf8::is_valid(text)) {
    append_json(out, text);
  } else {
    append_json(out, utf8::sanitize(text));
  }
}

void append_json(std::string& out, const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      out += "null";
      break;
    case json::kind::bool_:
      out += value.get_bool() ? "true" : "false";
      break;
    case json::kind::int64:
      out += std::to_string(value.get_int64());
      break;
    case json::kind::uint64:
      out += std::to_string(value.get_uint64());
      break;
    case json::kind::double_:
      append_json(out, value.get_double());
      break;
    case json::kind::string:
      append_text(out, value.get_string());
      break;
    case json::kind::array: {
      char before = '[';
      for (const json::value& item : value.get_array()) {
        out += before;
        append_json(out, item);
        before = ',';
      }
      out += before == '[' ? "[]" : "]";
      break;
    }
    case json::kind::object: {
      char before = '{';
      for (const auto& [key, item] : value.get_object()) {
        out += before;
        append_text(out, key);
        out += ':';
        append_json(out, item);
        before = ',';
      }
      out += before == '{' ? "{}" : "}";
      break;
    }
  }
}

}  // namespace

json::object to_json(const Action& action) {
  // Before the message, as it checks the nesting.
  json::object args = fields_of(action.body);
  json::object out = envelope(action, events_detail::message_of(action), "action", action.type_name());
  out.emplace("args", std::move(args));
  if (action.timeout && std::isfinite(*action.timeout)) out.emplace("timeout", *action.timeout);
  return out;
}

json::object to_json(const Observation& observation) {
  json::object extras = fields_of(observation.body);
  json::object out =
      envelope(observation, events_detail::message_of(observation), "observation", observation.type_name());
  out.emplace("content", text_value(observation.content));
  out.emplace("extras", std::move(extras));
  if (const auto* run = observation.as<CmdOutputObservation>()) {
    out.emplace("success", run->metadata.exit_code == 0);
  } else if (observation.as<IPythonRunCellObservation>() != nullptr) {
    out.emplace("success", true);
  }
  return out;
}

json::object to_json(const Event& event) {
  return std::visit([](const auto& it) { return to_json(it); }, event);
}

std::string serialize(const Action& action) {
  return write_json(to_json(action));
}
std::string serialize(const Observation& observation) {
  return write_json(to_json(observation));
}
std::string serialize(const Event& event) {
  return write_json(to_json(event));
}

std::string write_json(const json::value& value) {
  std::string out;
  append_json(out, value);
  return out;
}

Action parse_action(const json::value& value) {
  const json::object& event = object_of(value, "an action");
  Action action;
  const std::string what = select_body(event, "action", action.body);
  json::object args = inner_object(event, what, "args");
  update_older_args(args, action);
  read_header(event, what, action);

  Reader reader(args, what, "argument");
  std::visit([&reader](auto& it) { for_each_field(it, reader); }, action.body);
  reader.refuse_unknown();
  reader.refuse_missing();
  if (const auto* condensation = action.as<CondensationAction>()) check(*condensation, what);

  if (const json::value* timeout = find(event, "timeout"); timeout != nullptr && !timeout->is_null()) {
    if (!timeout->is_number())
      refuse(fmt::format("{}: 'timeout' must be a number, not {}", what, kind_name(*timeout)));
    action.timeout = timeout->to_number<double>();
    if (!std::isfinite(*action.timeout)) refuse(what + ": 'timeout' is too large");
  }
  return action;
}

Observation parse_observation(const json::value& value) {
  const json::object& event = object_of(value, "an observation");
  ObservationBody body;
  const std::string what = select_body(event, "observation", body);
  json::object extras = inner_object(event, what, "extras");
  extras.erase("formatted_output_and_error");

  Reader reader(extras, what, "extra");
  std::visit([&reader](auto& it) { for_each_field(it, reader); }, body);
  if (auto* run = std::get_if<CmdOutputObservation>(&body)) {
    reader.refuse_missing();
    if (const auto exit_code = find_integer(extras, "exit_code")) run->metadata.exit_code = *exit_code;
    if (const auto pid = find_integer(extras, "command_id")) run->metadata.pid = *pid;
  } else {
    reader.refuse_unknown();
    reader.refuse_missing();
  }

  std::string content;
  if (const json::value* it = find(event, "content"); it != nullptr && !it->is_null()) {
    if (!it->is_string()) refuse(fmt::format("{}: 'content' must be a string, not {}", what, kind_name(*it)));
    content = std::string_view(it->get_string());
  }
  Observation observation(std::move(content), std::move(body));
  read_header(event, what, observation);
  return observation;
}

Event parse_event(const json::value& value) {
  const json::object& event = object_of(value, "an event");
  if (event.contains("action")) return parse_action(value);
  if (event.contains("observation")) return parse_observation(value);
  refuse("an event needs an 'action' or an 'observation'");
}

}  // namespace sandkey
