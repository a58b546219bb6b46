// E2B's control plane and routing, with real sandboxes behind them.
#include "sandkey/base/error.h"
#include "tests/agent/raw_http.h"
#include "tests/emulator/fixtures.h"

#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sandkey::emulator_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class E2bTest : public EmulatorTest {
 protected:
  [[nodiscard]] Answer connect(const std::string& id, int timeout = 300) {
    return ask("POST", "/v2/sandboxes/" + id + "/connect", R"({"timeout":)" + std::to_string(timeout) + "}");
  }
  [[nodiscard]] int pause(const std::string& id, const std::string& body = "{}") {
    return ask("POST", "/sandboxes/" + id + "/pause", body).status;
  }
  [[nodiscard]] std::vector<std::string> ids(const Answer& list) {
    std::vector<std::string> found;
    for (const json::value& each : list.document.as_array()) {
      found.emplace_back(std::string_view(each.at("sandboxID").as_string()));
    }
    return found;
  }
  // Of what is seen through envd.
  [[nodiscard]] Answer read_file(const Answer& sandbox, const std::string& path) {
    return ask_inside(sandbox.text("sandboxID"), 49983, "GET", "/files?path=" + path, "",
                      {{"X-Access-Token", sandbox.text("envdAccessToken")}});
  }
};

// ---- Accounts

TEST_F(E2bTest, AnswersEveryKindOfKeyAsTheCloudDoes) {
  const auto probe = [&](const std::string& account) {
    const Answer answer = ask("GET", "/v2/sandboxes?state=running&limit=1", "", account);
    return std::to_string(answer.status) + " " + answer.text("message");
  };
  const std::string invalid =
      "401 Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n";
  EXPECT_EQ(probe(""), "401 authorization header is missing");
  EXPECT_EQ(probe("malformed"), "401 authorization header is malformed");
  EXPECT_EQ(probe("not_hex"), invalid + "Invalid API key format");
  EXPECT_EQ(probe("unknown"), invalid + "Cannot get the team for the given API key");
  EXPECT_EQ(probe("revoked"), invalid + "Cannot get the team for the given API key");
  EXPECT_EQ(probe("banned"), "403 team is banned");
  for (const char* account : {"valid", "second", "blocked", "over_quota"}) EXPECT_EQ(probe(account), "200 ");
  const Answer error = ask("GET", "/v2/sandboxes", "", "unknown");
  EXPECT_EQ(error.document.at("code").as_int64(), 401);
  EXPECT_EQ(error.header("content-type"), "application/json; charset=utf-8");
  EXPECT_EQ(ask("GET", "/health", "", "").status, 204);
}

TEST_F(E2bTest, LetsABlockedAccountLookAndKillOnly) {
  EXPECT_EQ(ask("GET", "/templates", "", "blocked").status, 200);
  EXPECT_EQ(ask("DELETE", "/sandboxes/iabc", "", "blocked").status, 404);
  for (const char* path :
       {"/v2/sandboxes", "/sandboxes", "/sandboxes/iabc/pause", "/v2/sandboxes/iabc/connect",
        "/sandboxes/iabc/timeout", "/sandboxes/iabc/snapshots", "/sandboxes/iabc/fork"}) {
    const Answer answer = ask("POST", path, "{}", "blocked");
    EXPECT_EQ(answer.status, 403) << path;
    EXPECT_THAT(answer.text("message"), HasSubstr("team is blocked")) << path;
  }
}

TEST_F(E2bTest, TellsAnAccountThatHasEnoughWithoutAWaitingTime) {
  const Answer answer = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})", "over_quota");
  EXPECT_EQ(answer.status, 429);
  EXPECT_THAT(answer.text("message"), HasSubstr("maximum number of concurrent"));
  EXPECT_EQ(answer.header("retry-after"), "");
  EXPECT_EQ(answer.text("error_code"), "");
}

TEST_F(E2bTest, KeepsAccountsApart) {
  const std::string id = create();
  for (const auto& [method, path] :
       std::vector<std::pair<std::string, std::string>>{{"GET", "/sandboxes/" + id},
                                                        {"DELETE", "/sandboxes/" + id},
                                                        {"POST", "/sandboxes/" + id + "/pause"},
                                                        {"POST", "/v2/sandboxes/" + id + "/connect"}}) {
    const Answer answer = ask(method, path, "{}", "second");
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_EQ(answer.text("message"), "Sandbox \"" + id + "\" doesn't exist or you don't have access to it");
  }
  EXPECT_EQ(ask("GET", "/v2/sandboxes", "", "second").body, "[]");
  EXPECT_EQ(state_of(id), "running");
}

// ---- Life

TEST_F(E2bTest, CreatesWithTheDefaultsOfEitherVersion) {
  const Answer v2 = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  EXPECT_EQ(v2.status, 201);
  EXPECT_THAT(v2.text("sandboxID"), ::testing::MatchesRegex("i[a-z0-9]{20}"));
  EXPECT_THAT(v2.text("envdAccessToken"), ::testing::MatchesRegex("[0-9a-f]{64}"));
  EXPECT_EQ(v2.text("clientID"), "6532622b");
  EXPECT_EQ(v2.text("alias"), "base");
  const Answer v1 = ask("POST", "/sandboxes", R"({"templateID":"base"})");
  EXPECT_EQ(v1.status, 201);
  EXPECT_EQ(v1.text("envdAccessToken"), "");
  advance(14s);
  EXPECT_EQ(state_of(v1.text("sandboxID")), "running");
  advance(2s);  // no two start at the same moment, so this one a little later
  EXPECT_EQ(state_of(v1.text("sandboxID")), "404");
  advance(283s);
  EXPECT_EQ(state_of(v2.text("sandboxID")), "running");
  advance(1s);
  EXPECT_EQ(state_of(v2.text("sandboxID")), "404");
  EXPECT_EQ(admin("GET", "/_emulator/sandboxes").body, R"({"sandboxes":[]})");
}

TEST_F(E2bTest, FollowsTheRulesOfRunningAndPaused) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  const std::string id = made.text("sandboxID");
  EXPECT_EQ(connect(id).status, 200);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/resume", "{}").status, 409);
  EXPECT_EQ(pause(id), 204);
  EXPECT_EQ(state_of(id), "paused");
  EXPECT_EQ(pause(id), 409);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/timeout", R"({"timeout":5})").status, 404);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/refreshes", "{}").status, 404);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/snapshots", "{}").status, 404);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/fork", "{}").status, 409);
  advance(24h);  // a paused one does not expire
  EXPECT_EQ(state_of(id), "paused");
  const Answer again = connect(id);
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.text("envdAccessToken"), made.text("envdAccessToken"));
  EXPECT_EQ(pause(id), 204);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/resume", "{}").status, 201);
  EXPECT_EQ(pause(id), 204);
  EXPECT_EQ(ask("DELETE", "/sandboxes/" + id).status, 204);
  EXPECT_EQ(ask("DELETE", "/sandboxes/" + id).status, 404);
  EXPECT_EQ(connect(id).status, 404);
  EXPECT_EQ(pause(id), 404);
}

TEST_F(E2bTest, MeasuresTimeFromNowAndOnlySetTimeoutShortensIt) {
  const std::string id = create(R"({"templateID":"base","timeout":100})");
  EXPECT_EQ(connect(id, 10).status, 200);
  advance(50s);
  EXPECT_EQ(state_of(id), "running");
  EXPECT_EQ(connect(id, 100).status, 200);
  advance(99s);
  EXPECT_EQ(state_of(id), "running");
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/refreshes", R"({"duration":1})").status,
            204);  // raised to 15 s
  advance(14s);
  EXPECT_EQ(state_of(id), "running");
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/timeout", R"({"timeout":999999})").status, 204);
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/timeout", R"({"timeout":5})").status, 204);
  advance(5s);
  EXPECT_EQ(state_of(id), "404");
  const std::string other = create();
  EXPECT_EQ(ask("POST", "/sandboxes/" + other + "/timeout", R"({"timeout":0})").status, 204);
  advance(0s);
  EXPECT_EQ(state_of(other), "404");
  EXPECT_EQ(connect(create(), 86401).status, 400);
}

TEST_F(E2bTest, PausesAtTheEndWhereAskedTo) {
  const std::string id = create(R"({"templateID":"base","timeout":10,"autoPause":true})");
  const Answer before = ask("GET", "/sandboxes/" + id);
  EXPECT_EQ(json::serialize(before.document.at("lifecycle")), R"({"autoResume":false,"onTimeout":"pause"})");
  advance(10s);
  EXPECT_EQ(state_of(id), "paused");
  EXPECT_EQ(ask("GET", "/sandboxes/" + id).text("endAt"), before.text("endAt"));  // when it was paused
  EXPECT_EQ(ask_inside(id, 49983, "GET", "/health").status, 502);
}

TEST_F(E2bTest, WakesForTrafficWhereAskedTo) {
  const Answer made =
      ask("POST", "/v2/sandboxes",
          R"({"templateID":"base","timeout":10,"autoPause":true,"autoResume":{"enabled":true}})");
  const std::string id = made.text("sandboxID");
  advance(10s);
  EXPECT_EQ(state_of(id), "paused");
  EXPECT_EQ(ask_inside(id, 49983, "GET", "/health").status, 403);
  EXPECT_EQ(state_of(id), "paused");
  EXPECT_EQ(
      ask_inside(id, 49983, "GET", "/health", "", {{"X-Access-Token", made.text("envdAccessToken")}}).status,
      204);
  EXPECT_EQ(state_of(id), "running");
  advance(299s);  // for 300 s at least
  EXPECT_EQ(state_of(id), "running");
  advance(1s);
  EXPECT_EQ(state_of(id), "paused");
}

TEST_F(E2bTest, ReallyFreezesAndGoesOn) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  const std::string id = made.text("sandboxID");
  run_inside(made, "while true; do echo x >> /tmp/ticks; sleep 0.01; done");
  const auto ticks = [&] { return read_file(made, "/tmp/ticks").body.size(); };
  while (ticks() == 0) std::this_thread::yield();
  EXPECT_EQ(pause(id), 204);
  EXPECT_EQ(connect(id).status, 201);
  const std::size_t before = ticks();
  while (ticks() == before) std::this_thread::yield();
}

TEST_F(E2bTest, StartsAnewFromItsFilesWithoutItsMemory) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  const std::string id = made.text("sandboxID");
  const Headers token{{"X-Access-Token", made.text("envdAccessToken")},
                      {"Content-Type", "application/octet-stream"}};
  EXPECT_EQ(ask_inside(id, 49983, "POST", "/files?path=/home/user/kept", "contents", token).status, 200);
  run_inside(made, "sleep 1000");
  EXPECT_EQ(pause(id, R"({"memory":false})"), 204);
  EXPECT_EQ(state_of(id), "paused");
  EXPECT_EQ(connect(id).status, 201);
  EXPECT_EQ(read_file(made, "/home/user/kept").body, "contents");
  const Answer processes =
      ask_inside(id, 49983, "POST", "/process.Process/List", "{}",
                 {{"X-Access-Token", made.text("envdAccessToken")}, {"Content-Type", "application/json"}});
  EXPECT_EQ(processes.body, "{}");
}

TEST_F(E2bTest, LosesASandboxAsIfItsMachineHadFailed) {
  const std::string id = create();
  EXPECT_EQ(admin("POST", "/_emulator/sandboxes/" + id + "/kill").status, 204);
  EXPECT_EQ(state_of(id), "404");
  EXPECT_EQ(ask_inside(id, 49983, "GET", "/health").status, 502);
  EXPECT_EQ(admin("POST", "/_emulator/sandboxes/" + id + "/kill").status, 404);
}

// ---- Lists

TEST_F(E2bTest, PagesInEitherOrder) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) made.push_back(create());
  EXPECT_EQ(pause(made[1]), 204);
  const auto collect = [&](const std::string& query) {
    std::vector<std::string> found;
    std::string token;
    int pages = 0;
    do {
      const Answer page =
          ask("GET", "/v2/sandboxes?limit=2" + query + (token.empty() ? "" : "&nextToken=" + token));
      EXPECT_EQ(page.status, 200) << page.body;
      for (const std::string& id : ids(page)) found.push_back(id);
      token = page.header("x-next-token");
    } while (!token.empty() && ++pages < 10);
    return found;
  };
  EXPECT_THAT(collect("&order=asc"), ElementsAre(made[0], made[1], made[2], made[3], made[4]));
  EXPECT_THAT(collect(""), ElementsAre(made[4], made[3], made[2], made[1], made[0]));
  EXPECT_THAT(collect("&state=running"), ElementsAre(made[4], made[3], made[2], made[0]));
  EXPECT_THAT(collect("&state=paused"), ElementsAre(made[1]));
  EXPECT_EQ(ask("GET", "/v2/sandboxes?limit=2").header("x-total-running"), "4");
  EXPECT_EQ(ask("GET", "/v2/sandboxes?state=paused").header("x-total-running"), "");
  EXPECT_EQ(ids(ask("GET", "/sandboxes")).size(), 4U);
  const std::string token = ask("GET", "/v2/sandboxes?limit=2").header("x-next-token");
  EXPECT_EQ(ask("GET", "/v2/sandboxes?order=asc&nextToken=" + token).status, 400);
  for (const char* query : {"limit=0", "limit=101", "limit=x", "state=dead", "order=up", "startedAfter=today",
                            "metadata=x", "template=base:v1", "nextToken=x"}) {
    EXPECT_EQ(ask("GET", std::string("/v2/sandboxes?") + query).status, 400) << query;
  }
}

TEST_F(E2bTest, FiltersByMetadataTemplateAndTime) {
  const std::string first = create(R"({"templateID":"base","metadata":{"k 1":"v&","a":"1"}})");
  const std::string started = ask("GET", "/sandboxes/" + first).text("startedAt");
  advance(1s);
  const std::string second = create(R"({"templateID":"small","metadata":{"a":"1"}})");
  const auto found = [&](const std::string& query) { return ids(ask("GET", "/v2/sandboxes?" + query)); };
  EXPECT_THAT(found("metadata=k%2525201%3Dv%252526"), ElementsAre(first));
  EXPECT_THAT(found("metadata=a%3D1"), ElementsAre(second, first));
  EXPECT_THAT(found("metadata=a%3D2"), ElementsAre());
  EXPECT_THAT(found("template=small"), ElementsAre(second));
  EXPECT_THAT(found("template=nothing"), ElementsAre());
  EXPECT_THAT(found("startedAfter=" + started), ElementsAre(second, first));
  EXPECT_THAT(found("startedAfter=" + started.substr(0, 18) + "9.999999999Z"),
              ::testing::SizeIs(::testing::Le(2)));
}

TEST_F(E2bTest, TellsTheLifeOfASandboxInItsLogs) {
  const std::string id = create();
  advance(1s);
  EXPECT_EQ(pause(id), 204);
  const Answer v1 = ask("GET", "/sandboxes/" + id + "/logs");
  const json::array& lines = v1.document.at("logs").as_array();
  ASSERT_EQ(lines.size(), 2U) << v1.body;
  EXPECT_THAT(std::string(lines[0].at("line").as_string()), HasSubstr(R"("message":"Sandbox created")"));
  const auto messages = [&](const std::string& query) {
    const Answer logs = ask("GET", "/v2/sandboxes/" + id + "/logs?" + query);
    std::vector<std::string> found;
    for (const json::value& each : logs.document.at("logs").as_array()) {
      found.emplace_back(std::string_view(each.at("message").as_string()));
    }
    return found;
  };
  EXPECT_THAT(messages(""), ElementsAre("Sandbox paused", "Sandbox created"));
  EXPECT_THAT(messages("direction=forward"), ElementsAre("Sandbox created", "Sandbox paused"));
  EXPECT_THAT(messages("direction=forward&limit=1"), ElementsAre("Sandbox created"));
  EXPECT_THAT(messages("search=paused"), ElementsAre("Sandbox paused"));
  EXPECT_THAT(messages("level=warn"), ElementsAre());
  EXPECT_EQ(ask("GET", "/v2/sandboxes/" + id + "/logs?limit=1001").status, 400);
  EXPECT_EQ(ask("GET", "/v2/sandboxes/inothing/logs").body, R"({"logs":[]})");
  EXPECT_EQ(ask("GET", "/v2/sandboxes/" + id + "/logs", "", "second").body, R"({"logs":[]})");
}

TEST_F(E2bTest, MeasuresWhatRuns) {
  const std::string id = create();
  const Answer one = ask("GET", "/sandboxes/" + id + "/metrics");
  ASSERT_EQ(one.document.as_array().size(), 1U) << one.body;
  EXPECT_EQ(one.document.as_array()[0].at("cpuCount").to_number<int>(), 2);
  EXPECT_GT(one.document.as_array()[0].at("diskTotal").to_number<double>(), 0);
  EXPECT_THAT(ask("GET", "/sandboxes/metrics?sandbox_ids=" + id + ",inothing").body,
              HasSubstr("\"" + id + "\":{"));
  EXPECT_EQ(ask("GET", "/sandboxes/metrics").status, 400);
  EXPECT_EQ(ask("GET", "/sandboxes/inothing/metrics").body, "[]");
}

// ---- Copies

TEST_F(E2bTest, MakesSandboxesFromSnapshotsAndForks) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base","metadata":{"a":"1"}})");
  const std::string id = made.text("sandboxID");
  const Headers token{{"X-Access-Token", made.text("envdAccessToken")},
                      {"Content-Type", "application/octet-stream"}};
  EXPECT_EQ(ask_inside(id, 49983, "POST", "/files?path=kept", "contents", token).status, 200);
  const Answer snapshot = ask("POST", "/sandboxes/" + id + "/snapshots", R"({"name":"mine:v1"})");
  EXPECT_EQ(snapshot.status, 201) << snapshot.body;
  EXPECT_EQ(snapshot.body, R"({"snapshotID":"valid/mine:v1","names":["valid/mine"]})");
  EXPECT_EQ(ask("GET", "/snapshots?sandboxID=" + id).body, "[" + snapshot.body + "]");
  const Answer copy = ask("POST", "/v2/sandboxes", R"({"templateID":"valid/mine:v1"})");
  EXPECT_EQ(copy.status, 201) << copy.body;
  EXPECT_EQ(read_file(copy, "kept").body, "contents");
  EXPECT_EQ(ask("POST", "/v2/sandboxes", R"({"templateID":"valid/mine:v1"})", "second").status, 403);
  EXPECT_EQ(ask("DELETE", "/templates/valid%2Fmine%3Av1").status, 204);
  EXPECT_EQ(ask("POST", "/v2/sandboxes", R"({"templateID":"valid/mine:v1"})").status, 404);

  const Answer forks = ask("POST", "/sandboxes/" + id + "/fork", R"({"count":2})");
  EXPECT_EQ(forks.status, 201);
  ASSERT_EQ(forks.document.as_array().size(), 2U);
  for (const json::value& each : forks.document.as_array()) {
    Answer fork;
    fork.document = each.at("sandbox");
    EXPECT_EQ(read_file(fork, "kept").body, "contents");
  }
  EXPECT_EQ(ask("POST", "/sandboxes/" + id + "/fork", R"({"count":100})").status, 400);
  EXPECT_EQ(state_of(id), "running");
}

// ---- Traffic

TEST_F(E2bTest, CarriesTrafficToPortsInside) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  const std::string id = made.text("sandboxID");
  const Answer closed = ask_inside(id, 8123, "GET", "/");
  EXPECT_EQ(closed.status, 502);
  EXPECT_EQ(closed.document.at("port").as_int64(), 8123);
  EXPECT_EQ(closed.document.at("code").as_int64(), 502);
  EXPECT_EQ(closed.text("sandboxId"), id);
  run_inside(made, "mkdir /tmp/w; cd /tmp/w; echo inside > page; exec python3 -m http.server 8123");
  Answer page;
  while ((page = ask_inside(id, 8123, "GET", "/page")).status == 502) std::this_thread::yield();
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body, "inside\n");
  EXPECT_EQ(ask_inside(id, 8123, "GET", "/missing").status, 404);
  EXPECT_EQ(ask_inside(id, 8123, "POST", "/page", "body").status, 501);  // as that server answers
  EXPECT_EQ(pause(id), 204);
  EXPECT_EQ(ask_inside(id, 8123, "GET", "/page").status, 502);
}

TEST_F(E2bTest, TellsAPortThatItsClientHasLeft) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  run_inside(made, R"(exec python3 -c '
import socket
s = socket.socket(); s.bind(("127.0.0.1", 9000)); s.listen()
while True:
    c, _ = s.accept(); c.recv(10000)
    c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    if not c.recv(1): open("/home/user/left", "w").write("left")
')");
  std::optional<test::RawClient> client;
  std::array<char, 16> status{};
  do {
    client.emplace(test::RawClient::to_tcp(port()));
    ASSERT_TRUE(
        client->send("GET / HTTP/1.1\r\nHost: 9000-" + made.text("sandboxID") + ".e2b.localhost\r\n\r\n"));
    ASSERT_GT(::recv(client->fd(), status.data(), status.size(), 0), 12);
  } while (!std::string_view(status.data(), status.size()).starts_with("HTTP/1.1 200"));
  EXPECT_EQ(read_file(made, "left").status, 404);  // nothing was said for a while, and it waits
  client.reset();
  while (read_file(made, "left").status == 404) std::this_thread::yield();
  EXPECT_EQ(read_file(made, "left").body, "left");
}

constexpr const char* kEchoServer = R"(exec python3 -c '
import socket, base64, hashlib
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 9000)); s.listen()
while True:
    c, _ = s.accept(); head = b""
    while b"\r\n\r\n" not in head:
        more = c.recv(1)
        if not more: break
        head += more
    if b"pgrade: websocket" in head:
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
        while True:
            data = c.recv(100)
            if not data: break
            c.sendall(data.upper())
    else:
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(head) + head)
    c.close()
')";

constexpr const char* kBodyServer = R"(exec python3 -c '
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            form, body = "chunked", b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            form, body = "sized", self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("X-Form", form)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (body[:5], body[5:]):
            if piece: self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
HTTPServer(("127.0.0.1", 9001), Handler).serve_forever()
')";

TEST_F(E2bTest, PassesBodiesOnInTheFormInWhichTheyCame) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  const std::string id = made.text("sandboxID");
  run_inside(made, kBodyServer);
  Answer answer;
  while ((answer = ask_inside(id, 9001, "POST", "/", "x")).status == 502) std::this_thread::yield();
  const std::string large(3 * 1024 * 1024, 'b');
  answer = ask_inside(id, 9001, "POST", "/", large);
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.header("x-form"), "sized");
  EXPECT_EQ(answer.body, large);

  HttpRequest endless;  // as far as its head says
  endless.method = "POST";
  endless.url = url_ + "/";
  endless.headers = {{"E2b-Sandbox-Id", id}, {"E2b-Sandbox-Port", "9001"}};
  endless.source = [left = 20](std::span<std::byte> buffer) mutable -> asio::awaitable<std::size_t> {
    if (left-- == 0) co_return 0;
    std::ranges::fill(buffer.first(1000), std::byte{'c'});
    co_return 1000;
  };
  answer = send(std::move(endless));
  EXPECT_EQ(answer.header("x-form"), "chunked");
  EXPECT_EQ(answer.body, std::string(20'000, 'c'));

  test::RawClient bare = test::RawClient::to_tcp(port());
  ASSERT_TRUE(bare.send("POST / HTTP/1.1\r\nHost: 9001-" + id + ".e2b.localhost\r\n\r\n"));
  const auto reply = bare.response();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 201);
  EXPECT_EQ(reply->header("x-form"), "sized");
  EXPECT_EQ(reply->body, "");
}

TEST_F(E2bTest, CarriesWebSocketsAndNoTokenOfItsOwn) {
  const Answer made = ask("POST", "/v2/sandboxes",
                          R"({"templateID":"base","network":{"allowPublicTraffic":false,
                              "maskRequestHost":"app.example:${PORT}"}})");
  const std::string id = made.text("sandboxID");
  const std::string token = made.text("trafficAccessToken");
  EXPECT_THAT(token, ::testing::MatchesRegex("[0-9a-f]{64}"));
  EXPECT_EQ(ask("GET", "/sandboxes/" + id).text("trafficAccessToken"), "");
  run_inside(made, kEchoServer);
  const Answer missing = ask_inside(id, 9000, "GET", "/");
  EXPECT_EQ(missing.status, 403);
  EXPECT_THAT(missing.text("message"), HasSubstr("is missing"));
  const Answer wrong = ask_inside(id, 9000, "GET", "/", "", {{"E2B-Traffic-Access-Token", "wrong"}});
  EXPECT_EQ(wrong.status, 403);
  EXPECT_THAT(wrong.text("message"), HasSubstr("is invalid"));
  const Headers with_token{{"E2B-Traffic-Access-Token", token}};
  Answer echoed;
  while ((echoed = ask_inside(id, 9000, "GET", "/path?q=%2F", "", with_token)).status == 502)
    std::this_thread::yield();
  EXPECT_THAT(echoed.body, HasSubstr("GET /path?q=%2F HTTP/1.1\r\nHost: app.example:9000\r\n"));
  EXPECT_THAT(echoed.body, Not(HasSubstr(token)));

  test::RawClient socket = test::RawClient::to_tcp(port());
  ASSERT_TRUE(socket.send("GET /ws HTTP/1.1\r\nHost: 9000-" + id +
                          ".e2b.localhost\r\nE2B-Traffic-Access-Token: " + token +
                          "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"));
  std::string seen;
  std::array<char, 256> piece{};
  const auto receive_until = [&](std::string_view end) {
    while (!seen.ends_with(end)) {
      const ssize_t n = ::recv(socket.fd(), piece.data(), piece.size(), 0);
      if (n <= 0) break;
      seen.append(piece.data(), static_cast<std::size_t>(n));
    }
  };
  receive_until("\r\n\r\n");
  EXPECT_THAT(seen, HasSubstr("101 Switching Protocols"));
  EXPECT_THAT(seen, HasSubstr("Sec-WebSocket-Accept: x"));
  ASSERT_TRUE(socket.send("frame"));
  receive_until("FRAME");
  EXPECT_TRUE(seen.ends_with("FRAME")) << seen;
}

TEST_F(E2bTest, StartsACodeInterpreterWhereTheTemplateHasOne) {
  const std::string id = create(R"({"templateID":"code-interpreter-v1"})");
  EXPECT_EQ(ask_inside(id, 49999, "GET", "/health").body, "\"OK\"");
  const Answer run = ask_inside(id, 49999, "POST", "/execute", R"({"code":"6 * 7"})",
                                {{"Content-Type", "application/json"}});
  EXPECT_THAT(run.body, HasSubstr(R"("text": "42")"));
  EXPECT_EQ(ask_inside(create(), 49999, "GET", "/health").status, 502);
}

TEST_F(E2bTest, AnswersForSandboxesThatAreNotThere) {
  const Answer gone = ask_inside("inothing", 49983, "GET", "/health");
  EXPECT_EQ(gone.status, 502);
  EXPECT_EQ(gone.header("content-type"), "application/json; charset=utf-8");
  EXPECT_EQ(gone.document.at("code").as_int64(), 502);
  HttpRequest browser;
  browser.url = url_ + "/";
  browser.headers = {
      {"E2b-Sandbox-Id", "inothing"}, {"E2b-Sandbox-Port", "80"}, {"User-Agent", "Mozilla/5.0"}};
  EXPECT_EQ(send(std::move(browser)).header("content-type"), "text/html; charset=utf-8");
  const std::string id = create();
  const Answer internal = ask_inside(id, 49983, "POST", "/init", "{}");
  EXPECT_EQ(internal.status, 404);
  EXPECT_EQ(internal.text("path"), "/init");
  EXPECT_EQ(internal.text("sandboxId"), "");
  EXPECT_EQ(ask("GET", "/", "", "", {{"E2b-Sandbox-Id", id}}).body, "missing header\n");
  EXPECT_EQ(ask("GET", "/v9/nothing").status, 404);
}

// ---- Host: faults, journal, TLS

TEST_F(E2bTest, BreaksWhatTheScriptSays) {
  break_next("POST /v2/sandboxes",
             R"({"kind":"status","status":429,"headers":{"Retry-After":"1"},"body":{"code":429}})");
  const Answer limited = ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  EXPECT_EQ(limited.status, 429);
  EXPECT_EQ(limited.header("retry-after"), "1");
  EXPECT_EQ(limited.body, R"({"code":429})");

  const auto fails = [&] {
    try {
      (void)ask("POST", "/v2/sandboxes", R"({"templateID":"base"})");
    } catch (const Error& error) {
      return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::protocol;
    }
    return false;
  };
  const auto count = [&] { return ids(ask("GET", "/v2/sandboxes")).size(); };
  break_next("POST /v2/sandboxes", R"({"kind":"drop_before"})");
  EXPECT_TRUE(fails());
  EXPECT_EQ(count(), 0U);
  break_next("POST /v2/sandboxes", R"({"kind":"drop_after"})");
  EXPECT_TRUE(fails());
  EXPECT_EQ(count(), 1U);
  break_next("POST /v2/sandboxes", R"({"kind":"half"})");
  EXPECT_TRUE(fails());
  EXPECT_EQ(count(), 2U);

  break_next("GET /v2/sandboxes", R"({"kind":"garbage"})");
  const Answer garbage = ask("GET", "/v2/sandboxes");
  EXPECT_EQ(garbage.status, 200);
  EXPECT_TRUE(garbage.document.is_null());
  break_next("*", R"({"kind":"echo"})");
  const Answer echo = ask("GET", "/v2/sandboxes");
  EXPECT_EQ(echo.status, 400);
  EXPECT_THAT(echo.text("message"), HasSubstr(key("valid")));
  break_next("GET /v2/sandboxes", R"({"kind":"slow","milliseconds":30})");
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(count(), 2U);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 30ms);
  EXPECT_EQ(
      admin("POST", "/_emulator/faults", R"({"provider":"acme","route":"*","fault":{"kind":"hang"}})").status,
      404);
}

TEST_F(E2bTest, HangsUntilTheEnd) {
  break_next("GET /health", R"({"kind":"hang"})");
  test::RawClient waiting = test::RawClient::to_tcp(port());
  ASSERT_TRUE(waiting.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_FALSE(waiting.readable(50ms));  // and the end of this test is not held up by it
}

TEST_F(E2bTest, WritesEveryRequestDownWithoutCredentials) {
  const Answer made = ask("POST", "/v2/sandboxes", R"({"templateID":"base","metadata":{"a":"1"}})");
  const std::string token = made.text("envdAccessToken");
  (void)ask_inside(made.text("sandboxID"), 49983, "GET", "/files?path=x&signature=y", "",
                   {{"X-Access-Token", token}});
  (void)ask("GET", "/v2/sandboxes", "", "", {{"X-API-Key", "e2b_somebodysrealkey"}});
  const Answer journal = admin("GET", "/_emulator/journal?provider=e2b&since=0");
  const json::array& entries = journal.document.at("entries").as_array();
  ASSERT_EQ(entries.size(), 3U) << journal.body;
  EXPECT_EQ(entries[0].at("route").as_string(), "POST /v2/sandboxes");
  EXPECT_EQ(entries[0].at("body").as_string(), R"({"templateID":"base","metadata":{"a":"1"}})");
  EXPECT_EQ(entries[0].at("status").as_int64(), 201);
  EXPECT_GT(entries[0].at("took_ms").as_double(), 0);
  EXPECT_EQ(entries[0].at("headers").at("x-api-key").as_string(), "[account valid]");
  EXPECT_EQ(entries[1].at("route").as_string(), "envd GET /files");
  EXPECT_EQ(entries[1].at("query").as_string(), "path=x&signature=y");
  EXPECT_THAT(std::string(entries[1].at("headers").at("x-access-token").as_string()),
              HasSubstr("[envd token of i"));
  EXPECT_EQ(entries[2].at("headers").at("x-api-key").as_string(), "[not an account]");
  EXPECT_THAT(journal.body, Not(HasSubstr(token)));
  EXPECT_THAT(journal.body, Not(HasSubstr("realkey")));
  EXPECT_THAT(journal.body, Not(HasSubstr(key("valid"))));
  const Answer coverage = admin("GET", "/_emulator/coverage?provider=e2b");
  EXPECT_THAT(coverage.body, HasSubstr(R"({"route":"POST /v2/sandboxes","calls":1})"));
  EXPECT_THAT(coverage.body, HasSubstr(R"({"route":"DELETE /sandboxes/{sandboxID}","calls":0})"));
  EXPECT_EQ(admin("DELETE", "/_emulator/journal").status, 204);
  EXPECT_EQ(admin("GET", "/_emulator/journal").body, R"({"entries":[]})");
}

TEST_F(E2bTest, IsServedOverTlsByItsAuthority) {
  HttpClientOptions trusting;
  trusting.ca_file = variable("SANDKEY_EMULATOR_CA");
  HttpClient client(engine_, trusting);
  HttpRequest request;
  const std::string domain = variable("E2B_DOMAIN");
  request.url = "https://api." + domain + "/health";
  request.deadline = engine_.in(20s);
  EXPECT_EQ(engine_.wait(client.send(std::move(request))).status, 204);
}

TEST_F(E2bTest, LetsOnlyThoseWithItsKeyAdminister) {
  HttpRequest request;
  request.url = variable("SANDKEY_EMULATOR_URL") + "/_emulator/accounts";
  EXPECT_EQ(send(request.clone()).status, 403);
  request.headers.set("X-Emulator-Key", variable("SANDKEY_EMULATOR_KEY"));
  EXPECT_EQ(send(request.clone()).status, 200);
  request.headers.set("Host", "evil.example");
  EXPECT_EQ(send(request.clone()).status, 403);
  EXPECT_EQ(admin("GET", "/_emulator/accounts").document.at("e2b").at("valid").as_string(), key("valid"));
  EXPECT_EQ(admin("GET", "/_emulator/nothing").status, 404);
  EXPECT_EQ(admin("PUT", "/_emulator/clock").status, 405);
}

}  // namespace
}  // namespace sandkey::emulator_test
