// How gRPC's servers are reached, which is told to it and not left to it: through which proxy, and whom one
// trusts.
#include "sandkey/base/error.h"
#include "sandkey/net/certificate_authority.h"
#include "sandkey/net/scripted_server.h"
#include "sandkey/providers/modal/test_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace sandkey::modal {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kHost[] = "api.modal.test";  // that nobody but the proxy knows

// Bytes both ways, until either side has none left.
void pass_on(int one, int other) {
  std::array<pollfd, 2> both{{{one, POLLIN, 0}, {other, POLLIN, 0}}};
  std::array<char, 4096> piece{};
  while (::poll(both.data(), both.size(), -1) > 0) {
    for (const std::size_t from : {0U, 1U}) {
      if (both[from].revents == 0) continue;
      const ssize_t got = ::recv(both[from].fd, piece.data(), piece.size(), 0);
      const int to = both[1 - from].fd;
      if (got <= 0 || ::send(to, piece.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) return;
    }
  }
}

// It connects to the same server, whoever is asked for.
class Proxy {
 public:
  explicit Proxy(int server_port)
      : server_([this, server_port](Connection& client) { serve(client, server_port); }) {}

  [[nodiscard]] std::string address() const { return server_.url.substr(sizeof "http://" - 1); }
  [[nodiscard]] std::vector<std::string> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void serve(Connection& client, int server_port) {
    {
      const std::string head = client.read_head();
      const std::lock_guard lock(mutex_);
      asked_.push_back(head);
    }
    const UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server_port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    client.send("HTTP/1.1 200 Connection established\r\n\r\n");
    pass_on(client.descriptor(), server.get());
  }

  std::mutex mutex_;
  std::vector<std::string> asked_;
  Server server_;
};

class ModalNetwork : public testing::Test {
 protected:
  ModalNetwork() : authority_("An authority of the test's") {}
  ~ModalNetwork() override { stop(); }

  void serve(std::shared_ptr<grpc::ServerCredentials> credentials) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port_);
    builder.RegisterService(&control_);
    server_ = builder.BuildAndStart();
  }
  void serve_encrypted(const std::string& name) {
    const net::TlsIdentity identity = authority_.issue({name});
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({identity.key, identity.certificate});
    serve(grpc::SslServerCredentials(options));
  }
  void stop() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
  }

  // "" or how the call ended.
  std::string ask(const std::string& address) {
    Engine engine({.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end()) return std::nullopt;
      return found->second;
    }});
    try {
      const GrpcChannel channel =
          engine.wait(GrpcChannel::open(engine, Endpoint::parse(address), modal_destination()));
      GrpcCall call{.method = "/modal.client.ModalClient/TokenInfoGet", .deadline = engine.in(seconds(20))};
      const GrpcReply reply = engine.wait(channel.unary(std::move(call)));
      if (reply.status.ok()) return "";
      return std::string(to_string(reply.status.code)) + ": " + reply.status.message;
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + error.what();
    }
  }
  [[nodiscard]] std::string here(const std::string& scheme) const {
    // No name: of each that is looked up gRPC's resolver leaks some bytes.
    return scheme + "://127.0.0.1:" + std::to_string(port_);
  }

  net::CertificateAuthority authority_;
  TestControl control_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::map<std::string, std::string> variables_;
  TempFolder folder_;
};

TEST_F(ModalNetwork, AProxyIsAskedForTheServerWithItsPassword) {
  serve_encrypted(kHost);
  Proxy proxy(port_);
  variables_ = {{"https_proxy", "http://ann:p%40ss@" + proxy.address()},
                {"SSL_CERT_FILE", folder_.write("ca.pem", authority_.certificate()).string()}};
  EXPECT_EQ(ask(std::string("https://") + kHost), "");
  EXPECT_THAT(proxy.asked(),
              ElementsAre(AllOf(StartsWith(std::string("CONNECT ") + kHost + ":443 HTTP/1."),
                                HasSubstr("Proxy-Authorization: Basic YW5uOnBAc3M=\r\n"))));  // ann:p@ss
}

TEST_F(ModalNetwork, InTheClearItIsAskedAsWell) {
  serve(grpc::InsecureServerCredentials());
  Proxy proxy(port_);
  variables_ = {{"all_proxy", proxy.address()}};
  EXPECT_EQ(ask(std::string("http://") + kHost + ":8080"), "");
  EXPECT_THAT(proxy.asked(), ElementsAre(StartsWith(std::string("CONNECT ") + kHost + ":8080 ")));
  EXPECT_THAT(control_.headers_of_last(), Not(Contains(Key("proxy-authorization"))));
}

TEST_F(ModalNetwork, OneThatIsNotMeantIsNotAsked) {
  serve(grpc::InsecureServerCredentials());
  Proxy proxy(port_);
  variables_ = {{"https_proxy", proxy.address()}, {"all_proxy", proxy.address()}, {"no_proxy", "0.0.0.0"}};
  // A way to this machine that is no name of it.
  const std::string unnamed = "http://0.0.0.0:" + std::to_string(port_);
  EXPECT_EQ(ask(unnamed), "");
  EXPECT_EQ(ask(here("http")), "");  // never for this machine
  EXPECT_THAT(proxy.asked(), IsEmpty());
  variables_.erase("no_proxy");
  EXPECT_EQ(ask(unnamed), "");
  EXPECT_THAT(proxy.asked(), ElementsAre(StartsWith("CONNECT 0.0.0.0:")));
}

TEST_F(ModalNetwork, OneOfAnotherKindIsRefused) {
  variables_ = {{"all_proxy", "socks5://127.0.0.1:1"}};
  EXPECT_EQ(ask(std::string("http://") + kHost),
            "invalid_argument: reading the proxy's address: gRPC takes http proxies only");
}

TEST_F(ModalNetwork, TheAuthoritiesOfTheEnvironmentAreTrustedAndNoOthers) {
  serve_encrypted("127.0.0.1");
  const std::string own = folder_.write("ca.pem", authority_.certificate()).string();
  const net::CertificateAuthority other("Another one");
  const std::string others = folder_.write("other.pem", other.certificate()).string();
  // In OpenSSL's form, whose names come of a hash that we need not know.
  (void)folder_.write("folder/0123abcd.0", authority_.certificate());
  (void)folder_.write("empty/README", authority_.certificate());
  const std::string of_ours = (folder_.path() / "folder").string();

  for (const auto& trusting : std::vector<std::map<std::string, std::string>>{
           {{"SSL_CERT_FILE", own}},
           {{"CURL_CA_BUNDLE", own}, {"SSL_CERT_FILE", others}},
           {{"SSL_CERT_DIR", of_ours}},
           {{"SSL_CERT_FILE", others}, {"SSL_CERT_DIR", of_ours}}}) {
    variables_ = trusting;
    EXPECT_EQ(ask(here("https")), "") << trusting.begin()->second;
  }
  for (const auto& doubting : std::vector<std::map<std::string, std::string>>{
           {}, {{"SSL_CERT_FILE", others}}, {{"CURL_CA_BUNDLE", others}, {"SSL_CERT_FILE", own}}}) {
    variables_ = doubting;
    EXPECT_THAT(ask(here("https")), StartsWith("UNAVAILABLE: "));
  }
}

TEST_F(ModalNetwork, AServerThatIsNotWhoItSaysIsNotTrusted) {
  serve_encrypted("elsewhere.test");
  variables_ = {{"SSL_CERT_FILE", folder_.write("ca.pem", authority_.certificate()).string()}};
  EXPECT_THAT(ask(here("https")), StartsWith("UNAVAILABLE: "));
  EXPECT_THAT(control_.methods(), IsEmpty());
}

TEST_F(ModalNetwork, AuthoritiesThatCannotBeReadAreTold) {
  variables_ = {{"SSL_CERT_FILE", (folder_.path() / "none.pem").string()},
                {"SSL_CERT_DIR", (folder_.path() / "none").string()}};
  EXPECT_EQ(ask("https://localhost:1"),
            "unavailable: connecting to https://localhost:1: no trusted authorities can be read "
            "(SSL_CERT_FILE and SSL_CERT_DIR)");
}

}  // namespace
}  // namespace sandkey::modal
