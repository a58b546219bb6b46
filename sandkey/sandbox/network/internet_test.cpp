// A made-up world: one network namespace plays this machine, another everything around it (its neighbours,
// the private network behind them, the metadata service and the public internet), and a third is the sandbox.
#include "sandkey/sandbox/network/internet.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace sandkey::sandbox {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::uint16_t kPort = 7000;
constexpr std::uint16_t kDomain = 53;
constexpr int kPatienceMs = 10000;
constexpr int kSilenceMs = 300;  // after this long nothing comes any more
constexpr uid_t kSandboxUser = 12345;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", what.c_str(), std::strerror(errno));
  ::_exit(90);
}

void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) give_up(command);
}

// A child that dies with us; `work` says when it is ready.
using Ready = std::function<void()>;
pid_t start(const std::function<void(const Ready&)>& work) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) give_up("pipe");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    work([&] {
      if (::write(ends[1], "x", 1) != 1) ::_exit(91);
    });
    ::_exit(0);
  }
  ::close(ends[1]);
  char ready = 0;
  if (::read(ends[0], &ready, 1) != 1) give_up("a helper ended");
  ::close(ends[0]);
  return pid;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] int family() const { return storage.ss_family; }
};
Address address_of(const std::string& text, std::uint16_t port) {
  Address out;
  if (text.find(':') == std::string::npos) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    ::inet_pton(AF_INET, text.c_str(), &in.sin_addr);
    std::memcpy(&out.storage, &in, sizeof(in));
    out.size = sizeof(in);
  } else {
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    ::inet_pton(AF_INET6, text.c_str(), &in6.sin6_addr);
    std::memcpy(&out.storage, &in6, sizeof(in6));
    out.size = sizeof(in6);
  }
  return out;
}

int listening(const std::string& address, std::uint16_t port, int type) {
  Address to = address_of(address, port);
  const int fd = ::socket(to.family(), type | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  ::setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes,
               sizeof(yes));  // IPv6 addresses take a moment to become usable
  if (to.family() == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
  if (::bind(fd, to.get(), to.size) != 0 || (type == SOCK_STREAM && ::listen(fd, 16) != 0)) {
    give_up("listening at " + address);
  }
  return fd;
}

// Says its name to whoever comes by TCP or UDP.
void serve(const std::vector<int>& tcp, const std::vector<int>& udp, const std::string& name) {
  std::vector<pollfd> all;
  for (const auto* list : {&tcp, &udp}) {
    for (const int fd : *list) all.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  }
  while (::poll(all.data(), all.size(), -1) > 0) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].revents == 0) continue;
      if (i < tcp.size()) {
        const UniqueFd connection(::accept4(all[i].fd, nullptr, nullptr, SOCK_CLOEXEC));
        if (::send(connection.get(), name.data(), name.size(), MSG_NOSIGNAL) < 0) continue;
      } else {
        Address from;
        from.size = sizeof(from.storage);
        char ignored[512];
        ::recvfrom(all[i].fd, ignored, sizeof(ignored), 0, from.get(), &from.size);
        ::sendto(all[i].fd, name.data(), name.size(), 0, from.get(), from.size);
      }
    }
  }
}

enum class How { plain, bound_to_interface };

struct Question {
  int type;
  std::string address;
  std::uint16_t port = kPort;
  How how = How::plain;
};

// What the other sides say; what went wrong; or "silence".
std::vector<std::string> ask_all(const std::vector<Question>& questions, int patience_ms) {
  std::vector<std::string> answers(questions.size(), "silence");
  std::vector<UniqueFd> sockets;
  std::vector<pollfd> waiting;
  std::size_t open = 0;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const Question& question = questions[i];
    Address to = address_of(question.address, question.port);
    const UniqueFd& fd =
        sockets.emplace_back(::socket(to.family(), question.type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    waiting.push_back({.fd = fd.get(), .events = POLLIN, .revents = 0});
    ++open;
    const auto failed = [&] {
      answers[i] = std::strerror(errno);
      waiting[i].fd = -1;
      --open;
    };
    if (question.how == How::bound_to_interface &&
        ::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "eth0", 4) != 0) {
      give_up("binding a socket");
    }
    if (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) {
      failed();
    } else if (question.type == SOCK_DGRAM && ::send(fd.get(), "?", 1, 0) < 0) {
      failed();
    }
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (open > 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || ::poll(waiting.data(), waiting.size(), static_cast<int>(left.count())) <= 0)
      break;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].fd < 0 || waiting[i].revents == 0) continue;
      char answer[64];
      const ssize_t size = ::recv(waiting[i].fd, answer, sizeof(answer), 0);
      answers[i] = size < 0 ? std::strerror(errno) : std::string(answer, static_cast<std::size_t>(size));
      waiting[i].fd = -1;
      --open;
    }
  }
  return answers;
}

// Where an answer is expected.
std::string ask(int type, const std::string& address, std::uint16_t port = kPort, How how = How::plain) {
  return ask_all({{type, address, port, how}}, kPatienceMs).front();
}

void enter(pid_t sandbox) {
  const std::string folder = "/proc/" + std::to_string(sandbox) + "/ns/";
  const UniqueFd user(::open((folder + "user").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd network(::open((folder + "net").c_str(), O_RDONLY | O_CLOEXEC));
  if (::setns(user.get(), CLONE_NEWUSER) != 0 || ::setns(network.get(), CLONE_NEWNET) != 0) give_up("setns");
}

pid_t start_sandbox() {
  return start([](const Ready& ready) {
    if (::setresgid(kSandboxUser, kSandboxUser, kSandboxUser) != 0 ||
        ::setresuid(kSandboxUser, kSandboxUser, kSandboxUser) != 0 ||
        ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      give_up("making the sandbox");
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // forgotten when the user changes
    ready();
    ::pause();
  });
}

struct World {
  std::string nameserver = "10.9.9.9";
  bool ipv6 = true;
};

// The namespaces around us, for the process that calls this.
void make_world(const World& world) {
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
      ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    give_up("unshare");
  }
  char resolver[] = "/tmp/internet-test-resolv-XXXXXX";
  const UniqueFd file(::mkstemp(resolver));
  std::ofstream(resolver) << "nameserver " << world.nameserver << "\n";
  ::fchmod(file.get(), 0644);  // pasta reads it as another user
  if (::mount(resolver, "/etc/resolv.conf", nullptr, MS_BIND, nullptr) != 0) give_up("resolv.conf");
  ::unlink(resolver);

  run("ip link set lo up");
  const pid_t around = start([](const Ready& ready) {
    if (::unshare(CLONE_NEWNET) != 0) give_up("unshare");
    run("ip link set lo up");
    std::vector<int> tcp;
    std::vector<int> udp;
    for (const char* address : {"8.8.8.8", "10.9.9.9", "169.254.169.254", "172.20.0.1", "192.168.7.7",
                                "100.64.0.1", "203.0.113.5", "2606:4700::1111", "fd00:ec2::254"}) {
      run(std::string("ip addr add ") + address + " dev lo");
      // Not for any address: the answer would come from another one than was asked.
      udp.push_back(listening(address, kPort, SOCK_DGRAM));
    }
    udp.push_back(listening("10.9.9.9", kDomain, SOCK_DGRAM));
    for (const char* any : {"0.0.0.0", "::"}) tcp.push_back(listening(any, kPort, SOCK_STREAM));
    ready();
    serve(tcp, udp, "around");
  });
  const std::string there = std::to_string(around);
  const std::string inside = "nsenter -t " + there + " -n ";
  run("ip link add up0 type veth peer name down0 netns " + there);
  run("ip addr add 192.0.2.2/24 dev up0 && ip link set up0 up");
  run(inside + "ip addr add 192.0.2.1/24 dev down0 && " + inside + "ip link set down0 up");
  run("ip addr add 5.6.7.8/32 dev lo");  // a public address of this machine
  run("ip route add default via 192.0.2.1");
  if (world.ipv6) {
    run("ip addr add 2a00:1::2/64 dev up0 nodad");
    run(inside + "ip addr add 2a00:1::1/64 dev down0 nodad");
    run("ip route add default via 2a00:1::1");
  }
  start([](const Ready& ready) {
    std::vector<int> tcp;
    std::vector<int> udp;
    for (const char* any : {"0.0.0.0", "::"}) {
      tcp.push_back(listening(any, kPort, SOCK_STREAM));
      udp.push_back(listening(any, kPort, SOCK_DGRAM));
    }
    udp.push_back(listening("127.0.0.53", kDomain, SOCK_DGRAM));
    ready();
    serve(tcp, udp, "machine");
  });
}

// One line of what was seen, "tcp 10.1.2.3: silence".
std::string line(const std::string& what, const std::string& seen) {
  return what + ": " + seen + "\n";
}

bool exists(pid_t pid) {
  return ::kill(pid, 0) == 0 || errno != ESRCH;
}

pid_t child_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  pid_t child = -1;
  file >> child;
  return child;
}

bool soon_gone(pid_t pid) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (exists(pid)) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// What `work`, done in a process of its own, returns.
std::string in_child(const std::function<std::string()>& work) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "no pipe";
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::string said;
    try {
      said = work();
    } catch (const std::exception& error) {
      said = std::string("thrown: ") + error.what();
    }
    const bool written = ::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
    ::_exit(written ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said;
  char part[4096];
  for (ssize_t size = 0; (size = ::read(ends[0], part, sizeof(part))) > 0;) {
    said.append(part, static_cast<std::size_t>(size));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (status != 0) said += "[the child failed]";
  return said;
}

std::string in_sandbox(pid_t sandbox, const std::function<std::string()>& work) {
  return in_child([&] {
    enter(sandbox);
    return work();
  });
}

class InternetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a network around this machine";
    if (std::system("ip -V >/dev/null 2>&1") != 0) GTEST_SKIP() << "iproute2 is missing";
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/net/tun here";
    if (std::system("pasta --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "pasta is missing";
    if (std::system("unshare -n ip link add test0 type veth peer name test1 2>/dev/null") != 0) {
      GTEST_SKIP() << "no virtual networks here";
    }
  }
};

TEST_F(InternetTest, ReachesWhatIsPublicAndNothingElse) {
  const std::string seen = in_child([] {
    make_world({});
    std::string out;
    // So that silence below means something.
    for (const char* address : {"10.9.9.9", "169.254.169.254", "192.0.2.1", "fd00:ec2::254"}) {
      out += line(std::string("outside ") + address, ask(SOCK_STREAM, address));
    }
    const pid_t sandbox = start_sandbox();
    const Internet internet(sandbox);
    return out + in_sandbox(sandbox, [] {
             std::string found;
             for (const char* address : {"8.8.8.8", "2606:4700::1111"}) {
               found += line(std::string("tcp ") + address, ask(SOCK_STREAM, address));
               found += line(std::string("udp ") + address, ask(SOCK_DGRAM, address));
               found += line(std::string("bound ") + address,
                             ask(SOCK_STREAM, address, kPort, How::bound_to_interface));
             }
             found += line("resolver", ask(SOCK_DGRAM, resolver_address(), kDomain));
             std::vector<Question> questions;
             for (const char* address :
                  {"127.0.0.1", "5.6.7.8", "192.0.2.2", "192.0.2.1", "10.9.9.9", "169.254.169.254",
                   "172.20.0.1", "192.168.7.7", "100.64.0.1", "203.0.113.5", "198.51.100.1", "::1",
                   "2a00:1::2", "2a00:1::1", "fd00:ec2::254", "::ffff:10.9.9.9"}) {
               for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
                 for (const How how : {How::plain, How::bound_to_interface}) {
                   questions.push_back({type, address, kPort, how});
                 }
               }
             }
             const std::vector<std::string> answers = ask_all(questions, kSilenceMs);
             for (std::size_t i = 0; i < questions.size(); ++i) {
               const Question& question = questions[i];
               if (answers[i] == "around" || answers[i] == "machine")
                 found += line("LEAK " + question.address, answers[i]);
               if (question.how == How::plain && question.type == SOCK_STREAM) {
                 found += line("tcp " + question.address, answers[i]);
               }
             }
             return found;
           });
  });
  for (const char* expected :
       {"outside 10.9.9.9: around\n", "outside 169.254.169.254: around\n", "outside 192.0.2.1: around\n",
        "tcp 8.8.8.8: around\n", "udp 8.8.8.8: around\n", "bound 8.8.8.8: around\n",
        "tcp 2606:4700::1111: around\n", "udp 2606:4700::1111: around\n", "resolver: around\n",
        // Said at once, not found out by waiting.
        "tcp 10.9.9.9: No route to host\n", "tcp 169.254.169.254: No route to host\n",
        "tcp 5.6.7.8: No route to host\n", "tcp fd00:ec2::254: No route to host\n"}) {
    EXPECT_THAT(seen, HasSubstr(expected));
  }
  EXPECT_THAT(seen, testing::Not(HasSubstr("LEAK")));
  EXPECT_THAT(seen, testing::Not(HasSubstr("failed")));
}

TEST_F(InternetTest, ReachesAResolverOnThisMachinesLoopback) {
  const std::string seen = in_child([] {
    make_world({.nameserver = "127.0.0.53", .ipv6 = false});
    const pid_t sandbox = start_sandbox();
    const Internet internet(sandbox);
    return in_sandbox(sandbox, [] {
      return line("resolver", ask(SOCK_DGRAM, resolver_address(), kDomain)) +
             line("loopback", ask(SOCK_DGRAM, "127.0.0.53", kDomain)) +
             line("IPv6", ask(SOCK_STREAM, "2606:4700::1111"));
    });
  });
  EXPECT_EQ(seen, "resolver: machine\nloopback: Connection refused\nIPv6: Network is unreachable\n");
}

TEST_F(InternetTest, EndsWithItsOwner) {
  const std::string seen = in_child([] {
    make_world({.ipv6 = false});
    const pid_t sandbox = start_sandbox();
    std::string out;
    pid_t pasta = -1;
    {
      const Internet internet(sandbox);
      pasta = child_of(internet.pid());
      std::ifstream status("/proc/" + std::to_string(pasta) + "/status");
      std::string text((std::istreambuf_iterator<char>(status)), std::istreambuf_iterator<char>());
      out += line("runs as root",
                  text.find("Uid:\t12345\t12345\t12345\t12345\n") == std::string::npos ? "yes" : "no");
    }
    out += line("after the destructor", exists(pasta) ? "there" : "gone");

    // Killed, so that no destructor runs.
    int ends[2];
    if (::pipe(ends) != 0) give_up("pipe");
    const pid_t second = start_sandbox();
    const pid_t owner = start([&](const Ready& ready) {
      const Internet internet(second);
      const pid_t number = child_of(internet.pid());
      if (::write(ends[1], &number, sizeof(number)) != sizeof(number)) ::_exit(1);
      ready();
      ::pause();
    });
    if (::read(ends[0], &pasta, sizeof(pasta)) != sizeof(pasta)) give_up("read");
    out += line("before the kill", exists(pasta) ? "there" : "gone");
    ::kill(owner, SIGKILL);
    ::waitpid(owner, nullptr, 0);
    out += line("after the kill", soon_gone(pasta) ? "gone" : "there");
    return out;
  });
  EXPECT_EQ(seen,
            "runs as root: no\nafter the destructor: gone\nbefore the kill: there\nafter the kill: gone\n");
}

TEST_F(InternetTest, SaysWhatIsMissing) {
  EXPECT_THAT(in_child([] {
                if (::unshare(CLONE_NEWNET) != 0) give_up("unshare");
                require_internet_tools();
                return std::string("nothing");
              }),
              HasSubstr("no way out itself (no default route)"));
  EXPECT_THAT(in_child([] {
                make_world({.ipv6 = false});
                const Internet internet(::getpid());
                return std::string("nothing");
              }),
              HasSubstr("pasta does not run as root"));
}

}  // namespace
}  // namespace sandkey::sandbox
