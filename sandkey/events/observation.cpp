#include "sandkey/events/observation.h"

#include "sandkey/base/utf8.h"

namespace sandkey {

Observation::Observation(std::string text, ObservationBody what)
    : content(std::move(text)), body(std::move(what)) {
  // No text of fewer bytes has too many code points.
  const auto* run = as<CmdOutputObservation>();
  if (run != nullptr && !run->hidden && content.size() > kMaxContentLength)
    content = truncate_content(content);
}

std::string_view Observation::type_name() const noexcept {
  return std::visit([](const auto& it) { return it.kType; }, body);
}

std::string truncate_content(std::string_view text) {
  std::string whole = utf8::is_valid(text) ? std::string(text) : utf8::sanitize(text);
  const std::size_t length = utf8::length(whole);
  if (length <= kMaxContentLength) return whole;
  constexpr std::size_t half = kMaxContentLength / 2;
  const std::string_view view = whole;
  std::string out(view.substr(0, utf8::offset_of(view, half)));
  out += "\n[... Observation truncated due to length ...]\n";
  out += view.substr(utf8::offset_of(view, length - half));
  return out;
}

std::string to_text(const Observation& observation) {
  const auto* run = observation.as<CmdOutputObservation>();
  if (run == nullptr) return observation.content;
  const CmdOutputMetadata& meta = run->metadata;
  std::string text = meta.prefix + observation.content + meta.suffix;
  const auto note = [&text](std::string_view label, std::string_view value) {
    text.append("\n[").append(label).append(value).append("]");
  };
  if (!meta.working_dir.value_or("").empty()) note("Current working directory: ", *meta.working_dir);
  if (!meta.py_interpreter_path.value_or("").empty()) note("Python interpreter: ", *meta.py_interpreter_path);
  if (meta.exit_code != -1) note("Command finished with exit code ", std::to_string(meta.exit_code));
  return text;
}

}  // namespace sandkey
