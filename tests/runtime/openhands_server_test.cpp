// Against a server that speaks OpenHands' protocol only: no greeting, no idempotency, forms and zip files.
#include "fixtures.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/events/codec.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/agent_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace sandkey::runtime_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What the server answers an action with.
std::string ran(const std::string& content) {
  return serialize(Observation(content, CmdOutputObservation{.command = "x", .metadata = {.exit_code = 0}}));
}

class OpenHandsServer : public ::testing::Test {
 protected:
  using Answer = std::function<std::optional<std::string>(const ScriptedRequest&)>;

  // Set by the test while the server's threads use it.
  class CurrentAnswer {
   public:
    CurrentAnswer& operator=(Answer answer) {
      const std::lock_guard lock(mutex_);
      answer_ = std::move(answer);
      return *this;
    }
    Answer get() {
      const std::lock_guard lock(mutex_);
      return answer_;
    }

   private:
    std::mutex mutex_;
    Answer answer_;
  };

  CurrentAnswer answer_;
  ScriptedServer server_{[this](const ScriptedRequest& request) -> std::optional<std::string> {
    if (request.line.starts_with("GET /alive")) return ScriptedServer::reply(200, R"({"status":"ok"})");
    if (request.line.find("/sandkey/") != std::string::npos)
      return ScriptedServer::reply(404, R"({"detail":"Not Found"})");
    if (const Answer answer = answer_.get()) return answer(request);
    return ScriptedServer::reply(200, ran("fine"));
  }};
  Engine engine_;

  std::unique_ptr<ActionExecutionClient> connected() {
    RuntimeOptions options;
    options.attach_to_existing = true;
    auto runtime = std::make_unique<ActionExecutionClient>(engine_, fixed(server_.address()), quick_config(),
                                                           nullptr, "s", std::move(options));
    runtime->connect();
    return runtime;
  }
  static ErrorCode code_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "nothing was thrown";
    return ErrorCode::internal;
  }
};

TEST_F(OpenHandsServer, IsConnectedToAndRunsActionsWithoutAKey) {
  const auto runtime = connected();
  EXPECT_EQ(runtime->agent().greeting().protocol, 0);
  EXPECT_EQ(runtime->run(CmdRunAction{.command = "echo fine"}).content, "fine");
  const ScriptedRequest sent = server_.requests().back();
  EXPECT_THAT(sent.line, HasSubstr("POST /execute_action"));
  EXPECT_THAT(sent.head, Not(HasSubstr("Idempotency-Key")));
  const json::value body = parse_json(sent.body, "the request");
  const Action action = parse_action(body.at("action"));
  ASSERT_NE(action.as<CmdRunAction>(), nullptr);
  EXPECT_EQ(action.as<CmdRunAction>()->command, "echo fine");
  EXPECT_EQ(action.timeout, 120.0);
}

TEST_F(OpenHandsServer, AnActionWhoseReplyIsLostIsSentOnce) {
  const auto runtime = connected();
  for (const char* lost : {"", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"half"}) {
    const std::size_t before = server_.count("/execute_action");
    answer_ = [lost](const ScriptedRequest&) { return std::string(lost); };
    if (*lost != '\0') {  // whoever sends half has to hang up, too
      answer_ = [lost](const ScriptedRequest&) {
        return std::string(lost).insert(15, "\r\nConnection: close");
      };
    }
    std::optional<Error> caught;
    try {
      (void)runtime->run(CmdRunAction{.command = "rm -rf once"}, 1.0);
    } catch (const Error& error) {
      caught = error;
    }
    ASSERT_TRUE(caught) << lost;
    EXPECT_NE(caught->context().processed, Processed::no) << lost;
    EXPECT_EQ(server_.count("/execute_action"), before + 1) << lost;
  }
}

TEST_F(OpenHandsServer, NorIsItRepeatedOnAConnectionThatHadBeenKept) {
  const auto runtime = connected();
  (void)runtime->run(CmdRunAction{.command = "true"});  // leaves a connection to be used again
  answer_ = [](const ScriptedRequest&) { return std::string(); };
  EXPECT_EQ(code_of([&] { (void)runtime->run(CmdRunAction{.command = "true"}, 1.0); }),
            ErrorCode::unavailable);
  EXPECT_EQ(server_.count("/execute_action"), 2U);
}

TEST_F(OpenHandsServer, ItsErrorsKeepTheirExplanation) {
  const auto runtime = connected();
  answer_ = [](const ScriptedRequest&) { return ScriptedServer::reply(500, R"({"detail":"Traceback "})"); };
  try {
    (void)runtime->run(CmdRunAction{.command = "true"});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::internal);
    EXPECT_EQ(error.context().processed, Processed::unknown);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("HTTP 500"), HasSubstr("Traceback")));
  }
  EXPECT_EQ(server_.count("/execute_action"), 1U);
}

TEST_F(OpenHandsServer, AnObservationThatIsNoneIsAProtocolErrorAndNotRetried) {
  const auto runtime = connected();
  for (const char* body : {"", "null", "[]", "{", "{}", R"({"observation":"no such thing","content":""})"}) {
    const std::size_t before = server_.count("/execute_action");
    answer_ = [body](const ScriptedRequest&) { return ScriptedServer::reply(200, body); };
    EXPECT_EQ(code_of([&] { (void)runtime->run(CmdRunAction{.command = "true"}); }), ErrorCode::protocol)
        << body;
    EXPECT_EQ(server_.count("/execute_action"), before + 1);
  }
}

TEST_F(OpenHandsServer, FilesGoInAsAForm) {
  const auto runtime = connected();
  answer_ = [](const ScriptedRequest&) { return ScriptedServer::reply(200, "{}"); };
  TempDir here;
  write_file(here / "data.bin", "the content");
  runtime->copy_to(here / "data.bin", "/in/side");
  const ScriptedRequest sent = server_.requests().back();
  EXPECT_THAT(sent.line,
              AllOf(HasSubstr("POST /upload_file"), HasSubstr("recursive=false"), HasSubstr("side")));
  EXPECT_THAT(sent.head, HasSubstr("multipart/form-data; boundary="));
  EXPECT_THAT(sent.body, AllOf(HasSubstr("filename=\"data.bin\""), HasSubstr("the content")));
}

TEST_F(OpenHandsServer, FoldersGoInAsAZipFile) {
  const auto runtime = connected();
  answer_ = [](const ScriptedRequest&) { return ScriptedServer::reply(200, "{}"); };
  TempDir here;
  std::filesystem::create_directory(here / "tree");
  write_file(here / "tree/inner.txt", "x");
  runtime->copy_to(here / "tree", "/in", true);
  const ScriptedRequest sent = server_.requests().back();
  EXPECT_THAT(sent.line, HasSubstr("recursive=true"));
  EXPECT_THAT(sent.body, AllOf(HasSubstr("filename=\"tree.zip\""), HasSubstr("tree/inner.txt")));
}

TEST_F(OpenHandsServer, FoldersComeOutAsAZipFileAndErrorsAsErrors) {
  const auto runtime = connected();
  answer_ = [](const ScriptedRequest&) { return ScriptedServer::reply(200, "PK-zip", "application/zip"); };
  const std::filesystem::path zip = runtime->copy_from("/out");
  EXPECT_EQ(read_file(zip), "PK-zip");
  std::filesystem::remove(zip);
  answer_ = [](const ScriptedRequest&) { return ScriptedServer::reply(404, R"({"detail":"gone"})"); };
  EXPECT_EQ(code_of([&] { (void)runtime->copy_from("/out"); }), ErrorCode::not_found);
}

TEST_F(OpenHandsServer, WrongListsOfFilesAreProtocolErrors) {
  const auto runtime = connected();
  for (const char* body : {"{}", "[1]", "null", "nonsense"}) {
    answer_ = [body](const ScriptedRequest&) { return ScriptedServer::reply(200, body); };
    EXPECT_EQ(code_of([&] { (void)runtime->list_files(); }), ErrorCode::protocol) << body;
  }
}

}  // namespace
}  // namespace sandkey::runtime_test
