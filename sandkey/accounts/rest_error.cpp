#include "sandkey/accounts/rest_error.h"

#include "sandkey/base/json.h"
#include "sandkey/net/ascii.h"

#include <algorithm>
#include <array>

namespace sandkey {
namespace {

bool contains(std::string_view text, std::string_view part) noexcept {
  const auto same = [](char a, char b) { return ascii_lower(a) == ascii_lower(b); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

// In one line, without what a terminal would act on.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool blank = static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
    if (!blank) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  if (line.ends_with(' ')) line.pop_back();
  return line;
}

// The text of "message", of one of several, or of one within an object of that name.
std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  if (value == nullptr) return {};
  if (value->is_string()) return std::string(value->get_string());
  if (value->is_object()) return text_at(value->get_object(), "message");
  if (!value->is_array()) return {};
  std::string all;
  for (const json::value& item : value->get_array()) {
    if (item.is_string()) all += (all.empty() ? "" : ", ") + std::string(item.get_string());
  }
  return all;
}

void read_json(const json::object& object, RestFailure& failure) {
  for (const std::string_view key : {"message", "error", "detail", "errors"}) {
    if (failure.message.empty()) failure.message = one_line(text_at(object, key));
  }
  for (const std::string_view key : {"error_code", "code", "error"}) {
    const auto word = find_string(object, key);
    if (failure.word.empty() && word && *word != failure.message) failure.word = one_line(*word);
  }
}

ErrorMeaning by_status(int status) noexcept {
  switch (status) {
    case 401:
      return {ErrorCode::unauthenticated, "it does not accept the credential", {}};
    case 403:
      return {ErrorCode::permission_denied, "the credential may not do this", {}};
    case 404:
    case 410:
      return {ErrorCode::not_found, "there is no such thing", {}};
    case 408:
      return {ErrorCode::unavailable, "it gave up waiting", "try again"};
    case 409:
      return {ErrorCode::conflict, "its state does not allow this now", {}};
    case 429:
      return {ErrorCode::rate_limited, "it was asked too often", "try again later"};
    case 501:
      return {ErrorCode::unsupported, "it cannot do this", {}};
    default:
      break;
  }
  if (status >= 500) return {ErrorCode::unavailable, "it has a failure of its own", "try again later"};
  if (status >= 400) return {ErrorCode::invalid_argument, "it does not accept the request", {}};
  return {ErrorCode::protocol, "it answered what its API does not provide for", {}};
}

}  // namespace

RestFailure read_failure(const HttpResponse& response, const RetryPolicy& policy,
                         std::string_view request_id_header, std::chrono::system_clock::time_point now) {
  RestFailure failure;
  failure.status = response.status;
  failure.wait = server_wait(policy, response.headers, now);
  if (!request_id_header.empty()) {
    failure.request_id = one_line(response.headers.find(request_id_header).value_or(""));
  }
  try {
    const json::value document = parse_json(response.body, "the answer");
    if (document.is_object()) read_json(document.get_object(), failure);
  } catch (const Error&) {
    // Some proxy's page says nothing to quote; a short plain text may.
    constexpr std::size_t kPlainText = 200;
    const bool markup = response.body.find('<') != std::string::npos;
    if (!markup && response.body.size() <= kPlainText) failure.message = one_line(response.body);
  }
  return failure;
}

ErrorMeaning meaning_of(const RestFailure& failure, std::span<const ErrorRule> rules) noexcept {
  const ErrorMeaning usual = by_status(failure.status);
  for (const ErrorRule& rule : rules) {
    if (rule.status != failure.status && rule.status != failure.status / 100) continue;
    if (rule.wait != ErrorRule::Wait::either &&
        (rule.wait == ErrorRule::Wait::given) != failure.wait.has_value())
      continue;
    if (!rule.text.empty() && !contains(failure.message, rule.text) && !contains(failure.word, rule.text))
      continue;
    return {rule.code, rule.meaning.empty() ? usual.meaning : rule.meaning, rule.next};
  }
  return usual;
}

Processed processed_of(int status) noexcept {
  // A gateway that gave up says nothing of what the server behind it did.
  if (status >= 500 || status == 408) return Processed::unknown;
  if (status >= 300) return Processed::no;
  return Processed::unknown;
}

}  // namespace sandkey
