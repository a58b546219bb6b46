// The decoders, whole and in pieces, and the reader that drives them.
#include "sandkey/base/error.h"
#include "sandkey/net/connect_envelope.h"
#include "sandkey/net/ndjson.h"
#include "sandkey/net/sse.h"

#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Decoder>
struct Outcome {
  std::vector<typename Decoder::Frame> frames;
  std::optional<ErrorCode> error;
  std::string message;
};

template <typename Decoder>
void drain(Decoder& decoder, Outcome<Decoder>& outcome) {
  while (auto frame = decoder.next()) outcome.frames.push_back(std::move(*frame));
}

// Fed in pieces of that size.
template <typename Decoder>
Outcome<Decoder> decode(Decoder decoder, std::string_view bytes, std::size_t piece = std::string_view::npos) {
  Outcome<Decoder> outcome;
  try {
    while (!bytes.empty()) {
      decoder.feed(bytes.substr(0, piece));
      bytes.remove_prefix(std::min(piece, bytes.size()));
      drain(decoder, outcome);
    }
    decoder.finish();
    drain(decoder, outcome);
  } catch (const Error& error) {
    outcome.error = error.code();
    outcome.message = error.what();
  }
  return outcome;
}

// The same, cut in two at every place, and byte by byte.
template <typename Decoder>
Outcome<Decoder> decode_every_way(const Decoder& decoder, std::string_view bytes) {
  const auto whole = decode(decoder, bytes);
  const auto same = [&](const Outcome<Decoder>& other) {
    return other.frames == whole.frames && other.error == whole.error && other.message == whole.message;
  };
  EXPECT_TRUE(same(decode(decoder, bytes, 1)));
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    Decoder two = decoder;
    Outcome<Decoder> outcome;
    try {
      two.feed(bytes.substr(0, cut));
      drain(two, outcome);
      two.feed(bytes.substr(cut));
      drain(two, outcome);
      two.finish();
      drain(two, outcome);
    } catch (const Error& error) {
      outcome.error = error.code();
      outcome.message = error.what();
    }
    EXPECT_TRUE(same(outcome)) << "cut at " << cut;
  }
  return whole;
}

// --- server-sent events ---

std::vector<SseEvent> events(std::string_view bytes) {
  const auto outcome = decode_every_way(SseDecoder(), bytes);
  EXPECT_EQ(outcome.error, std::nullopt) << outcome.message;
  return outcome.frames;
}

SseEvent event(std::string data, std::string type = "message", std::string id = {}) {
  return {.type = std::move(type), .data = std::move(data), .id = std::move(id)};
}

TEST(Sse, LinesEndWithAnyOfThree) {
  for (const char* end : {"\n", "\r\n", "\r"}) {
    const std::string nl = end;
    EXPECT_EQ(events("data: a" + nl + nl + "data: b" + nl + "data: c" + nl + nl),
              (std::vector<SseEvent>{event("a"), event("b\nc")}))
        << ::testing::PrintToString(nl);
  }
  EXPECT_EQ(events("data: a\r\rdata: b\n\ndata: c\r\n\r\n"),
            (std::vector<SseEvent>{event("a"), event("b"), event("c")}));
}

TEST(Sse, Fields) {
  EXPECT_EQ(events("event: add\nid: 7\ndata: x\n\n"), (std::vector<SseEvent>{event("x", "add", "7")}));
  EXPECT_EQ(events("data:x\n\ndata:  y\n\ndata\n\ndata:\ndata\n\n"),
            (std::vector<SseEvent>{event("x"), event(" y"), event(""), event("\n")}));
  EXPECT_EQ(events(": comment\n:\ndata: a\nfoo: bar\nDATA: no\n\n"), (std::vector<SseEvent>{event("a")}));
  EXPECT_EQ(events("event: gone\n\ndata: a\n\n"), (std::vector<SseEvent>{event("a")}))
      << "no data, no event, and its type is forgotten";
  EXPECT_EQ(events("data: a:b: c\n\n"), (std::vector<SseEvent>{event("a:b: c")}));
}

TEST(Sse, IdsStayUntilTheNext) {
  EXPECT_EQ(events("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\0y\ndata: d\n\n"s),
            (std::vector<SseEvent>{event("a", "message", "1"), event("b", "message", "1"), event("c"),
                                   event("d")}));
}

TEST(Sse, TheIdOfAnIncompleteEventIsNotTheLast) {
  SseDecoder decoder;
  decoder.feed("id: 1\ndata: a\n\nid: 2\ndata: lost");
  EXPECT_EQ(decoder.next(), event("a", "message", "1"));
  EXPECT_EQ(decoder.next(), std::nullopt);
  EXPECT_EQ(decoder.last_event_id(), "1");
}

TEST(Sse, Retry) {
  SseDecoder decoder;
  EXPECT_EQ(decoder.reconnect_after(), std::nullopt);
  for (const char* text :
       {"retry: 1500\n", "retry: -1\n", "retry: 1s\n", "retry\n", "retry: 99999999999999999999\n"}) {
    decoder.feed(text);
    EXPECT_EQ(decoder.next(), std::nullopt);
    EXPECT_EQ(decoder.reconnect_after(), 1500ms) << text;
  }
}

TEST(Sse, ByteOrderMarkAtTheBeginningOnly) {
  EXPECT_EQ(events("\xEF\xBB\xBF"
                   "data: a\n\n\xEF\xBB\xBF"
                   "data: b\n\n"),
            (std::vector<SseEvent>{event("a")}));
  EXPECT_TRUE(events("\xEF\xBB").empty());
}

TEST(Sse, WhatIsIncompleteAtTheEndIsDropped) {
  EXPECT_EQ(events("data: a\n\ndata: b"), (std::vector<SseEvent>{event("a")}));
  EXPECT_EQ(events("data: a\n\ndata: b\n"), (std::vector<SseEvent>{event("a")}));
  EXPECT_TRUE(events("").empty());
}

TEST(Sse, LinesAndDataAtTheLimitAndOneMore) {
  const SseDecoder decoder(10, 8);
  const auto at = decode_every_way(decoder, "data: 1234\ndata: 567\n\n: 45678901\n\n");
  EXPECT_EQ(at.frames, (std::vector<SseEvent>{event("1234\n567")}));
  EXPECT_EQ(at.error, std::nullopt);
  const auto data = decode_every_way(decoder, "data: a\n\ndata: 1234\ndata: 5678\n\n");
  EXPECT_EQ(data.error, ErrorCode::protocol);
  EXPECT_EQ(data.frames.size(), 1U) << "those before it count";
  EXPECT_THAT(data.message, HasSubstr("more than 8 bytes"));
  const auto line = decode_every_way(decoder, ": 3456789ab\n\n");
  EXPECT_EQ(line.error, ErrorCode::protocol);
  EXPECT_THAT(line.message, HasSubstr("longer than 10 bytes"));
}

TEST(Sse, Endless) {
  SseDecoder line;
  SseDecoder data;
  SseDecoder comments;
  const std::string piece(100'000, 'x');
  EXPECT_THROW(
      for (;;) {
        line.feed(piece);
        (void)line.next();
      },
      Error);
  EXPECT_THROW(
      for (;;) {
        data.feed("data:" + piece + "\n");
        (void)data.next();
      },
      Error);
  for (int i = 0; i < 100; ++i) {  // may go on for ever
    comments.feed(":" + piece + "\n\n");
    EXPECT_EQ(comments.next(), std::nullopt);
  }
}

// --- NDJSON ---

std::vector<std::string> values(std::string_view bytes) {
  const auto outcome = decode_every_way(NdjsonDecoder(), bytes);
  EXPECT_EQ(outcome.error, std::nullopt) << outcome.message;
  std::vector<std::string> texts;
  for (const json::value& value : outcome.frames) texts.push_back(json::serialize(value));
  return texts;
}

TEST(Ndjson, Lines) {
  using Values = std::vector<std::string>;
  EXPECT_EQ(values("{\"a\":1}\n[2]\r\n\n  \n\"x\"\n"), (Values{"{\"a\":1}", "[2]", "\"x\""}));
  EXPECT_EQ(values("1\n2"), (Values{"1", "2"})) << "the last line needs no end";
  EXPECT_EQ(values(""), Values{});
  EXPECT_EQ(values("\n\r\n"), Values{});
}

TEST(Ndjson, NotJson) {
  for (const char* bytes : {"{\"a\":1}\n\n{s3cret}\n", "{\"a\":1}\n\n{\"s3cret", "1\n\n1 2\n"}) {
    const auto outcome = decode_every_way(NdjsonDecoder(), bytes);
    EXPECT_EQ(outcome.frames.size(), 1U);
    EXPECT_EQ(outcome.error, ErrorCode::protocol);
    EXPECT_THAT(outcome.message, HasSubstr("line 3 of the answer"));
    EXPECT_THAT(outcome.message, Not(HasSubstr("s3cret")));
  }
}

TEST(Ndjson, LinesAtTheLimitAndOneMore) {
  const NdjsonDecoder decoder(8);
  EXPECT_EQ(decode_every_way(decoder, "\"123456\"\n\"123456\"").frames.size(), 2U);
  const auto over = decode_every_way(decoder, "1\n\"1234567\"\n");
  EXPECT_EQ(over.frames.size(), 1U);
  EXPECT_EQ(over.error, ErrorCode::protocol);
  EXPECT_THAT(over.message, HasSubstr("line 2 of the answer is longer than 8 bytes"));
}

TEST(Ndjson, Endless) {
  NdjsonDecoder decoder;
  const std::string piece(100'000, '1');
  EXPECT_THROW(
      for (;;) {
        decoder.feed(piece);
        (void)decoder.next();
      },
      Error);
}

// --- Connect ---

TEST(Connect, ThereAndBack) {
  const std::string bytes = connect_envelope("{\"a\":1}") + connect_envelope("") +
                            connect_envelope(std::string(300, 'x')) + connect_envelope("{}", true);
  const auto outcome = decode_every_way(ConnectDecoder(), bytes);
  EXPECT_EQ(outcome.error, std::nullopt) << outcome.message;
  EXPECT_EQ(outcome.frames, (std::vector<ConnectMessage>{{.payload = "{\"a\":1}"},
                                                         {.payload = ""},
                                                         {.payload = std::string(300, 'x')},
                                                         {.end_of_stream = true, .payload = "{}"}}));
  EXPECT_EQ(connect_envelope("ab"), "\0\0\0\0\2ab"s);
  EXPECT_EQ(connect_envelope(std::string(300, 'x')).substr(0, 5), "\0\0\0\1\x2c"s);
}

TEST(Connect, MalformedStreams) {
  const auto error = [](std::string_view bytes) { return decode_every_way(ConnectDecoder(8), bytes).error; };
  EXPECT_EQ(error(""), ErrorCode::unavailable);
  EXPECT_EQ(error(connect_envelope("12345678")), ErrorCode::unavailable)
      << "at the limit, but no last message";
  EXPECT_EQ(error("\2\0\0"s), ErrorCode::unavailable);
  EXPECT_EQ(error("\2\0\0\0\2{"s), ErrorCode::unavailable);
  EXPECT_EQ(error(connect_envelope("123456789")), ErrorCode::protocol) << "one more than the limit";
  EXPECT_EQ(error("\0\xff\xff\xff\xff"s), ErrorCode::protocol);
  EXPECT_EQ(error("\4\0\0\0\0"s), ErrorCode::protocol) << "an unknown flag";
  EXPECT_EQ(error("<html>"), ErrorCode::protocol);
  EXPECT_EQ(error("\1\0\0\0\1x"s), ErrorCode::unsupported);
  EXPECT_EQ(error(connect_envelope("{}", true) + "x"), ErrorCode::protocol);
  EXPECT_EQ(error(connect_envelope("{}", true)), std::nullopt);
}

TEST(Connect, TheEnd) {
  EXPECT_EQ(parse_connect_end("{}"), std::nullopt);
  EXPECT_EQ(parse_connect_end("{\"metadata\":{\"a\":[\"b\"]},\"error\":null}"), std::nullopt);
  EXPECT_EQ(parse_connect_end("{\"error\":{\"code\":\"not_found\",\"message\":\"no such process\"}}"),
            (ConnectFailure{.code = "not_found", .message = "no such process"}));
  EXPECT_EQ(parse_connect_end("{\"error\":{}}"), (ConnectFailure{.code = "unknown", .message = ""}));
  for (const char* bad : {"", "x", "[]", "{\"error\":1}"}) {
    EXPECT_THROW((void)parse_connect_end(bad), Error) << bad;
  }
}

// --- the reader ---

// Gives the text in pieces of three bytes, then throws if it is told to.
ByteSource in_pieces(std::string text, bool breaks = false) {
  return [text = std::move(text), at = std::make_shared<std::size_t>(0),
          breaks](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const std::size_t count = std::min<std::size_t>({3, buffer.size(), text.size() - *at});
    if (count == 0 && breaks) throw Error(ErrorCode::unavailable, "broken");
    std::memcpy(buffer.data(), text.data() + *at, count);
    *at += count;
    co_return count;
  };
}

template <typename Reader>
asio::awaitable<std::size_t> count_frames(Reader reader, std::size_t* count) {
  for (;;) {
    const auto frame = co_await reader.next();
    if (!frame) break;
    ++*count;
  }
  const auto after = co_await reader.next();
  EXPECT_FALSE(after.has_value()) << "the end stays the end";
  co_return *count;
}

TEST(FrameReader, ReadsToTheEnd) {
  Engine engine;
  std::size_t count = 0;
  EXPECT_EQ(engine.wait(count_frames(SseReader(in_pieces("data: a\n\ndata: b\n\n")), &count)), 2U);
  count = 0;
  EXPECT_EQ(engine.wait(count_frames(NdjsonReader(in_pieces("[1,2,3]\n[4,5,6]")), &count)), 2U);
  count = 0;
  const std::string bytes = connect_envelope("abc") + connect_envelope("{}", true);
  EXPECT_EQ(engine.wait(count_frames(ConnectReader(in_pieces(bytes)), &count)), 2U);
}

TEST(FrameReader, AnErrorComesAfterTheFramesBeforeIt) {
  Engine engine;
  std::size_t count = 0;
  EXPECT_THROW((void)engine.wait(count_frames(SseReader(in_pieces("data: a\n\ndata: b", true)), &count)),
               Error);
  EXPECT_EQ(count, 1U);
}

}  // namespace
}  // namespace sandkey
