#include "sandkey/accounts/rest_answer.h"

namespace sandkey {

void malformed_answer(std::string_view provider, const std::string& operation, const std::string& what) {
  throw Error(ErrorCode::protocol, operation + ": " + what,
              {.provider = std::string(provider),
               .operation = operation,
               .phase = {},
               .request_id = {},
               .processed = Processed::yes});
}

const json::object& object_of(const json::value& body, std::string_view provider,
                              const std::string& operation) {
  if (!body.is_object()) malformed_answer(provider, operation, "the answer is no JSON object");
  return body.get_object();
}

std::string text_of(const json::object& object, std::string_view key) {
  return std::string(find_string(object, key).value_or(""));
}

std::map<std::string, std::string> texts_of(const json::object& object, std::string_view key) {
  std::map<std::string, std::string> texts;
  const json::value* value = find(object, key);
  if (value == nullptr || !value->is_object()) return texts;
  for (const auto& [name, text] : value->get_object()) {
    if (text.is_string()) texts[std::string(name)] = std::string(text.get_string());
  }
  return texts;
}

json::object to_object(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [name, text] : texts) object[name] = text;
  return object;
}

bool may_have_happened(const Error& error) noexcept {
  return error.context().processed != Processed::no && error.code() != ErrorCode::cancelled;
}

}  // namespace sandkey
