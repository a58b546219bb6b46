// What clients ask of the control plane, read and checked as the API's schema wants it.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/providers/daytona/emulator/state.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona::emulator {

inline constexpr std::size_t kMaxRequestBody = std::size_t{16} * 1024 * 1024;
inline constexpr std::int64_t kDefaultAutoStop = 15;           // minutes, all of these
inline constexpr std::int64_t kDefaultAutoArchive = 7 * 1440;  // a week
inline constexpr std::int64_t kMaxAutoArchive = 30 * 1440;
inline constexpr std::int64_t kMaxMinutes = std::int64_t{50} * 365 * 1440;  // the clock counts so far
inline constexpr std::int64_t kNever = -1;                                  // of auto-delete

// The members of a body. What is of the wrong type is written down, so that one answer names all of it.
class Fields {
 public:
  explicit Fields(const json::object& body) : body_(body) {}

  // Absent or null: nothing.
  [[nodiscard]] std::optional<std::string> text(std::string_view key);
  [[nodiscard]] std::optional<bool> flag(std::string_view key);
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key);
  [[nodiscard]] std::map<std::string, std::string> texts(std::string_view key);  // of an object
  [[nodiscard]] std::optional<json::object> object(std::string_view key);
  [[nodiscard]] std::optional<json::array> array(std::string_view key);
  [[nodiscard]] std::optional<std::vector<std::string>> list(std::string_view key);  // of texts
  void problem(std::string text) { problems_.push_back(std::move(text)); }
  // Throws ApiError(400) with all problems, if there are any.
  void check() const;

 private:
  [[nodiscard]] const json::value* member(std::string_view key) const noexcept;

  const json::object& body_;
  std::vector<std::string> problems_;
};

// An empty body is an empty object, whatever its type is said to be.
[[nodiscard]] json::object parse_body(std::string_view body);

struct CreateRequest {
  std::optional<std::string> name = std::nullopt;
  std::optional<std::string> snapshot = std::nullopt;  // its name or id
  std::optional<json::object> build = std::nullopt;
  std::optional<std::string> target = std::nullopt;
  std::string user = "daytona";
  std::map<std::string, std::string> environment = {};
  std::map<std::string, std::string> labels = {};
  bool is_public = false;
  Sizes sizes = {};  // of a build
  std::int64_t auto_stop = kDefaultAutoStop;
  std::int64_t auto_archive = kDefaultAutoArchive;
  std::int64_t auto_delete = kNever;
  std::int64_t ttl = 0;  // 0: without end
  json::array volumes = {};
  bool network_block_all = false;
  std::optional<std::string> network_allow_list = std::nullopt;
  std::optional<std::string> domain_allow_list = std::nullopt;
};
[[nodiscard]] CreateRequest parse_create(const json::object& body);

// Minutes as they stand in a path. Negative ones are refused but where they mean "never".
[[nodiscard]] std::int64_t parse_auto_stop(std::string_view text);
[[nodiscard]] std::int64_t parse_auto_archive(std::string_view text);
[[nodiscard]] std::int64_t parse_auto_delete(std::string_view text);
[[nodiscard]] std::int64_t parse_ttl(std::string_view text);
[[nodiscard]] bool parse_public(std::string_view text);
[[nodiscard]] std::uint16_t parse_port(std::string_view text);

// What is not said stays as it is.
struct NetworkSettings {
  std::optional<bool> block_all = std::nullopt;
  std::optional<std::string> network_allow_list = std::nullopt;
  std::optional<std::string> domain_allow_list = std::nullopt;
};
[[nodiscard]] NetworkSettings parse_network_settings(const json::object& body);

[[nodiscard]] SizeChange parse_resize(const json::object& body);

// ---- Query parameters

// What follows the '?' of a target.
[[nodiscard]] std::string_view query_of(std::string_view target) noexcept;
// All values of a parameter that may be repeated: `name=a&name=b`, also with brackets behind the name.
[[nodiscard]] std::vector<std::string> query_list(std::string_view query, std::string_view name);
// Empty if it is absent.
[[nodiscard]] std::string query_text(std::string_view query, std::string_view name);
// Nothing if they are absent or empty.
[[nodiscard]] std::optional<std::int64_t> query_integer(std::string_view query, std::string_view name);
[[nodiscard]] std::optional<bool> query_flag(std::string_view query, std::string_view name);

}  // namespace sandkey::daytona::emulator
