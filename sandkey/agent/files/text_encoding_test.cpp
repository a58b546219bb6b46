#include "sandkey/agent/files/text_encoding.h"

#include "sandkey/agent/files/python_text.h"

#include <gtest/gtest.h>

#include <string>

namespace sandkey::agent::files {
namespace {

using namespace std::string_literals;

TEST(TextEncoding, ReadsAndWritesBackEachKind) {
  struct Row {
    Encoding encoding;
    std::string bytes, text;
  };
  const Row rows[] = {
      {Encoding::utf8, "h\xC3\xA9\n", "h\xC3\xA9\n"},
      {Encoding::utf8, "", ""},
      {Encoding::utf8_bom, "\xEF\xBB\xBFhi", "hi"},
      {Encoding::utf16_le, "\xFF\xFEh\0\xE9\0"s, "h\xC3\xA9"},
      {Encoding::utf16_be, "\xFE\xFF\0h\xD8\x3D\xDE\0"s, "h\xF0\x9F\x98\x80"},
      {Encoding::latin1, "caf\xE9\xFF", "caf\xC3\xA9\xC3\xBF"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(detect_encoding(row.bytes), row.encoding) << row.text;
    EXPECT_EQ(decode_text(row.bytes, row.encoding).text, row.text);
    EXPECT_EQ(encode_text(row.text, row.encoding).text, row.bytes);
  }
}

TEST(TextEncoding, SaysWhatCannotBeConverted) {
  EXPECT_EQ(encode_text("a\xC3\xA9\xE2\x82\xAC", Encoding::latin1).error,
            "'latin-1' codec can't encode character '\\u20ac' in position 2: ordinal not in range(256)");
  EXPECT_EQ(decode_text("\xFF\xFEh"s, Encoding::utf16_le).error,
            "'utf-16-le' codec can't decode bytes in position 2: truncated data");
  EXPECT_EQ(decode_text("\xFF\xFE\x3D\xD8"s, Encoding::utf16_le).error,
            "'utf-16-le' codec can't decode bytes in position 2: unexpected end of data");
  EXPECT_EQ(decode_text("\xFF\xFE\x3D\xD8h\0"s, Encoding::utf16_le).error,
            "'utf-16-le' codec can't decode bytes in position 2: illegal UTF-16 surrogate");
}

TEST(TextEncoding, KnowsLineEndings) {
  EXPECT_EQ(normalize_newlines("a\r\nb\rc\n\r\n\r"), "a\nb\nc\n\n\n");
  EXPECT_EQ(usual_newline(""), "\n");
  EXPECT_EQ(usual_newline("a\nb\r\n"), "\n");
  EXPECT_EQ(usual_newline("a\r\nb\r\nc\n"), "\r\n");
  EXPECT_EQ(usual_newline("a\rb\r"), "\r");
  EXPECT_EQ(with_newlines("a\nb\r\n\n", "\r\n"), "a\r\nb\r\n\r\n");
  EXPECT_EQ(raw_offset("a\r\nb\rc", 2), 3U);
  EXPECT_EQ(raw_offset("a\r\nb\rc", 5), 6U);
  std::string joined = "a\r";
  append_lines(joined, "\nb");
  EXPECT_EQ(normalize_newlines(joined), "a\n\nb");
}

TEST(PythonText, PrintsPathsAsPathlibDoes) {
  EXPECT_EQ(path_text("/a//b/./c/"), "/a/b/c");
  EXPECT_EQ(path_text("/a/../b"), "/a/../b");
  EXPECT_EQ(path_text("//a"), "//a");
  EXPECT_EQ(path_text("///a"), "/a");
  EXPECT_EQ(path_text("/"), "/");
  EXPECT_EQ(path_text("./"), ".");
  EXPECT_EQ(path_text(""), ".");
  EXPECT_EQ(join_path("/w/", "a"), "/w/a");
  EXPECT_EQ(join_path("/w", "/a/"), "/a");
  EXPECT_EQ(suffix("/x.d/.bashrc"), "");
  EXPECT_EQ(suffix("/x/a.tar.GZ"), ".GZ");
  EXPECT_EQ(suffix("/x/a."), "");
}

TEST(PythonText, PrintsValuesAndErrorsAsPythonDoes) {
  EXPECT_EQ(repr("it's"), "\"it's\"");
  EXPECT_EQ(repr("'\"\\\n\x01"), "'\\'\"\\\\\\n\\x01'");
  EXPECT_EQ(list_text({}), "[]");
  EXPECT_EQ(list_text({1, -2}), "[1, -2]");
  EXPECT_EQ(os_error_text(13, "/x"), "[Errno 13] Permission denied: '/x'");
  EXPECT_EQ(os_error_text(28), "[Errno 28] No space left on device");
  EXPECT_EQ(strip(" \t\xC2\xA0\xE3\x80\x80"
                  "a b\x1F\n"),
            "a b");
  EXPECT_EQ(strip(" \n"), "");
}

}  // namespace
}  // namespace sandkey::agent::files
