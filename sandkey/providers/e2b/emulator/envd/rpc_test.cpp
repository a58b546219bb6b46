#include "sandkey/providers/e2b/emulator/envd/rpc.h"

#include "sandkey/net/connect_envelope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <envd.pb.h>
#include <string>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

RpcCode code_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const RpcError& error) {
    return error.code();
  }
  ADD_FAILURE() << "it went well";
  return RpcCode::unknown;
}

TEST(RpcFormats, AreThoseOfConnect) {
  EXPECT_EQ(rpc_format("application/json"), (RpcFormat{false, false}));
  EXPECT_EQ(rpc_format("application/json; charset=utf-8"), (RpcFormat{false, false}));
  EXPECT_EQ(rpc_format("application/proto"), (RpcFormat{true, false}));
  EXPECT_EQ(rpc_format("application/connect+json"), (RpcFormat{false, true}));
  EXPECT_EQ(rpc_format("application/connect+proto"), (RpcFormat{true, true}));
  for (const char* other : {"", "text/plain", "application/grpc", "application/jsonx"})
    EXPECT_EQ(rpc_format(other), std::nullopt) << other;
}

TEST(RpcCodes, HaveTheStatusOfConnect) {
  EXPECT_EQ(to_string(RpcCode::canceled), "canceled");
  EXPECT_EQ(http_status(RpcCode::canceled), 499);
  EXPECT_EQ(to_string(RpcCode::already_exists), "already_exists");
  EXPECT_EQ(http_status(RpcCode::already_exists), 409);
  EXPECT_EQ(to_string(RpcCode::unauthenticated), "unauthenticated");
  EXPECT_EQ(http_status(RpcCode::unauthenticated), 401);
}

TEST(RpcTimeouts, AreMillisecondsOfAtMostTenDigits) {
  EXPECT_EQ(parse_timeout(""), std::nullopt);
  EXPECT_EQ(parse_timeout("0"), 0ms);
  EXPECT_EQ(parse_timeout("9999999999"), 9999999999ms);
  for (const char* bad : {"00000000000", "10000000000", "-1", "1s", " 1", "1.0"})
    EXPECT_EQ(code_of([bad] { (void)parse_timeout(bad); }), RpcCode::invalid_argument) << bad;
}

TEST(RpcKeepalives, ArePositiveSeconds) {
  EXPECT_EQ(parse_keepalive("50"), 50s);
  EXPECT_EQ(parse_keepalive("1"), 1s);
  for (const char* none : {"", "0", "-5", "x", "1.5"}) EXPECT_EQ(parse_keepalive(none), 90s) << none;
}

TEST(RpcJson, NamesAreLowerCamelAndEmptyFieldsVanish) {
  EntryInfo entry;
  entry.set_name("n");
  entry.set_size(5);
  entry.mutable_modified_time()->set_seconds(1);
  entry.set_type(FILE_TYPE_DIRECTORY);
  EXPECT_EQ(encode(entry, false),
            R"({"name":"n","type":"FILE_TYPE_DIRECTORY","size":"5","modifiedTime":"1970-01-01T00:00:01Z"})");
  ProcessEvent event;
  event.mutable_data()->set_stdout(std::string("\0\xFF", 2));
  EXPECT_EQ(encode(event, false), R"({"data":{"stdout":"AP8="}})");
  event.mutable_end();
  EXPECT_EQ(encode(event, false), R"({"end":{}})");
}

TEST(RpcJson, TakesBothSpellingsAndWhatItDoesNotKnow) {
  WatchDirRequest request;
  decode(R"({"includeEntry":true,"unknown":[{}],"path":"p"})", false, request);
  EXPECT_TRUE(request.include_entry());
  request.Clear();
  decode(R"({"include_entry":true})", false, request);
  EXPECT_TRUE(request.include_entry());
}

TEST(RpcJson, RefusesWhatIsNoSuchMessage) {
  for (const char* bad : {"", "x", "[]", "{\"path\":1}", "{\"path\":\"a\"", "\"text\""}) {
    StatRequest request;
    EXPECT_EQ(code_of([&] { decode(bad, false, request); }), RpcCode::invalid_argument) << bad;
  }
}

TEST(RpcBinary, ReadsWhatItWrites) {
  ProcessEvent event;
  event.mutable_end()->set_exit_code(-1);
  const std::string bytes = encode(event, true);
  EXPECT_EQ(bytes, std::string("\x1A\x02\x08\x01", 4)) << "the exit code is zigzag";
  ProcessEvent read;
  decode(bytes, true, read);
  EXPECT_EQ(read.end().exit_code(), -1);
  EXPECT_EQ(code_of([&] { decode("\x1A\x05\x08", true, read); }), RpcCode::invalid_argument);
}

std::vector<std::string> messages_of(const std::string& bytes, std::size_t piece) {
  EnvelopeReader reader;
  std::vector<std::string> messages;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    reader.feed(std::string_view(bytes).substr(at, piece));
    while (auto message = reader.next()) messages.push_back(std::move(*message));
  }
  reader.finish();
  while (auto message = reader.next()) messages.push_back(std::move(*message));
  return messages;
}

TEST(Envelopes, ComeInAnyPieces) {
  const std::string bytes = connect_envelope("one") + connect_envelope("") + connect_envelope("three");
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece)
    EXPECT_THAT(messages_of(bytes, piece), ElementsAre("one", "", "three")) << piece;
  EXPECT_TRUE(messages_of("", 1).empty());
}

TEST(Envelopes, ThatBreakOffAreRefused) {
  const std::string bytes = connect_envelope("one");
  for (std::size_t size = 1; size < bytes.size(); ++size)
    EXPECT_EQ(code_of([&] { (void)messages_of(bytes.substr(0, size), 100); }), RpcCode::invalid_argument)
        << size;
}

TEST(Envelopes, OfOtherKindsAreRefused) {
  const auto with_flags = [](char flags) { return flags + connect_envelope("x").substr(1); };
  EXPECT_EQ(code_of([&] { (void)messages_of(with_flags(1), 100); }), RpcCode::unimplemented);
  EXPECT_EQ(code_of([&] { (void)messages_of(with_flags(2), 100); }), RpcCode::invalid_argument);
}

TEST(Envelopes, AreNotTooLong) {
  // The head alone decides.
  EnvelopeReader fits;
  fits.feed(std::string_view("\x00\x04\x00\x00\x00", 5));
  EXPECT_EQ(fits.next(), std::nullopt);
  EnvelopeReader too_long;
  too_long.feed(std::string_view("\x00\x04\x00\x00\x01", 5));
  EXPECT_EQ(code_of([&] { (void)too_long.next(); }), RpcCode::resource_exhausted);
}

}  // namespace
}  // namespace sandkey::e2b_envd
