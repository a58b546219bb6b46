#include "sandkey/agent/files/file_editor.h"

#include "sandkey/agent/files/binary_detection.h"
#include "sandkey/agent/files/directory_view.h"
#include "sandkey/agent/files/file_io.h"
#include "sandkey/agent/files/line_diff.h"
#include "sandkey/agent/files/python_text.h"
#include "sandkey/agent/files/text_encoding.h"
#include "sandkey/base/utf8.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace sandkey::agent::files {
namespace {

constexpr long long kContext = 4;  // lines shown around an edit

constexpr std::string_view kClipped =
    "<response clipped><NOTE>Due to the max output limit, only part of this file has been shown to you. You "
    "should "
    "retry this tool after you have searched inside the file with `grep -n` in order to find the line "
    "numbers of what "
    "you are looking for.</NOTE>";

// Ends a command from wherever it is found out that it cannot be done; never leaves FileEditor::run.
struct Failure {
  FileStatus status;
  std::string message;
};

[[noreturn]] void fail(std::string message) {
  throw Failure{FileStatus::error, std::move(message)};
}

[[noreturn]] void fail_parameter(std::string_view parameter, std::string_view value,
                                 const std::string& hint) {
  fail("Invalid `" + std::string(parameter) + "` parameter: " + std::string(value) + ". " + hint);
}

[[noreturn]] void fail_validation(const std::string& path, const std::string& reason) {
  fail("File validation failed for " + path + ": " + reason);
}

[[noreturn]] void fail_writing(const std::string& path, const std::string& what) {
  fail("Ran into " + what + " while trying to write to " + path);
}

template <typename T>
const T& required(const std::optional<T>& value, std::string_view name, std::string_view command) {
  if (!value)
    fail("Parameter `" + std::string(name) + "` is required for command: " + std::string(command) + ".");
  return *value;
}

// The formats the reference converts to Markdown, and what reads them in Python.
std::string_view python_library(std::string_view path) {
  struct Row {
    std::string_view suffix, library;
  };
  static constexpr std::array<Row, 8> kRows = {{
      {".docx", "python-docx"},
      {".xlsx", "openpyxl"},
      {".pptx", "python-pptx"},
      {".pdf", "pypdf"},
      {".mp3", "pydub or SpeechRecognition"},
      {".wav", "pydub or SpeechRecognition"},
      {".m4a", "pydub or SpeechRecognition"},
      {".flac", "pydub or SpeechRecognition"},
  }};
  const std::string lower = to_lower_ascii(suffix(path));
  const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.suffix == lower; });
  return row == kRows.end() ? std::string_view() : row->library;
}

// int(text), as lenient as Python's: white space around it, a sign, underscores between digits.
std::optional<long long> parse_integer(std::string_view text) {
  text = strip(text);
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.front() == '_' || text.back() == '_') return std::nullopt;
  long long value = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && text[i - 1] != '_') continue;
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    // No file has that many lines, so where exactly it stops does not matter.
    value = std::min(10 * value + (text[i] - '0'), 100'000'000'000'000'000LL);
  }
  return is_negative ? -value : value;
}

long long to_line(const std::variant<long long, std::string>& insert_line) {
  if (const long long* number = std::get_if<long long>(&insert_line)) return *number;
  const std::string& text = std::get<std::string>(insert_line);
  const std::optional<long long> number = parse_integer(text);
  if (!number) fail("Invalid insert_line value: '" + text + "'. Expected an integer.");
  return *number;
}

PathState look_at_or_fail(const std::string& path) {
  PathState state = look_at(path);
  if (state.error_number != 0)
    throw Failure{FileStatus::system_error, os_error_text(state.error_number, path)};
  return state;
}

PathState validate_path(const std::string& command, const std::string& path, const std::string& working_dir) {
  if (!is_absolute(path)) {
    std::string hint = "The path should be an absolute path, starting with `/`.";
    const std::string suggestion = join_path(working_dir, path);
    if (!working_dir.empty() && look_at(suggestion).exists) hint += " Maybe you meant " + suggestion + "?";
    fail_parameter("path", path, hint);
  }
  const PathState state = look_at_or_fail(path);
  if (command == "create") {
    if (!state.exists) return state;
    fail_parameter("path", path,
                   "File already exists at: " + path + ". Cannot overwrite files using command `create`.");
  }
  if (!state.exists) {
    fail_parameter("path", path, "The path " + path + " does not exist. Please provide a valid path.");
  }
  if (command == "view") return state;
  if (state.is_directory) {
    fail_parameter(
        "path", path,
        "The path " + path + " is a directory and only the `view` command can be used on directories.");
  }
  if (!python_library(path).empty()) {
    fail_parameter("path", path,
                   "The path " + path + " points to a binary file (" + std::string(suffix(path)) +
                       ") and only the `view` command can be used on supported binary files.");
  }
  return state;
}

void check_size(const std::string& path, unsigned long long size) {
  if (size <= kMaxEditBytes) return;
  std::array<char, 32> megabytes{};
  std::snprintf(megabytes.data(), megabytes.size(), "%.1f", static_cast<double>(size) / 1024 / 1024);
  fail_validation(path, "File is too large (" + std::string(megabytes.data()) +
                            "MB). Maximum allowed size is " + std::to_string(kMaxEditBytes / 1024 / 1024) +
                            "MB.");
}

void check_text(const std::string& path, std::string_view bytes) {
  check_size(path, bytes.size());
  if (path.ends_with(".pyc") || looks_binary(bytes.substr(0, kBinaryProbeBytes))) {
    fail_validation(path,
                    "File appears to be binary and this file type cannot be read or edited by this tool.");
  }
}

// A text file as it is, as UTF-8 with its own line endings, and as the commands see it.
struct TextFile {
  Encoding encoding = Encoding::utf8;
  std::string bytes;
  std::string raw;   // empty if it would equal `text`
  std::string text;  // line endings as \n

  // With `replacement` in place of text[begin, end). New line endings are the file's.
  [[nodiscard]] Conversion spliced(std::size_t begin, std::size_t end, std::string_view replacement) const {
    const std::string_view old = raw.empty() ? text : raw;
    std::string out;
    if (raw.empty()) {
      out.append(old, 0, begin).append(replacement).append(old, end);
    } else {
      out.append(old, 0, raw_offset(old, begin));
      append_lines(out, with_newlines(replacement, usual_newline(old)));
      append_lines(out, old.substr(raw_offset(old, end)));
    }
    return encode_text(out, encoding);
  }
};

TextFile load(const std::string& path) {
  const PathState state = look_at_or_fail(path);
  if (state.is_regular) check_size(path, state.size);
  FileBytes file = read_bytes(path, kMaxEditBytes);
  if (file.error_number == ENODEV) fail_validation(path, "It is not a regular file.");
  if (file.error_number != 0) throw Failure{FileStatus::system_error, os_error_text(file.error_number, path)};
  if (file.is_larger) check_size(path, kMaxEditBytes + 1);
  check_text(path, file.bytes);
  TextFile out;
  out.bytes = std::move(file.bytes);
  out.encoding = detect_encoding(out.bytes);
  Conversion decoded = decode_text(out.bytes, out.encoding);
  if (!decoded.error.empty()) fail("Ran into " + decoded.error + " while trying to read " + path);
  if (decoded.text.find('\r') == std::string::npos) {
    out.text = std::move(decoded.text);
  } else {
    out.text = normalize_newlines(decoded.text);
    out.raw = std::move(decoded.text);
  }
  return out;
}

void store(const std::string& path, std::string_view bytes, int flags) {
  const UniqueFd fd = open_file(path, flags, 0666);
  if (!fd) {
    if (path.find('\0') != std::string::npos) fail_writing(path, "embedded null byte");
    fail_writing(path, os_error_text(errno, path));
  }
  if (const int error = replace_contents(fd.get(), bytes)) {
    if ((flags & O_CREAT) != 0) remove_new_file(fd.get(), path);
    fail_writing(path, os_error_text(error));
  }
}

// The bytes of an edited file, once they are known to be a file that can be edited again.
std::string checked(Conversion converted, const std::string& path) {
  if (!converted.error.empty()) fail_writing(path, converted.error);
  check_text(path, converted.text);
  return std::move(converted.text);
}

long long count_newlines(std::string_view text) noexcept {
  return static_cast<long long>(std::count(text.begin(), text.end(), '\n'));
}

// A last line counts whether it is ended or not.
long long count_lines(std::string_view text) noexcept {
  return count_newlines(text) + (text.empty() || text.back() == '\n' ? 0 : 1);
}

std::size_t line_offset(std::string_view text, long long line) noexcept {
  std::size_t at = 0;
  for (; line > 0 && at < text.size(); --line) at = std::min(text.find('\n', at), text.size() - 1) + 1;
  return at;
}

// Lines [first, last], counted from 1.
std::string_view lines_between(std::string_view text, long long first, long long last) noexcept {
  const std::size_t begin = line_offset(text, first - 1);
  text.remove_prefix(begin);
  return text.substr(0, line_offset(text, last - first + 1));
}

std::string numbered(std::string_view text, const std::string& title, long long first_line) {
  std::string clipped;
  // Fewer bytes are fewer characters; only long texts need counting.
  if (text.size() > kMaxShownCharacters) {
    const std::size_t end = utf8::offset_of(text, kMaxShownCharacters);
    if (end < text.size()) {
      clipped = std::string(text.substr(0, end)).append(kClipped);
      text = clipped;
    }
  }
  std::string out = "Here's the result of running `cat -n` on " + title + ":\n";
  for (std::size_t at = 0; at <= text.size(); ++first_line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string number = std::to_string(first_line);
    out.append(number.size() < 6 ? 6 - number.size() : 0, ' ').append(number).append(1, '\t');
    out.append(text.substr(at, end - at)).append(1, '\n');
    at = end + 1;
  }
  return out;
}

// Where `needle` stands in `text`, and on which lines (the first of them).
struct Occurrences {
  std::size_t count = 0;
  std::size_t first = 0;
  std::vector<long long> lines;
  std::size_t line_count = 0;
};

Occurrences find_all(std::string_view text, std::string_view needle) {
  Occurrences out;
  long long line = 1;
  std::size_t counted_to = 0;
  long long last_line = 0;
  // An empty needle is everywhere; one place on each line is enough to tell the lines and that there are
  // several.
  for (std::size_t at = text.find(needle); at != std::string_view::npos;) {
    if (out.count++ == 0) out.first = at;
    line += count_newlines(text.substr(counted_to, at - counted_to));
    counted_to = at;
    if (line != last_line) {
      last_line = line;
      ++out.line_count;
      if (out.lines.size() < kMaxNamedLines) out.lines.push_back(line);
    }
    if (!needle.empty()) {
      at = text.find(needle, at + needle.size());
    } else if (at == text.size()) {
      break;
    } else {
      const std::size_t newline = text.find('\n', at);
      at = newline == std::string_view::npos || newline + 1 > text.size() ? text.size() : newline + 1;
    }
  }
  return out;
}

EditResult view_file(const std::string& path, const EditRequest& request) {
  if (const std::string_view library = python_library(path); !library.empty()) {
    check_size(path, look_at_or_fail(path).size);
    fail("Error in converting file to Markdown: this agent does not convert " + std::string(suffix(path)) +
         " files. Please use Python code to read " + path + ", for example with " + std::string(library));
  }
  const TextFile file = load(path);
  if (!request.view_range || request.view_range->empty())
    return {FileStatus::ok, numbered(file.text, path, 1)};

  const std::vector<long long>& range = *request.view_range;
  if (range.size() != 2) {
    fail_parameter("view_range", list_text(range), "It should be a list of two integers.");
  }
  const long long count = count_lines(file.text);
  const long long first = range[0];
  if (first < 1 || first > count) {
    fail_parameter("view_range", list_text(range),
                   "Its first element `" + std::to_string(first) +
                       "` should be within the range of lines of the file: " + list_text({1, count}) + ".");
  }
  std::string note;
  long long last = range[1];
  if (last > count) {
    const std::string lines = std::to_string(count);
    note = "NOTE: We only show up to " + lines + " since there're only " + lines + " lines in this file.\n";
  }
  if (last == -1 || last > count) last = count;
  if (last < first) {
    fail_parameter("view_range", list_text(range),
                   "Its second element `" + std::to_string(last) +
                       "` should be greater than or equal to the first element `" + std::to_string(first) +
                       "`.");
  }
  std::string_view lines = lines_between(file.text, first, last);
  if (lines.ends_with('\n')) lines.remove_suffix(1);
  return {FileStatus::ok, note + numbered(lines, path, first)};
}

EditResult view_tree(const std::string& path, const EditRequest& request) {
  if (request.view_range && !request.view_range->empty()) {
    fail_parameter("view_range", list_text(*request.view_range),
                   "The `view_range` parameter is not allowed when `path` points to a directory.");
  }
  DirectoryView tree = view_directory(path, kMaxShownCharacters);
  if (!tree.error.empty()) fail(std::move(tree.error));
  return {FileStatus::ok, std::move(tree.text)};
}

}  // namespace

std::string edit_diff(const EditResult& result, std::string_view path) {
  return unified_diff(result.old_content ? std::string_view(*result.old_content) : std::string_view(),
                      result.new_content ? std::string_view(*result.new_content) : std::string_view(), path);
}

EditResult FileEditor::run(const EditRequest& request) try {
  // A number that is none is noticed before anything else, by whatever command.
  if (request.insert_line) static_cast<void>(to_line(*request.insert_line));
  const std::string path = path_text(request.path);
  const PathState state = validate_path(request.command, path, working_dir_);
  if (request.command == "view")
    return state.is_directory ? view_tree(path, request) : view_file(path, request);
  if (request.command == "create") return create(path, request);
  if (request.command == "str_replace") return str_replace(path, request);
  if (request.command == "insert") return insert(path, request);
  if (request.command == "undo_edit") return undo_edit(path);
  fail("Unrecognized command " + request.command +
       ". The allowed commands for the oh_editor tool are: view, create, str_replace, insert, undo_edit");
} catch (Failure& failure) {
  return {failure.status, std::move(failure.message)};
}

EditResult FileEditor::create(const std::string& path, const EditRequest& request) {
  const std::string& text = required(request.file_text, "file_text", request.command);
  store(path, text, O_RDWR | O_CREAT);
  history_.push(path, text);
  return {FileStatus::ok, "File created successfully at: " + path, std::nullopt, text};
}

EditResult FileEditor::str_replace(const std::string& path, const EditRequest& request) {
  std::string_view old_str = required(request.old_str, "old_str", request.command);
  if (request.new_str && *request.new_str == old_str) {
    fail_parameter("new_str", old_str,
                   "No replacement was performed. `new_str` and `old_str` must be different.");
  }
  std::string_view new_str = request.new_str ? std::string_view(*request.new_str) : std::string_view();
  TextFile file = load(path);
  Occurrences found = find_all(file.text, old_str);
  if (found.count == 0) {
    old_str = strip(old_str);
    new_str = strip(new_str);
    found = find_all(file.text, old_str);
  }
  if (found.count == 0) {
    fail("No replacement was performed, old_str `" + std::string(old_str) + "` did not appear verbatim in " +
         path + ".");
  }
  if (found.count > 1) {
    std::string lines = list_text(found.lines);
    if (found.line_count > found.lines.size()) {
      lines.insert(lines.size() - 1,
                   ", ... " + std::to_string(found.line_count - found.lines.size()) + " more");
    }
    fail("No replacement was performed. Multiple occurrences of old_str `" + std::string(old_str) +
         "` in lines " + lines + ". Please ensure it is unique.");
  }
  const std::size_t end = found.first + old_str.size();
  store(path, checked(file.spliced(found.first, end, new_str), path), O_RDWR);
  history_.push(path, std::move(file.bytes));

  EditResult result;
  std::string changed = file.text.substr(0, found.first).append(new_str).append(file.text, end);
  const long long line = found.lines.front();
  const long long before = std::max(0LL, line - kContext);
  // What is written with \r in it is read with \n.
  const bool has_cr = new_str.find('\r') != std::string_view::npos;
  const std::string reread = has_cr ? normalize_newlines(changed) : std::string();
  const std::string_view snippet =
      lines_between(has_cr ? reread : changed, before + 1, line + kContext + count_newlines(new_str));
  result.text = "The file " + path + " has been edited. " +
                numbered(snippet, "a snippet of " + path, before + 1) +
                "Review the changes and make sure they are as expected. Edit the file again if necessary.";
  result.old_content = std::move(file.text);
  result.new_content = std::move(changed);
  return result;
}

EditResult FileEditor::insert(const std::string& path, const EditRequest& request) {
  const long long line = to_line(required(request.insert_line, "insert_line", request.command));
  const std::string& new_str = required(request.new_str, "new_str", request.command);
  TextFile file = load(path);
  const long long count = count_lines(file.text);
  if (line < 0 || line > count) {
    fail_parameter("insert_line", std::to_string(line),
                   "It should be within the range of allowed values: " + list_text({0, count}));
  }
  const std::size_t at = line_offset(file.text, line);
  // A last line without an ending gets one rather than be glued to the new lines.
  std::string lines = at > 0 && file.text[at - 1] != '\n' ? "\n" : "";
  lines.append(new_str).append(1, '\n');
  store(path, checked(file.spliced(at, at, lines), path), O_RDWR);
  history_.push(path, std::move(file.bytes));

  EditResult result;
  std::string changed = file.text.substr(0, at).append(normalize_newlines(lines)).append(file.text, at);
  const long long added = count_newlines(new_str) + 1;
  const long long before = std::max(0LL, line - kContext);
  const std::string_view snippet =
      lines_between(changed, before + 1, std::min(count + added, line + kContext + added));
  result.text =
      "The file " + path + " has been edited. " +
      numbered(snippet, "a snippet of the edited file", before + 1) +
      "Review the changes and make sure they are as expected (correct indentation, no duplicate lines, "
      "etc). Edit the file again if necessary.";
  result.old_content = std::move(file.text);
  result.new_content = std::move(changed);
  return result;
}

EditResult FileEditor::undo_edit(const std::string& path) {
  TextFile file = load(path);
  const std::string* version = history_.latest(path);
  if (version == nullptr) fail("No edit history found for " + path + ".");
  store(path, *version, O_RDWR);
  EditResult result;
  Conversion old = decode_text(*version, detect_encoding(*version));
  std::string text = normalize_newlines(old.text);
  history_.pop(path);
  result.text = "Last edit to " + path + " undone successfully. " + numbered(text, path, 1);
  result.old_content = std::move(file.text);
  result.new_content = std::move(text);
  return result;
}

}  // namespace sandkey::agent::files
