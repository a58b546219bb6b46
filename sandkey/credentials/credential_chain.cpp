#include "sandkey/credentials/credential_chain.h"

#include "sandkey/base/engine.h"
#include "sandkey/config/small_file.h"
#include "sandkey/config/toml_document.h"
#include "sandkey/credentials/credential_url.h"
#include "sandkey/credentials/helper_command.h"
#include "sandkey/credentials/part_check.h"
#include "sandkey/credentials/profile_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using Kind = Origin::Kind;

constexpr auto kOrder = std::to_array<Kind>({Kind::program, Kind::environment, Kind::config_file,
                                             Kind::profile, Kind::helper, Kind::vendor_file, Kind::keyring});

// Who can write there: whoever started us; whoever owns the home; whoever made the folder we happen to be in.
int trust(Kind kind) {
  switch (kind) {
    case Kind::default_value:
      return 3;
    case Kind::program:
    case Kind::environment:
      return 2;
    case Kind::profile:
    case Kind::helper:
    case Kind::vendor_file:
    case Kind::keyring:
      return 1;
    case Kind::config_file:
      return 0;
  }
  return 0;
}

// "A", "A and B", "A, B and C".
std::string listed(const std::vector<std::string>& names, std::string_view last = "and") {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? fmt::format(" {} ", last) : ", ";
    text += names[i];
  }
  return text;
}

std::string not_set(const std::vector<std::string>& names) {
  return listed(names) + (names.size() == 1 ? " is not set" : " are not set");
}

// Ends the search.
struct Stop {
  Error error;
};

class Search {
 public:
  Search(const std::map<std::string, ConfigValue>& fields, const CredentialWorld& world,
         const CredentialChoice& choice, const CredentialSpec& spec)
      : fields_(fields),
        world_(world),
        choice_(choice),
        spec_(spec),
        profile_(choice.profile.empty() ? std::string(kDefaultProfile) : choice.profile),
        only_(choice.source) {
    if (world.profiles) {
      profiles_ = *world.profiles;
    } else if (const auto folder = config_folder(world.environment)) {
      profiles_.emplace(*folder);
    }
  }

  Resolution run() {
    note_env_files();
    try {
      for (const Kind kind : kOrder) {
        if (!asked(kind)) continue;
        if (resolution_.credential) {
          step(kind, SourceStep::Outcome::not_asked, "an earlier source has it");
        } else {
          try_source(kind);
        }
      }
      // A profile may name a source that comes before it in the order.
      if (!resolution_.credential && only_ && !tried(*only_)) try_source(*only_);
      if (!resolution_.credential) missing();
    } catch (const Stop& stop) {
      resolution_.credential.reset();
      resolution_.error = stop.error;
    }
    return std::move(resolution_);
  }

 private:
  [[nodiscard]] bool asked(Kind kind) const {
    if (kind == Kind::program) return true;
    if (only_) return kind == *only_;
    return choice_.profile.empty() || kind == Kind::profile || kind == Kind::helper || kind == Kind::keyring;
  }

  [[nodiscard]] bool tried(Kind kind) const {
    return std::any_of(resolution_.steps.begin(), resolution_.steps.end(),
                       [&](const SourceStep& step) { return step.source == kind; });
  }

  void step(Kind kind, SourceStep::Outcome outcome, std::string detail) {
    resolution_.steps.push_back({kind, outcome, std::move(detail)});
  }

  [[noreturn]] void stop(ErrorCode code, const std::string& what) const {
    ErrorContext context;
    context.provider = std::string(spec_.provider);
    context.processed = Processed::no;
    throw Stop{Error(code, fmt::format("finding the credential of {}: {}", spec_.provider, what), context)};
  }

  [[noreturn]] void broken(Kind kind, const std::string& what) {
    step(kind, SourceStep::Outcome::broken, what);
    stop(ErrorCode::credential_malformed, what);
  }

  void try_source(Kind kind) {
    Offer offer = ask(kind);
    if (offer.outcome == Offer::Outcome::broken) broken(kind, offer.reason);
    if (offer.outcome == Offer::Outcome::found) {
      std::optional<Credential::Data> data = judged(kind, offer);
      if (data) {
        data->warnings.insert(data->warnings.end(), offer.notes.begin(), offer.notes.end());
        const std::string from = fmt::format("from {}", data->origin.to_string());
        step(kind, SourceStep::Outcome::found, data->form + " " + from);
        add_endpoints(*data, offer);
        add_settings(*data, offer);
        const Credential& credential = resolution_.credential.emplace(std::move(*data));
        resolution_.steps.back().detail =
            fmt::format("{} (fingerprint {}) {}", credential.form(), credential.fingerprint(), from);
        return;
      }
    }
    step(kind, SourceStep::Outcome::not_configured, offer.reason);
  }

  // ---- the sources

  Offer ask(Kind kind) {
    switch (kind) {
      case Kind::program:
      case Kind::config_file:
        return ask_fields(kind);
      case Kind::environment:
        return ask_environment();
      case Kind::profile:
        return ask_profile();
      case Kind::helper:
        return ask_profiles_helper();
      case Kind::vendor_file:
        return ask_vendor();
      case Kind::keyring:
        return ask_keyring();
      case Kind::default_value:
        break;
    }
    return Offer::nothing("");
  }

  [[nodiscard]] const ConfigValue* field(std::string_view key, Kind kind) const {
    if (key.empty()) return nullptr;
    const auto found = fields_.find(std::string(key));
    if (found == fields_.end() || found->second.origin.kind != kind || !found->second.value) return nullptr;
    return &found->second;
  }

  Offer ask_fields(Kind kind) {
    Offer offer;
    std::vector<std::string> keys;
    for (const FormSpec& form : spec_.forms) {
      for (const PartSpec& part : form.parts) {
        if (part.secret && !part.config_key.empty()) keys.emplace_back(part.config_key);
        const ConfigValue* value = field(part.config_key, kind);
        if (value == nullptr) continue;
        const std::string label = kind == Kind::program
                                      ? std::string(part.config_key)
                                      : fmt::format("{} in {}", part.config_key, value->origin.to_string());
        offer.parts[std::string(part.name)] = {value->value->clone(), label, value->origin};
      }
    }
    offer.reason =
        kind == Kind::program ? "the program gave none" : fmt::format("{} in config.toml", not_set(keys));
    return offer;
  }

  Offer ask_environment() {
    Offer offer;
    std::vector<std::string> unset;
    std::vector<std::string> blank;
    for (const FormSpec& form : spec_.forms) {
      for (const PartSpec& part : form.parts) {
        std::string_view taken;
        for (const std::string_view variable : part.variables) {
          const auto value = world_.environment(std::string(variable));
          const CheckedPart checked = value ? check_part(*value) : CheckedPart{};
          if (checked.value.empty()) {
            if (part.secret) (value ? blank : unset).emplace_back(variable);
            continue;
          }
          if (taken.empty()) {
            taken = variable;
            offer.parts[std::string(part.name)] = {
                Secret(*value), std::string(variable), {Kind::environment, std::string(variable)}};
          } else if (!checked.value.matches(
                         check_part(offer.parts.find(part.name)->second.value.expose()).value.expose())) {
            return Offer::broken(fmt::format(
                "{} and {} are both set in the environment, and differ; unset one of them", taken, variable));
          }
        }
      }
    }
    if (!unset.empty()) offer.reason = not_set(unset);
    if (!blank.empty()) {
      offer.reason +=
          (unset.empty() ? "" : " and ") + listed(blank) + (blank.size() == 1 ? " is" : " are") + " blank";
    }
    offer.reason += " in the environment";
    return offer;
  }

  ProfileEntry& entry() {
    if (entry_) return *entry_;
    if (profiles_) return entry_.emplace(profiles_->read(spec_, profile_));
    entry_.emplace().offer = Offer::nothing(
        "there is no folder for profiles ($SANDKEY_CONFIG_DIR, $XDG_CONFIG_HOME or $HOME must be an absolute "
        "path)");
    return *entry_;
  }

  Offer ask_profile() {
    const ProfileEntry& own = entry();
    if (own.offer.outcome != Offer::Outcome::broken && own.source && !choice_.source) {
      only_ = own.source;
      if (*only_ != Kind::profile) {
        return Offer::nothing(fmt::format("profile '{}' leaves it to the {}", profile_, to_string(*only_)));
      }
    }
    origin_ = {Kind::profile, profile_};
    return std::move(entry().offer);
  }

  Offer ask_profiles_helper() {
    const ProfileEntry& own = entry();
    if (own.offer.outcome == Offer::Outcome::broken) return Offer::broken(own.offer.reason);
    if (own.helper.empty()) return Offer::nothing(fmt::format("profile '{}' has no helper", profile_));
    const std::string& program = own.helper.front();
    origin_ = {Kind::helper, program};
    Offer offer =
        ask_helper({own.helper, own.helper_timeout, profile_}, spec_, world_.environment, world_.now());
    // What the profile says beside its helper holds for what the helper gives.
    for (const auto& [name, place] : own.endpoints_of_helper) {
      const auto [given, fresh] = offer.endpoints.try_emplace(name, place);
      if (!fresh && given->second.value != place.value) {
        return Offer::broken(fmt::format("the helper {} and profile '{}' give different addresses as {}",
                                         program, profile_, name));
      }
    }
    for (const auto& [name, text] : own.settings_of_helper) offer.settings.try_emplace(name, text);
    if (offer.outcome != Offer::Outcome::found) {
      offer.reason = fmt::format("the helper {} {}", program, offer.reason);
    }
    return offer;
  }

  Offer ask_vendor() {
    std::vector<std::string> reasons;
    for (const VendorFileSpec& vendor : spec_.vendor_files) {
      const auto path = vendor.path(world_.environment);
      if (!path) {
        reasons.push_back(
            fmt::format("the file of {} cannot be looked for, since $HOME is not set", vendor.owner));
        continue;
      }
      const std::string named = fmt::format("{} ({}'s)", path->string(), vendor.owner);
      SmallFile file = read_small_file(*path);
      if (file.state == SmallFile::State::absent) {
        reasons.push_back(named + " does not exist");
        continue;
      }
      if (file.state == SmallFile::State::unusable) return Offer::broken(named + " " + file.reason);
      if ((file.mode & 022U) != 0) {
        return Offer::broken(fmt::format("{} can be changed by others (mode {:04o}); run: chmod 600 '{}'",
                                         named, file.mode, path->string()));
      }
      Offer offer = vendor.parse(file.text, world_.environment, world_.now());
      wipe(file.text.data(), file.text.size());
      if (offer.outcome == Offer::Outcome::broken) return Offer::broken(named + " " + offer.reason);
      if (offer.outcome == Offer::Outcome::not_configured) {
        reasons.push_back(named + " " + offer.reason);
        continue;
      }
      if ((file.mode & 044U) != 0) {
        offer.notes.push_back(fmt::format("{} can be read by others (mode {:04o}); run: chmod 600 '{}'",
                                          named, file.mode, path->string()));
      }
      for (auto& [name, part] : offer.parts) part.label += " in " + path->string();
      for (auto& [name, place] : offer.endpoints) place.label += " in " + path->string();
      origin_ = {Kind::vendor_file, path->string()};
      offer.reason = named + " has none";
      return offer;
    }
    if (reasons.empty()) reasons.emplace_back("its vendor's command line keeps no file");
    return Offer::nothing(fmt::format("{}", fmt::join(reasons, "; ")));
  }

  Offer ask_keyring() {
    const std::shared_ptr<Keyring> keyring =
        world_.keyring ? world_.keyring : desktop_keyring(world_.environment);
    Offer offer;
    std::string reason;
    bool reachable = true;
    for (const FormSpec& form : spec_.forms) {
      for (const PartSpec& part : form.parts) {
        if (!reachable) continue;
        const std::string name(part.name);
        KeyringAnswer answer = keyring->lookup({profile_, std::string(spec_.provider), name});
        reachable = !answer.unreachable;
        if (answer.value) {
          offer.parts[name] = {std::move(*answer.value), name + " in the keyring", {}};
        } else if (reason.empty()) {
          reason = answer.reason;
        }
      }
    }
    if (!reachable) offer.parts.clear();
    origin_ = {Kind::keyring};
    offer.reason = "the keyring " + reason;
    if (offer.parts.empty()) offer.outcome = Offer::Outcome::not_configured;
    return offer;
  }

  // ---- what they have

  // What the part is called in that source.
  static std::string name_in(Kind kind, const PartSpec& part) {
    if (kind == Kind::environment) {
      return listed(std::vector<std::string>(part.variables.begin(), part.variables.end()), "or");
    }
    if (kind == Kind::program || kind == Kind::config_file) return std::string(part.config_key);
    return std::string(part.name);
  }

  // The first complete form. Nothing where none was begun.
  std::optional<Credential::Data> judged(Kind kind, const Offer& offer) {
    std::vector<std::string> warnings;
    Parts parts;
    for (const auto& [name, part] : offer.parts) {
      CheckedPart checked = check_part(part.value.expose());
      if (!checked.problem.empty()) {
        broken(kind, fmt::format("{} {}, so it cannot be one; copy it again", part.label, checked.problem));
      }
      if (checked.value.empty()) continue;
      if (checked.trimmed) {
        warnings.push_back(part.label + " has blanks or line breaks around it, which were taken off");
      }
      if (checked.quoted) warnings.push_back(part.label + " is in quotes, which are sent along");
      parts.emplace(name, std::pair{std::move(checked.value), part.label});
    }
    for (const FormSpec& form : spec_.forms) {
      const bool complete = std::all_of(form.parts.begin(), form.parts.end(),
                                        [&](const PartSpec& part) { return parts.contains(part.name); });
      if (!complete) continue;
      Credential::Data data{.provider = std::string(spec_.provider),
                            .form = std::string(form.name),
                            .parts = {},
                            .endpoints = {},
                            .settings = {},
                            .origin = origin_,
                            .expires_at = offer.expires_at,
                            .warnings = std::move(warnings)};
      for (const PartSpec& part : form.parts) take_part(part, parts, data);
      const auto key = std::find_if(form.parts.begin(), form.parts.end(),
                                    [](const PartSpec& part) { return part.secret; });
      const Origin& own = offer.parts.find(key->name)->second.origin;
      if (own.kind != Kind::default_value) data.origin = own;
      for (const auto& [name, rest] : parts) {
        if (!rest.first.empty() && is_secret(name)) {
          data.warnings.push_back(fmt::format("{} is not used: {} comes first", rest.second, form.name));
        }
      }
      return data;
    }
    for (const FormSpec& form : spec_.forms) require_unbegun(kind, form, parts);
    return std::nullopt;
  }

  using Parts = std::map<std::string, std::pair<Secret, std::string>, std::less<>>;

  void take_part(const PartSpec& part, Parts& parts, Credential::Data& data) const {
    auto& [value, label] = parts.find(part.name)->second;
    const bool usual =
        part.usual_prefixes.empty() ||
        std::any_of(part.usual_prefixes.begin(), part.usual_prefixes.end(),
                    [&key = value](std::string_view prefix) { return key.expose().starts_with(prefix); });
    if (!usual) {
      data.warnings.push_back(fmt::format("{} does not start with '{}', as those of {} usually do", label,
                                          fmt::join(part.usual_prefixes, "' or '"), spec_.provider));
    }
    data.parts[std::string(part.name)] = {std::move(value), part.secret};
  }

  [[nodiscard]] bool is_secret(std::string_view name) const {
    return std::any_of(spec_.forms.begin(), spec_.forms.end(), [&](const FormSpec& form) {
      return std::any_of(form.parts.begin(), form.parts.end(),
                         [&](const PartSpec& part) { return part.name == name && part.secret; });
    });
  }

  void require_unbegun(Kind kind, const FormSpec& form, const Parts& parts) {
    std::vector<std::string> have;
    std::vector<std::string> lack;
    for (const PartSpec& part : form.parts) {
      const auto found = parts.find(part.name);
      if (found == parts.end()) {
        lack.push_back(name_in(kind, part));
      } else if (part.secret) {
        have.push_back(found->second.second);
      }
    }
    if (have.empty()) return;
    broken(kind, fmt::format("{} without {} {} only a part of {}; give all of it there, or nothing",
                             listed(have), listed(lack), have.size() == 1 ? "is" : "are", form.name));
  }

  // ---- where it may go

  struct Candidate {
    std::string value;  // checked
    Origin origin;
    std::string label;
  };

  [[nodiscard]] std::optional<Candidate> candidate(const EndpointSpec& endpoint, std::string_view raw,
                                                   Origin origin, const std::string& label) const {
    CheckedPart checked = check_part(raw);
    if (checked.value.empty()) return std::nullopt;
    std::string_view text = checked.value.expose();
    if (endpoint.list) text = text.substr(0, text.find(','));
    // What is no address may be a key in the wrong place, so it is not shown.
    if (endpoint.kind == EndpointSpec::Kind::domain) {
      if (!is_domain(text)) {
        stop(ErrorCode::invalid_argument, label + " is no domain; write it as in example.com");
      }
      return Candidate{std::string(text), std::move(origin), label};
    }
    const auto parsed = checked.problem.empty() ? parse_credential_url(text) : std::nullopt;
    if (!parsed) {
      stop(ErrorCode::invalid_argument,
           label + " is no address of an API; write it as in https://api.example.com, without user or query");
    }
    return Candidate{parsed->url, std::move(origin), label};
  }

  std::optional<Candidate> from_fields(const EndpointSpec& endpoint, Kind kind) const {
    const ConfigValue* value = field(endpoint.config_key, kind);
    if (value == nullptr) return std::nullopt;
    const std::string label = kind == Kind::program
                                  ? std::string(endpoint.config_key)
                                  : fmt::format("{} in {}", endpoint.config_key, value->origin.to_string());
    return candidate(endpoint, value->value->expose(), value->origin, label);
  }

  std::optional<Candidate> from_environment(const EndpointSpec& endpoint) const {
    for (const std::string_view variable : endpoint.variables) {
      const auto value = world_.environment(std::string(variable));
      if (!value) continue;
      const Origin origin{Kind::environment, std::string(variable)};
      auto found = candidate(endpoint, *value, origin, origin.to_string());
      if (found) return found;
    }
    return std::nullopt;
  }

  // With the values of the endpoints it names put in; nothing if one of them has none. `origin` becomes that
  // of what was put in.
  static std::optional<std::string> expanded(
      std::string_view pattern, const std::map<std::string, Credential::Place, std::less<>>& places,
      Origin& origin) {
    std::string text(pattern);
    for (std::size_t open = text.find('{'); open != std::string::npos; open = text.find('{')) {
      const std::size_t close = text.find('}', open);
      const auto place = places.find(text.substr(open + 1, close - open - 1));
      if (place == places.end()) return std::nullopt;
      text.replace(open, close - open + 1, place->second.value);
      origin = place->second.origin;
    }
    return text;
  }

  void add_endpoints(Credential::Data& data, const Offer& offer) const {
    const Kind key = data.origin.kind;
    // A profile that was asked for speaks alone, unless it leaves the matter to one of these.
    const bool environment = choice_.profile.empty() || key == Kind::environment;
    const bool config = choice_.profile.empty() || key == Kind::config_file;
    std::map<std::string, Credential::Place, std::less<>> bound;  // to the key, by its own source
    // Backwards: the defaults of the first are made of those after them.
    for (auto endpoint = spec_.endpoints.rbegin(); endpoint != spec_.endpoints.rend(); ++endpoint) {
      const std::string name(endpoint->name);
      std::optional<Candidate> own;
      if (const auto given = offer.endpoints.find(name); given != offer.endpoints.end()) {
        own = candidate(*endpoint, given->second.value, data.origin, given->second.label);
      } else {
        Origin origin = data.origin;
        const auto implied = expanded(endpoint->default_value, bound, origin);
        if (implied && endpoint->default_value.find('{') != std::string_view::npos) {
          own = candidate(*endpoint, *implied, origin, data.origin.to_string());
        }
      }
      if (own) bound[name] = {own->value, own->origin};

      Origin default_origin;
      std::optional<Candidate> fallback = own;
      if (!fallback) {
        const auto text = expanded(endpoint->default_value, data.endpoints, default_origin);
        if (text && !text->empty())
          fallback = candidate(*endpoint, *text, default_origin, default_origin.to_string());
      }
      std::optional<Candidate> chosen = from_fields(*endpoint, Kind::program);
      if (!chosen && environment) {
        chosen = from_environment(*endpoint);
        if (chosen && own && chosen->value != own->value) {
          stop(ErrorCode::permission_denied,
               fmt::format(
                   "{} is {}, but the key from {} is bound to {}; unset the one, or set the key there as "
                   "well",
                   chosen->label, chosen->value, data.origin.to_string(), own->value));
        }
      }
      if (!chosen && config) {
        chosen = from_fields(*endpoint, Kind::config_file);
        if (chosen && fallback && chosen->value == fallback->value) chosen.reset();
        if (chosen && trust(Kind::config_file) < trust(key)) refuse_redirection(*endpoint, *chosen, data);
      }
      if (!chosen) chosen = fallback;
      if (!chosen) continue;
      require_private_way(*endpoint, *chosen, data);
      data.endpoints[name] = {chosen->value, chosen->origin};
    }
  }

  [[noreturn]] void refuse_redirection(const EndpointSpec& endpoint, const Candidate& chosen,
                                       const Credential::Data& data) const {
    std::string way_out = "put both into a profile";
    if (!endpoint.variables.empty()) {
      way_out = fmt::format("set {} in the environment, or {}", endpoint.variables.front(), way_out);
    }
    stop(ErrorCode::permission_denied,
         fmt::format(
             "{} would send the key from {} to {}, and a file that comes with the working directory may "
             "not redirect a key that does not; if that address is right, {}",
             chosen.label, data.origin.to_string(), chosen.value, way_out));
  }

  // https, this machine, or what the profile itself allows.
  void require_private_way(const EndpointSpec& endpoint, const Candidate& chosen,
                           const Credential::Data& data) const {
    if (endpoint.kind != EndpointSpec::Kind::url) return;
    const auto parsed = parse_credential_url(chosen.value);
    if (!parsed || parsed->https || parsed->loopback()) return;
    const auto of_profile = [](Kind kind) { return kind == Kind::profile || kind == Kind::helper; };
    const bool allowed = entry_ && entry_->allow_cleartext && of_profile(data.origin.kind) &&
                         (of_profile(chosen.origin.kind) || chosen.origin.kind == Kind::program);
    if (allowed) return;
    stop(ErrorCode::invalid_argument,
         fmt::format("{} is {}, where the key would travel in cleartext; use https, or put the key and this "
                     "address into a profile with allow_cleartext = true",
                     chosen.label, chosen.value));
  }

  void add_settings(Credential::Data& data, const Offer& offer) const {
    const Kind key = data.origin.kind;
    for (const SettingSpec& setting : spec_.settings) {
      const std::string name(setting.name);
      std::optional<Credential::Place> chosen = setting_field(setting, Kind::program);
      if (!chosen && (choice_.profile.empty() || key == Kind::environment)) {
        for (const std::string_view variable : setting.variables) {
          const auto value = nonempty_variable(world_.environment, std::string(variable));
          if (value && !chosen) {
            chosen = checked_setting(*value, {Kind::environment, std::string(variable)});
          }
        }
      }
      if (!chosen && (choice_.profile.empty() || key == Kind::config_file)) {
        chosen = setting_field(setting, Kind::config_file);
      }
      if (!chosen) {
        const auto own = offer.settings.find(name);
        if (own != offer.settings.end()) chosen = checked_setting(own->second.value, data.origin);
      }
      if (chosen) data.settings[name] = std::move(*chosen);
    }
  }

  [[nodiscard]] std::optional<Credential::Place> setting_field(const SettingSpec& setting, Kind kind) const {
    const ConfigValue* value = field(setting.config_key, kind);
    if (value == nullptr) return std::nullopt;
    return checked_setting(value->value->expose(), value->origin);
  }

  [[nodiscard]] std::optional<Credential::Place> checked_setting(std::string_view text,
                                                                 const Origin& origin) const {
    const CheckedPart checked = check_part(text);
    if (checked.value.empty()) return std::nullopt;
    if (!checked.problem.empty()) {
      stop(ErrorCode::invalid_argument,
           fmt::format("a setting from {} {}", origin.to_string(), checked.problem));
    }
    return Credential::Place{std::string(checked.value.expose()), origin};
  }

  // ---- what to say

  void note_env_files() {
    for (const char* name : {".env", ".env.local"}) {
      const fs::path path = world_.working_directory / name;
      std::error_code ignored;
      if (fs::exists(path, ignored)) {
        resolution_.notes.push_back(path.lexically_normal().string() +
                                    " exists, but .env files are not read; export what is in it");
      }
    }
  }

  [[noreturn]] void missing() const {
    std::vector<std::string> tried;
    for (const SourceStep& step : resolution_.steps) {
      if (step.source != Kind::program) tried.push_back(step.detail);
    }
    tried.insert(tried.end(), resolution_.notes.begin(), resolution_.notes.end());
    std::vector<std::string> variables;
    for (const PartSpec& part : spec_.forms.front().parts) {
      if (!part.variables.empty()) variables.emplace_back(part.variables.front());
    }
    const std::string profile = choice_.profile.empty() ? "" : " --profile " + choice_.profile;
    const std::string advice =
        asked(Kind::environment) ? fmt::format("set {}, or run", listed(variables)) : "run";
    stop(ErrorCode::credential_missing,
         fmt::format("no source has one: {}. To give one, {}: sandkey auth login {}{} (keys are made at {})",
                     fmt::join(tried, "; "), advice, spec_.provider, profile, spec_.keys_page));
  }

  const std::map<std::string, ConfigValue>& fields_;
  const CredentialWorld& world_;
  const CredentialChoice& choice_;
  const CredentialSpec& spec_;
  std::string profile_;
  std::optional<Kind> only_;
  std::optional<ProfileFile> profiles_;
  std::optional<ProfileEntry> entry_;
  Origin origin_;  // of what the source asked last has
  Resolution resolution_;
};

}  // namespace

std::string_view to_string(Origin::Kind source) noexcept {
  switch (source) {
    case Kind::program:
      return "program";
    case Kind::environment:
      return "environment";
    case Kind::config_file:
      return "config.toml";
    case Kind::profile:
      return "profile";
    case Kind::helper:
      return "helper";
    case Kind::vendor_file:
      return "vendor's file";
    case Kind::keyring:
      return "keyring";
    case Kind::default_value:
      return "default";
  }
  return "default";
}

std::string_view to_string(SourceStep::Outcome outcome) noexcept {
  constexpr std::array<std::string_view, 4> kOutcomes{"found", "not there", "broken", "not asked"};
  return kOutcomes[static_cast<std::size_t>(outcome)];
}

CredentialWorld world_of(const Engine& engine) {
  return {.environment = [&engine](const std::string& name) { return engine.environment(name); },
          .now = [&engine] { return engine.system_now(); }};
}

std::string Resolution::explanation() const {
  std::string text = credential ? credential->to_string() : error ? error->what() : "";
  for (const SourceStep& step : steps) {
    text += fmt::format("\n  {:<13} {:<9} {}", to_string(step.source), to_string(step.outcome), step.detail);
  }
  for (const std::string& note : notes) text += "\n  note: " + note;
  if (credential) {
    for (const std::string& warning : credential->warnings()) text += "\n  warning: " + warning;
  }
  return text;
}

CredentialChain::CredentialChain(const OpenHandsConfig& config, CredentialWorld world,
                                 CredentialChoice choice)
    : fields_(config.provider_fields), world_(std::move(world)), choice_(std::move(choice)) {}

Resolution CredentialChain::explain(const CredentialSpec& spec) const {
  return Search(fields_, world_, choice_, spec).run();
}

Credential CredentialChain::resolve(const CredentialSpec& spec) const {
  Resolution resolution = explain(spec);
  if (resolution.error) throw_error(*resolution.error);
  return std::move(*resolution.credential);
}

}  // namespace sandkey
