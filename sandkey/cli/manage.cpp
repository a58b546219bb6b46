// ls, rm, pause, resume, providers: what there is, and what becomes of it.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/output.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/providers/registry.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

using TimePoint = std::chrono::system_clock::time_point;

// A sandbox, or one that is being created, as `ls` shows it.
struct Row {
  std::string sid;
  std::string provider;
  std::string profile;
  std::string id;
  SandboxState state = SandboxState::starting;
  bool kept = false;
  std::optional<TimePoint> created;
  std::optional<TimePoint> lease_end;
  std::string image;
  std::vector<std::string> remarks;
};

// Something that went wrong while the rest went on.
struct Trouble {
  std::string sid;       // or none
  std::string provider;  // or none
  ErrorCode code;
  std::string message;
};

// One account at one provider.
struct Place {
  std::string provider;
  std::string profile;
  auto operator<=>(const Place&) const = default;
};

// What it answered.
struct Answer {
  std::shared_ptr<Provider> provider;
  std::vector<SandboxInfo> sandboxes;
  std::exception_ptr failure;
};

// Where there are no accounts, there are no profiles.
Place place_of(const std::string& provider, const std::string& profile) {
  const auto entry = std::find_if(providers().begin(), providers().end(),
                                  [&](const ProviderEntry& each) { return each.name == provider; });
  const bool accounts = entry == providers().end() || entry->cloud;
  return {.provider = provider, .profile = accounts ? profile : std::string()};
}

asio::awaitable<void> ask(Engine& engine, OpenHandsConfig config, Deadline deadline, Answer& answer) {
  try {
    answer.provider = co_await async_make_provider(engine, std::move(config));
    answer.sandboxes = co_await answer.provider->list(deadline);
  } catch (const Error&) {
    answer.failure = std::current_exception();
  }
}

asio::awaitable<void> ask_all(Engine& engine, OpenHandsConfig config, std::map<Place, Answer>& answers,
                              Deadline deadline) {
  TaskGroup asking(engine);
  for (auto& [place, answer] : answers) {
    config.runtime = place.provider;
    config.profile = place.profile;
    asking.spawn(ask(engine, config, deadline, answer));
  }
  co_await asking.join();
}

Row to_row(const Place& place, SandboxInfo info) {
  return {.sid = std::move(info.sid),
          .provider = place.provider,
          .profile = place.profile,
          .id = std::move(info.id.value),
          .state = info.state,
          .kept = info.kept,
          .created = info.created,
          .lease_end = info.lease_end,
          .image = std::move(info.image),
          .remarks = std::move(info.remarks)};
}

// Lists are not always up to date: that it is gone, only its own absence says.
bool is_gone(Context& context, Provider& provider, const SandboxId& id) {
  try {
    return context.wait(provider.describe(id, request_deadline(context))).state == SandboxState::ended;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::sandbox_dead) throw;
    return true;
  }
}

// What the ledger knows beyond what its provider listed. Entries whose sandbox is gone are dropped.
void add_entry(Context& context, const LedgerEntry& entry, Answer& answer, std::vector<Row>& rows) {
  const bool answered = !answer.failure;
  const auto listed = std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
    return row.provider == entry.provider && row.profile == entry.profile &&
           (entry.sandbox ? row.id == entry.sandbox->value : row.sid == entry.sid);
  });
  if (listed != rows.end()) {
    if (listed->sid.empty()) listed->sid = entry.sid;
    return;
  }
  Row row{.sid = entry.sid,
          .provider = entry.provider,
          .profile = entry.profile,
          .id = entry.sandbox ? entry.sandbox->value : "",
          .kept = entry.kept,
          .created = entry.created,
          .lease_end = entry.lease_end,
          .image = {},
          .remarks = {}};
  if (!entry.sandbox) {
    if (entry.owner.may_be_alive()) {
      rows.push_back(std::move(row));
    } else if (answered) {
      context.ledger()->abandon(entry.sid, entry.owner);
    }
    return;
  }
  if (!answered) return;  // unknown, and said so on stderr
  if (is_gone(context, *answer.provider, *entry.sandbox)) {
    context.ledger()->forget(entry.sid, *entry.sandbox);
    context.note("forgot " + entry.sid + ", whose sandbox is gone");
  } else {
    row.state = SandboxState::running;
    rows.push_back(std::move(row));
  }
}

struct Survey {
  std::vector<Row> rows;
  std::vector<Trouble> troubles;  // with providers that did not answer
};

// Every provider the ledger names, the default one, and the one that is chosen, asked at once.
Survey survey(Context& context, const std::optional<std::string>& only) {
  const std::vector<LedgerEntry> entries = context.ledger()->list();  // before the providers, see add_entry()
  const std::string profile = context.config().profile;
  std::map<Place, Answer> answers;
  if (only) {
    answers[place_of(std::string(find_provider(*only).name), profile)];
  } else {
    answers[place_of(std::string(kDefaultProvider), profile)];
    answers[place_of(std::string(find_provider(provider_name(context, std::nullopt)).name), profile)];
    for (const LedgerEntry& entry : entries) answers[place_of(entry.provider, entry.profile)];
  }
  context.wait(ask_all(context.engine(), context.config(), answers, request_deadline(context)),
               "asking the providers");

  Survey result;
  for (auto& [place, answer] : answers) {
    for (SandboxInfo& info : answer.sandboxes) result.rows.push_back(to_row(place, std::move(info)));
    if (!answer.failure) continue;
    try {
      std::rethrow_exception(answer.failure);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      result.troubles.push_back(
          {.sid = {},
           .provider = place.provider,
           .code = error.code(),
           .message = "listing the sandboxes of " + place.provider + ": " + error.what()});
    }
  }
  for (const LedgerEntry& entry : entries) {
    const auto answer = answers.find(place_of(entry.provider, entry.profile));
    if (answer != answers.end()) add_entry(context, entry, answer->second, result.rows);
  }
  std::stable_sort(result.rows.begin(), result.rows.end(), [](const Row& a, const Row& b) {
    return a.created.value_or(TimePoint::min()) < b.created.value_or(TimePoint::min());
  });
  return result;
}

json::object to_json(const Row& row) {
  json::object object;
  object["sid"] = row.sid;
  object["provider"] = row.provider;
  if (!row.profile.empty()) object["profile"] = row.profile;
  object["id"] = row.id;
  object["state"] = std::string(to_string(row.state));
  object["kept"] = row.kept;
  object["created"] = json_time(row.created);
  object["lease_end"] = json_time(row.lease_end);
  object["image"] = row.image;
  json::array remarks;
  for (const std::string& remark : row.remarks) remarks.emplace_back(remark);
  object["remarks"] = std::move(remarks);
  return object;
}

// "45 s", "12 min", "3 h", "5 d".
std::string roughly(std::chrono::system_clock::duration time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  if (seconds < 0) return "now";
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 120 * 60) return std::to_string(seconds / 60) + " min";
  if (seconds < 48 * 3600) return std::to_string(seconds / 3600) + " h";
  return std::to_string(seconds / 86400) + " d";
}

// On stderr, or for --json as "errors" of the document, which then tells all.
void tell(Context& context, const std::vector<Trouble>& troubles, json::object& document) {
  json::array errors;
  for (const Trouble& trouble : troubles) {
    if (!context.json()) context.warn(trouble.message);
    json::object error;
    if (!trouble.sid.empty()) error["sid"] = trouble.sid;
    if (!trouble.provider.empty()) error["provider"] = trouble.provider;
    error["error"] = std::string(to_string(trouble.code));
    error["message"] = trouble.message;
    errors.emplace_back(std::move(error));
  }
  document["errors"] = std::move(errors);
}

void print_rows(Context& context, const std::vector<Row>& rows) {
  const TimePoint now = context.engine().system_now();
  std::vector<Line> lines{{"SID", "PROVIDER", "STATE", "AGE", "ENDS IN", "KEPT"}};
  for (const Row& row : rows) {
    lines.push_back({row.sid.empty() ? row.id : row.sid, row.provider, std::string(to_string(row.state)),
                     row.created ? roughly(now - *row.created) : "-",
                     row.lease_end ? roughly(*row.lease_end - now) : "-", row.kept ? "yes" : "no"});
  }
  print_table(lines);
  // Mostly the same of all.
  std::map<std::string, std::string> remarks;
  for (const Row& row : rows) {
    for (const std::string& remark : row.remarks) {
      std::string& sids = remarks[remark];
      sids += (sids.empty() ? "" : ", ") + (row.sid.empty() ? row.id : row.sid);
    }
  }
  std::string text;
  for (const auto& [remark, sids] : remarks) text += (text.empty() ? "\n" : "") + sids + ": " + remark + "\n";
  write_all(STDOUT_FILENO, text);
}

// Every one of them, also after one failed; then 125, and each that did is told.
int for_each(Context& context, const Chosen& chosen, const std::string& verb,
             const std::function<void(const Located&)>& act) {
  std::vector<std::string> sids = chosen.sids;
  std::vector<Trouble> troubles;
  if (chosen.all) {
    Survey all = survey(context, chosen.provider);
    troubles = std::move(all.troubles);
    for (const Row& row : all.rows) {
      if (!row.sid.empty()) sids.push_back(row.sid);
    }
  }
  std::vector<std::string> done;
  for (const std::string& sid : sids) {
    try {
      act(locate(context, sid, chosen.provider));
      done.push_back(sid);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      troubles.push_back({.sid = sid, .provider = {}, .code = error.code(), .message = error.what()});
    }
  }
  json::object document;
  json::array names;
  for (const std::string& sid : done) names.emplace_back(sid);
  document[verb] = std::move(names);
  tell(context, troubles, document);
  if (context.json()) context.print_json(document);
  return troubles.empty() ? 0 : kOwnFailure;
}

json::object to_json(const Capabilities& capabilities) {
  json::object object;
  object["create"] = capabilities.create;
  object["pause"] = capabilities.pause;
  object["renew"] = capabilities.renew;
  object["expose"] = capabilities.expose;
  object["image"] = capabilities.image;
  object["workspace"] = capabilities.workspace;
  object["network_switch"] = capabilities.network_switch;
  object["survives_reboot"] = capabilities.survives_reboot;
  object["outlives_client"] = capabilities.outlives_client;
  return object;
}

std::string to_text(const Capabilities& capabilities) {
  const std::array<std::pair<bool, const char*>, 6> all{{{capabilities.pause, "pause"},
                                                         {capabilities.renew, "renew"},
                                                         {capabilities.expose, "url"},
                                                         {capabilities.image, "image"},
                                                         {capabilities.workspace, "workspace"},
                                                         {capabilities.network_switch, "network"}}};
  std::string text;
  for (const auto& [has, name] : all) {
    if (has) text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text;
}

}  // namespace

int list(Context& context, const std::optional<std::string>& provider) {
  const Survey all = survey(context, provider);
  const bool complete = all.troubles.empty();
  json::object document;
  json::array sandboxes;
  for (const Row& row : all.rows) sandboxes.emplace_back(to_json(row));
  document["sandboxes"] = std::move(sandboxes);
  document["complete"] = complete;
  tell(context, all.troubles, document);
  if (context.json()) {
    context.print_json(document);
  } else if (complete || !all.rows.empty()) {
    print_rows(context, all.rows);
  }
  return complete ? 0 : kOwnFailure;
}

int list_names(Context& context) {
  std::string text;
  for (const LedgerEntry& entry : context.ledger()->list()) text += entry.sid + "\n";
  write_all(STDOUT_FILENO, text);
  return 0;
}

int remove(Context& context, const Chosen& chosen) {
  return for_each(context, chosen, "removed", [&](const Located& located) {
    context.wait(located.provider->destroy(located.id, request_deadline(context)), "ending " + located.sid);
    context.ledger()->forget(located.sid, located.id);
  });
}

int pause(Context& context, const Chosen& chosen) {
  return for_each(context, chosen, "paused", [&](const Located& located) {
    context.wait(located.provider->pause(located.id, request_deadline(context)), "pausing " + located.sid);
  });
}

int resume(Context& context, const Chosen& chosen) {
  return for_each(context, chosen, "resumed", [&](const Located& located) {
    context.wait(located.provider->resume(located.id, request_deadline(context)), "resuming " + located.sid);
  });
}

int show_providers(Context& context) {
  json::array documents;
  std::vector<Line> lines{{"PROVIDER", "USABLE", "CAN", "WHAT"}};
  std::string reasons;
  for (const ProviderEntry& entry : providers()) {
    const std::string name(entry.name);
    std::optional<Capabilities> capabilities;
    std::string reason;
    std::string shown;  // to people: without what another verb says better
    try {
      capabilities = context.provider(name)->capabilities();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      reason = error.what();
      const bool missing = error.code() == ErrorCode::credential_missing;
      shown = missing
                  ? "no credential; 'sandkey auth status " + name + " --explain' says where it was looked for"
                  : reason;
    }
    json::object document;
    document["name"] = name;
    document["summary"] = std::string(entry.summary);
    document["usable"] = capabilities.has_value();
    document["reason"] = capabilities ? json::value(nullptr) : json::value(reason);
    document["capabilities"] = capabilities ? json::value(to_json(*capabilities)) : json::value(nullptr);
    documents.emplace_back(std::move(document));
    lines.push_back({name, capabilities ? "yes" : "no", capabilities ? to_text(*capabilities) : "-",
                     std::string(entry.summary)});
    if (!capabilities) reasons += name + " cannot be used now: " + shown + "\n";
  }
  if (context.json()) {
    json::object document;
    document["providers"] = std::move(documents);
    context.print_json(document);
  } else {
    print_table(lines);
    write_all(STDOUT_FILENO, reasons);
  }
  return 0;
}

}  // namespace sandkey::cli
