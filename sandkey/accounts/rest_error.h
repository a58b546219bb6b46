// What an answer of a REST API means that is no success: one table for each cloud, one reader for all.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/retry.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sandkey {

// One row of a cloud's table. The first row that fits says what the answer means; where none does, the status
// alone does, as HTTP has it.
struct ErrorRule {
  enum class Wait { either, given, absent };

  int status;                  // or 5 for every 5xx
  std::string_view text = {};  // stands in the answer's message or code, whatever the case; empty: any
  Wait wait = Wait::either;    // whether the answer says how long to wait
  ErrorCode code;
  std::string_view meaning = {};  // what happened: "the account is suspended"; empty: as HTTP has it
  std::string_view next = {};     // what to do: "pay the bill at https://..."; empty: nothing particular
};

// The longest text of a provider's that a message quotes, in code points.
inline constexpr std::size_t kMaxQuoted = 300;

// What an answer says of its failure, read leniently: the texts of APIs differ, and proxies answer in HTML.
struct RestFailure {
  int status = 0;
  std::string message = {};  // the provider's, in one line, as it came: it may echo a credential
  std::string word = {};     // its code, as in "error_code": "sandbox_capacity_unavailable"
  std::optional<std::chrono::milliseconds> wait = std::nullopt;
  std::string request_id = {};
};
[[nodiscard]] RestFailure read_failure(const HttpResponse& response, const RetryPolicy& policy,
                                       std::string_view request_id_header,
                                       std::chrono::system_clock::time_point now);

// What the failure means; never null texts.
struct ErrorMeaning {
  ErrorCode code;
  std::string_view meaning;
  std::string_view next;
};
[[nodiscard]] ErrorMeaning meaning_of(const RestFailure& failure, std::span<const ErrorRule> rules) noexcept;

// Whether the other side acted on a request that failed like this.
[[nodiscard]] Processed processed_of(int status) noexcept;

}  // namespace sandkey
