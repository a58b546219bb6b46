#include "sandkey/cli/context.h"

#include "sandkey/accounts/accounts.h"
#include "sandkey/base/error.h"
#include "sandkey/cli/output.h"
#include "sandkey/events/codec.h"
#include "sandkey/providers/registry.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

// What takes less needs no explanation.
constexpr std::chrono::seconds kPatience{1};

bool ignored(int number) {
  struct sigaction action {};
  return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// Rewrites a line of the terminal once a second, and wipes it in the end.
asio::awaitable<void> show_waiting(Engine& engine, std::string what) {
  struct Line {
    bool shown = false;
    ~Line() {
      if (shown) std::fputs("\r\033[K", stderr);
    }
  } line;
  for (int seconds = 1;; ++seconds) {
    co_await engine.sleep_for(kPatience);
    line.shown = true;
    std::fprintf(stderr, "\r%s ... %d s\033[K", what.c_str(), seconds);
  }
}

}  // namespace

struct Interrupts::State {
  explicit State(Engine& engine) : signals(engine.executor()) {}
  asio::signal_set signals;
  std::stop_source stop;
  std::atomic<int> number{0};
  std::function<void(int)> taker;  // used on the engine's thread

  static asio::awaitable<void> watch(std::shared_ptr<State> self) {
    while (true) {
      const auto [error, number] = co_await self->signals.async_wait(asio::as_tuple(asio::use_awaitable));
      if (error) co_return;
      if (self->taker) {
        self->taker(number);
      } else if (self->stop.stop_requested()) {
        ::signal(number, SIG_DFL);
        ::raise(number);
      } else {
        self->number = number;
        self->stop.request_stop();
      }
    }
  }
};

Interrupts::Interrupts(Engine& engine) : state_(std::make_shared<State>(engine)), watching_(engine) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (!ignored(number)) state_->signals.add(number);
  }
  watching_.spawn(State::watch(state_));
}

Interrupts::~Interrupts() {
  watching_.cancel();
}

std::stop_token Interrupts::token() const {
  return state_->stop.get_token();
}

int Interrupts::number() const noexcept {
  return state_->number;
}

void Interrupts::deliver_to(std::function<void(int)> taker) {
  state_->taker = std::move(taker);
}

Context::Context(CommonOptions options, std::chrono::steady_clock::time_point started)
    : options_(std::move(options)), started_(started), interrupts_(engine_) {
  if (!verbose()) return;
  engine_.shared<Accounts>()->set_log([this](const HttpRecord& record) { note(to_string(record)); });
}

const LoadedConfig& Context::loaded_config() {
  if (config_) return *config_;
  const std::vector<ConfigField> fields = provider_fields();
  ConfigSources sources;
  if (options_.profile) sources.overrides.push_back({"sandkey.profile", *options_.profile, "--profile"});
  if (options_.config_file) sources.file = *options_.config_file;
  sources.fields = fields;
  config_ = load_config(sources);
  for (const std::string& warning : config_->warnings) warn(warning);
  return *config_;
}

Resolution Context::find_credential(const CredentialSpec& spec) {
  return CredentialChain(config(), world_of(engine_), choice_of(config())).explain(spec);
}

const std::shared_ptr<Ledger>& Context::ledger() {
  if (!ledger_) ledger_ = open_user_ledger(engine_);
  return ledger_;
}

std::shared_ptr<Provider> Context::provider(const std::string& name,
                                            const std::optional<std::string>& profile) {
  const std::string account = profile.value_or(config().profile);
  std::shared_ptr<Provider>& known = providers_[{name, account}];
  if (!known) {
    OpenHandsConfig wanted = config();
    wanted.runtime = name;
    wanted.profile = account;
    known = wait(async_make_provider(engine_, std::move(wanted)));
    note("the provider " + name + " accepts us");
  }
  return known;
}

void Context::note(const std::string& text) const {
  if (!verbose()) return;
  const std::chrono::duration<double, std::milli> since = std::chrono::steady_clock::now() - started_;
  std::fprintf(stderr, "sandkey: %8.1f ms  %s\n", since.count(), text.c_str());
}

void Context::warn(const std::string& text) const {
  std::fprintf(stderr, "sandkey: %s\n", text.c_str());
}

void Context::print_json(const json::value& document) const {
  write_all(STDOUT_FILENO, write_json(document) + "\n");
}

void Context::wait_void(asio::awaitable<void> task, const std::string& what) {
  const bool visible = !what.empty() && !verbose() && ::isatty(STDERR_FILENO) != 0;
  if (visible) task = beside_progress(std::move(task), what);
  engine_.wait(std::move(task), interrupts_.token());
}

asio::awaitable<void> Context::beside_progress(asio::awaitable<void> task, std::string what) {
  TaskGroup around(engine_);
  around.spawn(show_waiting(engine_, std::move(what)));
  const auto body = [&]() -> asio::awaitable<void> {
    co_await std::move(task);
    around.cancel();
  };
  co_await around.run(body());
}

}  // namespace sandkey::cli
