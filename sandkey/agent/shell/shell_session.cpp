#include "sandkey/agent/shell/shell_session.h"

#include "sandkey/agent/private_folder.h"
#include "sandkey/agent/process.h"
#include "sandkey/agent/shell/shell_hooks.h"
#include "sandkey/agent/shell/shell_syntax.h"
#include "sandkey/agent/shell/terminal_screen.h"
#include "sandkey/base/async_event.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/base/utf8.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>
#include <tuple>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
// How long a key at an idle prompt may take to draw a new one. Some never do (C-z).
constexpr std::chrono::milliseconds kIdleKeyWait{500};
constexpr std::size_t kMaxTyped = std::size_t{1024} * 1024;
constexpr std::size_t kMaxReport = std::size_t{64} * 1024;
// Output taken in one turn of the event loop, and at most at a command's end (a background job may never
// pause).
constexpr std::size_t kMaxTurn = std::size_t{256} * 1024;
constexpr std::size_t kMaxDrain = std::size_t{64} * 1024 * 1024;
// The echo of the trigger is far shorter; more than this is output of something else.
constexpr std::size_t kMaxBeforeMarker = std::size_t{64} * 1024;

constexpr std::string_view kWhatNow =
    "You may wait longer to see additional output by sending empty command '', send other commands to "
    "interact with "
    "the current process, send keys (\"C-c\", \"C-z\", \"C-d\") to interrupt/kill the previous command "
    "before sending "
    "your new command, or use the timeout parameter in execute_bash for future commands.";
constexpr std::string_view kContinued = "[Below is the output of the previous command.]\n";

constexpr std::string_view kBlank = " \t\n\r\v\f";

std::string_view strip_left(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

std::string_view strip(std::string_view text) {
  text = strip_left(text);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

// A number of seconds as Python shows a float.
std::string python_float(double value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string make_nonce() {
  std::array<unsigned char, 16> bytes{};
  if (::getentropy(bytes.data(), bytes.size()) != 0) throw system_error("making a nonce", errno);
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string nonce;
  for (const unsigned char b : bytes) {
    nonce += kHex[b >> 4U];
    nonce += kHex[b & 15U];
  }
  return nonce;
}

std::int64_t number_or(std::string_view text, std::int64_t fallback) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : fallback;
}

struct Terminal {
  UniqueFd master;
  UniqueFd slave;
};

Terminal open_terminal() {
  const std::string what = "opening a pseudo-terminal";
  Terminal terminal;
  terminal.master.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  std::array<char, 64> name{};
  if (!terminal.master || ::grantpt(terminal.master.get()) != 0 || ::unlockpt(terminal.master.get()) != 0 ||
      ::ptsname_r(terminal.master.get(), name.data(), name.size()) != 0) {
    throw system_error(what, errno);
  }
  terminal.slave.reset(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave) throw system_error(what, errno);
  winsize size{};
  size.ws_row = TerminalScreen::kRows;
  size.ws_col = TerminalScreen::kColumns;
  ::ioctl(terminal.master.get(), TIOCSWINSZ, &size);
  termios modes{};
  if (::tcgetattr(terminal.slave.get(), &modes) == 0) {
    modes.c_iflag |= IUTF8;  // so that erasing takes a whole character
    ::tcsetattr(terminal.slave.get(), TCSANOW, &modes);
  }
  const int flags = ::fcntl(terminal.master.get(), F_GETFL);
  ::fcntl(terminal.master.get(), F_SETFL, flags | O_NONBLOCK);
  return terminal;
}

// What a shell said at its prompt.
struct Report {
  std::string nonce;
  std::int64_t exit_code = -1;
  std::int64_t background_pid = -1;
  std::string working_dir;
  std::string path;
};

// One shell process: its terminal, its reports and its end. Kept alive by its two readers until they see the
// end.
class Shell : public std::enable_shared_from_this<Shell> {
 public:
  Shell(const asio::any_io_executor& executor, ChildReaper& reaper)
      : reaper_(reaper), terminal_(executor), reports_(executor), changed_(executor) {}

  void start(const ShellOptions& options, const std::string& working_dir) {
    std::string bash = find_program("bash", options.environment);
    is_bash_ = !bash.empty();
    nonce_ = make_nonce();
    folder_.write("hooks", is_bash_ ? bash_hooks(folder_.path(), nonce_) : sh_hooks(folder_.path(), nonce_));

    SpawnOptions spawning;
    spawning.environment = options.environment;
    set_environment_value(spawning.environment, "TERM", "screen");
    if (is_bash_) {
      spawning.argv = {"bash", "--noprofile", "--noediting", "--rcfile", folder_.path() + "/hooks", "-i"};
    } else {
      spawning.argv = {"sh", "-i"};
      set_environment_value(spawning.environment, "ENV", folder_.path() + "/hooks");
    }
    struct stat info {};
    const bool usable = ::stat(working_dir.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    spawning.working_dir = usable ? working_dir : "/";
    spawning.controlling_terminal = true;

    Terminal terminal = open_terminal();
    (void)::tcgetattr(terminal.slave.get(), &modes_);
    if (!is_bash_) {
      // busybox's sh edits lines, which gets into the way of what is typed, only on a terminal that echoes.
      modes_.c_lflag &= ~static_cast<tcflag_t>(ECHO);
      ::tcsetattr(terminal.slave.get(), TCSANOW, &modes_);
    }
    spawning.descriptors = {{terminal.slave.get(), 0}, {terminal.slave.get(), 1}, {terminal.slave.get(), 2}};
    open_reports();
    pid_ = spawn(spawning);
    reaper_.watch(pid_, [self = shared_from_this()](ExitStatus status) { self->on_exit(status); });
    terminal_.assign(terminal.master.release());
    asio::co_spawn(terminal_.get_executor(), read_terminal(shared_from_this()), asio::detached);
    busy_ = true;  // until the first prompt
    started_ = true;
  }

  void close() {
    if (pid_ > 0 && !exit_) {
      reaper_.forget(pid_);
      kill_session(pid_, SIGKILL);
    }
    closed_ = true;
    busy_ = false;
    end_of_session();
    changed_.notify_all();
  }

  // Types the command. The shell must be at its prompt.
  void begin(const std::string& command) {
    (void)repair();
    tidy_terminal();
    nonce_ = make_nonce();
    marker_ = start_marker(nonce_);
    before_marker_.clear();
    report_.reset();
    busy_ = true;
    started_ = false;
    folder_.write("command",
                  is_bash_ ? bash_command_file(nonce_, command) : sh_command_file(nonce_, command));
    trigger_ = is_bash_ ? bash_trigger(folder_.path()) : sh_trigger(folder_.path());
    type(trigger_ + "\n");
  }

  // Queues input: a program that does not read must not hold up who types.
  void type(std::string_view text) {
    if (!terminal_.is_open()) return;
    typed_.append(text.substr(0, kMaxTyped - std::min(kMaxTyped, typed_.size())));
    if (std::exchange(writing_, true)) return;
    asio::co_spawn(terminal_.get_executor(), write_terminal(shared_from_this()), asio::detached);
  }

  void press(char key) {
    const UniqueFd slave = open_slave();
    if (typed_.empty() && !has_unread_lines(slave.get())) {
      type(std::string_view(&key, 1));
      return;
    }
    // The terminal's input is full, or may be, so a key would queue behind it and interrupt nobody.
    typed_.clear();
    drop_unread_input(slave.get());
    const int signal = key == '\x03' ? SIGINT : key == '\x1a' ? SIGTSTP : key == '\x1c' ? SIGQUIT : 0;
    if (signal != 0) {
      ::ioctl(terminal_.native_handle(), TIOCSIG, signal);
    } else {
      type(std::string_view(&key, 1));
    }
  }

  // Whether what is typed now will show: the terminal echoes it, or a program that edits lines itself does.
  [[nodiscard]] bool echoes() {
    termios modes{};
    if (!terminal_.is_open() || ::tcgetattr(terminal_.native_handle(), &modes) != 0) return true;
    return (modes.c_lflag & ECHO) != 0 || (modes.c_lflag & ICANON) == 0;
  }

  // The next prompt, whatever drew it, counts as the answer.
  void expect_any_prompt() {
    any_prompt_ = true;
    before_ = std::exchange(report_, std::nullopt);
  }
  void stop_expecting() {
    any_prompt_ = false;
    if (!report_) report_ = std::move(before_);
  }

  // Makes the report channel again if a command removed it (`rm -rf /tmp/*`). True if it had.
  bool repair() {
    if (!terminal_.is_open() || folder_.is_fifo("done")) return false;
    open_reports();
    // At its prompt the shell has reported already, to nobody. An empty line makes it do so again.
    if (busy_ && ::tcgetpgrp(terminal_.native_handle()) == pid_) type("\n");
    return true;
  }

  // All output there is, even if the command's start was never seen.
  void flush_before_marker() {
    if (started_) return;
    feed(without_echo(std::exchange(before_marker_, {})));
  }

  [[nodiscard]] bool busy() const noexcept { return busy_; }
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] bool ended() const noexcept { return exit_.has_value(); }
  [[nodiscard]] const std::optional<ExitStatus>& exit() const noexcept { return exit_; }
  [[nodiscard]] const std::optional<Report>& report() const noexcept { return report_; }
  [[nodiscard]] std::uint64_t activity() const noexcept { return activity_; }
  [[nodiscard]] AsyncEvent& changed() noexcept { return changed_; }
  [[nodiscard]] TerminalScreen& screen() noexcept { return screen_; }

 private:
  // Waits for output and reads it itself: a read that Asio had done, but whose handler had not run, would
  // hide its bytes from drain().
  static asio::awaitable<void> read_terminal(std::shared_ptr<Shell> self) {
    while (self->terminal_.is_open()) {
      const auto [error] =
          co_await self->terminal_.async_wait(asio::posix::stream_descriptor::wait_read, kAsTuple);
      if (error || !self->drain(kMaxTurn)) break;
      self->changed_.notify_all();
      if (self->screen_.has_replies()) self->type(self->screen_.take_replies());
    }
  }

  static asio::awaitable<void> write_terminal(std::shared_ptr<Shell> self) {
    // Piece by piece and by itself, so that what is not written yet can be taken back (press()).
    while (!self->typed_.empty() && self->terminal_.is_open()) {
      const ssize_t n = ::write(self->terminal_.native_handle(), self->typed_.data(), self->typed_.size());
      if (n > 0) self->typed_.erase(0, static_cast<std::size_t>(n));
      if (n > 0 || (n < 0 && errno == EINTR)) continue;
      boost::system::error_code error;
      if (n < 0 && errno == EAGAIN) {
        std::tie(error) =
            co_await self->terminal_.async_wait(asio::posix::stream_descriptor::wait_write, kAsTuple);
      }
      if (error || (n < 0 && errno != EAGAIN)) break;
    }
    self->typed_.clear();
    self->writing_ = false;
  }

  [[nodiscard]] UniqueFd open_slave() {
    return UniqueFd(::ioctl(terminal_.native_handle(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  }

  // Where a key makes a signal. Behind a line that nobody reads there is room for 4095 bytes at most, and the
  // kernel does not tell how many came.
  static bool has_unread_lines(int slave) {
    termios modes{};
    int bytes = 0;
    return slave >= 0 && ::tcgetattr(slave, &modes) == 0 && (modes.c_lflag & ISIG) != 0 &&
           ::ioctl(slave, FIONREAD, &bytes) == 0 && bytes > 0;
  }

  // First what is on its way to the line discipline, then what that holds. Output stays.
  void drop_unread_input(int slave) {
    ::tcflush(terminal_.native_handle(), TCOFLUSH);
    if (slave >= 0) ::tcflush(slave, TCIFLUSH);
  }

  // What a program left in the terminal must neither precede the trigger nor change it: input nobody read
  // (answers to what it asked the terminal), and modes in which a line would not arrive as it was typed.
  void tidy_terminal() {
    const UniqueFd slave = open_slave();
    termios modes{};
    if (!slave || ::tcgetattr(slave.get(), &modes) != 0) return;
    drop_unread_input(slave.get());
    // Only this pair undoes a C-s.
    ::tcflow(slave.get(), TCOOFF);
    ::tcflow(slave.get(), TCOON);
    if ((modes.c_lflag & ICANON) != 0 && (modes.c_iflag & (INLCR | IGNCR | ISTRIP | IUCLC)) == 0) return;
    termios proper = modes_;
    if ((modes.c_lflag & ECHO) == 0) proper.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(slave.get(), TCSANOW, &proper);
  }

  void open_reports() {
    boost::system::error_code ignored;
    reports_.close(ignored);
    folder_.make_fifo("done");
    // Opened for reading and writing: the shell's open never blocks, and there is no end between two records.
    UniqueFd fifo(::open((folder_.path() + "/done").c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fifo) throw system_error("opening the shell's report channel", errno);
    reports_.assign(fifo.release());
    report_bytes_.clear();
    asio::co_spawn(reports_.get_executor(), read_reports(shared_from_this()), asio::detached);
  }

  static asio::awaitable<void> read_reports(std::shared_ptr<Shell> self) {
    std::array<char, 4096> buffer{};
    while (self->reports_.is_open()) {
      const auto [error, n] = co_await self->reports_.async_read_some(asio::buffer(buffer), kAsTuple);
      if (error) break;
      self->report_bytes_.append(buffer.data(), n);
      while (auto report = self->next_report()) self->on_report(std::move(*report));
      if (self->report_bytes_.size() > kMaxReport) self->report_bytes_.clear();  // not from our hook
    }
  }

  std::optional<Report> next_report() {
    // Anybody may write into the channel, so a record is looked for where its nonce is, whatever precedes it.
    const std::size_t begin = report_bytes_.find(nonce_ + '\0');
    if (begin == std::string::npos) {
      report_bytes_.erase(0, report_bytes_.size() - std::min(report_bytes_.size(), nonce_.size()));
      return std::nullopt;
    }
    report_bytes_.erase(0, begin);
    std::array<std::string_view, kReportFields> fields;
    std::size_t at = 0;
    for (std::string_view& field : fields) {
      const std::size_t end = report_bytes_.find('\0', at);
      if (end == std::string::npos) return std::nullopt;
      field = std::string_view(report_bytes_).substr(at, end - at);
      at = end + 1;
    }
    Report report{std::string(fields[0]), number_or(fields[1], -1), number_or(fields[2], -1),
                  utf8::sanitize(fields[3]), std::string(fields[4])};
    report_bytes_.erase(0, at);
    return report;
  }

  void on_report(Report report) {
    // Prompts drawn without a command of ours (an idle key, input that was typed ahead) carry the old nonce.
    const bool answers = busy_ && report.nonce == nonce_;
    if (!answers && !any_prompt_) return;
    (void)drain(kMaxDrain);
    flush_before_marker();
    (void)screen_.take_replies();  // who asked is gone; the shell would take them for a command
    busy_ = false;
    any_prompt_ = false;
    started_ = true;
    report_ = std::move(report);
    changed_.notify_all();
  }

  void on_exit(ExitStatus status) {
    (void)drain(kMaxDrain);
    flush_before_marker();
    busy_ = false;
    exit_ = status;
    end_of_session();
    changed_.notify_all();
  }

  void end_of_session() {
    boost::system::error_code ignored;
    terminal_.close(ignored);
    reports_.close(ignored);
    folder_.remove();
  }

  // Takes what was written to the terminal until now, up to about `limit` bytes. False: no process has the
  // terminal open any more.
  bool drain(std::size_t limit) {
    std::array<char, 16 * 1024>
        buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
    for (std::size_t total = 0; terminal_.is_open() && total < limit;) {
      const ssize_t n = ::read(terminal_.native_handle(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return true;
      if (n <= 0) return false;  // EIO
      take({buffer.data(), static_cast<std::size_t>(n)});
      total += static_cast<std::size_t>(n);
    }
    return terminal_.is_open();
  }

  void take(std::string_view bytes) {
    ++activity_;
    if (started_) {
      screen_.feed(bytes);
      return;
    }
    before_marker_.append(bytes);
    const std::size_t found = before_marker_.find(marker_);
    if (found != std::string::npos) {
      started_ = true;
      const std::string held = std::exchange(before_marker_, {});
      feed(without_echo(held.substr(0, found)));
      screen_.feed(std::string_view(held).substr(found + marker_.size()));
    } else if (before_marker_.size() > kMaxBeforeMarker) {
      // Output of a background job; the marker may still be cut at its end.
      const std::size_t keep = marker_.size() + trigger_.size();
      feed(before_marker_.substr(0, before_marker_.size() - keep));
      before_marker_.erase(0, before_marker_.size() - keep);
    }
  }

  void feed(std::string_view bytes) {
    if (!strip(bytes).empty()) screen_.feed(bytes);
  }

  // What a line editor and the terminal echo of the trigger: once or twice, and perhaps a question for the
  // cursor.
  [[nodiscard]] std::string without_echo(std::string text) const {
    for (const std::string& echo : {trigger_ + "\r\n", trigger_, std::string("+ __sk_next\r\n"),
                                    std::string("\033[6n"), std::string("\033[J")}) {
      if (echo.empty()) continue;
      for (std::size_t at = text.find(echo); at != std::string::npos; at = text.find(echo, at)) {
        text.erase(at, echo.size());
      }
    }
    return text;
  }

  ChildReaper& reaper_;
  asio::posix::stream_descriptor terminal_;
  asio::posix::stream_descriptor reports_;
  AsyncEvent changed_;
  PrivateFolder folder_;
  TerminalScreen screen_;
  pid_t pid_ = -1;
  bool is_bash_ = true;
  termios modes_{};  // of the terminal when it was new

  bool closed_ = false;
  bool busy_ = false;        // a command runs, or the first prompt is still to come
  bool any_prompt_ = false;  // see expect_any_prompt()
  bool started_ = true;      // the start marker of the command was seen
  std::string nonce_;
  std::string trigger_;
  std::string marker_;
  std::string before_marker_;
  std::string report_bytes_;
  std::string typed_;     // input not yet written
  bool writing_ = false;  // write_terminal() runs
  std::optional<Report> report_;
  std::optional<Report> before_;  // what report_ was when expect_any_prompt() was called
  std::optional<ExitStatus> exit_;
  std::uint64_t activity_ = 0;
};

}  // namespace

class ShellSession::Impl {
 public:
  Impl(asio::any_io_executor executor, ChildReaper& reaper, ShellOptions options)
      : executor_(std::move(executor)),
        reaper_(reaper),
        options_(std::move(options)),
        working_dir_(options_.working_dir) {}

  void close() {
    if (shell_) shell_->close();
    shell_.reset();
  }

  [[nodiscard]] const std::string& working_dir() const noexcept { return working_dir_; }

  asio::awaitable<Observation> execute(CmdRunAction action, std::optional<double> timeout) {
    const std::string command(strip(action.command));
    const Waiting waiting{command, action.blocking, action.hidden, timeout, Clock::now()};
    if (!pending_) {
      if (command.empty()) co_return note("ERROR: No previous running command to retrieve logs from.");
      if (action.is_input) co_return note("ERROR: No previous running command to interact with.");
    }
    if (command.find('\0') != std::string::npos) {
      co_return Observation("ERROR: The command contains a NUL byte, which no shell can take.",
                            ErrorObservation{});
    }
    if (!action.is_input) {
      const std::vector<std::string> pieces = split_commands(command);
      if (pieces.size() > 1) co_return refuse_several(pieces, action.hidden);
    }
    const std::optional<char> key = control_key(command);

    if (pending_ && shell_->busy()) {
      if (!action.is_input && !command.empty()) co_return refuse_while_busy(waiting);
      const bool echoed = action.is_input && !key && shell_->echoes();
      if (key) {
        shell_->press(*key);
      } else if (!command.empty()) {
        shell_->type(command + "\n");
      }
      co_return co_await wait(waiting, key, echoed);
    }
    if (pending_ && (command.empty() || action.is_input)) {
      // It ended since it was last looked at. Input that nobody waits for must not run as a command.
      Observation result = completed(waiting, std::nullopt);
      if (!command.empty()) {
        result.as<CmdOutputObservation>()->metadata.suffix +=
            "\n[Your input was not sent: the command had ended before it came.]";
      }
      co_return result;
    }

    pending_ = false;
    co_await ensure_shell();
    if (key) {
      shell_->expect_any_prompt();
      shell_->press(*key);
      const auto until = Clock::now() + kIdleKeyWait;
      const std::shared_ptr<Shell> shell = shell_;
      while (!shell->closed() && !shell->ended() && !shell->report()) {
        const bool woken = co_await shell->changed().wait_until(until);
        if (!woken) break;
      }
      if (shell->closed()) throw closed_meanwhile();
      shell_->stop_expecting();
      co_return completed(waiting, key);
    }
    shell_->begin(command);
    pending_ = true;
    told_anything_ = false;
    co_return co_await wait(waiting, std::nullopt, false);
  }

 private:
  struct Waiting {
    const std::string& command;
    bool blocking;
    bool hidden;
    std::optional<double> timeout;
    Clock::time_point since;
  };

  asio::awaitable<void> ensure_shell() {
    if (shell_ && !shell_->ended()) co_return;
    if (shell_) shell_->close();
    shell_ = std::make_shared<Shell>(executor_, reaper_);
    try {
      shell_->start(options_, working_dir_);
    } catch (...) {
      close();  // or the next call would wait for a shell that was never there
      throw;
    }
    const auto until = Clock::now() + options_.start_timeout;
    const std::shared_ptr<Shell> shell = shell_;  // close() may come while we wait
    while (shell->busy()) {
      const bool woken = co_await shell->changed().wait_until(until);
      if (!woken) {
        close();
        throw Error(ErrorCode::deadline_exceeded,
                    "starting the shell: no prompt after " + std::to_string(options_.start_timeout.count()) +
                        " s; something in ~/.bashrc may wait for input",
                    {.provider = {}, .operation = "run", .phase = "start the shell", .request_id = {}});
      }
    }
    if (shell->closed()) throw closed_meanwhile();
    if (shell_->ended()) {
      const std::string said = shell_->screen().text();
      shell_.reset();
      throw Error(ErrorCode::unavailable,
                  "starting the shell: it ended at once" + (said.empty() ? "" : ": " + said));
    }
    if (shell_->report()) working_dir_ = shell_->report()->working_dir;
    shell_->screen().reset();
    mark_ = shell_->screen().mark();
  }

  asio::awaitable<Observation> wait(Waiting waiting, std::optional<char> key, bool echoed) {
    const auto hard =
        waiting.timeout
            ? waiting.since + std::chrono::duration_cast<Clock::duration>(
                                  std::chrono::duration<double>(std::clamp(*waiting.timeout, 0.0, 1e8)))
            : Clock::time_point::max();
    const std::shared_ptr<Shell> shell = shell_;  // close() may come while we wait
    std::uint64_t seen = shell->activity();
    auto last_change = Clock::now();
    while (shell->busy()) {
      const auto soft = waiting.blocking ? Clock::time_point::max() : last_change + options_.soft_timeout;
      const bool woken = co_await shell->changed().wait_until(std::min(soft, hard));
      if (!shell->busy()) break;
      const auto now = Clock::now();
      if (shell_->activity() != seen) {
        seen = shell_->activity();
        last_change = now;
      } else if (!woken && now >= soft && shell_->repair()) {
        last_change = now;
      } else if (!woken && now >= soft) {
        co_return unfinished(waiting, echoed,
                             "The command has no new output after " +
                                 std::to_string(options_.soft_timeout.count()) + " seconds. " +
                                 std::string(kWhatNow));
      }
      if (now >= hard) {
        (void)shell_->repair();
        co_return unfinished(waiting, echoed,
                             "The command timed out after " + python_float(*waiting.timeout) + " seconds. " +
                                 std::string(kWhatNow));
      }
    }
    if (shell->closed()) throw closed_meanwhile();
    co_return completed(waiting, key, echoed);
  }

  // Output since it was last looked at, without the terminal's echo of input just typed.
  std::string new_output(std::string_view echo) {
    shell_->flush_before_marker();
    const std::string text = shell_->screen().text_since(mark_);
    std::string_view view = strip_left(text);
    if (!echo.empty() && view.starts_with(echo)) view = strip_left(view.substr(echo.size()));
    return std::string(view);
  }

  Observation unfinished(const Waiting& waiting, bool echoed, const std::string& why) {
    CmdOutputMetadata metadata;
    if (told_anything_) metadata.prefix = kContinued;
    metadata.suffix = "\n[" + why + "]";
    std::string text = new_output(echoed ? waiting.command : std::string_view());
    mark_ = shell_->screen().mark();
    told_anything_ = true;
    return Observation(std::move(text),
                       CmdOutputObservation{waiting.command, std::move(metadata), waiting.hidden});
  }

  Observation completed(const Waiting& waiting, std::optional<char> key, bool echoed = false) {
    CmdOutputMetadata metadata;
    metadata.username = options_.username;
    metadata.hostname = options_.hostname;
    const bool lost = shell_->screen().lost_since(mark_);
    std::string text = new_output(echoed ? waiting.command : std::string_view());
    if (lost) {
      const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
      metadata.prefix = "[Previous command outputs are truncated. Showing the last " + std::to_string(lines) +
                        " lines of the output below.]\n";
    }
    if (const auto& exit = shell_->exit()) {
      metadata.exit_code = exit->code;
      metadata.working_dir = working_dir_;
      metadata.suffix = "\n[The shell itself ended with exit code " + std::to_string(exit->code) +
                        ". The next command gets a new one: its variables and functions are gone.]";
    } else if (const auto& report = shell_->report()) {
      metadata.exit_code = report->exit_code;
      metadata.pid = report->background_pid;
      if (!report->working_dir.empty()) working_dir_ = report->working_dir;
      metadata.working_dir = working_dir_;
      metadata.py_interpreter_path = find_program("python", {"PATH=" + report->path});
      metadata.suffix = "\n[The command completed with exit code " + std::to_string(report->exit_code) + ".";
      if (key) {
        metadata.suffix +=
            std::string(" CTRL+") +
            static_cast<char>(std::toupper(static_cast<unsigned char>(waiting.command.back()))) +
            " was sent.";
      }
      metadata.suffix += "]";
    }
    shell_->screen().reset();
    mark_ = shell_->screen().mark();
    pending_ = false;
    told_anything_ = false;
    return Observation(std::move(text),
                       CmdOutputObservation{waiting.command, std::move(metadata), waiting.hidden});
  }

  Observation refuse_while_busy(const Waiting& waiting) {
    return unfinished(
        waiting, false,
        "Your command \"" + waiting.command +
            "\" is NOT executed. The previous command is still running - You CANNOT send new commands "
            "until the previous command is completed. By setting `is_input` to `true`, you can interact "
            "with the current process: " +
            std::string(kWhatNow));
  }

  static Observation refuse_several(const std::vector<std::string>& pieces, bool hidden) {
    std::string text =
        "ERROR: Cannot execute multiple commands at once.\n"
        "Please run each command separately OR chain them into a single command via && or ;\n"
        "Provided commands:";
    for (std::size_t i = 0; i < pieces.size(); ++i) text += "\n(" + std::to_string(i + 1) + ") " + pieces[i];
    return refuse(std::move(text), hidden);
  }

  // OpenHands' client can read nothing but a `run` observation as the answer to a hidden command.
  static Observation refuse(std::string text, bool hidden) {
    if (hidden) return Observation(std::move(text), CmdOutputObservation{.hidden = true});
    return Observation(std::move(text), ErrorObservation{});
  }

  static Error closed_meanwhile() {
    return Error(ErrorCode::cancelled, "running a command: the shell was closed while it ran",
                 {.provider = {}, .operation = "run", .phase = {}, .request_id = {}});
  }

  static Observation note(std::string text) { return Observation(std::move(text), CmdOutputObservation{}); }

  asio::any_io_executor executor_;
  ChildReaper& reaper_;
  ShellOptions options_;
  std::string working_dir_;
  std::shared_ptr<Shell> shell_;
  TerminalScreen::Mark mark_;
  bool pending_ = false;        // a command was started whose end nobody was told of
  bool told_anything_ = false;  // somebody was told of it, but not of its end
};

ShellSession::ShellSession(asio::any_io_executor executor, ChildReaper& reaper, ShellOptions options)
    : impl_(std::make_shared<Impl>(std::move(executor), reaper, std::move(options))) {}

ShellSession::~ShellSession() {
  impl_->close();
}

asio::awaitable<Observation> ShellSession::execute(CmdRunAction action, std::optional<double> timeout) {
  const auto impl = impl_;  // keeps it alive while it runs
  co_return co_await impl->execute(std::move(action), timeout);
}

const std::string& ShellSession::working_dir() const noexcept {
  return impl_->working_dir();
}
void ShellSession::close() {
  impl_->close();
}

}  // namespace sandkey::agent
