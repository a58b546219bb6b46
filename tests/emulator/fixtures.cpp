#include "tests/emulator/fixtures.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/clouds.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <span>

namespace sandkey::emulator_test {
namespace {

asio::awaitable<std::unique_ptr<emulator::Host>> open(Engine& engine, emulator::HostOptions options) {
  co_return std::make_unique<emulator::Host>(engine, engine.executor(0), emulator::clouds(), options);
}

asio::awaitable<void> close(std::unique_ptr<emulator::Host> host) {
  co_await host->close();
}

asio::awaitable<std::unique_ptr<HttpStream>> begin(HttpClient& client, HttpRequest request) {
  HttpStream stream = co_await client.open(std::move(request));
  auto kept = std::make_unique<HttpStream>(std::move(stream));
  // Its first frame says that the process runs.
  std::byte first{};
  (void)co_await kept->read_some(std::span(&first, 1));
  co_return kept;
}

asio::awaitable<void> drop(std::unique_ptr<HttpStream> stream) {
  co_await stream->close();
}

}  // namespace

std::string Answer::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::string Answer::text(std::string_view key) const {
  if (!document.is_object()) return {};
  return std::string(find_string(document.get_object(), key).value_or(""));
}

EmulatorTest::EmulatorTest() {
  emulator::HostOptions options{.clock = emulator::Clock::Kind::manual, .folder = dir_.path()};
  host_ = engine_.wait(open(engine_, std::move(options)));
  url_ = variable("E2B_API_URL");
  client_ = std::make_unique<HttpClient>(engine_);
}

EmulatorTest::~EmulatorTest() {
  for (auto& stream : running_) engine_.wait(drop(std::move(stream)));
  client_.reset();
  engine_.wait(close(std::move(host_)));
}

std::string EmulatorTest::variable(std::string_view name) const {
  std::string found;
  for (const auto& [key, value] : host_->environment().set) {
    if (key == name) found = value;
  }
  return found;
}

std::uint16_t EmulatorTest::port() const {
  return static_cast<std::uint16_t>(std::stoi(url_.substr(url_.rfind(':') + 1)));
}

Answer EmulatorTest::send(HttpRequest request) {
  request.deadline = engine_.in(30s);
  const HttpResponse response = engine_.wait(client_->send(std::move(request)));
  Answer answer;
  answer.status = response.status;
  answer.body = response.body;
  boost::system::error_code error;
  answer.document = json::parse(response.body, error);
  if (error) answer.document = nullptr;
  for (const auto& [name, value] : response.headers.list()) {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    answer.headers.emplace_back(std::move(lower), value);
  }
  return answer;
}

Answer EmulatorTest::ask(const std::string& method, const std::string& path, const std::string& body,
                         const std::string& account, Headers headers) {
  HttpRequest request;
  request.method = method;
  request.url = url_ + path;
  request.body = body;
  request.repeatable = false;
  if (!account.empty()) request.headers.set("X-API-KEY", key(account));
  for (const auto& [name, value] : headers) request.headers.set(name, value);
  return send(std::move(request));
}

Answer EmulatorTest::ask_inside(const std::string& sandbox, int port, const std::string& method,
                                const std::string& path, const std::string& body, Headers headers) {
  headers.emplace_back("E2b-Sandbox-Id", sandbox);
  headers.emplace_back("E2b-Sandbox-Port", std::to_string(port));
  return ask(method, path, body, "", std::move(headers));
}

Answer EmulatorTest::admin(const std::string& method, const std::string& path, const std::string& body) {
  HttpRequest request;
  request.method = method;
  request.url = variable("SANDKEY_EMULATOR_URL") + path;
  request.body = body;
  request.headers.set("X-Emulator-Key", variable("SANDKEY_EMULATOR_KEY"));
  return send(std::move(request));
}

std::string EmulatorTest::key(const std::string& account, std::string_view provider) {
  for (const auto& front : host_->fronts()) {
    if (front->name() == provider) return front->cloud().accounts().named(account).key;
  }
  ADD_FAILURE() << "no emulated cloud is called " << provider;
  return {};
}

void EmulatorTest::advance(std::chrono::seconds time) {
  const Answer moved =
      admin("POST", "/_emulator/clock", R"({"advance_seconds":)" + std::to_string(time.count()) + "}");
  ASSERT_EQ(moved.status, 200) << moved.body;
}

std::string EmulatorTest::create(const std::string& body, const std::string& account) {
  const Answer made = ask("POST", "/v2/sandboxes", body, account);
  EXPECT_EQ(made.status, 201) << made.body;
  return made.text("sandboxID");
}

std::string EmulatorTest::state_of(const std::string& sandbox, const std::string& account) {
  const Answer found = ask("GET", "/sandboxes/" + sandbox, "", account);
  return found.status == 200 ? found.text("state") : std::to_string(found.status);
}

void EmulatorTest::break_next(const std::string& route, const std::string& fault) {
  const Answer added = admin("POST", "/_emulator/faults",
                             R"({"provider":"e2b","route":")" + route + R"(","fault":)" + fault + "}");
  ASSERT_EQ(added.status, 200) << added.body;
}

void EmulatorTest::run_inside(const Answer& sandbox, const std::string& script) {
  json::object process;
  process["cmd"] = "/bin/sh";
  process["args"] = json::array{"-c", script};
  json::object message;
  message["process"] = std::move(process);
  const std::string text = json::serialize(message);
  std::string frame(1, '\0');
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(text.size() >> shift & 0xFF);
  HttpRequest request;
  request.method = "POST";
  request.url = url_ + "/process.Process/Start";
  request.headers.set("Content-Type", "application/connect+json");
  request.headers.set("E2b-Sandbox-Id", sandbox.text("sandboxID"));
  request.headers.set("E2b-Sandbox-Port", "49983");
  request.headers.set("X-Access-Token", sandbox.text("envdAccessToken"));
  request.body = frame + text;
  request.repeatable = false;
  running_.push_back(engine_.wait(begin(*client_, std::move(request))));
}

}  // namespace sandkey::emulator_test
