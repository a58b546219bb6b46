#include "sandkey/emulator/faults.h"

#include "sandkey/base/error.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>

namespace sandkey::emulator {
namespace {

constexpr std::array<std::pair<FaultKind, std::string_view>, 10> kKinds{{
    {FaultKind::status, "status"},
    {FaultKind::drop_before, "drop_before"},
    {FaultKind::drop_after, "drop_after"},
    {FaultKind::hang, "hang"},
    {FaultKind::slow, "slow"},
    {FaultKind::garbage, "garbage"},
    {FaultKind::half, "half"},
    {FaultKind::echo, "echo"},
    {FaultKind::cut, "cut"},
    {FaultKind::grpc_status, "grpc_status"},
}};

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::invalid_argument, "adding a fault: " + what);
}

std::string kind_names() {
  std::string names;
  for (const auto& [kind, name] : kKinds) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

std::uint64_t count(const json::object& object, std::string_view key, std::uint64_t otherwise) {
  if (find(object, key) == nullptr) return otherwise;
  const auto number = find_integer(object, key);
  if (!number || *number < 0) refuse("\"" + std::string(key) + "\" must be a number of requests");
  return static_cast<std::uint64_t>(*number);
}

std::vector<std::pair<std::string, std::string>> headers_of(const json::object& fault) {
  std::vector<std::pair<std::string, std::string>> headers;
  const json::value* value = find(fault, "headers");
  if (value == nullptr) return headers;
  if (!value->is_object()) refuse("\"headers\" must be an object of texts");
  for (const auto& [name, text] : value->get_object()) {
    if (!text.is_string()) refuse("\"headers\" must be an object of texts");
    const std::string_view content = text.get_string();
    const auto breaks = [](std::string_view part) { return part.find_first_of("\r\n") != part.npos; };
    if (breaks(content) || breaks(name) || name.empty()) refuse("a header must be one line");
    headers.emplace_back(name, content);
  }
  return headers;
}

// {"kind": "grpc_status", "grpc_status": 8, "message": "...", "retry_after_milliseconds": 200}
void read_grpc_status(const json::object& object, Fault& fault) {
  const long long status = find_integer(object, "grpc_status").value_or(0);
  if (status < 1 || status > 16) refuse("\"grpc_status\" must be from 1 to 16");
  fault.status = static_cast<int>(status);
  fault.body = find_string(object, "message").value_or("");
  if (find(object, "retry_after_milliseconds") == nullptr) return;
  const long long after = find_integer(object, "retry_after_milliseconds").value_or(-1);
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 7);  // it is only told, not waited
  if (after < 0 || std::chrono::milliseconds(after) > kLongest) {
    refuse("\"retry_after_milliseconds\" must be from 0 to 604800000");
  }
  fault.retry_after = std::chrono::milliseconds(after);
}

Fault parse_fault(const json::object& object) {
  const std::optional<std::string_view> kind = find_string(object, "kind");
  const auto known =
      std::ranges::find(kKinds, kind.value_or(""), &std::pair<FaultKind, std::string_view>::second);
  if (known == kKinds.end()) refuse("\"kind\" must be one of " + kind_names());
  Fault fault;
  fault.kind = known->first;
  if (find(object, "status") != nullptr) {
    const long long status = find_integer(object, "status").value_or(0);
    if (status < 200 || status > 599) refuse("\"status\" must be from 200 to 599");
    fault.status = static_cast<int>(status);
  }
  fault.headers = headers_of(object);
  if (const json::value* body = find(object, "body")) {
    fault.body =
        body->is_string() ? std::string(std::string_view(body->get_string())) : json::serialize(*body);
  }
  if (find(object, "milliseconds") != nullptr) {
    const long long delay = find_integer(object, "milliseconds").value_or(-1);
    if (delay < 0 || std::chrono::milliseconds(delay) > kLongestDelay) {
      refuse("\"milliseconds\" must be from 0 to 600000");
    }
    fault.delay = std::chrono::milliseconds(delay);
  }
  if (fault.kind == FaultKind::grpc_status) read_grpc_status(object, fault);
  if (fault.kind == FaultKind::cut) {
    const long long bytes = find_integer(object, "bytes").value_or(-1);
    if (bytes < 0) refuse("\"cut\" needs \"bytes\", how many of the answer are sent");
    fault.bytes = static_cast<std::uint64_t>(bytes);
  }
  if (fault.kind == FaultKind::slow && fault.delay.count() == 0) refuse("\"slow\" needs \"milliseconds\"");
  return fault;
}

// "POST /sandboxes/{id}/pause" -> "POST /sandboxes/{}/pause"
std::string without_names(std::string_view route) {
  std::string plain;
  bool inside = false;
  for (const char c : route) {
    if (c == '}') inside = false;
    if (!inside) plain += c;
    if (c == '{') inside = true;
  }
  return plain;
}

}  // namespace

std::string_view to_string(FaultKind kind) noexcept {
  return std::ranges::find(kKinds, kind, &std::pair<FaultKind, std::string_view>::first)->second;
}

FaultRule parse_fault_rule(const json::object& object) {
  FaultRule rule;
  rule.provider = find_string(object, "provider").value_or("");
  if (rule.provider.empty()) refuse("\"provider\" must name an emulated cloud");
  rule.route = find_string(object, "route").value_or("");
  if (rule.route.empty()) refuse("\"route\" must be as in \"POST /v2/sandboxes\", or \"*\"");
  rule.skip = count(object, "skip", 0);
  rule.times = count(object, "times", 1);
  const json::value* fault = find(object, "fault");
  if (fault == nullptr || !fault->is_object()) refuse("\"fault\" must be an object with a \"kind\"");
  rule.fault = parse_fault(fault->get_object());
  return rule;
}

std::int64_t FaultScript::add(FaultRule rule) {
  if (rules_.size() >= kMaxFaultRules) {
    refuse("there are " + std::to_string(kMaxFaultRules) + " already; DELETE them first");
  }
  rule.id = ++last_id_;
  rule.route = without_names(rule.route);
  rules_.push_back({std::move(rule)});
  return last_id_;
}

std::optional<Fault> FaultScript::take(std::string_view provider, std::string_view route) {
  if (rules_.empty()) return std::nullopt;
  const std::string plain = without_names(route);
  for (Counted& each : rules_) {
    if (each.rule.provider != provider || (each.rule.route != "*" && each.rule.route != plain)) continue;
    if (each.rule.times != 0 && each.used == each.rule.times) continue;
    if (each.rule.skip > 0) {
      --each.rule.skip;
      continue;
    }
    ++each.used;
    return each.rule.fault;
  }
  return std::nullopt;
}

}  // namespace sandkey::emulator
