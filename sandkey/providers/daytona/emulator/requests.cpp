#include "sandkey/providers/daytona/emulator/requests.h"

#include "sandkey/base/error.h"
#include "sandkey/base/percent.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/api_error.h"

#include <boost/asio/ip/network_v4.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

namespace sandkey::daytona::emulator {
namespace {

constexpr std::size_t kMaxAllowed = 10;  // entries of a list of what may be reached
constexpr std::array<std::string_view, 10> kReservedFolders{"/proc", "/sys",  "/dev", "/boot",  "/etc",
                                                            "/bin",  "/sbin", "/lib", "/lib64", "/"};

std::optional<std::int64_t> integer_of(std::string_view text) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

void require_countable(std::int64_t minutes, std::string_view name) {
  if (minutes <= kMaxMinutes) return;
  throw ApiError(400, std::string(name) + " must not be greater than " + std::to_string(kMaxMinutes));
}

std::int64_t minutes_of(std::string_view text, std::string_view name) {
  const auto number = integer_of(text);
  if (!number) throw ApiError(400, "Validation failed (numeric string is expected)");
  if (*number < 0) throw ApiError(400, std::string(name) + " must be non-negative");
  require_countable(*number, name);
  return *number;
}

std::int64_t capped_archive(std::int64_t minutes) {
  return minutes == 0 ? kMaxAutoArchive : std::min(minutes, kMaxAutoArchive);
}

// A name is shown to people, and may lead them nowhere.
void check_name(const std::string& name) {
  const bool controls = std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (name.empty() || controls || name.find_first_of("<>") != std::string::npos ||
      name.find("://") != std::string::npos) {
    throw ApiError(400, "name must not contain HTML tags, URLs or control characters");
  }
}

bool is_below(std::string_view path, std::string_view folder) {
  return path == folder || (folder != "/" && path.starts_with(std::string(folder) + "/"));
}

void check_volume(const json::value& value) {
  if (!value.is_object()) throw ApiError(400, "each value in volumes must be an object");
  Fields fields(value.get_object());
  const auto id = fields.text("volumeId");
  const auto path = fields.text("mountPath");
  const auto below = fields.text("subpath");
  if (!id) fields.problem("volumeId must be a string");
  if (!path) fields.problem("mountPath must be a string");
  fields.check();
  const bool reserved =
      std::ranges::any_of(kReservedFolders, [&](std::string_view folder) { return is_below(*path, folder); });
  if (!path->starts_with('/') || reserved || path->find("..") != std::string::npos) {
    throw ApiError(400, "Invalid mount path " + *path);
  }
  if (below && (below->starts_with('/') || below->find("..") != std::string::npos)) {
    throw ApiError(400, "Invalid subpath " + *below);
  }
}

bool is_network(std::string_view text) {
  boost::system::error_code failure;
  (void)boost::asio::ip::make_network_v4(text, failure);
  return !failure;
}

bool is_domain(std::string_view text) {
  if (text.starts_with("*.")) text.remove_prefix(2);
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.';
  });
}

void check_allow_list(const std::optional<std::string>& list, std::string_view name,
                      bool (*is_entry)(std::string_view)) {
  if (!list || list->empty()) return;
  std::size_t entries = 0;
  for (std::string_view rest = *list; entries == 0 || !rest.empty(); ++entries) {
    std::string_view entry = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(entry.size() + 1, rest.size()));
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    while (entry.ends_with(' ')) entry.remove_suffix(1);
    if (!is_entry(entry)) throw ApiError(400, std::string(name) + " has an entry that is none");
  }
  if (entries > kMaxAllowed) {
    throw ApiError(400, std::string(name) + " may have at most " + std::to_string(kMaxAllowed) + " entries");
  }
}

void check_allow_lists(const std::optional<std::string>& networks,
                       const std::optional<std::string>& domains) {
  check_allow_list(networks, "Network allow list", &is_network);
  check_allow_list(domains, "Domain allow list", &is_domain);
}

Sizes parse_sizes(Fields& fields, bool builds) {
  Sizes sizes;
  const auto cpu = fields.integer("cpu");
  const auto memory = fields.integer("memory");
  const auto disk = fields.integer("disk");
  const auto gpu = fields.integer("gpu");
  fields.check();
  if (!builds && (cpu || memory || disk || gpu)) {
    throw ApiError(400, "Cannot specify Sandbox resources when using a snapshot");
  }
  sizes.cpu = cpu.value_or(sizes.cpu);
  sizes.memory = memory.value_or(sizes.memory);
  sizes.disk = disk.value_or(sizes.disk);
  if (sizes.cpu < 1 || sizes.memory < 1 || sizes.disk < 1) {
    throw ApiError(400, "cpu, memory and disk must not be less than 1");
  }
  if (gpu.value_or(0) > 0) throw ApiError(400, "No available runners");
  return sizes;
}

}  // namespace

// ---- Bodies

const json::value* Fields::member(std::string_view key) const noexcept {
  const json::value* value = find(body_, key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<std::string> Fields::text(std::string_view key) {
  const json::value* value = member(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(std::string_view(value->get_string()));
  problem(std::string(key) + " must be a string");
  return std::nullopt;
}

std::optional<bool> Fields::flag(std::string_view key) {
  const json::value* value = member(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  problem(std::string(key) + " must be a boolean value");
  return std::nullopt;
}

std::optional<std::int64_t> Fields::integer(std::string_view key) {
  if (member(key) == nullptr) return std::nullopt;
  if (const auto number = find_integer(body_, key)) return *number;
  problem(std::string(key) + " must be an integer number");
  return std::nullopt;
}

std::map<std::string, std::string> Fields::texts(std::string_view key) {
  std::map<std::string, std::string> found;
  const std::optional<json::object> object = this->object(key);
  if (!object) return found;
  for (const auto& [name, value] : *object) {
    if (!value.is_string()) {
      problem("each value in " + std::string(key) + " must be a string");
      return {};
    }
    found[std::string(name)] = std::string(std::string_view(value.get_string()));
  }
  return found;
}

std::optional<json::object> Fields::object(std::string_view key) {
  const json::value* value = member(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) return value->get_object();
  problem(std::string(key) + " must be an object");
  return std::nullopt;
}

std::optional<json::array> Fields::array(std::string_view key) {
  const json::value* value = member(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array()) return value->get_array();
  problem(std::string(key) + " must be an array");
  return std::nullopt;
}

std::optional<std::vector<std::string>> Fields::list(std::string_view key) {
  const std::optional<json::array> values = array(key);
  if (!values) return std::nullopt;
  std::vector<std::string> texts;
  for (const json::value& each : *values) {
    if (!each.is_string()) {
      problem("each value in " + std::string(key) + " must be a string");
      return std::nullopt;
    }
    texts.emplace_back(std::string_view(each.get_string()));
  }
  return texts;
}

void Fields::check() const {
  if (problems_.empty()) return;
  std::string all;
  for (const std::string& each : problems_) all += (all.empty() ? "" : ", ") + each;
  throw ApiError(400, all);
}

json::object parse_body(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return {};
  json::value value;
  try {
    value = parse_json(body, "the request's body");
  } catch (const Error&) {
    throw ApiError(400, "Invalid JSON in request body", std::string(kPlainBody));
  }
  if (!value.is_object()) throw ApiError(400, "the body must be an object");
  return std::move(value.get_object());
}

CreateRequest parse_create(const json::object& body) {
  CreateRequest request;
  Fields fields(body);
  request.name = fields.text("name");
  request.snapshot = fields.text("snapshot");
  request.build = fields.object("buildInfo");
  request.target = fields.text("target");
  request.user = fields.text("user").value_or(request.user);
  request.environment = fields.texts("env");
  request.labels = fields.texts("labels");
  request.is_public = fields.flag("public").value_or(false);
  request.auto_stop = fields.integer("autoStopInterval").value_or(kDefaultAutoStop);
  request.auto_archive = capped_archive(fields.integer("autoArchiveInterval").value_or(kDefaultAutoArchive));
  request.auto_delete = std::max(kNever, fields.integer("autoDeleteInterval").value_or(kNever));
  request.ttl = fields.integer("ttlMinutes").value_or(0);
  request.volumes = fields.array("volumes").value_or(json::array());
  request.network_block_all = fields.flag("networkBlockAll").value_or(false);
  request.network_allow_list = fields.text("networkAllowList");
  request.domain_allow_list = fields.text("domainAllowList");
  if (fields.text("linkedSandbox")) fields.problem("linked sandboxes are not emulated");
  request.sizes = parse_sizes(fields, request.build.has_value());
  if (request.name) check_name(*request.name);
  if (request.snapshot && request.build) {
    throw ApiError(400, "Cannot specify both a snapshot and a build info entry");
  }
  if (request.build) {
    Fields build(*request.build);
    if (!build.text("dockerfileContent")) build.problem("dockerfileContent must be a string");
    (void)build.list("contextHashes");
    build.check();
  }
  if (request.auto_stop < 0) throw ApiError(400, "Auto-stop interval must be non-negative");
  if (request.auto_archive < 0) throw ApiError(400, "Auto-archive interval must be non-negative");
  if (request.ttl < 0) throw ApiError(400, "TTL must be non-negative");
  require_countable(request.auto_stop, "Auto-stop interval");
  require_countable(request.auto_delete, "Auto-delete interval");
  require_countable(request.ttl, "TTL");
  for (const json::value& each : request.volumes) check_volume(each);
  check_allow_lists(request.network_allow_list, request.domain_allow_list);
  return request;
}

NetworkSettings parse_network_settings(const json::object& body) {
  Fields fields(body);
  NetworkSettings settings{.block_all = fields.flag("networkBlockAll"),
                           .network_allow_list = fields.text("networkAllowList"),
                           .domain_allow_list = fields.text("domainAllowList")};
  fields.check();
  if (!settings.block_all && !settings.network_allow_list && !settings.domain_allow_list) {
    throw ApiError(400, "At least one network setting is required");
  }
  check_allow_lists(settings.network_allow_list, settings.domain_allow_list);
  return settings;
}

SizeChange parse_resize(const json::object& body) {
  Fields fields(body);
  SizeChange change{
      .cpu = fields.integer("cpu"), .memory = fields.integer("memory"), .disk = fields.integer("disk")};
  fields.check();
  for (const auto& each : {change.cpu, change.memory, change.disk}) {
    if (each && *each < 1) throw ApiError(400, "cpu, memory and disk must not be less than 1");
  }
  return change;
}

// ---- Parts of paths

std::int64_t parse_auto_stop(std::string_view text) {
  return minutes_of(text, "Auto-stop interval");
}

std::int64_t parse_auto_archive(std::string_view text) {
  return capped_archive(minutes_of(text, "Auto-archive interval"));
}

std::int64_t parse_auto_delete(std::string_view text) {
  const auto number = integer_of(text);
  if (!number) throw ApiError(400, "Validation failed (numeric string is expected)");
  require_countable(*number, "Auto-delete interval");
  return std::max(kNever, *number);
}

std::int64_t parse_ttl(std::string_view text) {
  return minutes_of(text, "TTL");
}

bool parse_public(std::string_view text) {
  return text == "true";
}

std::uint16_t parse_port(std::string_view text) {
  const auto number = integer_of(text);
  if (!number || *number < 1 || *number > 65535) {
    throw ApiError(400, "Invalid port: it must be between 1 and 65535");
  }
  return static_cast<std::uint16_t>(*number);
}

// ---- Query parameters

std::string_view query_of(std::string_view target) noexcept {
  const std::size_t mark = target.find('?');
  return mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
}

std::vector<std::string> query_list(std::string_view query, std::string_view name) {
  std::vector<std::string> values;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const auto key = percent_decode(pair.substr(0, equals), true);
    const auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!key || !value) throw ApiError(400, "Failed to decode the query");
    if (std::string_view(*key).substr(0, key->find('[')) == name) values.push_back(*value);
  }
  return values;
}

std::string query_text(std::string_view query, std::string_view name) {
  return net::query_value(query, name).value_or("");
}

std::optional<std::int64_t> query_integer(std::string_view query, std::string_view name) {
  const std::string text = query_text(query, name);
  if (text.empty()) return std::nullopt;
  const auto number = integer_of(text);
  if (!number) throw ApiError(400, std::string(name) + " must be an integer number");
  return number;
}

std::optional<bool> query_flag(std::string_view query, std::string_view name) {
  const std::string text = query_text(query, name);
  if (text.empty()) return std::nullopt;
  return text == "true" || text == "1";
}

}  // namespace sandkey::daytona::emulator
