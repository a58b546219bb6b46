#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <utility>

namespace sandkey::cli_test {

Pipe::Pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  read.reset(fds[0]);
  write.reset(fds[1]);
}

std::string read_until(int fd, const std::string& wanted, std::string so_far) {
  std::array<char, 4096> buffer{};
  while (so_far.find(wanted) == std::string::npos) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    so_far.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return so_far;
}

std::string read_all(int fd) {
  return read_until(fd, std::string("\0 never", 7));
}

std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

Program::Program(const TempDir& dir) : dir_(dir) {
  environment["SANDKEY_STATE_DIR"] = state_folder();
}

Spawn Program::spawn(std::vector<std::string> arguments) const {
  Spawn spawn;
  spawn.argv = {SANDKEY_CLI};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  spawn.environment = environment;
  spawn.environment.merge(runtime_test::plain_environment(dir_.path()));
  return spawn;
}

Result Program::run(std::vector<std::string> arguments, const std::string& input) const {
  write_file(dir_ / "stdin", input);
  const UniqueFd in(::open((dir_ / "stdin").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd out(::open((dir_ / "stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const UniqueFd err(::open((dir_ / "stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  Spawn program = spawn(std::move(arguments));
  program.in = in.get();
  program.out = out.get();
  program.err = err.get();
  Process process(program);
  Result result;
  result.code = process.wait();
  result.out = read_file(dir_ / "stdout");
  result.err = read_file(dir_ / "stderr");
  return result;
}

json::object Program::run_json(std::vector<std::string> arguments) const {
  const Result result = run(std::move(arguments));
  EXPECT_EQ(count_lines(result.out), 1U) << result.out << result.err;
  return parse_json(result.out, "the output").as_object();
}

TerminalProgram::TerminalProgram(const Program& program, std::vector<std::string> arguments,
                                 unsigned short rows, unsigned short columns) {
  int master = -1;
  int slave = -1;
  std::array<char, 256> name{};
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  if (::openpty(&master, &slave, name.data(), nullptr, &size) != 0) throw std::runtime_error("no terminal");
  master_.reset(master);
  slave_.reset(slave);
  ::fcntl(master, F_SETFD, FD_CLOEXEC);
  ::fcntl(slave, F_SETFD, FD_CLOEXEC);
  Spawn spawn = program.spawn(std::move(arguments));
  spawn.controlling_terminal = name.data();
  process_ = std::make_unique<Process>(spawn);
}

void TerminalProgram::type(const std::string& text) const {
  ASSERT_EQ(::write(master_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

std::string TerminalProgram::read_until(const std::string& wanted, std::string so_far) const {
  return cli_test::read_until(master_.get(), wanted, std::move(so_far));
}

std::string TerminalProgram::read_rest() {
  slave_.reset();
  return read_all(master_.get());
}

void TerminalProgram::resize(unsigned short rows, unsigned short columns) const {
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::ioctl(master_.get(), TIOCSWINSZ, &size), 0);
}

bool TerminalProgram::cooked() const {
  termios now{};
  return ::tcgetattr(slave_.get(), &now) == 0 && (now.c_lflag & ICANON) != 0 && (now.c_lflag & ECHO) != 0;
}

std::string why_no_sandboxes() {
  Pipe said;
  Spawn spawn;
  spawn.argv = {"/bin/sh", "-c",
                "exec bwrap --unshare-user --unshare-pid --unshare-net --ro-bind / / --proc /proc true"};
  spawn.environment = runtime_test::plain_environment("/");
  spawn.err = said.write.get();
  Process process(spawn);
  said.write.reset();
  const std::string text = read_all(said.read.get());
  return process.wait() == 0 ? "" : "bubblewrap cannot make sandboxes here: " + text;
}

bool pause_briefly(int turn) {
  constexpr int kTurns = 3000;
  ::poll(nullptr, 0, 10);
  return turn < kTurns;
}

}  // namespace sandkey::cli_test
