// How sandboxes end, and that nothing is left of them.
#include "fixtures.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>

namespace sandkey::sandbox_test {
namespace {

namespace fs = std::filesystem;

class Life : public SandboxTest {
 protected:
  // All that makes up a sandbox.
  struct Parts {
    std::string id;
    pid_t init;
    pid_t bubblewrap;
    pid_t keeper;
  };
  Parts parts_of(const std::string& id) {
    const pid_t init = static_cast<pid_t>(describe(id).init_pid);
    const pid_t keeper = keeper_of(init);
    return {id, init, children_of(keeper).at(0), keeper};
  }
  void expect_gone(const Parts& parts) {
    EXPECT_TRUE(eventually([&] { return !is_alive(parts.init); })) << "process 1";
    EXPECT_TRUE(eventually([&] { return !is_alive(parts.bubblewrap); })) << "bubblewrap";
    EXPECT_TRUE(eventually([&] { return !is_alive(parts.keeper); })) << "keeper";
    EXPECT_TRUE(eventually([&] { return !fs::exists(folder + "/" + parts.id); })) << "folder";
    EXPECT_TRUE(eventually([&] { return groups_of(parts.id).empty(); })) << "control group";
  }
  [[nodiscard]] static std::size_t open_files() {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
  }
};

TEST_F(Life, DestroyLeavesNothing) {
  const std::string id = create();
  EXPECT_EQ(inside(id,
                   "exec 3>&1 >/dev/null 2>&1; for i in 1 2; do sleep 1000 3>&- & done; setsid sleep 1000 "
                   "3>&- & echo started >&3")
                .output,
            "started\n");
  const Parts parts = parts_of(id);
  destroy(id);
  EXPECT_FALSE(is_alive(parts.init));
  EXPECT_FALSE(is_alive(parts.bubblewrap));
  EXPECT_FALSE(fs::exists(folder + "/" + id));
  EXPECT_TRUE(groups_of(id).empty());
  expect_gone(parts);
  destroy(id);
  EXPECT_EQ(failure_of([&] { (void)describe(id); }), ErrorCode::not_found);
}

TEST_F(Life, EndsWithItsHost) {
  std::optional<sandbox::SandboxHost> other(std::in_place, engine, folder);
  const std::string bound = engine.wait(other->create(spec(), soon()));
  Spec wanted = spec();
  wanted.bound_to_client = false;
  const std::string kept = engine.wait(other->create(wanted, soon()));
  const Parts parts = parts_of(bound);
  other.reset();
  expect_gone(parts);
  EXPECT_EQ(inside(kept, "echo alive").output, "alive\n");
  destroy(kept);
}

TEST_F(Life, EndsWhenItsClientIsKilled) {
  Client client(folder, {});
  const Parts parts = parts_of(client.id());
  client.kill();
  expect_gone(parts);
}

TEST_F(Life, KeptOutlivesItsClient) {
  Client client(folder, {"--kept"});
  const std::string id = client.id();
  const Parts parts = parts_of(id);
  client.kill();
  EXPECT_EQ(inside(id, "echo alive").output, "alive\n");
  destroy(id);
  expect_gone(parts);
}

TEST_F(Life, OutlivesTheThreadThatMadeIt) {
  std::string id;
  std::thread([&] {
    Engine own;
    id = own.wait(host.create(spec(), own.in(20s)));
  }).join();
  EXPECT_EQ(inside(id, "echo alive").output, "alive\n");
}

TEST_F(Life, EndsWhenItsKeeperIsKilled) {
  const Parts parts = parts_of(create());
  ::kill(parts.keeper, SIGKILL);
  EXPECT_TRUE(eventually([&] { return !is_alive(parts.init) && !is_alive(parts.bubblewrap); }));
  EXPECT_TRUE(engine.wait(host.list(soon())).empty());
  expect_gone(parts);
}

TEST_F(Life, EndsWhenItsKeeperIsKilledWhilePaused) {
  const Parts parts = parts_of(create());
  engine.wait(host.pause(parts.id, soon()));
  ::kill(parts.keeper, SIGKILL);
  EXPECT_TRUE(eventually([&] { return !is_alive(parts.keeper); }));
  EXPECT_TRUE(engine.wait(host.list(soon())).empty());
  expect_gone(parts);
}

TEST_F(Life, EndsWhenBubblewrapIsKilled) {
  const Parts parts = parts_of(create());
  ::kill(parts.bubblewrap, SIGKILL);
  expect_gone(parts);
}

TEST_F(Life, EndsWhenItsFirstProcessIsKilled) {
  const Parts parts = parts_of(create());
  ::kill(parts.init, SIGKILL);
  expect_gone(parts);
}

TEST_F(Life, EndsWhenItsKeeperIsAskedTo) {
  const Parts parts = parts_of(create());
  ::kill(parts.keeper, SIGTERM);
  expect_gone(parts);
}

TEST_F(Life, EndsWithItsLease) {
  Spec wanted = spec();
  wanted.bound_to_client = false;
  wanted.lease = 1s;
  const auto before = std::chrono::steady_clock::now();
  const Parts parts = parts_of(create(wanted));
  ASSERT_TRUE(describe(parts.id).lease_end);
  expect_gone(parts);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 1s);
}

TEST_F(Life, ALeaseCanBeRenewedAndEndsThePausedToo) {
  Spec wanted = spec();
  wanted.lease = 1s;
  const Parts renewed = parts_of(create(wanted));
  const Parts paused = parts_of(create(wanted));
  const auto end = engine.wait(host.renew(renewed.id, 60s, soon()));
  EXPECT_GT(end, std::chrono::system_clock::now() + 50s);
  engine.wait(host.pause(paused.id, soon()));
  expect_gone(paused);
  EXPECT_EQ(inside(renewed.id, "echo alive").output, "alive\n");
  engine.wait(host.renew(renewed.id, 1s, soon()));
  expect_gone(renewed);
}

TEST_F(Life, PausedMakesNoProgress) {
  const std::string id = create();
  EXPECT_EQ(inside(id,
                   "(while :; do echo >> /tmp/count; done) >/dev/null 2>&1 & "
                   "while [ ! -s /tmp/count ]; do sleep 0.01; done; echo on")
                .output,
            "on\n");
  const std::string count = "/proc/" + std::to_string(describe(id).init_pid) + "/root/tmp/count";
  if (::access(count.c_str(), R_OK) != 0) GTEST_SKIP() << "its files cannot be read from outside";
  const auto progresses = [&](auto time) {
    const auto before = fs::file_size(count);
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) {
      if (fs::file_size(count) != before) return true;
    }
    return false;
  };
  EXPECT_TRUE(progresses(10s));
  engine.wait(host.pause(id, soon()));
  engine.wait(host.pause(id, soon()));
  EXPECT_TRUE(describe(id).paused);
  EXPECT_FALSE(progresses(200ms));
  engine.wait(host.resume(id, soon()));
  engine.wait(host.resume(id, soon()));
  EXPECT_FALSE(describe(id).paused);
  EXPECT_TRUE(progresses(10s));
  engine.wait(host.pause(id, soon()));
  destroy(id);
  EXPECT_TRUE(nothing_left());
}

TEST_F(Life, AFailedStartTellsWhyAndLeavesNothing) {
  Spec wanted = spec();
  wanted.arguments = {"--fail", "cannot do this"};
  EXPECT_EQ(failure_to_create(wanted), ErrorCode::sandbox_dead);
  EXPECT_NE(message.find("exit code 3"), std::string::npos) << message;
  EXPECT_NE(message.find("cannot do this"), std::string::npos) << message;
  EXPECT_TRUE(nothing_left());
}

TEST_F(Life, ADeadlineLeavesNothing) {
  Spec wanted = spec();
  wanted.arguments = {"--never-ready"};
  wanted.bound_to_client = false;
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.create(wanted, engine.in(300ms))); }),
            ErrorCode::deadline_exceeded);
  EXPECT_TRUE(nothing_left());
}

TEST_F(Life, CancellingLeavesNothing) {
  Spec wanted = spec();
  wanted.arguments = {"--never-ready"};
  wanted.id = "cancelled";
  std::stop_source stop;
  std::thread canceller([&] {
    (void)eventually([&] { return fs::exists(folder + "/cancelled"); });
    stop.request_stop();
  });
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.create(wanted, soon()), stop.get_token()); }),
            ErrorCode::cancelled);
  canceller.join();
  EXPECT_TRUE(nothing_left());
}

TEST_F(Life, OfTwoOfOneIdTheSecondIsRefused) {
  Spec wanted = spec();
  wanted.id = "twice";
  create(wanted);
  EXPECT_EQ(failure_to_create(wanted), ErrorCode::conflict);
  EXPECT_EQ(inside("twice", "echo alive").output, "alive\n");
  destroy("twice");
  EXPECT_EQ(create(wanted), "twice");
}

TEST_F(Life, ListTellsAboutEach) {
  EXPECT_TRUE(engine.wait(host.list(soon())).empty());
  Spec wanted = spec();
  wanted.id = "b";
  wanted.labels = {{"sid", "mine"}, {"x", "\"y\"\n"}};
  create(wanted);
  wanted = spec();
  wanted.id = "a";
  wanted.lease = 100s;
  wanted.bound_to_client = false;
  create(wanted);
  // Of a machine that lost its power.
  fs::create_directory(folder + "/stale");
  {
    const UniqueFd ended(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = folder + "/stale/control";
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(ended.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  const std::vector<Status> all = engine.wait(host.list(soon()));
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].id, "a");
  EXPECT_TRUE(all[0].lease_end);
  EXPECT_FALSE(all[0].bound_to_client);
  EXPECT_EQ(all[1].id, "b");
  EXPECT_EQ(all[1].labels.at("x"), "\"y\"\n");
  EXPECT_FALSE(all[1].lease_end);
  EXPECT_TRUE(is_alive(static_cast<pid_t>(all[1].init_pid)));
  EXPECT_FALSE(fs::exists(folder + "/stale"));
  destroy("a");
}

TEST_F(Life, TheClientKeepsNoDescriptors) {
  create();
  const std::size_t before = open_files();
  for (int i = 0; i < 5; ++i) destroy(create());
  for (int i = 0; i < 5; ++i) {
    const Parts parts = parts_of(create());
    ::kill(parts.init, SIGKILL);
    expect_gone(parts);
  }
  destroy(create());
  EXPECT_LE(open_files(), before + 1);
}

TEST_F(Life, ManyAtOnce) {
  constexpr int kMany = 50;
  std::vector<std::string> ids;
  for (int i = 0; i < kMany; ++i) ids.push_back(create());
  EXPECT_EQ(engine.wait(host.list(soon())).size(), static_cast<std::size_t>(kMany));
  for (const std::string& id : ids) EXPECT_EQ(inside(id, "hostname").output, id + "\n");
  for (const std::string& id : ids) destroy(id);
  EXPECT_TRUE(nothing_left());
}

TEST_F(Life, ClientsThatIgnoreTheirChildrenCanCreate) {
  struct sigaction before {};
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &ignore, &before);
  const std::string id = create();
  ::sigaction(SIGCHLD, &before, nullptr);
  EXPECT_EQ(inside(id, "echo alive").output, "alive\n");
}

TEST_F(Life, DialReachesAServerInside) {
  const std::string id = create();
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.dial(id, 8000, soon())); }), ErrorCode::unavailable);
  EXPECT_NE(message.find("nothing listens on port 8000"), std::string::npos) << message;
  if (!fs::exists("/usr/bin/python3")) GTEST_SKIP() << "no python3 for a server";
  write_file(dir / "x", "");
  const std::string echo =
      "import socket,sys\n"
      "s=socket.create_server((sys.argv[1],int(sys.argv[2])),family=socket.AF_INET6 if \":\" in sys.argv[1] "
      "else "
      "socket.AF_INET)\n"
      "print(\"up\",flush=True)\n"
      "import threading\n"
      "def serve(c):\n"
      "  d=b\"\"\n"
      "  while True:\n"
      "    p=c.recv(65536)\n"
      "    if not p: break\n"
      "    d+=p\n"
      "  c.sendall(d[::-1]); c.close()\n"
      "while True:\n"
      "  threading.Thread(target=serve,args=(s.accept()[0],)).start()\n";
  const std::string start =
      "cat > /tmp/echo.py <<'EOF'\n" + echo +
      "EOF\nfor a in '127.0.0.1 8000' '::1 8001'; do python3 /tmp/echo.py $a > /tmp/up 2>&1 & "
      "while ! grep -qs up /tmp/up; do sleep 0.01; done; rm /tmp/up; done; echo ready";
  EXPECT_EQ(inside(id, start).output, "ready\n");
  std::string sent(3'000'000, 'a');
  for (std::size_t i = 0; i < sent.size(); i += 7) sent[i] = static_cast<char>('b' + i % 20);
  const std::string expected(sent.rbegin(), sent.rend());
  const auto exchange = [&](const UniqueFd& fd) {
    std::thread sender([&] {
      send_all(fd.get(), sent);
      ::shutdown(fd.get(), SHUT_WR);
    });
    const std::string got = receive(fd.get());
    sender.join();
    return got == expected;
  };
  for (const std::uint16_t port : {std::uint16_t{8000}, std::uint16_t{8001}}) {
    EXPECT_TRUE(exchange(engine.wait(host.dial(id, port, soon())))) << port;
  }
  const std::uint16_t outside = engine.wait(host.expose(id, 8000, soon()));
  EXPECT_EQ(engine.wait(host.expose(id, 8000, soon())), outside);
  std::vector<std::future<bool>> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(std::async(std::launch::async, [&] { return exchange(connect_tcp(outside)); }));
  }
  for (auto& each : all) EXPECT_TRUE(each.get());
  // Nobody there: closed at once.
  const std::uint16_t empty = engine.wait(host.expose(id, 9, soon()));
  EXPECT_EQ(receive(connect_tcp(empty).get()), "");
  destroy(id);
  EXPECT_THROW((void)connect_tcp(outside), std::runtime_error);
}

TEST_F(Life, DestroyAsksABusyKeeperAgainWithPauses) {
  // A keeper with too many callers closes the connection without a word.
  fs::create_directories(folder + "/busy");
  asio::io_context io;
  asio::local::stream_protocol::acceptor acceptor(io, folder + "/busy/control");
  int asked = 0;
  std::function<void()> accept = [&] {
    acceptor.async_accept([&](const boost::system::error_code& error, const auto& socket) {
      if (error) return;
      ++asked;
      (void)socket;
      accept();
    });
  };
  accept();
  std::thread keeper([&] { io.run(); });
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(failure_of([&] { engine.wait(host.destroy("busy", engine.in(200ms))); }).has_value());
  const auto took = std::chrono::steady_clock::now() - began;
  io.stop();
  keeper.join();
  EXPECT_GT(asked, 1);
  EXPECT_LE(asked, took / 5ms + 1);
  fs::remove_all(folder + "/busy");
}

TEST_F(Life, ManyHangingDialsKeepNobodyOut) {
  if (!fs::exists("/usr/bin/python3")) GTEST_SKIP() << "no python3 for a server";
  const std::string id = create();
  // A server that never accepts: connecting to it hangs when its short queue is full.
  const std::string start =
      "python3 -c 'import socket,time; s=socket.socket(); s.bind((\"127.0.0.1\",8000)); s.listen(0); "
      "print(\"up\",flush=True); time.sleep(1000)' > /tmp/up 2>&1 & "
      "while ! grep -qs up /tmp/up; do sleep 0.01; done; echo ready";
  EXPECT_EQ(inside(id, start).output, "ready\n");
  std::vector<UniqueFd> dials;
  for (int i = 0; i < 50; ++i) {
    dials.push_back(connect_unix(folder + "/" + id + "/control"));
    send_all(dials.back().get(), "{\"do\":\"dial\",\"port\":8000}\n");
  }
  // One that comes after as many as may hang is told so; the others wait.
  EXPECT_NE(receive(dials.back().get()).find("being made already"), std::string::npos);
  for (int i = 0; i < 50; ++i) {
    dials.push_back(connect_unix(folder + "/" + id + "/control"));
    send_all(dials.back().get(), "{\"do\":\"dial\",\"port\":8000}\n");
  }
  EXPECT_NE(receive(dials.back().get()).find("being made already"), std::string::npos);
  EXPECT_EQ(describe(id).id, id);
  destroy(id);
  EXPECT_TRUE(nothing_left());
}

}  // namespace
}  // namespace sandkey::sandbox_test
