// A program of the user's that prints a credential. The contract is in docs/credentials.md.
#pragma once

#include "sandkey/config/environment.h"
#include "sandkey/credentials/credential_spec.h"

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

inline constexpr std::size_t kMaxHelperReply = 64 * 1024;

struct HelperCommand {
  std::vector<std::string> command;  // the program's absolute path first
  std::chrono::milliseconds timeout{10'000};
  std::string profile = {};
};

// Runs it and blocks until it has ended or its time is up; never throws for what it does. Broken unless it
// exits with 0 within its time after a reply that follows the contract.
[[nodiscard]] Offer ask_helper(const HelperCommand& helper, const CredentialSpec& spec,
                               const Environment& environment, std::chrono::system_clock::time_point now);

// The reply alone.
[[nodiscard]] Offer parse_helper_reply(std::string_view reply, const CredentialSpec& spec,
                                       std::chrono::system_clock::time_point now);

// "2026-11-23T02:47:29Z", also with a fraction or an offset; nothing for anything else.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> time_from_text(std::string_view text);

}  // namespace sandkey
