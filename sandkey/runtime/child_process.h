// For tests: a second process, forked from this one.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace sandkey {

// Runs `body` in a child and receives what it reports, in order; fork it while there is one thread only.
// Killed and reaped at the end.
template <typename Report>
class ChildProcess {
  static_assert(std::is_trivially_copyable_v<Report>);

 public:
  // `body` is given a function to call with each report. The child exits with 0 when it returns, with 99 when
  // it throws.
  explicit ChildProcess(const std::function<void(std::function<void(Report)>)>& body) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    reports_.reset(ends[0]);
    UniqueFd out(ends[1]);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ > 0) return;
    reports_.reset();
    int status = 0;
    try {
      body([fd = out.get()](Report report) {
        if (::write(fd, &report, sizeof report) != sizeof report) ::_exit(98);
      });
    } catch (...) {
      status = 99;
    }
    ::_exit(status);
  }
  ChildProcess(ChildProcess&& other) noexcept
      : reports_(std::move(other.reports_)), pid_(std::exchange(other.pid_, -1)) {}
  ~ChildProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      reap();
    }
  }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  // Waits for the next report; throws if the child ended without one.
  [[nodiscard]] Report report() {
    Report report{};
    ssize_t n = 0;
    do {
      n = ::read(reports_.get(), &report, sizeof report);
    } while (n < 0 && errno == EINTR);
    if (n != sizeof report) throw std::runtime_error("the child ended without a report");
    return report;
  }

  // Kills it and waits until it has ended, but leaves it to be reaped.
  void kill() {
    ::kill(pid_, SIGKILL);
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
  }
  // Waits for its end; its exit status, or -1 if it was killed.
  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  UniqueFd reports_;
  pid_t pid_ = -1;
};

}  // namespace sandkey
