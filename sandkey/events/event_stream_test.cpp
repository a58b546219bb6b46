#include "sandkey/events/event_stream.h"

#include "sandkey/base/error.h"
#include "sandkey/events/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Who = EventStreamSubscriber;

Action say(const std::string& text) {
  return Action(MessageAction{.content = text});
}
std::string said(const EventPtr& event) {
  return std::get<Action>(*event).as<MessageAction>()->content;
}

class Notebook {
 public:
  void write(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

template <class Function>
std::pair<ErrorCode, std::string> error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ErrorCode::internal, "nothing was thrown"};
}

TEST(EventStream, NumbersAndStampsEvents) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  EventStreamOptions options;
  options.clock = [] { return std::chrono::system_clock::time_point(1764324000s + 42us); };
  EventStream stream("sid", options);
  EXPECT_EQ(stream.sid(), "sid");
  const EventPtr first = stream.add_event(say("a"), EventSource::user);
  Observation answer("done", SuccessObservation{});
  answer.cause = 0;
  const EventPtr second = stream.add_event(answer, EventSource::agent);
  EXPECT_EQ(header(*first).id, 0);
  EXPECT_EQ(header(*first).timestamp, "2025-11-28T10:00:00.000042");
  EXPECT_EQ(header(*first).source, EventSource::user);
  EXPECT_EQ(header(*second).id, 1);
  EXPECT_EQ(header(*second).cause, 0);
  EXPECT_EQ(stream.size(), 2);
  EXPECT_EQ(stream.get_event(1), second);
  EXPECT_EQ(stream.get_event(2), nullptr);
  EXPECT_EQ(stream.get_event(-1), nullptr);
  EXPECT_THAT(stream.get_events(), ElementsAre(first, second));
  EXPECT_THAT(stream.get_events(1), ElementsAre(second));
  EXPECT_THAT(stream.get_events(-5, 1), ElementsAre(first));
  EXPECT_THAT(stream.get_events(2, 1), ElementsAre());
  EXPECT_THAT(stream.get_events(7, 9), ElementsAre());
}

TEST(EventStream, RefusesWhatIsInAStreamAlreadyAndWhatCouldNotBeRead) {
  EventStream stream("sid");
  const EventPtr event = stream.add_event(say("a"), EventSource::user);
  EXPECT_EQ(error_of([&] { stream.add_event(*event, EventSource::user); }).first,
            ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] { stream.add_event(Action(CondensationAction{}), EventSource::agent); }).first,
            ErrorCode::invalid_argument);
  EXPECT_EQ(stream.size(), 1);
}

TEST(EventStream, DeliversInOrderOfEventsThenSubscribers) {
  Notebook notebook;
  EventStream stream("sid");
  stream.add_event(say("before"), EventSource::user);
  const auto as = [&](std::string who) {
    return [&notebook, who = std::move(who)](const EventPtr& event) { notebook.write(who + said(event)); };
  };
  stream.subscribe(Who::server, as("s"), "1");
  stream.subscribe(Who::agent_controller, as("b"), "z");
  stream.subscribe(Who::agent_controller, as("a"), "a");
  stream.subscribe(Who::runtime, as("r"), "1");
  EXPECT_EQ(error_of([&] { stream.subscribe(Who::runtime, as("x"), "1"); }).first, ErrorCode::conflict);
  stream.add_event(say("1"), EventSource::user);
  stream.add_event(say("2"), EventSource::user);
  ASSERT_TRUE(stream.wait_delivered(10s));
  EXPECT_THAT(notebook.lines(), ElementsAre("b1", "a1", "r1", "s1", "b2", "a2", "r2", "s2"));
  EXPECT_TRUE(stream.unsubscribe(Who::agent_controller, "z"));
  EXPECT_FALSE(stream.unsubscribe(Who::agent_controller, "z"));
  EXPECT_FALSE(stream.unsubscribe(Who::memory, "1"));
  stream.add_event(say("3"), EventSource::user);
  ASSERT_TRUE(stream.wait_delivered(10s));
  EXPECT_EQ(notebook.lines().size(), 11U);
}

TEST(EventStream, AFailingCallbackIsReportedAndHurtsNobodyElse) {
  Notebook notebook;
  EventStreamOptions options;
  options.on_error = [&](Who who, const std::string& id, const std::string& what) {
    notebook.write(std::string(to_string(who)) + "/" + id + ": " + what);
    throw 7;
  };
  EventStream stream("sid", options);
  stream.subscribe(
      Who::main, [](const EventPtr&) { throw std::runtime_error("broken"); }, "1");
  stream.subscribe(
      Who::memory, [](const EventPtr&) { throw 5; }, "1");
  stream.subscribe(
      Who::resolver, [&](const EventPtr& event) { notebook.write(said(event)); }, "1");
  stream.add_event(say("a"), EventSource::user);
  ASSERT_TRUE(stream.wait_delivered(10s));
  EXPECT_THAT(notebook.lines(),
              ElementsAre("main/1: broken", "memory/1: an exception that is no std::exception", "a"));
}

TEST(EventStream, CallbacksMayUseTheStream) {
  Notebook notebook;
  EventStream stream("sid");
  stream.subscribe(
      Who::runtime,
      [&](const EventPtr& event) {
        if (!std::holds_alternative<Action>(*event)) return;
        Observation answer("echo " + said(event), SuccessObservation{});
        answer.cause = header(*event).id;
        stream.add_event(answer, EventSource::environment);
        EXPECT_FALSE(stream.wait_delivered(10s));
      },
      "sid");
  stream.subscribe(
      Who::test,
      [&, owned = std::make_shared<int>(1)](const EventPtr& event) {
        if (const auto* answer = std::get_if<Observation>(event.get())) {
          notebook.write(answer->content + " to " + std::to_string(*answer->cause));
          EXPECT_TRUE(stream.unsubscribe(Who::test, "once"));
          EXPECT_EQ(*owned, 1);  // still alive
        }
      },
      "once");
  stream.add_event(say("a"), EventSource::user);
  stream.add_event(say("b"), EventSource::user);
  for (int i = 0; i < 1000 && stream.size() < 4; ++i) std::this_thread::sleep_for(5ms);
  ASSERT_TRUE(stream.wait_delivered(10s));
  EXPECT_THAT(notebook.lines(), ElementsAre("echo a to 0"));
}

TEST(EventStream, UnsubscribeWaitsForTheRunningCallback) {
  std::mutex mutex;
  std::condition_variable entered;
  bool inside = false;
  std::atomic<bool> finished = false;
  EventStream stream("sid");
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = owned;
  stream.subscribe(
      Who::test,
      [&, owned = std::move(owned)](const EventPtr&) {
        {
          const std::lock_guard lock(mutex);
          inside = true;
        }
        entered.notify_all();
        std::this_thread::sleep_for(50ms);
        finished = true;
      },
      "1");
  stream.add_event(say("a"), EventSource::user);
  {
    std::unique_lock lock(mutex);
    entered.wait(lock, [&] { return inside; });
  }
  EXPECT_TRUE(stream.unsubscribe(Who::test, "1"));
  EXPECT_TRUE(finished);
  EXPECT_TRUE(watch.expired());
}

TEST(EventStream, ClosesWithoutDeliveringTheRest) {
  EventStream stream("sid");
  std::atomic<int> calls = 0;
  stream.subscribe(
      Who::test,
      [&](const EventPtr&) {
        ++calls;
        stream.close();  // does not wait for itself
      },
      "1");
  stream.add_event(say("a"), EventSource::user);
  for (int i = 0; i < 1000 && calls == 0; ++i) std::this_thread::sleep_for(5ms);
  stream.close();
  stream.close();
  EXPECT_EQ(error_of([&] { stream.add_event(say("b"), EventSource::user); }).first, ErrorCode::cancelled);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(stream.size(), 1);
  EXPECT_TRUE(stream.unsubscribe(Who::test, "1"));
}

TEST(EventStream, MayBeDestroyedInOneOfItsCallbacks) {
  // Shared with the callback, which nobody waits for.
  struct Shared {
    std::mutex handing_over;
    std::shared_ptr<EventStream> stream = std::make_shared<EventStream>("sid");
    std::atomic<bool> done = false;
  };
  const auto shared = std::make_shared<Shared>();
  {
    const std::lock_guard lock(shared->handing_over);
    shared->stream->subscribe(
        Who::test,
        [shared](const EventPtr&) {
          const std::lock_guard wait(shared->handing_over);
          shared->stream.reset();
          shared->done = true;
        },
        "1");
    shared->stream->add_event(say("a"), EventSource::user);
  }
  for (int i = 0; i < 1000 && !shared->done; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(shared->done);
}

TEST(EventStream, MasksSecretsEverywhere) {
  EventStream stream("sid");
  std::map<std::string, Secret> secrets;
  secrets.emplace("KEY", Secret("hunter2"));
  secrets.emplace("LONG", Secret("hunter2-and-more"));
  secrets.emplace("EMPTY", Secret(""));
  secrets.emplace("WORD", Secret("secret"));
  stream.set_secrets(std::move(secrets));

  Action mcp(MCPAction{.name = "hunter2",
                       .arguments = {{"list", json::array{"x hunter2-and-more y",
                                                          json::object{{"hunter2", "hunter2hunter2"}}}},
                                     {"n", 5}}});
  mcp.tool_call_metadata = json::object{{"a", json::array{"hunter2"}}};
  mcp.llm_metrics = json::object{{"b", "hunter2"}};
  const EventPtr first = stream.add_event(mcp, EventSource::agent);
  EXPECT_THAT(serialize(*first), Not(HasSubstr("hunter2")));
  const MCPAction& masked = *std::get<Action>(*first).as<MCPAction>();
  EXPECT_EQ(masked.name, "<secret_hidden>");
  EXPECT_EQ(write_json(masked.arguments),
            R"({"list":["x <secret_hidden> y",{"<secret_hidden>":"<secret_hidden><secret_hidden>"}],"n":5})");

  Observation run("my secret: hunter2\n",
                  CmdOutputObservation{.command = "echo hunter2", .metadata = {.suffix = "hunter2"}});
  const EventPtr second = stream.add_event(run, EventSource::environment);
  EXPECT_EQ(std::get<Observation>(*second).content, "my <secret_hidden>: <secret_hidden>\n");
  EXPECT_THAT(serialize(*second), Not(HasSubstr("hunter2")));

  for (Action event :
       {Action(CmdRunAction{.command = "hunter2", .thought = "hunter2", .cwd = "/hunter2"}),
        Action(FileEditAction{.path = "hunter2", .insert_line = LineArgument("hunter2")}),
        Action(MessageAction{.content = "hunter2", .image_urls = std::vector<std::string>{"hunter2"}}),
        Action(SystemMessageAction{.content = "", .tools = json::array{"hunter2"}})}) {
    EXPECT_THAT(serialize(*stream.add_event(std::move(event), EventSource::user)), Not(HasSubstr("hunter2")));
  }
  Observation recall("", RecallObservation{.microagent_knowledge = {{"hunter2", "t", "c"}}});
  EXPECT_THAT(serialize(*stream.add_event(recall, EventSource::user)), Not(HasSubstr("hunter2")));

  std::map<std::string, Secret> update;
  update.emplace("KEY", Secret("rotated"));
  stream.update_secrets(std::move(update));
  EXPECT_EQ(said(stream.add_event(say("rotated hunter2 secret"), EventSource::user)),
            "<secret_hidden> hunter2 <secret_hidden>");
  stream.set_secrets({});
  EXPECT_EQ(said(stream.add_event(say("rotated"), EventSource::user)), "rotated");
}

TEST(EventStream, TakesEventsFromManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kEach = 50;
  EventStream stream("sid");
  std::vector<std::int64_t> seen;  // touched by the dispatcher only, until the end
  stream.subscribe(
      Who::test, [&](const EventPtr& event) { seen.push_back(header(*event).id); }, "all");
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&stream, t] {
        for (int i = 0; i < kEach; ++i) {
          stream.add_event(say(std::to_string(i)), EventSource::user);
          const std::string id = std::to_string(t) + "/" + std::to_string(i);
          stream.subscribe(
              Who::server, [](const EventPtr&) {}, id);
          (void)stream.get_events();
          std::map<std::string, Secret> secrets;
          secrets.emplace(id, Secret("none of it"));
          stream.update_secrets(std::move(secrets));
          EXPECT_TRUE(stream.unsubscribe(Who::server, id));
        }
      });
    }
  }
  ASSERT_TRUE(stream.wait_delivered(30s));
  EXPECT_TRUE(stream.unsubscribe(Who::test, "all"));
  ASSERT_EQ(seen.size(), static_cast<std::size_t>(kThreads * kEach));
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<std::int64_t>(i));
}

class EventFile : public testing::Test {
 protected:
  EventFile() {
    std::string pattern = testing::TempDir() + "/sandkey-events-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    options_.file = folder_ / "events.jsonl";
  }
  ~EventFile() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string content() const {
    std::ifstream in(options_.file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void set_content(const std::string& text) const { std::ofstream(options_.file, std::ios::binary) << text; }
  void fill(int events) const {
    EventStream stream("sid", options_);
    for (int i = 0; i < events; ++i) stream.add_event(say(std::to_string(i)), EventSource::user);
  }
  [[nodiscard]] std::pair<ErrorCode, std::string> opening() const {
    return error_of([&] { EventStream stream("sid", options_); });
  }

  std::filesystem::path folder_;
  EventStreamOptions options_;
};

TEST_F(EventFile, KeepsEventsForTheOwnerOnly) {
  set_content("");
  ASSERT_EQ(::chmod(options_.file.c_str(), 0644), 0);
  {
    EventStream stream("sid", options_);
    const EventPtr event = stream.add_event(say("ä\n"), EventSource::user);
    EXPECT_EQ(content(), serialize(*event) + "\n");  // before anything was closed
  }
  struct stat info = {};
  ASSERT_EQ(::stat(options_.file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0600U);

  EventStream stream("sid", options_);
  ASSERT_EQ(stream.size(), 1);
  EXPECT_EQ(said(stream.get_event(0)), "ä\n");
  Notebook notebook;
  stream.subscribe(
      Who::test, [&](const EventPtr& event) { notebook.write(said(event)); }, "1");
  EXPECT_EQ(header(*stream.add_event(say("next"), EventSource::user)).id, 1);
  ASSERT_TRUE(stream.wait_delivered(10s));
  EXPECT_THAT(notebook.lines(), ElementsAre("next"));
}

TEST_F(EventFile, SurvivesACrashAtEveryByteOfTheLastLine) {
  fill(2);
  const std::string whole = content();
  const std::size_t second = whole.find('\n') + 1;
  for (std::size_t size = second; size < whole.size(); ++size) {
    set_content(whole.substr(0, size));
    const bool complete = size + 1 == whole.size();  // only the newline is missing
    {
      EventStream stream("sid", options_);
      EXPECT_EQ(stream.size(), complete ? 2 : 1) << size;
    }
    EXPECT_EQ(content(), complete ? whole : whole.substr(0, second)) << size;
  }
  set_content(whole + std::string(100, '\0'));  // as some file systems leave it after a power failure
  EXPECT_EQ(EventStream("sid", options_).size(), 2);
  EXPECT_EQ(content(), whole);
}

TEST_F(EventFile, RefusesACorruptLineAndLeavesItAlone) {
  fill(3);
  const std::string whole = content();
  std::vector<std::string> lines;
  for (std::istringstream in(whole); lines.size() < 3;) std::getline(in, lines.emplace_back());
  const std::pair<std::string, const char*> table[] = {
      {lines[0] + "\n{\"action\":\"canary\n" + lines[2] + "\n",
       "line 2 is corrupt: the line is not valid JSON"},
      {lines[0] + "\n\n" + lines[1] + "\n", "line 2 is corrupt: the line is not valid JSON"},
      {lines[0] + "\n" + lines[2] + "\n", "line 2 is corrupt: its id is 2 where 1 comes next"},
      {"{}\n" + lines[0], "line 1 is corrupt: an event needs an 'action' or an 'observation'"},
  };
  for (const auto& [text, wanted] : table) {
    set_content(text);
    const auto [code, message] = opening();
    EXPECT_EQ(code, ErrorCode::protocol);
    EXPECT_THAT(message, HasSubstr(wanted));
    EXPECT_THAT(message, HasSubstr(options_.file.string()));
    EXPECT_THAT(message, Not(HasSubstr("canary")));
    EXPECT_EQ(content(), text);
  }
}

TEST_F(EventFile, BelongsToOneStreamAtATime) {
  const EventStream stream("sid", options_);
  EXPECT_EQ(opening().first, ErrorCode::conflict);
}

TEST_F(EventFile, SaysWhyItCannotBeOpened) {
  options_.file = folder_ / "none" / "events.jsonl";
  EXPECT_EQ(opening().first, ErrorCode::not_found);
  options_.file = "/dev/null";
  EXPECT_EQ(opening().first, ErrorCode::invalid_argument);
}

TEST_F(EventFile, NeverHoldsASecretOrAnEventThatWasRefused) {
  EventStream stream("sid", options_);
  std::map<std::string, Secret> secrets;
  secrets.emplace("KEY", Secret("hunter2"));
  stream.set_secrets(std::move(secrets));
  stream.add_event(Action(CmdRunAction{.command = "login hunter2"}), EventSource::agent);
  EXPECT_THROW(stream.add_event(Action(CondensationAction{}), EventSource::agent), Error);
  EXPECT_THAT(content(), Not(HasSubstr("hunter2")));
  EXPECT_THAT(content(), HasSubstr("login <secret_hidden>"));
  const std::string text = content();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

}  // namespace
}  // namespace sandkey
