// The stream routes through a real server on a Unix socket, spoken to byte by byte.
#include "sandkey/agent/streams/stream_routes.h"

#include "sandkey/agent/process.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return false;
  const std::size_t state = line.rfind(") ");
  return state != std::string::npos && line[state + 2] != 'Z';
}

bool disappears(pid_t pid) {
  const auto until = std::chrono::steady_clock::now() + 30s;
  while (is_alive(pid)) {
    if (std::chrono::steady_clock::now() > until) return false;
    ::sched_yield();
  }
  return true;
}

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
  [[nodiscard]] json::object object() const {
    const json::value value = parse_json(body, "the reply");
    return value.as_object();
  }
};

// What a client has received of a stream.
struct Received {
  std::string out;
  std::string err;
  std::optional<json::object> result;
  [[nodiscard]] std::int64_t exit_code() const {
    return result && result->contains("exit_code") ? result->at("exit_code").as_int64() : -1;
  }
};

// One blocking connection.
class Connection {
 public:
  explicit Connection(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ADD_FAILURE() << "connect: " << std::strerror(errno);
    }
    // Only a bound for tests that fail.
    const timeval limit{60, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }

  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void request(const std::string& method, const std::string& target, const std::string& body = {}) const {
    send(method + " /sandkey/v1/" + target +
         " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  // The status and headers of a reply.
  Reply head() {
    Reply reply;
    std::size_t end = 0;
    while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return reply;
    }
    reply.head = take(end + 4);
    reply.status = static_cast<int>(std::strtol(reply.head.c_str() + 9, nullptr, 10));
    return reply;
  }
  Reply reply() {
    Reply reply = head();
    if (reply.head.find("chunked") != std::string::npos) {
      while (true) {
        const std::string piece = chunk();
        if (piece.empty()) break;
        reply.body += piece;
      }
    } else if (const std::size_t at = reply.head.find("Content-Length: "); at != std::string::npos) {
      const std::size_t size = std::strtoul(reply.head.c_str() + at + 16, nullptr, 10);
      while (pending_.size() < size && fill()) {
      }
      reply.body = take(size);
    }
    return reply;
  }

  // The next chunk; empty at the end, or when the connection ended.
  std::string chunk() {
    std::size_t line = 0;
    while ((line = pending_.find("\r\n")) == std::string::npos) {
      if (!fill()) return {};
    }
    const std::size_t size = std::strtoul(pending_.c_str(), nullptr, 16);
    while (pending_.size() < line + 2 + size + 2) {
      if (!fill()) return {};
    }
    (void)take(line + 2);
    std::string data = take(size);
    (void)take(2);
    return data;
  }

  // Adds the next frame to what was received; false at the end of the stream, or of the connection. Takes no
  // more than `limit` bytes of chunks altogether: a frame cut by that is not counted.
  bool frame(Received& received) {
    while (frames_.size() < 5 || frames_.size() < 5 + length()) {
      const std::string piece = chunk();
      if (piece.empty()) return false;
      frames_ += piece;
    }
    const auto kind = static_cast<FrameKind>(frames_[0]);
    const std::string payload = frames_.substr(5, length());
    frames_.erase(0, 5 + payload.size());
    if (kind == FrameKind::out) received.out += payload;
    if (kind == FrameKind::err) received.err += payload;
    if (kind == FrameKind::result) received.result = parse_json(payload, "the result").as_object();
    return kind != FrameKind::result;
  }
  Received follow_to_end() {
    Received received;
    while (frame(received)) {
    }
    if (received.result) {
      (void)chunk();  // the last one, which is empty
    } else {
      ADD_FAILURE() << "the stream broke off";
      received.result.emplace();
    }
    return received;
  }
  // The partial frame that a broken connection leaves, if it is output, belongs to the client as well.
  std::string raw(std::size_t size) {
    while (pending_.size() < size && fill()) {
    }
    return take(std::min(size, pending_.size()));
  }

 private:
  [[nodiscard]] std::size_t length() const {
    std::size_t size = 0;
    for (std::size_t i = 1; i < 5; ++i) size = size * 256 + static_cast<unsigned char>(frames_[i]);
    return size;
  }
  bool fill() {
    std::array<char, 64 * 1024> buffer{};
    ssize_t n = 0;
    do {  // SIGCHLD interrupts it: with a time limit no call is restarted
      n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return false;
    pending_.append(buffer.data(), static_cast<std::size_t>(n));
    return true;
  }
  std::string take(std::size_t size) {
    std::string taken = pending_.substr(0, size);
    pending_.erase(0, taken.size());
    return taken;
  }

  UniqueFd fd_;
  std::string pending_;
  std::string frames_;
};

class StreamRoutesTest : public testing::Test {
 protected:
  StreamRoutesTest() {
    std::signal(SIGPIPE, SIG_IGN);  // as the agent's main does
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    std::string name = fs::temp_directory_path() / "sandkey-streams-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    dir_ = fs::canonical(dir_);
    std::vector<std::string> environment{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                                         "GIVEN=by the agent"};
    reaper_ = std::make_unique<ChildReaper>(io_.get_executor());
    routes_ = std::make_unique<StreamRoutes>(io_.get_executor(), *reaper_, std::move(environment), dir_);
    server_ = std::make_unique<net::HttpServer>(
        io_.get_executor(), [this](net::HttpExchange& exchange) { return handle(exchange); });
    server_->listen_unix(socket());
    thread_ = std::thread([this] { io_.run(); });
  }
  ~StreamRoutesTest() override {
    asio::post(io_, [this] {
      server_->stop();
      routes_->close();
      work_.reset();
      io_.stop();
    });
    thread_.join();
    routes_.reset();
    server_.reset();
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }

  asio::awaitable<void> handle(net::HttpExchange& exchange) {
    constexpr std::string_view kPrefix = "/sandkey/v1/";
    std::string path = exchange.path();
    path.erase(0, kPrefix.size());
    const bool known = co_await routes_->handle(exchange, path);
    if (!known) throw net::HttpError(404, "no route");
  }

  [[nodiscard]] std::string socket() const { return dir_ + "/socket"; }
  [[nodiscard]] Connection connect() const { return Connection(socket()); }
  [[nodiscard]] Reply call(const std::string& method, const std::string& target,
                           const std::string& body = {}) const {
    Connection connection = connect();
    connection.request(method, target, body);
    return connection.reply();
  }

  static std::string shell(const std::string& id, const std::string& script, json::object more = {}) {
    more["id"] = id;
    more["argv"] = json::array{"sh", "-c", json::string(script)};
    return write_json(more);
  }
  // A connection that follows a new process.
  [[nodiscard]] Connection start(const std::string& id, const std::string& script,
                                 json::object more = {}) const {
    Connection connection = connect();
    connection.request("POST", "exec", shell(id, script, std::move(more)));
    const Reply head = connection.head();
    EXPECT_EQ(head.status, 200);
    return connection;
  }
  [[nodiscard]] Received run(const std::string& script, json::object more = {}) const {
    static int number = 0;
    return start("run" + std::to_string(++number), script, std::move(more)).follow_to_end();
  }
  [[nodiscard]] json::object state(const std::string& id) const {
    return call("GET", "streams/" + id).object();
  }
  // Follows until `text` is there.
  static void await_output(Connection& connection, Received& received, const std::string& text) {
    while (received.out.find(text) == std::string::npos) {
      ASSERT_TRUE(connection.frame(received)) << "it ended with: " << received.out;
    }
  }

  std::string dir_;
  asio::io_context io_{1};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_{io_.get_executor()};
  std::unique_ptr<ChildReaper> reaper_;
  std::unique_ptr<StreamRoutes> routes_;
  std::unique_ptr<net::HttpServer> server_;
  std::thread thread_;
};

TEST_F(StreamRoutesTest, KeepsOutputAndErrorsApart) {
  const Received got = run("echo to out; echo to err >&2; exit 3");
  EXPECT_EQ(got.out, "to out\n");
  EXPECT_EQ(got.err, "to err\n");
  EXPECT_EQ(got.exit_code(), 3);
  EXPECT_FALSE(got.result->contains("signal"));
  EXPECT_FALSE(got.result->contains("timed_out"));
}

TEST_F(StreamRoutesTest, TellsASignalFromAnExitCode) {
  const Received killed = run("kill -9 $$");
  EXPECT_EQ(killed.exit_code(), 137);
  EXPECT_EQ(killed.result->at("signal").as_int64(), 9);
  const Received exited = run("exit 137");
  EXPECT_EQ(exited.exit_code(), 137);
  EXPECT_FALSE(exited.result->contains("signal"));
}

TEST_F(StreamRoutesTest, TellsItsNumber) {
  Connection connection = connect();
  connection.request("POST", "exec", shell("number", "echo $$"));
  const Reply head = connection.head();
  const Received got = connection.follow_to_end();
  EXPECT_THAT(head.head, HasSubstr("X-Sandkey-Pid: " + got.out.substr(0, got.out.find('\n')) + "\r\n"));
  EXPECT_EQ(std::to_string(state("number").at("pid").as_int64()) + "\n", got.out);
}

TEST_F(StreamRoutesTest, EndsWithItsProcessOrWithItsOutput) {
  // What stays holds the output open until it has said the last word. A pipe of its own for each: one that
  // stays from the first would else take the word that is meant for the second.
  const auto script = [&](const std::string& pipe) {
    return "mkfifo " + dir_ + pipe + "; (read x < " + dir_ + pipe + "; echo late) & echo early";
  };
  EXPECT_EQ(run(script("/stays")).out, "early\n");
  Connection waiting = start("waits", script("/go"), {{"to_end_of_output", true}});
  Received got;
  await_output(waiting, got, "early");
  std::ofstream(dir_ + "/go") << "now\n";
  while (!got.result && waiting.frame(got)) {
  }
  EXPECT_EQ(got.out, "early\nlate\n");
  EXPECT_EQ(got.exit_code(), 0);
}

TEST_F(StreamRoutesTest, SignalsToTheProcessAloneDoNotReachItsChildren) {
  Connection connection = start("alone", "sleep 1000 & echo $!; wait", {{"to_end_of_output", true}});
  Received got;
  await_output(connection, got, "\n");
  const pid_t child = std::stoi(got.out);
  EXPECT_EQ(call("POST", "streams/alone/signal?number=15&alone=1").status, 200);
  while (!got.result && connection.frame(got)) {
  }
  EXPECT_EQ(got.result->at("signal").as_int64(), 15) << "although the child holds its output open";
  EXPECT_TRUE(is_alive(child));
  EXPECT_EQ(call("DELETE", "streams/alone").status, 200);
  EXPECT_TRUE(disappears(child));
}

TEST_F(StreamRoutesTest, OutputIsBinary) {
  const Received got = run("head -c 300000 /dev/zero; printf '\\377\\000\\n'");
  EXPECT_EQ(got.out, std::string(300'000, '\0') + std::string("\377\0\n", 3));
}

TEST_F(StreamRoutesTest, TakesRepeatedInputOnceAndRefusesAGap) {
  Connection follower = start("in", "cat");
  json::object reply = call("POST", "streams/in/input?offset=0", "hello").object();
  EXPECT_EQ(reply.at("offset").as_int64(), 5);
  EXPECT_TRUE(reply.at("open").as_bool());
  EXPECT_EQ(call("POST", "streams/in/input?offset=0", "hello world").object().at("offset").as_int64(), 11);
  EXPECT_EQ(call("POST", "streams/in/input?offset=3", "lo").object().at("offset").as_int64(), 11);
  const Reply gap = call("POST", "streams/in/input?offset=12", "x");
  EXPECT_EQ(gap.status, 409);
  EXPECT_THAT(gap.body, HasSubstr("11 bytes"));
  EXPECT_EQ(state("in").at("input").as_int64(), 11);
  reply = call("POST", "streams/in/input?offset=6&eof=1", "world!").object();
  EXPECT_EQ(reply.at("offset").as_int64(), 12);
  EXPECT_FALSE(reply.at("open").as_bool());
  EXPECT_EQ(follower.follow_to_end().out, "hello world!");
  EXPECT_FALSE(call("POST", "streams/in/input?offset=12", "late").object().at("open").as_bool());
}

TEST_F(StreamRoutesTest, ALargeInputArrivesWhole) {
  Connection follower = start("big", "wc -c");
  const std::string megabytes(5'000'000, 'x');
  EXPECT_EQ(call("POST", "streams/big/input?offset=0&eof=1", megabytes).object().at("offset").as_int64(),
            5'000'000);
  EXPECT_THAT(follower.follow_to_end().out, HasSubstr("5000000"));
}

TEST_F(StreamRoutesTest, InputForAProgramThatClosedItsStdinIsReported) {
  Connection follower = start("deaf", "exec <&-; echo closed; exec tail -f /dev/null");
  Received received;
  await_output(follower, received, "closed");
  EXPECT_FALSE(call("POST", "streams/deaf/input?offset=0", "hello").object().at("open").as_bool());
}

// A client whose connection died in mid-request comes back with another one, which must not wait for the
// first.
TEST_F(StreamRoutesTest, ANewInputRequestTakesOverFromOneThatHangs) {
  Connection follower = start("over", "echo up; exec tail -f /dev/null");  // never reads
  Received received;
  await_output(follower, received, "up");
  Connection first = connect();
  first.request("POST", "streams/over/input?offset=0", std::string(150'000, 'x'));
  while (state("over").at("input").as_int64() == 0) ::sched_yield();
  Connection second = connect();
  second.request("POST", "streams/over/input?offset=0", "");
  const std::int64_t taken = second.reply().object().at("offset").as_int64();
  EXPECT_GT(taken, 0);
  EXPECT_LT(taken, 150'000);
  EXPECT_EQ(first.reply().status, 409);
}

TEST_F(StreamRoutesTest, WithoutInputStdinIsEmpty) {
  EXPECT_EQ(run("cat; echo end", {{"stdin", false}}).out, "end\n");
}

TEST_F(StreamRoutesTest, ATimeoutEndsAllOfItEvenWhatIgnoresSigterm) {
  const Received got =
      run("trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$; exec tail -f /dev/null\" & echo $$; tail -f "
          "/dev/null; wait",
          {{"timeout", 0.3}});
  EXPECT_TRUE(got.result->at("timed_out").as_bool());
  EXPECT_EQ(got.result->at("signal").as_int64(), SIGKILL);
  const char* at = got.out.c_str();
  for (int i = 0; i < 2; ++i) {
    char* end = nullptr;
    const auto pid = static_cast<pid_t>(std::strtol(at, &end, 10));
    at = end;
    if (pid > 1) {
      EXPECT_TRUE(disappears(pid));
    }
  }
}

TEST_F(StreamRoutesTest, ATimeoutAlsoEndsWhatOutlivesItsLeader) {
  const Received got =
      run("sh -c \"trap '' TERM; echo \\$\\$; exec tail -f /dev/null\" & read -r never <&0; wait",
          {{"timeout", 0.3}});
  EXPECT_TRUE(got.result->at("timed_out").as_bool());
  const auto pid = static_cast<pid_t>(std::strtol(got.out.c_str(), nullptr, 10));
  if (pid > 1) {
    EXPECT_TRUE(disappears(pid));
  }
}

TEST_F(StreamRoutesTest, AFollowerThatComesBackMissesAndRepeatsNothing) {
  std::string out;
  std::string err;
  for (int i = 0; i < 3000; ++i) {
    out += std::to_string(i) + "\n";
    if (i % 3 == 0) err += "e" + std::to_string(i) + "\n";
  }
  const std::string script =
      "i=0; while [ $i -lt 3000 ]; do echo $i; [ $((i % 3)) -ne 0 ] || echo e$i >&2; i=$((i + 1)); done; "
      "exit 4";
  int stream = 0;
  for (const std::size_t cut : {1, 2, 4, 7, 64, 1000, 5000}) {
    const std::string id = "cut" + std::to_string(++stream);
    Received all;
    { const Connection first = start(id, script); }  // gone at once
    for (std::size_t tries = 0; !all.result; ++tries) {
      ASSERT_LT(tries, 20'000U);
      Connection connection = connect();
      connection.request("GET", "streams/" + id + "/output?stdout=" + std::to_string(all.out.size()) +
                                    "&stderr=" + std::to_string(all.err.size()));
      ASSERT_EQ(connection.head().status, 200);
      // Frames until about `cut` bytes, then the connection is dropped, whatever else was under way.
      Received piece;
      while (piece.out.size() + piece.err.size() < cut && connection.frame(piece)) {
      }
      // Of the last frame the client keeps only a part, as if the rest had been lost.
      if (!piece.result && piece.out.size() > cut) piece.out.resize(cut);
      if (!piece.result && cut < 64) piece.err.resize(std::min<std::size_t>(piece.err.size(), 700 * cut));
      if (cut < 64 && !piece.result) piece.out.resize(std::min<std::size_t>(piece.out.size(), cut));
      all.out += piece.out;
      all.err += piece.err;
      all.result = piece.result;
      if (cut < 64 && all.out.size() > 200) break;  // byte by byte it would take all day
    }
    EXPECT_EQ(all.out, out.substr(0, all.out.size())) << cut;
    EXPECT_EQ(all.err, err.substr(0, all.err.size())) << cut;
    if (cut >= 64) {
      EXPECT_EQ(all.out.size(), out.size());
      EXPECT_EQ(all.err.size(), err.size());
      EXPECT_EQ(all.result->at("exit_code").as_int64(), 4);
    }
  }
}

TEST_F(StreamRoutesTest, EveryOffsetOfWhatIsHeldCanBeFollowed) {
  ASSERT_EQ(run("true").exit_code(), 0);
  const Received whole = start("held", "printf 0123456789abcdef; printf errors >&2").follow_to_end();
  ASSERT_EQ(whole.out, "0123456789abcdef");
  // Following from an offset acknowledges what is before it, so the offsets only grow.
  for (std::size_t offset = 0; offset <= whole.out.size(); ++offset) {
    Connection connection = connect();
    connection.request("GET", "streams/held/output?stdout=" + std::to_string(offset));
    ASSERT_EQ(connection.head().status, 200);
    const Received got = connection.follow_to_end();
    EXPECT_EQ(got.out, whole.out.substr(offset));
    EXPECT_EQ(got.err, "errors");
    EXPECT_EQ(got.exit_code(), 0);
  }
  EXPECT_EQ(call("GET", "streams/held/output?stdout=15").status, 416);
  EXPECT_EQ(call("GET", "streams/held/output?stdout=17").status, 416);
}

TEST_F(StreamRoutesTest, AcknowledgedBytesAreForgotten) {
  ASSERT_EQ(start("acks", "printf 0123456789").follow_to_end().out, "0123456789");
  EXPECT_EQ(call("POST", "streams/acks/ack?stdout=4").status, 200);
  EXPECT_EQ(state("acks").at("stdout").at("begin").as_int64(), 4);
  EXPECT_EQ(call("POST", "streams/acks/ack?stdout=2").status, 200);  // late, and no harm
  EXPECT_EQ(state("acks").at("stdout").at("begin").as_int64(), 4);
  EXPECT_EQ(call("GET", "streams/acks/output?stdout=3").status, 416);
  EXPECT_EQ(call("POST", "streams/acks/ack?stdout=18446744073709551615").status, 200);
  EXPECT_EQ(state("acks").at("stdout").at("end").as_int64(), 10);
  for (const char* bad : {"x", "-1", "1.5", "18446744073709551616", ""}) {
    EXPECT_EQ(call("POST", "streams/acks/ack?stdout=" + std::string(bad)).status, 400) << bad;
  }
}

TEST_F(StreamRoutesTest, AProducerNobodyReadsStopsAtTheWindow) {
  constexpr std::int64_t kTotal = 20'000'000;
  const auto capacity = static_cast<std::int64_t>(OutputWindow::kCapacity);
  {
    const Connection gone =
        start("fast", "head -c " + std::to_string(kTotal) + " /dev/zero | tr '\\0' y; exit 6");
  }
  while (state("fast").at("stdout").at("end").as_int64() < capacity) ::sched_yield();
  const json::object full = state("fast");
  EXPECT_EQ(full.at("stdout").at("begin").as_int64(), 0);
  EXPECT_EQ(full.at("stdout").at("end").as_int64(), capacity);
  EXPECT_FALSE(full.contains("result"));
  // With a client that acknowledges, all of it comes.
  Connection follower = connect();
  follower.request("GET", "streams/fast/output?stdout=0&stderr=0");
  ASSERT_EQ(follower.head().status, 200);
  Connection side = connect();
  Received got;
  std::int64_t total = 0;
  while (follower.frame(got)) {
    total += static_cast<std::int64_t>(got.out.size());
    EXPECT_EQ(got.out.find_first_not_of('y'), std::string::npos);
    got.out.clear();
    side.request("POST", "streams/fast/ack?stdout=" + std::to_string(total));
    ASSERT_EQ(side.reply().status, 200);
  }
  EXPECT_EQ(total, kTotal);
  EXPECT_EQ(got.exit_code(), 6);
}

TEST_F(StreamRoutesTest, TheSameIdIsTheSameProcess) {
  const std::string script = "echo started >>log; cat";
  Connection first = start("same", script);
  Connection second = start("same", script);
  EXPECT_TRUE(call("POST", "streams/same/input?offset=0&eof=1", "shared").object().contains("offset"));
  EXPECT_EQ(first.follow_to_end().out, "shared");
  EXPECT_EQ(second.follow_to_end().out, "shared");
  EXPECT_EQ(start("same", script).follow_to_end().out, "shared");  // also after its end
  EXPECT_EQ(fs::file_size(dir_ + "/log"), std::strlen("started\n"));
}

TEST_F(StreamRoutesTest, DeletingEndsAndForgets) {
  Connection follower = start("gone", "echo $$; trap '' TERM HUP INT; tail -f /dev/null");
  Received received;
  await_output(follower, received, "\n");
  const auto pid = static_cast<pid_t>(std::strtol(received.out.c_str(), nullptr, 10));
  EXPECT_TRUE(is_alive(pid));
  EXPECT_EQ(call("DELETE", "streams/gone").status, 200);
  while (follower.frame(received)) {
  }
  EXPECT_EQ(received.result->at("signal").as_int64(), SIGKILL);
  EXPECT_TRUE(disappears(pid));
  for (const char* what : {"", "/output", "/ack"}) {
    EXPECT_EQ(
        call(std::string_view(what) == "/ack" ? "POST" : "GET", "streams/gone" + std::string(what)).status,
        404);
  }
}

TEST_F(StreamRoutesTest, WhatAProcessLeavesBehindDoesNotDelayItsEnd) {
  // Not tail -f, which looks whether anybody still reads its output.
  Connection follower = start("left", "sleep 1000 & echo $!; exit 2");
  const Received got = follower.follow_to_end();
  EXPECT_EQ(got.exit_code(), 2);
  const auto pid = static_cast<pid_t>(std::strtol(got.out.c_str(), nullptr, 10));
  EXPECT_TRUE(is_alive(pid));
  EXPECT_EQ(call("DELETE", "streams/left").status, 200);
  EXPECT_TRUE(disappears(pid));
}

TEST_F(StreamRoutesTest, AllOutputBeforeTheEndIsThere) {
  for (int i = 0; i < 100; ++i) {
    const Received got = run("echo out" + std::to_string(i) + "; echo err" + std::to_string(i) + " >&2");
    ASSERT_EQ(got.out, "out" + std::to_string(i) + "\n");
    ASSERT_EQ(got.err, "err" + std::to_string(i) + "\n");
  }
}

TEST_F(StreamRoutesTest, SignalsReachTheProcessGroup) {
  Connection follower = start("sig", "trap 'echo caught; exit 7' TERM; echo ready; while :; do :; done");
  Received received;
  await_output(follower, received, "ready");
  EXPECT_EQ(call("POST", "streams/sig/signal?number=15").status, 200);
  while (follower.frame(received)) {
  }
  EXPECT_EQ(received.out, "ready\ncaught\n");
  EXPECT_EQ(received.exit_code(), 7);
  EXPECT_EQ(call("POST", "streams/sig/signal?number=15").status, 200);  // too late, and no harm
  EXPECT_EQ(call("POST", "streams/sig/signal?number=0").status, 400);
  EXPECT_EQ(call("POST", "streams/sig/signal?number=65").status, 400);
  EXPECT_EQ(call("POST", "streams/sig/signal").status, 422);
}

TEST_F(StreamRoutesTest, ATerminalHasItsSizeAndCanBeResized) {
  EXPECT_EQ(run("stty size; echo err >&2; tty >/dev/null && echo yes", {{"pty", true}}).out,
            "24 80\r\nerr\r\nyes\r\n");
  Connection follower = start("tty", "stty -echo; stty size; echo $TERM; read -r x; stty size",
                              {{"pty", true}, {"rows", 40}, {"columns", 132}});
  Received received;
  await_output(follower, received, "xterm-256color\r\n");
  EXPECT_EQ(received.out, "40 132\r\nxterm-256color\r\n");
  EXPECT_EQ(call("POST", "streams/tty/resize?rows=50&columns=99").status, 200);
  EXPECT_EQ(call("POST", "streams/tty/input?offset=0", "\n").status, 200);
  while (follower.frame(received)) {
  }
  EXPECT_THAT(received.out, testing::EndsWith("50 99\r\n"));
  EXPECT_EQ(received.exit_code(), 0);
  EXPECT_EQ(received.err, "");
}

TEST_F(StreamRoutesTest, EndOfInputOnATerminalIsItsEofKey) {
  Connection follower = start("eof", "stty -echo; echo ready; cat", {{"pty", true}});
  Received received;
  await_output(follower, received, "ready");
  EXPECT_FALSE(call("POST", "streams/eof/input?offset=0&eof=1", "line\n").object().at("open").as_bool());
  while (follower.frame(received)) {
  }
  EXPECT_EQ(received.out, "ready\r\nline\r\n");
  EXPECT_EQ(received.exit_code(), 0);
}

TEST_F(StreamRoutesTest, AnInterruptOnATerminalReachesTheForeground) {
  Connection follower = start("int", "trap 'exit 9' INT; echo ready; while :; do :; done", {{"pty", true}});
  Received received;
  await_output(follower, received, "ready");
  EXPECT_EQ(call("POST", "streams/int/input?offset=0", "\x03").status, 200);
  while (follower.frame(received)) {
  }
  EXPECT_EQ(received.exit_code(), 9);
}

TEST_F(StreamRoutesTest, EnvironmentAndFolderAreTheAgentsUnlessGiven) {
  EXPECT_EQ(run("echo $GIVEN; pwd").out, "by the agent\n" + dir_ + "\n");
  EXPECT_EQ(run("echo $GIVEN $ADDED", {{"env", json::object{{"GIVEN", "new"}, {"ADDED", "a=b c"}}}}).out,
            "new a=b c\n");
  fs::create_directories(dir_ + "/sub");
  EXPECT_EQ(run("pwd", {{"cwd", "sub"}}).out, dir_ + "/sub\n");
  EXPECT_EQ(run("pwd", {{"cwd", "/"}}).out, "/\n");
  const Reply gone = call("POST", "exec", shell("g", "pwd", {{"cwd", "gone"}}));
  EXPECT_EQ(gone.status, 404);
  EXPECT_THAT(gone.body, HasSubstr(dir_ + "/gone"));
}

TEST_F(StreamRoutesTest, AProgramThatCannotStartIsNoStream) {
  EXPECT_EQ(call("POST", "exec", R"({"id": "a", "argv": ["sandkey-no-such-program"]})").status, 404);
  EXPECT_EQ(call("GET", "streams/a").status, 404);
  std::ofstream(dir_ + "/text") << "text";
  EXPECT_EQ(call("POST", "exec", R"({"id": "b", "argv": [")" + dir_ + R"(/text"]})").status, 403);
}

TEST_F(StreamRoutesTest, RefusesWhatItCannotUnderstand) {
  for (const char* body :
       {"", "{", "[]", "{}", R"({"id": "x"})", R"({"id": "x", "argv": []})", R"({"id": "x", "argv": "true"})",
        R"({"id": "x", "argv": [1]})", R"({"id": "", "argv": ["true"]})",
        R"({"id": "a/b", "argv": ["true"]})", R"({"id": "x", "argv": ["a\u0000b"]})",
        R"({"id": "x", "argv": ["true"], "env": []})",
        R"({"id": "x", "argv": ["true"], "env": {"A=B": "c"}})",
        R"({"id": "x", "argv": ["true"], "env": {"A": 1}})", R"({"id": "x", "argv": ["true"], "timeout": 0})",
        R"({"id": "x", "argv": ["true"], "timeout": -1})"}) {
    EXPECT_EQ(call("POST", "exec", body).status, 422) << body;
  }
  EXPECT_EQ(call("POST", "exec", R"({"id": ")" + std::string(101, 'x') + R"(", "argv": ["true"]})").status,
            422);
  EXPECT_EQ(call("GET", "exec").status, 405);
  EXPECT_EQ(call("GET", "dial").status, 405);
  EXPECT_EQ(call("GET", "streams/unknown").status, 404);
  EXPECT_EQ(call("POST", "streams/unknown/input?offset=0").status, 404);
  EXPECT_EQ(call("GET", "nothing").status, 404);
  ASSERT_EQ(start("known", "true").follow_to_end().exit_code(), 0);
  EXPECT_EQ(call("POST", "streams/known/dance").status, 404);
  EXPECT_EQ(call("POST", "streams/known/input").status, 422);
  EXPECT_EQ(call("POST", "streams/known/resize?rows=1").status, 422);
}

TEST_F(StreamRoutesTest, FinishedStreamsMakeRoomForNewOnes) {
  Connection connection = connect();
  for (std::size_t i = 0; i < StreamRoutes::kMaxStreams + 20; ++i) {
    connection.request("POST", "exec",
                       R"({"id": "s)" + std::to_string(i) + R"(", "argv": ["true"], "stdin": false})");
    ASSERT_EQ(connection.head().status, 200) << i;
    ASSERT_EQ(connection.follow_to_end().exit_code(), 0) << i;
  }
  EXPECT_EQ(call("GET", "streams/s0").status, 404);
  EXPECT_EQ(call("GET", "streams/s" + std::to_string(StreamRoutes::kMaxStreams)).status, 200);
}

TEST_F(StreamRoutesTest, LimitsTheStreamsThatRun) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 3 * StreamRoutes::kMaxStreams + 100)
    GTEST_SKIP() << "too few descriptors are allowed here";
  const std::string rest = R"(", "argv": ["tail", "-f", "/dev/null"], "stdin": false})";
  for (std::size_t i = 0; i < StreamRoutes::kMaxStreams; ++i) {
    Connection connection = connect();
    connection.request("POST", "exec", R"({"id": "s)" + std::to_string(i) + rest);
    ASSERT_EQ(connection.head().status, 200) << i;
  }
  EXPECT_EQ(call("POST", "exec", R"({"id": "more)" + rest).status, 429);
  EXPECT_EQ(call("DELETE", "streams/s0").status, 200);
  Connection connection = connect();
  connection.request("POST", "exec", R"({"id": "more)" + rest);
  EXPECT_EQ(connection.head().status, 200);
}

// --- Connections inside ---------------------------------------------------------------------------------

// A server that sends back what one client sends, until that client's end.
class EchoServer {
 public:
  EchoServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      std::array<char, 4096> buffer{};
      for (ssize_t n = 0; (n = ::recv(peer.get(), buffer.data(), buffer.size(), 0)) > 0;) {
        if (::send(peer.get(), buffer.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL) != n) break;
      }
    });
  }
  ~EchoServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;
  [[nodiscard]] std::string port() const { return std::to_string(port_); }

 private:
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST_F(StreamRoutesTest, DialsAPortInside) {
  const EchoServer server;
  Connection follower = connect();
  follower.request("POST", "dial", R"({"id": "tcp", "port": )" + server.port() + "}");
  ASSERT_EQ(follower.head().status, 200);
  EXPECT_EQ(call("POST", "streams/tcp/input?offset=0", "ping").object().at("offset").as_int64(), 4);
  Received received;
  await_output(follower, received, "ping");
  EXPECT_EQ(call("POST", "streams/tcp/input?offset=2", "ng pong").object().at("offset").as_int64(), 9);
  await_output(follower, received, "ping pong");
  EXPECT_EQ(call("POST", "streams/tcp/input?offset=9&eof=1").status, 200);
  while (follower.frame(received)) {
  }
  EXPECT_EQ(received.out, "ping pong");
  EXPECT_FALSE(received.result->contains("error"));
}

TEST_F(StreamRoutesTest, ADialledConnectionCanBeDroppedAndFollowedAgain) {
  const EchoServer server;
  Connection follower = connect();
  follower.request("POST", "dial", R"({"id": "tcp", "port": )" + server.port() + "}");
  ASSERT_EQ(follower.head().status, 200);
  (void)call("POST", "streams/tcp/input?offset=0", "0123456789");
  Received received;
  await_output(follower, received, "0123456789");
  Connection again = connect();
  again.request("GET", "streams/tcp/output?stdout=4");
  ASSERT_EQ(again.head().status, 200);
  Received rest;
  await_output(again, rest, "456789");
  EXPECT_EQ(rest.out, "456789");
  EXPECT_EQ(call("DELETE", "streams/tcp").status, 200);
  while (again.frame(rest)) {
  }
  EXPECT_TRUE(rest.result);
}

TEST_F(StreamRoutesTest, AClosedPortIsBadGatewayNotAStream) {
  std::string port;
  {
    const EchoServer server;
    port = server.port();
  }
  const Reply reply = call("POST", "dial", R"({"id": "none", "port": )" + port + "}");
  EXPECT_EQ(reply.status, 502);
  EXPECT_THAT(reply.body, HasSubstr("connecting to port " + port));
  EXPECT_EQ(call("GET", "streams/none").status, 404);
  for (const char* bad : {"0", "65536", "-1", "\"x\"", "null"}) {
    EXPECT_EQ(call("POST", "dial", R"({"id": "none", "port": )" + std::string(bad) + "}").status, 422) << bad;
  }
}

}  // namespace
}  // namespace sandkey::agent
