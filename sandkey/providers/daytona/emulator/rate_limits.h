// What Daytona gives out in limited amounts: requests in a minute, and the sizes of sandboxes.
#pragma once

#include "sandkey/emulator/replies.h"
#include "sandkey/emulator/rfc3339.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace sandkey::daytona::emulator {

// Of one sandbox, in cores and GiB; and of all of an organization's, as in the highest tier.
inline constexpr std::int64_t kMaxCpu = 4;
inline constexpr std::int64_t kMaxMemory = 8;
inline constexpr std::int64_t kMaxDisk = 10;
inline constexpr std::int64_t kTotalCpu = 500;
inline constexpr std::int64_t kTotalMemory = 1000;
inline constexpr std::int64_t kTotalDisk = 5000;

inline constexpr std::string_view kDefaultRegion = "us";

// Each request counts in one of them; one that could not be authenticated, in `failed_auth`.
enum class Bucket { anonymous, failed_auth, authenticated, create, lifecycle };
// "sandbox-create".
[[nodiscard]] std::string_view to_string(Bucket bucket) noexcept;

inline constexpr std::chrono::seconds kRateWindow{60};
// In one window, of all but failed authentications. Those of the highest tier, and more creates, so that
// nobody's benchmark meets them; "throttled" has a few only.
[[nodiscard]] std::int64_t limit_of(Bucket bucket, std::string_view organization) noexcept;

// Windows begin with the first request in them.
class RateLimits {
 public:
  struct Count {
    std::int64_t limit = 0;
    std::int64_t remaining = 0;
    std::chrono::seconds reset{0};
    bool exceeded = false;
  };
  // `subject` is an organization, or an address. Counting one more is left out with `weight` 0.
  Count count(Bucket bucket, const std::string& subject, std::int64_t limit, sandkey::emulator::Time now,
              std::int64_t weight = 1);

 private:
  struct Window {
    sandkey::emulator::Time ends = {};
    std::int64_t used = 0;
  };
  std::map<std::pair<Bucket, std::string>, Window> windows_;
};

// X-RateLimit-Limit-BUCKET and the like, and Retry-After-BUCKET where it is exceeded (of failed
// authentications Retry-After as well).
[[nodiscard]] sandkey::emulator::Headers headers_of(Bucket bucket, const RateLimits::Count& count);

}  // namespace sandkey::daytona::emulator
