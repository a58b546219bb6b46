#include "sandkey/credentials/profile_file.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/config/nearest_name.h"
#include "sandkey/config/small_file.h"
#include "sandkey/config/units.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <span>
#include <utility>

namespace sandkey {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes kLongestHelper{5};

constexpr auto kSources = std::to_array<std::pair<std::string_view, Origin::Kind>>({
    {"environment", Origin::Kind::environment},
    {"config", Origin::Kind::config_file},
    {"profile", Origin::Kind::profile},
    {"helper", Origin::Kind::helper},
    {"vendor", Origin::Kind::vendor_file},
    {"keyring", Origin::Kind::keyring},
});

Error refused(const std::string& why) {
  return {ErrorCode::permission_denied, why};
}

// Ours, and nobody else's business.
void require_private(const fs::path& path, uid_t owner, mode_t mode, bool folder) {
  if (owner != ::geteuid()) {
    throw refused(
        fmt::format("{} belongs to user {}, and we are user {}: move it away, or run: chown {} '{}'",
                    path.string(), owner, ::geteuid(), ::geteuid(), path.string()));
  }
  if ((mode & 077U) != 0) {
    throw refused(fmt::format("{} is open to others (mode {:04o}); run: chmod {} '{}'", path.string(),
                              mode & 07777U, folder ? "700" : "600", path.string()));
  }
}

bool same(const TomlValue& a, const TomlValue& b) {
  return a.type == b.type && a.key == b.key && a.boolean == b.boolean && a.integer == b.integer &&
         a.text == b.text && std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same);
}

// Where a section stands does not matter.
void sort_by_key(TomlValue& table) {
  std::sort(table.items.begin(), table.items.end(),
            [](const TomlValue& a, const TomlValue& b) { return a.key < b.key; });
  for (TomlValue& item : table.items) {
    if (item.is(TomlValue::Type::table)) sort_by_key(item);
  }
}

// The document without one entry, nor the profile that would be left empty.
TomlValue without(TomlValue document, std::string_view profile, std::string_view provider) {
  sort_by_key(document);
  for (TomlValue& table : document.items) {
    if (table.key != profile) continue;
    std::erase_if(table.items, [&](const TomlValue& item) { return item.key == provider; });
  }
  std::erase_if(document.items,
                [&](const TomlValue& table) { return table.key == profile && table.items.empty(); });
  return document;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

bool is_header_of(std::string_view line, std::string_view profile, std::string_view provider) {
  std::string squeezed;
  for (const char c : line.substr(0, line.find('#'))) {
    if (c != ' ' && c != '\t' && c != '\r') squeezed += c;
  }
  return squeezed == fmt::format("[{}.{}]", profile, provider);
}

// The text with the entry's section replaced, removed or appended. Only the obvious forms are understood; the
// caller checks the outcome.
std::string edited(std::string_view text, std::string_view profile, std::string_view provider,
                   const std::optional<std::string>& section) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  const auto header = std::find_if(lines.begin(), lines.end(), [&](std::string_view line) {
    return is_header_of(line, profile, provider);
  });
  auto next = header;
  if (header != lines.end()) {
    next = std::find_if(header + 1, lines.end(),
                        [](std::string_view line) { return trimmed(line).starts_with('['); });
    // The comment above the next section is that section's.
    while (next != lines.end() && next - 1 != header &&
           (trimmed(*(next - 1)).empty() || trimmed(*(next - 1)).starts_with('#'))) {
      --next;
    }
  }
  std::string result;
  const auto copy = [&](auto from, auto to) {
    for (; from != to; ++from) result.append(*from).append("\n");
  };
  copy(lines.begin(), header);
  if (section) {
    if (header == lines.end() && !result.empty() && !result.ends_with("\n\n")) result += "\n";
    result += *section;
    if (next != lines.end() && !trimmed(*next).empty()) result += "\n";
  }
  copy(next, lines.end());
  return result;
}

void write_durably(const fs::path& path, std::string_view text) {
  const std::string doing = "writing " + path.string();
  std::string temporary = path.string() + ".XXXXXX";
  const UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
  if (!fd) throw system_error(doing, errno);
  const auto fail = [&] {
    const int error = errno;
    ::unlink(temporary.c_str());
    return system_error(doing, error);
  };
  while (!text.empty()) {
    const ssize_t n = ::write(fd.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw fail();
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fsync(fd.get()) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) throw fail();
}

void make_folders(const fs::path& folder) {
  fs::path made;
  for (const fs::path& part : folder) {
    made /= part;
    if (part.empty() || ::mkdir(made.c_str(), 0700) == 0 || errno == EEXIST) continue;
    const int error = errno;
    struct stat info {};
    if (::stat(made.c_str(), &info) != 0) throw system_error("making the folder " + made.string(), error);
  }
}

std::string section_of(std::string_view profile, std::string_view provider,
                       const std::vector<ProfileFile::Line>& lines, bool allow_cleartext) {
  std::string section = fmt::format("[{}.{}]\n", profile, provider);
  for (const ProfileFile::Line& line : lines)
    section += fmt::format("{} = {}\n", line.key, toml_quoted(line.value.expose()));
  if (allow_cleartext) section += "allow_cleartext = true\n";
  return section;
}

class EntryReader {
 public:
  EntryReader(const CredentialSpec& spec, std::string_view file, std::string_view profile)
      : spec_(spec), file_(file), profile_(profile) {}

  ProfileEntry read(const TomlValue& document) {
    const TomlValue* table = document.find(profile_);
    if (table == nullptr) {
      std::string others;
      for (const TomlValue& item : document.items)
        others += (others.empty() ? "" : ", ") + shown_key(item.key);
      return {.offer = Offer::nothing(fmt::format("{} has no profile '{}'{}", file_, profile_,
                                                  others.empty() ? "" : " (it has " + others + ")"))};
    }
    if (!table->is(TomlValue::Type::table)) complain(*table, "must be a profile, as in [default.e2b]");
    const TomlValue* entry = nullptr;
    for (const TomlValue& item : table->items) {
      if (read_helper(item)) continue;
      if (!item.is(TomlValue::Type::table)) {
        complain(item,
                 "is not known of a profile; there are helper, helper_timeout and the providers' tables");
      }
      if (item.key == spec_.provider) entry = &item;
    }
    if (entry != nullptr) {
      for (const TomlValue& item : entry->items) read_line(item);
    }
    if (!result_.offer.parts.empty() && own_helper_) {
      throw Error(ErrorCode::credential_malformed,
                  fmt::format("{}:{}: [{}.{}] has both a helper and {}: remove one of them", file_,
                              entry->line, profile_, spec_.provider, result_.offer.parts.begin()->first));
    }
    if (result_.offer.parts.empty()) {
      result_.endpoints_of_helper = std::move(result_.offer.endpoints);
      result_.settings_of_helper = std::move(result_.offer.settings);
      result_.offer.outcome = Offer::Outcome::not_configured;
      result_.offer.reason = entry == nullptr
                                 ? fmt::format("{} has no [{}.{}]", file_, profile_, spec_.provider)
                                 : fmt::format("[{}.{}] in {} has no key", profile_, spec_.provider, file_);
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void complain(const TomlValue& item, const std::string& what) const {
    throw Error(ErrorCode::credential_malformed,
                fmt::format("{}:{}: {} {}", file_, item.line, shown_key(item.key), what));
  }

  const std::string& text_of(const TomlValue& item) const {
    if (!item.is(TomlValue::Type::text)) {
      complain(item, fmt::format("must be a text, not {}", describe(item.type)));
    }
    return item.text;
  }

  bool read_helper(const TomlValue& item) {
    if (item.key == "helper") {
      constexpr std::string_view kForm = R"(must be a list of texts, such as ["/usr/local/bin/fetch-key"])";
      if (!item.is(TomlValue::Type::list) || item.items.empty()) complain(item, std::string(kForm));
      std::vector<std::string> command;
      for (const TomlValue& word : item.items) {
        if (!word.is(TomlValue::Type::text)) complain(item, std::string(kForm));
        if (word.text.find('\0') != std::string::npos) complain(item, "must not hold a zero byte");
        command.push_back(word.text);
      }
      if (!command.front().starts_with('/')) {
        complain(item, "must name its program by an absolute path; no shell and no $PATH is used");
      }
      result_.helper = std::move(command);
      return true;
    }
    if (item.key == "helper_timeout") {
      const auto limit = item.is(TomlValue::Type::text) ? duration_from_text(item.text) : std::nullopt;
      if (!limit || *limit > kLongestHelper) complain(item, "must be a duration such as \"10s\", 5m at most");
      result_.helper_timeout = *limit;
      return true;
    }
    return false;
  }

  void read_line(const TomlValue& item) {
    if (read_helper(item)) {
      own_helper_ = own_helper_ || item.key == "helper";
      return;
    }
    if (item.key == "allow_cleartext") {
      if (!item.is(TomlValue::Type::boolean)) complain(item, "must be true or false");
      result_.allow_cleartext = item.boolean;
      return;
    }
    if (item.key == "source") {
      result_.source = source_from_text(text_of(item));
      if (!result_.source) {
        complain(item,
                 "must be \"environment\", \"config\", \"profile\", \"helper\", \"vendor\" or \"keyring\"");
      }
      return;
    }
    const std::string label = fmt::format("{} in {}:{}", item.key, file_, item.line);
    std::vector<std::string_view> known{"helper", "helper_timeout", "allow_cleartext", "source"};
    for (const FormSpec& form : spec_.forms) {
      for (const PartSpec& part : form.parts) {
        known.push_back(part.name);
        if (part.name != item.key) continue;
        result_.offer.parts[item.key] = {Secret(text_of(item)), label, {}};
        return;
      }
    }
    for (const EndpointSpec& endpoint : spec_.endpoints) {
      known.push_back(endpoint.name);
      if (endpoint.name != item.key) continue;
      result_.offer.endpoints[item.key] = {text_of(item), label};
      return;
    }
    for (const SettingSpec& setting : spec_.settings) {
      known.push_back(setting.name);
      if (setting.name != item.key) continue;
      result_.offer.settings[item.key] = {text_of(item), label};
      return;
    }
    const std::string_view nearest = nearest_name(item.key, known);
    complain(item, fmt::format("is not known of [{}.{}]{}", profile_, spec_.provider,
                               nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
  }

  const CredentialSpec& spec_;
  std::string_view file_;
  std::string_view profile_;
  ProfileEntry result_;
  bool own_helper_ = false;
};

}  // namespace

std::optional<fs::path> config_folder(const Environment& environment) {
  std::optional<fs::path> folder;
  if (const auto own = nonempty_variable(environment, "SANDKEY_CONFIG_DIR")) {
    folder = *own;
  } else if (const auto xdg = nonempty_variable(environment, "XDG_CONFIG_HOME")) {
    folder = fs::path(*xdg) / "sandkey";
  } else if (const auto home = nonempty_variable(environment, "HOME")) {
    folder = fs::path(*home) / ".config" / "sandkey";
  }
  if (folder && !folder->is_absolute()) folder.reset();
  return folder;
}

bool is_profile_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

std::optional<Origin::Kind> source_from_text(std::string_view text) noexcept {
  for (const auto& [name, kind] : kSources) {
    if (name == text) return kind;
  }
  return std::nullopt;
}

ProfileFile::ProfileFile(fs::path folder) : folder_(std::move(folder)), path_(folder_ / "credentials.toml") {}

std::optional<std::string> ProfileFile::load() const {
  if (draft_) return std::string(draft_->expose());
  SmallFile file = read_small_file(path_, kMaxSettingsFile, Links::refuse);
  if (file.state == SmallFile::State::absent) return std::nullopt;
  if (file.state == SmallFile::State::unusable) throw refused(path_.string() + " " + file.reason);
  require_private(path_, file.owner, file.mode, false);
  // Whoever may write the folder may put another file in the place of ours.
  struct stat folder {};
  if (::stat(folder_.c_str(), &folder) != 0) throw system_error("examining " + folder_.string(), errno);
  require_private(folder_, folder.st_uid, folder.st_mode & 07777U, true);
  return std::move(file.text);
}

ProfileEntry ProfileFile::read(const CredentialSpec& spec, std::string_view profile) const {
  try {
    const std::optional<std::string> text = load();
    if (!text) return {.offer = Offer::nothing(path_.string() + " does not exist")};
    return EntryReader(spec, path_.string(), profile).read(parse_toml(*text, path_.string()));
  } catch (const Error& error) {
    return {.offer = Offer::broken(error.what())};
  }
}

std::vector<std::string> ProfileFile::profiles() const {
  std::vector<std::string> names;
  try {
    const std::optional<std::string> text = load();
    if (!text) return names;
    for (const TomlValue& item : parse_toml(*text, path_.string()).items) {
      if (item.is(TomlValue::Type::table)) names.push_back(item.key);
    }
  } catch (const Error&) {
    names.clear();
  }
  return names;
}

bool ProfileFile::replace(std::string_view profile, std::string_view provider,
                          const std::optional<std::string>& section) const {
  if (!is_profile_name(profile)) {
    throw Error(
        ErrorCode::invalid_argument,
        "writing " + path_.string() + ": a profile's name is made of 1 to 64 letters, digits, '_' and '-'");
  }
  if (section) make_folders(folder_);
  const UniqueFd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) {
    if (!section && errno == ENOENT) return false;
    throw system_error("opening " + folder_.string(), errno);
  }
  while (::flock(folder.get(), LOCK_EX) != 0) {
    if (errno != EINTR) throw system_error("locking " + folder_.string(), errno);
  }
  struct stat info {};
  if (::fstat(folder.get(), &info) != 0) throw system_error("examining " + folder_.string(), errno);
  require_private(folder_, info.st_uid, info.st_mode & 07777U, true);

  const std::string before = load().value_or("");
  const TomlValue old = parse_toml(before, path_.string());
  const TomlValue* table = old.find(profile);
  const bool existed = table != nullptr && table->find(provider) != nullptr;
  if (!existed && !section) return false;
  std::string after = edited(before, profile, provider, section);
  bool right = false;
  try {
    const TomlValue fresh = parse_toml(after, path_.string());
    const TomlValue* entry = fresh.find(profile);
    if (entry != nullptr) entry = entry->find(provider);
    const bool there = entry != nullptr;
    right = there == section.has_value() &&
            same(without(fresh, profile, provider), without(old, profile, provider));
    if (right && there) {
      const TomlValue wanted = parse_toml(*section, "");
      right = same(*entry, *wanted.find(profile)->find(provider));
    }
  } catch (const Error&) {
    right = false;
  }
  if (!right) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("writing {}: [{}.{}] is not written there as a section of its own; edit it by hand",
                    path_.string(), profile, provider));
  }
  write_durably(path_, after);
  wipe(after.data(), after.size());
  ::fsync(folder.get());
  return existed;
}

void ProfileFile::save(std::string_view profile, std::string_view provider, const std::vector<Line>& lines,
                       bool allow_cleartext) const {
  replace(profile, provider, section_of(profile, provider, lines, allow_cleartext));
}

ProfileFile ProfileFile::draft(fs::path folder, std::string_view profile, std::string_view provider,
                               const std::vector<Line>& lines, bool allow_cleartext) {
  ProfileFile file(std::move(folder));
  file.draft_ = std::make_shared<const Secret>(section_of(profile, provider, lines, allow_cleartext));
  return file;
}

bool ProfileFile::remove(std::string_view profile, std::string_view provider) const {
  return replace(profile, provider, std::nullopt);
}

}  // namespace sandkey
