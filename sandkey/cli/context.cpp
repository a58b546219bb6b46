#include "sandkey/cli/context.h"

#include "sandkey/base/error.h"
#include "sandkey/events/codec.h"
#include "sandkey/providers/registry.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

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

Context::Context(bool json, bool verbose, std::chrono::steady_clock::time_point started)
    : json_(json), verbose_(verbose), started_(started), interrupts_(engine_) {}

const std::shared_ptr<Ledger>& Context::ledger() {
  if (!ledger_) ledger_ = open_user_ledger(engine_);
  return ledger_;
}

std::shared_ptr<Provider> Context::provider(const std::string& name) {
  std::shared_ptr<Provider>& known = providers_[name];
  if (!known) {
    OpenHandsConfig config;
    config.runtime = name;
    known = wait(async_make_provider(engine_, std::move(config)));
    note("the provider " + name + " accepts us");
  }
  return known;
}

void Context::note(const std::string& text) const {
  if (!verbose_) return;
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
  const bool visible = !what.empty() && !verbose_ && ::isatty(STDERR_FILENO) != 0;
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

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {  // somebody made our terminal non-blocking
      pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      throw system_error("writing output", errno);
    }
  }
}

}  // namespace sandkey::cli
