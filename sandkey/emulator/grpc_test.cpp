#include "sandkey/emulator/grpc.h"

#include "sandkey/base/base64.h"
#include "sandkey/emulator/exchange.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/field_mask.pb.h>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::emulator::grpc {
namespace {

using namespace std::chrono_literals;
using google::protobuf::Duration;

std::vector<std::string> messages_of(std::string_view body, std::size_t piece) {
  MessageReader reader;
  std::vector<std::string> messages;
  for (std::size_t at = 0; at < body.size(); at += piece) {
    reader.feed(body.substr(at, piece));
    while (auto message = reader.next()) messages.push_back(std::move(*message));
  }
  reader.finish();
  while (auto message = reader.next()) messages.push_back(std::move(*message));
  return messages;
}

Code failure_of(std::string_view body) {
  try {
    (void)messages_of(body, body.size());
  } catch (const CallError& error) {
    return error.code();
  }
  return Code::ok;
}

TEST(GrpcFrames, AreTheSameInWhateverPiecesTheyCome) {
  const std::string large(70'000, 'x');
  const std::string body = frame("one") + frame("") + frame(large);
  EXPECT_EQ(frame("one").substr(0, 5), std::string("\0\0\0\0\3", 5));
  for (const std::size_t piece : {std::size_t{1}, std::size_t{4}, std::size_t{1000}, body.size()}) {
    EXPECT_EQ(messages_of(body, piece), (std::vector<std::string>{"one", "", large})) << piece;
  }
  EXPECT_TRUE(messages_of("", 1).empty());
}

TEST(GrpcFrames, ThatCannotBeAreRefused) {
  EXPECT_EQ(failure_of(std::string("\0\0\0\0\3ab", 7)), Code::internal);     // breaks off
  EXPECT_EQ(failure_of(std::string("\0\0", 2)), Code::internal);             // within its head
  EXPECT_EQ(failure_of(std::string("\1\0\0\0\0", 5)), Code::unimplemented);  // compressed
  EXPECT_EQ(failure_of(std::string("\2\0\0\0\0", 5)), Code::internal);       // flags there are none of
  EXPECT_EQ(failure_of(std::string("\0\x7f\xff\xff\xff", 5)), Code::resource_exhausted);
}

TEST(GrpcTimeouts, HaveAUnit) {
  EXPECT_EQ(parse_timeout(""), std::nullopt);
  EXPECT_EQ(parse_timeout("10S"), 10s);
  EXPECT_EQ(parse_timeout("2H"), 2h);
  EXPECT_EQ(parse_timeout("3M"), 3min);
  EXPECT_EQ(parse_timeout("99999999m"), 99999999ms);
  EXPECT_EQ(parse_timeout("7u"), 7us);
  EXPECT_EQ(parse_timeout("0n"), 0ns);
  EXPECT_EQ(parse_timeout("99999999H"), std::chrono::nanoseconds::max());
  for (const char* text : {"S", "10", "-1S", "1.5S", "123456789S", "10s", " 1S", "1 S"}) {
    EXPECT_THROW((void)parse_timeout(text), CallError) << text;
  }
}

TEST(GrpcStatusMessages, ArePlainAscii) {
  EXPECT_EQ(encode_status_message("Token ID is malformed"), "Token ID is malformed");
  EXPECT_EQ(encode_status_message("100%\nü"), "100%25%0A%C3%BC");
}

// An exchange with a body, which remembers what it was answered.
class ScriptedExchange final : public net::HttpExchange {
 public:
  explicit ScriptedExchange(std::string body) : body_(std::move(body)) {}

  std::string_view method() const override { return "POST"; }
  std::string_view target() const override { return path_; }
  const std::string& path() const override { return path_; }
  std::optional<std::string> query(std::string_view) const override { return std::nullopt; }
  std::string_view header(std::string_view name) const override {
    if (name == "content-type") return "application/grpc";
    return name == "grpc-timeout" ? std::string_view(timeout) : std::string_view();
  }
  std::vector<Header> headers() const override { return {}; }
  asio::awaitable<std::size_t> read_some(std::span<char> buffer) override {
    if (body_.empty() && open) ADD_FAILURE() << "waits for what does not come before the answer";
    const std::size_t size = std::min(buffer.size(), body_.size());
    std::copy_n(body_.begin(), size, buffer.begin());
    body_.erase(0, size);
    co_return size;
  }
  asio::awaitable<std::string> read_body(std::size_t) override { co_return std::move(body_); }
  asio::awaitable<void> reply(int code, std::string body, std::string_view content_type,
                              std::span<const Header> headers) override {
    status = code;
    written = std::move(body);
    type = content_type;
    keep(headers);
    co_return;
  }
  asio::awaitable<bool> start(int code, std::string_view content_type, std::optional<std::uint64_t>,
                              std::span<const Header>) override {
    status = code;
    type = content_type;
    streamed = true;
    co_return true;
  }
  asio::awaitable<bool> write(std::span<const char> data) override {
    written.append(data.data(), data.size());
    co_return true;
  }
  asio::awaitable<bool> finish() override { co_return true; }
  asio::awaitable<bool> finish_with(std::span<const Header> headers) override {
    keep(headers);
    co_return true;
  }
  asio::awaitable<bool> upgrade(std::span<const Header>) override { co_return false; }
  bool peer_gone() const override { return false; }
  void abort() override {}
  bool replied() const override { return status != 0; }

  bool open = false;  // its client says more after the answer only
  std::string timeout;
  int status = 0;
  std::string type;
  std::string written;
  bool streamed = false;
  std::map<std::string, std::string> trailers;

 private:
  void keep(std::span<const Header> headers) {
    for (const auto& [name, value] : headers) trailers[std::string(name)] = value;
  }
  std::string path_ = "/test.Service/Method";
  std::string body_;
};

std::string framed_seconds(std::int64_t seconds) {
  Duration message;
  message.set_seconds(seconds);
  return frame(message.SerializeAsString());
}

asio::awaitable<void> add_up(Engine& engine, ScriptedExchange& exchange) {
  Call call(engine, exchange);
  call.add_trailer("x-note", "noted");
  Duration sum;
  Duration each;
  for (bool more = true; more;) {
    more = co_await call.next(each);
    if (more) sum.set_seconds(sum.seconds() + each.seconds());
  }
  co_await call.reply(sum);
}

asio::awaitable<void> refuse(Engine& engine, net::HttpExchange& exchange, bool after_a_message) {
  Call call(engine, exchange);
  const Duration message;
  if (after_a_message) (void)co_await call.send(message);
  CallError error(Code::not_found, "no ü", "details");
  co_await call.fail(std::move(error));
}

asio::awaitable<void> read_one(Engine& engine, ScriptedExchange& exchange) {
  Call call(engine, exchange);
  Duration message;
  co_await call.read(message);
}

TEST(GrpcCalls, ReadAStreamAndAnswerWithTrailers) {
  Engine engine;
  ScriptedExchange exchange(framed_seconds(2) + framed_seconds(3));
  engine.wait(add_up(engine, exchange));
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.type, "application/grpc");
  EXPECT_EQ(exchange.written, framed_seconds(5));
  EXPECT_EQ(exchange.trailers["grpc-status"], "0");
  EXPECT_EQ(exchange.trailers["x-note"], "noted");
  EXPECT_FALSE(exchange.trailers.contains("grpc-message"));
}

TEST(GrpcCalls, FailWithHeadersAloneOrAfterMessages) {
  Engine engine;
  for (const bool after : {false, true}) {
    ScriptedExchange exchange("");
    engine.wait(refuse(engine, exchange, after));
    EXPECT_EQ(exchange.status, 200);
    EXPECT_EQ(exchange.streamed, after);
    EXPECT_EQ(exchange.written, after ? framed_seconds(0) : "");
    EXPECT_EQ(exchange.trailers["grpc-status"], "5");
    EXPECT_EQ(exchange.trailers["grpc-message"], "no %C3%BC");
    EXPECT_EQ(exchange.trailers["grpc-status-details-bin"], "ZGV0YWlscw");
    EXPECT_EQ(base64_decode(exchange.trailers["grpc-status-details-bin"]), "details");
  }
}

TEST(GrpcCalls, AreAnsweredBeforeTheirClientHasSaidAll) {
  Engine engine;
  Journal journal;
  const KnownSecrets secrets;
  const auto entry = std::make_shared<JournalEntry>();
  ScriptedExchange exchange(framed_seconds(1));
  exchange.open = true;
  {
    RecordedExchange recorded(exchange, journal, entry, secrets);
    engine.wait(refuse(engine, recorded, false));
  }
  EXPECT_EQ(exchange.trailers["grpc-status"], "5");
  EXPECT_EQ(entry->grpc_status, "5");
  EXPECT_EQ(entry->body, framed_seconds(1));
}

TEST(GrpcCalls, NeedAMessageWhereThereIsOne) {
  Engine engine;
  ScriptedExchange nothing("");
  EXPECT_THROW(engine.wait(read_one(engine, nothing)), CallError);
  ScriptedExchange nonsense(frame("\xff\xff"));
  EXPECT_THROW(engine.wait(read_one(engine, nonsense)), CallError);
}

TEST(GrpcCalls, HaveADeadline) {
  Engine engine;
  ScriptedExchange exchange("");
  Call call(engine, exchange);
  EXPECT_EQ(call.deadline(), kNoDeadline);
  exchange.timeout = "1H";
  const Deadline deadline = call.deadline();
  EXPECT_LE(deadline, engine.in(1h));
  EXPECT_GT(deadline, engine.in(59min));
  exchange.timeout = "soon";
  EXPECT_THROW((void)call.deadline(), CallError);
}

TEST(GrpcMethods, AreFoundByTheirWholePath) {
  Methods methods;
  methods.add<Duration>("test.one.Service", "Wait", {});
  methods.add<Duration>("test.one.Service", "Add", {});
  EXPECT_EQ(methods.routes(), (std::vector<std::string>{"Service/Add", "Service/Wait"}));
  ASSERT_TRUE(methods.find("/test.one.Service/Wait"));
  EXPECT_EQ(methods.find("/test.one.Service/Wait")->route, "Service/Wait");
  for (const char* path : {"/test.two.Service/Wait", "/Service/Wait", "/test.one.Service/wait", "/", "",
                           "/test.one.Service/Wait/", "test.one.Service/Wait"}) {
    EXPECT_FALSE(methods.find(path)) << path;
  }
}

TEST(GrpcMethods, ShowTheirRequestsAsJson) {
  Methods methods;
  methods.add<google::protobuf::FieldMask>("test.Service", "Do", {});
  google::protobuf::FieldMask mask;
  mask.add_paths("a");
  const std::string good = frame(mask.SerializeAsString());
  EXPECT_EQ(methods.to_json_lines("Service/Do", good + good), "\"a\"\n\"a\"\n");
  mask.add_paths("b");
  const std::string cut = frame(mask.SerializeAsString());
  EXPECT_EQ(methods.to_json_lines("Service/Do", good + cut.substr(0, cut.size() - 1)),
            "\"a\"\n\"a\"\n{\"@cut\": true}\n");
  EXPECT_EQ(methods.to_json_lines("Service/Do", frame("\xff")), "{\"@malformed\": true}\n");
  EXPECT_EQ(methods.to_json_lines("Service/Do", std::string("\1\0\0\0\0", 5)), "{\"@malformed\": true}\n");
  EXPECT_EQ(methods.to_json_lines("tunnel", "as it is"), "as it is");
}

}  // namespace
}  // namespace sandkey::emulator::grpc
