// The words, numbers and forms of the daemon.
#include "sandkey/providers/daytona/emulator/toolbox/execute.h"
#include "sandkey/providers/daytona/emulator/toolbox/file_info.h"
#include "sandkey/providers/daytona/emulator/toolbox/git.h"
#include "sandkey/providers/daytona/emulator/toolbox/interpreter/interpreter.h"
#include "sandkey/providers/daytona/emulator/toolbox/ptys.h"
#include "sandkey/providers/daytona/emulator/toolbox/requests.h"
#include "sandkey/providers/daytona/emulator/toolbox/system.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>

namespace sandkey::daytona_toolbox {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;

int status_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const ToolboxError& error) {
    return error.status();
  }
  return 0;
}

TEST(Body, MembersHaveTypes) {
  const Body body = Body::parse(
      R"({"s":"x","e":"","n":7,"f":true,"l":["a","b"],"v":{"A":"1"},"z":null,"d":1.5,"m":-1,"big":4294967296})");
  EXPECT_EQ(body.required("s"), "x");
  EXPECT_EQ(body.text("absent"), std::nullopt);
  EXPECT_EQ(body.text("z"), std::nullopt);
  EXPECT_EQ(body.number("n"), 7U);
  EXPECT_EQ(body.any_number("d"), 1.5);
  EXPECT_TRUE(body.flag("f"));
  EXPECT_FALSE(body.flag("absent"));
  EXPECT_THAT(body.texts("l"), ElementsAre("a", "b"));
  EXPECT_EQ(body.variables("v"), (Variables{{"A", "1"}}));
  for (const char* name : {"e", "z", "absent", "n"})
    EXPECT_EQ(status_of([&] { (void)body.required(name); }), 400) << name;
  for (const char* name : {"m", "d", "s", "big"})
    EXPECT_EQ(status_of([&] { (void)body.number(name); }), 400) << name;
  EXPECT_EQ(status_of([&] { (void)body.texts("v"); }), 400);
  EXPECT_EQ(status_of([&] { (void)body.variables("l"); }), 400);
  EXPECT_EQ(status_of([&] { (void)body.flag("n"); }), 400);
  for (const char* text : {"", "[]", "{", "7"})
    EXPECT_EQ(status_of([&] { (void)Body::parse(text); }), 400) << text;
}

TEST(VariableNames, AreThoseOfAShell) {
  for (const char* name : {"A", "_", "a1_B"}) EXPECT_TRUE(is_variable_name(name)) << name;
  for (const char* name : {"", "1A", "A-B", "A=B", "A B", "\xC3\xA4"})
    EXPECT_FALSE(is_variable_name(name)) << name;
}

TEST(Modes, AreOctal) {
  EXPECT_EQ(parse_mode("0755"), 0755U);
  EXPECT_EQ(parse_mode("644"), 0644U);
  EXPECT_EQ(parse_mode("7777"), 07777U);
  for (const char* text : {"", "8", "10000", "u+x", "0x1", "-1"})
    EXPECT_EQ(parse_mode(text), std::nullopt) << text;
}

TEST(ShellText, IsQuoted) {
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("it's $HOME"), R"('it'\''s $HOME')");
}

TEST(Times, AreWrittenAsGoDoes) {
  const std::chrono::sys_time<std::chrono::nanoseconds> time(1'769'850'487s);
  EXPECT_EQ(go_time(time), "2026-01-31T09:08:07Z");
  EXPECT_EQ(go_time(time + 500ms), "2026-01-31T09:08:07.5Z");
  EXPECT_EQ(go_time(time + 1ns), "2026-01-31T09:08:07.000000001Z");
}

TEST(Errors, SayWhatTheyAre) {
  const std::chrono::system_clock::time_point now(1'769'850'487s);
  const json::object body = error_object(not_found("session not found"), "GET", "/process/session/x", now);
  EXPECT_EQ(body, (json::object{{"statusCode", 404},
                                {"message", "not found: session not found"},
                                {"code", "NOT_FOUND"},
                                {"timestamp", "2026-01-31T09:08:07Z"},
                                {"path", "/process/session/x"},
                                {"method", "GET"},
                                {"source", "DAYTONA_DAEMON"}}));
}

TEST(CodeOutput, ChartsAreTakenOut) {
  const CodeOutput output = parse_code_output(
      "one\ndtn_artifact_k39fd2:{\"type\":\"chart\",\"value\":{\"title\":\"T\"}}\ntwo\n"
      "dtn_artifact_k39fd2:not JSON\ndtn_artifact_k39fd2:{\"type\":\"other\",\"value\":1}\nthree");
  EXPECT_EQ(output.text, "one\ntwo\nthree");
  EXPECT_EQ(output.charts, (json::array{json::object{{"title", "T"}}}));
}

TEST(ExitCodes, AreMinusOneForSignals) {
  EXPECT_EQ(go_exit_code({.exit_code = 3}), 3);
  EXPECT_EQ(go_exit_code({.exit_code = 137, .signal = SIGKILL}), -1);
}

TEST(FileInfo, IsTheDaemons) {
  RemoteEntry entry;
  entry.type = RemoteEntry::Type::file;
  entry.size = 5;
  entry.mode = 0644;
  entry.uid = 1000;
  entry.gid = 100;
  entry.modified = 1'769'850'487s + 250ms;
  EXPECT_EQ(file_info("/home/a.txt", entry), (json::object{{"name", "a.txt"},
                                                           {"path", "/home/a.txt"},
                                                           {"size", 5},
                                                           {"mode", "-rw-r--r--"},
                                                           {"modTime", "2026-01-31 09:08:07.25 +0000 UTC"},
                                                           {"modifiedAt", "2026-01-31T09:08:07.25Z"},
                                                           {"isDir", false},
                                                           {"owner", "1000"},
                                                           {"group", "100"},
                                                           {"permissions", "0644"}}));
}

TEST(BulkDownload, PartsHaveTheirNamesInTwoSpellings) {
  EXPECT_EQ(part_head("file", "/a/b.txt", "text/plain"),
            "Content-Disposition: form-data; name=\"file\"; filename=\"/a/b.txt\"; "
            "filename*=utf-8''%2Fa%2Fb.txt\r\nContent-Type: text/plain\r\n\r\n");
  EXPECT_THAT(part_head("file", "\xC3\xA9\xE2\x82\xAC\"\n", "x/y"),
              ::testing::HasSubstr("filename=\"\xE9?\\\"?\"; filename*=utf-8''%C3%A9%E2%82%AC%22%0A\r\n"));
}

TEST(BulkUpload, FieldsHaveAnIndexAndAKind) {
  using Kind = UploadField::Kind;
  EXPECT_EQ(upload_field("files[0].path"), (UploadField{Kind::path, "0"}));
  EXPECT_EQ(upload_field("files[12].file"), (UploadField{Kind::file, "12"}));
  for (const char* name : {"", "file", "files[", "files[1]", "files[1].other", "xfiles[1].path"})
    EXPECT_EQ(upload_field(name).kind, Kind::other) << name;
}

TEST(Replacing, IsOfPlainText) {
  EXPECT_EQ(replaced("a.a.b", ".", "!"), "a!a!b");
  EXPECT_EQ(replaced("aaa", "aa", "b"), "ba");
  EXPECT_EQ(replaced("text", "", "x"), "text");
  EXPECT_EQ(replaced("", "x", "y"), "");
}

TEST(Finding, ReadsWhatGrepAndFindSay) {
  using std::string_literals::operator""s;
  EXPECT_EQ(parse_matches("a:b\0"s + "12:x: y\nc\0"s + "3:\nd\0nothing\n"s),
            (json::array{json::object{{"file", "a:b"}, {"line", 12}, {"content", "x: y"}},
                         json::object{{"file", "c"}, {"line", 3}, {"content", ""}}}));
  EXPECT_EQ(parse_paths("b\0a\nc\0"s), (json::array{"a\nc", "b"}));
  EXPECT_EQ(parse_paths(""), json::array());
}

TEST(Ports, AreThoseThatListen) {
  const char* const table =
      "  sl  local_address rem_address   st tx_queue\n"
      "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000\n"
      "   1: 0100007F:0BB9 0100007F:1F90 01 00000000:00000000\n"
      "   2: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0\n"
      "   3: nonsense\n";
  EXPECT_THAT(parse_listening_ports(table), ElementsAre(3000, 8080));
  EXPECT_TRUE(parse_listening_ports("").empty());
}

TEST(Ptys, TellHowTheyEnded) {
  const auto reason = [](int code) { return std::string(pty_exit(code).at("exitReason").as_string()); };
  EXPECT_EQ(pty_exit(0), (json::object{{"exitCode", 0}}));
  EXPECT_EQ(reason(1), "non-zero exit");
  EXPECT_EQ(reason(130), "Ctrl+C");
  EXPECT_EQ(reason(137), "SIGKILL");
  EXPECT_EQ(reason(143), "SIGTERM");
  EXPECT_EQ(reason(139), "signal 11");
  EXPECT_EQ(reason(255), "non-zero exit");
  EXPECT_EQ(parse_pty_variables("eyJBIjoiYiIsIkItQyI6IngiLCJEIjoxfQ"), (Variables{{"A", "b"}}));
  EXPECT_TRUE(parse_pty_variables("nothing").empty());
}

TEST(Cells, HaveACodeAndATimeout) {
  const CellRequest cell =
      parse_cell_request(R"({"code":"x","contextId":"c","envs":{"A":"b"},"timeout":0.5})");
  EXPECT_EQ(cell.code, "x");
  EXPECT_EQ(cell.context, "c");
  EXPECT_EQ(cell.timeout, 500ms);
  EXPECT_EQ(parse_cell_request(R"({"code":"x","timeout":0})").timeout, std::nullopt);
  EXPECT_EQ(parse_cell_request(R"({"code":"x"})").timeout, Interpreter::kDefaultTimeout);
  for (const char* text : {"{}", R"({"code":"x","timeout":-1})", R"({"code":1})", "[]"})
    EXPECT_EQ(status_of([&] { (void)parse_cell_request(text); }), 400) << text;
}

TEST(Cells, EventsHaveAllTheirMembers) {
  EXPECT_EQ(
      cell_event(R"({"type":"stdout","text":"x","more":1})"),
      (json::object{{"type", "stdout"}, {"text", "x"}, {"name", ""}, {"value", ""}, {"traceback", ""}}));
  for (const char* line : {"", "x", "[]", R"({"type":"ready"})", R"({"type":7})"})
    EXPECT_EQ(cell_event(line), std::nullopt) << line;
}

TEST(GitStatus, IsInTheDaemonsWords) {
  using std::string_literals::operator""s;
  const std::string output =
      "# branch.oid abc\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -1\0"s +
      "1 M. N... 1 2 3 a b staged file\0"s + "1 .D N... 1 2 3 a b gone\0"s +
      "2 R. N... 1 2 3 a b R100 new\0old\0"s + "u UU N... 1 2 3 4 a b c both\0"s + "? new file\0"s +
      "1 M\0junk\0"s;
  const json::object status = parse_git_status(output);
  EXPECT_EQ(status.at("currentBranch"), "main");
  EXPECT_EQ(status.at("upstream"), "origin/main");
  EXPECT_EQ(status.at("ahead"), 2);
  EXPECT_EQ(status.at("behind"), 1);
  EXPECT_EQ(status.at("branchPublished"), true);
  std::string files;
  for (const json::value& each : status.at("fileStatus").as_array()) {
    for (const char* name : {"name", "staging", "worktree", "extra"})
      files += std::string(each.as_object().at(name).as_string()) + "|";
  }
  EXPECT_EQ(files,
            "staged file|Modified|Unmodified||gone|Unmodified|Deleted||new|Renamed|Unmodified|old|"
            "both|Updated but unmerged|Updated but unmerged||new file|Untracked|Untracked||");
  EXPECT_EQ(parse_git_status("# branch.head (detached)\0"s).at("detached"), true);
}

TEST(GitLog, IsTakenApart) {
  using std::string_literals::operator""s;
  const json::array log = parse_git_log(
      "h1\0A B\0a@b\0"
      "2026-01-31T09:08:07Z\0title\n\nbody\n\x1E\nh2\0C\0c@d\0t\0m\x1E\n"s);
  ASSERT_EQ(log.size(), 2U);
  EXPECT_EQ(log[0].at("message"), "title\n\nbody\n");
  EXPECT_EQ(log[1].at("hash"), "h2");
  EXPECT_EQ(log[1].at("email"), "c@d");
}

TEST(GitErrors, HaveTheDaemonsCodes) {
  const auto code = [](const char* complaint) { return git_error(complaint).code(); };
  EXPECT_EQ(code("fatal: Authentication failed for 'https://x/'"), "GIT_AUTH_FAILED");
  EXPECT_EQ(code("fatal: not a git repository (or any parent)"), "GIT_REPO_NOT_FOUND");
  EXPECT_EQ(code("fatal: repository '/none' does not exist"), "GIT_REPO_NOT_FOUND");
  EXPECT_EQ(code("error: pathspec 'x' did not match any file(s) known to git"), "GIT_BRANCH_NOT_FOUND");
  EXPECT_EQ(code("error: branch 'x' not found."), "GIT_BRANCH_NOT_FOUND");
  EXPECT_EQ(code("fatal: a branch named 'x' already exists"), "GIT_BRANCH_EXISTS");
  EXPECT_EQ(code(" ! [rejected] main -> main (fetch first)"), "GIT_PUSH_REJECTED");
  EXPECT_EQ(code("fatal: unable to access 'https://x/': Could not resolve host: x"), "GIT_TRANSPORT_FAILED");
  EXPECT_EQ(code("CONFLICT (content): Merge conflict in a"), "GIT_MERGE_CONFLICT");
  EXPECT_EQ(code("something else"), "BAD_REQUEST");
}

TEST(Routes, AreNamedForTheJournal) {
  EXPECT_THAT(ToolboxServer::routes(), Contains("POST /process/execute"));
  EXPECT_EQ(ToolboxServer::route_of("GET", "/port/3000/in-use?x=1"), "GET /port/{port}/in-use");
  EXPECT_EQ(ToolboxServer::route_of("GET", "/process/execute"), std::nullopt);
  EXPECT_EQ(ToolboxServer::route_of("GET", "/process/pty/create-connect"), "GET /process/pty/create-connect");
}

}  // namespace
}  // namespace sandkey::daytona_toolbox
