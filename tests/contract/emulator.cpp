#include "tests/contract/emulator.h"

#include "sandkey/base/error.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <chrono>
#include <cstdlib>
#include <utility>

namespace sandkey::contract {
namespace {

constexpr std::chrono::seconds kPatience{20};

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets any
  return value == nullptr ? "" : value;
}

std::string text_of(const json::object& object, std::string_view key) {
  return std::string(find_string(object, key).value_or(""));
}

// The array under `key`, which the emulator always sends.
const json::array& array_of(const json::value& document, std::string_view key) {
  const json::value* value = document.is_object() ? find(document.get_object(), key) : nullptr;
  if (value == nullptr || !value->is_array()) {
    throw Error(ErrorCode::protocol,
                "asking the emulator: its answer has no array '" + std::string(key) + "'");
  }
  return value->get_array();
}

// What gRPC has for statuses of HTTP.
constexpr std::pair<int, int> kGrpcStatuses[] = {{8, 429}, {13, 500}, {14, 503}};

int grpc_status_of(int http_status) {
  for (const auto& [grpc, http] : kGrpcStatuses)
    if (http == http_status) return grpc;
  throw Error(ErrorCode::internal, "gRPC has no status for " + std::to_string(http_status));
}

// That of a gRPC answer, whose own status of HTTP is always 200.
int http_status_of(const std::string& grpc_status, int http_status) {
  for (const auto& [grpc, http] : kGrpcStatuses)
    if (grpc_status == std::to_string(grpc)) return http;
  return http_status;
}

json::object to_json(const Fault& fault) {
  json::object kind{{"kind", fault.kind}};
  if (fault.kind == "grpc_status") {
    kind["grpc_status"] = grpc_status_of(fault.status);
    kind["message"] = fault.body;
    if (fault.wait) kind["retry_after_milliseconds"] = std::chrono::milliseconds(*fault.wait).count();
  }
  if (fault.kind == "status") {
    json::object headers;
    for (const auto& [name, value] : fault.headers) headers[name] = value;
    if (fault.wait) headers["Retry-After"] = std::to_string(fault.wait->count());
    kind["status"] = fault.status;
    kind["headers"] = std::move(headers);
    kind["body"] = fault.body;
  }
  if (fault.kind == "slow") kind["milliseconds"] = fault.milliseconds;
  return kind;
}

}  // namespace

std::unique_ptr<Emulator> Emulator::around_us(std::string provider) {
  const std::string url = variable("SANDKEY_EMULATOR_URL");
  if (url.empty()) return nullptr;
  return std::unique_ptr<Emulator>(new Emulator(
      std::move(provider), Endpoint::parse(url, "SANDKEY_EMULATOR_URL"), variable("SANDKEY_EMULATOR_KEY")));
}

Emulator::Emulator(std::string provider, Endpoint endpoint, std::string key)
    : provider_(std::move(provider)), endpoint_(std::move(endpoint)), key_(std::move(key)), http_(engine_) {}

json::value Emulator::call(std::string method, std::string path, QueryParameters query, std::string body) {
  HttpRequest request{.method = method, .url = endpoint_.url(path, query)};
  request.headers.set("X-Emulator-Key", key_);
  if (!body.empty()) {
    request.headers.set("Content-Type", "application/json");
    request.body = std::move(body);
  }
  request.deadline = engine_.in(kPatience);
  request.operation = "emulator: " + method + " " + path;
  const HttpResponse response = engine_.wait(http_.send(std::move(request)));
  if (response.status / 100 != 2) {
    throw Error(ErrorCode::protocol, "emulator: " + method + " " + path + ": it answered " +
                                         std::to_string(response.status) + ": " + response.body);
  }
  return response.body.empty() ? json::value() : parse_json(response.body, "the emulator's answer");
}

std::optional<std::vector<std::string>> Emulator::account(std::string_view name, std::size_t parts) {
  const json::value accounts = call("GET", "/_emulator/accounts");
  const json::value* ours = accounts.is_object() ? find(accounts.get_object(), provider_) : nullptr;
  const json::value* key = ours != nullptr && ours->is_object() ? find(ours->get_object(), name) : nullptr;
  if (key == nullptr) return std::nullopt;
  std::string rest(key->is_string() ? std::string_view(key->get_string()) : std::string_view());
  std::vector<std::string> texts;
  while (texts.size() + 1 < parts) {
    const std::size_t colon = rest.find(':');
    texts.push_back(rest.substr(0, colon));
    rest.erase(0, colon == std::string::npos ? colon : colon + 1);
  }
  texts.push_back(rest);
  if (texts.back().empty()) {
    throw Error(ErrorCode::protocol, "asking the emulator: the key of its account '" + std::string(name) +
                                         "' of " + provider_ + " has not all its parts");
  }
  return texts;
}

std::uint64_t Emulator::last_request() {
  const std::vector<JournalEntry> all = requests_since(0);
  return all.empty() ? 0 : all.back().number;
}

std::vector<JournalEntry> Emulator::requests_since(std::uint64_t number) {
  const json::value journal =
      call("GET", "/_emulator/journal", {{"provider", provider_}, {"since", std::to_string(number)}});
  std::vector<JournalEntry> entries;
  for (const json::value& value : array_of(journal, "entries")) {
    const json::object& object = value.as_object();
    JournalEntry entry;
    entry.number = static_cast<std::uint64_t>(find_integer(object, "number").value_or(0));
    entry.route = text_of(object, "route");
    entry.status = http_status_of(text_of(object, "grpc_status"),
                                  static_cast<int>(find_integer(object, "status").value_or(0)));
    // Whether `since` itself is among them is not worth depending on.
    if (entry.number > number) entries.push_back(std::move(entry));
  }
  return entries;
}

void Emulator::inject(std::string_view route, const Fault& fault) {
  json::object order{{"provider", provider_},
                     {"route", route},
                     {"skip", fault.skip},
                     {"times", fault.times},
                     {"fault", to_json(fault)}};
  (void)call("POST", "/_emulator/faults", {}, json::serialize(order));
}

void Emulator::remove_faults() {
  (void)call("DELETE", "/_emulator/faults");
}

std::vector<EmulatedSandbox> Emulator::sandboxes() {
  const json::value document = call("GET", "/_emulator/sandboxes");
  std::vector<EmulatedSandbox> sandboxes;
  for (const json::value& value : array_of(document, "sandboxes")) {
    const json::object& object = value.as_object();
    if (text_of(object, "provider") != provider_) continue;
    sandboxes.push_back({text_of(object, "id"), text_of(object, "state"), text_of(object, "account")});
  }
  return sandboxes;
}

void Emulator::kill(const std::string& id) {
  (void)call("POST", "/_emulator/sandboxes/" + id + "/kill");
}

}  // namespace sandkey::contract
