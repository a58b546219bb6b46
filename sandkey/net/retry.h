// When a failed request is sent again: a pure decision, and the budget that the requests of an account share.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/net/http_client.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// A response header that says how long to wait.
struct WaitHeader {
  enum class Unit { seconds, milliseconds, unix_seconds };  // numbers may have a fraction
  std::string name;           // one that ends in '*' stands for all that begin so
  Unit unit = Unit::seconds;  // a date, in any of HTTP's three formats, is understood with each
};

// Plain data: what is peculiar to a provider comes in from its folder.
struct RetryPolicy {
  int max_attempts = 4;                               // the first one included
  std::chrono::milliseconds first_delay{200};         // at most, and twice as much each time
  std::chrono::milliseconds max_delay{10'000};        // at most, whatever the attempt
  std::chrono::milliseconds max_server_wait{60'000};  // asked to wait longer, we give up instead
  // Answers after which a repeatable request is sent again. 429 says that nothing was done, so after that any
  // request is.
  std::vector<int> statuses = {429, 502, 503, 504};
  std::vector<WaitHeader> wait_headers = {{.name = "Retry-After"}};  // the first one present counts
  // A header by which the server says "true" or "false" to sending the request again, before all statuses.
  std::string verdict_header = {};
};

// How long the answer asks us to wait, if it does. Relative to the server's own Date where there is one, or
// our clocks would have to agree. Never negative.
[[nodiscard]] std::optional<std::chrono::milliseconds> server_wait(const RetryPolicy& policy,
                                                                   const HttpResponseHeaders& headers,
                                                                   std::chrono::system_clock::time_point now);

// One value of such a header.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_wait(std::string_view value,
                                                                  WaitHeader::Unit unit,
                                                                  std::chrono::system_clock::time_point now);

// What came of an attempt, and what there is to go on with.
struct Attempt {
  int number = 1;           // 1 for the first
  bool repeatable = false;  // HttpRequest::may_repeat()
  int status = 0;           // of the answer; without one:
  ErrorCode error = ErrorCode::unavailable;
  Processed processed = Processed::unknown;
  bool permanent = false;  // ErrorContext::permanent
  std::optional<std::chrono::milliseconds> server_wait = std::nullopt;
  std::optional<bool> server_verdict = std::nullopt;
  std::chrono::nanoseconds time_left = std::chrono::nanoseconds::max();  // until the deadline
  bool budget_left = true;
  std::uint64_t random = 0;
};

// How long to wait before the next attempt; nothing if this was the last one. Never as long as the deadline
// is away: what cannot succeed any more fails at once. Waits of our own are anywhere between nothing and
// their limit ("full jitter"); those the server asked for are kept and a little more.
[[nodiscard]] std::optional<std::chrono::milliseconds> retry_delay(const RetryPolicy& policy,
                                                                   const Attempt& attempt);

// Limits repeats to a share of the requests, so that a server in trouble is not given several times its load.
// Thread-safe.
class RetryBudget {
 public:
  static constexpr int kBurst = 10;             // repeats that may be made before any request was
  static constexpr int kRequestsPerRepeat = 5;  // each request earns a fifth of a repeat

  void on_request() noexcept;
  [[nodiscard]] bool has_left() const noexcept { return earned_.load() >= kRequestsPerRepeat; }
  // False, and nothing is taken, when none is left.
  [[nodiscard]] bool take() noexcept;

 private:
  std::atomic<int> earned_ = kBurst * kRequestsPerRepeat;
};

}  // namespace sandkey
