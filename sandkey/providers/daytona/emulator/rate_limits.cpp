#include "sandkey/providers/daytona/emulator/rate_limits.h"

#include "sandkey/providers/daytona/emulator/identity.h"

#include <algorithm>

namespace sandkey::daytona::emulator {

namespace emu = sandkey::emulator;

std::string_view to_string(Bucket bucket) noexcept {
  switch (bucket) {
    case Bucket::anonymous:
      return "anonymous";
    case Bucket::failed_auth:
      return "failed-auth";
    case Bucket::authenticated:
      return "authenticated";
    case Bucket::create:
      return "sandbox-create";
    case Bucket::lifecycle:
      return "sandbox-lifecycle";
  }
  return "unknown";
}

std::int64_t limit_of(Bucket bucket, std::string_view organization) noexcept {
  const bool few = organization == kThrottled;
  switch (bucket) {
    case Bucket::anonymous:
      return 50'000;
    case Bucket::failed_auth:
      break;
    case Bucket::create:
      return few ? 2 : 50'000;
    case Bucket::lifecycle:
      return few ? 4 : 50'000;
    case Bucket::authenticated:
      return few ? 20 : 50'000;
  }
  return 0;
}

RateLimits::Count RateLimits::count(Bucket bucket, const std::string& subject, std::int64_t limit,
                                    emu::Time now, std::int64_t weight) {
  Window& window = windows_[{bucket, subject}];
  if (now >= window.ends) window = {.ends = now + kRateWindow, .used = 0};
  const bool exceeded = window.used >= limit;
  window.used += weight;
  return {.limit = limit,
          .remaining = std::max<std::int64_t>(0, limit - window.used),
          .reset = std::chrono::ceil<std::chrono::seconds>(window.ends - now),
          .exceeded = exceeded};
}

emu::Headers headers_of(Bucket bucket, const RateLimits::Count& count) {
  const std::string name(to_string(bucket));
  const std::string reset = std::to_string(count.reset.count());
  emu::Headers headers{{"X-RateLimit-Limit-" + name, std::to_string(count.limit)},
                       {"X-RateLimit-Remaining-" + name, std::to_string(count.remaining)},
                       {"X-RateLimit-Reset-" + name, reset}};
  if (!count.exceeded) return headers;
  if (bucket == Bucket::failed_auth) headers.emplace_back("Retry-After", reset);
  headers.emplace_back("Retry-After-" + name, reset);
  return headers;
}

}  // namespace sandkey::daytona::emulator
