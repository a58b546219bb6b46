// The words and numbers of envd's services: how a process ended, what changed, what a file is given.
#include "sandkey/providers/e2b/emulator/envd/api_error.h"
#include "sandkey/providers/e2b/emulator/envd/file_routes.h"
#include "sandkey/providers/e2b/emulator/envd/filesystem_service.h"
#include "sandkey/providers/e2b/emulator/envd/processes.h"
#include "sandkey/providers/e2b/emulator/envd/watchers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

using ::testing::ElementsAre;

TEST(EndOfAProcess, IsWordedAsGoDoes) {
  EXPECT_EQ(end_event({.exit_code = 0}).ShortDebugString(), "exited: true status: \"exit status 0\"");
  EXPECT_EQ(end_event({.exit_code = 3}).ShortDebugString(),
            "exit_code: 3 exited: true status: \"exit status 3\" error: \"exit status 3\"");
  const auto status = [](int signal) {
    return end_event({.exit_code = 128 + signal, .signal = signal}).status();
  };
  EXPECT_EQ(end_event({.exit_code = 137, .signal = SIGKILL}).ShortDebugString(),
            "exit_code: -1 status: \"signal: killed\" error: \"signal: killed\"");
  EXPECT_EQ(status(SIGTERM), "signal: terminated");
  EXPECT_EQ(status(SIGRTMIN), "signal: signal " + std::to_string(SIGRTMIN));
  EXPECT_EQ(end_event({.exit_code = 137}).exit_code(), 137) << "which no signal did";
}

std::vector<std::string> types_of(std::vector<std::string> events) {
  std::vector<std::string> types;
  for (const FilesystemEvent& event : filesystem_events({.name = "n", .events = std::move(events)})) {
    EXPECT_EQ(event.name(), "n");
    types.push_back(EventType_Name(event.type()));
  }
  return types;
}

TEST(Changes, AreToldInEnvdsOrder) {
  EXPECT_THAT(types_of({"write", "create"}), ElementsAre("EVENT_TYPE_CREATE", "EVENT_TYPE_WRITE"));
  EXPECT_THAT(types_of({"remove", "write", "attributes", "rename", "create"}),
              ElementsAre("EVENT_TYPE_CREATE", "EVENT_TYPE_RENAME", "EVENT_TYPE_CHMOD", "EVENT_TYPE_WRITE",
                          "EVENT_TYPE_REMOVE"));
  EXPECT_TRUE(types_of({"unheard of"}).empty());
}

TEST(Metadata, ComesFromHeaders) {
  const std::vector<net::HttpExchange::Header> headers{{"Content-Type", "x"},
                                                       {"X-Metadata-Author", "me"},
                                                       {"x-METADATA-author", "second"},
                                                       {"x-metadata-b", ""}};
  EXPECT_EQ(metadata_of(headers), (Metadata{{"author", "me"}, {"b", ""}}));
}

bool is_metadata(const std::string& key, const std::string& value) {
  const std::string header = "X-Metadata-" + key;
  const std::vector<net::HttpExchange::Header> headers{{header, value}};
  try {
    return metadata_of(headers).size() == 1;
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    return false;
  }
}

TEST(Metadata, HasBounds) {
  EXPECT_FALSE(is_metadata("", "value"));
  EXPECT_TRUE(is_metadata(std::string(kMaxMetadataKey, 'k'), ""));
  EXPECT_FALSE(is_metadata(std::string(kMaxMetadataKey + 1, 'k'), ""));
  const std::size_t room = kMaxMetadata - std::string(kMetadataPrefix).size() - 1;
  EXPECT_TRUE(is_metadata("k", std::string(room, 'v')));
  EXPECT_FALSE(is_metadata("k", std::string(room + 1, 'v')));
  EXPECT_TRUE(is_metadata("k", " ~"));
  EXPECT_FALSE(is_metadata("k", "\x7F"));
  EXPECT_FALSE(is_metadata("k", "\t"));
}

}  // namespace
}  // namespace sandkey::e2b_envd
