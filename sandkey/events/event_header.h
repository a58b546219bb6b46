// What every event carries besides its content: id, time, source, cause.
#pragma once

#include "sandkey/base/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

enum class EventSource { agent, user, environment };

[[nodiscard]] std::string_view to_string(EventSource source) noexcept;

// All empty on a new event; an EventStream fills in id, timestamp and source.
struct EventHeader {
  static constexpr std::int64_t kNoId = -1;

  std::int64_t id = kNoId;
  std::string timestamp = {};  // ISO 8601 local time without a zone, as OpenHands writes it; empty: none
  std::optional<EventSource> source = std::nullopt;
  std::optional<std::int64_t> cause = std::nullopt;  // the id of the action this event answers
  // Kept as they came, for those who know what is in them; null: none.
  json::value tool_call_metadata = nullptr;
  json::value llm_metrics = nullptr;

  bool operator==(const EventHeader&) const = default;
};

}  // namespace sandkey
