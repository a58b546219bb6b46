// Each wrong input has its code, and is refused before anything is started.
#include "fixtures.h"
#include "sandkey/sandbox/keeper/diagnosis.h"
#include "sandkey/sandbox/preflight.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace sandkey::sandbox_test {
namespace {

namespace fs = std::filesystem;

class BadInput : public SandboxTest {
 protected:
  void expect_invalid(const std::function<void(Spec&)>& change, std::string_view words) {
    Spec wanted = spec();
    change(wanted);
    EXPECT_EQ(failure_of([&] { host.check(wanted); }), ErrorCode::invalid_argument) << words;
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_EQ(failure_to_create(wanted), ErrorCode::invalid_argument) << words;
    EXPECT_TRUE(nothing_left());
  }
};

TEST_F(BadInput, Ids) {
  for (const char* id : {"../x", "a/b", "a b", "-a", "a.b", "01234567890123456789012345678901234567890"}) {
    expect_invalid([&](Spec& s) { s.id = id; }, "cannot be its id");
    EXPECT_EQ(failure_of([&] { (void)describe(id); }), ErrorCode::not_found);
    EXPECT_EQ(failure_of([&] { (void)host.socket(id); }), ErrorCode::not_found);
    destroy(id);
  }
  EXPECT_EQ(failure_of([&] { (void)describe("nobody"); }), ErrorCode::not_found);
  EXPECT_EQ(failure_of([&] { engine.wait(host.pause("nobody", soon())); }), ErrorCode::not_found);
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.renew("nobody", 5s, soon())); }), ErrorCode::not_found);
}

TEST_F(BadInput, Limits) {
  expect_invalid([](Spec& s) { s.limits.processes = 15; }, "processes");
  expect_invalid([](Spec& s) { s.limits.memory_bytes = 1000; }, "memory");
  expect_invalid([](Spec& s) { s.limits.disk_bytes = 1000; }, "disk");
  expect_invalid([](Spec& s) { s.limits.disk_bytes = ~std::uint64_t{0}; }, "disk");
  expect_invalid([](Spec& s) { s.lease = 0s; }, "lease");
  expect_invalid([](Spec& s) { s.lease = std::chrono::seconds::max(); }, "lease");
}

TEST_F(BadInput, Places) {
  const std::string file = dir / "file";
  write_file(file, "x");
  expect_invalid([&](Spec& s) { s.image = dir / "missing"; }, "is not a folder");
  expect_invalid([&](Spec& s) { s.image = file; }, "is not a folder");
  expect_invalid([&](Spec& s) { s.image = dir.path(); }, "neither /bin nor /usr/bin");
  expect_invalid([&](Spec& s) { s.image = "/"; }, "must not be '/'");
  expect_invalid([&](Spec& s) { s.image = "relative"; }, "absolute");
  expect_invalid([&](Spec& s) { s.workspace = dir / "missing"; }, "is not a folder");
  expect_invalid([&](Spec& s) { s.workspace = file; }, "is not a folder");
  for (const char* place : {"/", "/etc", "/usr/bin", "/home", "/tmp", "/proc/self"}) {
    Spec wanted = spec();
    wanted.workspace = place;
    EXPECT_EQ(failure_to_create(wanted), ErrorCode::invalid_argument) << place;
  }
  expect_invalid([&](Spec& s) { s.workspace = dir.path(); }, "the folder of sandboxes itself");
  for (const char* place :
       {"relative", "/", "/x/", "/x/../y", "/usr/x", "/proc", "/dev/x", "/run/x", "//x", ""}) {
    Spec wanted = spec();
    wanted.working_dir = place;
    EXPECT_EQ(failure_to_create(wanted), ErrorCode::invalid_argument) << place;
  }
  for (const char* user : {"", "root", "nobody", "Upper", "a b", "a:b", "-a", "1a"}) {
    expect_invalid([&](Spec& s) { s.user = user; }, "the user");
  }
  expect_invalid([](Spec& s) { s.user = std::string(32, 'a'); }, "the user");
  if (::geteuid() != 0) expect_invalid([&](Spec& s) { s.workspace = "/opt/../root"; }, "");
}

TEST_F(BadInput, Texts) {
  expect_invalid([](Spec& s) { s.environment[""] = "x"; }, "name of an environment variable");
  expect_invalid([](Spec& s) { s.environment["A=B"] = "x"; }, "name of an environment variable");
  expect_invalid([](Spec& s) { s.environment["A"] = std::string("x\0y", 3); }, "NUL");
  expect_invalid([](Spec& s) { s.arguments = {std::string("x\0y", 3)}; }, "NUL");
  expect_invalid([](Spec& s) { s.environment["A"] = std::string(600 * 1024, 'x'); }, "512 KiB");
}

TEST_F(BadInput, Programs) {
  expect_invalid([&](Spec& s) { s.program = dir / "missing"; }, "is not there");
  expect_invalid([&](Spec& s) { s.program = "relative"; }, "absolute");
  const std::string garbage = dir / "garbage";
  write_file(garbage, "not a program");
  ::chmod(garbage.c_str(), 0755);
  Spec wanted = spec();
  wanted.program = garbage;
  // bubblewrap gives it to the shell.
  EXPECT_EQ(failure_to_create(wanted), ErrorCode::sandbox_dead);
  EXPECT_NE(message.find("not found"), std::string::npos) << message;
  EXPECT_TRUE(nothing_left());
}

TEST_F(BadInput, Folders) {
  const auto refuses = [&](const std::string& where) {
    const sandbox::SandboxHost other(engine, where);
    return failure_of([&] { other.check(); });
  };
  EXPECT_EQ(refuses(dir / std::string(120, 'x')), ErrorCode::invalid_argument);
  write_file(dir / "file", "");
  EXPECT_EQ(refuses(dir / "file"), ErrorCode::invalid_argument);
  fs::create_directory(dir / "open");
  ::chmod((dir / "open").c_str(), 0755);
  EXPECT_EQ(refuses(dir / "open"), ErrorCode::permission_denied);
  EXPECT_EQ(refuses("/proc/sandkey"), ErrorCode::not_found);
  if (::geteuid() != 0) {
    EXPECT_EQ(refuses("/root/sandkey"), ErrorCode::permission_denied);
    EXPECT_EQ(refuses("/etc"), ErrorCode::permission_denied);
  }
}

TEST_F(BadInput, MissingPrograms) {
  EngineOptions options;
  options.environment = [](const std::string& name) -> std::optional<std::string> {
    return name == "PATH" ? "/nonexistent:relative" : "";
  };
  Engine bare(options);
  const sandbox::SandboxHost other(bare, folder);
  EXPECT_EQ(failure_of([&] { other.check(); }), ErrorCode::unsupported);
  EXPECT_NE(message.find("install bubblewrap"), std::string::npos);
  const sandbox::SandboxHost without_keeper(engine, folder, dir / "no-keeper");
  EXPECT_EQ(failure_of([&] { without_keeper.check(); }), ErrorCode::unsupported);
}

TEST_F(BadInput, UserNamespacesSwitchedOff) {
  fs::create_directories(dir / "user");
  fs::create_directories(dir / "kernel");
  sandbox::require_user_namespaces(dir.path());
  write_file(dir / "user/max_user_namespaces", "0\n");
  EXPECT_EQ(failure_of([&] { sandbox::require_user_namespaces(dir.path()); }), ErrorCode::unsupported);
  EXPECT_NE(message.find("user.max_user_namespaces"), std::string::npos);
  write_file(dir / "user/max_user_namespaces", "100\n");
  write_file(dir / "kernel/unprivileged_userns_clone", "0\n");
  EXPECT_EQ(failure_of([&] { sandbox::require_user_namespaces(dir.path()); }), ErrorCode::unsupported);
  EXPECT_NE(message.find("kernel.unprivileged_userns_clone=1"), std::string::npos);
}

TEST_F(BadInput, PortsAndLeases) {
  const std::string id = create();
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.dial(id, 0, soon())); }), ErrorCode::invalid_argument);
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.expose(id, 0, soon())); }), ErrorCode::invalid_argument);
  EXPECT_EQ(failure_of([&] { (void)engine.wait(host.renew(id, 0s, soon())); }), ErrorCode::invalid_argument);
}

TEST_F(BadInput, ForeignBytesAtTheControlSocket) {
  const std::string id = create();
  for (const std::string& bytes : {std::string("\n"), std::string("[]\n"), std::string("{\"do\":\"fly\"}\n"),
                                   std::string(10'000, 'x'), std::string("{\"do\":1}\n")}) {
    const UniqueFd fd = connect_unix(folder + "/" + id + "/control");
    send_all(fd.get(), bytes);
    const std::string answer = receive(fd.get());
    EXPECT_TRUE(answer.empty() || answer.find("\"error\"") != std::string::npos) << answer;
  }
  EXPECT_EQ(inside(id, "echo alive").output, "alive\n");
}

TEST_F(BadInput, WhatBubblewrapSaysIsExplained) {
  const auto code = [](std::string_view said) { return sandbox::diagnose_failed_start(said, 1 << 8).code(); };
  EXPECT_EQ(code("bwrap: No permissions to create new namespace, likely because ..."),
            ErrorCode::unsupported);
  EXPECT_EQ(code("bwrap: Creating new namespace failed: No space left on device"),
            ErrorCode::capacity_unavailable);
  EXPECT_EQ(code("bwrap: Creating new namespace failed: Operation not permitted"), ErrorCode::unsupported);
  EXPECT_EQ(code("bwrap: setting up uid map: Permission denied"), ErrorCode::unsupported);
  EXPECT_EQ(code("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted"), ErrorCode::unsupported);
  EXPECT_EQ(code("bwrap: Can't mount proc on /newroot/proc: Operation not permitted"),
            ErrorCode::unsupported);
  EXPECT_EQ(code("bwrap: Can't find source path /x: No such file or directory"), ErrorCode::invalid_argument);
  EXPECT_EQ(code("bwrap: execvp /x: Exec format error"), ErrorCode::invalid_argument);
  EXPECT_EQ(code("segfault"), ErrorCode::sandbox_dead);
  EXPECT_EQ(code("No space left on device"), ErrorCode::sandbox_dead);
}

}  // namespace
}  // namespace sandkey::sandbox_test
