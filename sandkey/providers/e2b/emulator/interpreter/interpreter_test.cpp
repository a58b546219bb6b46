// Cells in a real sandbox, through the server that E2B's SDK speaks to.
#include "sandkey/providers/e2b/emulator/interpreter/interpreter.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/ndjson.h"
#include "sandkey/providers/e2b/emulator/envd/test_sandbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::e2b_interpreter {
namespace {

using namespace std::chrono_literals;
using e2b_envd::TestSandbox;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Interpreter : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    try {
      sandbox_ = std::make_unique<TestSandbox>();
      Engine& engine = sandbox_->engine();
      engine.wait(start(sandbox_->agent(),
                        {{"HOME", "/home/user"}, {"PATH", "/usr/bin:/bin"}, {"GIVEN", "yes"}},
                        engine.in(60s)));
      port_ = sandbox_->expose(kPort);
    } catch (const Error& error) {
      reason_ = error.what();
      sandbox_.reset();
    }
  }
  static void TearDownTestSuite() { sandbox_.reset(); }
  void SetUp() override {
    if (!sandbox_) GTEST_SKIP() << "this machine cannot do it: " << reason_;
    http_.emplace(sandbox_->engine());
  }
  void TearDown() override { http_.reset(); }

  static HttpRequest request(const std::string& method, const std::string& path, const std::string& body) {
    HttpRequest made;
    made.method = method;
    made.url = "http://127.0.0.1:" + std::to_string(port_) + path;
    made.body = body;
    made.deadline = sandbox_->engine().in(60s);
    made.headers.set("Content-Type", "application/json");
    return made;
  }
  HttpResponse send(const std::string& method, const std::string& path, const std::string& body = {}) {
    return sandbox_->engine().wait(http_->send(request(method, path, body)));
  }
  // All events of a cell, without the timestamps of output.
  std::vector<json::object> run(json::object cell) {
    const HttpResponse response = send("POST", "/execute", write_json(cell));
    EXPECT_EQ(response.status, 200) << response.body;
    NdjsonDecoder lines;
    lines.feed(response.body);
    lines.finish();
    std::vector<json::object> events;
    while (const auto line = lines.next()) {
      json::object event = line->as_object();
      event.erase("timestamp");
      if (event.at("type") != "keepalive") events.push_back(std::move(event));
    }
    return events;
  }
  std::vector<json::object> run(const std::string& code) { return run(json::object{{"code", code}}); }
  // The text of a cell's result, or what else there was.
  std::string value(json::object cell) {
    for (const json::object& event : run(std::move(cell))) {
      if (event.at("type") == "result") return std::string(event.at("text").as_string());
      if (event.at("type") == "error") return std::string(event.at("name").as_string());
    }
    return "nothing";
  }
  std::string make_context(const char* body = "{}") {
    const HttpResponse response = send("POST", "/contexts", body);
    EXPECT_EQ(response.status, 200) << response.body;
    return std::string(parse_json(response.body, "the context").at("id").as_string());
  }

  static inline std::unique_ptr<TestSandbox> sandbox_;
  static inline std::uint16_t port_ = 0;
  static inline std::string reason_;
  std::optional<HttpClient> http_;
};

TEST_F(Interpreter, IsHealthy) {
  const HttpResponse response = send("GET", "/health");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "\"OK\"");
  EXPECT_EQ(send("GET", "/nothing").status, 404);
}

TEST_F(Interpreter, ACellTellsWhatItDoes) {
  const std::string id = make_context();
  EXPECT_THAT(
      run({{"context_id", id}, {"code", "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7"}}),
      ElementsAre(json::object{{"type", "number_of_executions"}, {"execution_count", 1}},
                  json::object{{"type", "stdout"}, {"text", "out\n"}},
                  json::object{{"type", "stderr"}, {"text", "err\n"}},
                  json::object{{"type", "result"}, {"is_main_result", true}, {"text", "42"}},
                  json::object{{"type", "end_of_execution"}}));
  EXPECT_THAT(run({{"context_id", id}, {"code", "x = 1"}}),
              ElementsAre(json::object{{"type", "number_of_executions"}, {"execution_count", 2}},
                          json::object{{"type", "end_of_execution"}}));
}

TEST_F(Interpreter, AFailingCellTellsTheError) {
  const std::vector<json::object> events = run("def f():\n  return 1 / 0\nf()");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].at("type"), "error");
  EXPECT_EQ(events[1].at("name"), "ZeroDivisionError");
  EXPECT_EQ(events[1].at("value"), "division by zero");
  EXPECT_THAT(std::string(events[1].at("traceback").as_string()), HasSubstr("return 1 / 0"));
  EXPECT_EQ(run("if:")[1].at("name"), "SyntaxError");
}

TEST_F(Interpreter, ResultsHaveAllTheirForms) {
  const std::vector<json::object> events =
      run("class Shown:\n"
          "  def _repr_html_(self): return '<b>'\n"
          "  def _repr_png_(self): return b'\\x89PNG'\n"
          "  def _repr_json_(self): return {'a': [1]}\n"
          "  def __repr__(self): return 'plain'\n"
          "Shown()");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1], (json::object{{"type", "result"},
                                     {"is_main_result", true},
                                     {"text", "plain"},
                                     {"html", "<b>"},
                                     {"png", "iVBORw=="},
                                     {"json", json::object{{"a", json::array{1}}}}}));
  EXPECT_EQ(value({{"code", "'quoted'"}}), "quoted") << "without its quotes";
}

TEST_F(Interpreter, OutputOfOtherProgramsIsTheCellsInItsOrder) {
  const std::vector<json::object> events = run("import os\nos.system('echo one; echo two >&2') and None");
  std::string out, err;
  for (const json::object& event : events) {
    if (event.at("type") == "stdout") out += event.at("text").as_string();
    if (event.at("type") == "stderr") err += event.at("text").as_string();
  }
  EXPECT_EQ(out, "one\n");
  EXPECT_EQ(err, "two\n");
  EXPECT_EQ(events.back().at("type"), "end_of_execution");
}

TEST_F(Interpreter, VariablesAreForOneCell) {
  EXPECT_EQ(value({{"code", "import os; os.environ['GIVEN']"}}), "yes");
  const json::object mine{{"MINE", "now"}};
  EXPECT_EQ(value({{"code", "import os; os.environ['MINE']"}, {"env_vars", mine}}), "now");
  EXPECT_EQ(value({{"code", "import os; os.environ.get('MINE', 'gone')"}}), "gone");
}

TEST_F(Interpreter, ContextsAreApart) {
  const std::string one = make_context(R"({"cwd": "/tmp"})");
  const std::string two = make_context();
  run({{"context_id", one}, {"code", "x = 'one'"}});
  EXPECT_EQ(value({{"context_id", one}, {"code", "x"}}), "one");
  EXPECT_EQ(value({{"context_id", two}, {"code", "x"}}), "NameError");
  EXPECT_EQ(value({{"context_id", one}, {"code", "import os; os.getcwd()"}}), "/tmp");
  EXPECT_EQ(value({{"context_id", two}, {"code", "import os; os.getcwd()"}}), "/home/user");
  EXPECT_THAT(std::string(send("GET", "/contexts").body),
              HasSubstr("{\"id\": \"" + one + "\", \"language\": \"python\", \"cwd\": \"/tmp\"}"));

  EXPECT_EQ(send("POST", "/contexts/" + one + "/restart").body, "null");
  EXPECT_EQ(value({{"context_id", one}, {"code", "x"}}), "NameError");
  EXPECT_EQ(send("DELETE", "/contexts/" + one).body, "null");
  EXPECT_EQ(send("DELETE", "/contexts/" + one).status, 404);
  EXPECT_EQ(send("POST", "/execute", R"({"code":"1","context_id":")" + one + "\"}").status, 404);
}

TEST_F(Interpreter, RequestsThatCannotBe) {
  EXPECT_EQ(send("POST", "/execute", R"({"code":"1","context_id":"default","language":"python"})").status,
            400);
  EXPECT_EQ(send("POST", "/execute", "{}").status, 422);
  EXPECT_EQ(send("POST", "/execute", "no json").status, 422);
  EXPECT_EQ(send("POST", "/execute", R"({"code":1})").status, 422);
  EXPECT_EQ(send("POST", "/execute", R"({"code":"1","context_id":"none"})").status, 404);
  const HttpResponse unknown = send("POST", "/contexts", R"({"language":"cobol"})");
  EXPECT_EQ(unknown.status, 500);
  EXPECT_THAT(unknown.body, HasSubstr("cobol"));
  EXPECT_EQ(send("POST", "/contexts", R"({"cwd":"/none"})").status, 500);
}

TEST_F(Interpreter, AKernelThatEndsIsReplaced) {
  const std::string id = make_context();
  const std::vector<json::object> events = run({{"context_id", id}, {"code", "import os; os._exit(3)"}});
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].at("name"), "UnexpectedEndOfExecution");
  EXPECT_EQ(value({{"context_id", id}, {"code", "'again'"}}), "again");
}

TEST_F(Interpreter, AClientThatLeavesInterruptsItsCell) {
  const std::string id = make_context();
  const json::object cell{{"context_id", id},
                          {"code", "kept = 1\nprint('begun')\nimport time\ntime.sleep(1000)"}};
  {
    HttpStream stream = sandbox_->engine().wait(http_->open(request("POST", "/execute", write_json(cell))));
    NdjsonReader lines(source_of(std::move(stream)));
    while (const auto line = sandbox_->engine().wait(lines.next())) {
      if (line->at("type") == "stdout") break;
    }
  }
  EXPECT_EQ(value({{"context_id", id}, {"code", "kept"}}), "1") << "and the kernel keeps what it had";
}

TEST_F(Interpreter, ARestartEndsTheCellThatRuns) {
  const std::string id = make_context();
  const json::object cell{{"context_id", id}, {"code", "print('begun')\nimport time\ntime.sleep(1000)"}};
  HttpStream stream = sandbox_->engine().wait(http_->open(request("POST", "/execute", write_json(cell))));
  NdjsonReader lines(source_of(std::move(stream)));
  std::vector<std::string> names;
  while (const auto line = sandbox_->engine().wait(lines.next())) {
    const std::string type(line->at("type").as_string());
    if (type == "stdout") {
      EXPECT_EQ(send("POST", "/contexts/" + id + "/restart").status, 200);
    }
    if (type == "error") names.emplace_back(line->at("name").as_string());
  }
  EXPECT_THAT(names, ElementsAre("ContextRestarting"));
}

TEST_F(Interpreter, SilenceIsBroken) {
  const json::object cell{{"context_id", make_context()}, {"code", "import time; time.sleep(1000)"}};
  HttpStream stream = sandbox_->engine().wait(http_->open(request("POST", "/execute", write_json(cell))));
  NdjsonReader lines(source_of(std::move(stream)));
  std::string type;
  while (type != "keepalive") type = sandbox_->engine().wait(lines.next()).value().at("type").as_string();
}

}  // namespace
}  // namespace sandkey::e2b_interpreter
