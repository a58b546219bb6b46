// Process 1 of the sandboxes that the tests make, in place of the agent. Runs what each connection to
// descriptor 3 sends, up to its end, with sh, and answers with its output, a NUL and its exit status.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

[[noreturn]] void run(int connection) {
  ::signal(SIGCHLD, SIG_DFL);
  std::string script;
  std::array<char, 4096> piece{};
  while (true) {
    const ssize_t size = ::read(connection, piece.data(), piece.size());
    if (size <= 0) break;
    script.append(piece.data(), static_cast<std::size_t>(size));
  }
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    ::dup2(connection, 1);
    ::dup2(connection, 2);
    ::close(connection);
    ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  if (pid < 0) {
    status = 126 << 8;
  } else {
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
  }
  const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  std::string end(1, '\0');
  end += std::to_string(code);
  (void)!::write(connection, end.data(), end.size());
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGCHLD, SIG_IGN);  // children are reaped by the kernel
  ::signal(SIGPIPE, SIG_IGN);
  if (argc > 2 && std::string_view(argv[1]) == "--fail") {
    std::fprintf(stderr, "%s\n", argv[2]);
    return 3;
  }
  if (argc > 1 && std::string_view(argv[1]) == "--never-ready") {
    while (true) ::pause();
  }
  if (::write(4, "1", 1) != 1) return 1;
  ::close(4);
  while (true) {
    const int connection = ::accept4(3, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    const pid_t pid = ::fork();
    if (pid == 0) run(connection);
    if (pid < 0) (void)!::write(connection, "\0fork", 5);
    ::close(connection);
  }
}
