#include "sandkey/providers/e2b/emulator/requests.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/e2b/emulator/api_error.h"

#include <boost/json/serialize.hpp>

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <vector>

namespace sandkey::e2b::emulator {
namespace {

constexpr std::string_view kAllTraffic = "0.0.0.0/0";
constexpr std::size_t kMaxRuleDomains = 10;
constexpr std::size_t kMaxRulesOfDomain = 1;
constexpr std::size_t kMaxHeadersOfRule = 20;
constexpr std::size_t kMaxHeaderName = 64;
constexpr std::size_t kMaxHeaderValue = 2048;
constexpr std::size_t kMaxProxyText = 255;
constexpr std::int64_t kEnvdPort = 49983;

[[noreturn]] void refuse_schema(std::string_view key, const std::string& why) {
  throw schema_error("request body has an error: doesn't match schema: Error at \"/" + std::string(key) +
                     "\": " + why);
}

// The member, where null counts as absent only if the schema allows it.
const json::value* member(const json::object& object, std::string_view key, bool nullable = false) {
  const json::value* value = find(object, key);
  if (value == nullptr || !value->is_null()) return value;
  if (!nullable) refuse_schema(key, "Value is not nullable");
  return nullptr;
}

std::map<std::string, std::string> parse_texts(const json::object& body, std::string_view key) {
  std::map<std::string, std::string> texts;
  const json::value* value = member(body, key);
  if (value == nullptr) return texts;
  if (!value->is_object()) refuse_schema(key, "value must be an object");
  for (const auto& [name, text] : value->get_object()) {
    if (!text.is_string())
      refuse_schema(std::string(key) + "/" + std::string(name), "value must be a string");
    texts[name] = std::string_view(text.get_string());
  }
  return texts;
}

const json::object* parse_object(const json::object& body, std::string_view key, bool nullable = false) {
  const json::value* value = member(body, key, nullable);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) refuse_schema(key, "value must be an object");
  return &value->get_object();
}

std::optional<std::int64_t> parse_integer(const json::object& body, std::string_view key) {
  const json::value* value = member(body, key);
  if (value == nullptr) return std::nullopt;
  const auto number = find_integer(body, key);
  if (!number) refuse_schema(key, "value must be an integer");
  if (*number < std::numeric_limits<std::int32_t>::min() ||
      *number > std::numeric_limits<std::int32_t>::max()) {
    refuse_schema(key, "number must be an int32");
  }
  return *number;
}

std::chrono::seconds require_in_plan(std::chrono::seconds timeout) {
  if (timeout > std::chrono::hours(kMaxHours)) {
    throw ApiError(400, "Timeout cannot be greater than " + std::to_string(kMaxHours) + " hours");
  }
  return timeout;
}

// ---- Networks

bool is_address_or_range(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  std::array<unsigned char, 16> scratch{};
  const bool v4 = ::inet_pton(AF_INET, address.c_str(), scratch.data()) == 1;
  const bool v6 = !v4 && ::inet_pton(AF_INET6, address.c_str(), scratch.data()) == 1;
  if (!v4 && !v6) return false;
  if (slash == std::string_view::npos) return true;
  const std::string_view bits = text.substr(slash + 1);
  int number = -1;
  const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), number);
  return error == std::errc() && end == bits.data() + bits.size() && number >= 0 && number <= (v4 ? 32 : 128);
}

bool is_domain(std::string_view text) {
  if (text.starts_with("*.")) text.remove_prefix(2);
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  };
  // What has nothing but digits and dots was meant to be an address.
  const bool has_letter =
      std::ranges::any_of(text, [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; });
  return has_letter && std::ranges::all_of(text, plain) && text.front() != '.' && text.back() != '.';
}

std::vector<std::string> parse_list(const json::object& network, std::string_view key) {
  std::vector<std::string> list;
  const json::value* value = member(network, key);
  if (value == nullptr) return list;
  if (!value->is_array()) refuse_schema("network/" + std::string(key), "value must be an array");
  for (const json::value& each : value->get_array()) {
    if (!each.is_string()) refuse_schema("network/" + std::string(key), "value must be a string");
    list.emplace_back(std::string_view(each.get_string()));
  }
  return list;
}

void check_egress(const std::vector<std::string>& allowed, const std::vector<std::string>& denied) {
  for (const std::string& each : denied) {
    if (!is_address_or_range(each)) throw ApiError(400, "invalid denied CIDR " + each);
  }
  bool names = false;
  for (const std::string& each : allowed) {
    if (is_address_or_range(each)) continue;
    if (!is_domain(each)) throw ApiError(400, "invalid allowed address " + each);
    names = true;
  }
  if (names && std::ranges::find(denied, kAllTraffic) == denied.end()) {
    throw ApiError(
        400,
        "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to "
        "block all other traffic.");
  }
}

void check_rule_headers(const std::string& domain, const json::object& headers) {
  if (headers.size() > kMaxHeadersOfRule) {
    throw ApiError(400, "Domain \"" + domain + "\" can have at most " + std::to_string(kMaxHeadersOfRule) +
                            " headers per rule.");
  }
  for (const auto& [name, value] : headers) {
    const std::string where = "eader \"" + std::string(name) + "\" in rule for domain \"" + domain + "\"";
    if (!value.is_string()) refuse_schema("network/rules", "value must be a string");
    const std::string_view text = value.get_string();
    if (name.empty())
      throw ApiError(400, "Header name in rule for domain \"" + domain + "\" must not be empty.");
    if (name.size() > kMaxHeaderName) {
      throw ApiError(
          400, "H" + where + " exceeds maximum length of " + std::to_string(kMaxHeaderName) + " characters.");
    }
    if (text.size() > kMaxHeaderValue) {
      throw ApiError(400, "Value for h" + where + " exceeds maximum length of " +
                              std::to_string(kMaxHeaderValue) + " characters.");
    }
    if (text.find_first_of("\r\n") != std::string_view::npos) {
      throw ApiError(400, "Value for h" + where + " must not contain CR or LF characters.");
    }
  }
}

void check_rules(const json::object& rules) {
  if (rules.size() > kMaxRuleDomains) {
    throw ApiError(400, "Network rules can have at most " + std::to_string(kMaxRuleDomains) + " domains.");
  }
  for (const auto& [name, list] : rules) {
    const std::string domain(name);
    if (domain.empty()) throw ApiError(400, "Rule domain must not be empty.");
    if (!is_domain(domain)) throw ApiError(400, "Rule domain \"" + domain + "\" is not a valid domain name.");
    if (!list.is_array()) refuse_schema("network/rules/" + domain, "value must be an array");
    if (list.get_array().size() > kMaxRulesOfDomain) {
      throw ApiError(400, "Domain \"" + domain + "\" can have at most " + std::to_string(kMaxRulesOfDomain) +
                              " transform rule.");
    }
    for (const json::value& rule : list.get_array()) {
      if (!rule.is_object()) refuse_schema("network/rules/" + domain, "value must be an object");
      const json::object* transform = parse_object(rule.get_object(), "transform");
      const json::object* headers = transform == nullptr ? nullptr : parse_object(*transform, "headers");
      if (headers != nullptr) check_rule_headers(domain, *headers);
    }
  }
}

// What may be shown of it: its password is not.
json::object checked_proxy(const json::object& proxy) {
  json::object shown;
  const std::optional<std::string> address = parse_text(proxy, "address");
  if (!address) refuse_schema("network/egressProxy/address", "property \"address\" is missing");
  const std::size_t colon = address->rfind(':');
  int port = 0;
  const char* end = address->data() + address->size();
  if (colon == std::string::npos || colon == 0 ||
      std::from_chars(address->data() + colon + 1, end, port).ptr != end || port < 1 || port > 65535) {
    throw ApiError(400, "invalid egress proxy address: must be in host:port format");
  }
  shown["address"] = *address;
  for (const std::string_view key : {"username", "password"}) {
    const std::optional<std::string> text = parse_text(proxy, key);
    if (!text) continue;
    if (text->size() > kMaxProxyText) {
      refuse_schema("network/egressProxy/" + std::string(key), "maximum string length is 255");
    }
    if (key == "username") shown[key] = *text;
  }
  return shown;
}

}  // namespace

json::object parse_body(std::string_view body, bool optional) {
  const bool empty = body.find_first_not_of(" \t\r\n") == std::string_view::npos;
  if (empty && optional) return {};
  if (empty) throw schema_error("request body has an error: value is required but missing");
  json::value value;
  try {
    value = parse_json(body, "the request's body");
  } catch (const Error&) {
    throw schema_error("request body has an error: failed to decode request body: it is not valid JSON");
  }
  if (optional && value.is_null()) return {};
  if (!value.is_object())
    throw schema_error("request body has an error: doesn't match schema: value must be an object");
  return std::move(value.get_object());
}

bool parse_flag(const json::object& body, std::string_view key, bool otherwise) {
  const json::value* value = member(body, key);
  if (value == nullptr) return otherwise;
  if (!value->is_bool()) refuse_schema(key, "value must be a boolean");
  return value->get_bool();
}

std::optional<std::string> parse_text(const json::object& body, std::string_view key) {
  const json::value* value = member(body, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_schema(key, "value must be a string");
  return std::string(std::string_view(value->get_string()));
}

std::chrono::seconds parse_timeout(const json::object& body, std::optional<std::chrono::seconds> otherwise) {
  const std::optional<std::int64_t> timeout = parse_integer(body, "timeout");
  if (!timeout && !otherwise) refuse_schema("timeout", "property \"timeout\" is missing");
  if (timeout && *timeout < 0) refuse_schema("timeout", "number must be at least 0");
  return require_in_plan(timeout ? std::chrono::seconds(*timeout) : *otherwise);
}

std::chrono::seconds parse_any_timeout(const json::object& body) {
  const std::optional<std::int64_t> timeout = parse_integer(body, "timeout");
  if (!timeout) refuse_schema("timeout", "property \"timeout\" is missing");
  if (*timeout < 0) refuse_schema("timeout", "number must be at least 0");
  return std::chrono::seconds(*timeout);
}

NetworkRules parse_network(const json::object& network) {
  NetworkRules rules;
  const std::vector<std::string> allowed = parse_list(network, "allowOut");
  const std::vector<std::string> denied = parse_list(network, "denyOut");
  check_egress(allowed, denied);
  rules.public_traffic = parse_flag(network, "allowPublicTraffic", true);
  rules.mask_request_host = parse_text(network, "maskRequestHost").value_or("");
  if (std::ranges::any_of(rules.mask_request_host, [](char c) { return c < 0; })) {
    throw ApiError(400, "mask request host '" + rules.mask_request_host +
                            "' is not ASCII. Please use ASCII characters only.");
  }
  for (const std::string_view key : {"allowPublicTraffic", "allowOut", "denyOut", "maskRequestHost"}) {
    if (const json::value* value = find(network, key)) rules.shown[key] = *value;
  }
  if (const json::object* list = parse_object(network, "rules")) {
    check_rules(*list);
    rules.shown["rules"] = *list;
  }
  if (const json::object* proxy = parse_object(network, "egressProxy", true)) {
    rules.shown["egressProxy"] = checked_proxy(*proxy);
  }
  if (const json::value* ports = member(network, "httpsPorts")) {
    if (!ports->is_array()) refuse_schema("network/httpsPorts", "value must be an array");
    for (const json::value& port : ports->get_array()) {
      if (!port.is_int64() || port.get_int64() < 1 || port.get_int64() > 65535 ||
          port.get_int64() == kEnvdPort) {
        throw ApiError(400, "invalid https port " + json::serialize(port));
      }
    }
    rules.shown["httpsPorts"] = *ports;
  }
  return rules;
}

CreateRequest parse_create(const json::object& body, ApiVersion version) {
  CreateRequest request;
  const std::optional<std::string> made_of = parse_text(body, "templateID");
  if (!made_of) refuse_schema("templateID", "property \"templateID\" is missing");
  request.template_id = *made_of;
  const std::chrono::seconds otherwise(version == ApiVersion::v1 ? 15 : 300);
  request.timeout = parse_timeout(body, otherwise);
  if (request.timeout.count() == 0) throw ApiError(400, "Timeout must be greater than 0");
  request.metadata = parse_texts(body, "metadata");
  request.variables = parse_texts(body, "envVars");
  request.secure = version == ApiVersion::v2 || parse_flag(body, "secure", false);
  if (member(body, "allow_internet_access") != nullptr) {
    request.internet = parse_flag(body, "allow_internet_access", true);
  }
  request.auto_pause = parse_flag(body, "autoPause", false);
  request.auto_pause_memory = parse_flag(body, "autoPauseMemory", true);
  if (const json::object* resume = parse_object(body, "autoResume")) {
    if (find(*resume, "enabled") == nullptr) refuse_schema("autoResume", "property \"enabled\" is missing");
    request.auto_resume = parse_flag(*resume, "enabled", false);
  }
  if (!request.auto_pause_memory && !request.auto_pause) {
    throw ApiError(400, "autoPauseMemory can only be disabled together with autoPause");
  }
  if (!request.auto_pause_memory && request.auto_resume) {
    throw ApiError(400, "autoPauseMemory cannot be disabled when autoResume is enabled");
  }
  if (const json::object* network = parse_object(body, "network")) {
    request.network = parse_network(*network);
    if (!request.network->public_traffic && !request.secure) {
      throw ApiError(
          400,
          "You cannot create a sandbox without public access unless you enable secure envd access via "
          "'secure' flag.");
    }
  }
  if (const json::value* volumes = member(body, "volumeMounts")) {
    if (!volumes->is_array()) refuse_schema("volumeMounts", "value must be an array");
    if (!volumes->get_array().empty()) throw ApiError(400, "Volume mounts are not enabled.");
  }
  const json::object* iam = parse_object(body, "iam");
  const json::object* tokens = iam == nullptr ? nullptr : parse_object(*iam, "tokens");
  if (tokens != nullptr && !tokens->empty()) {
    throw ApiError(400, "Sandbox workload identity is not available for your team.");
  }
  return request;
}

std::string parse_sandbox_id(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::string_view id = text.substr(0, dash);
  const bool good = !id.empty() && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  }) && (dash == std::string_view::npos || text.find('-', dash + 1) == std::string_view::npos);
  if (!good) throw ApiError(400, "Invalid sandbox ID");
  return std::string(id);
}

}  // namespace sandkey::e2b::emulator
