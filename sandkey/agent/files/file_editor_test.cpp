#include "sandkey/agent/files/file_editor.h"

#include "sandkey/agent/files/temp_dir.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace sandkey::agent::files {
namespace {

using namespace std::string_literals;

const std::string kReview = "Review the changes and make sure they are as expected";
const std::string kAgain = ". Edit the file again if necessary.";
const std::string kAgainInserted =
    " (correct indentation, no duplicate lines, etc). Edit the file again if necessary.";

class FileEditorTest : public TempDirTest {
 protected:
  EditResult run(EditRequest request) { return editor_.run(request); }
  EditResult view(const std::string& what) { return run({.command = "view", .path = what}); }
  EditResult view(const std::string& what, std::vector<long long> range) {
    return run({.command = "view", .path = what, .view_range = std::move(range)});
  }
  EditResult replace(const std::string& what, const std::string& old_str, const std::string& new_str) {
    return run({.command = "str_replace", .path = what, .old_str = old_str, .new_str = new_str});
  }
  EditResult insert(const std::string& what, long long line, const std::string& new_str) {
    return run({.command = "insert", .path = what, .new_str = new_str, .insert_line = line});
  }
  EditResult undo(const std::string& what) { return run({.command = "undo_edit", .path = what}); }

  void expect_error(const EditResult& result, const std::string& message) {
    EXPECT_EQ(result.status, FileStatus::error);
    EXPECT_EQ(result.text, message);
    EXPECT_EQ(result.content(), "ERROR:\n" + message);
    EXPECT_EQ(edit_diff(result, "/f"), "");
  }

  FileEditor editor_{dir_};
};

std::string shown(const std::string& title, const std::string& lines) {
  return "Here's the result of running `cat -n` on " + title + ":\n" + lines;
}

TEST_F(FileEditorTest, ChecksPathsFirst) {
  const std::string f = put("f", "x");
  const std::string start = "Invalid `path` parameter: ";
  expect_error(view("nothere"), start + "nothere. The path should be an absolute path, starting with `/`.");
  expect_error(
      view("./f"),
      start + "f. The path should be an absolute path, starting with `/`. Maybe you meant " + f + "?");
  const std::string missing = path("missing");
  for (const char* command : {"view", "str_replace", "insert", "undo_edit", "bogus"}) {
    expect_error(run({.command = command, .path = missing}),
                 start + missing + ". The path " + missing + " does not exist. Please provide a valid path.");
  }
  expect_error(
      run({.command = "create", .path = f, .file_text = ""}),
      start + f + ". File already exists at: " + f + ". Cannot overwrite files using command `create`.");
  expect_error(replace(dir_, "a", "b"),
               start + dir_ + ". The path " + dir_ +
                   " is a directory and only the `view` command can be used on directories.");
  const std::string pdf = put("a.PDF", "%PDF");
  expect_error(replace(pdf, "a", "b"), start + pdf + ". The path " + pdf +
                                           " points to a binary file (.PDF) and only the `view` command can "
                                           "be used on supported binary files.");
  expect_error(view(f + "\0x"s),
               start + f + "\0x. The path "s + f + "\0x does not exist. Please provide a valid path."s);
}

TEST_F(FileEditorTest, ChecksParameters) {
  const std::string f = put("f", "a\nb\nc\n");
  expect_error(run({.command = "create", .path = path("new")}),
               "Parameter `file_text` is required for command: create.");
  expect_error(run({.command = "str_replace", .path = f}),
               "Parameter `old_str` is required for command: str_replace.");
  expect_error(run({.command = "insert", .path = f}),
               "Parameter `insert_line` is required for command: insert.");
  expect_error(run({.command = "insert", .path = f, .insert_line = 1}),
               "Parameter `new_str` is required for command: insert.");
  expect_error(run({.command = "bogus", .path = f}),
               "Unrecognized command bogus. The allowed commands for the oh_editor tool are: view, create, "
               "str_replace, "
               "insert, undo_edit");
  expect_error(replace(f, "a", "a"),
               "Invalid `new_str` parameter: a. No replacement was performed. `new_str` and "
               "`old_str` must be different.");
  for (const long long line : {-1LL, 4LL, 99LL}) {
    expect_error(insert(f, line, "x"), "Invalid `insert_line` parameter: " + std::to_string(line) +
                                           ". It should be within the range of allowed values: [0, 3]");
  }
  for (const char* text : {"x", "", "1.5", "_1", "1__0", "+"}) {
    expect_error(run({.command = "view", .path = f, .insert_line = text}),
                 "Invalid insert_line value: '" + std::string(text) + "'. Expected an integer.");
  }
  EXPECT_EQ(run({.command = "insert", .path = f, .new_str = "x", .insert_line = " +0_1 "}).status,
            FileStatus::ok);
  EXPECT_EQ(get(f), "a\nx\nb\nc\n");
}

TEST_F(FileEditorTest, ViewsFiles) {
  struct Row {
    std::string bytes, lines;
  };
  const Row rows[] = {
      {"", "     1\t\n"},
      {"a", "     1\ta\n"},
      {"a\nb\n", "     1\ta\n     2\tb\n     3\t\n"},
      {"a\r\nb\rc", "     1\ta\n     2\tb\n     3\tc\n"},
      {"\xEF\xBB\xBFh\xC3\xA9", "     1\th\xC3\xA9\n"},
      {"\xFF\xFEh\0i\0"s, "     1\thi\n"},
      {"caf\xE9", "     1\tcaf\xC3\xA9\n"},
  };
  for (const Row& row : rows) {
    const std::string f = put("f", row.bytes);
    const EditResult result = view(f);
    EXPECT_EQ(result.content(), shown(f, row.lines));
    EXPECT_EQ(edit_diff(result, f), "");
    EXPECT_EQ(view(f, {}).text, result.text);
  }
}

TEST_F(FileEditorTest, ViewsRangesOfLines) {
  const std::string f = put("f", "a\nb\nc\n");
  EXPECT_EQ(view(f, {2, 3}).text, shown(f, "     2\tb\n     3\tc\n"));
  EXPECT_EQ(view(f, {2, -1}).text, shown(f, "     2\tb\n     3\tc\n"));
  EXPECT_EQ(view(f, {3, 4}).text, "NOTE: We only show up to 3 since there're only 3 lines in this file.\n" +
                                      shown(f, "     3\tc\n"));
  const std::string start = "Invalid `view_range` parameter: ";
  expect_error(view(f, {1}), start + "[1]. It should be a list of two integers.");
  expect_error(view(f, {1, 2, 3}), start + "[1, 2, 3]. It should be a list of two integers.");
  for (const long long first : {0LL, 4LL}) {
    const std::string n = std::to_string(first);
    expect_error(view(f, {first, 9}), start + "[" + n + ", 9]. Its first element `" + n +
                                          "` should be within the range of lines of the file: [1, 3].");
  }
  expect_error(
      view(f, {3, 2}),
      start + "[3, 2]. Its second element `2` should be greater than or equal to the first element `3`.");
  expect_error(
      view(f, {1, -5}),
      start + "[1, -5]. Its second element `-5` should be greater than or equal to the first element `1`.");
  expect_error(
      view(put("empty", ""), {1, 1}),
      start + "[1, 1]. Its first element `1` should be within the range of lines of the file: [1, 0].");
}

TEST_F(FileEditorTest, ViewsDirectories) {
  for (const char* name : {"b.txt", ".h1", ".h2/x", "sub/in/deeper", "sub/.hid", "sub-x"}) put(name, "");
  std::filesystem::create_directory_symlink(".", path("loop"));
  const std::string heading =
      "Here's the files and directories up to 2 levels deep in " + dir_ + ", excluding hidden items:\n";
  EXPECT_EQ(view(dir_ + "/").text,
            heading + dir_ + "/\n" + path("b.txt") + "\n" + path("loop/") + "\n" + path("sub/") + "\n" +
                path("sub-x") + "\n" + path("sub/in/") +
                "\n\n2 hidden files/directories in this directory are excluded. You can use "
                "'ls -la " +
                dir_ + "' to see them.");
  expect_error(view(dir_, {1, 2}),
               "Invalid `view_range` parameter: [1, 2]. The `view_range` parameter is not allowed "
               "when `path` points to a directory.");
}

TEST_F(FileEditorTest, CutsLargeDirectoriesOff) {
  for (int i = 0; i < 900; ++i) put("file-" + std::to_string(10000 + i), "");
  const std::string text = view(dir_).text;
  const std::size_t body = text.find('\n') + 1;
  const std::size_t note = text.find("<response clipped>");
  ASSERT_NE(note, std::string::npos);
  EXPECT_EQ(note - body, kMaxShownCharacters + 1);  // and the slash of the directory itself
  EXPECT_TRUE(
      text.ends_with("You should use `ls -la` instead to view large directories incrementally.</NOTE>"));
}

TEST_F(FileEditorTest, SaysWhichDirectoryItMayNotRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  std::filesystem::create_directory(path("secret"));
  ASSERT_EQ(::chmod(path("secret").c_str(), 0), 0);
  expect_error(view(dir_), "find: \xE2\x80\x98" + path("secret") + "\xE2\x80\x99: Permission denied\n");
  const EditResult inside = view(path("secret/f"));
  EXPECT_EQ(inside.status, FileStatus::system_error);
  EXPECT_EQ(inside.text, "[Errno 13] Permission denied: '" + path("secret/f") + "'");
  const std::string f = put("f", "x");
  ASSERT_EQ(::chmod(f.c_str(), 0), 0);
  EXPECT_EQ(view(f).text, "[Errno 13] Permission denied: '" + f + "'");
  ASSERT_EQ(::chmod(f.c_str(), 0400), 0);
  expect_error(replace(f, "x", "y"),
               "Ran into [Errno 13] Permission denied: '" + f + "' while trying to write to " + f);
}

TEST_F(FileEditorTest, RefusesWhatIsNoTextOrTooLarge) {
  const std::string binary = put("binary", "a\0b"s);
  expect_error(view(binary),
               "File validation failed for " + binary +
                   ": File appears to be binary and this file type cannot be read or edited by this tool.");
  const std::string big = put("big", std::string(kMaxEditBytes, 'x'));
  EXPECT_EQ(view(big).status, FileStatus::ok);
  expect_error(insert(big, 0, ""), "File validation failed for " + big +
                                       ": File is too large (10.0MB). Maximum allowed size is 10MB.");
  put("big", std::string(kMaxEditBytes + 1, 'x'));
  expect_error(view(big), "File validation failed for " + big +
                              ": File is too large (10.0MB). Maximum allowed size is 10MB.");
  put("big", std::string(11 * 1024 * 1024, 'x'));
  expect_error(replace(big, "x", "y"), "File validation failed for " + big +
                                           ": File is too large (11.0MB). Maximum allowed size is 10MB.");
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  expect_error(view(path("fifo")),
               "File validation failed for " + path("fifo") + ": It is not a regular file.");
  const std::string sheet = put("a.xlsx", "PK");
  expect_error(view(sheet),
               "Error in converting file to Markdown: this agent does not convert .xlsx files. Please use "
               "Python code to read " +
                   sheet + ", for example with openpyxl");
}

TEST_F(FileEditorTest, CutsLongTextsOffByCharacters) {
  std::string text;
  for (std::size_t i = 0; i < kMaxShownCharacters; ++i) text += "\xC3\xA9";
  const std::string f = put("f", text);
  EXPECT_EQ(view(f).text.find("<response clipped>"), std::string::npos);
  put("f", text + "x");
  EXPECT_TRUE(view(f).text.ends_with(
      "\xC3\xA9<response clipped><NOTE>Due to the max output limit, only part of this "
      "file has been shown to you. You should retry this tool after you have searched "
      "inside the file with `grep -n` in order to find the line numbers of what you are "
      "looking for.</NOTE>\n"));
}

TEST_F(FileEditorTest, CreatesFiles) {
  const std::string f = path("f");
  const EditResult result = run({.command = "create", .path = f, .file_text = "a\r\nb\n"});
  EXPECT_EQ(result.content(), "File created successfully at: " + f);
  EXPECT_EQ(edit_diff(result, f), "--- " + f + "\n+++ " + f + "\n@@ -0,0 +1,2 @@\n+a\n+b");
  EXPECT_EQ(get(f), "a\r\nb\n");
  const std::string deep = path("no/f");
  expect_error(
      run({.command = "create", .path = deep, .file_text = "a"}),
      "Ran into [Errno 2] No such file or directory: '" + deep + "' while trying to write to " + deep);
  std::filesystem::create_symlink("target", path("link"));
  EXPECT_EQ(run({.command = "create", .path = path("link"), .file_text = "x"}).status, FileStatus::ok);
  EXPECT_EQ(get(path("target")), "x");
}

TEST_F(FileEditorTest, ReplacesText) {
  const std::string f = put("f", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
  const EditResult result = replace(f, "6", "six\nSIX");
  EXPECT_EQ(result.content(), "The file " + f + " has been edited. " +
                                  shown("a snippet of " + f,
                                        "     3\t3\n     4\t4\n     5\t5\n     6\tsix\n     7\tSIX\n"
                                        "     8\t7\n     9\t8\n    10\t9\n    11\t10\n    12\t\n") +
                                  kReview + kAgain);
  EXPECT_EQ(edit_diff(result, f), "--- " + f + "\n+++ " + f + "\n@@ -6 +6,2 @@\n-6\n+six\n+SIX");
  EXPECT_EQ(replace(f, "  six \n", " *s* ").status,
            FileStatus::ok);  // stripped, since it is not there as it is
  EXPECT_EQ(get(f), "1\n2\n3\n4\n5\n*s*\nSIX\n7\n8\n9\n10\n");
  EXPECT_EQ(run({.command = "str_replace", .path = f, .old_str = "*s*\n"}).status, FileStatus::ok);
  EXPECT_EQ(get(f), "1\n2\n3\n4\n5\nSIX\n7\n8\n9\n10\n");
  EXPECT_EQ(replace(put("empty", ""), "", "x").status, FileStatus::ok);
  EXPECT_EQ(get(path("empty")), "x");
}

TEST_F(FileEditorTest, ReplacesOnlyWhatIsThereOnce) {
  const std::string f = put("f", "a b\na\nc\n");
  const auto several = [&](const std::string& what, const std::string& lines) {
    return "No replacement was performed. Multiple occurrences of old_str `" + what + "` in lines " + lines +
           ". Please ensure it is unique.";
  };
  expect_error(replace(f, " x ", "y"),
               "No replacement was performed, old_str `x` did not appear verbatim in " + f + ".");
  expect_error(replace(f, "a", "y"), several("a", "[1, 2]"));
  expect_error(replace(f, "", "y"), several("", "[1, 2, 3, 4]"));
  expect_error(replace(f, "\t\t", "y"), several("", "[1, 2, 3, 4]"));
  expect_error(replace(put("g", "aa"), "a", "y"), several("a", "[1]"));
  EXPECT_EQ(replace(put("g", "aaa"), "aa", "b").status, FileStatus::ok);  // overlapping ones count once
  EXPECT_EQ(get(path("g")), "ba");
  EXPECT_EQ(get(f), "a b\na\nc\n");
  const std::string many = replace(put("g", std::string(kMaxNamedLines + 2, '\n')), "\n", "y").text;
  EXPECT_NE(many.find(", 999, 1000, ... 2 more]. Please"), std::string::npos);
}

TEST_F(FileEditorTest, InsertsLines) {
  const std::string f = put("f", "1\n2\n3\n");
  const EditResult result = insert(f, 2, "x\ny");
  EXPECT_EQ(result.content(), "The file " + f + " has been edited. " +
                                  shown("a snippet of the edited file",
                                        "     1\t1\n     2\t2\n     3\tx\n     4\ty\n     5\t3\n     6\t\n") +
                                  kReview + kAgainInserted);
  EXPECT_EQ(edit_diff(result, f), "--- " + f + "\n+++ " + f + "\n@@ -2,0 +3,2 @@\n+x\n+y");
  EXPECT_EQ(insert(f, 0, "top\n").status, FileStatus::ok);
  EXPECT_EQ(get(f), "top\n\n1\n2\nx\ny\n3\n");
  // Behind a last line without an ending: a line of its own, unlike the reference.
  const std::string g = put("g", "a\nb");
  EXPECT_EQ(insert(g, 2, "c").text,
            "The file " + g + " has been edited. " +
                shown("a snippet of the edited file", "     1\ta\n     2\tb\n     3\tc\n     4\t\n") +
                kReview + kAgainInserted);
  EXPECT_EQ(get(g), "a\nb\nc\n");
  EXPECT_EQ(insert(put("empty", ""), 0, "").status, FileStatus::ok);
  EXPECT_EQ(get(path("empty")), "\n");
}

TEST_F(FileEditorTest, KeepsEncodingLineEndingsModeAndLinks) {
  struct Row {
    std::string before, after;
  };
  const Row rows[] = {
      {"a\r\nOLD\r\nb\r\n", "a\r\n1\r\n2\r\nb\r\nend\r\n"},
      {"a\nOLD\nb\r\n", "a\n1\n2\nb\r\nend\n"},
      {"\xEF\xBB\xBFOLD\n",
       "\xEF\xBB\xBF"
       "1\n2\nend\n"},
      {"\xFE\xFF\0O\0L\0D"s, "\xFE\xFF\0001\0\n\0002\0\n\0e\0n\0d\0\n"s},
      {"\xE9 OLD\n", "\xE9 1\n2\nend\n"},
  };
  for (const Row& row : rows) {
    const std::string f = put("f", row.before);
    ASSERT_EQ(::chmod(f.c_str(), 0751), 0);
    std::filesystem::remove(path("link"));
    std::filesystem::create_symlink("f", path("link"));
    ASSERT_EQ(replace(path("link"), "OLD", "1\n2").status, FileStatus::ok);
    const std::string replaced = get(f);
    const std::string text = view(f).text;
    const long long lines = static_cast<long long>(std::count(text.begin(), text.end(), '\n')) - 1;
    const bool is_ended = text.ends_with("\t\n");
    ASSERT_EQ(insert(path("link"), lines - (is_ended ? 1 : 0), "end").status, FileStatus::ok);
    EXPECT_EQ(get(f), row.after);
    EXPECT_EQ(mode(f), 0751U);
    EXPECT_TRUE(std::filesystem::is_symlink(path("link")));
    EXPECT_EQ(undo(path("link")).status, FileStatus::ok);
    EXPECT_EQ(get(f), replaced);
    EXPECT_EQ(undo(path("link")).status, FileStatus::ok);
    EXPECT_EQ(get(f), row.before);
  }
}

TEST_F(FileEditorTest, ChangesNothingWhenItFails) {
  const std::string f = put("f", "caf\xE9\n");
  expect_error(replace(f, "caf", "\xE2\x82\xAC"),
               "Ran into 'latin-1' codec can't encode character '\\u20ac' in "
               "position 0: ordinal not in range(256) while trying to write to " +
                   f);
  expect_error(replace(f, "caf", "\0"s), "File validation failed for " + f +
                                             ": File appears to be binary and this file "
                                             "type cannot be read or edited by this tool.");
  EXPECT_EQ(get(f), "caf\xE9\n");
  expect_error(undo(f), "No edit history found for " + f + ".");
}

TEST_F(FileEditorTest, ChangesNothingOnAFullDisk) {
  const std::string f = put("f", "old\n");
  const std::string big(9000, 'x');
  const std::string ending = "Ran into [Errno 27] File too large while trying to write to ";
  const FileSizeLimit limit(4096);
  expect_error(replace(f, "old", big), ending + f);
  expect_error(insert(f, 0, big), ending + f);
  EXPECT_EQ(get(f), "old\n");
  expect_error(run({.command = "create", .path = path("new"), .file_text = big}), ending + path("new"));
  EXPECT_FALSE(std::filesystem::exists(path("new")));
  expect_error(undo(f), "No edit history found for " + f + ".");
}

TEST_F(FileEditorTest, UndoesOneEditAfterTheOther) {
  const std::string f = path("f");
  ASSERT_EQ(run({.command = "create", .path = f, .file_text = "0\n"}).status, FileStatus::ok);
  ASSERT_EQ(replace(f, "0", "1").status, FileStatus::ok);
  const EditResult result = undo(f + "/");
  EXPECT_EQ(result.content(),
            "Last edit to " + f + " undone successfully. " + shown(f, "     1\t0\n     2\t\n"));
  EXPECT_EQ(edit_diff(result, f), "--- " + f + "\n+++ " + f + "\n@@ -1 +1 @@\n-1\n+0");
  EXPECT_EQ(undo(f).status, FileStatus::ok);  // a created file goes back to what it was created with
  expect_error(undo(f), "No edit history found for " + f + ".");
}

TEST(EditHistory, IsBoundedInVersionsAndBytes) {
  EditHistory history;
  const auto count = [&](const std::string& path) {
    std::size_t n = 0;
    for (; history.latest(path) != nullptr; ++n) history.pop(path);
    return n;
  };
  for (std::size_t i = 0; i < kMaxVersionsPerFile + 1; ++i) history.push("a", std::to_string(i));
  EXPECT_EQ(*history.latest("a"), std::to_string(kMaxVersionsPerFile));
  EXPECT_EQ(count("a"), kMaxVersionsPerFile);
  for (std::size_t i = 0; i < kMaxVersions + 1; ++i) history.push(std::to_string(i), "");
  EXPECT_EQ(count("0"), 0U);
  EXPECT_EQ(count("1"), 1U);
  history = EditHistory();
  history.push("a", std::string(kMaxHistoryBytes / 2 - 1, 'x'));
  history.push("b", std::string(kMaxHistoryBytes / 2 - 1, 'x'));
  EXPECT_NE(history.latest("a"), nullptr);
  history.push("c", "");
  EXPECT_EQ(history.latest("a"), nullptr);
  // Too large to keep: going back to what was before it would lose more than one edit.
  history.push("c", std::string(kMaxHistoryBytes, 'x'));
  EXPECT_EQ(history.latest("c"), nullptr);
  EXPECT_NE(history.latest("b"), nullptr);
}

}  // namespace
}  // namespace sandkey::agent::files
