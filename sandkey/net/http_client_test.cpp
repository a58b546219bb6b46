#include "sandkey/net/http_client.h"

#include "sandkey/base/error.h"
#include "sandkey/net/scripted_server.h"

#include <boost/asio/this_coro.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// An environment of these variables alone.
std::function<std::optional<std::string>(const std::string&)> variables(
    std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

class Http : public ::testing::Test {
 protected:
  HttpResponse send(HttpRequest request) { return engine.wait(http.send(std::move(request))); }
  Error send_error(HttpRequest request) {
    return error_of([&] { (void)send(std::move(request)); });
  }

  Engine engine;
  HttpClient http{engine};
};

TEST_F(Http, KeepsItsConnection) {
  Server server(always(kOk));
  for (int i = 0; i < 50; ++i) {
    const HttpResponse response = send(server.get());
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "ok");
  }
  EXPECT_EQ(server.accepted, 1);
}

TEST_F(Http, UnixSocket) {
  Server server(always(kOk), true);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(send(server.get()).body, "ok");
  EXPECT_EQ(server.accepted, 1);
}

TEST_F(Http, WhatIsSent) {
  std::promise<std::string> seen;
  Server server([&](Connection& c) {
    std::string head = c.read_head();
    head += c.read_exactly(5);
    c.send(kOk);
    seen.set_value(head);
  });
  HttpRequest request = server.get("/a%20b?c=d");
  request.method = "POST";
  request.body = "hello";
  request.headers.set("X-Key", Secret("k1"), "Bearer ");
  request.headers.set("x-key", Secret("k2"), "Bearer ");  // replaces
  request.headers.set("X-Empty", "");
  send(std::move(request));
  const std::string head = seen.get_future().get();
  EXPECT_THAT(head, ::testing::StartsWith("POST /a%20b?c=d HTTP/1.1\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nx-key: Bearer k2\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nX-Empty:"));
  EXPECT_THAT(head, HasSubstr("\r\nUser-Agent: sandkey/"));
  EXPECT_THAT(head, HasSubstr("\r\nContent-Length: 5\r\n"));
  EXPECT_THAT(head, ::testing::EndsWith("\r\n\r\nhello"));
  EXPECT_THAT(head, AllOf(Not(HasSubstr("k1")), Not(HasSubstr("Expect")), Not(HasSubstr("Content-Type"))));
}

TEST_F(Http, MethodsLeaveNothingBehindInAPooledHandle) {
  std::vector<std::string> seen;
  Server server([&](Connection& c) {
    for (std::string head = c.read_head(); !head.empty(); head = c.read_head()) {
      const std::size_t length = head.find("Content-Length: ");
      if (length != std::string::npos) head += c.read_exactly(std::stoul(head.substr(length + 16)));
      const bool is_head = head.starts_with("HEAD");
      seen.push_back(std::move(head));
      c.send(is_head ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" : kOk);
    }
  });
  for (const char* method : {"POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "GET"}) {
    HttpRequest request = server.get();
    request.method = method;
    if (std::string_view(method) == "PATCH") request.body = "xyz";
    EXPECT_EQ(send(std::move(request)).status, 200);
  }
  EXPECT_EQ(server.accepted, 1);
  ASSERT_EQ(seen.size(), 7U);
  EXPECT_THAT(seen[0], AllOf(::testing::StartsWith("POST "), HasSubstr("Content-Length: 0")));
  EXPECT_THAT(seen[1], AllOf(::testing::StartsWith("GET "), Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(seen[2], ::testing::StartsWith("HEAD "));
  EXPECT_THAT(seen[3], AllOf(::testing::StartsWith("PUT "), HasSubstr("Content-Length: 0")));
  EXPECT_THAT(seen[4], AllOf(::testing::StartsWith("DELETE "), Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(seen[5], AllOf(::testing::StartsWith("PATCH "), ::testing::EndsWith("\r\n\r\nxyz")));
  EXPECT_THAT(seen[6], AllOf(::testing::StartsWith("GET "), Not(HasSubstr("Content-Length"))));
}

TEST_F(Http, ResponseHeaders) {
  Server server(
      always("HTTP/1.1 100 Continue\r\nX-No: 1\r\n\r\n"
             "HTTP/1.1 418 Teapot\r\nX-A:  one \r\nSet-Cookie: a\r\nset-cookie: b\r\nX-E:\r\n"
             "Content-Length: 0\r\n\r\n"));
  const HttpResponse response = send(server.get());
  EXPECT_EQ(response.status, 418);
  EXPECT_EQ(response.headers.find("x-a"), "one");
  EXPECT_EQ(response.headers.find("X-E"), "");
  EXPECT_EQ(response.headers.find("X-No"), std::nullopt);
  EXPECT_EQ(response.headers.find_all("SET-COOKIE"), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(response.headers.list().size(), 5U);
}

TEST_F(Http, Chunked) {
  Server server(
      always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
             "3\r\nabc\r\n1;ext=1\r\nd\r\n0\r\nX-T: v\r\n\r\n"));
  EXPECT_EQ(send(server.get()).body, "abcd");
  EXPECT_EQ(send(server.get()).body, "abcd");
  EXPECT_EQ(server.accepted, 1);
}

TEST_F(Http, BodyUntilClose) {
  Server server(once("HTTP/1.1 200 OK\r\n\r\nall of it"));
  EXPECT_EQ(send(server.get()).body, "all of it");
}

TEST_F(Http, BodilessAnswersEndAtOnceAndKeepTheConnection) {
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 204 No Content\r\n\r\n");
    c.read_head();
    c.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
    always(kOk)(c);
  });
  EXPECT_EQ(send(server.get()).status, 204);
  EXPECT_EQ(send(server.get()).status, 304);
  HttpRequest head = server.get();
  head.method = "HEAD";
  EXPECT_EQ(send(std::move(head)).headers.find("content-length"), "99999999999");
  EXPECT_EQ(send(server.get()).body, "ok");
  EXPECT_EQ(server.accepted, 1);
}

TEST_F(Http, RedirectsAreAnswers) {
  Server other(always(kOk));
  Server server(always("HTTP/1.1 302 Found\r\nLocation: " + other.url + "/\r\nContent-Length: 0\r\n\r\n"));
  const HttpResponse response = send(server.get());
  EXPECT_EQ(response.status, 302);
  EXPECT_EQ(response.headers.find("location"), other.url + "/");
  EXPECT_EQ(other.accepted, 0);
}

TEST_F(Http, ProxiesAreNotUsedForLoopback) {
  Server proxy(always(kOk));
  Server server(always("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect"));
  Engine with_proxy({.environment = variables({{"http_proxy", proxy.url}})});
  HttpClient client(with_proxy);
  EXPECT_EQ(with_proxy.wait(client.send(server.get())).body, "direct");
  HttpRequest request;
  request.url = "http://sandkey.invalid/";
  EXPECT_EQ(with_proxy.wait(client.send(std::move(request))).body,
            "ok");  // while others are reached through it
  EXPECT_EQ(proxy.accepted, 1);
}

TEST_F(Http, OnlyTheEnginesEnvironmentCounts) {
  Server proxy(always(kOk));
  setenv("http_proxy", proxy.url.c_str(), 1);
  Engine without({.environment = variables({})});
  HttpClient client(without);
  HttpRequest request;
  request.url = "http://sandkey.invalid/";
  const Error error = error_of([&] { (void)without.wait(client.send(std::move(request))); });
  unsetenv("http_proxy");
  EXPECT_THAT(error.what(), HasSubstr("cannot be resolved"));
  EXPECT_EQ(proxy.accepted, 0);
}

TEST_F(Http, AnExplicitProxyComesBeforeTheEnvironment) {
  Server explicit_proxy(always(kOk));
  Server proxy(always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nenv!"));
  Engine with_proxy({.environment = variables({{"http_proxy", proxy.url}, {"no_proxy", "sandkey.invalid"}})});
  HttpClient client(with_proxy, {.proxy = explicit_proxy.url});
  HttpRequest request;
  request.url = "http://sandkey.invalid/";
  EXPECT_EQ(with_proxy.wait(client.send(std::move(request))).body, "ok");
  EXPECT_EQ(proxy.accepted, 0);
}

TEST_F(Http, AProxyThatRefusesATunnel) {
  std::promise<std::string> seen;
  Server proxy([&](Connection& c) {
    seen.set_value(c.read_head());
    c.send("HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n");
    c.wait_for_end();
  });
  HttpClient client(engine, {.proxy = proxy.url});
  HttpRequest request;
  request.url = "https://sandkey.invalid/path";
  request.headers.set("Authorization", Secret("s3cret"));
  const Error error = error_of([&] { (void)engine.wait(client.send(std::move(request))); });
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::no);
  EXPECT_TRUE(error.context().permanent);
  EXPECT_THAT(error.what(), HasSubstr("the proxy refused to connect (HTTP status 407)"));
  EXPECT_THAT(seen.get_future().get(),
              AllOf(HasSubstr("CONNECT sandkey.invalid:443"), Not(HasSubstr("s3cret"))));
}

// --- limits ---

TEST_F(Http, BodyAtTheLimitAndOneMore) {
  for (const bool chunked : {false, true}) {
    Server server([&](Connection& c) {
      for (std::string head = c.read_head(); !head.empty(); head = c.read_head()) {
        const std::size_t size = head.starts_with("GET /at") ? 1000 : 1001;
        const std::string body(size, 'x');
        char hex[16];
        std::snprintf(hex, sizeof hex, "%zx", size);
        c.send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(hex) + "\r\n" +
                             body + "\r\n0\r\n\r\n"
                       : "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + body);
      }
    });
    HttpRequest at = server.get("/at");
    at.max_response_body = 1000;
    EXPECT_EQ(send(std::move(at)).body.size(), 1000U);
    HttpRequest over = server.get("/over");
    over.max_response_body = 1000;
    over.operation = "fetch";
    const Error error = send_error(std::move(over));
    EXPECT_EQ(error.code(), ErrorCode::protocol);
    EXPECT_EQ(error.what(), "fetch: the answer is longer than 1000 bytes (" + server.url + ")");
  }
}

TEST_F(Http, EndlessBody) {
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\n\r\n");
    const std::string piece(10000, 'x');
    while (c.send(piece)) {
    }
  });
  HttpRequest request = server.get();
  request.max_response_body = 100'000;
  EXPECT_EQ(send_error(std::move(request)).code(), ErrorCode::protocol);
}

TEST_F(Http, HeadersAtTheLimitAndOneMore) {
  const std::string begin = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ";
  const auto padded = [&](std::size_t total) {
    return begin + std::string(total - begin.size() - 4, 'x') + "\r\n\r\nok";
  };
  Server at(always(padded(kMaxResponseHeader)));
  EXPECT_EQ(send(at.get()).body, "ok");
  Server over(always(padded(kMaxResponseHeader + 1)));
  const Error error = send_error(over.get());
  EXPECT_EQ(error.code(), ErrorCode::protocol);
  EXPECT_THAT(error.what(), HasSubstr("headers are longer than 65536 bytes"));
}

TEST_F(Http, EndlessHeaders) {
  for (const char* piece :
       {"X-More: yes\r\n", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "\r\nHTTP/1.1 100 C\r\n"}) {
    Server server([&](Connection& c) {
      c.read_head();
      c.send("HTTP/1.1 200 OK\r\nX: ");
      while (c.send(piece)) {
      }
    });
    EXPECT_EQ(send_error(server.get()).code(), ErrorCode::protocol) << piece;
  }
}

// --- faults ---

TEST_F(Http, ResetBeforeTheAnswer) {
  Server server([](Connection& c) {
    c.read_head();
    c.reset();
  });
  HttpRequest request = server.get("/x?token=s3cret");
  request.operation = "list sandboxes";
  request.headers.set("Authorization", Secret("s3cret"));
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::unknown);
  EXPECT_EQ(error.context().operation, "list sandboxes");
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr("list sandboxes: "), HasSubstr(server.url), Not(HasSubstr("s3cret"))));
}

TEST_F(Http, ClosedBeforeWithinAndAfterTheHeaders) {
  for (const char* sent :
       {"", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    Server server(once(sent));
    const Error error = send_error(server.get());
    EXPECT_EQ(error.code(), ErrorCode::unavailable) << sent << ": " << error.what();
    EXPECT_EQ(error.context().processed, Processed::unknown) << sent;
  }
}

TEST_F(Http, ResetWithinTheBody) {
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
    c.reset();
  });
  EXPECT_EQ(send_error(server.get()).code(), ErrorCode::unavailable);
}

TEST_F(Http, ResetAfterTheBody) {
  Server server([](Connection& c) {
    if (!c.read_head().empty()) c.send(kOk);
    c.reset();
  });
  for (int i = 0; i < 2; ++i) EXPECT_EQ(send(server.get()).body, "ok");
  EXPECT_EQ(server.accepted, 2);
}

TEST_F(Http, HalfOfSomethingThenNothingMore) {
  for (const char* sent :
       {"HTTP/1.1 200 OK\r\nX-Half: of a hea", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"}) {
    Server server([&](Connection& c) {
      c.read_head();
      c.send(sent);
      c.wait_for_end();
    });
    HttpRequest request = server.get();
    request.deadline = engine.in(30ms);
    const auto began = std::chrono::steady_clock::now();
    const Error error = send_error(std::move(request));
    EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded) << sent;
    EXPECT_EQ(error.context().processed, Processed::unknown) << sent;
    EXPECT_LT(std::chrono::steady_clock::now() - began, 10s) << sent;
  }
}

TEST_F(Http, NotHttp) {
  for (const char* sent :
       {"220 smtp.example.com ESMTP\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"}) {
    Server server(once(sent));
    const Error error = send_error(server.get());
    EXPECT_EQ(error.code(), ErrorCode::protocol) << sent << ": " << error.what();
  }
}

TEST_F(Http, RefusedConnection) {
  std::string url;
  {
    Server server(always(kOk));
    url = server.url;
  }
  HttpRequest request;
  request.url = url + "/x";
  request.operation = "connect";
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::no);
  EXPECT_EQ(error.context().phase, "connect");
  EXPECT_EQ(error.what(),
            "connect: cannot connect: Connection refused; check that the server runs and the address is "
            "right (" +
                url + ")");
}

TEST_F(Http, MissingUnixSocket) {
  HttpRequest request;
  request.url = "http://localhost/";
  request.unix_socket = "/nonexistent/sandkey.sock";
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::no);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("unix:/nonexistent/sandkey.sock"), HasSubstr("No such file")));
}

TEST_F(Http, UnresolvableHost) {
  HttpRequest request;
  request.url = "http://sandkey.invalid/";
  request.deadline = engine.in(60s);
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::no);
  EXPECT_THAT(error.what(), HasSubstr("resolved"));
}

TEST_F(Http, AKeptConnectionThatBreaksIsRepeatedForGetOnly) {
  std::atomic<int> requests = 0;
  Server server([&](Connection& c) {
    if (!c.read_head().empty()) ++requests;
    c.send(kOk);
    if (!c.read_head().empty()) ++requests;  // the second on this connection gets no answer
    c.close();
  });
  EXPECT_EQ(send(server.get()).body, "ok");
  EXPECT_EQ(send(server.get()).body, "ok");  // repeated on a fresh connection
  EXPECT_EQ(requests, 3);
  HttpRequest post = server.get();
  post.method = "POST";
  const Error error = send_error(std::move(post));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::unknown);
  EXPECT_THAT(error.what(), HasSubstr("may have been carried out"));
  EXPECT_EQ(requests, 4);
}

TEST_F(Http, AConnectionClosedWhileIdleIsNotUsed) {
  std::promise<void> closed;
  Server server([&, first = true](Connection& c) mutable {
    if (!std::exchange(first, false)) return always(kOk)(c);
    c.read_head();
    c.send(kOk);
    c.close();
    closed.set_value();
  });
  EXPECT_EQ(send(server.get()).body, "ok");
  closed.get_future().wait();
  HttpRequest post = server.get();
  post.method = "POST";
  EXPECT_EQ(send(std::move(post)).body, "ok");
  EXPECT_EQ(server.accepted, 2);
}

TEST_F(Http, MalformedRequests) {
  const auto refused = [&](HttpRequest request) {
    const Error error = send_error(std::move(request));
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
    EXPECT_EQ(error.context().processed, Processed::no);
    EXPECT_THAT(error.what(), Not(HasSubstr("s3cret")));
  };
  for (const char* url : {"", "localhost", "ftp://x/", "file:///etc/passwd", "http://u:s3cret@h/",
                          "http:///x", "http://h/a b", "http://h/\r\nX: s3cret"}) {
    HttpRequest request;
    request.url = url;
    refused(std::move(request));
  }
  HttpRequest method;
  method.url = "http://127.0.0.1/";
  method.method = "GET /s3cret";
  refused(std::move(method));
  HttpHeaders headers;
  EXPECT_EQ(error_of([&] { headers.set("X", "a\r\nEvil: s3cret"); }).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] { headers.set("X:", "a"); }).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] { headers.set("", "a"); }).code(), ErrorCode::invalid_argument);
}

// --- deadlines and cancellation ---

TEST_F(Http, DeadlineInThePast) {
  Server server(always(kOk));
  HttpRequest request = server.get();
  request.deadline = engine.steady_now();
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(error.context().processed, Processed::no);
  EXPECT_EQ(server.accepted, 0);
}

TEST_F(Http, SilentServer) {
  Server server([](Connection& c) { c.wait_for_end(); });
  HttpRequest request = server.get();
  request.operation = "check";
  request.deadline = engine.in(30ms);
  const auto begin = std::chrono::steady_clock::now();
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(error.context().processed, Processed::unknown);
  EXPECT_EQ(error.context().phase, "wait for the answer");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(Http, SlowDripPastTheDeadline) {
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while (c.send("x")) std::this_thread::sleep_for(1ms);  // the drip, not a synchronisation
  });
  HttpRequest request = server.get();
  request.deadline = engine.in(50ms);
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(error.context().phase, "read the answer");
}

TEST_F(Http, CancelledInFlight) {
  std::promise<void> arrived;
  std::promise<void> gone;
  Server server([&](Connection& c) {
    c.read_head();
    arrived.set_value();
    c.wait_for_end();
    gone.set_value();
  });
  std::stop_source stop;
  std::jthread stopper([&] {
    arrived.get_future().wait();
    stop.request_stop();
  });
  const Error error = error_of([&] { (void)engine.wait(http.send(server.get()), stop.get_token()); });
  EXPECT_EQ(error.code(), ErrorCode::cancelled);
  gone.get_future().wait();  // the connection was closed, not kept
}

TEST_F(Http, CancelledBeforeItStarts) {
  Server server(always(kOk));
  std::stop_source stop;
  stop.request_stop();
  // Either it was quick enough or it was cancelled; the client is whole afterwards.
  try {
    (void)engine.wait(http.send(server.get()), stop.get_token());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
  EXPECT_EQ(send(server.get()).body, "ok");
}

TEST_F(Http, DestroyingTheClientCancels) {
  std::promise<void> arrived;
  Server server([&](Connection& c) {
    c.read_head();
    arrived.set_value();
    c.wait_for_end();
  });
  auto client = std::make_unique<HttpClient>(engine);
  std::jthread destroyer([&] {
    arrived.get_future().wait();
    client.reset();
  });
  EXPECT_EQ(error_of([&] { (void)engine.wait(client->send(server.get())); }).code(), ErrorCode::cancelled);
}

TEST_F(Http, AnEngineThatEndsWithRequestsInFlightLeaksNothing) {
  std::promise<void> arrived;
  Server server([&](Connection& c) {
    c.read_head();
    arrived.set_value();
    c.wait_for_end();
  });
  Engine own({.shutdown_grace = 0ms});
  HttpClient client(own);
  TaskGroup tasks(own);
  const auto task = [](HttpClient* c, HttpRequest request) -> asio::awaitable<void> {
    (void)co_await c->send(std::move(request));
  };
  tasks.spawn(task(&client, server.get()));
  arrived.get_future().wait();
}

TEST_F(Http, OutsideTheEngineIsRefused) {
  Engine other;
  const Error error = error_of([&] {
    HttpRequest request;
    request.url = "http://127.0.0.1/";
    (void)other.wait(http.send(std::move(request)));
  });
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
}

// --- many at once ---

asio::awaitable<void> count_ok(HttpClient* http, HttpRequest request, std::atomic<int>* good) {
  const HttpResponse response = co_await http->send(std::move(request));
  if (response.status == 200 && response.body == "ok") ++*good;
}

TEST_F(Http, HundredAtOnceOnOneThread) {
  std::atomic<int> waiting = 0;
  std::promise<void> all_in;
  std::shared_future<void> go = all_in.get_future().share();
  Server server([&](Connection& c) {
    for (std::string head = c.read_head(); !head.empty(); head = c.read_head()) {
      if (++waiting == 100) all_in.set_value();
      go.wait();  // nobody is answered before all have asked
      c.send(kOk);
    }
  });
  TaskGroup tasks(engine);
  std::atomic<int> good = 0;
  for (int i = 0; i < 100; ++i) tasks.spawn(count_ok(&http, server.get(), &good));
  engine.wait(tasks.join());
  EXPECT_EQ(good, 100);
  EXPECT_EQ(server.accepted, 100);
  for (int i = 0; i < 50; ++i) send(server.get());
  EXPECT_EQ(server.accepted, 100);  // kept
}

TEST_F(Http, SeveralThreads) {
  Server server(always(kOk));
  Engine many({.threads = 3});
  HttpClient client(many);
  TaskGroup a(many);
  TaskGroup b(many);
  TaskGroup c(many);
  std::atomic<int> good = 0;
  for (TaskGroup* group : {&a, &b, &c}) {
    for (int i = 0; i < 30; ++i) group->spawn(count_ok(&client, server.get(), &good));
  }
  for (TaskGroup* group : {&a, &b, &c}) many.wait(group->join());
  EXPECT_EQ(good, 90);
}

// --- streams ---

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

// Bytes of the body that begin with `first`, as a reader and a writer can both compute them.
char pattern(std::size_t position) {
  return static_cast<char>('a' + (position * 7 + position / 251) % 26);
}

std::string patterned(std::size_t begin, std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = pattern(begin + i);
  return text;
}

bool is_patterned(std::size_t begin, std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (static_cast<char>(bytes[i]) != pattern(begin + i)) return false;
  }
  return true;
}

TEST_F(Http, StreamGivesHeadersBeforeTheBody) {
  std::promise<void> headers_seen;
  Server server([&](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 6\r\n\r\n");
    headers_seen.get_future().wait();
    c.send("abc");
    c.send("def");
  });
  const auto body = [](HttpClient* client, HttpRequest request,
                       std::promise<void>* seen) -> asio::awaitable<std::string> {
    HttpStream stream = co_await client->open(std::move(request));
    EXPECT_EQ(stream.status(), 200);
    EXPECT_EQ(stream.headers().find("x-a"), "b");
    seen->set_value();
    std::string all = co_await stream.read_all();
    std::byte more[1];
    EXPECT_EQ(co_await stream.read_some(more), 0U);
    EXPECT_EQ(co_await stream.read_some({}), 0U);
    co_return all;
  };
  EXPECT_EQ(engine.wait(body(&http, server.get(), &headers_seen)), "abcdef");
}

TEST_F(Http, StreamsOfNothing) {
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 204 No Content\r\n\r\n");
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    c.wait_for_end();
  });
  const auto body = [](HttpClient* client, HttpRequest request) -> asio::awaitable<std::string> {
    HttpStream stream = co_await client->open(std::move(request));
    co_return co_await stream.read_all();
  };
  EXPECT_EQ(engine.wait(body(&http, server.get())), "");
  EXPECT_EQ(engine.wait(body(&http, server.get())), "");
  EXPECT_EQ(server.accepted, 1);
}

TEST_F(Http, ASlowReaderMakesTheServerWait) {
  constexpr std::size_t kSize = 30'000'000;
  std::promise<std::size_t> accepted_bytes;
  Server server(
      [&](Connection& c) {
        c.read_head();
        c.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n");
        std::size_t sent = 0;
        // Until nothing has moved for a while: the time says "full", it orders nothing.
        while (sent < kSize && c.writable_within(200ms)) {
          sent += c.send_what_fits(patterned(sent, std::min<std::size_t>(64 * 1024, kSize - sent)));
        }
        accepted_bytes.set_value(sent);
        while (sent < kSize) {
          const std::size_t size = std::min<std::size_t>(64 * 1024, kSize - sent);
          if (!c.send(patterned(sent, size))) return;
          sent += size;
        }
      },
      true);
  const auto begin = [](HttpClient* client, HttpRequest request) -> asio::awaitable<HttpStream> {
    co_return co_await client->open(std::move(request));
  };
  const auto drain = [](HttpStream* stream) -> asio::awaitable<std::size_t> {
    std::vector<std::byte> buffer(50'000);
    std::size_t total = 0;
    for (;;) {
      const std::size_t count = co_await stream->read_some(buffer);
      if (count == 0) co_return total;
      EXPECT_TRUE(is_patterned(total, std::span(buffer).first(count)));
      total += count;
    }
  };
  HttpStream stream = engine.wait(begin(&http, server.get()));
  const std::size_t taken = accepted_bytes.get_future().get();
  EXPECT_LT(taken, kStreamBuffer + 1'500'000) << "ours, curl's buffer, and the kernel's";
  EXPECT_EQ(engine.wait(drain(&stream)), kSize);
}

TEST_F(Http, AnUnreadStreamCanBeDroppedOnAnyThread) {
  std::promise<void> gone;
  Server server([&](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\n\r\n");
    const std::string piece(10000, 'x');
    while (c.send(piece)) {
    }
    gone.set_value();
  });
  { HttpStream stream = engine.wait(http.open(server.get())); }
  gone.get_future().wait();
}

TEST_F(Http, StreamBrokenInTheBodyGivesWhatCameThenTheError) {
  Server server(once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
  const auto body = [](HttpClient* client, HttpRequest request, std::string* got) -> asio::awaitable<void> {
    HttpStream stream = co_await client->open(std::move(request));
    for (;;) {
      std::byte buffer[3];
      const std::size_t count = co_await stream.read_some(buffer);
      if (count == 0) co_return;
      for (std::size_t i = 0; i < count; ++i) *got += static_cast<char>(buffer[i]);
    }
  };
  std::string got;
  EXPECT_EQ(error_of([&] { engine.wait(body(&http, server.get(), &got)); }).code(), ErrorCode::unavailable);
  EXPECT_EQ(got, "half");
}

TEST_F(Http, StreamFailsBeforeTheHeaders) {
  Server server(once("HTTP/1.1 200 OK\r\nX"));
  EXPECT_EQ(error_of([&] { (void)engine.wait(http.open(server.get())); }).code(), ErrorCode::unavailable);
}

TEST_F(Http, StreamDeadlineHoldsWhileReading) {
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    c.wait_for_end();
  });
  const auto body = [](HttpClient* client, HttpRequest request) -> asio::awaitable<void> {
    HttpStream stream = co_await client->open(std::move(request));
    (void)co_await stream.read_all();
  };
  HttpRequest request = server.get();
  request.deadline = engine.in(50ms);
  EXPECT_EQ(error_of([&] { engine.wait(body(&http, std::move(request))); }).code(),
            ErrorCode::deadline_exceeded);
}

TEST_F(Http, ACancelledReadLosesNothing) {
  std::promise<void> give_more;
  Server server([&](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    give_more.get_future().wait();
    c.send("cd");
  });
  const auto body = [](Engine* e, HttpClient* client, HttpRequest request,
                       std::promise<void>* more) -> asio::awaitable<std::string> {
    HttpStream stream = co_await client->open(std::move(request));
    std::byte two[2];
    std::size_t got = 0;
    while (got < 2) got += co_await stream.read_some(std::span(two).subspan(got));
    bool timed_out = false;
    try {
      std::byte buffer[8];
      (void)co_await e->with_deadline(stream.read_some(buffer), e->in(5ms), "read");
    } catch (const Error& error) {
      timed_out = error.code() == ErrorCode::deadline_exceeded;
    }
    EXPECT_TRUE(timed_out);
    more->set_value();
    co_return co_await stream.read_all();
  };
  EXPECT_EQ(engine.wait(body(&engine, &http, server.get(), &give_more)), "cd");
}

TEST_F(Http, ReadAllHasALimit) {
  Server server(once("HTTP/1.1 200 OK\r\n\r\n12345"));
  const auto body = [](HttpClient* client, HttpRequest request,
                       std::size_t limit) -> asio::awaitable<std::string> {
    HttpStream stream = co_await client->open(std::move(request));
    co_return co_await stream.read_all(limit);
  };
  EXPECT_EQ(engine.wait(body(&http, server.get(), 5)), "12345");
  EXPECT_EQ(error_of([&] { (void)engine.wait(body(&http, server.get(), 4)); }).code(), ErrorCode::protocol);
}

// --- uploads ---

HttpBodySource patterned_source(std::size_t size, std::size_t* asked = nullptr) {
  return [size, position = std::make_shared<std::size_t>(0),
          asked](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const std::size_t count = std::min(buffer.size(), size - *position);
    for (std::size_t i = 0; i < count; ++i) buffer[i] = static_cast<std::byte>(pattern(*position + i));
    *position += count;
    if (asked != nullptr) *asked = *position;
    co_return count;
  };
}

bool receive_patterned(Connection& c, std::size_t size) {
  for (std::size_t got = 0; got < size;) {
    const std::string piece = c.read_exactly(std::min<std::size_t>(65536, size - got));
    if (piece.empty() || !is_patterned(got, std::as_bytes(std::span(piece)))) return false;
    got += piece.size();
  }
  return true;
}

long resident_kilobytes() {
  long pages = 0;
  long resident = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

TEST_F(Http, FiftyMegabytesUpFlat) {
  constexpr std::size_t kSize = 50'000'000;
  std::string head;
  std::atomic<bool> same = false;
  Server server([&](Connection& c) {
    head = c.read_head();
    same = receive_patterned(c, kSize);
    c.send(kOk);
    c.wait_for_end();
  });
  HttpRequest request = server.get();
  request.method = "POST";
  request.source = patterned_source(kSize);
  request.source_size = kSize;
  const long before = resident_kilobytes();
  EXPECT_EQ(send(std::move(request)).status, 200);
  // The sanitizers keep freed memory, so there the figure says nothing.
  const long grown = resident_kilobytes() - before;
  EXPECT_TRUE(kSanitized || grown < 16 * 1024) << grown << " KiB";
  EXPECT_TRUE(same);
  EXPECT_THAT(head, AllOf(::testing::StartsWith("POST "), HasSubstr("Content-Length: 50000000"),
                          Not(HasSubstr("Expect"))));
}

TEST_F(Http, ChunkedUpload) {
  constexpr std::size_t kSize = 1'000'000;
  std::atomic<bool> same = true;
  Server server([&](Connection& c) {
    if (c.read_head().find("Transfer-Encoding: chunked") == std::string::npos) same = false;
    std::size_t got = 0;
    for (;;) {
      const std::size_t size = std::stoul(c.read_line(), nullptr, 16);
      const std::string chunk = c.read_exactly(size + 2).substr(0, size);
      if (size == 0) break;
      if (!is_patterned(got, std::as_bytes(std::span(chunk)))) same = false;
      got += size;
    }
    if (got != kSize) same = false;
    c.send(kOk);
    always(kOk)(c);
  });
  HttpRequest request = server.get();
  request.method = "PUT";
  request.source = patterned_source(kSize);
  EXPECT_EQ(send(std::move(request)).status, 200);
  EXPECT_TRUE(same);
  EXPECT_EQ(send(server.get()).status, 200) << "the handle is as good as new";
}

TEST_F(Http, EmptySource) {
  Server server([&](Connection& c) {
    c.read_head();
    c.send(kOk);
    c.wait_for_end();
  });
  HttpRequest request = server.get();
  request.method = "POST";
  request.source = patterned_source(0);
  request.source_size = 0;
  EXPECT_EQ(send(std::move(request)).status, 200);
}

TEST_F(Http, AServerThatDoesNotReadHoldsTheSourceBack) {
  std::promise<void> go_on;
  constexpr std::size_t kSize = 30'000'000;
  std::atomic<std::size_t> asked = 0;
  std::promise<void> filled;
  Server server(
      [&](Connection& c) {
        c.read_head();
        go_on.get_future().wait();
        EXPECT_TRUE(receive_patterned(c, kSize));
        c.send(kOk);
        c.wait_for_end();
      },
      true);
  HttpRequest request = server.get();
  request.method = "POST";
  request.source_size = kSize;
  request.source = [&asked, inner = patterned_source(kSize)](std::span<std::byte> buffer) {
    asked += buffer.size();
    return inner(buffer);
  };
  std::future<HttpResponse> response =
      std::async(std::launch::async, [&] { return engine.wait(http.send(std::move(request))); });
  // Until it asks for no more; the time says "full", it orders nothing.
  for (std::size_t last = 1; last != asked || last == 0;) {
    last = asked;
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_LT(asked, 3'000'000U);
  go_on.set_value();
  EXPECT_EQ(response.get().status, 200);
}

TEST_F(Http, SourcesThatLieOrFail) {
  Server server([](Connection& c) { c.wait_for_end(); });
  const auto with = [&](HttpBodySource source, std::optional<std::uint64_t> size) {
    HttpRequest request = server.get();
    request.method = "POST";
    request.source = std::move(source);
    request.source_size = size;
    return request;
  };
  const Error less = send_error(with(patterned_source(10), 11));
  EXPECT_EQ(less.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(less.what(), HasSubstr("only 10 bytes instead of 11"));
  const Error more = send_error(with(patterned_source(12), 11));
  EXPECT_EQ(more.code(), ErrorCode::invalid_argument);
  EXPECT_THROW((void)send(with(
                   [](std::span<std::byte>) -> asio::awaitable<std::size_t> {
                     throw std::runtime_error("disk");
                     co_return 0;
                   },
                   std::nullopt)),
               std::runtime_error);
}

// A source that never gives anything; says when it was asked and when it was cancelled.
struct Stuck {
  Engine* engine;
  std::shared_ptr<std::atomic<int>> ended = std::make_shared<std::atomic<int>>(0);
  HttpBodySource source() const {
    return [e = engine, ends = ended](std::span<std::byte>) -> asio::awaitable<std::size_t> {
      try {
        co_await e->sleep_until(kNoDeadline);
      } catch (const Error&) {
        ++*ends;
        throw;
      }
      co_return 0;
    };
  }
};

TEST_F(Http, AnEarlyAnswerADeadlineOrACancellationEndsAStuckSource) {
  const Stuck stuck{&engine};
  Server server([](Connection& c) {
    const std::string head = c.read_head();
    if (head.starts_with("POST /early")) c.send("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    if (head.starts_with("POST /done")) {
      c.send("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
      c.send("0\r\n\r\n");
    }
    c.wait_for_end();
  });
  const auto request = [&](const char* path) {
    HttpRequest r = server.get(path);
    r.method = "POST";
    r.source = stuck.source();
    return r;
  };
  EXPECT_EQ(send(request("/early")).status, 413);
  EXPECT_EQ(*stuck.ended, 1);
  EXPECT_EQ(send(request("/done")).body, "x");
  EXPECT_EQ(*stuck.ended, 2);
  HttpRequest late = request("/late");
  late.deadline = engine.in(30ms);
  EXPECT_EQ(send_error(std::move(late)).code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(*stuck.ended, 3);
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(error_of([&] { (void)engine.wait(http.send(request("/cancel")), stop.get_token()); }).code(),
            ErrorCode::cancelled);
}

TEST_F(Http, AnswerAndUploadAtTheSameTime) {
  // An echo: every line up comes back down before the next one is written.
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (;;) {
      const std::string line = c.read_line();
      if (line.empty()) return;
      const std::size_t size = std::stoul(line, nullptr, 16);
      const std::string chunk = c.read_exactly(size + 2);
      c.send(line + chunk);
      if (size == 0) break;
    }
    c.wait_for_end();
  });
  const auto body = [](Engine* e, HttpClient* client, HttpRequest request) -> asio::awaitable<int> {
    const auto written = std::make_shared<int>(0);
    const auto read = std::make_shared<int>(0);
    request.method = "POST";
    request.source = [=](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
      while (*written != *read) co_await e->sleep_for(100us);
      if (*written == 20) co_return 0;
      ++*written;
      buffer[0] = std::byte{'x'};
      co_return 1;
    };
    HttpStream stream = co_await client->open(std::move(request));
    for (;;) {
      std::byte one[1];
      if (co_await stream.read_some(one) == 0) break;
      ++*read;
    }
    co_await stream.close();
    co_return *read;
  };
  EXPECT_EQ(engine.wait(body(&engine, &http, server.get())), 20);
}

TEST_F(Http, ClosingAStreamEndsItsSource) {
  const Stuck stuck{&engine};
  Server server([](Connection& c) {
    c.read_head();
    c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    c.wait_for_end();
  });
  const auto body = [](HttpClient* client, HttpRequest request, bool close) -> asio::awaitable<void> {
    request.method = "POST";
    HttpStream stream = co_await client->open(std::move(request));
    if (close) {
      co_await stream.close();
      std::byte one[1];
      EXPECT_THROW((void)co_await stream.read_some(one), Error);
    }
  };
  HttpRequest closed = server.get();
  closed.source = stuck.source();
  engine.wait(body(&http, std::move(closed), true));
  EXPECT_EQ(*stuck.ended, 1);
  HttpRequest dropped = server.get();
  dropped.source = stuck.source();
  engine.wait(body(&http, std::move(dropped), false));  // the rest is for the sanitizers
}

TEST_F(Http, HeadersAreClonedNotShared) {
  HttpHeaders headers{{"A", "1"}};
  HttpHeaders copy = headers.clone();
  copy.set("a", "2");
  copy.set("B", "3");
  EXPECT_EQ(headers.size(), 1U);
  EXPECT_EQ(copy.size(), 2U);
  EXPECT_TRUE(copy.contains("b"));
  copy.erase("B");
  EXPECT_FALSE(copy.contains("b"));
}

}  // namespace
}  // namespace sandkey
