// auth: which credential is used and why, whether its provider accepts it, and keeping one.
#include "sandkey/accounts/accounts.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/secret_input.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/credentials/credential_chain.h"
#include "sandkey/credentials/profile_file.h"
#include "sandkey/providers/registry.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

constexpr int kMissing = 3;
constexpr int kRejected = 4;
constexpr int kNotPermitted = 5;
constexpr int kUnreachable = 6;

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::credential_missing:
      return kMissing;
    case ErrorCode::credential_malformed:
    case ErrorCode::unauthenticated:
    case ErrorCode::invalid_argument:  // an address that is none: no provider would see the key
      return kRejected;
    case ErrorCode::permission_denied:
    case ErrorCode::quota_exceeded:
      return kNotPermitted;
    case ErrorCode::unavailable:
    case ErrorCode::rate_limited:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::protocol:
      return kUnreachable;
    default:
      return kOwnFailure;
  }
}

const ProviderEntry& cloud_named(const std::string& name) {
  const ProviderEntry& entry = find_provider(name);
  if (!entry.cloud) {
    throw Error(ErrorCode::invalid_argument,
                "looking at the credentials of " + name + ": this provider needs none");
  }
  return entry;
}

std::vector<const ProviderEntry*> clouds(const std::vector<std::string>& names) {
  std::vector<const ProviderEntry*> chosen;
  for (const std::string& name : names) chosen.push_back(&cloud_named(name));
  if (!names.empty()) return chosen;
  for (const ProviderEntry& entry : providers()) {
    if (entry.cloud) chosen.push_back(&entry);
  }
  return chosen;
}

json::array to_json(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

json::object to_json(const Credential& credential) {
  json::object object;
  object["form"] = credential.form();
  object["fingerprint"] = credential.fingerprint();
  object["source"] = credential.origin().to_string();
  json::object places;
  for (const auto* map : {&credential.endpoints(), &credential.settings()}) {
    for (const auto& [name, place] : *map) {
      json::object one;
      one["value"] = place.value;
      one["source"] = place.origin.to_string();
      places[name] = std::move(one);
    }
  }
  object["places"] = std::move(places);
  object["expires"] = json_time(credential.expires_at());
  object["warnings"] = to_json(credential.warnings());
  return object;
}

json::object to_json(const Account& account) {
  json::object object;
  object["name"] = account.name;
  json::object details;
  for (const auto& [name, value] : account.details) details[name] = value;
  object["details"] = std::move(details);
  object["expires"] = json_time(account.expires_at);
  object["blocked"] = account.blocked.empty() ? json::value(nullptr) : json::value(account.blocked);
  object["warnings"] = to_json(account.warnings);
  return object;
}

json::value to_json(const std::optional<Error>& error) {
  if (!error) return nullptr;
  json::object object;
  object["error"] = std::string(to_string(error->code()));
  object["message"] = std::string(error->what());
  return object;
}

json::object to_json(const ProviderEntry& entry, const Resolution& resolution) {
  json::object object;
  object["provider"] = std::string(entry.name);
  object["credential"] =
      resolution.credential ? json::value(to_json(*resolution.credential)) : json::value(nullptr);
  object["failure"] = to_json(resolution.error);
  json::array steps;
  for (const SourceStep& step : resolution.steps) {
    json::object one;
    one["source"] = std::string(to_string(step.source));
    one["outcome"] = std::string(to_string(step.outcome));
    one["detail"] = step.detail;
    steps.emplace_back(std::move(one));
  }
  object["steps"] = std::move(steps);
  object["notes"] = to_json(resolution.notes);
  return object;
}

// ---- status

int status(Context& context, const AuthOptions& options) {
  json::array documents;
  std::vector<Line> lines{{"PROVIDER", "CREDENTIAL", "FINGERPRINT", "FROM", "FOR"}};
  std::string below;
  int code = 0;
  for (const ProviderEntry* entry : clouds(options.providers)) {
    const Resolution resolution = context.find_credential(entry->cloud->credential_spec());
    const std::string name(entry->name);
    documents.emplace_back(to_json(*entry, resolution));
    if (options.explain) {
      below += resolution.explanation() + "\n";
    } else if (resolution.credential) {
      const Credential& credential = *resolution.credential;
      const Credential::Place* api =
          credential.endpoint(entry->cloud->credential_spec().endpoints.front().name);
      lines.push_back({name, credential.form(), credential.fingerprint(), credential.origin().to_string(),
                       api != nullptr ? api->value : "-"});
      for (const std::string& warning : credential.warnings()) below += name + ": " + warning + "\n";
    } else {
      const bool missing = resolution.error->code() == ErrorCode::credential_missing;
      lines.push_back({name, missing ? "none" : "unusable", "-", "-", "-"});
      if (!missing) below += std::string(resolution.error->what()) + "\n";
    }
    if (resolution.error && !options.providers.empty() && code == 0)
      code = exit_code(resolution.error->code());
  }
  if (context.json()) {
    json::object document;
    document["providers"] = std::move(documents);
    context.print_json(document);
    return code;
  }
  if (!options.explain) print_table(lines);
  write_all(STDOUT_FILENO, (options.explain || below.empty() ? "" : "\n") + below);
  return code;
}

// ---- check

// What asking one provider came to.
struct Check {
  std::shared_ptr<AuthenticatedAccount> account;
  std::optional<Error> error;

  [[nodiscard]] int code() const {
    if (error) return exit_code(error->code());
    return account->account().blocked.empty() ? 0 : kNotPermitted;
  }
};

Check ask(Context& context, const Cloud& cloud, Credential credential) {
  Check check;
  try {
    const auto accounts = context.engine().shared<Accounts>();
    check.account = context.wait(accounts->sign_in(cloud, std::move(credential), CredentialRenewal{}),
                                 "asking " + std::string(cloud.credential_spec().provider));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    check.error = error;
  }
  return check;
}

std::string details_of(const Account& account) {
  std::string text;
  const auto add = [&text](const std::string& name, const std::string& value) {
    if (!value.empty()) text += "  " + name + ": " + value + "\n";
  };
  add("name", account.name);
  for (const auto& [name, value] : account.details) add(name, value);
  if (account.expires_at) add("expires", iso_time(*account.expires_at));
  return text;
}

// On stderr what is wrong, on stdout what is right.
void tell(Context& context, const std::string& provider, const Check& check) {
  if (check.error) {
    context.warn(check.error->what());
    return;
  }
  const Account& account = check.account->account();
  const std::shared_ptr<const Credential> credential = check.account->credential();
  write_all(STDOUT_FILENO, provider + ": accepted, " + credential->described() + "\n" + details_of(account));
  for (const std::string& warning : credential->warnings()) context.warn(provider + ": " + warning);
  for (const std::string& warning : account.warnings) context.warn(provider + ": " + warning);
  if (!account.blocked.empty()) {
    context.warn(provider + ": the credential is accepted, but nothing can be created: " + account.blocked);
  }
}

json::object to_json(const std::string& provider, const Check& check) {
  json::object object;
  object["provider"] = provider;
  object["accepted"] = check.account != nullptr;
  object["credential"] =
      check.account ? json::value(to_json(*check.account->credential())) : json::value(nullptr);
  object["account"] = check.account ? json::value(to_json(check.account->account())) : json::value(nullptr);
  object["failure"] = to_json(check.error);
  return object;
}

int check(Context& context, const AuthOptions& options) {
  json::array documents;
  int code = 0;
  std::size_t asked = 0;
  for (const ProviderEntry* entry : clouds(options.providers)) {
    Resolution resolution = context.find_credential(entry->cloud->credential_spec());
    const bool missing = resolution.error && resolution.error->code() == ErrorCode::credential_missing;
    // Where none is named, those that nobody uses are no failure; nor are those that cannot be asked.
    if (options.providers.empty() && (missing || entry->cloud->authenticate == nullptr)) continue;
    ++asked;
    if (options.explain && !context.json()) write_all(STDOUT_FILENO, resolution.explanation() + "\n");
    const Check result = resolution.credential
                             ? ask(context, *entry->cloud, std::move(*resolution.credential))
                             : Check{.account = nullptr, .error = resolution.error};
    const std::string name(entry->name);
    if (!context.json()) tell(context, name, result);
    documents.emplace_back(to_json(name, result));
    if (code == 0) code = result.code();
  }
  if (context.json()) {
    json::object document;
    document["providers"] = std::move(documents);
    context.print_json(document);
  } else if (asked == 0) {
    context.warn(
        "checking credentials: there are none to check; sandkey auth status shows where they are looked for");
  }
  return asked == 0 ? kMissing : code;
}

// ---- login and logout

std::string profile_of(Context& context) {
  const std::string& profile = context.config().profile;
  return profile.empty() ? std::string(kDefaultProfile) : profile;
}

std::filesystem::path folder_of(Context& context) {
  const auto folder = config_folder(world_of(context.engine()).environment);
  if (folder) return *folder;
  throw Error(
      ErrorCode::invalid_argument,
      "finding the file of credentials: $SANDKEY_CONFIG_DIR, $XDG_CONFIG_HOME or $HOME must be an absolute "
      "path");
}

const FormSpec& chosen_form(const CredentialSpec& spec, const std::optional<std::string>& part) {
  if (!part) return spec.forms.front();
  std::string known;
  for (const FormSpec& form : spec.forms) {
    for (const PartSpec& candidate : form.parts) {
      if (candidate.name == *part) return form;
      if (candidate.secret) known += (known.empty() ? "" : ", ") + std::string(candidate.name);
    }
  }
  throw Error(ErrorCode::invalid_argument, "reading --form: " + std::string(spec.provider) + " has no '" +
                                               *part + "'; there are: " + known);
}

// What may be given by --set: all that is no secret.
std::vector<std::string> settable(const CredentialSpec& spec, const FormSpec& form) {
  std::vector<std::string> names;
  for (const PartSpec& part : form.parts) {
    if (!part.secret) names.emplace_back(part.name);
  }
  for (const EndpointSpec& endpoint : spec.endpoints) names.emplace_back(endpoint.name);
  for (const SettingSpec& setting : spec.settings) names.emplace_back(setting.name);
  return names;
}

using Lines = std::vector<ProfileFile::Line>;

bool has(const Lines& lines, std::string_view key) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const ProfileFile::Line& line) { return line.key == key; });
}

Lines read_set(const CredentialSpec& spec, const FormSpec& form, const std::vector<std::string>& texts) {
  const std::vector<std::string> names = settable(spec, form);
  Lines lines;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    if (equals == std::string::npos || std::find(names.begin(), names.end(), name) == names.end()) {
      std::string known;
      for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
      throw Error(ErrorCode::invalid_argument, "reading --set: it must be NAME=VALUE with one of " + known +
                                                   "; secrets are asked for, or read from standard input");
    }
    if (has(lines, name))
      throw Error(ErrorCode::invalid_argument, "reading --set: " + name + " is given twice");
    lines.push_back({name, Secret(text.substr(equals + 1))});
  }
  return lines;
}

// What the environment says of the places is for this login, and must hold later, too: the key is bound to
// them.
void add_places(Context& context, const CredentialSpec& spec, Lines& lines) {
  const auto add = [&](std::string_view name, const std::vector<std::string_view>& variables) {
    if (has(lines, name)) return;
    for (const std::string_view variable : variables) {
      const auto value = context.environment(std::string(variable));
      if (!value || value->empty()) continue;
      lines.push_back({std::string(name), Secret(*value)});
      context.warn("taking " + std::string(name) + " from " + std::string(variable));
      return;
    }
  };
  for (const EndpointSpec& endpoint : spec.endpoints) add(endpoint.name, endpoint.variables);
  for (const SettingSpec& setting : spec.settings) add(setting.name, setting.variables);
}

// A secret part is asked for; one that is none and was not given by --set, too.
void add_parts(const CredentialSpec& spec, const FormSpec& form, Lines& lines) {
  std::vector<std::string> names;
  for (const PartSpec& part : form.parts) {
    if (!has(lines, part.name)) names.emplace_back(part.name);
  }
  std::vector<Secret> secrets =
      read_secrets(names, std::string(form.name) + " of " + std::string(spec.provider));
  for (std::size_t i = 0; i < names.size(); ++i) lines.push_back({names[i], std::move(secrets[i])});
}

// Exactly what will be found later, since the chain itself finds it in what is about to be saved.
Credential drafted(Context& context, const CredentialSpec& spec, const std::string& profile,
                   const Lines& lines, bool allow_cleartext) {
  CredentialWorld world = world_of(context.engine());
  world.profiles = std::make_shared<const ProfileFile>(
      ProfileFile::draft(folder_of(context), profile, spec.provider, lines, allow_cleartext));
  const CredentialChoice choice{.profile = profile, .source = Origin::Kind::profile};
  return CredentialChain(OpenHandsConfig{}, std::move(world), choice).resolve(spec);
}

// Who logs in wants that key used: what stands before it is told.
void tell_what_comes_first(Context& context, const ProviderEntry& entry, const std::string& fingerprint) {
  const Resolution resolution = context.find_credential(entry.cloud->credential_spec());
  if (resolution.error) {
    context.warn(resolution.error->what());
  } else if (resolution.credential->fingerprint() != fingerprint) {
    context.warn("what counts without --profile is still " + resolution.credential->described() +
                 "; unset it, or name the profile");
  }
}

int login(Context& context, const AuthOptions& options) {
  const ProviderEntry& entry = cloud_named(options.providers.front());
  const CredentialSpec& spec = entry.cloud->credential_spec();
  const FormSpec& form = chosen_form(spec, options.form);
  const std::string profile = profile_of(context);
  const ProfileFile file(folder_of(context));
  Lines lines = read_set(spec, form, options.set);
  add_places(context, spec, lines);
  add_parts(spec, form, lines);
  Credential credential = drafted(context, spec, profile, lines, options.allow_cleartext);
  const std::string fingerprint = credential.fingerprint();
  const std::string name(entry.name);

  const bool can_ask = entry.cloud->authenticate != nullptr && !options.unchecked;
  Check result;
  if (can_ask) {
    result = ask(context, *entry.cloud, std::move(credential));
    if (result.error) {
      if (context.json()) {
        json::object document = to_json(name, result);
        document["saved"] = false;
        context.print_json(document);
      } else {
        context.warn(result.error->what());
        context.warn("nothing was saved; --unchecked saves a key that cannot be checked now");
      }
      return result.code();
    }
  }
  file.save(profile, spec.provider, lines, options.allow_cleartext);

  if (context.json()) {
    json::object document;
    if (can_ask) document = to_json(name, result);
    document["provider"] = name;
    document["checked"] = can_ask;
    document["saved"] = true;
    document["profile"] = profile;
    document["file"] = file.path().string();
    context.print_json(document);
  } else {
    if (can_ask) {
      tell(context, name, result);
    } else {
      context.warn(name + ": not checked" +
                   (options.unchecked ? "" : ", which this version of Sandkey cannot do for " + name));
    }
    write_all(STDOUT_FILENO, "saved as profile '" + profile + "' in " + file.path().string() + "\n");
  }
  tell_what_comes_first(context, entry, fingerprint);
  return can_ask ? result.code() : 0;
}

int logout(Context& context, const AuthOptions& options) {
  const ProviderEntry& entry = cloud_named(options.providers.front());
  const std::string profile = profile_of(context);
  const ProfileFile file(folder_of(context));
  const bool removed = file.remove(profile, entry.name);
  const Resolution left = context.find_credential(entry.cloud->credential_spec());
  if (context.json()) {
    json::object document;
    document["provider"] = std::string(entry.name);
    document["profile"] = profile;
    document["removed"] = removed;
    document["left"] = left.credential ? json::value(to_json(*left.credential)) : json::value(nullptr);
    context.print_json(document);
  } else {
    const std::string where = "[" + profile + "." + std::string(entry.name) + "] in " + file.path().string();
    write_all(STDOUT_FILENO, (removed ? "removed " : "there was no ") + where + "\n");
    if (left.credential) context.warn("there is still " + left.credential->described());
  }
  return removed ? 0 : kMissing;
}

void require_one_provider(const AuthOptions& options) {
  if (options.providers.size() == 1) return;
  throw Error(ErrorCode::invalid_argument,
              "auth " + options.action + ": it takes one provider; see sandkey auth --help");
}

}  // namespace

int auth(Context& context, const AuthOptions& options) {
  const bool saving = options.form || !options.set.empty() || options.allow_cleartext || options.unchecked;
  if (saving && options.action != "login") {
    throw Error(
        ErrorCode::invalid_argument,
        "auth " + options.action + ": --form, --set, --allow-cleartext and --unchecked go with login");
  }
  if (options.action == "status") return status(context, options);
  if (options.action == "check") return check(context, options);
  require_one_provider(options);
  return options.action == "login" ? login(context, options) : logout(context, options);
}

}  // namespace sandkey::cli
