// What a sandboxed process cannot do.
#include "fixtures.h"
#include "sandkey/sandbox/keeper/identity.h"
#include "sandkey/sandbox/keeper/mounts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace sandkey::sandbox_test {
namespace {

namespace fs = std::filesystem;

class Isolation : public SandboxTest {};

TEST_F(Isolation, SeesItsOwnProcessesOnly) {
  const std::string id = create();
  const Said seen =
      inside(id, "for p in /proc/[0-9]*; do echo ${p#/proc/}; done | wc -l; cat /proc/1/cmdline");
  EXPECT_EQ(seen.code, 0);
  EXPECT_LT(std::stoi(seen.output), 12) << seen.output;
  EXPECT_NE(seen.output.find("/run/sandkey/"), std::string::npos) << seen.output;
}

TEST_F(Isolation, SignalsNobodyOutside) {
  const std::string id = create();
  const std::string us = std::to_string(::getpid());
  const Said tried = inside(id, "kill -0 " + us + " 2>&1 || echo refused; kill -9 -1; true");
  EXPECT_NE(tried.output.find("refused"), std::string::npos);
  EXPECT_EQ(::kill(::getpid(), 0), 0);
}

TEST_F(Isolation, ReadsNothingOfTheCaller) {
  TempDir home;
  write_file(home / "secret", "mine");
  ::chmod(home.path().c_str(), 0755);
  const std::string id = create();
  const Said tried = inside(id, "cat " + (home / "secret") +
                                    " /etc/shadow /root/.bashrc; ls -d /root /sys /var/lib "
                                    "/mnt /opt " +
                                    dir.path() + " /work; ls -A /home");
  EXPECT_EQ(tried.output.find("mine"), std::string::npos);
  EXPECT_EQ(tried.output.find("root:"), std::string::npos);
  for (const char* hidden : {"/root\n", "/sys\n", "/var/lib\n", "/mnt\n", "/work\n"}) {
    EXPECT_EQ(("\n" + tried.output).find(std::string("\n") + hidden), std::string::npos) << tried.output;
  }
  EXPECT_TRUE(tried.output.ends_with("sandkey\n")) << tried.output;
}

TEST_F(Isolation, CallsItsUserAsItIsToldTo) {
  Spec wanted = spec();
  wanted.user = std::string(31, 'a');
  wanted.working_dir = "/home/" + wanted.user;
  const std::string id = create(wanted);
  const Said seen = inside(id, "id -un; echo $HOME $USER; cd ~ && touch file && ls; ls /home");
  EXPECT_EQ(seen.output,
            wanted.user + "\n/home/" + wanted.user + " " + wanted.user + "\nfile\n" + wanted.user + "\n");
}

TEST_F(Isolation, ShowsItsProgramOnThePathBesideAllThatIsThere) {
  Spec wanted = spec();
  wanted.program_on_path = true;
  const std::string name = wanted.program.filename().string();
  const std::string id = create(wanted);
  const Said seen = inside(id, "cmp /usr/local/bin/" + name + " /run/sandkey/" + name +
                                   " && echo same; touch /usr/local/bin/x 2>/dev/null || echo refused; "
                                   "ls -A /usr/local/bin | wc -l");
  std::size_t others = 0;
  for (const auto& each : fs::directory_iterator("/usr/local/bin")) others += each.path().filename() != name;
  EXPECT_EQ(seen.output, "same\nrefused\n" + std::to_string(others + 1) + "\n");
}

// A system in a few files; false if there is nothing to make it of.
bool make_image(const TempDir& image) {
  const fs::path busybox = "/usr/bin/busybox";
  if (!fs::exists(busybox)) return false;
  for (const char* name : {"etc", "opt", "var", "usr/bin", "usr/lib", "usr/lib64"}) {
    fs::create_directories(image / name);
  }
  fs::create_directory_symlink("usr/bin", image / "bin");
  fs::create_directory_symlink("usr/lib", image / "lib");
  fs::create_directory_symlink("usr/lib64", image / "lib64");
  fs::copy_file(busybox, image / "usr/bin/busybox");
  for (const char* tool : {"sh", "cat", "ls", "id", "touch", "hostname"}) {
    fs::create_symlink("busybox", image / ("usr/bin/" + std::string(tool)));
  }
  return true;
}

TEST_F(Isolation, FilesOfRootStayClosedInAnImage) {
  TempDir image;
  ::chmod(image.path().c_str(), 0700);
  if (!make_image(image)) GTEST_SKIP() << "no busybox to make an image of";
  write_file(image / "etc/os-release", "ID=test\n");
  write_file(image / "opt/secret", "for root only\n");
  ::chmod((image / "opt/secret").c_str(), 0600);
  Spec wanted = spec();
  wanted.image = image.path();
  const std::string id = create(wanted);
  EXPECT_EQ(describe(id).image, image.path());
  const Said seen =
      inside(id, "cat /etc/os-release; cat /opt/secret; id -un; touch /usr/x /etc/x /opt/x; ls /usr/bin");
  EXPECT_NE(seen.output.find("ID=test"), std::string::npos) << seen.output;
  if (::geteuid() == 0) {
    EXPECT_EQ(seen.output.find("for root only"), std::string::npos) << seen.output;
  }
  EXPECT_NE(seen.output.find("sandkey"), std::string::npos) << seen.output;
  EXPECT_FALSE(fs::exists(image / "usr/x"));
  EXPECT_FALSE(fs::exists(image / "etc/x"));
  EXPECT_FALSE(fs::exists(image / "opt/x"));
}

TEST_F(Isolation, NoLinkOfAnImageLeadsOutside) {
  const TempDir image;
  if (!make_image(image)) GTEST_SKIP() << "no busybox to make an image of";
  const TempDir victim;
  ::chmod(victim.path().c_str(), 0777);
  struct Hostile {
    const char* link;
    const char* working_dir;
  };
  const std::vector<Hostile> all{
      {"etc", "/workspace"},   {"var", "/workspace"},     {"data", "/data/x"},    {"deep/er", "/deep/er/x"},
      {"deep/er", "/deep/er"}, {"var/www", "/var/www/x"}, {"var/www", "/var/www"}};
  fs::create_directory(image / "deep");
  for (const std::string& target :
       {"/oldroot" + victim.path(), "../oldroot" + victim.path(), "../../../../oldroot" + victim.path(),
        "../../.." + victim.path(), victim.path()}) {
    for (const Hostile& hostile : all) {
      const std::string link = image / hostile.link;
      fs::remove(link);
      fs::create_directory_symlink(target, link);
      Spec wanted = spec();
      wanted.image = image.path();
      wanted.working_dir = hostile.working_dir;
      EXPECT_EQ(failure_to_create(wanted), ErrorCode::invalid_argument) << link << " -> " << target;
      EXPECT_NE(message.find("/" + std::string(hostile.link) + " is a symbolic link"), std::string::npos)
          << message;
      EXPECT_TRUE(fs::is_empty(victim.path())) << link << " -> " << target;
      fs::remove(link);
      if (link.ends_with("etc") || link.ends_with("var")) fs::create_directory(link);
    }
  }
  EXPECT_TRUE(nothing_left());
}

TEST_F(Isolation, OtherLinksOfAnImageDoNotMatter) {
  const TempDir image;
  if (!make_image(image)) GTEST_SKIP() << "no busybox to make an image of";
  const TempDir victim;
  ::chmod(victim.path().c_str(), 0777);
  for (const char* name : {"opt", "workspace", "home", "run", "tmp", "dev", "proc", "var/run", "var/tmp",
                           "var/other", "etc/passwd", "etc/other"}) {
    fs::remove(image / name);
    fs::create_directory_symlink("/oldroot" + victim.path(), image / name);
  }
  fs::create_directories(image / "srv/here");
  for (const char* place : {"/workspace", "/var/run/x", "/var/new", "/srv/here", "/home/x", "/new/x"}) {
    Spec wanted = spec();
    wanted.image = image.path();
    wanted.working_dir = place;
    EXPECT_EQ(inside(create(wanted), "pwd; touch file && ls").output, std::string(place) + "\nfile\n");
  }
  EXPECT_TRUE(fs::is_empty(victim.path()));
  write_file(image / "plain", "");
  Spec wanted = spec();
  wanted.image = image.path();
  wanted.working_dir = "/plain/x";
  EXPECT_EQ(failure_to_create(wanted), ErrorCode::invalid_argument);
  EXPECT_NE(message.find("/plain is not a folder"), std::string::npos) << message;
}

TEST_F(Isolation, TheWorkspaceIsTheFolderThatWasLookedAt) {
  const sandbox::Identity identity = sandbox::Identity::choose();
  if (!identity.differs_from_ours || !sandbox::may_mount())
    GTEST_SKIP() << "bubblewrap mounts it by its path";
  const std::string work = dir / "work";
  const std::string other = dir / "other";
  fs::create_directory(work);
  fs::create_directory(other);
  sandbox::Mounts mounts(identity);
  const std::string inside_path = mounts.writable_source(work);
  fs::rename(work, dir / "moved");
  fs::create_directory_symlink(other, work);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (mounts.lay_out() != 0) ::_exit(1);
    if (sandbox::become(identity) != 0) ::_exit(2);
    ::_exit(::creat((inside_path + "/file").c_str(), 0600) < 0 ? 3 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(dir / "moved/file"));
  EXPECT_TRUE(fs::is_empty(other));
  EXPECT_EQ(failure_of([&] { (void)mounts.writable_source(work); }), ErrorCode::invalid_argument);
  EXPECT_EQ(failure_of([&] { (void)mounts.writable_source(work + "/.."); }), ErrorCode::invalid_argument);
}

TEST_F(Isolation, WritesItsOwnPlacesOnly) {
  const std::string id = create();
  const Said own =
      inside(id,
             "for d in /workspace /tmp /home/sandkey /var/tmp /dev/shm; do echo x > $d/file || exit 1; "
             "done; pwd; echo $HOME; id -u; id -un; hostname");
  EXPECT_EQ(own.output, "/workspace\n/home/sandkey\n1000\nsandkey\n" + id + "\n");
  EXPECT_EQ(own.code, 0);
  for (const char* place :
       {"/", "/usr", "/etc", "/bin", "/run", "/run/sandkey", "/var", "/dev", "/proc", "/proc/sys/kernel"}) {
    const Said tried = inside(id, "touch " + std::string(place) + "/file 2>&1");
    EXPECT_NE(tried.code, 0) << place;
  }
  EXPECT_NE(inside(id, "mount -o remount,rw / 2>&1 || mount -t tmpfs x /etc 2>&1").code, 0);
  EXPECT_NE(inside(id, "echo x >> /run/sandkey/sandbox_test_init").code, 0);
}

TEST_F(Isolation, HasNoWayToMoreRights) {
  const std::string id = create();
  EXPECT_NE(inside(id, "unshare -U true").code, 0);
  EXPECT_NE(inside(id, "unshare -Ur true").code, 0);
  EXPECT_NE(inside(id, "unshare -n true").code, 0);
  EXPECT_EQ(
      inside(id,
             "grep -E '^(CapEff|CapPrm|CapBnd|CapInh|CapAmb)' /proc/self/status | grep -v 0000000000000000")
          .output,
      "");
  EXPECT_EQ(inside(id, "grep NoNewPrivs /proc/self/status").output, "NoNewPrivs:\t1\n");
  EXPECT_EQ(inside(id, "grep ^Seccomp: /proc/self/status").output, "Seccomp:\t2\n");
}

TEST_F(Isolation, InheritsNothing) {
  ::setenv("SANDKEY_TEST_SECRET", "s3cret", 1);
  const UniqueFd open_file(::dup(2));  // without close-on-exec
  Spec wanted = spec();
  wanted.environment = {{"GIVEN", "yes"}, {"LANG", "C"}};
  const std::string id = create(wanted);
  const Said seen = inside(id, "env; ls /proc/1/fd | tr '\\n' ' '");
  EXPECT_EQ(seen.output.find("s3cret"), std::string::npos);
  EXPECT_NE(seen.output.find("GIVEN=yes\n"), std::string::npos);
  EXPECT_NE(seen.output.find("LANG=C\n"), std::string::npos);
  EXPECT_NE(seen.output.find("0 1 2 3"), std::string::npos) << seen.output;
  // Beyond those and the one connection that its process 1 is just serving, nothing.
  EXPECT_EQ(seen.output.find("0 1 2 3 4 5"), std::string::npos) << seen.output;
  ::unsetenv("SANDKEY_TEST_SECRET");
}

TEST_F(Isolation, ReachesNothingOfTheHostsNetwork) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string port = std::to_string(ntohs(address.sin_port));
  const std::string id = create();
  for (const std::string& target :
       {"127.0.0.1/" + port, std::string("169.254.169.254/80"), std::string("10.0.0.1/80"),
        std::string("192.168.1.1/80"), std::string("1.1.1.1/53")}) {
    EXPECT_NE(inside(id, "timeout 2 bash -c '</dev/tcp/" + target + "' 2>&1").code, 0) << target;
  }
  EXPECT_EQ(inside(id, "cat /etc/resolv.conf").output, "");
  // Nor its abstract Unix sockets.
  EXPECT_EQ(inside(id, "grep -c @ /proc/net/unix").output, "0\n");
}

TEST_F(Isolation, DiskFullIsItsOwnTrouble) {
  const std::string id = create();
  for (const char* place : {"/workspace", "/tmp", "/home/sandkey", "/dev/shm"}) {
    const Said filled =
        inside(id, "dd if=/dev/zero of=" + std::string(place) + "/big bs=1M count=64 2>&1; ls -s " +
                       std::string(place) + "/big | cut -d' ' -f1");
    EXPECT_NE(filled.output.find("No space left on device"), std::string::npos) << filled.output;
  }
  EXPECT_EQ(inside(id, "echo still here").output, "still here\n");
  const std::string other = create();
  EXPECT_EQ(inside(other, "echo x > /workspace/x && echo fine").output, "fine\n");
}

TEST_F(Isolation, AForkBombMeetsItsLimit) {
  Spec wanted = spec();
  wanted.limits.processes = 50;
  const std::string id = create(wanted);
  // Forks until it cannot, and says how far it came.
  const Said bomb = inside(
      id, "n=0; while [ $n -lt 200 ]; do sleep 100 >/dev/null 2>&1 & n=$((n+1)); done 2>/dev/null; echo $n");
  EXPECT_NE(bomb.code, 0) << bomb.output;
  const std::string other = create();
  EXPECT_EQ(
      inside(other, "n=0; while [ $n -lt 200 ]; do sleep 100 >/dev/null 2>&1 & n=$((n+1)); done; echo $n")
          .output,
      "200\n");
}

TEST_F(Isolation, AMemoryHogMeetsItsLimit) {
  Spec wanted = spec();
  wanted.limits.memory_bytes = std::uint64_t{64} << 20;
  const std::string id = create(wanted);
  const std::vector<std::string> not_enforced = describe(id).not_enforced;
  for (const std::string& each : not_enforced) {
    if (each.starts_with("memory")) GTEST_SKIP() << each;
  }
  const Said hog = inside(id, "head -c 300000000 /dev/zero | tail -c 290000000 | wc -c");
  EXPECT_EQ(hog.output.find("290000000"), std::string::npos) << hog.output;
  const std::string other = create();
  EXPECT_EQ(inside(other, "echo fine").output, "fine\n");
}

TEST_F(Isolation, AWorkspaceBelongsToItsOwner) {
  const std::string work = dir / "work";
  std::filesystem::create_directory(work);
  write_file(work + "/given", "from outside");
  ::chmod((work + "/given").c_str(), 0600);
  Spec wanted = spec();
  wanted.workspace = work;
  const std::string id = create(wanted);
  const Said used = inside(id, "cat given && echo inside > made && mkdir d && stat -c %u:%g given made");
  EXPECT_EQ(used.output, "from outside1000:1000\n1000:1000\n");
  EXPECT_EQ(read_file(work + "/made"), "inside\n");
  struct stat folder_info {};
  struct stat made_info {};
  ASSERT_EQ(::stat(work.c_str(), &folder_info), 0);
  ASSERT_EQ(::stat((work + "/made").c_str(), &made_info), 0);
  EXPECT_EQ(made_info.st_uid, folder_info.st_uid);
  EXPECT_EQ(made_info.st_gid, folder_info.st_gid);
  // A link out of it leads nowhere.
  ASSERT_EQ(::symlink("/etc/shadow", (work + "/link").c_str()), 0);
  EXPECT_NE(inside(id, "cat link").code, 0);
  destroy(id);
  EXPECT_EQ(read_file(work + "/made"), "inside\n");
}

// In a workspace folder it would run as the folder's owner, outside.
TEST_F(Isolation, MakesNoProgramsThatRunAsTheirOwner) {
  const std::string work = dir / "work";
  std::filesystem::create_directory(work);
  Spec wanted = spec();
  wanted.workspace = work;
  const std::string id = create(wanted);
  EXPECT_EQ(inside(id, "cp /bin/sh s && chmod 755 s && chmod 1755 s && ./s -c 'echo runs'").output, "runs\n");
  EXPECT_NE(inside(id, "chmod u+s s").code, 0);
  EXPECT_NE(inside(id, "chmod g+s s").code, 0);
  EXPECT_NE(inside(id, "chmod 6755 .").code, 0);
  if (std::filesystem::exists("/usr/bin/python3")) {
    EXPECT_NE(inside(id, "python3 -c 'import os; os.open(\"t\", os.O_CREAT | os.O_WRONLY, 0o4755)'").code, 0);
    EXPECT_EQ(inside(id, "python3 -c 'import os; os.open(\"t\", os.O_CREAT | os.O_WRONLY, 0o755)'").code, 0);
  }
  struct stat info {};
  ASSERT_EQ(::stat((work + "/s").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & (S_ISUID | S_ISGID), 0U);
}

TEST_F(Isolation, TheInternetHasNothingPrivate) {
  Spec wanted = spec();
  wanted.network = true;
  const auto refused = failure_of([&] { host.check(wanted); });
  if (refused == ErrorCode::unsupported) GTEST_SKIP() << message;
  const std::string id = create(wanted);
  for (const char* target :
       {"127.0.0.1/22", "169.254.169.254/80", "10.0.0.1/80", "172.16.0.1/80", "192.168.0.1/80"}) {
    EXPECT_NE(inside(id, "timeout 2 bash -c '</dev/tcp/" + std::string(target) + "' 2>&1").code, 0) << target;
  }
  EXPECT_NE(inside(id, "cat /etc/resolv.conf").output.find("nameserver "), std::string::npos);
  destroy(id);
  EXPECT_TRUE(nothing_left());
}

}  // namespace
}  // namespace sandkey::sandbox_test
