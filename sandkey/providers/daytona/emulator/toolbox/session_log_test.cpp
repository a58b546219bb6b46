#include "sandkey/providers/daytona/emulator/toolbox/session_log.h"

#include "sandkey/providers/daytona/emulator/toolbox/ids.h"
#include "sandkey/providers/daytona/emulator/toolbox/sessions.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace sandkey::daytona_toolbox {
namespace {

const std::string kOut = "\x01\x01\x01";
const std::string kErr = "\x02\x02\x02";

TEST(SessionLog, IsTakenApartByItsMarks) {
  const LogSplitter split = split_log("lost" + kOut + "one\n" + kErr + "bad\n" + kOut + "two\n");
  EXPECT_EQ(split.outputs[0], "one\ntwo\n");
  EXPECT_EQ(split.outputs[1], "bad\n");
  EXPECT_EQ(split.merged, "one\nbad\ntwo\n");
}

TEST(SessionLog, IsTakenApartTheSameInAnyPieces) {
  const std::string log = kOut + "a\x01\x01x\n" + kErr + "\x02\n" + kOut + "b\x01\x01";
  const LogSplitter whole = split_log(log);
  EXPECT_EQ(whole.outputs[0], "a\x01\x01x\nb\x01\x01");
  for (std::size_t piece = 1; piece < log.size(); ++piece) {
    LogSplitter splitter;
    for (std::size_t at = 0; at < log.size(); at += piece) splitter.feed(log.substr(at, piece));
    splitter.finish();
    EXPECT_EQ(splitter.outputs, whole.outputs) << piece;
    EXPECT_EQ(splitter.merged, whole.merged) << piece;
  }
}

TEST(SessionLog, WhoGetsWhatDependsOnTheVersion) {
  for (const char* version : {"0.167.0", "v0.218.0", "1.0.0", "0.0.0-dev", "dev", "0.167.0+build"})
    EXPECT_EQ(log_shape(version, false), LogShape::split) << version;
  for (const char* version : {"0.27.0", "0.166.9", "0.167.0-alpha.1", "what", "0.27", "1.2.3.4"})
    EXPECT_EQ(log_shape(version, false), LogShape::marked) << version;
  for (const char* version : {"0.26.9", "0.0.1", ""})
    EXPECT_EQ(log_shape(version, false), LogShape::merged) << version;
  EXPECT_EQ(log_shape("", true), LogShape::marked);
  EXPECT_EQ(log_shape("0.26.0", true), LogShape::merged);
}

class Output : public ::testing::Test {
 protected:
  SessionCommand& begin() {
    auto command = std::make_shared<SessionCommand>();
    output.add(command);
    return *command;
  }
  SessionOutput output{"WORD"};
};

TEST_F(Output, LinesGetMarksAndCommandsTheirEnds) {
  SessionCommand& first = begin();
  output.feed(0, "on");
  output.feed(1, "bad\n");
  output.feed(0, "e\ntwo\nunfinishedWORD:0:3\n");
  EXPECT_FALSE(first.over()) << "stderr may have more";
  output.feed(1, "worse\nWORD:0:\n");
  EXPECT_TRUE(first.over());
  EXPECT_EQ(first.exit_code, 3);
  EXPECT_EQ(first.log,
            kErr + "bad\n" + kOut + "one\n" + kOut + "two\n" + kOut + "unfinished\n" + kErr + "worse\n");
}

TEST_F(Output, EachCommandHasItsOwn) {
  SessionCommand& first = begin();
  SessionCommand& second = begin();
  output.feed(0, "1\nWORD:0:0\n2\nWORD:1:0\nlate\n");
  output.feed(1, "WORD:0:\nWORD:1:\n");
  EXPECT_EQ(first.log, kOut + "1\n");
  EXPECT_EQ(second.log, kOut + "2\n" + kOut + "late\n") << "what a child writes is the last command's";
}

TEST_F(Output, AShellThatEndsEndsItsCommands) {
  SessionCommand& first = begin();
  SessionCommand& second = begin();
  output.feed(0, "WORD:0:7\nlast");
  output.finish();
  EXPECT_EQ(first.exit_code, 7);
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_EQ(second.log, kOut + "last\n");
  EXPECT_TRUE(first.over() && second.over());
}

TEST_F(Output, LogsAndLinesAreBounded) {
  SessionCommand& command = begin();
  const std::string line(SessionOutput::kMaxLine + 1, 'x');
  output.feed(0, line + "\n");
  EXPECT_EQ(command.log.size(), line.size() + 2 * kOut.size() + 2) << "one line became two";
  while (command.log.size() < SessionOutput::kMaxLog) output.feed(1, line + "\n");
  const std::size_t size = command.log.size();
  output.feed(1, line + "\n");
  EXPECT_EQ(command.log.size(), size);
}

TEST_F(Output, NonsenseInsteadOfAMarkIsHarmless) {
  output.feed(0, "before any\nWORD:9:1\nWORD:x\nWORD:\n");
  SessionCommand& command = begin();
  output.feed(0, "WORD:99999999999999999999:1\nWORDS\n");
  EXPECT_FALSE(command.over());
  EXPECT_EQ(command.log, kOut + "WORDS\n");
}

TEST(Names, OfSubprotocols) {
  EXPECT_TRUE(is_token("X-Daytona-SDK-Version~0.1.0", "x-daytona-sdk-version"));
  EXPECT_FALSE(is_token("X-Daytona-SDK-Version", "X-Daytona-SDK-Version"));
  EXPECT_EQ(base64url_decode("eyJBIjoiYiJ9"), R"({"A":"b"})");
  EXPECT_EQ(base64url_decode("_-8"), "\xFF\xEF");
  EXPECT_EQ(base64url_decode("a+b="), "");
}

}  // namespace
}  // namespace sandkey::daytona_toolbox
