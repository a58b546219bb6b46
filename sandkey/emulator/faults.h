// The script of what goes wrong: which request of which cloud, after how many, how often, and how.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator {

enum class FaultKind {
  status,       // this answer instead of doing it
  drop_before,  // nothing is done, the connection closed
  drop_after,   // it is done, and the connection closed without an answer
  hang,         // nothing is done, and nothing answered
  slow,         // a pause, then as usual
  garbage,      // 200 with bytes that are no JSON; nothing is done
  half,         // it is done, half of the answer sent, the connection closed
  echo,         // 400 with a message that holds the credential which was sent; nothing is done
  cut,          // it is done, so many bytes of the answer sent, the connection closed
  grpc_status,  // this status of gRPC instead of doing it
};

[[nodiscard]] std::string_view to_string(FaultKind kind) noexcept;

struct Fault {
  FaultKind kind = FaultKind::status;
  int status = 500;  // of HTTP, or of gRPC
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};  // of grpc_status: the message
  std::chrono::milliseconds delay{0};
  std::uint64_t bytes = 0;
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;
};

struct FaultRule {
  std::int64_t id = 0;
  std::string provider = {};
  std::string route = {};   // as the journal names it, or "*"; what stands in braces does not matter
  std::uint64_t skip = 0;   // requests that pass before
  std::uint64_t times = 1;  // 0: without end
  Fault fault = {};
};

inline constexpr std::size_t kMaxFaultRules = 1000;
inline constexpr std::chrono::minutes kLongestDelay{10};

// {"provider", "route", "skip", "times", "fault": {"kind", ...}}. Throws Error(invalid_argument) saying what
// is wrong with it.
[[nodiscard]] FaultRule parse_fault_rule(const json::object& object);

class FaultScript {
 public:
  // Returns the rule's id. Throws Error(invalid_argument) when there are too many.
  std::int64_t add(FaultRule rule);
  void clear() noexcept { rules_.clear(); }
  // What happens to this request: the first rule that has passed over its share of matching requests and is
  // not used up. Counts.
  [[nodiscard]] std::optional<Fault> take(std::string_view provider, std::string_view route);

 private:
  struct Counted {
    FaultRule rule;
    std::uint64_t used = 0;
  };
  std::vector<Counted> rules_;
  std::int64_t last_id_ = 0;
};

}  // namespace sandkey::emulator
