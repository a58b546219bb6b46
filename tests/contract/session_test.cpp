// Sessions: who finds whose sandbox, who ends it, and when.
#include "sandkey/base/unique_fd.h"
#include "sandkey/runtime/ledger.h"
#include "tests/contract/suite.h"

#include <gmock/gmock.h>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::contract {
namespace {

using runtime_test::Process;
using runtime_test::Spawn;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_error("making a pipe", errno);
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
};

// The next line; what there was of it if the other end is closed.
std::string read_line(const UniqueFd& from) {
  std::string line;
  char c = 0;
  while (::read(from.get(), &c, 1) == 1 && c != '\n') line += c;
  return line;
}

class Sessions : public ContractTest {
 protected:
  // Another process in that role, with its standard output at hand.
  struct Other {
    Pipe in;
    Pipe out;
    std::unique_ptr<Process> process;
  };
  [[nodiscard]] Other other(const std::string& role, std::string_view name) const {
    Other other;
    Spawn spawn = another_process({role, sid(name)});
    spawn.in = other.in.read.get();
    spawn.out = other.out.write.get();
    other.process = std::make_unique<Process>(spawn);
    other.in.read.reset();
    other.out.write.reset();
    return other;
  }
};
INSTANTIATE_TEST_SUITE_P(, Sessions, ::testing::ValuesIn(every_provider()), name_of);

TEST_P(Sessions, CloseEndsTheSandboxAndIsIdempotent) {
  const auto runtime = make("closed");
  EXPECT_THAT(existing(), IsEmpty());  // nothing before connect()
  runtime->connect();
  EXPECT_THAT(existing(), ElementsAre(runtime->sandbox_id().value));
  runtime->connect();  // changes nothing
  EXPECT_THAT(existing(), SizeIs(1));
  runtime->close();
  EXPECT_THAT(existing(), IsEmpty());
  runtime->close();
  EXPECT_FALSE(runtime->check_if_alive());
  EXPECT_TRUE(open_user_ledger(*engine_)->list().empty());
}

TEST_P(Sessions, TheListShowsOurs) {
  const auto first = connected("one");
  const auto second = connected("two", kept());
  const auto listed_states = [&] {
    std::map<std::string, SandboxState> states;
    for (const SandboxInfo& info : listed()) {
      states[info.sid] = info.state;
      EXPECT_EQ(info.id, info.sid == first->sid() ? first->sandbox_id() : second->sandbox_id());
    }
    return states;
  };
  const std::map<std::string, SandboxState> both{{first->sid(), SandboxState::running},
                                                 {second->sid(), SandboxState::running}};
  EXPECT_TRUE(eventually([&] { return listed_states() == both; })) << "though some clouds' lists lag behind";
  const SandboxInfo told = describe(*second);
  EXPECT_EQ(told.id, second->sandbox_id());
  EXPECT_EQ(told.sid, second->sid());
  EXPECT_EQ(engine_->wait(second->provider()->find(second->sid(), soon())), second->sandbox_id());
  EXPECT_EQ(engine_->wait(second->provider()->find(sid("none"), soon())), std::nullopt);
  first->close();
  destroy(second->provider(), second->sandbox_id());
}

TEST_P(Sessions, AKeptSandboxStaysAndIsFoundByItsSession) {
  const auto first = connected("kept", kept());
  (void)output(*first, "echo mine > note; export COLOUR=red");
  first->close();
  const auto next = connected("kept");
  EXPECT_EQ(next->sandbox_id().value, existing().at(0));
  EXPECT_EQ(output(*next, "cat note; echo $COLOUR"), "mine\nred");
  next->close();
  EXPECT_THAT(existing(), SizeIs(1));
  destroy(next->provider(), {existing().at(0)});
}

TEST_P(Sessions, DestroyingTwiceIsOnceAndTheSessionCanBeHadAgain) {
  const auto first = connected("again", kept());
  (void)output(*first, "echo old > note");
  const SandboxId id = first->sandbox_id();
  destroy(first->provider(), id);
  destroy(first->provider(), id);
  EXPECT_THAT(existing(), IsEmpty());
  EXPECT_EQ(engine_->wait(first->provider()->find(first->sid(), soon())), std::nullopt);
  EXPECT_EQ(thrown([&] { (void)engine_->wait(first->provider()->describe(id, soon())); }).code(),
            ErrorCode::not_found);
  first->close();
  const auto next = connected("again");
  EXPECT_EQ(output(*next, "ls /workspace"), "");
  next->close();
}

TEST_P(Sessions, AttachingToNothingIsRefused) {
  EXPECT_EQ(thrown([&] { (void)attached("nothing"); }).code(), ErrorCode::not_found);
  EXPECT_THAT(existing(), IsEmpty());
}

TEST_P(Sessions, WhoAttachedLeavesItToItsOwner) {
  const auto owner = connected("shared");
  (void)output(*owner, "echo mine > note");
  const auto guest = attached("shared");
  EXPECT_EQ(guest->sandbox_id(), owner->sandbox_id());
  EXPECT_EQ(output(*guest, "cat note"), "mine");
  guest->close();
  EXPECT_EQ(output(*owner, "cat note"), "mine");
  owner->close();
}

TEST_P(Sessions, AnotherProcessAttachesByTheSession) {
  const auto owner = connected("process");
  (void)output(*owner, "echo mine > note; export COLOUR=red");
  Other guest = other("attach", "process");
  EXPECT_EQ(read_line(guest.out.read), "mine");
  EXPECT_EQ(read_line(guest.out.read), "red");
  EXPECT_EQ(guest.process->wait(), 0);
  EXPECT_EQ(output(*owner, "cat note"), "mine");
  owner->close();
}

TEST_P(Sessions, AKeptSandboxOutlivesAProcessThatIsKilled) {
  Other maker = other("keep", "killed");
  ASSERT_EQ(read_line(maker.out.read), "ready");
  maker.process->signal(SIGKILL);
  EXPECT_EQ(maker.process->wait(), 128 + SIGKILL);
  const auto next = attached("killed");
  EXPECT_EQ(output(*next, "cat note; echo $COLOUR"), "mine\nred");
  destroy(next->provider(), next->sandbox_id());
}

TEST_P(Sessions, TwoProcessesThatWantOneAtOnceShareOneSandbox) {
  Other first = other("share", "race");
  Other second = other("share", "race");
  const std::string id = read_line(first.out.read);
  EXPECT_FALSE(id.empty());
  EXPECT_EQ(read_line(second.out.read), id);
  EXPECT_THAT(existing(), ElementsAre(id));
  first.in.write.reset();
  second.in.write.reset();
  EXPECT_EQ(first.process->wait(), 0);
  EXPECT_EQ(second.process->wait(), 0);
}

TEST_P(Sessions, TwoRuntimesThatWantOneAtOnceShareOneSandbox) {
  const auto first = make("twins");
  const auto second = make("twins");
  const auto both = [&]() -> asio::awaitable<void> {
    TaskGroup group(*engine_);
    group.spawn(first->async_connect());
    group.spawn(second->async_connect());
    co_await group.join();
  };
  engine_->wait(both());
  EXPECT_EQ(first->sandbox_id(), second->sandbox_id());
  EXPECT_THAT(existing(), SizeIs(1));
  (void)output(*first, "echo shared > note");
  EXPECT_EQ(output(*second, "cat note"), "shared");
  first->close();
  second->close();
}

TEST_P(Sessions, OfAnyNameFindTheirSandbox) {
  for (const std::string name : {"a/b c", "../x", "\xC3\xA4", "-f", "'\"&=%2F"}) {
    SCOPED_TRACE(name);
    const auto owner = connected(name);
    const auto guest = attached(name);
    EXPECT_EQ(guest->sandbox_id(), owner->sandbox_id());
    guest->close();
    owner->close();
    EXPECT_THAT(existing(), IsEmpty());
  }
}

// On one engine, and on two accounts where there are two.
TEST_P(Sessions, ManyAtOnceFromCoroutines) {
  constexpr std::size_t kMany = 32;
  engine_.reset();
  engine_ = make_engine({}, 2);
  std::vector<OpenHandsConfig> configs{config()};
  if (const auto second = is_emulated() ? as_account("second") : std::nullopt) {
    OpenHandsConfig other = config();
    for (const KeyPart& part : subject().key) other.set(part.field, Secret(*second->at(part.variable)));
    configs.push_back(std::move(other));
  }
  std::vector<std::string> outputs(kMany);
  const auto one = [&](std::size_t number) -> asio::awaitable<void> {
    const OpenHandsConfig& config = configs[number % configs.size()];
    const std::string session = sid(std::to_string(number));
    RuntimeOptions options;
    const auto runtime = co_await async_make_runtime(*engine_, config, nullptr, session, std::move(options));
    co_await runtime->async_connect();
    CmdRunAction hello{.command = "echo " + session};
    const Observation seen = co_await runtime->async_run(std::move(hello), 120);
    outputs[number] = seen.content;
    co_await runtime->async_close();
  };
  const auto all = [&]() -> asio::awaitable<void> {
    TaskGroup group(*engine_);
    for (std::size_t i = 0; i < kMany; ++i) group.spawn(one(i));
    co_await group.join();
  };
  engine_->wait(all());
  for (std::size_t i = 0; i < kMany; ++i) EXPECT_EQ(outputs[i], sid(std::to_string(i)));
}

}  // namespace
}  // namespace sandkey::contract
