#include "sandkey/net/retry.h"

#include "sandkey/net/ascii.h"
#include "sandkey/net/curl_library.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

namespace sandkey {

namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

// Longer than any wait that makes sense; keeps the arithmetic in range.
constexpr milliseconds kForever = std::chrono::hours(24 * 365);

// Curl's parser of dates knows HTTP's three formats, and a few more.
std::optional<system_clock::time_point> parse_date(std::string_view text) {
  constexpr std::size_t kLongestDate = 64;
  if (text.size() > kLongestDate) return std::nullopt;
  const std::time_t seconds = curl().getdate(std::string(text).c_str(), nullptr);
  if (seconds < 0) return std::nullopt;
  constexpr std::time_t kYear2200 = 7'258'118'400;  // the clock's own range ends in 2262
  return system_clock::time_point(std::chrono::seconds(std::min(seconds, kYear2200)));
}

std::optional<double> parse_number(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number)) return std::nullopt;
  return number;
}

milliseconds between(system_clock::time_point from, system_clock::time_point to) {
  return std::clamp(std::chrono::duration_cast<milliseconds>(to - from), milliseconds(0), kForever);
}

bool is_named(const WaitHeader& header, std::string_view name) {
  if (!header.name.ends_with('*')) return same_ignoring_case(header.name, name);
  const std::string_view beginning = std::string_view(header.name).substr(0, header.name.size() - 1);
  return same_ignoring_case(beginning, name.substr(0, beginning.size()));
}

milliseconds part_of(milliseconds limit, std::uint64_t random) {
  return milliseconds(random % (static_cast<std::uint64_t>(limit.count()) + 1));
}

}  // namespace

std::optional<milliseconds> parse_wait(std::string_view value, WaitHeader::Unit unit,
                                       system_clock::time_point now) {
  if (const auto number = parse_number(value)) {
    if (*number < 0) return std::nullopt;
    double wait = *number;
    if (unit == WaitHeader::Unit::unix_seconds) {
      wait -= std::chrono::duration<double>(now.time_since_epoch()).count();
    }
    if (unit != WaitHeader::Unit::milliseconds) wait *= 1000;
    const double limit = static_cast<double>(kForever.count());
    return milliseconds(static_cast<std::int64_t>(std::ceil(std::clamp(wait, 0.0, limit))));
  }
  if (const auto date = parse_date(value)) return between(now, *date);
  return std::nullopt;
}

std::optional<milliseconds> server_wait(const RetryPolicy& policy, const HttpResponseHeaders& headers,
                                        system_clock::time_point now) {
  const auto date = headers.find("Date");
  if (const auto theirs = date ? parse_date(*date) : std::nullopt) now = *theirs;
  for (const WaitHeader& header : policy.wait_headers) {
    std::optional<milliseconds> longest;
    for (const auto& [name, value] : headers.list()) {
      if (!is_named(header, name)) continue;
      const auto wait = parse_wait(value, header.unit, now);
      if (wait && (!longest || *wait > *longest)) longest = wait;
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

std::optional<milliseconds> retry_delay(const RetryPolicy& policy, const Attempt& attempt) {
  if (attempt.number >= policy.max_attempts || !attempt.budget_left) return std::nullopt;
  if (attempt.status != 0) {
    const auto& statuses = policy.statuses;
    const bool worth_it = attempt.server_verdict.value_or(
        std::find(statuses.begin(), statuses.end(), attempt.status) != statuses.end());
    if (!worth_it || (!attempt.repeatable && attempt.status != 429)) return std::nullopt;
  } else {
    if (attempt.error != ErrorCode::unavailable || attempt.permanent) return std::nullopt;
    if (!attempt.repeatable && attempt.processed != Processed::no) return std::nullopt;
  }

  milliseconds delay{};
  if (attempt.server_wait) {
    if (*attempt.server_wait > policy.max_server_wait) return std::nullopt;
    delay = *attempt.server_wait + part_of(policy.first_delay, attempt.random);
  } else {
    const int doublings = std::min(attempt.number - 1, 20);
    delay = part_of(std::min(policy.first_delay * (1 << doublings), policy.max_delay), attempt.random);
  }
  if (delay >= attempt.time_left) return std::nullopt;
  return delay;
}

void RetryBudget::on_request() noexcept {
  int earned = earned_.load();
  while (earned < kBurst * kRequestsPerRepeat && !earned_.compare_exchange_weak(earned, earned + 1)) {
  }
}

bool RetryBudget::take() noexcept {
  int earned = earned_.load();
  while (earned >= kRequestsPerRepeat) {
    if (earned_.compare_exchange_weak(earned, earned - kRequestsPerRepeat)) return true;
  }
  return false;
}

}  // namespace sandkey
