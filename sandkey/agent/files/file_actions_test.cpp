#include "sandkey/agent/files/file_actions.h"

#include "sandkey/agent/files/temp_dir.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace sandkey::agent::files {
namespace {

using namespace std::string_literals;

class ReadFile : public TempDirTest {
 protected:
  [[nodiscard]] FileResult read(const std::string& what, long long start = 0, long long end = -1) const {
    return read_file({.path = what, .working_dir = dir_, .start = start, .end = end});
  }
};

TEST_F(ReadFile, SelectsLinesAsTheReferenceDoes) {
  struct Row {
    long long start, end;
    const char* lines;
  };
  const Row rows[] = {
      {0, -1, "0123456789"}, {0, 3, "012"}, {2, 5, "234"},         {5, 5, "5"},           {9, 10, "89"},
      {20, 30, "89"},        {20, -1, ""},  {0, 0, "0"},           {-4, 2, "01"},         {3, -2, "3"},
      {8, 9, "8"},           {9, -1, "9"},  {0, 10, "0123456789"}, {0, 11, "0123456789"},
  };
  std::string text;
  for (char c = '0'; c <= '9'; ++c) text += std::string(1, c) + "\n";
  const std::string file = put("ten", text);
  for (const Row& row : rows) {
    std::string expected;
    for (const char* line = row.lines; *line != '\0'; ++line) expected += std::string(1, *line) + "\n";
    const FileResult result = read(file, row.start, row.end);
    EXPECT_EQ(result.status, FileStatus::ok);
    EXPECT_EQ(result.text, expected) << row.start << "," << row.end;
  }
}

TEST_F(ReadFile, ReadsTextWithUniversalNewlines) {
  struct Row {
    std::string bytes;
    std::string text;
  };
  const Row rows[] = {
      {"", ""},
      {"a", "a"},
      {"a\r\nb\rc\n\r", "a\nb\nc\n\n"},
      {"\xEF\xBB\xBFx", "\xEF\xBB\xBFx"},
      {"h\xC3\xA9\n", "h\xC3\xA9\n"},
      {std::string(65535, 'a') + "\r\nb", std::string(65535, 'a') + "\nb"},  // the ending across two chunks
      {std::string(65535, 'a') + "\xC3\xA9", std::string(65535, 'a') + "\xC3\xA9"},  // a character across two
  };
  for (const Row& row : rows) EXPECT_EQ(read(put("text", row.bytes)).text, row.text);
  EXPECT_EQ(read(put("text", ""), 3, 5).text, "");
  EXPECT_EQ(read(put("text", "only"), 3, 5).text, "only");
}

TEST_F(ReadFile, IsRelativeToTheWorkingDirectory) {
  put("sub/f", "x\n");
  const FileResult result = read("./sub//f");
  EXPECT_EQ(result.text, "x\n");
  EXPECT_EQ(result.path, dir_ + "/sub/f");
}

TEST_F(ReadFile, NamesWhatIsWrong) {
  struct Row {
    std::string what;
    FileStatus status;
    std::string text;
  };
  put("latin", "caf\xE9\n");
  put("late", std::string(70'000, 'a') + "\xE9");
  put("binary",
      "\x7F"
      "ELF\0"s);
  put("text.pyc", "x");
  std::filesystem::create_directory(path("dir"));
  std::filesystem::create_symlink("nowhere", path("dangling"));
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  const Row rows[] = {
      {"missing", FileStatus::error,
       "File not found: " + path("missing") + ". Your current working directory is " + dir_ + "."},
      {"dangling", FileStatus::error,
       "File not found: " + path("dangling") + ". Your current working directory is " + dir_ + "."},
      {path("latin"), FileStatus::error, "File could not be decoded as utf-8: " + path("latin") + "."},
      {path("late"), FileStatus::error, "File could not be decoded as utf-8: " + path("late") + "."},
      {"dir", FileStatus::error, "Path is a directory: " + path("dir") + ". You can only read files"},
      {path("binary"), FileStatus::error, "ERROR_BINARY_FILE"},
      {"text.pyc", FileStatus::error, "ERROR_BINARY_FILE"},
      {path("missing.pyc"), FileStatus::error, "ERROR_BINARY_FILE"},
      {path("fifo"), FileStatus::error, "Not a regular file: " + path("fifo") + ". You can only read files"},
      {path("latin/x"), FileStatus::system_error, "[Errno 20] Not a directory: '" + path("latin/x") + "'"},
      {"a\0b"s, FileStatus::system_error, "embedded null byte"},
  };
  for (const Row& row : rows) {
    const FileResult result = read(row.what);
    EXPECT_EQ(result.status, row.status) << row.what;
    EXPECT_EQ(result.text, row.text);
  }
}

TEST_F(ReadFile, TurnsMediaIntoDataUrls) {
  struct Row {
    const char *name, *bytes, *url;
  };
  const Row rows[] = {
      {"a.png", "\x89PNG", "data:image/png;base64,iVBORw=="},
      {"a.JPG", "abc", "data:image/jpeg;base64,YWJj"},
      {"a.jpeg", "ab", "data:image/jpeg;base64,YWI="},
      {"a.bmp", "", "data:image/bmp;base64,"},
      {"a.gif", "abcd", "data:image/gif;base64,YWJjZA=="},
      {"a.pdf", "%PDF", "data:application/pdf;base64,JVBERg=="},
      {"a.mp4", "abc", "data:video/mp4;base64,YWJj"},
      {"a.webm", "abc", "data:video/webm;base64,YWJj"},
      {"a.ogg", "abc", "data:audio/ogg;base64,YWJj"},
      {".jpg", "abc", "data:image/png;base64,YWJj"},
      {".ogg", "abc", "data:video/mp4;base64,YWJj"},
  };
  for (const Row& row : rows) {
    put(row.name, row.bytes);
    EXPECT_EQ(read(row.name).text, row.url);
  }
  // The reference looks for binary files first, and finds those with an absolute path.
  EXPECT_EQ(read(put("b.png", "\x89PNG\0"s)).text, "ERROR_BINARY_FILE");
  EXPECT_EQ(read("b.png").text, "data:image/png;base64,iVBORwA=");
}

TEST_F(ReadFile, IsBoundedAtItsLimit) {
  const std::string text = put("text", std::string(kMaxReadBytes - 1, 'x') + "\n");
  EXPECT_EQ(read(text).text.size(), kMaxReadBytes);
  put("text", std::string(kMaxReadBytes, 'x') + "\nend\n");
  EXPECT_EQ(read(text).text,
            "File is too large to read at once: " + text + ". The limit is 32MB; read a range of its lines.");
  EXPECT_EQ(read(text, 1, -1).text, "end\n");

  const std::string image = path("a.png");
  put("a.png", "x");
  ASSERT_EQ(::truncate(image.c_str(), kMaxReadBytes), 0);
  EXPECT_EQ(read("a.png").status, FileStatus::ok);
  ASSERT_EQ(::truncate(image.c_str(), kMaxReadBytes + 1), 0);
  EXPECT_EQ(read("a.png").text,
            "File is too large to read: " + image + ". The limit is 32MB; download it instead.");
}

TEST_F(ReadFile, TellsAForbiddenFileFromAMissingOne) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const std::string file = put("secret", "x");
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  const FileResult result = read(file);
  EXPECT_EQ(result.status, FileStatus::system_error);
  EXPECT_EQ(result.text, "[Errno 13] Permission denied: '" + file + "'");
}

class WriteFile : public TempDirTest {
 protected:
  [[nodiscard]] FileResult write(const std::string& what, const std::string& content, long long start = 0,
                                 long long end = -1) const {
    return write_file({.path = what, .working_dir = dir_, .content = content, .start = start, .end = end});
  }
};

TEST_F(WriteFile, MakesNewFilesAndTheirDirectories) {
  const FileResult result = write("new/deep/f", "a\nb");
  EXPECT_EQ(result.status, FileStatus::ok) << result.text;
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.path, path("new/deep/f"));
  EXPECT_EQ(get(result.path), "a\nb\n");
  EXPECT_EQ(mode(result.path), 0664U);
  EXPECT_EQ(get(write("empty", "").path), "\n");
  EXPECT_EQ(get(write("ended", "a\n").path), "a\n\n");  // as the reference
}

TEST_F(WriteFile, ReplacesRangesOfLines) {
  struct Row {
    long long start, end;
    std::string before, content, after;
  };
  const Row rows[] = {
      {0, -1, "a\nb\n", "X", "X\n"},
      {0, 0, "a\nb\n", "X", "X\na\nb\n"},
      {1, 2, "a\nb\nc\n", "X\nY", "a\nX\nY\nc\n"},
      {1, -1, "a\nb\nc\n", "X", "a\nX\n"},
      {0, 2, "a\nb\nc\n", "X", "X\nc\n"},
      {2, 1, "a\nb\nc\n", "X", "a\nb\nX\nb\nc\n"},
      {-1, -1, "a\nb\nc\n", "X", "a\nb\nX\n"},
      {0, -2, "a\nb\nc\n", "X", "X\nb\nc\n"},
      {9, -1, "a\nb\n", "X", "a\nb\nX\n"},
      {9, 9, "", "X", "X\n"},
      {9, -1, "a\nb", "X", "a\nb\nX\n"},  // not glued to "b", unlike the reference
      {1, 2, "a\r\nb\r\nc\r\n", "X\nY", "a\r\nX\r\nY\r\nc\r\n"},
      {0, -1, "a\r\n", "X", "X\n"},
      {1, 1, "a\rb\n\n", "\nX", "a\r\r\nX\nb\n\n"},  // pieces must not join to one ending
  };
  for (const Row& row : rows) {
    const std::string file = put("f", row.before);
    EXPECT_EQ(write(file, row.content, row.start, row.end).status, FileStatus::ok);
    EXPECT_EQ(get(file), row.after) << row.start << "," << row.end;
  }
}

TEST_F(WriteFile, KeepsWhatAFileIs) {
  const std::string file = put("f", "old\n");
  ASSERT_EQ(::chmod(file.c_str(), 04751), 0);
  std::filesystem::create_symlink("f", path("link"));
  std::filesystem::create_hard_link(file, path("twin"));
  EXPECT_EQ(write(path("link"), "new").status, FileStatus::ok);
  EXPECT_TRUE(std::filesystem::is_symlink(path("link")));
  EXPECT_EQ(get(path("twin")), "new\n");
  EXPECT_EQ(mode(file), 04751U);
}

TEST_F(WriteFile, NamesWhatIsWrong) {
  struct Row {
    std::string what;
    FileStatus status;
    std::string text;
  };
  put("latin", "caf\xE9\n");
  std::filesystem::create_directory(path("dir"));
  std::filesystem::create_symlink("nowhere/x", path("dangling"));
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  const Row rows[] = {
      {"dir", FileStatus::error, "Path is a directory: " + path("dir") + ". You can only write to files"},
      {"dangling", FileStatus::error, "File not found: " + path("dangling")},
      {"latin", FileStatus::error, "File could not be decoded as utf-8: " + path("latin")},
      {"fifo", FileStatus::error, "Not a regular file: " + path("fifo") + ". You can only write to files"},
      {"latin/x", FileStatus::system_error, "[Errno 20] Not a directory: '" + path("latin/x") + "'"},
      {"latin/x/y", FileStatus::system_error, "[Errno 20] Not a directory: '" + path("latin/x") + "'"},
      {"a\0b"s, FileStatus::system_error, "embedded null byte"},
  };
  for (const Row& row : rows) {
    const FileResult result = write(row.what, "X");
    EXPECT_EQ(result.status, row.status) << row.what;
    EXPECT_EQ(result.text, row.text);
  }
  EXPECT_EQ(write("latin", "X", 1, 2).text, "File could not be decoded as utf-8: " + path("latin"));
  EXPECT_EQ(get(path("latin")), "caf\xE9\n");
}

TEST_F(WriteFile, ReplacesLinesOnlyUpToItsLimit) {
  const std::string file = put("big", "");
  ASSERT_EQ(::truncate(file.c_str(), kMaxRangeWriteBytes), 0);
  EXPECT_EQ(write(file, "X", 0, 0).status, FileStatus::ok);
  EXPECT_EQ(std::filesystem::file_size(file), kMaxRangeWriteBytes + 2);
  EXPECT_EQ(write(file, "X", 0, 0).text,
            "File is too large to replace lines in: " + file + ". The limit is 64MB.");
  EXPECT_EQ(write(file, "X").status, FileStatus::ok);
  EXPECT_EQ(get(file), "X\n");
}

TEST_F(WriteFile, KeepsTheOldContentsWhenThereIsNoRoom) {
  const std::string old = std::string(100, 'a') + "\n";
  const std::string file = put("f", old);
  const FileSizeLimit limit(4096);
  const FileResult result = write(file, std::string(9000, 'b'));
  EXPECT_EQ(result.status, FileStatus::system_error);
  EXPECT_EQ(result.text, "[Errno 27] File too large: '" + file + "'");
  EXPECT_EQ(get(file), old);
  EXPECT_EQ(write("new", std::string(9000, 'b')).status, FileStatus::system_error);
  EXPECT_FALSE(std::filesystem::exists(path("new")));
  EXPECT_EQ(write(file, std::string(4095, 'b')).status, FileStatus::ok);
}

TEST_F(WriteFile, TellsThatItMayNot) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everything";
  const std::string file = put("f", "old");
  ASSERT_EQ(::chmod(file.c_str(), 0400), 0);
  FileResult result = write(file, "X");
  EXPECT_EQ(result.status, FileStatus::system_error);
  EXPECT_EQ(result.text, "[Errno 13] Permission denied: '" + file + "'");
  ASSERT_EQ(::chmod(dir_.c_str(), 0500), 0);
  EXPECT_EQ(write("new", "X").text, "[Errno 13] Permission denied: '" + path("new") + "'");
  EXPECT_EQ(write("sub/new", "X").text, "[Errno 13] Permission denied: '" + path("sub") + "'");
  ASSERT_EQ(::chmod(dir_.c_str(), 0700), 0);
  result = write_file({.path = "mine", .working_dir = dir_, .content = "X", .owner = 1});
  EXPECT_EQ(result.status, FileStatus::error);
  EXPECT_EQ(result.text,
            "File " + path("mine") +
                " written, but failed to change ownership and permissions: [Errno 1] Operation not "
                "permitted: '" +
                path("mine") + "'");
}

TEST_F(WriteFile, GivesNewFilesTheirOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  const FileResult result = write_file({.path = "f", .working_dir = dir_, .content = "X", .owner = 12345});
  struct stat info {};
  ASSERT_EQ(::stat(result.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 12345U);
  EXPECT_EQ(info.st_gid, 12345U);
  EXPECT_EQ(write("f", "Y").status, FileStatus::ok);
  ASSERT_EQ(::stat(result.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 12345U);
}

class ListFiles : public TempDirTest {};

TEST_F(ListFiles, SortsDirectoriesBeforeFiles) {
  for (const char* name : {"b.txt", "A.txt", ".hidden", "Zoo/x", "ant/x", ".git/x", "\xC3\x89t\xC3\xA9"})
    put(name, "");
  std::filesystem::create_symlink("Zoo", path("link"));
  std::filesystem::create_symlink("nowhere", path("broken"));
  const std::vector<std::string> expected = {".git/",   "ant/",  "link/", "Zoo/",
                                             ".hidden", "A.txt", "b.txt", "\xC3\x89t\xC3\xA9"};
  EXPECT_EQ(list_files(std::nullopt, dir_), expected);
  EXPECT_EQ(list_files(dir_ + "/", "/"), expected);
  EXPECT_EQ(list_files("Zoo", dir_), std::vector<std::string>{"x"});
}

TEST_F(ListFiles, IsEmptyForWhatIsNoDirectory) {
  put("f", "");
  for (const std::string& what : {"f"s, "missing"s, "f/x"s, "a\0b"s})
    EXPECT_TRUE(list_files(what, dir_).empty());
}

TEST_F(ListFiles, MakesNamesThatFitIntoJson) {
  put("bad\xFF", "");
  EXPECT_EQ(list_files(std::nullopt, dir_), std::vector<std::string>{"bad\xEF\xBF\xBD"});
}

}  // namespace
}  // namespace sandkey::agent::files
