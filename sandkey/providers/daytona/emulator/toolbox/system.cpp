#include "sandkey/providers/daytona/emulator/toolbox/system.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <utility>
#include <vector>

namespace sandkey::daytona_toolbox {
namespace {

constexpr std::size_t kMaxTable = std::size_t{1024} * 1024;
constexpr std::uint16_t kFirstPort = 3000;  // of those that are asked after one by one
constexpr std::uint16_t kLastPort = 9999;

json::object folder(const std::string& path) {
  json::object answer;
  answer["dir"] = path;
  return answer;
}

json::object to_object(const Variables& variables) {
  json::object object;
  for (const auto& [name, value] : variables) object[name] = value;
  return object;
}

// The next field of a line of /proc/net/tcp.
std::string_view next_field(std::string_view& line) {
  while (line.starts_with(' ')) line.remove_prefix(1);
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view field = line.substr(0, end);
  line.remove_prefix(end);
  return field;
}

asio::awaitable<std::string> read_table(MachineView& view, std::string path) {
  try {
    HttpStream file = co_await view.agent().open_file(std::move(path));
    co_return co_await file.read_all(kMaxTable);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
  co_return std::string();  // a machine without IPv6
}

}  // namespace

std::set<std::uint16_t> parse_listening_ports(std::string_view table) {
  constexpr std::string_view kListening = "0A";
  std::set<std::uint16_t> ports;
  while (!table.empty()) {
    const std::size_t end = std::min(table.find('\n'), table.size());
    std::string_view line = table.substr(0, end);
    table.remove_prefix(std::min(end + 1, table.size()));
    (void)next_field(line);
    const std::string_view local = next_field(line);
    (void)next_field(line);
    if (next_field(line) != kListening) continue;
    const std::size_t colon = local.rfind(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view text = local.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), port, 16);
    if (error == std::errc() && rest == text.data() + text.size()) ports.insert(port);
  }
  return ports;
}

asio::awaitable<std::set<std::uint16_t>> System::listening() {
  std::set<std::uint16_t> ports;
  for (const char* const table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const std::string text = co_await read_table(view_, table);
    ports.merge(parse_listening_ports(text));
  }
  co_return ports;
}

asio::awaitable<void> System::version(net::HttpExchange& exchange) {
  json::object answer;
  answer["version"] = kDaemonVersion;
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::home(net::HttpExchange& exchange) {
  json::object answer = folder(view_.home());
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::workdir(net::HttpExchange& exchange) {
  json::object answer = folder(view_.workdir());
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::init(net::HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  (void)body.required("token");
  json::object answer;
  answer["message"] = "Telemetry initialized";
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::change_environment(net::HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const Variables set = body.variables("set");
  const std::vector<std::string> unset = body.texts("unset");
  const std::string prefix = body.text("unsetValuePrefix").value_or("");
  check_variable_names(set);
  Variables& variables = view_.variables();
  for (const std::string& name : unset) variables.erase(name);
  if (!prefix.empty())
    std::erase_if(variables, [&prefix](const auto& each) { return each.second.starts_with(prefix); });
  for (const auto& [name, value] : set) variables[name] = value;
  json::object answer = to_object(variables);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::metrics(net::HttpExchange& exchange) {
  const machine::Usage usage = co_await meter_.measure(view_.workdir());
  const auto now = view_.engine().system_now();
  json::object answer;
  answer["cpuCount"] = usage.processors;
  answer["cpuUsedPct"] = usage.processor_percent;
  answer["memTotal"] = usage.memory_total;
  answer["memUsed"] = usage.memory_used;
  answer["memCache"] = usage.memory_cached;
  answer["diskTotal"] = usage.disk_total;
  answer["diskUsed"] = usage.disk_used;
  answer["diskFree"] = usage.disk_total - std::min(usage.disk_total, usage.disk_used);
  answer["timestamp"] = go_time(now);
  answer["timestampUnix"] = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::ports(net::HttpExchange& exchange) {
  json::array list;
  const std::set<std::uint16_t> found = co_await listening();
  for (const std::uint16_t port : found) {
    if (port >= kFirstPort && port <= kLastPort) list.emplace_back(port);
  }
  json::object answer;
  answer["ports"] = std::move(list);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> System::port_in_use(net::HttpExchange& exchange, std::string port) {
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size())
    throw bad_request("invalid port: must be a number");
  if (number < kFirstPort || number > kLastPort)
    throw bad_request("port out of range: must be between 3000 and 9999");
  const std::set<std::uint16_t> ports = co_await listening();
  json::object answer;
  answer["isInUse"] = ports.contains(number);
  co_await reply_json(exchange, std::move(answer));
}

}  // namespace sandkey::daytona_toolbox
