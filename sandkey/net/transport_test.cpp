#include "sandkey/net/transport.h"

#include "sandkey/base/error.h"
#include "sandkey/net/scripted_server.h"
#include "sandkey/net/single_flight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kKey[] = "key_9f8e7d6c5b4a";

std::string answer(int status, const std::string& headers = {}, const std::string& body = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// Answers the requests of all connections with these, in turn; the last one for ever.
Server::Serve in_turn(std::vector<std::string> answers, std::atomic<int>* served) {
  return [answers = std::move(answers), served](Connection& c) {
    while (!c.read_head().empty()) {
      const auto turn = static_cast<std::size_t>((*served)++);
      if (!c.send(answers[std::min(turn, answers.size() - 1)])) return;
    }
  };
}

// Answers 200 to requests with that key, 401 to others.
class KeyedServer {
 public:
  explicit KeyedServer(std::string key) : key_(std::move(key)) {}
  void rotate(std::string key) {
    const std::lock_guard lock(mutex_);
    key_ = std::move(key);
  }
  Server::Serve serve() {
    return [this](Connection& c) {
      for (std::string head = c.read_head(); !head.empty(); head = c.read_head()) {
        ++requests;
        const std::lock_guard lock(mutex_);
        c.send(answer(head.find("\r\nX-Key: " + key_ + "\r\n") != head.npos ? 200 : 401));
      }
    };
  }
  std::atomic<int> requests = 0;

 private:
  std::mutex mutex_;
  std::string key_;
};

// A credential's source that gives one key after the other, going on when it is told of a refusal.
struct Keys {
  explicit Keys(std::vector<std::string> the_keys) : keys(std::move(the_keys)) {}
  std::vector<std::string> keys;
  std::atomic<int> asked = 0;
  std::atomic<int> refusals = 0;

  CredentialSource source() {
    return [this](bool refused) -> asio::awaitable<HttpHeaders> {
      ++asked;
      if (refused) ++refusals;
      HttpHeaders headers;
      const auto turn = std::min(static_cast<std::size_t>(refusals), keys.size() - 1);
      headers.set("X-Key", Secret(keys[turn]));
      co_return headers;
    };
  }
};

class Transport : public ::testing::Test {
 protected:
  AccountTransportOptions options(const std::string& url) {
    AccountTransportOptions made;
    made.endpoints.push_back(Endpoint::parse(url));
    made.credential = keys.source();
    made.retry.first_delay = 2ms;
    made.log = [this](const HttpRecord& record) {
      const std::lock_guard lock(mutex);
      logged.push_back(record);
    };
    made.request_id_header = "X-Id";
    return made;
  }
  std::shared_ptr<HttpTransport> transport(const std::string& url) { return transport(options(url)); }
  std::shared_ptr<HttpTransport> transport(AccountTransportOptions with) {
    return make_account_transport(engine, network, std::move(with));
  }
  HttpResponse send(HttpTransport& http, HttpRequest request) {
    return engine.wait(http.send(std::move(request)));
  }
  Error send_error(HttpTransport& http, HttpRequest request) {
    return error_of([&] { (void)send(http, std::move(request)); });
  }
  std::vector<int> logged_statuses() {
    const std::lock_guard lock(mutex);
    std::vector<int> statuses;
    for (const HttpRecord& record : logged) statuses.push_back(record.status);
    return statuses;
  }
  static HttpRequest post(HttpRequest request) {
    request.method = "POST";
    request.body = "{}";
    return request;
  }

  Engine engine;
  std::shared_ptr<HttpTransport> network = std::make_shared<HttpClient>(engine);
  Keys keys{{kKey}};
  std::mutex mutex;
  std::vector<HttpRecord> logged;
};

// --- the layers and their order ---

TEST_F(Transport, OneTraceForTheCallAndOneLogRecordForEachRequest) {
  std::atomic<int> served = 0;
  Server server(in_turn({answer(503), answer(200, "X-Id: req-1\r\n", "hello")}, &served));
  std::vector<HttpRecord> traced;
  auto with = options(server.url);
  with.trace = [&](const HttpRecord& record) { traced.push_back(record); };
  const auto http = transport(std::move(with));
  HttpRequest request = server.get("/v1/things?token=hush");
  request.operation = "list things";
  EXPECT_EQ(send(*http, std::move(request)).body, "hello");
  EXPECT_THAT(logged_statuses(), ElementsAre(503, 200));
  ASSERT_EQ(traced.size(), 1U);
  EXPECT_EQ(traced[0].status, 200);
  EXPECT_GE(traced[0].took, logged[0].took + logged[1].took);

  HttpRecord record = logged[1];
  EXPECT_GT(record.took.count(), 0);
  record.took = 1234us;
  EXPECT_EQ(to_string(record), "method=GET origin=" + server.url +
                                   " path=/v1/things status=200 bytes=5 ms=1.2 request_id=req-1 "
                                   "operation=\"list things\"");
}

TEST_F(Transport, FailuresAreRecordedToo) {
  Server server(once("HTTP/1.1 200 OK\r\nContent-Le"));
  const auto http = transport(server.url);
  EXPECT_EQ(send_error(*http, post(server.get())).code(), ErrorCode::unavailable);
  ASSERT_EQ(logged.size(), 1U);
  EXPECT_EQ(logged[0].error, ErrorCode::unavailable);
  EXPECT_THAT(to_string(logged[0]), HasSubstr(" error=unavailable ms="));
}

TEST_F(Transport, NothingSecretIsRecordedEvenIfTheServerRepeatsIt) {
  Server server(always(answer(200, "X-Id: for \x01 " + std::string(kKey) + "!\r\n")));
  const auto http = transport(server.url);
  send(*http, server.get("/keys/" + std::string(kKey)));
  ASSERT_EQ(logged.size(), 1U);
  EXPECT_EQ(logged[0].request_id, "for???***!");
  EXPECT_EQ(logged[0].path, "/keys/***");
}

// --- where the credential goes ---

TEST_F(Transport, TheCredentialGoesToItsOwnPlacesOnly) {
  Server own(always(kOk));
  Server other(always(kOk));
  const auto http = transport(own.url);
  const std::string port = own.url.substr(own.url.rfind(':'));
  HttpRequest via_socket = own.get();
  via_socket.unix_socket = "/tmp/other.sock";
  for (const std::string& url :
       {other.url + "/?k=hush", "https://127.0.0.1" + port + "/", "http://localhost" + port + "/",
        own.url + "9/", own.url + ".example.com/", own.url + "@example.com/", own.url + "\\@example.com/",
        std::string("http://user:hush@example.com/"), std::string("nonsense"), std::string()}) {
    HttpRequest request;
    request.url = url;
    request.operation = "get";
    const Error error = send_error(*http, std::move(request));
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << url;
    EXPECT_EQ(error.context().processed, Processed::no);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("get: refused to send this account's credential to "),
                                    Not(HasSubstr("hush"))));
  }
  EXPECT_EQ(send_error(*http, std::move(via_socket)).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(keys.asked, 0);
  EXPECT_EQ(other.accepted, 0);
  EXPECT_EQ(own.accepted, 0);
  EXPECT_EQ(send(*http, own.get("?x")).status, 200);
}

TEST_F(Transport, SeveralPlacesAndUnixSockets) {
  KeyedServer keyed(kKey);
  Server one(keyed.serve());
  Server two(keyed.serve(), true);
  auto with = options(one.url);
  with.endpoints.push_back(Endpoint::parse("unix:" + two.socket_path));
  const auto http = transport(std::move(with));
  EXPECT_EQ(send(*http, one.get()).status, 200);
  EXPECT_EQ(send(*http, two.get()).status, 200);
  EXPECT_EQ(keys.asked, 1);
}

TEST_F(Transport, NoCredentialInClearText) {
  const Error error = error_of([&] { (void)transport("http://api.example.com:8080/v1"); });
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_STREQ(error.what(),
               "a credential is not sent to http://api.example.com:8080, where it could be read on the way; "
               "use https, or set allow_cleartext in the profile");
  auto with = options("http://api.example.com");
  with.allow_cleartext = true;
  EXPECT_NE(transport(std::move(with)), nullptr);
  EXPECT_NE(transport("https://api.example.com"), nullptr);
}

TEST_F(Transport, ARedirectToAnotherHostIsNotFollowed) {
  Server other(always(kOk));
  Server server(always(answer(307, "Location: " + other.url + "/path?token=hush\r\n")));
  const auto http = transport(server.url);
  const HttpResponse response = send(*http, server.get());
  EXPECT_EQ(response.status, 307);
  EXPECT_EQ(other.accepted, 0);
  const Error error = redirect_error("list things", response.status, response.headers);
  EXPECT_EQ(error.code(), ErrorCode::protocol);
  EXPECT_EQ(error.what(), "list things: the server redirects (HTTP status 307) to " + other.url +
                              ", which is not followed; check the configured address");
}

TEST(RedirectError, NamesNoSecrets) {
  const auto text = [](std::string_view location) {
    return std::string(redirect_error("get", 302, {{"Location", location}}).what());
  };
  EXPECT_THAT(text("/other?hush"),
              AllOf(HasSubstr("to another path of the same server"), Not(HasSubstr("hush"))));
  EXPECT_THAT(text("next?u=http://x/hush"), HasSubstr("another path"));
  EXPECT_THAT(text("//example.com/hush"), AllOf(HasSubstr("to another place"), Not(HasSubstr("hush"))));
  EXPECT_THAT(text("https://hush@example.com/"),
              AllOf(HasSubstr("to another place"), Not(HasSubstr("hush"))));
  EXPECT_THAT(text("HTTPS://Example.com?hush"), HasSubstr("to https://example.com, which"));
  EXPECT_THAT(text(""), HasSubstr("to nowhere"));
}

// --- 401 ---

TEST_F(Transport, ARotatedKeyIsPickedUp) {
  KeyedServer keyed("key_second");
  Server server(keyed.serve());
  keys.keys = {"key_first", "key_second", "key_third"};
  const auto http = transport(server.url);
  EXPECT_EQ(send(*http, post(server.get())).status, 200) << "a 401 did nothing, so any request is repeated";
  EXPECT_EQ(keyed.requests, 2);
  EXPECT_EQ(keys.asked, 2);
  EXPECT_EQ(send(*http, server.get()).status, 200);
  EXPECT_EQ(keyed.requests, 3) << "the new one is kept";
  keyed.rotate("key_third");
  EXPECT_EQ(send(*http, server.get()).status, 200);
  EXPECT_EQ(keys.asked, 3);
}

TEST_F(Transport, ARefusalWithoutAnotherKeyIsTheAnswer) {
  KeyedServer keyed("other");
  Server server(keyed.serve());
  const auto http = transport(server.url);
  EXPECT_EQ(send(*http, server.get()).status, 401);
  EXPECT_EQ(keyed.requests, 1);
  EXPECT_EQ(keys.asked, 2);
}

TEST_F(Transport, TheSecondRefusalIsTheAnswer) {
  KeyedServer keyed("other");
  Server server(keyed.serve());
  keys.keys = {"key_first", "key_second", "key_third"};
  const auto http = transport(server.url);
  EXPECT_EQ(send(*http, server.get()).status, 401);
  EXPECT_EQ(keyed.requests, 2);
  EXPECT_EQ(keys.asked, 2);
}

TEST_F(Transport, AnUploadIsNotRepeatedButTeachesTheNextRequest) {
  KeyedServer keyed("key_second");
  Server server([&, serve = keyed.serve()](Connection& c) { serve(c); });
  keys.keys = {"key_first", "key_second"};
  const auto http = transport(server.url);
  HttpRequest upload = server.get();
  upload.method = "PUT";
  upload.source_size = 0;
  upload.source = [](std::span<std::byte>) -> asio::awaitable<std::size_t> { co_return 0; };
  EXPECT_EQ(send(*http, std::move(upload)).status, 401);
  EXPECT_EQ(keyed.requests, 1);
  EXPECT_EQ(send(*http, server.get()).status, 200);
  EXPECT_EQ(keyed.requests, 2);
}

TEST_F(Transport, AStreamIsOpenedAgainAfterARefusalAndA503) {
  std::atomic<int> served = 0;
  Server server(in_turn({answer(401), answer(503, "", "busy"), answer(200, "", "data")}, &served));
  keys.keys = {"key_first", "key_second"};
  const auto http = transport(server.url);
  const auto read = [](HttpTransport* from, HttpRequest request) -> asio::awaitable<std::string> {
    HttpStream stream = co_await from->open(std::move(request));
    EXPECT_EQ(stream.status(), 200);
    co_return co_await stream.read_all();
  };
  EXPECT_EQ(engine.wait(read(http.get(), server.get())), "data");
  EXPECT_EQ(served, 3);
  EXPECT_THAT(logged_statuses(), ElementsAre(401, 503, 200));
  EXPECT_EQ(logged[2].bytes, std::nullopt);
}

asio::awaitable<void> count_status(HttpTransport* http, HttpRequest request, int status,
                                   std::atomic<int>* seen) {
  const HttpResponse response = co_await http->send(std::move(request));
  if (response.status == status) ++*seen;
}

TEST_F(Transport, ManyRefusedAtOnceOnSeveralThreadsAskOnce) {
  constexpr int kMany = 20;
  // Nobody is refused before all have asked, so that all hold the first key.
  std::atomic<int> first_round = 0;
  std::promise<void> all_in;
  std::shared_future<void> go = all_in.get_future().share();
  Server server([&](Connection& c) {
    for (std::string head = c.read_head(); !head.empty(); head = c.read_head()) {
      const bool second = head.find("X-Key: key_second") != head.npos;
      if (!second) {
        if (++first_round == kMany) all_in.set_value();
        go.wait();
      }
      c.send(answer(second ? 200 : 401));
    }
  });
  Engine many({.threads = 3});
  const auto client = std::make_shared<HttpClient>(many);
  keys.keys = {"key_first", "key_second", "key_third"};
  const auto http = make_account_transport(many, client, options(server.url));
  TaskGroup a(many);
  TaskGroup b(many);
  std::atomic<int> good = 0;
  for (int i = 0; i < kMany; ++i)
    (i % 2 == 0 ? a : b).spawn(count_status(http.get(), server.get(), 200, &good));
  many.wait(a.join());
  many.wait(b.join());
  EXPECT_EQ(good, kMany);
  EXPECT_EQ(keys.refusals, 1);
  EXPECT_EQ(keys.asked, 2);
}

TEST_F(Transport, ASourceThatFailsIsHeard) {
  Server server(always(kOk));
  auto with = options(server.url);
  with.credential = [](bool) -> asio::awaitable<HttpHeaders> {
    throw AuthenticationError(ErrorCode::credential_missing, "no key anywhere");
    co_return HttpHeaders();
  };
  const auto http = transport(std::move(with));
  EXPECT_THROW((void)send(*http, server.get()), AuthenticationError);
  EXPECT_EQ(send_error(*http, server.get()).code(), ErrorCode::credential_missing);
  EXPECT_EQ(server.accepted, 0);
}

TEST_F(Transport, ASourceThatHangsIsBoundByTheDeadline) {
  Server server(always(kOk));
  auto with = options(server.url);
  with.credential = [this](bool) -> asio::awaitable<HttpHeaders> {
    co_await engine.sleep_until(kNoDeadline);
    co_return HttpHeaders();
  };
  const auto http = transport(std::move(with));
  HttpRequest request = server.get();
  request.deadline = engine.in(20ms);
  const Error error = send_error(*http, std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(error.context().phase, "get the credential");
}

// --- retry ---

TEST_F(Transport, ResetsBeforeWithinAndAfterTheBodyAreRepeatedForGet) {
  std::atomic<int> connections = 0;
  Server server([&](Connection& c) {
    const int turn = ++connections;
    c.read_head();
    if (turn == 2) c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
    if (turn == 3) c.send(answer(200, "", "whole"));
    c.reset();
  });
  const auto http = transport(server.url);
  EXPECT_EQ(send(*http, server.get()).body, "whole") << "and the reset after it is nobody's concern";
  EXPECT_EQ(connections, 3);
}

TEST_F(Transport, AResetPostIsNotRepeated) {
  std::atomic<int> connections = 0;
  Server server([&](Connection& c) {
    ++connections;
    c.read_head();
    c.reset();
  });
  const auto http = transport(server.url);
  const Error error = send_error(*http, post(server.get()));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::unknown);
  EXPECT_EQ(connections, 1);
  HttpRequest keyed = post(server.get());
  keyed.repeatable = true;
  EXPECT_EQ(send_error(*http, std::move(keyed)).code(), ErrorCode::unavailable);
  EXPECT_EQ(connections, 1 + RetryPolicy{}.max_attempts);
}

TEST_F(Transport, WhatWasNeverSentIsRepeatedForAnyRequest) {
  std::string url;
  {
    Server server(always(kOk));
    url = server.url;
  }
  const auto http = transport(url);
  HttpRequest request;
  request.url = url + "/";
  EXPECT_EQ(send_error(*http, post(std::move(request))).context().processed, Processed::no);
  EXPECT_EQ(logged.size(), 4U);
}

TEST_F(Transport, A429IsRepeatedForAnyRequestA503OnlyForSome) {
  std::atomic<int> served = 0;
  Server server(in_turn({answer(429, "Retry-After: 0\r\n"), answer(200), answer(503)}, &served));
  const auto http = transport(server.url);
  EXPECT_EQ(send(*http, post(server.get())).status, 200);
  EXPECT_EQ(served, 2);
  EXPECT_EQ(send(*http, post(server.get())).status, 503);
  EXPECT_EQ(served, 3);
  EXPECT_EQ(send(*http, server.get()).status, 503) << "the last of four";
  EXPECT_EQ(served, 7);
}

TEST_F(Transport, TheServersVerdictComesFirst) {
  std::atomic<int> served = 0;
  Server server(in_turn({answer(503, "X-Should-Retry: false\r\n"), answer(409, "x-should-retry: true\r\n"),
                         answer(409, "X-Should-Retry: perhaps\r\n")},
                        &served));
  auto with = options(server.url);
  with.retry.verdict_header = "X-Should-Retry";
  const auto http = transport(std::move(with));
  EXPECT_EQ(send(*http, server.get()).status, 503);
  EXPECT_EQ(served, 1);
  EXPECT_EQ(send(*http, server.get()).status, 409);
  EXPECT_EQ(served, 3);
}

TEST_F(Transport, AWaitPastTheDeadlineFailsAtOnce) {
  std::atomic<int> served = 0;
  Server server(in_turn({answer(429, "Retry-After: 30\r\n")}, &served));
  const auto http = transport(server.url);
  HttpRequest request = server.get();
  request.deadline = engine.in(20s);
  const auto began = std::chrono::steady_clock::now();
  const HttpResponse response = send(*http, std::move(request));
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(server_wait({}, response.headers, engine.system_now()), 30s);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  EXPECT_EQ(served, 1);
}

TEST_F(Transport, AStormOf503IsNotMultiplied) {
  constexpr int kRequests = 100;
  std::atomic<int> served = 0;
  Server server(in_turn({answer(503)}, &served));
  const auto http = transport(server.url);
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(send(*http, server.get()).status, 503);
  EXPECT_LE(served, kRequests + kRequests / RetryBudget::kRequestsPerRepeat + RetryBudget::kBurst);
  EXPECT_GT(served, kRequests + RetryBudget::kBurst);
}

TEST_F(Transport, CancelledWhileWaitingToTryAgain) {
  std::promise<void> refused;
  Server server([&](Connection& c) {
    c.read_head();
    c.send(answer(503, "Retry-After: 50\r\n"));
    c.wait_for_end();
  });
  auto with = options(server.url);
  with.log = [&](const HttpRecord&) { refused.set_value(); };
  const auto http = transport(std::move(with));
  std::stop_source stop;
  std::jthread stopper([&] {
    refused.get_future().wait();
    stop.request_stop();
  });
  HttpRequest request = server.get();
  request.operation = "list";
  const auto began = std::chrono::steady_clock::now();
  const Error error = error_of([&] { (void)engine.wait(http->send(std::move(request)), stop.get_token()); });
  EXPECT_EQ(error.code(), ErrorCode::cancelled);
  EXPECT_STREQ(error.what(), "list: cancelled while waiting to try again");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 20s);
}

TEST_F(Transport, TheDeadlineHoldsAcrossAttempts) {
  Server server([](Connection& c) {
    while (!c.read_head().empty()) {
      c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
      while (c.send("x")) std::this_thread::sleep_for(1ms);  // the drip, not a synchronisation
    }
  });
  const auto http = transport(server.url);
  HttpRequest request = server.get();
  request.deadline = engine.in(50ms);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(send_error(*http, std::move(request)).code(), ErrorCode::deadline_exceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  EXPECT_EQ(logged.size(), 1U);
}

TEST_F(Transport, WhatIsNotHttpIsNotRepeated) {
  for (const char* sent : {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "220 smtp\r\n"}) {
    Server server(once(sent));
    const auto http = transport(server.url);
    EXPECT_EQ(send_error(*http, server.get()).code(), ErrorCode::protocol);
    EXPECT_EQ(server.accepted, 1);
  }
  Server half(once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"));
  const auto http = transport(half.url);
  EXPECT_EQ(send_error(*http, half.get()).code(), ErrorCode::unavailable);
  EXPECT_EQ(half.accepted, RetryPolicy{}.max_attempts);
}

// --- every fault ---

struct Fault {
  const char* what;
  Server::Serve serve;
  ErrorCode code;  // unless there is a status
  int status = 0;
  std::chrono::milliseconds deadline{10'000};
};

Server::Serve sends_then_waits(std::string text) {
  return [text = std::move(text)](Connection& c) {
    c.read_head();
    c.send(text);
    c.wait_for_end();
  };
}

Server::Serve sends_then_resets(std::string text) {
  return [text = std::move(text)](Connection& c) {
    c.read_head();
    c.send(text);
    c.reset();
  };
}

// Sends the piece again and again, with pauses, which are the fault and not a synchronisation.
Server::Serve sends_for_ever(std::string begin, std::string piece, std::chrono::milliseconds pause) {
  return [=](Connection& c) {
    c.read_head();
    c.send(begin);
    while (c.send(piece)) std::this_thread::sleep_for(pause);
  };
}

std::vector<Fault> faults() {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string chunk = ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nab";
  return {
      {"reset before the answer", sends_then_resets(""), ErrorCode::unavailable},
      {"reset within the headers", sends_then_resets(ok + "X-A: "), ErrorCode::unavailable},
      {"reset within the body", sends_then_resets(ok + "Content-Length: 9\r\n\r\nhalf"),
       ErrorCode::unavailable},
      {"reset after the body", sends_then_resets(kOk), {}, 200},
      {"closed before the answer", once(""), ErrorCode::unavailable},
      {"closed within a chunk", once(chunk), ErrorCode::unavailable},
      {"silent within a chunk", sends_then_waits(chunk), ErrorCode::deadline_exceeded, 0, 50ms},
      {"silent", sends_then_waits(""), ErrorCode::deadline_exceeded, 0, 50ms},
      {"a body that drips", sends_for_ever(ok + "Content-Length: 99999\r\n\r\n", "x", 1ms),
       ErrorCode::deadline_exceeded, 0, 50ms},
      {"a header that drips", sends_for_ever(ok + "X-A: ", "x", 1ms), ErrorCode::deadline_exceeded, 0, 50ms},
      {"an endless header", sends_for_ever(ok, "X-More: yes\r\n", 0ms), ErrorCode::protocol},
      {"an endless line", sends_for_ever(ok + "X-A: ", std::string(100, 'x'), 0ms), ErrorCode::protocol},
      {"not a chunk", once(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), ErrorCode::protocol},
      {"a redirect to another host",
       always("HTTP/1.1 302 X\r\nLocation: http://sandkey.invalid/\r\nContent-Length: 0\r\n\r\n"),
       {},
       302},
      {"503 for ever", always(answer(503)), {}, 503},
      {"asked to wait past the deadline", always(answer(503, "Retry-After: 30\r\n")), {}, 503},
  };
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

TEST_F(Transport, EveryFaultHasItsCodeInTimeAndLeavesNothingOpen) {
  network.reset();
  const auto nothing = []() -> asio::awaitable<void> { co_return; };
  engine.wait(nothing());
  const std::size_t before = open_descriptors();
  for (const Fault& fault : faults()) {
    {
      Server server(fault.serve);
      network = std::make_shared<HttpClient>(engine);
      const auto http = transport(server.url);
      HttpRequest request = server.get();
      request.operation = "list";
      request.deadline = engine.in(fault.deadline);
      const auto began = std::chrono::steady_clock::now();
      if (fault.status != 0) {
        EXPECT_EQ(send(*http, std::move(request)).status, fault.status) << fault.what;
      } else {
        const Error error = send_error(*http, std::move(request));
        EXPECT_EQ(error.code(), fault.code) << fault.what << ": " << error.what();
        EXPECT_EQ(error.context().processed, Processed::unknown) << fault.what;
        EXPECT_THAT(error.what(), AllOf(HasSubstr("list: "), HasSubstr(server.url))) << fault.what;
      }
      EXPECT_LT(std::chrono::steady_clock::now() - began, fault.deadline + 5s) << fault.what;
      network.reset();
    }
    engine.wait(nothing());  // the client's end has come before
    EXPECT_EQ(open_descriptors(), before) << fault.what;
  }
}

// --- one call for many ---

TEST(SingleFlightTest, OneWaiterLessEndsNothing) {
  Engine engine({.threads = 2});
  SingleFlight<int> flight(engine);
  std::promise<void> begun;
  std::atomic<bool> go = false;
  std::atomic<int> calls = 0;
  const std::function<asio::awaitable<int>()> call = [&]() -> asio::awaitable<int> {
    if (++calls == 1) begun.set_value();
    while (!go) co_await engine.sleep_for(1ms);
    co_return 7;
  };
  std::stop_source stop;
  std::future<ErrorCode> first = std::async(std::launch::async, [&] {
    return error_of([&] { (void)engine.wait(flight.join(call), stop.get_token()); }).code();
  });
  begun.get_future().wait();
  std::future<int> second = std::async(std::launch::async, [&] { return engine.wait(flight.join(call)); });
  stop.request_stop();
  EXPECT_EQ(first.get(), ErrorCode::cancelled);
  go = true;
  EXPECT_EQ(second.get(), 7);
  EXPECT_EQ(engine.wait(flight.join(call)), 7);
  EXPECT_GE(calls, 2) << "a finished flight is not boarded";
}

TEST(SingleFlightTest, EverybodyHearsOfAFailure) {
  Engine engine;
  SingleFlight<int> flight(engine);
  const std::function<asio::awaitable<int>()> call = []() -> asio::awaitable<int> {
    throw AuthenticationError(ErrorCode::unauthenticated, "no");
    co_return 0;
  };
  EXPECT_THROW((void)engine.wait(flight.join(call)), AuthenticationError);
  const std::function<asio::awaitable<int>()> odd = []() -> asio::awaitable<int> {
    throw std::runtime_error("odd");
    co_return 0;
  };
  EXPECT_EQ(error_of([&] { (void)engine.wait(flight.join(odd)); }).code(), ErrorCode::internal);
}

}  // namespace
}  // namespace sandkey
