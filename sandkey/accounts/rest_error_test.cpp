#include "sandkey/accounts/rest_error.h"

#include <gtest/gtest.h>

#include <chrono>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using Wait = ErrorRule::Wait;

RestFailure read(int status, std::string body, HttpResponseHeaders headers = {}) {
  return read_failure({.status = status, .headers = std::move(headers), .body = std::move(body)}, {}, "X-Id",
                      std::chrono::system_clock::time_point(1000s));
}

TEST(RestFailure, IsReadInEveryForm) {
  struct Case {
    std::string_view body, message, word;
  };
  for (const Case& item : std::initializer_list<Case>{
           {R"({"code":401,"message":"no such key"})", "no such key", ""},
           {R"({"message":"no room","error_code":"sandbox_capacity"})", "no room", "sandbox_capacity"},
           {R"({"statusCode":403,"error":"Forbidden","message":"Access denied"})", "Access denied",
            "Forbidden"},
           {R"({"message":["name is long","cpu is odd"],"error":"Bad Request"})", "name is long, cpu is odd",
            "Bad Request"},
           {R"({"error":{"message":"inner"}})", "inner", ""},
           {R"({"error":"not_found"})", "not_found", ""},
           {R"({"detail":"gone"})", "gone", ""},
           {R"({"message":"two\n  lines\u001b[31m"})", "two lines [31m", ""},
           {R"({"message":{"a":1}})", "", ""},
           {"[]", "", ""},
           {"", "", ""},
           {"upstream is away", "upstream is away", ""},
           {"<html><body>502</body></html>", "", ""},
           {"{\"message\":\"cut", "{\"message\":\"cut", ""},
       }) {
    const RestFailure failure = read(500, std::string(item.body));
    EXPECT_EQ(failure.message, item.message) << item.body;
    EXPECT_EQ(failure.word, item.word) << item.body;
  }
  EXPECT_EQ(read(500, std::string(200, 'x')).message.size(), 200U);
  EXPECT_EQ(read(500, std::string(201, 'x')).message, "");
  const RestFailure failure = read(429, "{}", {{"Retry-After", "7"}, {"x-id", "abc"}});
  EXPECT_EQ(failure.wait, 7s);
  EXPECT_EQ(failure.request_id, "abc");
}

TEST(ErrorTable, TakesTheFirstRowThatFits) {
  constexpr ErrorRule kRules[] = {
      {.status = 429,
       .wait = Wait::absent,
       .code = ErrorCode::quota_exceeded,
       .meaning = "full",
       .next = "end some"},
      {.status = 503, .text = "Capacity", .code = ErrorCode::capacity_unavailable},
      {.status = 5, .code = ErrorCode::internal, .meaning = "broken"},
  };
  EXPECT_EQ(meaning_of(read(429, "{}"), kRules).code, ErrorCode::quota_exceeded);
  EXPECT_EQ(meaning_of(read(429, "{}"), kRules).next, "end some");
  EXPECT_EQ(meaning_of(read(429, "{}", {{"Retry-After", "1"}}), kRules).code, ErrorCode::rate_limited);
  EXPECT_EQ(meaning_of(read(503, R"({"message":"no capacity left"})"), kRules).code,
            ErrorCode::capacity_unavailable);
  EXPECT_EQ(meaning_of(read(503, R"({"message":"x","error_code":"CAPACITY"})"), kRules).meaning,
            "it has a failure of its own");
  EXPECT_EQ(meaning_of(read(503, "{}"), kRules).meaning, "broken");
  EXPECT_EQ(meaning_of(read(404, "{}"), kRules).code, ErrorCode::not_found);
}

TEST(ErrorTable, KnowsEveryStatusWithoutRows) {
  const auto code = [](int status) { return meaning_of(read(status, "{}"), {}).code; };
  EXPECT_EQ(code(400), ErrorCode::invalid_argument);
  EXPECT_EQ(code(401), ErrorCode::unauthenticated);
  EXPECT_EQ(code(403), ErrorCode::permission_denied);
  EXPECT_EQ(code(404), ErrorCode::not_found);
  EXPECT_EQ(code(408), ErrorCode::unavailable);
  EXPECT_EQ(code(409), ErrorCode::conflict);
  EXPECT_EQ(code(410), ErrorCode::not_found);
  EXPECT_EQ(code(422), ErrorCode::invalid_argument);
  EXPECT_EQ(code(429), ErrorCode::rate_limited);
  EXPECT_EQ(code(500), ErrorCode::unavailable);
  EXPECT_EQ(code(501), ErrorCode::unsupported);
  EXPECT_EQ(code(599), ErrorCode::unavailable);
  EXPECT_EQ(code(302), ErrorCode::protocol);
  EXPECT_EQ(processed_of(400), Processed::no);
  EXPECT_EQ(processed_of(302), Processed::no);
  EXPECT_EQ(processed_of(408), Processed::unknown);
  EXPECT_EQ(processed_of(502), Processed::unknown);
}

}  // namespace
}  // namespace sandkey
