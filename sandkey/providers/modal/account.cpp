#include "sandkey/providers/modal/account.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/credentials/helper_command.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

namespace sandkey::modal {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kProbeTime = 5s;

std::string name_in(const json::object& reply) {
  for (const auto& [identity, key] :
       {std::pair{"user_identity", "username"}, {"service_user_identity", "name"}}) {
    const json::value* who = find(reply, identity);
    if (who != nullptr && who->is_object()) return text_of(who->get_object(), key);
  }
  return {};
}

Account read_account(const ControlPlane& control, const json::object& reply) {
  const auto shown = [&](const std::string& text) { return control.quoted(text); };
  Account told;
  const std::string workspace = shown(text_of(reply, "workspace_name"));
  const std::string user = shown(name_in(reply));
  told.name = workspace.empty() || user.empty() ? workspace + user : workspace + "/" + user;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) told.details.emplace_back(name, value);
  };
  add("workspace", shown(text_of(reply, "workspace_id")));
  add("token", shown(text_of(reply, "token_name")));
  add("environment", control.environment());
  if (const auto end = find_string(reply, "expires_at")) told.expires_at = time_from_text(*end);
  return told;
}

// A server that does not want this client says so by a status which, for a request without any parameter, can
// mean nothing else.
[[noreturn]] void throw_outdated(const Error& error) {
  std::string text = error.what();
  if (const std::size_t at = text.find("; FAILED_PRECONDITION"); at != std::string::npos) text.erase(0, at);
  throw Error(ErrorCode::unsupported,
              "checking the credential of modal: Modal takes this version of Sandkey for an outdated client" +
                  text + "; install a newer Sandkey",
              error.context());
}

}  // namespace

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in) {
  const Deadline end = std::min(sign_in.deadline, sign_in.engine.in(kProbeTime));
  std::shared_ptr<ControlPlane> control = co_await ControlPlane::open(std::move(sign_in));
  ModalCall probe{.method = "TokenInfoGet",
                  .operation = "checking the credential of modal",
                  .deadline = end,
                  .with_auth_token = false};
  std::optional<Error> outdated;
  json::object reply;
  try {
    reply = co_await control->call(std::move(probe));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::conflict) throw;
    outdated = error;
  }
  if (outdated) throw_outdated(*outdated);
  Account told = read_account(*control, reply);
  told.warnings = control->take_warnings();
  co_return std::make_shared<ModalAccount>(std::move(control), std::move(told));
}

}  // namespace sandkey::modal
