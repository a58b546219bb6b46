#include "sandkey/providers/modal/emulator/access.h"

#include "sandkey/emulator/port_traffic.h"
#include "sandkey/emulator/random_text.h"

#include <algorithm>
#include <array>
#include <modal.pb.h>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

constexpr std::string_view kBase62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kPartLength = 22;
constexpr std::size_t kConcurrency = 100;
constexpr std::uint64_t kOldestMajor = 1;
constexpr std::uint64_t kLastClientType = 9;

bool is_part(std::string_view text, std::string_view prefix) noexcept {
  return text.starts_with(prefix) && text.size() > prefix.size() &&
         text.find_first_not_of(kBase62, prefix.size()) == std::string_view::npos;
}

int client_type_of(const grpc::Call& call) {
  const auto type = emu::parse_number(call.metadata("x-modal-client-type"));
  if (!type || *type == 0 || *type > kLastClientType) {
    throw grpc::CallError(grpc::Code::failed_precondition, "Unknown client type");
  }
  return static_cast<int>(*type);
}

void require_new_enough(const grpc::Call& call) {
  const std::string_view version = call.metadata("x-modal-client-version");
  const auto major = emu::parse_number(version.substr(0, version.find('.')));
  if (!major) throw grpc::CallError(grpc::Code::failed_precondition, "Missing client version");
  if (*major < kOldestMajor) {
    throw grpc::CallError(grpc::Code::failed_precondition,
                          "The client version " + std::string(version) +
                              " is too old. Please update to the latest version of the client.");
  }
}

const emu::Account& find_account(const emu::Accounts& accounts, const grpc::Call& call) {
  const std::string id(call.metadata("x-modal-token-id"));
  const std::string secret(call.metadata("x-modal-token-secret"));
  const auto refuse = [](const char* why) { return grpc::CallError(grpc::Code::unauthenticated, why); };
  if (id.empty() || secret.empty()) throw refuse("Token missing. Could not authenticate client.");
  if (!is_part(id, "ak-")) throw refuse("Token ID is malformed");
  if (!is_part(secret, "as-")) throw refuse("Token secret is malformed");
  const emu::Account* account = accounts.find(id + ":" + secret);
  if (account == nullptr || account->name == "unknown" || account->name == "revoked" ||
      account->name == kWrongSecret) {
    throw refuse("Token validation failed");
  }
  return *account;
}

}  // namespace

std::string make_key(const Engine& engine, std::string_view account) {
  const std::string id = emu::random_text(engine, kPartLength, kBase62);
  const std::string secret = emu::random_text(engine, kPartLength, kBase62);
  if (account == "malformed") return "token." + id + ":as-" + secret;
  if (account == kSwapped) return "as-" + secret + ":ak-" + id;
  return "ak-" + id + ":as-" + secret;
}

Caller authenticate(const emu::Accounts& accounts, const Tokens& tokens, const grpc::Call& call, Need need) {
  Caller caller;
  caller.client_type = client_type_of(call);
  require_new_enough(call);
  caller.account = &find_account(accounts, call);
  if (caller.account->name == kOldClient) {
    throw grpc::CallError(grpc::Code::failed_precondition,
                          "Old client: please update to the latest version of the client.");
  }
  if (need.changes) require_writer(caller);
  if (need.auth_token) {
    const auto subject = tokens.subject_of(call.metadata("x-modal-auth-token"));
    if (subject != caller.account->name) {
      throw grpc::CallError(grpc::Code::unauthenticated, "Auth token is missing, invalid or expired");
    }
  }
  caller.idempotency_key = call.metadata("x-idempotency-key");
  caller.throttled =
      static_cast<int>(emu::parse_number(call.metadata("x-throttle-retry-attempt")).value_or(0));
  caller.deadline = call.deadline();
  return caller;
}

void require_writer(const Caller& caller) {
  if (caller.account->name != kRestricted) return;
  throw grpc::CallError(grpc::Code::permission_denied,
                        "You do not have permission to write to the environment 'main'.");
}

std::size_t concurrency_limit(const emu::Account& account) noexcept {
  return account.name == "over_quota" ? 0 : kConcurrency;
}

grpc::CallError come_back(grpc::Code code, const std::string& message, std::chrono::milliseconds after) {
  modal_wire::RPCRetryPolicy policy;
  policy.set_retry_after_secs(static_cast<float>(after.count()) / 1000.0F);
  modal_wire::RPCStatus status;
  status.set_code(static_cast<int>(code));
  status.set_message(message);
  google::protobuf::Any& detail = *status.add_details();
  detail.set_type_url("type.modal.com/modal.client.RPCRetryPolicy");
  detail.set_value(policy.SerializeAsString());
  return {code, message, status.SerializeAsString()};
}

}  // namespace sandkey::modal::emulator
