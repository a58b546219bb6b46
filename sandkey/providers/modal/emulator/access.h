// Who calls the control plane, and what becomes of the call.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/tokens.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

// Kinds of accounts besides the standard ones.
//   wrong_secret   an id that was given out, with another secret
//   swapped        a working pair the wrong way round
//   restricted     may look, and not change anything
//   old_client     whatever program uses it counts as too old
//   rate_limited   each of its creates is told to come back, once
inline constexpr std::string_view kWrongSecret = "wrong_secret";
inline constexpr std::string_view kSwapped = "swapped";
inline constexpr std::string_view kRestricted = "restricted";
inline constexpr std::string_view kOldClient = "old_client";
inline constexpr std::string_view kRateLimited = "rate_limited";

// "ak-...:as-...", for the account of that name.
[[nodiscard]] std::string make_key(const Engine& engine, std::string_view account);

// The programs that call, by x-modal-client-type.
inline constexpr int kPythonClient = 1;
inline constexpr int kJavaScriptClient = 8;
inline constexpr int kGoClient = 9;

struct Caller {
  const sandkey::emulator::Account* account = nullptr;
  int client_type = 0;
  std::string idempotency_key = {};  // the same for every attempt of one call
  int throttled = 0;                 // how often it was told to come back
  Deadline deadline = kNoDeadline;
};

// What a call needs.
struct Need {
  bool changes = false;     // an account that may do more than look
  bool auth_token = false;  // a token of AuthTokenGet besides the pair
};

// Throws CallError: failed_precondition for what is no client or too old a one, unauthenticated,
// permission_denied; in the order in which the cloud looks.
[[nodiscard]] Caller authenticate(const sandkey::emulator::Accounts& accounts, const Tokens& tokens,
                                  const sandkey::emulator::grpc::Call& call, Need need);

// Throws CallError(permission_denied) for one that may only look.
void require_writer(const Caller& caller);

// How many sandboxes an account may have running at once.
[[nodiscard]] std::size_t concurrency_limit(const sandkey::emulator::Account& account) noexcept;

// "Come back in so long": clients wait and repeat the call.
[[nodiscard]] sandkey::emulator::grpc::CallError come_back(sandkey::emulator::grpc::Code code,
                                                           const std::string& message,
                                                           std::chrono::milliseconds after);

}  // namespace sandkey::modal::emulator
