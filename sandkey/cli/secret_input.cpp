#include "sandkey/cli/secret_input.h"

#include "sandkey/base/error.h"

#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <string_view>

namespace sandkey::cli {
namespace {

constexpr std::size_t kMostInput = 64 * 1024;

// Bytes that are wiped however this ends.
struct Buffer {
  std::string bytes;
  Buffer() { bytes.reserve(kMostInput + 1); }  // or growing would leave copies behind
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { wipe(bytes.data(), bytes.capacity()); }
};

constexpr char kInterrupt = 3;  // Ctrl-C, which is a character while the terminal is silent

// Reads until `end`; false if the input ended before, or somebody interrupted.
bool read_until(Buffer& buffer, char end) {
  for (;;) {
    char c = 0;
    const ssize_t n = ::read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error("reading standard input", errno);
    if (n == 0) return false;
    if (c == end) return true;
    if (c == kInterrupt) return false;
    if (buffer.bytes.size() == kMostInput) {
      throw Error(ErrorCode::invalid_argument,
                  "reading standard input: it has more than 64 KiB, which is no key");
    }
    buffer.bytes += c;
  }
}

// The terminal shows nothing that is typed, for as long as this lives. Keys send no signals meanwhile, which
// could end the program before the terminal is as it was.
class Silence {
 public:
  Silence() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) throw system_error("reading the terminal's mode", errno);
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag &= ~static_cast<tcflag_t>(ISIG);
    quiet.c_cc[VEOL] = static_cast<cc_t>(kInterrupt);  // ends a line, so that it is read at once
    if (::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) != 0)
      throw system_error("silencing the terminal", errno);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() { ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_); }

 private:
  termios before_{};
};

Secret ask(const std::string& question) {
  std::fputs(question.c_str(), stderr);
  Buffer answer;
  bool answered = false;
  {
    const Silence silence;
    answered = read_until(answer, '\n');
  }
  std::fputs("\n", stderr);
  if (!answered) {
    throw Error(ErrorCode::cancelled, "asking for a key: nobody gave one; nothing was changed");
  }
  return Secret(answer.bytes);
}

}  // namespace

std::vector<Secret> read_secrets(const std::vector<std::string>& names, const std::string& what) {
  std::vector<Secret> secrets;
  if (::isatty(STDIN_FILENO) != 0) {
    for (const std::string& name : names) secrets.push_back(ask(name + " (" + what + "; not shown): "));
    return secrets;
  }
  Buffer input;
  read_until(input, '\0');
  std::string_view rest = input.bytes;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) secrets.emplace_back(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  if (secrets.size() == names.size()) return secrets;
  std::string wanted;
  for (const std::string& name : names) wanted += (wanted.empty() ? "" : ", then ") + name;
  throw Error(ErrorCode::invalid_argument,
              "reading standard input: it has " + std::to_string(secrets.size()) +
                  " lines with something in them, and " + what + " is " + std::to_string(names.size()) +
                  ": " + wanted + ", each on a line of its own");
}

}  // namespace sandkey::cli
