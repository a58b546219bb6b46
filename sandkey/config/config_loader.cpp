#include "sandkey/config/config_loader.h"

#include "sandkey/base/error.h"
#include "sandkey/config/nearest_name.h"
#include "sandkey/config/small_file.h"
#include "sandkey/config/toml_document.h"
#include "sandkey/config/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <variant>

namespace sandkey {
namespace {

namespace fs = std::filesystem;

using Variables = std::map<std::string, std::string>;
using Value =
    std::variant<bool, std::uint64_t, std::string, Variables>;  // numbers are seconds, bytes or counts

constexpr std::uint64_t kLongestTime = 366ULL * 24 * 3600;

enum class Kind { text, boolean, seconds, duration, size, count, variables };

struct Setting {
  std::string_view section;
  std::string_view key;
  Kind kind;
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  void (*put)(OpenHandsConfig&, Value);
  // Nothing where it is not set and has no default.
  std::optional<Value> (*get)(const OpenHandsConfig&);
  // Why config.toml may not say it, if so.
  std::string_view not_in_file = {};

  [[nodiscard]] std::string name() const {
    return section == "core" ? std::string(key) : fmt::format("{}.{}", section, key);
  }
  [[nodiscard]] std::string variable() const {
    std::string variable(section == "core" ? "" : section == "sandbox" ? "SANDBOX_" : "SANDKEY_");
    for (const char c : key) variable += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    return variable;
  }
};

template <auto member>
constexpr Setting core_text(std::string_view key) {
  return {"core",
          key,
          Kind::text,
          0,
          0,
          [](OpenHandsConfig& c, Value v) { c.*member = std::get<std::string>(std::move(v)); },
          [](const OpenHandsConfig& c) { return std::optional<Value>(c.*member); }};
}

template <auto member>
constexpr Setting sandbox_seconds(std::string_view key) {
  return {"sandbox",
          key,
          Kind::seconds,
          1,
          kLongestTime,
          [](OpenHandsConfig& c, Value v) {
            c.sandbox.*member = std::chrono::seconds(static_cast<std::int64_t>(std::get<std::uint64_t>(v)));
          },
          [](const OpenHandsConfig& c) {
            return std::optional<Value>(static_cast<std::uint64_t>((c.sandbox.*member).count()));
          }};
}

template <auto member>
constexpr Setting sandbox_boolean(std::string_view section, std::string_view key) {
  return {section,
          key,
          Kind::boolean,
          0,
          0,
          [](OpenHandsConfig& c, Value v) { c.sandbox.*member = std::get<bool>(v); },
          [](const OpenHandsConfig& c) {
            const std::optional<bool> value = c.sandbox.*member;
            return value ? std::optional<Value>(*value) : std::nullopt;
          }};
}

template <auto member>
constexpr Setting sandkey_number(std::string_view key, Kind kind, std::uint64_t most) {
  return {"sandkey",
          key,
          kind,
          1,
          most,
          [](OpenHandsConfig& c, Value v) {
            using Number = typename std::remove_reference_t<decltype(c.sandbox.*member)>::value_type;
            c.sandbox.*member = static_cast<Number>(std::get<std::uint64_t>(v));
          },
          [](const OpenHandsConfig& c) {
            const auto value = c.sandbox.*member;
            return value ? std::optional<Value>(static_cast<std::uint64_t>(*value)) : std::nullopt;
          }};
}

constexpr auto kSettings = std::to_array<Setting>({
    core_text<&OpenHandsConfig::runtime>("runtime"),
    core_text<&OpenHandsConfig::workspace_base>("workspace_base"),
    core_text<&OpenHandsConfig::workspace_mount_path_in_sandbox>("workspace_mount_path_in_sandbox"),
    core_text<&OpenHandsConfig::git_user_name>("git_user_name"),
    core_text<&OpenHandsConfig::git_user_email>("git_user_email"),
    sandbox_seconds<&SandboxConfig::timeout>("timeout"),
    sandbox_seconds<&SandboxConfig::remote_runtime_init_timeout>("remote_runtime_init_timeout"),
    sandbox_seconds<&SandboxConfig::remote_runtime_api_timeout>("remote_runtime_api_timeout"),
    {"sandbox", "runtime_startup_env_vars", Kind::variables, 0, 0,
     [](OpenHandsConfig& c, Value v) {
       c.sandbox.runtime_startup_env_vars = std::get<Variables>(std::move(v));
     },
     [](const OpenHandsConfig& c) { return std::optional<Value>(c.sandbox.runtime_startup_env_vars); }},
    sandbox_boolean<&SandboxConfig::enable_auto_lint>("sandbox", "enable_auto_lint"),
    sandbox_boolean<&SandboxConfig::keep_runtime_alive>("sandbox", "keep_runtime_alive"),
    {"sandbox", "base_container_image", Kind::text, 0, 0,
     [](OpenHandsConfig& c, Value v) {
       c.sandbox.base_container_image = std::get<std::string>(std::move(v));
     },
     [](const OpenHandsConfig& c) { return std::optional<Value>(c.sandbox.base_container_image); }},
    {"sandkey", "profile", Kind::text, 0, 0,
     [](OpenHandsConfig& c, Value v) { c.profile = std::get<std::string>(std::move(v)); },
     [](const OpenHandsConfig& c) {
       return c.profile.empty() ? std::nullopt : std::optional<Value>(c.profile);
     },
     "a file that comes with a folder does not choose your account; use --profile or SANDKEY_PROFILE"},
    sandbox_boolean<&SandboxConfig::network>("sandkey", "network"),
    sandkey_number<&SandboxConfig::memory_limit>("memory_limit", Kind::size,
                                                 std::numeric_limits<std::int64_t>::max()),
    sandkey_number<&SandboxConfig::disk_limit>("disk_limit", Kind::size,
                                               std::numeric_limits<std::int64_t>::max()),
    sandkey_number<&SandboxConfig::process_limit>("process_limit", Kind::count, 1U << 22U),
    {"sandkey", "lease", Kind::duration, 1, kLongestTime,
     [](OpenHandsConfig& c, Value v) {
       c.sandbox.lease = std::chrono::seconds(static_cast<std::int64_t>(std::get<std::uint64_t>(v)));
     },
     [](const OpenHandsConfig& c) {
       return c.sandbox.lease ? std::optional<Value>(static_cast<std::uint64_t>(c.sandbox.lease->count()))
                              : std::nullopt;
     }},
});

// OpenHands' keys that mean nothing to a runtime of ours.
constexpr auto kForeignCoreKeys = std::to_array<std::string_view>({
    "cache_dir",
    "conversation_max_age_seconds",
    "debug",
    "default_agent",
    "disable_color",
    "enable_browser",
    "enable_default_condenser",
    "file_store",
    "file_store_path",
    "file_store_web_hook_batch",
    "file_store_web_hook_headers",
    "file_store_web_hook_url",
    "file_uploads_allowed_extensions",
    "file_uploads_max_file_size_mb",
    "file_uploads_restrict_file_types",
    "init_git_in_empty_workspace",
    "jwt_secret",
    "max_budget_per_task",
    "max_concurrent_conversations",
    "max_iterations",
    "client_wait_timeout",
    "mcp_host",
    "replay_trajectory_path",
    "run_as_openhands",
    "save_screenshots_in_trajectory",
    "save_trajectory_path",
    "search_api_key",
    "workspace_mount_path",
    "workspace_mount_rewrite",
});
constexpr auto kForeignSandboxKeys = std::to_array<std::string_view>({
    "additional_networks",
    "api_key",
    "browsergym_eval_env",
    "close_delay",
    "cuda_visible_devices",
    "docker_runtime_kwargs",
    "enable_gpu",
    "force_rebuild_runtime",
    "initialize_plugins",
    "local_runtime_url",
    "pause_closed_runtimes",
    "platform",
    "remote_runtime_api_url",
    "remote_runtime_class",
    "remote_runtime_enable_retries",
    "remote_runtime_resource_factor",
    "rm_all_containers",
    "runtime_binding_address",
    "runtime_container_image",
    "runtime_extra_build_args",
    "runtime_extra_deps",
    "selected_repo",
    "trusted_dirs",
    "use_host_network",
    "user_id",
    "volumes",
    "vscode_port",
});
constexpr auto kSections = std::to_array<std::string_view>({"core", "sandbox", "sandkey"});
constexpr auto kForeignSections = std::to_array<std::string_view>(
    {"agent", "cli", "condenser", "extended", "kubernetes", "llm", "mcp", "model_routing", "security"});

// What is wrong with a value, as the end of a sentence: "must be ...".
struct Complaint {
  std::string text;
};

std::string expected(const Setting& setting) {
  switch (setting.kind) {
    case Kind::text:
      return "must be a text";
    case Kind::boolean:
      return "must be true or false";
    case Kind::seconds:
      return fmt::format("must be a whole number of seconds from {} to {}", setting.least, setting.most);
    case Kind::duration:
      return "must be a number of seconds or a duration such as \"30s\", \"5m\" or \"1h\", a year at most";
    case Kind::size:
      return "must be a number of bytes or a size such as \"512M\" or \"2G\"";
    case Kind::count:
      return fmt::format("must be a whole number from {} to {}", setting.least, setting.most);
    case Kind::variables:
      return "must be a table of texts";
  }
  return "";
}

std::uint64_t in_range(const Setting& setting, std::uint64_t number) {
  if (number < setting.least || number > setting.most) throw Complaint{expected(setting)};
  return number;
}

std::optional<std::uint64_t> quantity_from_text(const Setting& setting, std::string_view text) {
  if (setting.kind == Kind::size) return size_from_text(text);
  const auto time = duration_from_text(text);
  if (!time) return std::nullopt;
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*time).count());
}

Variables variables_from_toml(const Setting& setting, const TomlValue& value) {
  if (!value.is(TomlValue::Type::table)) throw Complaint{expected(setting)};
  Variables variables;
  for (const TomlValue& item : value.items) {
    if (!item.is(TomlValue::Type::text)) {
      throw Complaint{
          fmt::format("{}, and {} is {}", expected(setting), shown_key(item.key), describe(item.type))};
    }
    variables[item.key] = item.text;
  }
  return variables;
}

Value from_toml(const Setting& setting, const TomlValue& value) {
  const auto wrong_type = [&] {
    return Complaint{expected(setting) + ", not " + std::string(describe(value.type))};
  };
  switch (setting.kind) {
    case Kind::text:
      if (!value.is(TomlValue::Type::text)) throw wrong_type();
      return value.text;
    case Kind::boolean:
      if (!value.is(TomlValue::Type::boolean)) throw wrong_type();
      return value.boolean;
    case Kind::variables:
      return variables_from_toml(setting, value);
    case Kind::duration:
    case Kind::size:
      if (value.is(TomlValue::Type::text)) {
        const auto number = quantity_from_text(setting, value.text);
        if (!number) throw Complaint{expected(setting)};
        return in_range(setting, *number);
      }
      [[fallthrough]];
    case Kind::seconds:
    case Kind::count:
      if (!value.is(TomlValue::Type::integer)) throw wrong_type();
      if (value.integer < 0) throw Complaint{expected(setting)};
      return in_range(setting, static_cast<std::uint64_t>(value.integer));
  }
  throw wrong_type();
}

// A Python literal such as {'A': 'b', "C": "d"}: OpenHands' form of a table in a variable. JSON of texts is
// one as well.
class PythonDictionary {
 public:
  explicit PythonDictionary(std::string_view text) : rest_(text) {}

  std::optional<Variables> parse() {
    Variables variables;
    if (!take('{')) return std::nullopt;
    while (!take('}')) {
      const auto name = text();
      if (!name || !take(':')) return std::nullopt;
      const auto value = text();
      if (!value) return std::nullopt;
      variables[*name] = *value;
      if (take(',')) continue;
      if (!take('}')) return std::nullopt;
      break;
    }
    skip_blanks();
    if (!rest_.empty()) return std::nullopt;
    return variables;
  }

 private:
  void skip_blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size())); }

  bool take(char wanted) {
    skip_blanks();
    if (!rest_.starts_with(wanted)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::optional<std::string> text() {
    const char quote = take('\'') ? '\'' : take('"') ? '"' : '\0';
    if (quote == '\0') return std::nullopt;
    std::string result;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == quote) return result;
      if (c != '\\') {
        result += c;
        continue;
      }
      if (rest_.empty()) return std::nullopt;
      constexpr std::string_view kEscapes = "\\'\"nrt";
      constexpr std::string_view kMeanings = "\\'\"\n\r\t";
      const std::size_t which = kEscapes.find(rest_.front());
      if (which == std::string_view::npos) return std::nullopt;
      result += kMeanings[which];
      rest_.remove_prefix(1);
    }
    return std::nullopt;
  }

  std::string_view rest_;
};

Value from_text(const Setting& setting, std::string_view text) {
  switch (setting.kind) {
    case Kind::text:
      return std::string(text);
    case Kind::boolean: {
      std::string lower(text);
      for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
      if (lower == "true" || lower == "1") return true;
      if (lower == "false" || lower == "0") return false;
      throw Complaint{"must be true, false, 1 or 0"};
    }
    case Kind::variables: {
      auto variables = PythonDictionary(text).parse();
      if (!variables) throw Complaint{"must be a table of texts such as {'NAME': 'value'}"};
      return std::move(*variables);
    }
    case Kind::seconds:
    case Kind::duration:
    case Kind::size: {
      const auto number = quantity_from_text(setting, text);
      if (!number) throw Complaint{expected(setting)};
      return in_range(setting, *number);
    }
    case Kind::count: {
      std::uint64_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (error != std::errc() || end != text.data() + text.size()) throw Complaint{expected(setting)};
      return in_range(setting, number);
    }
  }
  throw Complaint{expected(setting)};
}

std::string did_you_mean(std::string_view key, std::span<const std::string_view> known) {
  const std::string_view nearest = nearest_name(key, known);
  return nearest.empty() ? std::string() : fmt::format("; did you mean {}?", nearest);
}

class Loader {
 public:
  explicit Loader(const ConfigSources& sources) : sources_(sources) {}

  LoadedConfig load() {
    read_file();
    read_environment();
    read_overrides();
    if (!complaints_.empty()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("reading the configuration: {}", fmt::join(complaints_, "; ")));
    }
    make_workspace_absolute();
    return std::move(loaded_);
  }

 private:
  void read_file() {
    const fs::path path = sources_.file ? sources_.working_directory / *sources_.file
                                        : sources_.working_directory / "config.toml";
    const SmallFile file = read_small_file(path);
    if (file.state == SmallFile::State::absent) {
      if (!sources_.file) return;
      throw Error(ErrorCode::not_found,
                  fmt::format("reading the configuration: {} does not exist; name one that does, or none",
                              path.string()));
    }
    if (file.state == SmallFile::State::unusable) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("reading the configuration: {} {}", path.string(), file.reason));
    }
    loaded_.file = path;
    TomlValue document;
    try {
      document = parse_toml(file.text, path.string());
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("reading the configuration: {}", error.what()));
    }
    for (const TomlValue& section : document.items) {
      if (std::find(kSections.begin(), kSections.end(), section.key) != kSections.end()) {
        if (section.is(TomlValue::Type::table)) {
          read_section(section);
        } else {
          complain(section.line, fmt::format("[{}] must be a section", section.key));
        }
      } else if (section.is(TomlValue::Type::table) &&
                 std::find(kForeignSections.begin(), kForeignSections.end(), section.key) ==
                     kForeignSections.end()) {
        const std::string guess = did_you_mean(section.key, kSections);
        if (!guess.empty()) {
          warn(section.line, fmt::format("[{}] is ignored{}", shown_key(section.key), guess));
        }
      }
    }
  }

  void read_section(const TomlValue& section) {
    for (const TomlValue& item : section.items) {
      const auto setting = std::find_if(kSettings.begin(), kSettings.end(), [&](const Setting& s) {
        return s.section == section.key && s.key == item.key;
      });
      if (setting != kSettings.end() && !setting->not_in_file.empty()) {
        complain(item.line, fmt::format("{} in [{}]: {}", item.key, section.key, setting->not_in_file));
      } else if (setting != kSettings.end()) {
        try {
          put(*setting, from_toml(*setting, item), file_origin(item.line));
        } catch (const Complaint& complaint) {
          complain(item.line, fmt::format("{} in [{}] {}", item.key, section.key, complaint.text));
        }
      } else if (section.key != "core" || !read_field(item)) {
        judge_unknown(section.key, item);
      }
    }
  }

  bool read_field(const TomlValue& item) {
    const auto field = std::find_if(sources_.fields.begin(), sources_.fields.end(),
                                    [&](const ConfigField& f) { return f.key == item.key; });
    if (field == sources_.fields.end()) return false;
    if (item.is(TomlValue::Type::text)) {
      loaded_.config.provider_fields[item.key] = {std::make_shared<const Secret>(item.text), field->secret,
                                                  file_origin(item.line)};
    } else {
      complain(item.line, fmt::format("{} in [core] must be a text, not {}", item.key, describe(item.type)));
    }
    return true;
  }

  void judge_unknown(std::string_view section, const TomlValue& item) {
    std::vector<std::string_view> known;
    if (section == "core") known.assign(kForeignCoreKeys.begin(), kForeignCoreKeys.end());
    if (section == "sandbox") known.assign(kForeignSandboxKeys.begin(), kForeignSandboxKeys.end());
    if (std::find(known.begin(), known.end(), item.key) != known.end()) return;
    for (const Setting& setting : kSettings) {
      if (setting.section == section) known.push_back(setting.key);
    }
    if (section == "core") {
      for (const ConfigField& field : sources_.fields) known.push_back(field.key);
    }
    const std::string text =
        fmt::format("unknown key {} in [{}]{}", shown_key(item.key), section, did_you_mean(item.key, known));
    if (section == "core") {
      warn(item.line, text);
    } else {
      complain(item.line, text);
    }
  }

  void read_environment() {
    for (const Setting& setting : kSettings) {
      const std::string variable = setting.variable();
      const auto text = nonempty_variable(sources_.environment, variable);
      if (!text) continue;
      try {
        put(setting, from_text(setting, *text), {Origin::Kind::environment, variable});
      } catch (const Complaint& complaint) {
        const std::string said = fmt::format("{} in the environment {}", variable, complaint.text);
        if (setting.section == "sandkey") {
          complaints_.push_back(said);
        } else {
          loaded_.warnings.push_back(said + "; it is passed over");
        }
      }
    }
    constexpr std::string_view kPrefix = "SANDBOX_ENV_";
    for (const std::string& variable : sources_.variables) {
      if (!variable.starts_with(kPrefix) || variable.size() == kPrefix.size()) continue;
      const auto value = sources_.environment(variable);
      if (!value) continue;
      loaded_.config.sandbox.initial_env_vars[variable.substr(kPrefix.size())] = *value;
    }
  }

  void read_overrides() {
    for (const ConfigOverride& change : sources_.overrides) {
      const std::string shown = change.source.empty() ? change.key : change.source;
      const Origin origin{Origin::Kind::program, change.source};
      const auto setting = std::find_if(kSettings.begin(), kSettings.end(),
                                        [&](const Setting& s) { return s.name() == change.key; });
      if (setting != kSettings.end()) {
        try {
          put(*setting, from_text(*setting, change.value), origin);
        } catch (const Complaint& complaint) {
          complaints_.push_back(fmt::format("{} {}", shown, complaint.text));
        }
        continue;
      }
      const auto field = std::find_if(sources_.fields.begin(), sources_.fields.end(),
                                      [&](const ConfigField& f) { return f.key == change.key; });
      if (field == sources_.fields.end()) {
        std::vector<std::string> names;
        for (const Setting& known : kSettings) names.push_back(known.name());
        for (const ConfigField& known : sources_.fields) names.emplace_back(known.key);
        complaints_.push_back(
            fmt::format("{} is not a setting{}", shown_key(change.key),
                        did_you_mean(change.key, std::vector<std::string_view>(names.begin(), names.end()))));
        continue;
      }
      loaded_.config.provider_fields[change.key] = {std::make_shared<const Secret>(change.value),
                                                    field->secret, origin};
    }
  }

  // OpenHands takes it relative to where it was started.
  void make_workspace_absolute() {
    std::string& folder = loaded_.config.workspace_base;
    if (folder.empty()) return;
    folder = fs::absolute(sources_.working_directory / folder).lexically_normal().string();
    if (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  }

  void put(const Setting& setting, Value value, Origin origin) {
    setting.put(loaded_.config, std::move(value));
    loaded_.config.origins[setting.name()] = std::move(origin);
  }

  [[nodiscard]] Origin file_origin(int line) const {
    return {Origin::Kind::config_file, loaded_.file.string(), line};
  }
  void warn(int line, const std::string& text) {
    loaded_.warnings.push_back(fmt::format("{}:{}: {}", loaded_.file.string(), line, text));
  }
  void complain(int line, const std::string& text) {
    complaints_.push_back(fmt::format("{}:{}: {}", loaded_.file.string(), line, text));
  }

  const ConfigSources& sources_;
  LoadedConfig loaded_;
  std::vector<std::string> complaints_;
};

std::string shown(Kind kind, const Value& value) {
  if (const bool* boolean = std::get_if<bool>(&value)) return *boolean ? "true" : "false";
  if (const auto* number = std::get_if<std::uint64_t>(&value)) {
    return std::to_string(*number) + (kind == Kind::seconds || kind == Kind::duration ? "s" : "");
  }
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  // Their values may well be secrets.
  std::string names;
  for (const auto& [name, text] : std::get<Variables>(value)) {
    names += (names.empty() ? "" : ", ") + name + "=[secret]";
  }
  return names;
}

std::string shown(const ConfigValue& field) {
  if (field.secret) return "[secret]";
  std::string text(field.value->expose());
  return text.find('@') == std::string::npos ? text : "[not shown: it may hold a password]";
}

}  // namespace

LoadedConfig load_config(const ConfigSources& sources) {
  return Loader(sources).load();
}

std::vector<ShownSetting> show_config(const OpenHandsConfig& config) {
  std::vector<ShownSetting> settings;
  for (const Setting& setting : kSettings) {
    const std::string name = setting.name();
    const auto origin = config.origins.find(name);
    const auto value = setting.get(config);
    settings.push_back({name, value ? shown(setting.kind, *value) : "(not set)",
                        origin == config.origins.end() ? Origin{} : origin->second});
  }
  if (!config.sandbox.initial_env_vars.empty()) {
    const Value variables = config.sandbox.initial_env_vars;
    settings.push_back({"sandbox.initial_env_vars",
                        shown(Kind::variables, variables),
                        {Origin::Kind::environment, "SANDBOX_ENV_..."}});
  }
  for (const auto& [key, field] : config.provider_fields) {
    settings.push_back({key, shown(field), field.origin});
  }
  return settings;
}

}  // namespace sandkey
