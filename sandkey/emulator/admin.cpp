#include "sandkey/emulator/admin.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace sandkey::emulator {
namespace {

constexpr std::size_t kMaxBody = 1024 * 1024;
constexpr double kLongestAdvance = 10.0 * 365 * 24 * 3600;

asio::awaitable<void> reply(net::HttpExchange& exchange, json::object object) {
  co_await exchange.reply(200, json::serialize(object));
}

asio::awaitable<void> reply_nothing(net::HttpExchange& exchange) {
  co_await exchange.reply(204, "", "");
}

void require_method(const net::HttpExchange& exchange, std::initializer_list<std::string_view> methods) {
  if (std::ranges::find(methods, exchange.method()) == methods.end()) {
    throw net::HttpError(405, "This is not a method of " + exchange.path() + ".");
  }
}

asio::awaitable<json::object> read_object(net::HttpExchange& exchange) {
  const std::string body = co_await exchange.read_body(kMaxBody);
  json::value value = parse_json(body, "the request's body");
  if (!value.is_object()) throw net::HttpError(400, "The request's body must be a JSON object.");
  co_return std::move(value.get_object());
}

// Takes the same time for every wrong key.
bool equal(std::string_view a, std::string_view b) noexcept {
  unsigned char different = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    different = static_cast<unsigned char>(different | (a[i] ^ b[i]));
  }
  return different == 0;
}

json::object to_json(const std::string& provider, const SandboxRecord& record) {
  json::object metadata;
  for (const auto& [name, value] : record.metadata) metadata[name] = value;
  json::object object;
  object["provider"] = provider;
  object["id"] = record.id;
  object["state"] = record.state;
  object["metadata"] = std::move(metadata);
  object["account"] = record.account;
  object["created"] = to_rfc3339(record.created);
  object["ends"] = to_rfc3339(record.ends);
  return object;
}

}  // namespace

bool is_loopback_header(std::string_view host) noexcept {
  for (const std::string_view name : {"127.0.0.1", "localhost", "[::1]"}) {
    if (!host.starts_with(name)) continue;
    const std::string_view rest = host.substr(name.size());
    if (rest.empty()) return true;
    return rest.front() == ':' &&
           std::all_of(rest.begin() + 1, rest.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  return false;
}

Admin::Admin(const asio::any_io_executor& executor, std::string key, Clock& clock, Journal& journal,
             FaultScript& faults, const std::vector<std::unique_ptr<Front>>& fronts)
    : key_(std::move(key)),
      clock_(clock),
      journal_(journal),
      faults_(faults),
      fronts_(fronts),
      server_(executor, [this](net::HttpExchange& exchange) { return serve(exchange); }) {
  url_ = "http://127.0.0.1:" + std::to_string(server_.listen_tcp("127.0.0.1", 0));
}

asio::awaitable<void> Admin::serve(net::HttpExchange& exchange) {
  if (!is_loopback_header(exchange.header("host")) || !equal(exchange.header("x-emulator-key"), key_)) {
    throw net::HttpError(403, "This needs the header X-Emulator-Key, and a Host that is this machine.");
  }
  const std::string& path = exchange.path();
  constexpr std::string_view kSandbox = "/_emulator/sandboxes/";
  constexpr std::string_view kKill = "/kill";
  try {
    if (path == "/_emulator/accounts") {
      co_await serve_accounts(exchange);
    } else if (path == "/_emulator/journal") {
      co_await serve_journal(exchange);
    } else if (path == "/_emulator/coverage") {
      co_await serve_coverage(exchange);
    } else if (path == "/_emulator/faults") {
      co_await serve_faults(exchange);
    } else if (path == "/_emulator/sandboxes") {
      co_await serve_sandboxes(exchange);
    } else if (path == "/_emulator/clock") {
      co_await serve_clock(exchange);
    } else if (path == "/_emulator/settings") {
      co_await serve_settings(exchange);
    } else if (path.starts_with(kSandbox) && path.ends_with(kKill) &&
               path.size() > kSandbox.size() + kKill.size()) {
      co_await kill(exchange, path.substr(kSandbox.size(), path.size() - kSandbox.size() - kKill.size()));
    } else {
      throw net::HttpError(404, "There is nothing at " + path + "; see docs/emulator.md.");
    }
  } catch (const Error& error) {
    throw net::HttpError(error.code() == ErrorCode::internal ? 500 : 400, error.what());
  }
}

Front& Admin::front(std::string_view name) const {
  const auto found =
      std::ranges::find(fronts_, name, [](const auto& each) { return std::string_view(each->name()); });
  if (found != fronts_.end()) return **found;
  std::string names;
  for (const auto& each : fronts_) names += (names.empty() ? "" : ", ") + each->name();
  throw net::HttpError(404,
                       "The cloud '" + std::string(name) + "' is not emulated; these are: " + names + ".");
}

asio::awaitable<void> Admin::serve_accounts(net::HttpExchange& exchange) {
  require_method(exchange, {"GET"});
  json::object object;
  for (const auto& each : fronts_) object[each->name()] = each->cloud().accounts().to_json();
  co_await reply(exchange, std::move(object));
}

asio::awaitable<void> Admin::serve_journal(net::HttpExchange& exchange) {
  require_method(exchange, {"GET", "DELETE"});
  if (exchange.method() == "DELETE") {
    journal_.clear();
    co_await reply_nothing(exchange);
    co_return;
  }
  const std::string text = exchange.query("since").value_or("0");
  std::uint64_t since = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), since);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw net::HttpError(400, "\"since\" must be the number of an entry.");
  }
  json::object object;
  object["entries"] = journal_.entries(exchange.query("provider").value_or(""), since);
  co_await reply(exchange, std::move(object));
}

asio::awaitable<void> Admin::serve_coverage(net::HttpExchange& exchange) {
  require_method(exchange, {"GET"});
  Front& which = front(exchange.query("provider").value_or(""));
  json::object object;
  object["routes"] = journal_.coverage(which.name(), which.cloud().routes());
  co_await reply(exchange, std::move(object));
}

asio::awaitable<void> Admin::serve_faults(net::HttpExchange& exchange) {
  require_method(exchange, {"POST", "DELETE"});
  if (exchange.method() == "DELETE") {
    faults_.clear();
    co_await reply_nothing(exchange);
    co_return;
  }
  const json::object wanted = co_await read_object(exchange);
  FaultRule rule = parse_fault_rule(wanted);
  (void)front(rule.provider);  // a rule that can never match is a mistake
  json::object object;
  object["id"] = faults_.add(std::move(rule));
  co_await reply(exchange, std::move(object));
}

asio::awaitable<void> Admin::serve_sandboxes(net::HttpExchange& exchange) {
  require_method(exchange, {"GET"});
  json::array list;
  for (const auto& each : fronts_) {
    for (const SandboxRecord& record : each->cloud().sandboxes())
      list.emplace_back(to_json(each->name(), record));
  }
  json::object object;
  object["sandboxes"] = std::move(list);
  co_await reply(exchange, std::move(object));
}

asio::awaitable<void> Admin::kill(net::HttpExchange& exchange, std::string id) {
  require_method(exchange, {"POST"});
  for (const auto& each : fronts_) {
    const bool found = co_await each->cloud().fail(id);
    if (!found) continue;
    co_await reply_nothing(exchange);
    co_return;
  }
  throw net::HttpError(404, "There is no sandbox '" + id + "'.");
}

asio::awaitable<void> Admin::serve_clock(net::HttpExchange& exchange) {
  require_method(exchange, {"GET", "POST"});
  if (exchange.method() == "POST") {
    const json::object wanted = co_await read_object(exchange);
    const double seconds = find_number(wanted, "advance_seconds").value_or(-1);
    if (!std::isfinite(seconds) || seconds < 0 || seconds > kLongestAdvance) {
      throw net::HttpError(400, "\"advance_seconds\" must be a number of seconds, at most ten years.");
    }
    co_await clock_.advance(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
  }
  json::object object;
  object["kind"] = clock_.kind() == Clock::Kind::manual ? "virtual" : "real";
  object["now"] = to_rfc3339(clock_.now());
  co_await reply(exchange, std::move(object));
}

asio::awaitable<void> Admin::serve_settings(net::HttpExchange& exchange) {
  require_method(exchange, {"GET", "POST"});
  Cloud& cloud = front(exchange.query("provider").value_or("")).cloud();
  if (exchange.method() == "POST") {
    const json::object wanted = co_await read_object(exchange);
    cloud.change_settings(wanted);
  }
  json::object settings = cloud.settings();
  co_await reply(exchange, std::move(settings));
}

}  // namespace sandkey::emulator
