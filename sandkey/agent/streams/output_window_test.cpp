#include "sandkey/agent/streams/output_window.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace sandkey::agent {
namespace {

TEST(OutputWindow, BeginsEmptyWithAllItsRoom) {
  const OutputWindow window;
  EXPECT_EQ(window.begin(), 0U);
  EXPECT_EQ(window.end(), 0U);
  EXPECT_EQ(window.size(), 0U);
  EXPECT_EQ(window.room(), OutputWindow::kCapacity);
  EXPECT_EQ(window.from(0), "");
}

TEST(OutputWindow, GivesBytesFromAnyOffsetItHolds) {
  OutputWindow window;
  window.append("hello ");
  window.append("world");
  EXPECT_EQ(window.end(), 11U);
  for (std::uint64_t offset = 0; offset <= 11; ++offset) {
    EXPECT_EQ(window.from(offset), std::string("hello world").substr(offset));
  }
}

TEST(OutputWindow, ForgetsWhatWasAcknowledged) {
  OutputWindow window;
  window.append("hello world");
  window.acknowledge(6);
  EXPECT_EQ(window.begin(), 6U);
  EXPECT_EQ(window.end(), 11U);
  EXPECT_EQ(window.from(6), "world");
  window.append("!");
  EXPECT_EQ(window.from(8), "rld!");
  window.acknowledge(12);
  EXPECT_EQ(window.begin(), 12U);
  EXPECT_EQ(window.size(), 0U);
  window.append("more");
  EXPECT_EQ(window.from(12), "more");
}

TEST(OutputWindow, ClampsOffsetsItDoesNotHold) {
  OutputWindow window;
  window.append("abcdef");
  window.acknowledge(3);
  window.acknowledge(1);  // an old one, repeated
  EXPECT_EQ(window.begin(), 3U);
  EXPECT_EQ(window.from(0), "def");
  EXPECT_EQ(window.from(99), "");
  window.acknowledge(std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(window.begin(), 6U);
  EXPECT_EQ(window.end(), 6U);
}

TEST(OutputWindow, IsFullAtItsCapacity) {
  OutputWindow window;
  window.append(std::string(OutputWindow::kCapacity - 1, 'x'));
  EXPECT_EQ(window.room(), 1U);
  window.append("y");
  EXPECT_EQ(window.room(), 0U);
  window.acknowledge(1);
  EXPECT_EQ(window.room(), 1U);
}

TEST(OutputWindow, StaysExactOverManyTimesItsCapacity) {
  OutputWindow window;
  std::uint64_t written = 0;
  std::uint64_t read = 0;
  std::uint32_t random = 1;
  const auto next = [&random](std::uint64_t below) {
    random = random * 1664525U + 1013904223U;
    return below == 0 ? 0 : (random >> 8U) % below;
  };
  const auto byte_at = [](std::uint64_t offset) { return static_cast<char>(offset * 131 + (offset >> 9U)); };
  while (written < 8 * OutputWindow::kCapacity) {
    std::string piece(next(std::min<std::uint64_t>(window.room(), 100'000) + 1), '\0');
    for (char& c : piece) c = byte_at(written++);
    window.append(piece);
    ASSERT_LE(window.size(), OutputWindow::kCapacity);
    ASSERT_EQ(window.end(), written);
    read += next(written - read + 1);
    window.acknowledge(read);
    ASSERT_EQ(window.begin(), read);
    const std::string_view held = window.from(read);
    ASSERT_EQ(held.size(), written - read);
    if (!held.empty()) {
      ASSERT_EQ(held.front(), byte_at(read));
      ASSERT_EQ(held.back(), byte_at(written - 1));
    }
  }
}

}  // namespace
}  // namespace sandkey::agent
