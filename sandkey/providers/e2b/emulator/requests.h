// What clients ask of the control plane, read and checked as the API's schema and the cloud's rules want it.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::e2b::emulator {

inline constexpr int kMaxHours = 24;  // the longest a sandbox may run, by its plan
inline constexpr std::size_t kMaxRequestBody = std::size_t{16} * 1024 * 1024;

// v2 of create and connect has other defaults than v1.
enum class ApiVersion { v1, v2 };

struct NetworkRules {
  bool public_traffic = true;
  std::string mask_request_host = {};
  // As GET shows it again: without the password of a proxy.
  json::object shown = {};
};

struct CreateRequest {
  std::string template_id = {};
  std::chrono::seconds timeout{15};
  std::map<std::string, std::string> metadata = {};
  std::map<std::string, std::string> variables = {};
  bool secure = false;
  std::optional<bool> internet = std::nullopt;
  bool auto_pause = false;
  bool auto_pause_memory = true;
  bool auto_resume = false;
  std::optional<NetworkRules> network = std::nullopt;
};

// All throw ApiError(400). A body may be empty where the API says that it is optional.
[[nodiscard]] json::object parse_body(std::string_view body, bool optional);
[[nodiscard]] CreateRequest parse_create(const json::object& body, ApiVersion version);
// Of connect: required in v1, 300 s in v2; of resume and fork: 15 s.
[[nodiscard]] std::chrono::seconds parse_timeout(const json::object& body,
                                                 std::optional<std::chrono::seconds> otherwise);
// Of set-timeout: may be above the plan's maximum, to which it is then cut.
[[nodiscard]] std::chrono::seconds parse_any_timeout(const json::object& body);
[[nodiscard]] NetworkRules parse_network(const json::object& network);
[[nodiscard]] bool parse_flag(const json::object& body, std::string_view key, bool otherwise);
[[nodiscard]] std::optional<std::string> parse_text(const json::object& body, std::string_view key);

// The id without the old "-<clientID>" behind it. Throws ApiError(400) for what cannot be one.
[[nodiscard]] std::string parse_sandbox_id(std::string_view text);

}  // namespace sandkey::e2b::emulator
