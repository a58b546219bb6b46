#include "sandkey/agent/files/binary_detection.h"

#include "sandkey/agent/files/temp_dir.h"

#include <string>

namespace sandkey::agent::files {
namespace {

using namespace std::string_literals;

TEST(LooksBinary, DecidesByTheFirstBytes) {
  struct Row {
    const char* name;
    std::string bytes;
    bool is_binary;
  };
  const Row rows[] = {
      {"empty", "", false},
      {"ASCII", "hello\r\n\tworld\f\b", false},
      {"UTF-8", "h\xC3\xA9llo \xE2\x82\xAC", false},
      {"only characters beyond ASCII", "\xE6\x97\xA5\xE6\x9C\xAC", false},
      {"UTF-8 with a mark", "\xEF\xBB\xBFhi", false},
      {"UTF-8 cut off within a character", std::string(1023, 'a') + "\xE6", false},
      {"UTF-16 little endian", "\xFF\xFEh\0i\0"s, false},
      {"UTF-16 big endian", "\xFE\xFF\0h\0i"s, false},
      {"UTF-16 with a pair", "\xFF\xFE\x3D\xD8\x00\xDE"s, false},
      {"UTF-16 with half a pair", "\xFF\xFE\x3D\xD8h\0"s, true},
      {"UTF-32", "\xFF\xFE\0\0h\0\0\0"s, true},
      {"Latin-1", "caf\xE9 au lait", false},
      {"a zero byte", "text\0text"s, true},
      {"a zero byte after UTF-8", "\xC3\xA9\0"s, true},
      {"0xFF", "text\xFFtext", true},
      {"ELF",
       "\x7F"
       "ELF\x02\x01\x01\0\0\0"s,
       true},
      {"mostly control characters", "\x01\x02\x03\x04\x05\x06\x07\x0E\x0F", true},
      {"some control characters", "\x1B[31mred text\x1B[0m", false},
      {"nothing but malformed high bytes", "\x80\x81\x82\x83", true},
  };
  for (const Row& row : rows) EXPECT_EQ(looks_binary(row.bytes), row.is_binary) << row.name;
}

class IsBinaryFile : public TempDirTest {};

TEST_F(IsBinaryFile, LooksAtNoMoreThanTheBeginning) {
  const std::string text(kBinaryProbeBytes, 'a');
  EXPECT_FALSE(is_binary_file(put("behind", text + '\0')));
  EXPECT_TRUE(is_binary_file(put("last", text.substr(1) + '\0')));
}

TEST_F(IsBinaryFile, IsFalseForWhatCannotBeReadAndTrueForCompiledPython) {
  EXPECT_FALSE(is_binary_file(path("missing")));
  EXPECT_FALSE(is_binary_file(dir_));
  EXPECT_FALSE(is_binary_file("/dev/zero"));
  EXPECT_TRUE(is_binary_file(path("missing.pyc")));
  EXPECT_TRUE(is_binary_file(put("text.pyc", "text")));
}

}  // namespace
}  // namespace sandkey::agent::files
