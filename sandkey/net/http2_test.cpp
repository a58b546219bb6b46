// Against libcurl's own HTTP/2, without TLS (prior knowledge) and with.
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/net/certificate_authority.h"
#include "sandkey/net/http2_protocol.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/tls_listener.h"
#include "tests/agent/raw_http.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <curl/curl.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sandkey::net {
namespace {

using namespace std::chrono_literals;

struct Stage {
  std::promise<void> waiting;
  std::promise<bool> flood_over;  // whether the last write said that the peer was there
};

asio::awaitable<void> handle(Stage& stage, HttpExchange& exchange) {
  const std::string path = exchange.path();
  if (path == "/echo") {
    std::string body = co_await exchange.read_body(8 * 1024 * 1024);
    co_await exchange.reply(200, std::move(body), "text/plain");
  } else if (path == "/describe") {
    std::string text(exchange.method());
    text.append(" ").append(exchange.target()).append(" ").append(exchange.query("q").value_or("-"));
    text.append(" ").append(exchange.header("X-Some")).append(" ").append(exchange.header("host"));
    co_await exchange.reply(200, std::move(text), "text/plain");
  } else if (path == "/large") {
    co_await exchange.reply(200, std::string(5 * 1024 * 1024, 'l'), "text/plain");
  } else if (path == "/none") {
    co_await exchange.reply(204, "", "");
  } else if (path == "/stream") {
    const std::array<HttpExchange::Header, 2> headers{{{"X-Reply", "yes"}, {"Connection", "close"}}};
    (void)co_await exchange.start(200, "text/plain", std::nullopt, headers);
    for (int i = 0; i < 3; ++i) {
      const std::string piece = "piece" + std::to_string(i) + "\n";
      (void)co_await exchange.write(piece);
    }
    const std::array<HttpExchange::Header, 1> trailers{{{"Grpc-Status", "0"}}};
    (void)co_await exchange.finish_with(trailers);
  } else if (path == "/ignore") {
    co_await exchange.reply(200, "ignored", "text/plain");
  } else if (path == "/throw") {
    throw HttpError(418, "teapot");
  } else if (path == "/silent") {
    co_return;
  } else if (path == "/abort") {
    (void)co_await exchange.start(200, "text/plain");
    const std::string piece = "piece";
    (void)co_await exchange.write(piece);
    exchange.abort();
  } else if (path == "/flood") {
    const std::string piece(64 * 1024, 'f');
    bool there = co_await exchange.start(200, "text/plain");
    if (there) there = co_await exchange.write(piece);
    stage.waiting.set_value();
    while (there) there = co_await exchange.write(piece);
    stage.flood_over.set_value(there);
  } else if (path == "/think") {  // without reading or writing, until its client has left
    asio::steady_timer pause(co_await asio::this_coro::executor);
    bool there = !exchange.peer_gone();
    stage.waiting.set_value();
    while (there && !exchange.peer_gone()) {
      pause.expires_after(1ms);
      (void)co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    stage.flood_over.set_value(!there);
  } else {
    co_await exchange.reply(404, path, "text/plain");
  }
}

struct Answer {
  CURLcode result = CURLE_OK;
  long status = 0;
  long version = 0;
  long connects = 0;
  std::string body;
  std::string headers;
};

std::size_t append(char* data, std::size_t size, std::size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

struct CurlDeleter {
  void operator()(CURL* curl) const noexcept { curl_easy_cleanup(curl); }
};
using Curl = std::unique_ptr<CURL, CurlDeleter>;

class Http2Test : public ::testing::Test {
 protected:
  Http2Test()
      : server_(
            context_.get_executor(), [this](HttpExchange& exchange) { return handle(stage_, exchange); },
            options(), http2_protocol()) {
    port_ = server_.listen_tcp("127.0.0.1", 0);
  }
  ~Http2Test() override {
    if (thread_.joinable()) {
      asio::post(context_, [this] {
        if (tls_) tls_->stop();
        server_.stop();
      });
      thread_.join();
    }
  }
  void run() {
    thread_ = std::thread([this] { context_.run(); });
  }
  void serve_tls() {
    tls_ = std::make_unique<TlsListener>(
        context_.get_executor(), server_,
        authority_.issue({"localhost", "*.some.localhost", "127.0.0.1", "::1"}));
    tls_port_ = tls_->listen_loopback(0);
  }
  [[nodiscard]] std::string tls_url(const std::string& path, const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(tls_port_) + path;
  }
  // curl 7.88 cannot use a connection without TLS twice.
  [[nodiscard]] Curl make_tls_request(const std::string& url, Answer& answer) const {
    Curl curl = make_request(url, answer);
    curl_blob blob{.data = const_cast<char*>(authority_.certificate().data()),
                   .len = authority_.certificate().size(),
                   .flags = CURL_BLOB_COPY};
    curl_easy_setopt(curl.get(), CURLOPT_CAINFO_BLOB, &blob);
    curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
    return curl;
  }

  static HttpServerOptions options() {
    HttpServerOptions made;
    made.max_header_bytes = 4096;
    made.transfer_timeout = 10s;
    return made;
  }

  [[nodiscard]] std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  static Curl make_request(const std::string& url, Answer& answer) {
    Curl curl(curl_easy_init());
    curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
    curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, append);
    curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &answer.headers);
    curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 30L);
    return curl;
  }
  static void perform(CURL* curl, Answer& answer) {
    answer.result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &answer.version);
    curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &answer.connects);
  }
  [[nodiscard]] Answer get(const std::string& path) const {
    Answer answer;
    const Curl curl = make_request(url(path), answer);
    perform(curl.get(), answer);
    return answer;
  }
  [[nodiscard]] Answer post(const std::string& path, const std::string& body) const {
    Answer answer;
    const Curl curl = make_request(url(path), answer);
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
    perform(curl.get(), answer);
    return answer;
  }

  const CertificateAuthority authority_{"Test"};
  Stage stage_;
  asio::io_context context_;
  HttpServer server_;
  std::unique_ptr<TlsListener> tls_;
  std::uint16_t port_ = 0;
  std::uint16_t tls_port_ = 0;
  std::thread thread_;
};

TEST_F(Http2Test, GivesWhatTheRequestSays) {
  run();
  Answer answer;
  const Curl curl = make_request(url("/describe?q=%2F+x&y"), answer);
  curl_slist* headers = curl_slist_append(nullptr, "X-Some: value");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
  perform(curl.get(), answer);
  curl_slist_free_all(headers);
  EXPECT_EQ(answer.result, CURLE_OK);
  EXPECT_EQ(answer.version, CURL_HTTP_VERSION_2_0);
  EXPECT_EQ(answer.body, "GET /describe?q=%2F+x&y / x value 127.0.0.1:" + std::to_string(port_));
}

TEST_F(Http2Test, CarriesBodiesLargerThanItsWindows) {
  run();
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{kHttp2StreamWindow}, std::size_t{kHttp2StreamWindow} + 1,
        std::size_t{3} * kHttp2ConnectionWindow}) {
    const Answer answer = post("/echo", std::string(size, 'e'));
    EXPECT_EQ(answer.status, 200) << size;
    EXPECT_EQ(answer.body.size(), size);
  }
  EXPECT_EQ(get("/large").body.size(), 5U * 1024 * 1024);
}

TEST_F(Http2Test, StreamsAndEndsWithTrailers) {
  run();
  const Answer answer = get("/stream");
  EXPECT_EQ(answer.body, "piece0\npiece1\npiece2\n");
  EXPECT_NE(answer.headers.find("x-reply: yes"), std::string::npos) << answer.headers;
  EXPECT_NE(answer.headers.find("grpc-status: 0"), std::string::npos) << answer.headers;
  EXPECT_EQ(answer.headers.find("connection"), std::string::npos) << answer.headers;
}

TEST_F(Http2Test, AnswersWithoutABody) {
  run();
  EXPECT_EQ(get("/none").status, 204);
  Answer answer;
  const Curl curl = make_request(url("/large"), answer);
  curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L);
  perform(curl.get(), answer);
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.headers.find("content-length: 5242880"), std::string::npos) << answer.headers;
}

TEST_F(Http2Test, TurnsWhatAHandlerThrowsIntoAReply) {
  run();
  const Answer teapot = get("/throw");
  EXPECT_EQ(teapot.status, 418);
  EXPECT_EQ(teapot.body, R"({"detail":"teapot"})");
  EXPECT_EQ(get("/silent").status, 500);
  EXPECT_EQ(get("/%zz").status, 400);
}

TEST_F(Http2Test, BreaksOffTheStreamAndNotTheConnection) {
  serve_tls();
  run();
  Answer answer;
  const Curl curl = make_tls_request(tls_url("/abort"), answer);
  perform(curl.get(), answer);
  EXPECT_EQ(answer.result, CURLE_HTTP2_STREAM);
  EXPECT_EQ(answer.connects, 1);
  answer = {};
  curl_easy_setopt(curl.get(), CURLOPT_URL, tls_url("/none").c_str());
  perform(curl.get(), answer);
  EXPECT_EQ(answer.result, CURLE_OK) << curl_easy_strerror(answer.result);
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.connects, 0);
}

TEST_F(Http2Test, RefusesAHeadThatIsTooLarge) {
  run();
  for (const auto& [size, status] : {std::pair{3000, 200L}, std::pair{5000, 431L}}) {
    Answer answer;
    const Curl curl = make_request(url("/ignore"), answer);
    const std::string header = "X-Long: " + std::string(static_cast<std::size_t>(size), 'x');
    curl_slist* headers = curl_slist_append(nullptr, header.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
    perform(curl.get(), answer);
    curl_slist_free_all(headers);
    EXPECT_EQ(answer.status, status) << size;
  }
}

TEST_F(Http2Test, AnswersThoughTheBodyWasNotRead) {
  run();
  const Answer small = post("/ignore", std::string(200 * 1024, 'x'));
  EXPECT_EQ(small.result, CURLE_OK) << curl_easy_strerror(small.result);
  EXPECT_EQ(small.body, "ignored");
  // Of a large one the rest is refused. curl 7.88 has the whole reply then, and waits on all the same.
  Answer answer;
  const Curl curl = make_request(url("/ignore"), answer);
  const std::string large(4 * 1024 * 1024, 'x');
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(large.size()));
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, large.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 2L);
  perform(curl.get(), answer);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "ignored");
}

TEST_F(Http2Test, ServesManyAtOnceOnOneConnection) {
  serve_tls();
  run();
  constexpr std::size_t kCount = 50;
  std::array<Answer, kCount> answers;
  std::vector<Curl> requests;
  CURLM* multi = curl_multi_init();
  for (Answer& answer : answers) {
    requests.push_back(make_tls_request(tls_url("/large"), answer));
    curl_easy_setopt(requests.back().get(), CURLOPT_PIPEWAIT, 1L);
    curl_multi_add_handle(multi, requests.back().get());
  }
  int running = 1;
  while (running > 0) {
    curl_multi_perform(multi, &running);
    curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
  }
  long connects = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    long made = 0;
    curl_easy_getinfo(requests[i].get(), CURLINFO_NUM_CONNECTS, &made);
    connects += made;
    EXPECT_EQ(answers[i].body.size(), 5U * 1024 * 1024) << i;
    curl_multi_remove_handle(multi, requests[i].get());
  }
  curl_multi_cleanup(multi);
  EXPECT_EQ(connects, 1);
}

class LeavingClient : public Http2Test, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Http2Test, LeavingClient, ::testing::Values("/flood", "/think"));

TEST_P(LeavingClient, IsKnownToTheHandler) {
  run();
  Answer answer;
  Curl curl = make_request(url(GetParam()), answer);
  CURLM* multi = curl_multi_init();
  curl_multi_add_handle(multi, curl.get());
  std::future<void> flooding = stage_.waiting.get_future();
  while (flooding.wait_for(0s) != std::future_status::ready) {
    int running = 0;
    curl_multi_perform(multi, &running);
    curl_multi_poll(multi, nullptr, 0, 10, nullptr);
  }
  curl_multi_remove_handle(multi, curl.get());
  curl.reset();
  curl_multi_cleanup(multi);
  std::future<bool> over = stage_.flood_over.get_future();
  ASSERT_EQ(over.wait_for(20s), std::future_status::ready);
  EXPECT_FALSE(over.get());
}

TEST_F(Http2Test, SpeaksBothVersionsOnOneListener) {
  run();
  Answer answer;
  const Curl curl = make_request(url("/ignore"), answer);
  curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  perform(curl.get(), answer);
  EXPECT_EQ(answer.version, CURL_HTTP_VERSION_1_1);
  EXPECT_EQ(answer.status, 200);
  // A preface byte by byte, and a request that only begins like one.
  test::RawClient slow = test::RawClient::to_tcp(port_);
  for (const char byte : std::string("PROPFIND /ignore HTTP/1.1\r\nHost: x\r\n\r\n")) {
    ASSERT_TRUE(slow.send(std::string(1, byte)));
  }
  EXPECT_EQ(slow.response()->body, "ignored");
}

TEST_F(Http2Test, SurvivesWhatIsNotHttp2) {
  run();
  {
    test::RawClient rude = test::RawClient::to_tcp(port_);
    ASSERT_TRUE(rude.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(100, '\xff')));
    std::array<char, 256> scrap{};
    while (::recv(rude.fd(), scrap.data(), scrap.size(), 0) > 0) {
    }
    EXPECT_FALSE(rude.timed_out());
  }
  EXPECT_EQ(get("/ignore").body, "ignored");
}

TEST_F(Http2Test, IsChosenOverTlsByThoseWhoTrustTheAuthority) {
  serve_tls();
  run();
  Engine engine;
  const auto send = [&](HttpClient& with, const std::string& method, const std::string& path,
                        std::string body) {
    HttpRequest request;
    request.method = method;
    request.url = tls_url(path);
    request.body = std::move(body);
    request.deadline = engine.in(20s);
    return engine.wait(with.send(std::move(request)));
  };
  HttpClientOptions trusting;
  trusting.ca_pem = authority_.certificate();
  HttpClient client(engine, trusting);
  EXPECT_EQ(send(client, "POST", "/echo", std::string(500'000, 'x')).body.size(), 500'000U);
  EXPECT_EQ(send(client, "GET", "/stream", "").body, "piece0\npiece1\npiece2\n");

  const CertificateAuthority another("Another");
  HttpClientOptions wary;
  wary.ca_pem = another.certificate();
  HttpClient stranger(engine, wary);
  EXPECT_THROW((void)send(stranger, "GET", "/stream", ""), Error);

  for (const auto& [asked, spoken] : {std::pair<long, long>{CURL_HTTP_VERSION_2TLS, CURL_HTTP_VERSION_2_0},
                                      std::pair<long, long>{CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_1_1}}) {
    Answer answer;
    const Curl curl = make_tls_request(tls_url("/ignore", "a.some.localhost"), answer);
    curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, asked);
    perform(curl.get(), answer);
    EXPECT_EQ(answer.result, CURLE_OK) << curl_easy_strerror(answer.result);
    EXPECT_EQ(answer.version, spoken);
  }
}

TEST(CertificateAuthority, RefusesNamesThatAreNone) {
  const CertificateAuthority authority("Test");
  EXPECT_THROW((void)authority.issue({}), Error);
  EXPECT_THROW((void)authority.issue({"a,IP:1.2.3.4"}), Error);
  EXPECT_THROW((void)authority.issue({""}), Error);
}

}  // namespace
}  // namespace sandkey::net
