#include "sandkey/sandbox/network/internet.h"

#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/network/address_block.h"
#include "sandkey/sandbox/network/netlink.h"
#include "sandkey/sandbox/network/packet_filter.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <net/if.h>
#include <optional>
#include <span>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kStartPatience = std::chrono::seconds(5);
constexpr const char* kTunDevice = "/dev/net/tun";
// The sandbox's interface, as programs expect it to be called.
constexpr const char* kInterface = "eth0";
constexpr std::uint32_t kLoopbackIndex = 1;
constexpr std::uint32_t kMtu = 65520;  // pasta's: it speaks to sockets, not to a wire
// Nobody is asked for the gateway's: pasta takes every frame.
constexpr std::array<std::uint8_t, 6> kGatewayMac = {0x02, 0x73, 0x61, 0x6e, 0x64, 0x01};

constexpr unsigned kPrefix4 = 29;
constexpr unsigned kPrefix6 = 126;

// The addresses of one family, in a small network that exists in the sandbox only.
struct Addresses {
  AddressBlock guest;
  AddressBlock gateway;
  AddressBlock resolver;
};

struct Plan {
  std::optional<Addresses> v4;
  std::optional<Addresses> v6;
  [[nodiscard]] const AddressBlock& resolver() const { return v4 ? v4->resolver : v6->resolver; }
};

std::string address_text(const AddressBlock& block) {
  const std::string text = block.text();
  return text.substr(0, text.find('/'));
}

// Whether this machine has a default route, as /proc/net/route and /proc/net/ipv6_route tell.
bool has_default_route_4() {
  std::ifstream routes("/proc/net/route");
  std::string line;
  std::getline(routes, line);
  while (std::getline(routes, line)) {
    std::istringstream fields(line);
    std::string interface, destination, gateway, flags, references, use, metric, mask;
    fields >> interface >> destination >> gateway >> flags >> references >> use >> metric >> mask;
    constexpr unsigned long kReject = 0x200;
    if (destination == "00000000" && mask == "00000000" &&
        (std::strtoul(flags.c_str(), nullptr, 16) & kReject) == 0) {
      return true;
    }
  }
  return false;
}
bool has_default_route_6() {
  std::ifstream routes("/proc/net/ipv6_route");
  std::string line;
  while (std::getline(routes, line)) {
    // An unreachable default route, which every machine has, is lo's.
    if (line.starts_with(std::string(32, '0') + " 00 ") && !line.ends_with(" lo")) return true;
  }
  return false;
}

const Plan& plan() {
  static const Plan chosen = [] {
    const std::vector<AddressBlock> machine = machine_blocks();
    const auto choose = [&](std::initializer_list<const char*> networks, unsigned prefix) {
      AddressBlock network = parse_block(*(networks.end() - 1));
      for (const char* text : networks) {
        const AddressBlock candidate = parse_block(text);
        const auto collides = [&](const AddressBlock& block) { return overlap(block, candidate); };
        if (std::none_of(machine.begin(), machine.end(), collides)) {
          network = candidate;
          break;
        }
      }
      const auto number = [&](std::uint8_t last) {
        AddressBlock out = network;
        out.address[out.size() - 1] = last;
        out.prefix = static_cast<unsigned>(out.size() * 8);
        return out;
      };
      Addresses out{.guest = number(2), .gateway = number(1), .resolver = number(3)};
      out.guest.prefix = prefix;
      return out;
    };
    Plan out;
    // Documentation ranges lead nowhere if a packet should leave this machine all the same. In IPv6 a private
    // range: programs then prefer IPv4 where a server has both, which works wherever either does.
    if (has_default_route_4())
      out.v4 = choose({"198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"}, kPrefix4);
    if (has_default_route_6()) {
      out.v6 = choose({"fd73:616e:646b:6579::/64", "fd6b:6579:7361:6e64::/64"}, kPrefix6);
    }
    return out;
  }();
  return chosen;
}

std::string find_pasta() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path == nullptr ? "" : path) + ":/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/pasta";
    if (!folder.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  throw Error(ErrorCode::unsupported,
              "giving the sandbox a network: there is no program 'pasta'; install the package passt");
}

// The refused blocks: what is private anywhere, and what is this machine's.
std::vector<AddressBlock> refused_blocks() {
  std::vector<AddressBlock> out = private_blocks();
  for (const AddressBlock& block : machine_blocks()) out.push_back(block);
  return out;
}

// Seen from inside a namespace's network: for a forked child that has entered it.
class NamespaceSetup {
 public:
  explicit NamespaceSetup(const Plan& plan) : plan_(plan) {}

  // Refuses before there is a way out.
  void refuse(const std::vector<AddressBlock>& blocks) {
    NetlinkSocket filter(NETLINK_NETFILTER);
    for (const int family : families()) {
      filter.request(packet_filter(family, blocks, plan_.resolver()),
                     "giving the sandbox a network: its packet filter (does the kernel have nf_tables?)");
    }
    set_link(kLoopbackIndex, std::nullopt);
    NetlinkMessages routes;
    for (const AddressBlock& block : blocks) {
      if (has(block.family)) put_route(routes, block, RTN_UNREACHABLE, nullptr, 0);
    }
    route_.request(routes, "giving the sandbox a network: its refusing routes");
  }

  void open() {
    const unsigned index = ::if_nametoindex(kInterface);
    if (index == 0) throw system_error("giving the sandbox a network: pasta's interface", errno);
    for (const auto& addresses : {plan_.v4, plan_.v6}) {
      if (addresses) put_address(index, *addresses);
    }
    set_link(index, kMtu);
    for (const auto& addresses : {plan_.v4, plan_.v6}) {
      if (!addresses) continue;
      NetlinkMessages way_out;
      put_neighbour(way_out, index, addresses->gateway);
      put_neighbour(way_out, index, addresses->resolver);
      const AddressBlock everywhere{.family = addresses->guest.family};
      put_route(way_out, everywhere, RTN_UNICAST, &addresses->gateway, index);
      route_.request(way_out, "giving the sandbox a network: its way out");
    }
  }

 private:
  [[nodiscard]] bool has(int family) const { return family == AF_INET ? !!plan_.v4 : !!plan_.v6; }
  [[nodiscard]] std::vector<int> families() const {
    std::vector<int> out;
    for (const int family : {AF_INET, AF_INET6}) {
      if (has(family)) out.push_back(family);
    }
    return out;
  }

  static std::span<const std::uint8_t> bytes(const AddressBlock& block) {
    return std::span(block.address).first(block.size());
  }

  void set_link(unsigned index, std::optional<std::uint32_t> mtu) {
    NetlinkMessages link;
    link.begin(RTM_NEWLINK, NLM_F_ACK);
    ifinfomsg info{};
    info.ifi_index = static_cast<int>(index);
    info.ifi_flags = IFF_UP;
    info.ifi_change = IFF_UP;
    link.put(info);
    if (mtu) link.attribute(IFLA_MTU, *mtu);
    link.end();
    route_.request(link, "giving the sandbox a network: switching its interface on");
  }

  void put_address(unsigned index, const Addresses& addresses) {
    NetlinkMessages address;
    address.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK);
    ifaddrmsg info{};
    info.ifa_family = static_cast<std::uint8_t>(addresses.guest.family);
    info.ifa_prefixlen = static_cast<std::uint8_t>(addresses.guest.prefix);
    info.ifa_index = index;
    address.put(info);
    address.attribute(IFA_LOCAL, bytes(addresses.guest));
    address.attribute(IFA_ADDRESS, bytes(addresses.guest));
    // Nobody else is there to have the same.
    address.attribute(IFA_FLAGS, std::uint32_t{IFA_F_NODAD});
    address.end();
    route_.request(address, "giving the sandbox a network: its address");
  }

  static void put_neighbour(NetlinkMessages& out, unsigned index, const AddressBlock& address) {
    out.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK);
    ndmsg info{};
    info.ndm_family = static_cast<std::uint8_t>(address.family);
    info.ndm_ifindex = static_cast<int>(index);
    info.ndm_state = NUD_PERMANENT;
    out.put(info);
    out.attribute(NDA_DST, bytes(address));
    out.attribute(NDA_LLADDR, std::span<const std::uint8_t>(kGatewayMac));
    out.end();
  }

  static void put_route(NetlinkMessages& out, const AddressBlock& to, std::uint8_t type,
                        const AddressBlock* gateway, std::uint32_t index) {
    out.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK);
    rtmsg info{};
    info.rtm_family = static_cast<std::uint8_t>(to.family);
    info.rtm_dst_len = static_cast<std::uint8_t>(to.prefix);
    info.rtm_table = RT_TABLE_MAIN;
    info.rtm_protocol = RTPROT_STATIC;
    info.rtm_scope = RT_SCOPE_UNIVERSE;
    info.rtm_type = type;
    out.put(info);
    if (to.prefix > 0) out.attribute(RTA_DST, bytes(to));
    if (gateway != nullptr) {
      out.attribute(RTA_GATEWAY, bytes(*gateway));
      out.attribute(RTA_OIF, index);
    }
    out.end();
  }

  const Plan& plan_;
  NetlinkSocket route_{NETLINK_ROUTE};
};

// All there is until the other side closes, or nothing more comes in time.
std::string read_all(int fd, Clock::time_point deadline) {
  std::string out;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return out;
    char part[1024];
    const ssize_t size = ::read(fd, part, sizeof(part));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return out;
    out.append(part, static_cast<std::size_t>(size));
  }
}

void write_fully(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(size));
  }
}

// A child that has no signals to handle until it says so: what is sent to it meanwhile stays pending.
pid_t fork_quietly() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  const pid_t pid = ::fork();
  const int error = errno;
  if (pid != 0) ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw system_error("giving the sandbox a network: starting a process", error);
  return pid;
}

// The namespaces of a process' network, and who owns them.
struct Target {
  UniqueFd network;
  UniqueFd user;
  uid_t owner = 0;
};

Target find_target(pid_t init) {
  const std::string what = "giving the sandbox a network: finding its namespaces";
  Target target;
  const std::string path = "/proc/" + std::to_string(init) + "/ns/net";
  target.network = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!target.network) throw system_error(what, errno);
  // Not the process' own, which bubblewrap may have nested in the one that owns its network.
  target.user = UniqueFd(::ioctl(target.network.get(), NS_GET_USERNS));
  if (!target.user) throw system_error(what, errno);
  if (::ioctl(target.user.get(), NS_GET_OWNER_UID, &target.owner) != 0) throw system_error(what, errno);
  if (target.owner == 0) {
    throw Error(
        ErrorCode::unsupported,
        "giving the sandbox a network: its user namespace was made by root, and pasta does not run as root; "
        "make it as another user");
  }
  return target;
}

// What the child is to hand on to pasta, at fixed numbers.
constexpr int kReadyFd = 3;
constexpr int kUserFd = 4;
constexpr int kNetworkFd = 5;

std::string of_descriptor(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

std::vector<std::string> pasta_command(const std::string& program, const Target& target) {
  std::vector<std::string> out = {program, "--foreground", "--quiet", "--stderr"};
  // Without this it becomes `nobody`, who may not enter the sandbox's namespaces.
  if (::geteuid() == 0) {
    const std::string owner = std::to_string(target.owner);
    out.insert(out.end(), {"--runas", owner + ":" + owner});
  }
  for (const char* forwarding : {"-t", "-u", "-T", "-U"}) out.insert(out.end(), {forwarding, "none"});
  out.insert(out.end(), {"--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra", "--no-ndp", "--no-netns-quit",
                         "--ns-ifname", kInterface});
  const Plan& addresses = plan();
  if (addresses.v4) {
    out.insert(out.end(), {"--netmask", std::to_string(kPrefix4)});
  }
  for (const auto& family : {addresses.v4, addresses.v6}) {
    if (!family) continue;
    out.insert(out.end(),
               {"--address", address_text(family->guest), "--gateway", address_text(family->gateway)});
  }
  if (!addresses.v6) out.emplace_back("--ipv4-only");
  if (!addresses.v4) out.emplace_back("--ipv6-only");
  out.insert(out.end(), {"--dns-forward", resolver_address()});
  // It writes its number there when it is ready.
  out.insert(out.end(), {"--pid", of_descriptor(kReadyFd)});
  out.insert(out.end(), {"--userns", of_descriptor(kUserFd), "--netns", of_descriptor(kNetworkFd)});
  return out;
}

[[noreturn]] void fail(const std::string& what) {
  write_fully(STDERR_FILENO, what + ": " + std::strerror(errno) + "\n");
  ::_exit(1);
}

// pasta opens the device after it has stopped being root; where that is root's alone, it gets a node of its
// own, in a mount namespace nobody else sees.
void make_tun_accessible() {
  struct stat device {};
  constexpr mode_t kEverybody = S_IROTH | S_IWOTH;
  if (::geteuid() != 0 || ::stat(kTunDevice, &device) != 0 || (device.st_mode & kEverybody) == kEverybody)
    return;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/dev/net", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=4k,mode=755") != 0 ||
      ::mknod(kTunDevice, S_IFCHR | 0600, device.st_rdev) != 0 || ::chmod(kTunDevice, 0666) != 0) {
    fail(std::string("making ") + kTunDevice + ", which is root's alone, accessible to pasta");
  }
}

// Our descriptors become the numbers 0, 1, ...; all others are closed.
void keep_descriptors(std::initializer_list<int> kept) {
  constexpr int kAboveAll = 10;
  std::vector<int> copies;
  for (const int fd : kept) copies.push_back(::fcntl(fd, F_DUPFD, kAboveAll));
  int number = 0;
  for (const int copy : copies) {
    if (copy < 0 || ::dup2(copy, number++) < 0) ::_exit(1);
  }
  ::syscall(SYS_close_range, static_cast<unsigned>(number), ~0U, 0U);
}

[[noreturn]] void become_pasta(const std::vector<std::string>& command) {
  struct sigaction defaults {};
  defaults.sa_handler = SIG_DFL;
  for (int signal = 1; signal < 65; ++signal) ::sigaction(signal, &defaults, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  make_tun_accessible();
  std::vector<char*> argv;
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  ::execve(argv[0], argv.data(), environment);
  fail("starting " + command[0]);
}

// Ends pasta when our process ends. pasta cannot be told to itself: what the kernel would send it then
// (PR_SET_PDEATHSIG) is forgotten when it enters the sandbox's user namespace.
[[noreturn]] void guard(pid_t keeper, const std::vector<std::string>& command, const Target& target,
                        int ready, int messages) {
  ::signal(SIGCHLD, SIG_DFL);  // ignored ones are not waited for
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != keeper) ::_exit(0);
  ::prctl(PR_SET_NAME, "sandkey-net");
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  keep_descriptors({null.get(), null.get(), messages, ready, target.user.get(), target.network.get()});
  const pid_t pasta = ::fork();
  if (pasta == 0) become_pasta(command);
  if (pasta < 0) fail("starting pasta");
  keep_descriptors({STDIN_FILENO});

  sigset_t awaited;
  ::sigemptyset(&awaited);
  ::sigaddset(&awaited, SIGTERM);
  ::sigaddset(&awaited, SIGCHLD);
  int status = 0;
  while (true) {
    const int signal = ::sigwaitinfo(&awaited, nullptr);
    if (signal == SIGTERM) ::kill(pasta, SIGKILL);
    if (::waitpid(pasta, &status, signal == SIGTERM ? 0 : WNOHANG) == pasta) ::_exit(1);
  }
}

// What pasta said, without its complaints that there is no system log.
std::string essence(const std::string& said) {
  std::istringstream lines(said);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("Failed to send ")) continue;
    out += (out.empty() ? "" : "; ") + line;
  }
  return out;
}

}  // namespace

std::string resolver_address() {
  require_internet_tools();
  return address_text(plan().resolver());
}

void require_internet_tools() {
  find_pasta();
  if (::access(kTunDevice, R_OK | W_OK) != 0) {
    throw Error(ErrorCode::unsupported,
                std::string("giving the sandbox a network: ") + kTunDevice + ": " + std::strerror(errno) +
                    "; the administrator can make it (modprobe tun) and give it mode 0666");
  }
  if (!has_default_route_4() && !has_default_route_6()) {
    throw Error(ErrorCode::unsupported,
                "giving the sandbox a network: this machine has no way out itself (no default route)");
  }
}

struct Internet::Impl {
  pid_t guardian = -1;
  UniqueFd handle;  // of the guardian: its number may be somebody else's once it was reaped

  ~Impl() {
    if (!handle) return;
    ::syscall(SYS_pidfd_send_signal, handle.get(), SIGTERM, nullptr, 0);
    siginfo_t info{};
    while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(handle.get()), &info, WEXITED) != 0 &&
           errno == EINTR) {
    }
  }

  // Returns the ends of the pipes: ready, messages.
  std::pair<UniqueFd, UniqueFd> start_pasta(const Target& target) {
    const std::vector<std::string> command = pasta_command(find_pasta(), target);
    Pipe ready = make_pipe("giving the sandbox a network: a pipe");
    Pipe messages = make_pipe("giving the sandbox a network: a pipe");
    // pasta opens it by name, as its new user.
    if (::fchown(ready.write.get(), target.owner, static_cast<gid_t>(-1)) != 0) {
      throw system_error("giving the sandbox a network: a pipe for pasta", errno);
    }
    const pid_t us = ::getpid();
    guardian = fork_quietly();
    if (guardian == 0) guard(us, command, target, ready.write.get(), messages.write.get());
    handle.reset(static_cast<int>(::syscall(SYS_pidfd_open, guardian, 0)));
    if (!handle) {
      const int error = errno;
      ::kill(guardian, SIGTERM);
      ::waitpid(guardian, nullptr, 0);
      throw system_error("giving the sandbox a network: watching pasta", error);
    }
    return {std::move(ready.read), std::move(messages.read)};
  }
};

namespace {

enum class Outcome : char { connected = 'c', pasta_failed = 'p', failed = 'f' };

// The part that happens inside the sandbox's namespaces, in a child; while pasta is still starting, the
// refusals are put up.
void set_up(const Target& target, int ready, int result) {
  std::string said;
  try {
    const std::string entering = "giving the sandbox a network: entering its namespaces";
    const std::vector<AddressBlock> refused = refused_blocks();
    if (::setns(target.user.get(), CLONE_NEWUSER) != 0) throw system_error(entering, errno);
    if (::setns(target.network.get(), CLONE_NEWNET) != 0) throw system_error(entering, errno);
    NamespaceSetup setup(plan());
    setup.refuse(refused);
    pollfd readable{.fd = ready, .events = POLLIN, .revents = 0};
    while (::poll(&readable, 1, -1) < 0 && errno == EINTR) {
    }
    char first = 0;
    if (::read(ready, &first, 1) == 1) {
      setup.open();
      said = static_cast<char>(Outcome::connected);
    } else {
      said = static_cast<char>(Outcome::pasta_failed);
    }
  } catch (const std::exception& error) {
    said = static_cast<char>(Outcome::failed) + std::string(error.what());
  }
  write_fully(result, said);
}

}  // namespace

Internet::Internet(pid_t init) : impl_(std::make_unique<Impl>()) {
  require_internet_tools();
  const Clock::time_point deadline = Clock::now() + kStartPatience;
  const Target target = find_target(init);
  const auto [ready, messages] = impl_->start_pasta(target);

  Pipe result = make_pipe("giving the sandbox a network: a pipe");
  const pid_t child = fork_quietly();
  if (child == 0) {
    result.read.reset();
    set_up(target, ready.get(), result.write.get());
    ::_exit(0);
  }
  result.write.reset();
  const std::string said = read_all(result.read.get(), deadline);
  ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  const auto outcome = said.empty() ? std::nullopt : std::optional(static_cast<Outcome>(said.front()));
  if (outcome == Outcome::connected) return;
  if (outcome == Outcome::failed) throw Error(ErrorCode::unsupported, said.substr(1));
  if (!outcome) {
    throw Error(
        ErrorCode::unavailable,
        "giving the sandbox a network: pasta was not ready in time; try again when the machine is less busy");
  }
  throw Error(ErrorCode::unavailable, "giving the sandbox a network: pasta did not start: " +
                                          essence(read_all(messages.get(), deadline)));
}

Internet::~Internet() = default;

pid_t Internet::pid() const noexcept {
  return impl_->guardian;
}

}  // namespace sandkey::sandbox
