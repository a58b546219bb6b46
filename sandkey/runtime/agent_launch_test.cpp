#include "sandkey/runtime/agent_launch.h"

#include "sandkey/base/error.h"
#include "sandkey/base/own_program.h"
#include "tests/runtime/fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using runtime_test::mode_of;
using runtime_test::Process;
using runtime_test::read_file;
using runtime_test::Spawn;
using runtime_test::TempDir;
using runtime_test::write_file;
using testing::HasSubstr;
using testing::StartsWith;

// The script by a shell of this machine, with a home of its own. What it starts is ended with the test.
class AgentLaunchScript : public testing::Test {
 protected:
  ~AgentLaunchScript() override { stop_agent(); }

  void stop_agent() {
    const std::string pid = read_file(home_ / ".sandkey/pid");
    if (!pid.empty()) ::kill(std::stoi(pid), SIGKILL);
  }

  std::string run(AgentLaunch launch, const std::string& shell = "/bin/sh",
                  const std::string& output = "output") {
    Spawn spawn;
    spawn.argv = {shell, "-c", launch.script};
    spawn.environment = runtime_test::plain_environment(home_.path());
    for (const auto& [name, value] : launch.environment) spawn.environment[name] = value;
    const std::string file = home_ / output;
    write_file(file, "");
    const UniqueFd out(::open(file.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    spawn.out = out.get();
    spawn.err = out.get();
    Process process(spawn);
    EXPECT_EQ(process.wait(), 0);
    return read_file(file);
  }
  // As a cloud's file transfer leaves it: readable, not executable.
  void upload(std::size_t bytes_missing = 0) {
    fs::create_directories(home_ / ".sandkey");
    const std::string part = home_ / launch().upload_path;
    fs::copy_file(SANDKEY_AGENT, part, fs::copy_options::overwrite_existing);
    fs::resize_file(part, program_->size - bytes_missing);
    ::chmod(part.c_str(), 0644);
  }
  static std::string usual_umask() {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    char text[8];
    std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mask));
    return text;
  }
  // Free when it was asked for; what the machine gives out anew is another one.
  static std::uint16_t free_port() {
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    void* const generic = &address;
    if (::bind(socket.get(), static_cast<sockaddr*>(generic), size) != 0 ||
        ::getsockname(socket.get(), static_cast<sockaddr*>(generic), &size) != 0) {
      throw std::runtime_error("no port");
    }
    return ntohs(address.sin_port);
  }
  [[nodiscard]] AgentLaunch launch(const std::string& key = "0123456789abcdef") {
    AgentLaunch launch = agent_launch(*program_, Secret(key), home_ / "work", 7);
    launch.environment["SANDKEY_PORT"] = "0";  // any, since this machine is no sandbox
    return launch;
  }

  TempDir home_;
  Engine engine_;
  std::shared_ptr<const AgentProgram> program_ = agent_program(engine_);
};

TEST_F(AgentLaunchScript, StartsWhatWasUploadedOnce) {
  EXPECT_EQ(run(launch()), "absent gzip\n");
  upload();
  EXPECT_EQ(run(launch()), "started\n");
  EXPECT_TRUE(fs::is_directory(home_ / "work"));
  EXPECT_EQ(mode_of(home_ / ".sandkey/keys"), 0600U);
  const std::string pid = read_file(home_ / ".sandkey/pid");
  EXPECT_EQ(run(launch()), "running\n");
  EXPECT_EQ(read_file(home_ / ".sandkey/pid"), pid);
  EXPECT_EQ(read_file(home_ / ".sandkey/keys"), "0123456789abcdef\n") << "a key is written once";
  EXPECT_EQ(run(launch("another-key-0123")), "running\n");
  EXPECT_EQ(read_file(home_ / ".sandkey/keys"), "0123456789abcdef\nanother-key-0123\n");
  // What it was told is not in what it runs.
  std::string environment = read_file("/proc/" + std::to_string(std::stoi(pid)) + "/environ");
  EXPECT_EQ(environment.find("SANDKEY_"), std::string::npos);
}

TEST_F(AgentLaunchScript, UnpacksWhatWasUploadedCompressed) {
  fs::create_directories(home_ / ".sandkey");
  write_file(home_ / (launch().upload_path + ".gz"), program_->compressed);
  EXPECT_EQ(run(launch()), "started\n");
  EXPECT_FALSE(fs::exists(home_ / (launch().upload_path + ".gz")));
}

TEST_F(AgentLaunchScript, ACompressedUploadThatBrokeOffIsNotStarted) {
  fs::create_directories(home_ / ".sandkey");
  const std::string half = program_->compressed.substr(0, program_->compressed.size() / 2);
  write_file(home_ / (launch().upload_path + ".gz"), half);
  EXPECT_THAT(run(launch()), testing::EndsWith("absent gzip\n"));
  EXPECT_FALSE(fs::exists(home_ / launch().upload_path));
}

TEST_F(AgentLaunchScript, TheProgramIsWhatWasCompressed) {
  EXPECT_EQ(program_->unpacked(), read_file(SANDKEY_AGENT));
}

TEST_F(AgentLaunchScript, AnUploadThatBrokeOffIsNotStarted) {
  upload(1);
  EXPECT_EQ(run(launch()), "absent gzip\n");
  EXPECT_FALSE(fs::exists(home_ / launch().upload_path));
}

TEST_F(AgentLaunchScript, TheAgentsCommandsMakeFilesAsUsual) {
  upload();
  ASSERT_EQ(run(launch()), "started\n");
  const std::string pid = std::to_string(std::stoi(read_file(home_ / ".sandkey/pid")));
  const std::string status = read_file("/proc/" + pid + "/status");
  EXPECT_THAT(status, HasSubstr("Umask:\t" + usual_umask() + "\n"));
}

TEST_F(AgentLaunchScript, OfTwoAtOnceOneStartsItAndTheOtherFindsIt) {
  const std::string port = std::to_string(free_port());
  const auto launched = [&](std::uint64_t nonce) {
    AgentLaunch one = agent_launch(*program_, Secret("0123456789abcdef"), home_ / "work", nonce);
    one.environment["SANDKEY_PORT"] = port;
    fs::create_directories(home_ / ".sandkey");
    fs::copy_file(SANDKEY_AGENT, home_ / one.upload_path);
    return one;
  };
  const AgentLaunch one = launched(1);
  const AgentLaunch two = launched(2);
  std::string first;
  std::thread beside([&] { first = run(one, "/bin/sh", "output-1"); });
  const std::string second = run(two, "/bin/sh", "output-2");
  beside.join();
  EXPECT_THAT((std::vector<std::string>{first, second}),
              testing::UnorderedElementsAre("started\n", "running\n"));
}

TEST_F(AgentLaunchScript, WhatCannotBeIsSaid) {
  upload();
  AgentLaunch impossible = agent_launch(*program_, Secret("0123456789abcdef"), "/proc/nothing", 7);
  EXPECT_THAT(run(impossible),
              StartsWith("failed: the working directory /proc/nothing cannot be made or written"));
  impossible = launch();
  impossible.environment["SANDKEY_PORT"] = "99999";
  EXPECT_THAT(run(impossible), StartsWith("failed: the agent ended at once: "));
}

TEST_F(AgentLaunchScript, NeedsNothingThatBashAloneHas) {
  if (!fs::exists("/usr/bin/dash")) GTEST_SKIP() << "there is no dash";
  upload();
  EXPECT_EQ(run(launch(), "/usr/bin/dash"), "started\n");
}

TEST(LaunchOutcome, IsReadFromTheLastLine) {
  EXPECT_EQ(launch_outcome("welcome\nstarted\n", "", 0), LaunchOutcome::started);
  EXPECT_EQ(launch_outcome("running", "", 0), LaunchOutcome::running);
  EXPECT_EQ(launch_outcome("absent\n\n", "", 0), LaunchOutcome::absent);
  const auto message = [](std::string_view output, std::string_view error_output, int code) {
    try {
      (void)launch_outcome(output, error_output, code);
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(message("failed: no room\n", "", 0), HasSubstr("said \"failed: no room\""));
  EXPECT_THAT(message("", "sh: not found\n", 127), HasSubstr("ended with 127 and said \"sh: not found"));
  EXPECT_NE(message("started\n", "", 1), "");
  EXPECT_LT(message(std::string(10'000, 'x'), "", 0).size(), 700U);
}

TEST(DerivedSessionKey, IsTheSameForTheSameSecretOnly) {
  const std::string one(derived_session_key(Secret("token-1")).expose());
  EXPECT_EQ(one, derived_session_key(Secret("token-1")).expose());
  EXPECT_NE(one, derived_session_key(Secret("token-2")).expose());
  EXPECT_EQ(one.size(), 64U);
}

}  // namespace
}  // namespace sandkey
