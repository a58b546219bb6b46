#include "sandkey/providers/e2b/emulator/control_plane.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/machine/usage.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/e2b/emulator/api_error.h"
#include "sandkey/providers/e2b/emulator/api_key.h"
#include "sandkey/providers/e2b/emulator/listing.h"
#include "sandkey/providers/e2b/emulator/requests.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::size_t kMaxPage = 100;
constexpr std::size_t kMaxLogs = 1000;
constexpr std::size_t kMaxSearch = 256;
constexpr std::size_t kMaxMetricIds = 100;
constexpr std::int64_t kMaxForks = 100;
constexpr std::int64_t kLongestRefresh = 3600;
constexpr std::chrono::seconds kShortestRefresh{15};
constexpr std::chrono::seconds kDefaultTimeout{15};
constexpr std::chrono::seconds kDefaultConnectTimeout{300};
constexpr std::chrono::hours kLogWindow{24 * 7};

using emu::Headers;
using emu::reply_json;
using emu::reply_nothing;

asio::awaitable<json::object> read_body(net::HttpExchange& exchange, bool optional) {
  const std::string body = co_await exchange.read_body(kMaxRequestBody);
  co_return parse_body(body, optional);
}

// ---- Query parameters

[[noreturn]] void refuse_parameter(std::string_view name, const std::string& why) {
  throw schema_error("parameter \"" + std::string(name) + "\" in query has an error: " + why);
}

std::int64_t integer_of(const net::HttpExchange& exchange, std::string_view name, std::int64_t otherwise,
                        std::int64_t least, std::int64_t most) {
  const std::optional<std::string> text = exchange.query(name);
  if (!text || text->empty()) return otherwise;
  std::int64_t number = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, number);
  if (error != std::errc() || stop != end) refuse_parameter(name, "value " + *text + ": an invalid integer");
  if (number < least) refuse_parameter(name, "number must be at least " + std::to_string(least));
  if (number > most) refuse_parameter(name, "number must be at most " + std::to_string(most));
  return number;
}

std::set<std::string> split(std::string_view text) {
  std::set<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    parts.emplace(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

std::string one_of(const net::HttpExchange& exchange, std::string_view name, std::string otherwise,
                   std::initializer_list<std::string_view> allowed) {
  std::string text = exchange.query(name).value_or("");
  if (text.empty()) return otherwise;
  if (std::ranges::find(allowed, text) == allowed.end()) {
    refuse_parameter(name, "value is not one of the allowed values");
  }
  return text;
}

// ---- Pages

// Of items in ascending order, the page behind the token, and the token of the next one.
template <class Item>
std::optional<std::string> cut_page(std::vector<Item>& items, const net::HttpExchange& exchange,
                                    bool ascending, const std::function<PageToken(const Item&)>& place) {
  const auto limit = static_cast<std::size_t>(integer_of(exchange, "limit", kMaxPage, 1, kMaxPage));
  const auto before = [ascending](const PageToken& a, const PageToken& b) {
    if (a.time != b.time) return ascending ? a.time < b.time : a.time > b.time;
    return a.id < b.id;
  };
  std::ranges::sort(items, [&](const Item& a, const Item& b) { return before(place(a), place(b)); });
  if (const auto text = exchange.query("nextToken"); text && !text->empty()) {
    const PageToken token = read_page_token(*text, ascending);
    std::erase_if(items, [&](const Item& item) { return !before(token, place(item)); });
  }
  if (items.size() <= limit) return std::nullopt;
  items.resize(limit);
  return write_page_token(place(items.back()), ascending);
}

Headers next_header(const std::optional<std::string>& token) {
  if (!token) return {};
  return {{"X-Next-Token", *token}};
}

// ---- What a list of sandboxes is asked for

using MetadataFilter = std::map<std::string, std::string>;

MetadataFilter metadata_filter(const net::HttpExchange& exchange) {
  const std::optional<std::string> text = exchange.query("metadata");
  return text && !text->empty() ? parse_metadata_filter(*text) : MetadataFilter();
}

struct ListQuery {
  MetadataFilter metadata = {};
  bool running = true;
  bool paused = true;
  bool ascending = false;
  std::optional<emu::Time> after = std::nullopt;
  std::optional<std::string> template_id = std::nullopt;
};

ListQuery parse_list_query(const net::HttpExchange& exchange, Templates& templates) {
  ListQuery query;
  query.metadata = metadata_filter(exchange);
  const std::set<std::string> states = split(exchange.query("state").value_or(""));
  for (const std::string& state : states) {
    if (state == "running" || state == "paused") continue;
    refuse_parameter("state", "value is not one of the allowed values [\"running\",\"paused\"]");
  }
  query.running = states.empty() || states.contains("running");
  query.paused = states.empty() || states.contains("paused");
  query.ascending = one_of(exchange, "order", "desc", {"asc", "desc"}) == "asc";
  if (const auto text = exchange.query("startedAfter"); text && !text->empty()) {
    query.after = emu::parse_rfc3339(*text);
    if (!query.after) refuse_parameter("startedAfter", "value " + *text + ": an invalid date-time");
  }
  if (const auto text = exchange.query("template"); text && !text->empty()) {
    const TemplateReference reference = parse_template_reference(*text);
    if (reference.has_tag) throw ApiError(400, "Template filter cannot include a tag");
    const Template* made_of = templates.find(reference.name);
    query.template_id = made_of == nullptr ? std::string() : made_of->id;
  }
  return query;
}

bool wanted(const Sandbox& sandbox, const ListQuery& query) {
  // One that is being snapshotted is missing meanwhile.
  const bool running = sandbox.state == State::running;
  const bool paused = !running && sandbox.state != State::snapshotting;
  return ((running && query.running) || (paused && query.paused)) &&
         matches(query.metadata, sandbox.request.metadata) &&
         (!query.after || sandbox.started >= *query.after) &&
         (!query.template_id || sandbox.template_id == *query.template_id);
}

std::int64_t milliseconds_of(emu::Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

json::object to_json(const LogEntry& entry) {
  json::object object;
  object["timestamp"] = emu::to_rfc3339(entry.time);
  object["level"] = "info";
  object["message"] = entry.message;
  object["fields"] = json::object();
  return object;
}

std::string full_tag(const Template& made, const std::string& tag) {
  return (made.alias.empty() ? made.id : made.full_name()) + ":" + tag;
}

json::object to_snapshot_info(const Template& made, const std::string& tag) {
  json::array names;
  if (!made.alias.empty()) names.emplace_back(made.full_name());
  json::object object;
  object["snapshotID"] = full_tag(made, tag);
  object["names"] = std::move(names);
  return object;
}

std::string key_of(const net::HttpExchange& exchange) {
  return std::string(exchange.header("x-api-key"));
}

}  // namespace

ControlPlane::ControlPlane(emu::World& world, const emu::Accounts& accounts, Templates& templates,
                           Fleet& fleet)
    : world_(world), accounts_(accounts), templates_(templates), fleet_(fleet) {
  add("GET /sandboxes/metrics", Kind::reads, &ControlPlane::metrics_of_many);
  add("GET /sandboxes", Kind::reads, &ControlPlane::list_v1);
  add("POST /sandboxes", Kind::changes, &ControlPlane::create_v1);
  add("GET /v2/sandboxes", Kind::reads, &ControlPlane::list_v2);
  add("POST /v2/sandboxes", Kind::changes, &ControlPlane::create_v2);
  add("GET /sandboxes/{sandboxID}", Kind::reads, &ControlPlane::get);
  add("DELETE /sandboxes/{sandboxID}", Kind::reads, &ControlPlane::kill);  // for blocked accounts too
  add("POST /sandboxes/{sandboxID}/connect", Kind::changes, &ControlPlane::connect_v1);
  add("POST /v2/sandboxes/{sandboxID}/connect", Kind::changes, &ControlPlane::connect_v2);
  add("POST /sandboxes/{sandboxID}/resume", Kind::changes, &ControlPlane::resume);
  add("POST /sandboxes/{sandboxID}/pause", Kind::changes, &ControlPlane::pause);
  add("POST /sandboxes/{sandboxID}/timeout", Kind::changes, &ControlPlane::set_timeout);
  add("POST /sandboxes/{sandboxID}/refreshes", Kind::changes, &ControlPlane::refresh);
  add("PUT /sandboxes/{sandboxID}/network", Kind::changes, &ControlPlane::set_network);
  add("POST /sandboxes/{sandboxID}/fork", Kind::changes, &ControlPlane::fork);
  add("POST /sandboxes/{sandboxID}/snapshots", Kind::changes, &ControlPlane::add_snapshot);
  add("GET /snapshots", Kind::reads, &ControlPlane::list_snapshots);
  add("GET /sandboxes/{sandboxID}/metrics", Kind::reads, &ControlPlane::metrics);
  add("GET /sandboxes/{sandboxID}/logs", Kind::reads, &ControlPlane::logs_v1);
  add("GET /v2/sandboxes/{sandboxID}/logs", Kind::reads, &ControlPlane::logs_v2);
  add("GET /templates", Kind::reads, &ControlPlane::list_templates);
  add("GET /v2/templates", Kind::reads, &ControlPlane::list_templates);
  add("GET /templates/aliases/{alias}", Kind::reads, &ControlPlane::find_alias);
  add("GET /templates/{templateID}/tags", Kind::reads, &ControlPlane::list_tags);
  add("GET /templates/{templateID}", Kind::reads, &ControlPlane::get_template);
  add("DELETE /templates/{templateID}", Kind::changes, &ControlPlane::remove_template);
  for (const char* route : {"POST /v3/templates",
                            "POST /v2/templates",
                            "POST /templates",
                            "POST /templates/{templateID}",
                            "PATCH /templates/{templateID}",
                            "PATCH /v2/templates/{templateID}",
                            "GET /templates/{templateID}/files/{hash}",
                            "POST /v2/templates/{templateID}/builds/{buildID}",
                            "GET /templates/{templateID}/builds/{buildID}/status",
                            "GET /templates/{templateID}/builds/{buildID}/logs",
                            "POST /templates/tags",
                            "DELETE /templates/tags",
                            "GET /templates/{templateID}/tags/count",
                            "GET /templates/{templateID}/tags/exists",
                            "GET /templates/{templateID}/tags/groups",
                            "GET /templates/{templateID}/tags/{tag}/assignments",
                            "GET /default-templates",
                            "GET /volumes",
                            "POST /volumes",
                            "GET /volumes/{volumeID}",
                            "DELETE /volumes/{volumeID}",
                            "GET /secrets",
                            "POST /secrets",
                            "GET /secrets/{secretID}",
                            "POST /secrets/{secretID}",
                            "DELETE /secrets/{secretID}"}) {
    add(route, Kind::reads, &ControlPlane::not_emulated);
  }
  for (const char* route : {"GET /teams", "GET /api-keys", "POST /api-keys", "POST /access-tokens"}) {
    router_.add(route, [this](Exchange& exchange, Arguments) { return not_for_keys(exchange); });
  }
  router_.add("GET /health", [this](Exchange& exchange, Arguments) { return health(exchange); });
}

void ControlPlane::add(const char* route, Kind kind, Action action) {
  router_.add(route, [this, kind, action](Exchange& exchange, Arguments arguments) {
    return run(exchange, kind, action, std::move(arguments));
  });
}

std::vector<std::string> ControlPlane::routes() const {
  return router_.routes();
}

emu::Call ControlPlane::route(const net::HttpExchange& exchange) const {
  std::optional<emu::Router::Match> match = router_.match(exchange.method(), exchange.target());
  if (!match) {
    return {.route = std::string(exchange.method()) + " (unknown)",
            .run = [this](Exchange& other) { return const_cast<ControlPlane*>(this)->unknown(other); }};
  }
  return {.route = *match->route,
          .run = [handler = match->handler, arguments = std::move(match->arguments)](Exchange& other) {
            return (*handler)(other, arguments);
          }};
}

// Key, then block, then what is asked; whatever is thrown is answered as the cloud words it.
asio::awaitable<void> ControlPlane::run(Exchange& exchange, Kind kind, Action action, Arguments arguments) {
  std::optional<ApiError> refusal;
  try {
    const Account& account = authenticate(accounts_, key_of(exchange));
    if (kind == Kind::changes) require_unblocked(account);
    co_await (this->*action)(exchange, account, std::move(arguments));
  } catch (const ApiError& error) {
    refusal = error;
  } catch (const net::HttpError& error) {
    refusal = error.status() == 400 ? schema_error(error.what()) : ApiError(error.status(), error.what());
  } catch (const Error& error) {
    refusal = ApiError(500, error.what(), "internal_server_error");
  }
  if (!refusal) co_return;
  if (exchange.replied()) {
    exchange.abort();
    co_return;
  }
  std::string body = to_body(*refusal);
  co_await emu::reply_text(exchange, refusal->status(), std::move(body));
}

asio::awaitable<void> ControlPlane::health(Exchange& exchange) {
  co_await reply_nothing(exchange);
}

// For people who are logged in, which nobody is here.
asio::awaitable<void> ControlPlane::not_for_keys(Exchange& exchange) {
  std::string body = to_body(ApiError(401, "authorization header is missing"));
  co_await emu::reply_text(exchange, 401, std::move(body));
}

asio::awaitable<void> ControlPlane::unknown(Exchange& exchange) {
  std::string body = to_body(ApiError(404, "validation error: no matching operation was found"));
  co_await emu::reply_text(exchange, 404, std::move(body));
}

asio::awaitable<void> ControlPlane::not_emulated(Exchange&, const Account&, Arguments) {
  throw ApiError(501, "The emulator does not do this; see its documentation for what it does");
}

// ---- Sandboxes

asio::awaitable<void> ControlPlane::create_v1(Exchange& exchange, const Account& account, Arguments) {
  return create(exchange, account, ApiVersion::v1);
}

asio::awaitable<void> ControlPlane::create_v2(Exchange& exchange, const Account& account, Arguments) {
  return create(exchange, account, ApiVersion::v2);
}

asio::awaitable<void> ControlPlane::create(Exchange& exchange, const Account& account, ApiVersion version) {
  const json::object body = co_await read_body(exchange, false);
  CreateRequest request = parse_create(body, version);
  const TemplateReference reference = parse_template_reference(request.template_id);
  const Templates::Found made_of = templates_.resolve(reference, account.name);
  const SandboxPtr sandbox = co_await fleet_.create(account, std::move(request), made_of);
  const json::value made = to_sandbox(*sandbox, "");
  co_await reply_json(exchange, 201, made);
}

asio::awaitable<void> ControlPlane::connect_v1(Exchange& exchange, const Account& account,
                                               Arguments arguments) {
  return connect(exchange, account, arguments[0], ApiVersion::v1);
}

asio::awaitable<void> ControlPlane::connect_v2(Exchange& exchange, const Account& account,
                                               Arguments arguments) {
  return connect(exchange, account, arguments[0], ApiVersion::v2);
}

asio::awaitable<void> ControlPlane::connect(Exchange& exchange, const Account& account, std::string id,
                                            ApiVersion version) {
  const json::object body = co_await read_body(exchange, version == ApiVersion::v2);
  const std::optional<std::chrono::seconds> otherwise =
      version == ApiVersion::v2 ? std::optional(kDefaultConnectTimeout) : std::nullopt;
  const std::chrono::seconds timeout = parse_timeout(body, otherwise);
  const bool with_memory = parse_flag(body, "memory", true);
  std::string short_id = parse_sandbox_id(id);
  const auto [sandbox, resumed] = co_await fleet_.connect(account, std::move(short_id), timeout, with_memory);
  const json::value reached = to_sandbox(*sandbox, "");
  const int status = resumed ? 201 : 200;
  co_await reply_json(exchange, status, reached);
}

asio::awaitable<void> ControlPlane::resume(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_body(exchange, true);
  const std::chrono::seconds timeout = parse_timeout(body, kDefaultTimeout);
  std::optional<bool> auto_pause;
  if (find(body, "autoPause") != nullptr) auto_pause = parse_flag(body, "autoPause", false);
  std::string id = parse_sandbox_id(arguments[0]);
  const bool with_memory = parse_flag(body, "memory", true);
  const SandboxPtr sandbox = co_await fleet_.resume(account, std::move(id), timeout, auto_pause, with_memory);
  const json::value made = to_sandbox(*sandbox, "");
  co_await reply_json(exchange, 201, made);
}

asio::awaitable<void> ControlPlane::pause(Exchange& exchange, const Account& account, Arguments arguments) {
  std::string id = parse_sandbox_id(arguments[0]);
  const json::object body = co_await read_body(exchange, true);
  const bool with_memory = parse_flag(body, "memory", true);
  co_await fleet_.pause(account, std::move(id), with_memory);
  co_await reply_nothing(exchange);
}

asio::awaitable<void> ControlPlane::set_timeout(Exchange& exchange, const Account& account,
                                                Arguments arguments) {
  const std::string id = parse_sandbox_id(arguments[0]);
  const json::object body = co_await read_body(exchange, false);
  fleet_.set_timeout(account, id, parse_any_timeout(body));
  co_await reply_nothing(exchange);
}

asio::awaitable<void> ControlPlane::refresh(Exchange& exchange, const Account& account, Arguments arguments) {
  const std::string id = parse_sandbox_id(arguments[0]);
  const json::object body = co_await read_body(exchange, true);
  const std::int64_t duration = find_integer(body, "duration").value_or(0);
  if (duration < 0 || duration > kLongestRefresh) {
    throw schema_error(
        "request body has an error: doesn't match schema: Error at \"/duration\": number must be " +
        std::string(duration < 0 ? "at least 0" : "at most 3600"));
  }
  fleet_.refresh(account, id, std::max(kShortestRefresh, std::chrono::seconds(duration)));
  co_await reply_nothing(exchange);
}

asio::awaitable<void> ControlPlane::set_network(Exchange& exchange, const Account& account,
                                                Arguments arguments) {
  const std::string id = parse_sandbox_id(arguments[0]);
  const json::object body = co_await read_body(exchange, false);
  std::optional<bool> internet;
  if (find(body, "allow_internet_access") != nullptr)
    internet = parse_flag(body, "allow_internet_access", true);
  fleet_.set_network(account, id, parse_network(body), internet);
  co_await reply_nothing(exchange);
}

asio::awaitable<void> ControlPlane::get(Exchange& exchange, const Account& account, Arguments arguments) {
  const SandboxPtr sandbox = fleet_.get(account, parse_sandbox_id(arguments[0]));
  const json::value detail = to_detail(*sandbox, "");
  co_await reply_json(exchange, 200, detail);
}

asio::awaitable<void> ControlPlane::kill(Exchange& exchange, const Account& account, Arguments arguments) {
  std::string id = parse_sandbox_id(arguments[0]);
  co_await fleet_.kill(account, std::move(id));
  co_await reply_nothing(exchange);
}

CreateRequest ControlPlane::like(const Sandbox& sandbox, std::chrono::seconds timeout) const {
  CreateRequest request = sandbox.request;
  request.timeout = timeout;
  return request;
}

asio::awaitable<json::value> ControlPlane::fork_one(const Account& account, CreateRequest request,
                                                    Templates::Found made_of) {
  json::object result;
  try {
    const SandboxPtr made = co_await fleet_.create(account, std::move(request), made_of);
    result["sandbox"] = to_sandbox(*made, "");
  } catch (const ApiError& error) {
    json::object failure;
    failure["code"] = error.status();
    failure["message"] = error.what();
    result["error"] = std::move(failure);
  }
  co_return result;
}

asio::awaitable<void> ControlPlane::fork(Exchange& exchange, const Account& account, Arguments arguments) {
  std::string id = parse_sandbox_id(arguments[0]);
  const json::object body = co_await read_body(exchange, true);
  const std::chrono::seconds timeout = parse_timeout(body, kDefaultTimeout);
  const std::int64_t count = find_integer(body, "count").value_or(1);
  if (count < 1) throw ApiError(400, "Count must be at least 1");
  if (count > kMaxForks) throw ApiError(400, "Count cannot be greater than " + std::to_string(kMaxForks));
  const std::size_t limit = concurrency_limit(account);
  if (static_cast<std::size_t>(count) >= limit) {
    throw ApiError(400, "Count must be lower than the maximum number of concurrent sandboxes (" +
                            std::to_string(limit) + ")");
  }
  const SandboxPtr original = fleet_.get(account, id);
  const std::filesystem::path files = co_await fleet_.snapshot(account, id, "forked");
  // The forks are made of a template that nobody else sees.
  Template copy;
  copy.id = original->template_id;
  copy.alias = original->alias;
  copy.cpus = original->cpus;
  copy.memory_mb = original->memory_mb;
  copy.disk_mb = original->disk_mb;
  copy.holds_agent = original->holds_agent;
  copy.interprets = original->interprets;
  Template::Build build{.id = {}, .files = files, .created = world_.clock.now()};
  const Templates::Found made_of{.made_of = &copy, .build = &build};
  json::array results;
  for (std::int64_t i = 0; i < count; ++i) {
    CreateRequest request = like(*original, timeout);
    json::value result = co_await fork_one(account, std::move(request), made_of);
    results.push_back(std::move(result));
  }
  std::error_code ignored;
  std::filesystem::remove_all(files, ignored);
  const json::value all = std::move(results);
  co_await reply_json(exchange, 201, all);
}

// ---- Lists

asio::awaitable<void> ControlPlane::list_v1(Exchange& exchange, const Account& account, Arguments) {
  const MetadataFilter filter = metadata_filter(exchange);
  std::vector<SandboxPtr> found = fleet_.of(account);
  std::erase_if(found, [&](const SandboxPtr& each) {
    return each->state != State::running || !matches(filter, each->request.metadata);
  });
  std::ranges::sort(found, [](const SandboxPtr& a, const SandboxPtr& b) { return a->started > b->started; });
  json::array list;
  for (const SandboxPtr& each : found) list.emplace_back(to_listed(*each));
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::list_v2(Exchange& exchange, const Account& account, Arguments) {
  const ListQuery query = parse_list_query(exchange, templates_);
  std::vector<SandboxPtr> found = fleet_.of(account);
  std::erase_if(found, [&](const SandboxPtr& each) { return !wanted(*each, query); });
  const auto running =
      std::ranges::count_if(found, [](const SandboxPtr& each) { return each->state == State::running; });
  const std::optional<std::string> next =
      cut_page<SandboxPtr>(found, exchange, query.ascending, [](const SandboxPtr& each) {
        return PageToken{each->started, each->id};
      });
  json::array list;
  for (const SandboxPtr& each : found) list.emplace_back(to_listed(*each));
  Headers headers = next_header(next);
  if (query.running) headers.emplace_back("X-Total-Running", std::to_string(running));
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer, std::move(headers));
}

// ---- Metrics and logs

asio::awaitable<json::object> ControlPlane::measure(SandboxPtr sandbox) {
  const emu::Time now = world_.clock.now();
  machine::UsageMeter meter(sandbox->local->agent(),
                            {.processors = static_cast<unsigned>(sandbox->cpus),
                             .memory_bytes = static_cast<std::uint64_t>(sandbox->memory_mb) * 1024 * 1024});
  const machine::Usage usage = co_await meter.measure("/home/user");
  json::object object;
  object["timestamp"] = emu::to_rfc3339(now);
  object["timestampUnix"] = milliseconds_of(now) / 1000;
  object["cpuCount"] = usage.processors;
  object["cpuUsedPct"] = usage.processor_percent;
  object["memUsed"] = usage.memory_used;
  object["memTotal"] = usage.memory_total;
  object["memCache"] = usage.memory_cached;
  object["diskUsed"] = usage.disk_used;
  object["diskTotal"] = usage.disk_total;
  co_return object;
}

// One sample, of now, if that is asked for: nothing is recorded on the way.
asio::awaitable<void> ControlPlane::metrics(Exchange& exchange, const Account& account, Arguments arguments) {
  const std::string id = parse_sandbox_id(arguments[0]);
  const std::int64_t now = milliseconds_of(world_.clock.now()) / 1000;
  const std::int64_t start = integer_of(exchange, "start", 0, 0, INT64_MAX);
  const std::int64_t end = integer_of(exchange, "end", now, 0, INT64_MAX);
  if (start > end) throw ApiError(400, "start time must be before end time");
  json::array list;
  const SandboxPtr sandbox = fleet_.find(id);
  if (sandbox && sandbox->account == account.name && sandbox->state == State::running && start <= now &&
      end >= now) {
    json::object sample = co_await measure(sandbox);
    list.emplace_back(std::move(sample));
  }
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::metrics_of_many(Exchange& exchange, const Account& account, Arguments) {
  const std::set<std::string> ids = split(exchange.query("sandbox_ids").value_or(""));
  if (ids.empty()) refuse_parameter("sandbox_ids", "value is required but missing");
  if (ids.size() > kMaxMetricIds) refuse_parameter("sandbox_ids", "maximum number of items is 100");
  json::object sandboxes;
  for (const std::string& id : ids) {
    const SandboxPtr sandbox = fleet_.find(id);
    if (!sandbox || sandbox->account != account.name || sandbox->state != State::running) continue;
    json::object sample = co_await measure(sandbox);
    sandboxes[id] = std::move(sample);
  }
  json::object object;
  object["sandboxes"] = std::move(sandboxes);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::logs_v1(Exchange& exchange, const Account& account, Arguments arguments) {
  const std::int64_t start = integer_of(exchange, "start", 0, 0, INT64_MAX);
  const auto limit = static_cast<std::size_t>(integer_of(exchange, "limit", kMaxLogs, 0, INT32_MAX));
  json::array lines;
  json::array entries;
  for (const LogEntry& entry : fleet_.logs(account, parse_sandbox_id(arguments[0]))) {
    if (milliseconds_of(entry.time) < start || lines.size() >= limit) continue;
    json::object line;
    line["timestamp"] = emu::to_rfc3339(entry.time);
    json::object text = to_json(entry);
    text.erase("fields");                  // in a line they stand beside the rest
    line["line"] = json::serialize(text);  // a JSON object within a text
    lines.emplace_back(std::move(line));
    entries.emplace_back(to_json(entry));
  }
  json::object object;
  object["logs"] = std::move(lines);
  object["logEntries"] = std::move(entries);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::logs_v2(Exchange& exchange, const Account& account, Arguments arguments) {
  const emu::Time now = world_.clock.now();
  const bool forward = one_of(exchange, "direction", "backward", {"forward", "backward"}) == "forward";
  const std::int64_t cursor =
      integer_of(exchange, "cursor", milliseconds_of(forward ? now - kLogWindow : now), 0, INT64_MAX);
  const auto limit = static_cast<std::size_t>(integer_of(exchange, "limit", kMaxLogs, 0, kMaxLogs));
  const std::string level = one_of(exchange, "level", "debug", {"debug", "info", "warn", "error"});
  const std::string search = exchange.query("search").value_or("");
  if (search.size() > kMaxSearch) refuse_parameter("search", "maximum string length is 256");
  std::vector<LogEntry> entries = fleet_.logs(account, parse_sandbox_id(arguments[0]));
  if (!forward) std::ranges::reverse(entries);
  json::array logs;
  for (const LogEntry& entry : entries) {
    const std::int64_t time = milliseconds_of(entry.time);
    const bool wanted = (forward ? time >= cursor : time <= cursor) && entry.time >= now - kLogWindow &&
                        (level == "debug" || level == "info") &&
                        entry.message.find(search) != std::string::npos;
    if (wanted && logs.size() < limit) logs.emplace_back(to_json(entry));
  }
  json::object object;
  object["logs"] = std::move(logs);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

// ---- Snapshots and templates

asio::awaitable<void> ControlPlane::add_snapshot(Exchange& exchange, const Account& account,
                                                 Arguments arguments) {
  std::string id = parse_sandbox_id(arguments[0]);
  const json::object body = co_await read_body(exchange, false);
  std::optional<TemplateReference> name;
  if (const auto text = parse_text(body, "name")) name = parse_template_reference(*text);
  const SandboxPtr sandbox = fleet_.get(account, id);
  std::filesystem::path files = co_await fleet_.snapshot(account, id, "snapshotted");
  Template like;
  like.cpus = sandbox->cpus;
  like.memory_mb = sandbox->memory_mb;
  like.disk_mb = sandbox->disk_mb;
  like.holds_agent = sandbox->holds_agent;
  like.interprets = sandbox->interprets;
  const Templates::Found made =
      templates_.add_snapshot(like, account.name, id, name, std::move(files), world_.clock.now());
  const std::string tag(name ? std::string_view(name->tag) : kDefaultTag);
  const json::value snapshot = to_snapshot_info(*made.made_of, tag);
  co_await reply_json(exchange, 201, snapshot);
}

asio::awaitable<void> ControlPlane::list_snapshots(Exchange& exchange, const Account& account, Arguments) {
  const std::string sandbox = exchange.query("sandboxID").value_or("");
  std::optional<TemplateReference> name;
  if (const auto text = exchange.query("name"); text && !text->empty())
    name = parse_template_reference(*text);
  struct Item {
    const Template* made;
    std::string tag;
    emu::Time created;
  };
  std::vector<Item> items;
  for (const Template& made : templates_.all()) {
    if (!made.is_snapshot() || made.owner != account.name) continue;
    if (!sandbox.empty() && made.source_sandbox != sandbox) continue;
    if (name && name->name != made.id && name->name != made.alias && name->name != made.full_name()) continue;
    for (const auto& [tag, build] : made.builds) {
      if (!name || !name->has_tag || name->tag == tag) items.push_back({&made, tag, build.created});
    }
  }
  const std::optional<std::string> next = cut_page<Item>(items, exchange, false, [](const Item& item) {
    return PageToken{item.created, full_tag(*item.made, item.tag)};
  });
  json::array list;
  for (const Item& item : items) list.emplace_back(to_snapshot_info(*item.made, item.tag));
  Headers headers = next_header(next);
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer, std::move(headers));
}

// An account's own: those of everybody are not in it.
asio::awaitable<void> ControlPlane::list_templates(Exchange& exchange, const Account& account, Arguments) {
  std::vector<const Template*> found;
  for (const Template& made : templates_.all()) {
    if (made.owner == account.name && !made.is_snapshot()) found.push_back(&made);
  }
  std::optional<std::string> next;
  if (exchange.path() == "/v2/templates") {
    next = cut_page<const Template*>(found, exchange, false, [](const Template* const& made) {
      return PageToken{made->created, made->id};
    });
  }
  json::array list;
  for (const Template* made : found) list.emplace_back(to_json(*made));
  Headers headers = next_header(next);
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer, std::move(headers));
}

asio::awaitable<void> ControlPlane::find_alias(Exchange& exchange, const Account& account,
                                               Arguments arguments) {
  const TemplateReference reference = parse_template_reference(arguments[0]);
  const Templates::Found found = templates_.resolve(reference, account.name);
  json::object object;
  object["templateID"] = found.made_of->id;
  object["public"] = found.made_of->owner.empty();
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::get_template(Exchange& exchange, const Account& account,
                                                 Arguments arguments) {
  const TemplateReference reference = parse_template_reference(arguments[0]);
  const Template& made = *templates_.resolve(reference, account.name).made_of;
  json::object object = to_json(made);
  json::array builds;
  for (const auto& [tag, build] : made.builds) {
    json::object each;
    each["buildID"] = build.id;
    each["status"] = "ready";
    each["createdAt"] = emu::to_rfc3339(build.created);
    each["updatedAt"] = emu::to_rfc3339(build.created);
    each["finishedAt"] = emu::to_rfc3339(build.created);
    each["cpuCount"] = made.cpus;
    each["memoryMB"] = made.memory_mb;
    each["diskSizeMB"] = made.disk_mb;
    each["envdVersion"] = kEnvdVersion;
    builds.emplace_back(std::move(each));
  }
  object["builds"] = std::move(builds);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::list_tags(Exchange& exchange, const Account& account,
                                              Arguments arguments) {
  const TemplateReference reference = parse_template_reference(arguments[0]);
  const Template& made = *templates_.resolve(reference, account.name).made_of;
  json::array list;
  for (const auto& [tag, build] : made.builds) {
    json::object each;
    each["tag"] = tag;
    each["buildID"] = build.id;
    each["createdAt"] = emu::to_rfc3339(build.created);
    list.emplace_back(std::move(each));
  }
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::remove_template(Exchange& exchange, const Account& account,
                                                    Arguments arguments) {
  const TemplateReference reference = parse_template_reference(arguments[0]);
  const bool removed = templates_.remove(reference, account.name);
  if (!removed) throw ApiError(404, "template '" + reference.name + "' not found");
  co_await reply_nothing(exchange);
}

}  // namespace sandkey::e2b::emulator
