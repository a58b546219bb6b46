// doctor: what keeps Sandkey from working, on the way to each provider.
#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/network_settings.h"
#include "sandkey/net/retry.h"
#include "sandkey/net/url.h"
#include "sandkey/providers/registry.h"

#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kPatience{10};  // with one address
// A clock this far off is worth a word; a certificate's or a token's times bear much more.
constexpr std::chrono::seconds kOddClock{30};
constexpr std::chrono::minutes kWrongClock{5};

enum class Verdict { good, odd, bad };

struct Finding {
  Verdict verdict;
  std::string about;
  std::string text;
};

class Findings {
 public:
  void good(const std::string& about, std::string text) { add(Verdict::good, about, std::move(text)); }
  void odd(const std::string& about, std::string text) { add(Verdict::odd, about, std::move(text)); }
  void bad(const std::string& about, std::string text) { add(Verdict::bad, about, std::move(text)); }
  void add(Verdict verdict, const std::string& about, std::string text) {
    all_.push_back({verdict, about, std::move(text)});
  }
  void append(Findings others) {
    for (Finding& finding : others.all_) all_.push_back(std::move(finding));
  }
  [[nodiscard]] const std::vector<Finding>& all() const noexcept { return all_; }

 private:
  std::vector<Finding> all_;
};

std::string_view to_string(Verdict verdict) {
  return verdict == Verdict::good ? "good" : verdict == Verdict::odd ? "odd" : "bad";
}

void look_at_settings(Context& context, Findings& findings) {
  const LoadedConfig& loaded = context.loaded_config();
  findings.good("settings", loaded.file.empty() ? "no config.toml here" : loaded.file.string());
}

void look_at_this_machine(Context& context, Findings& findings) {
  const std::string local(kDefaultProvider);
  try {
    (void)context.provider(local);
    findings.good(local, "sandboxes can be made on this machine");
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    findings.odd(local, error.what());
  }
}

// Where a provider's API is: as its credential has it, else its usual place.
struct Way {
  std::string provider;
  std::string url;
  bool used = false;  // by a credential
};

std::optional<Way> look_at_credential(Context& context, const ProviderEntry& entry, Findings& findings) {
  const CredentialSpec& spec = entry.cloud->credential_spec();
  const Resolution found = context.find_credential(spec);
  const std::string name(entry.name);
  const std::string_view api = spec.endpoints.front().name;
  if (found.credential) {
    findings.good(name, found.credential->described());
    for (const std::string& warning : found.credential->warnings()) findings.odd(name, warning);
    const Credential::Place* place = found.credential->endpoint(api);
    if (place == nullptr) return std::nullopt;
    return Way{.provider = name, .url = place->value, .used = true};
  }
  if (found.error->code() != ErrorCode::credential_missing) {
    findings.bad(name, found.error->what());
    return std::nullopt;
  }
  findings.odd(name, "no credential; 'sandkey auth login " + name + "' takes one");
  return Way{.provider = name, .url = usual_address(spec), .used = false};
}

// Nothing if the name has an address.
std::string resolve(const std::string& host) {
  addrinfo* found = nullptr;
  addrinfo wanted{};
  wanted.ai_flags = AI_ADDRCONFIG;
  wanted.ai_socktype = SOCK_STREAM;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &wanted, &found);
  if (found != nullptr) ::freeaddrinfo(found);
  return error == 0 ? "" : ::gai_strerror(error);
}

void look_at_clock(Engine& engine, const HttpResponse& response, const std::string& about,
                   Findings& findings) {
  const auto date = response.headers.find("Date");
  if (!date) return;
  const auto server = parse_wait(*date, WaitHeader::Unit::seconds, {});
  if (!server) return;
  const auto here =
      std::chrono::duration_cast<std::chrono::milliseconds>(engine.system_now().time_since_epoch());
  const auto off = std::chrono::duration_cast<std::chrono::seconds>(here - *server);
  const auto far = off < 0s ? -off : off;
  if (far < kOddClock) return;
  findings.add(far < kWrongClock ? Verdict::odd : Verdict::bad, about,
               "this machine's clock is " + std::to_string(far.count()) + " s " +
                   (off < 0s ? "behind" : "ahead of") + " the provider's; set it (timedatectl set-ntp true)");
}

std::string way_out(const NetworkDescription& network) {
  if (network.proxy.empty()) return "directly";
  return "through the proxy " + network.proxy + " (" + network.proxy_source + ")";
}

std::string trust_of(const NetworkDescription& network) {
  std::string text = network.ca_file;
  if (!network.ca_folder.empty()) text += (text.empty() ? "" : " and ") + network.ca_folder;
  return (text.empty() ? "the system's authorities" : text) + " (" + network.ca_source + ")";
}

asio::awaitable<void> look_at_way(Engine& engine, Way way, Findings& findings) {
  const Endpoint endpoint = Endpoint::parse(way.url, "the address of " + way.provider);
  const NetworkDescription network = describe_network(engine, {}, way.url);
  const Verdict worst = way.used ? Verdict::bad : Verdict::odd;
  if (network.proxy.empty()) {
    const std::string host = endpoint.host();
    const std::function<std::string()> look_up = [host] { return resolve(host); };
    const std::string problem = co_await run_blocking(look_up);
    if (!problem.empty()) {
      findings.add(worst, way.provider,
                   "the name " + host + " cannot be resolved (" + problem +
                       "); check the network and /etc/resolv.conf");
      co_return;
    }
  }
  HttpRequest request;
  request.url = way.url;
  request.operation = "reaching " + way.provider;
  request.deadline = engine.in(kPatience);
  const Deadline began = engine.steady_now();
  try {
    const HttpResponse response = co_await engine.shared<HttpClient>()->send(std::move(request));
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(engine.steady_now() - began);
    std::string text =
        way.url + " answers " + way_out(network) + " in " + std::to_string(took.count()) + " ms";
    if (endpoint.is_https()) text += ", trusted by " + trust_of(network);
    findings.good(way.provider, std::move(text));
    look_at_clock(engine, response, way.provider, findings);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    findings.add(worst, way.provider, std::string(error.what()) + "; it was asked " + way_out(network));
  }
}

// All at once, each with findings of its own.
asio::awaitable<void> look_at_ways(Engine& engine, std::vector<Way> ways, std::vector<Findings>& findings) {
  TaskGroup looking(engine);
  for (std::size_t i = 0; i < ways.size(); ++i) looking.spawn(look_at_way(engine, ways[i], findings[i]));
  co_await looking.join();
}

void print(Context& context, const std::vector<Finding>& findings) {
  if (context.json()) {
    json::array rows;
    for (const Finding& finding : findings) {
      json::object row;
      row["verdict"] = std::string(to_string(finding.verdict));
      row["about"] = finding.about;
      row["text"] = finding.text;
      rows.emplace_back(std::move(row));
    }
    json::object document;
    document["findings"] = std::move(rows);
    context.print_json(document);
    return;
  }
  std::vector<Line> lines;
  for (const Finding& finding : findings) {
    lines.push_back({std::string(to_string(finding.verdict)), finding.about, finding.text});
  }
  print_table(lines);
}

}  // namespace

int doctor(Context& context, const std::vector<std::string>& names) {
  Findings findings;
  look_at_settings(context, findings);
  if (names.empty()) look_at_this_machine(context, findings);
  std::vector<Way> ways;
  for (const ProviderEntry& entry : providers()) {
    const bool wanted = names.empty() || std::find(names.begin(), names.end(), entry.name) != names.end();
    if (!wanted || !entry.cloud) continue;
    if (auto way = look_at_credential(context, entry, findings)) ways.push_back(std::move(*way));
  }
  for (const std::string& name : names) (void)find_provider(name);
  std::vector<Findings> found(ways.size());
  context.wait(look_at_ways(context.engine(), ways, found), "asking the providers' addresses");
  for (Findings& one : found) findings.append(std::move(one));

  std::vector<Finding> all = findings.all();
  print(context, all);
  const bool bad =
      std::any_of(all.begin(), all.end(), [](const Finding& f) { return f.verdict == Verdict::bad; });
  return bad ? 1 : 0;
}

}  // namespace sandkey::cli
