#include "sandkey/emulator/machine/usage.h"

#include <gtest/gtest.h>

namespace sandkey::machine {
namespace {

TEST(Usage, ProcessorTimes) {
  const ProcessorTimes times =
      parse_processor_times("cpu  10 1 5 100 20 1 2 0 0 0\ncpu0 5 0 2 50\ncpu1 5 1 3 50\nintr 999\n");
  EXPECT_EQ(times.count, 2U);
  EXPECT_EQ(times.total, 139U);
  EXPECT_EQ(times.busy, 19U) << "without idling and waiting for a disk";
  EXPECT_EQ(parse_processor_times("").total, 0U);
}

TEST(Usage, Memory) {
  const MemoryUse use =
      parse_memory_use("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\nCached: 7 kB\nx\n");
  EXPECT_EQ(use.total, 102'400U);
  EXPECT_EQ(use.available, 40'960U);
  EXPECT_EQ(use.cached, 7'168U);
}

}  // namespace
}  // namespace sandkey::machine
