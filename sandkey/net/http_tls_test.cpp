// TLS and HTTP/2, against nginx, with an authority and certificates made for the occasion.
#include "sandkey/base/error.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/scripted_server.h"
#include "sandkey/net/transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// nginx on Unix sockets in a folder of its own, one socket for each kind of server.
class Nginx {
 public:
  static std::optional<std::string> missing() {
    if (!std::filesystem::exists("/usr/sbin/nginx")) return "nginx is not installed (nginx-light)";
    if (std::system("openssl version >/dev/null 2>&1") != 0) return "openssl is not installed";
    return std::nullopt;
  }

  explicit Nginx(const std::string& upstream_url) {
    char name[] = "/tmp/sandkey-tls-XXXXXX";
    folder = mkdtemp(name);
    make_certificates();
    std::ofstream(folder + "/nginx.conf") << configuration(upstream_url);
    std::string binary = "/usr/sbin/nginx";
    std::string prefix_flag = "-p";
    std::string conf_flag = "-c";
    std::string conf = folder + "/nginx.conf";
    char* arguments[] = {binary.data(),    prefix_flag.data(), folder.data(),
                         conf_flag.data(), conf.data(),        nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log = folder + "/output";
    posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_CREAT | O_WRONLY, 0600);
    const int failed = posix_spawn(&process_, binary.c_str(), &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) process_ = 0;
    // It tells nobody when it listens.
    for (int i = 0; i < 2000 && !listens("plain"); ++i) std::this_thread::sleep_for(5ms);
    EXPECT_TRUE(listens("plain")) << read(folder + "/output");
  }
  ~Nginx() {
    if (process_ != 0) {
      kill(process_, SIGTERM);
      waitpid(process_, nullptr, 0);
    }
    std::filesystem::remove_all(folder);
  }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;

  [[nodiscard]] HttpRequest get(const std::string& server, const std::string& path = "/") const {
    HttpRequest request;
    request.url = (server == "plain" ? "http" : "https") + ("://localhost" + path);
    request.unix_socket = folder + "/" + server;
    return request;
  }
  static std::string read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string folder;

 private:
  void run(const std::string& command) {
    EXPECT_EQ(std::system(("cd " + folder + " && " + command + " >/dev/null 2>&1").c_str()), 0) << command;
  }
  void make_certificates() {
    const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes ";
    run("openssl req -x509 " + key + "-keyout ca.key -out ca.pem -days 2 -subj '/CN=Test authority'");
    const auto make = [&](const std::string& name, const std::string& host, const std::string& days) {
      run("openssl req " + key + "-keyout " + name + ".key -out " + name + ".csr -subj /CN=" + host);
      std::ofstream(folder + "/extensions") << "subjectAltName=DNS:" << host << "\n";
      run("openssl x509 -req -in " + name + ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days " + days +
          " -extfile extensions -out " + name + ".pem");
    };
    make("good", "localhost", "2");
    make("expired", "localhost", "-1");
    make("elsewhere", "elsewhere.example", "2");
  }
  [[nodiscard]] std::string configuration(const std::string& upstream_url) const {
    const auto server = [this](const std::string& name, const std::string& protocols,
                               const std::string& certificate, const std::string& more) {
      std::string text = "server { listen unix:" + folder + "/" + name + protocols + "; ";
      if (!certificate.empty()) {
        text += "ssl_certificate " + certificate + ".pem; ssl_certificate_key " + certificate + ".key; ";
      }
      return text + more + " }\n";
    };
    const std::string echo = "location / { return 200 '$server_protocol $connection'; } ";
    const std::string all = echo + "location /files/ { alias " + folder +
                            "/; } location /up/ { client_max_body_size 0; "
                            "proxy_request_buffering off; proxy_http_version 1.1; proxy_pass " +
                            upstream_url + "/; } ";
    return "daemon off; master_process off; pid pid; error_log stderr crit; events {}\n"
           "http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n"
           "uwsgi_temp_path t4; scgi_temp_path t5;\n" +
           server("h2", " ssl http2", "good", all) +
           server("narrow", " ssl http2", "good", "http2_max_concurrent_streams 4; " + echo) +
           server("brief", " ssl http2", "good", "keepalive_requests 3; " + echo) +
           server("h1", " ssl", "good", all) + server("expired", " ssl http2", "expired", echo) +
           server("elsewhere", " ssl http2", "elsewhere", echo) + server("plain", "", "", echo) + "}\n";
  }
  [[nodiscard]] bool listens(const std::string& socket_name) const {
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder + "/" + socket_name).copy(address.sun_path, sizeof address.sun_path - 1);
    void* const generic = &address;
    return connect(fd.get(), static_cast<sockaddr*>(generic), sizeof address) == 0;
  }

  pid_t process_ = 0;
};

// What nginx passes on to: half an answer, or all that was sent.
void serve_upstream(Connection& c) {
  for (std::string head = c.read_head(); !head.empty(); head = c.read_head()) {
    if (head.starts_with("GET /half")) {
      c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
      return c.reset();
    }
    std::size_t received = 0;
    const std::size_t length = head.find("Content-Length: ");
    if (length != head.npos) {
      received = c.read_exactly(std::stoul(head.substr(length + 16))).size();
    } else if (head.find("Transfer-Encoding: chunked") != head.npos) {
      for (;;) {
        const std::size_t size = std::stoul("0" + c.read_line(), nullptr, 16);
        c.read_exactly(size + 2);
        if (size == 0) break;
        received += size;
      }
    }
    const std::string body = std::to_string(received);
    c.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
}

// An environment of one variable.
std::function<std::optional<std::string>(const std::string&)> environment(std::string name,
                                                                          std::string value) {
  return [name = std::move(name), value = std::move(value)](const std::string& asked) {
    return asked == name ? std::optional(value) : std::nullopt;
  };
}

// A client that asks for https where http is written: the endpoint of a Unix socket is always http.
class OverTls final : public HttpTransport {
 public:
  OverTls(Engine& engine, const std::string& ca_file) : client_(engine, {.ca_file = ca_file}) {}
  asio::awaitable<HttpResponse> send(HttpRequest request) override {
    request.url = "https" + request.url.substr(4);
    return client_.send(std::move(request));
  }
  asio::awaitable<HttpStream> open(HttpRequest request) override { return client_.open(std::move(request)); }

 private:
  HttpClient client_;
};

class Tls : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (Nginx::missing()) return;
    upstream = new Server(serve_upstream);
    nginx = new Nginx(upstream->url);
  }
  static void TearDownTestSuite() {
    delete nginx;
    delete upstream;
    nginx = nullptr;
    upstream = nullptr;
  }
  void SetUp() override {
    if (const auto missing = Nginx::missing()) GTEST_SKIP() << *missing;
    client.emplace(engine, HttpClientOptions{.ca_file = nginx->folder + "/ca.pem"});
  }
  HttpResponse send(HttpRequest request) { return engine.wait(client->send(std::move(request))); }
  Error send_error(HttpRequest request) {
    return error_of([&] { (void)send(std::move(request)); });
  }
  std::vector<std::string> bodies_of_many(const std::string& server, std::size_t count) {
    std::vector<std::string> bodies(count);
    TaskGroup tasks(engine);
    const auto one = [](HttpClient* http, HttpRequest request, std::string* body) -> asio::awaitable<void> {
      const HttpResponse response = co_await http->send(std::move(request));
      *body = response.body;
    };
    for (std::string& body : bodies) tasks.spawn(one(&*client, nginx->get(server), &body));
    engine.wait(tasks.join());
    return bodies;
  }

  static inline Server* upstream = nullptr;
  static inline Nginx* nginx = nullptr;
  Engine engine;
  std::optional<HttpClient> client;
};

// --- HTTP/2 ---

TEST_F(Tls, ManyRequestsShareOneConnection) {
  const std::vector<std::string> bodies = bodies_of_many("h2", 60);
  EXPECT_THAT(bodies[0], StartsWith("HTTP/2.0 "));
  EXPECT_THAT(bodies, Each(bodies[0]));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(send(nginx->get("h2")).body, bodies[0]) << "and it is kept";
}

TEST_F(Tls, OneConnectionForEachThread) {
  Engine many({.threads = 3});
  HttpClient http(many, {.ca_file = nginx->folder + "/ca.pem"});
  TaskGroup a(many);
  TaskGroup b(many);
  std::atomic<int> good = 0;
  const auto one = [](HttpClient* from, HttpRequest request,
                      std::atomic<int>* count) -> asio::awaitable<void> {
    const HttpResponse response = co_await from->send(std::move(request));
    if (response.body.starts_with("HTTP/2.0 ")) ++*count;
  };
  for (int i = 0; i < 40; ++i) (i % 2 == 0 ? a : b).spawn(one(&http, nginx->get("h2"), &good));
  many.wait(a.join());
  many.wait(b.join());
  EXPECT_EQ(good, 40);
}

TEST_F(Tls, MoreRequestsThanAConnectionMayCarry) {
  EXPECT_THAT(bodies_of_many("narrow", 40), Each(StartsWith("HTTP/2.0 ")));
}

TEST_F(Tls, AServerThatEndsItsConnectionsNowAndThen) {
  for (int i = 0; i < 20; ++i) {
    HttpRequest request = nginx->get("brief");
    request.method = i % 2 == 0 ? "GET" : "POST";
    EXPECT_THAT(send(std::move(request)).body, StartsWith("HTTP/2.0 "));
  }
}

TEST_F(Tls, WithoutHttp2) {
  EXPECT_THAT(send(nginx->get("h1")).body, StartsWith("HTTP/1.1 "));
  EXPECT_THAT(bodies_of_many("h1", 20), Each(StartsWith("HTTP/1.1 ")));
}

TEST_F(Tls, BodiesBothWays) {
  for (const char* server : {"h2", "h1"}) {
    HttpRequest text = nginx->get(server, "/up/text");
    text.method = "POST";
    text.body = std::string(300'000, 'x');
    EXPECT_EQ(send(std::move(text)).body, "300000") << server;
    for (const bool sized : {true, false}) {
      constexpr std::size_t kSize = 1'000'000;
      HttpRequest upload = nginx->get(server, "/up/source");
      upload.method = "PUT";
      upload.source = [left = kSize](std::span<std::byte> buffer) mutable -> asio::awaitable<std::size_t> {
        const std::size_t count = std::min(left, buffer.size());
        std::fill_n(buffer.begin(), count, std::byte{'y'});
        left -= count;
        co_return count;
      };
      if (sized) upload.source_size = kSize;
      EXPECT_EQ(send(std::move(upload)).body, "1000000") << server << " " << sized;
    }
  }
}

TEST_F(Tls, AStreamReadSlowlyBesideOtherRequests) {
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  std::ofstream(nginx->folder + "/big") << content;
  const auto body = [](HttpClient* http, HttpRequest big, HttpRequest small) -> asio::awaitable<std::string> {
    HttpStream stream = co_await http->open(std::move(big));
    EXPECT_EQ(stream.status(), 200);
    std::string first(1000, '\0');
    const std::size_t count = co_await stream.read_some(std::as_writable_bytes(std::span(first)));
    first.resize(count);
    // The stream's window is full by now; the connection is not stopped by it.
    const HttpResponse beside = co_await http->send(std::move(small));
    EXPECT_THAT(beside.body, StartsWith("HTTP/2.0 "));
    std::string rest = co_await stream.read_all();
    co_return first + rest;
  };
  HttpRequest big = nginx->get("h2", "/files/big");
  big.deadline = engine.in(60s);
  EXPECT_TRUE(engine.wait(body(&*client, std::move(big), nginx->get("h2"))) == content);
}

TEST_F(Tls, AnAnswerBrokenOffInTheMiddle) {
  for (const char* server : {"h2", "h1"}) {
    const Error error = send_error(nginx->get(server, "/up/half"));
    EXPECT_EQ(error.code(), ErrorCode::unavailable) << server;
    EXPECT_THAT(error.what(), HasSubstr("closed in the middle of the answer")) << server;
    EXPECT_EQ(error.context().processed, Processed::unknown);
  }
  EXPECT_EQ(send(nginx->get("h2")).status, 200) << "the connection goes on";
}

// --- trust ---

TEST_F(Tls, AuthoritiesFromTextInsteadOfAFile) {
  client.emplace(engine, HttpClientOptions{.ca_pem = Nginx::read(nginx->folder + "/ca.pem")});
  EXPECT_EQ(send(nginx->get("h2")).status, 200);
  EXPECT_THROW(HttpClient(engine, {.ca_file = "a", .ca_pem = "b"}), Error);
}

TEST_F(Tls, CertificatesThatAreNotTrusted) {
  const auto refused = [&](const char* server, const char* says) {
    HttpRequest request = nginx->get(server, "/?token=hush");
    request.method = "POST";
    request.operation = "check";
    const Error error = send_error(std::move(request));
    EXPECT_EQ(error.code(), ErrorCode::unavailable) << server;
    EXPECT_EQ(error.context().processed, Processed::no) << server;
    EXPECT_EQ(error.context().phase, "connect") << server;
    EXPECT_TRUE(error.context().permanent) << server;
    EXPECT_THAT(error.what(), AllOf(StartsWith("check: no secure connection: the server's certificate "),
                                    HasSubstr(says), Not(HasSubstr("hush"))));
  };
  refused("expired", "has expired; check this machine's clock");
  refused("elsewhere", "is for another host name; check the address");
  Engine elsewhere({.environment = environment("SSL_CERT_FILE", nginx->folder + "/elsewhere.pem")});
  HttpClient wary(elsewhere);
  const Error error = error_of([&] { (void)elsewhere.wait(wary.send(nginx->get("h2"))); });
  EXPECT_TRUE(error.context().permanent);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr("comes from an authority that is not trusted here (trusted: " + nginx->folder +
                              "/elsewhere.pem"),
                    HasSubstr(", by SSL_CERT_FILE)"),
                    HasSubstr("name a PEM file with that authority's certificate in SSL_CERT_FILE")));
}

TEST_F(Tls, ABadCertificateIsNotTriedAgain) {
  for (const char* server : {"expired", "elsewhere"}) {
    std::atomic<int> tries = 0;
    AccountTransportOptions account;
    account.endpoints.push_back(Endpoint::parse("unix:" + nginx->folder + "/" + server));
    account.credential = [](bool) -> asio::awaitable<HttpHeaders> { co_return HttpHeaders(); };
    account.log = [&](const HttpRecord&) { ++tries; };
    const auto secure = std::make_shared<OverTls>(engine, nginx->folder + "/ca.pem");
    const auto http = make_account_transport(engine, secure, std::move(account));
    HttpRequest request = nginx->get(server);
    request.url = "http://localhost/";
    const Error error = error_of([&] { (void)engine.wait(http->send(std::move(request))); });
    EXPECT_TRUE(error.context().permanent) << error.what();
    EXPECT_EQ(tries, 1) << server;
  }
}

TEST_F(Tls, AuthoritiesFromTheEnvironment) {
  const auto status = [&](const std::string& variable, const std::string& value, HttpClientOptions options) {
    Engine with({.environment = environment(variable, value)});
    HttpClient http(with, std::move(options));
    try {
      return with.wait(http.send(nginx->get("h2"))).status;
    } catch (const Error& error) {
      EXPECT_TRUE(error.context().permanent) << error.what();
      return 0;
    }
  };
  const std::string& folder = nginx->folder;
  EXPECT_EQ(status("SSL_CERT_FILE", folder + "/ca.pem", {}), 200);
  EXPECT_EQ(status("CURL_CA_BUNDLE", folder + "/ca.pem", {}), 200);
  EXPECT_EQ(status("SSL_CERT_FILE", folder + "/elsewhere.pem", {.ca_file = folder + "/ca.pem"}), 200)
      << "the options come first";
  EXPECT_EQ(status("SSL_CERT_FILE", folder + "/ca.pem", {.ca_file = folder + "/elsewhere.pem"}), 0);
  EXPECT_EQ(status("SSL_CERT_FILE", folder + "/missing.pem", {}), 0);
  EXPECT_EQ(status("UNRELATED", folder + "/ca.pem", {}), 0);

  const std::string hashed = folder + "/hashed";
  std::filesystem::create_directory(hashed);
  std::filesystem::copy_file(folder + "/ca.pem", hashed + "/ca.pem");
  EXPECT_EQ(std::system(("openssl rehash " + hashed).c_str()), 0);
  EXPECT_EQ(status("SSL_CERT_DIR", hashed, {}), 200);
  std::filesystem::remove_all(hashed);
}

TEST_F(Tls, NoTlsAtAllOnTheOtherSide) {
  HttpRequest request = nginx->get("plain");
  request.url = "https://localhost/";
  const Error error = send_error(std::move(request));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_EQ(error.context().processed, Processed::no);
  EXPECT_THAT(error.what(), HasSubstr("no secure connection"));
}

TEST_F(Tls, AuthoritiesThatCannotBeRead) {
  client.emplace(engine, HttpClientOptions{.ca_file = "/nonexistent/ca.pem"});
  const Error error = send_error(nginx->get("h2"));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_TRUE(error.context().permanent);
  EXPECT_THAT(error.what(), HasSubstr("the trusted certificates cannot be read (/nonexistent/ca.pem, by the "
                                      "client's options)"));
}

}  // namespace
}  // namespace sandkey
