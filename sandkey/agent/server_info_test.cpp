#include "sandkey/agent/server_info.h"

#include <gtest/gtest.h>

namespace sandkey::agent {
namespace {

using namespace std::chrono_literals;

TEST(ServerInfo, HasTheShapeOfOpenHands) {
  const auto now = std::chrono::steady_clock::now();
  const json::object info = server_info(now - 100s, now - 10s, "/");
  EXPECT_GE(info.at("uptime").as_double(), 100.0);
  EXPECT_GE(info.at("idle_time").as_double(), 10.0);
  EXPECT_LT(info.at("idle_time").as_double(), info.at("uptime").as_double());
  const json::object& resources = info.at("resources").as_object();
  EXPECT_GE(resources.at("cpu_percent").as_double(), 0.0);
  const json::object& memory = resources.at("memory").as_object();
  EXPECT_GT(memory.at("rss").as_int64(), 0);
  EXPECT_GE(memory.at("vms").as_int64(), memory.at("rss").as_int64());
  EXPECT_GT(memory.at("percent").as_double(), 0.0);
  const json::object& disk = resources.at("disk").as_object();
  EXPECT_GT(disk.at("total").as_int64(), 0);
  EXPECT_LE(disk.at("free").as_int64(), disk.at("total").as_int64());
  EXPECT_LE(disk.at("percent").as_double(), 100.0);
  EXPECT_TRUE(resources.at("io").as_object().contains("read_bytes"));
  EXPECT_TRUE(resources.at("io").as_object().contains("write_bytes"));
}

TEST(ServerInfo, AMissingFolderGivesZeros) {
  const auto now = std::chrono::steady_clock::now();
  const json::object info = server_info(now, now, "/no/such/folder");
  EXPECT_EQ(info.at("resources").at("disk").at("total").as_int64(), 0);
  EXPECT_EQ(info.at("resources").at("disk").at("percent").as_double(), 0.0);
}

}  // namespace
}  // namespace sandkey::agent
