#include "sandkey/accounts/accounts.h"

#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/net/single_flight.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace sandkey {

using Signed = std::shared_ptr<AuthenticatedAccount>;

struct Accounts::Impl {
  explicit Impl(Engine& the_engine) : engine(the_engine) {}

  struct Entry {
    explicit Entry(Engine& the_engine) : flight(the_engine) {}
    SingleFlight<Signed> flight;
    Signed account;  // guarded by mutex, like the rest
    std::chrono::steady_clock::time_point accepted_at = {};
  };

  std::shared_ptr<Entry> entry(const std::string& identity) {
    const std::lock_guard lock(mutex);
    std::shared_ptr<Entry>& known = entries[identity];
    if (!known) known = std::make_shared<Entry>(engine);
    return known;
  }

  // Nothing if it must be asked for (again).
  Signed known(const Entry& entry) {
    const std::lock_guard lock(mutex);
    const bool recent = entry.account && engine.steady_now() - entry.accepted_at < kAcceptanceLasts;
    return recent && entry.account->accepted() ? entry.account : nullptr;
  }

  static asio::awaitable<Signed> ask(std::shared_ptr<Impl> self, std::shared_ptr<Entry> entry, Cloud cloud,
                                     std::shared_ptr<Credential> credential, CredentialRenewal renewal) {
    const Deadline deadline = self->engine.in(kSignInTimeout);
    SignIn sign_in{.engine = self->engine,
                   .network = self->engine.shared<HttpClient>(),
                   .credential = std::move(*credential),
                   .renewal = std::move(renewal),
                   .log = {},
                   .deadline = deadline};
    {
      const std::lock_guard lock(self->mutex);
      sign_in.log = self->log;
    }
    Signed account = co_await cloud.authenticate(std::move(sign_in));
    const std::lock_guard lock(self->mutex);
    entry->account = account;
    entry->accepted_at = self->engine.steady_now();
    co_return account;
  }

  Engine& engine;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Entry>> entries;  // by Credential::identity()
  HttpObserver log;
};

Accounts::Accounts(Engine& engine) : impl_(std::make_shared<Impl>(engine)) {}
Accounts::~Accounts() = default;

void Accounts::set_log(HttpObserver log) {
  const std::lock_guard lock(impl_->mutex);
  impl_->log = std::move(log);
}

asio::awaitable<Signed> Accounts::sign_in(Cloud cloud, OpenHandsConfig config, Deadline deadline) {
  const auto chain =
      std::make_shared<const CredentialChain>(config, world_of(impl_->engine), choice_of(config));
  const CredentialSpec& spec = cloud.credential_spec();
  // A helper may take its time, and so may the keyring.
  Credential credential = co_await run_blocking([&] { return chain->resolve(spec); });
  CredentialRenewal renewal = [chain, &spec] { return chain->explain(spec).credential; };
  co_return co_await sign_in(cloud, std::move(credential), std::move(renewal), deadline);
}

asio::awaitable<Signed> Accounts::sign_in(Cloud cloud, Credential credential, CredentialRenewal renewal,
                                          Deadline deadline) {
  if (cloud.authenticate == nullptr) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("signing in to {0}: this version of Sandkey finds credentials of {0}, but cannot ask it "
                    "about them yet",
                    credential.provider()));
  }
  const std::shared_ptr<Impl> impl = impl_;
  const std::shared_ptr<Impl::Entry> entry = impl->entry(credential.identity());
  if (Signed account = impl->known(*entry)) co_return account;
  const std::string operation = "signing in to " + credential.provider();
  const auto shared = std::make_shared<Credential>(std::move(credential));
  const std::function<asio::awaitable<Signed>()> call = [impl, entry, cloud, shared, renewal] {
    return Impl::ask(impl, entry, cloud, shared, renewal);
  };
  co_return co_await impl->engine.with_deadline(entry->flight.join(call), deadline, operation);
}

CredentialChoice choice_of(const OpenHandsConfig& config) {
  return {.profile = config.profile};
}

}  // namespace sandkey
