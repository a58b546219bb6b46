// What a server says of how long to wait: a wait that is not negative and not endless, or nothing.
// Input: a byte that chooses the unit, then the value.
#include "sandkey/net/retry.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sandkey;
  if (size == 0) return 0;
  using Unit = WaitHeader::Unit;
  constexpr Unit kUnits[] = {Unit::seconds, Unit::milliseconds, Unit::unix_seconds};
  const void* const bytes = data + 1;
  const std::string_view value(static_cast<const char*>(bytes), size - 1);
  const auto now = std::chrono::system_clock::from_time_t(1'800'000'000);
  const auto wait = parse_wait(value, kUnits[data[0] % 3], now);
  if (wait && (wait->count() < 0 || *wait > std::chrono::hours(24 * 365))) std::abort();

  RetryPolicy policy;
  policy.wait_headers[0].unit = kUnits[data[0] % 3];
  const HttpResponseHeaders headers{{"Retry-After", value}, {"Date", value}};
  Attempt attempt;
  attempt.repeatable = true;
  attempt.status = 429;
  attempt.server_wait = server_wait(policy, headers, now);
  const auto delay = retry_delay(policy, attempt);
  if (delay && *delay > policy.max_server_wait + policy.first_delay) std::abort();
  return 0;
}
