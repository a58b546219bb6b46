// What a terminal would show of a byte stream, as plain text: the agent's replacement for tmux.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::agent {

// A screen of 1000 rows by 1000 columns with history, fed with whatever a PTY's master side yields. It
// follows tmux, which OpenHands' own server reads its output from (`capture-pane -J`): carriage returns
// overwrite, tabs become spaces, colours and titles vanish, a line too long for one row comes out as one line
// again, the alternate screen replaces the primary one while it lasts. How the stream is cut into feed()
// calls makes no difference.
//
// Pure: no I/O, no clock, no locale. Not thread-safe.
class TerminalScreen final {
 public:
  TerminalScreen();

  static constexpr std::size_t kRows = 1000;
  static constexpr std::size_t kColumns = 1000;
  // Rows kept, those on the screen included; the oldest go first. OpenHands' tests need 10 001 to 11 362.
  static constexpr std::size_t kMaxRows = 10'500;
  // UTF-8 bytes kept; only history is dropped for it, so what stands on the screen (at most kRows times
  // 2 * kMaxRowBytes, which takes a hostile program) may exceed it.
  static constexpr std::size_t kMaxBytes = std::size_t{4} * 1024 * 1024;
  // Combining marks beyond this are dropped. 1000 columns of base characters always fit.
  static constexpr std::size_t kMaxRowBytes = 4 * kColumns + 96;
  // A title, clipboard or image sequence longer than this is taken for an unterminated one and ended.
  static constexpr std::size_t kMaxStringSequence = std::size_t{64} * 1024;
  // Answers nobody collected; further ones are dropped.
  static constexpr std::size_t kMaxReplyBytes = 4096;

  enum class TrailingLines { strip, keep };

  // A position in the output: everything shown so far lies before it. A plain value; it stays usable however
  // the screen changes, and reset() turns it into "before everything".
  struct Mark {
    std::uint64_t row = 0;       // absolute, counted from the screen's creation
    std::size_t bytes = 0;       // how much of that row
    std::uint64_t prefix = 0;    // hash of that much
    std::uint32_t revision = 0;  // rows changed later carry a higher one
  };

  // Any bytes whatever. Malformed UTF-8 shows as U+FFFD, unknown escape sequences not at all.
  void feed(std::string_view bytes);

  // What the programs asked the terminal (cursor position, device attributes) and wait for: write it to the
  // PTY. Empty most of the time. Taking empties the queue.
  [[nodiscard]] std::string take_replies();
  [[nodiscard]] bool has_replies() const noexcept { return !replies_.empty(); }

  // All that is kept: lines joined by '\n', blanks at the end of each line stripped. While the alternate
  // screen is active, that one. TrailingLines::keep keeps the empty lines down to the cursor. Valid UTF-8,
  // always.
  [[nodiscard]] std::string text(TrailingLines trailing = TrailingLines::strip) const;

  [[nodiscard]] Mark mark() const;

  // The same, but only what came after `mark`: usually the rest of the marked line and the lines below it.
  // Where something above or left of the mark has been overwritten since, it begins with the first line that
  // changed. Where the marked line is gone (dropped, cleared from history, or replaced by the alternate
  // screen), all that remains. A mark taken on the alternate screen, after it was left: the lines changed
  // since.
  [[nodiscard]] std::string text_since(const Mark& mark, TrailingLines trailing = TrailingLines::strip) const;

  // Lines dropped because of kMaxRows or kMaxBytes since the last reset; what a program cleared does not
  // count.
  [[nodiscard]] std::uint64_t lost_lines() const noexcept { return lost_lines_; }
  // Whether any of them came after `mark`, so that text_since() begins too late.
  [[nodiscard]] bool lost_since(const Mark& mark) const noexcept { return lost_end_ > mark.row; }

  [[nodiscard]] bool alternate_screen() const noexcept { return primary_.has_value(); }

  // UTF-8 bytes kept now.
  [[nodiscard]] std::size_t size() const noexcept;

  // Back to a fresh screen, releasing the memory. Marks taken before stay valid and mean "the beginning".
  void reset();

 private:
  struct Row {
    std::string text;  // UTF-8, never malformed
    std::uint32_t revision = 0;
    std::uint16_t columns = 0;  // its width; equal to text.size() exactly if all of it is ASCII
    bool continues = false;     // the row above ran into the last column and went on here
    [[nodiscard]] bool ascii() const noexcept { return text.size() == columns; }
  };

  // The rows of one screen. They come into being when something is written to them or below.
  struct Grid {
    std::vector<Row> rows;
    std::size_t dead = 0;     // dropped rows at the front of `rows`, removed in bulk
    std::uint64_t first = 0;  // absolute number of the first row kept
    std::size_t top = 0;      // which of the rows kept is the screen's topmost; at most count()
    std::size_t bytes = 0;    // of all rows' text
    [[nodiscard]] std::size_t count() const noexcept { return rows.size() - dead; }
    [[nodiscard]] Row& at(std::size_t i) { return rows[dead + i]; }
    [[nodiscard]] const Row& at(std::size_t i) const { return rows[dead + i]; }
  };

  struct Cursor {
    std::size_t row = 0;
    std::size_t column = 0;  // kColumns: the next character wraps
  };

  struct Primary {
    Grid grid;
    Cursor cursor;
    Cursor saved;
  };

  enum class State : std::uint8_t { ground, escape, charset, csi, string, string_escape };

  static constexpr std::size_t kMaxParameters = 16;
  struct Sequence {
    std::array<std::uint16_t, kMaxParameters> parameters{};
    std::size_t count = 0;      // of parameters begun
    char marker = 0;            // '?', '>', '=' or '<'
    char intermediate = 0;      // the last one
    std::size_t swallowed = 0;  // bytes of a string sequence
  };

  class Edit;

  // Parsing.
  std::size_t feed_ground(std::string_view bytes);
  bool complete_partial(char next);
  void feed_control(unsigned char c);
  void feed_escape(unsigned char c);
  void feed_csi(unsigned char c);
  void feed_string(unsigned char c);
  void dispatch_csi(char final);
  void set_mode(bool on);
  [[nodiscard]] std::size_t parameter(std::size_t index, std::size_t fallback) const;
  void reply(std::string_view text);

  // Writing.
  Row& cursor_row();
  void put_ascii(std::string_view run);
  void put(char32_t code_point);
  void put_combining(char32_t code_point);
  void overwrite(Row& row, std::size_t column, std::string_view text, std::size_t width);
  void wrap();

  // Editing.
  static std::size_t cut(Row& row, std::size_t column);
  void materialize(std::size_t count);
  void remove_rows(std::size_t from, std::size_t to);
  void insert_rows(std::size_t at, std::size_t count);
  void touch_rows(std::size_t from, std::size_t to);
  void insert_blanks(std::size_t count);
  void delete_characters(std::size_t count);
  void erase_line(std::size_t how);
  void erase_display(std::size_t how);
  void insert_lines(std::size_t from, std::size_t count);
  void delete_lines(std::size_t from, std::size_t count);
  void line_feed();
  void reverse_line_feed();
  void scroll_up(std::size_t count);
  void scroll_region_into_history();
  void clear_screen();
  void clear_history();
  void move_to(std::size_t row, std::size_t column);
  void enter_alternate();
  void leave_alternate(bool restore_cursor);
  void drop_first();
  void trim();
  void compact();

  [[nodiscard]] std::string render(std::size_t row, std::size_t offset, TrailingLines trailing) const;
  [[nodiscard]] std::size_t cursor_index() const noexcept { return grid_.top + cursor_.row; }
  [[nodiscard]] std::size_t used_rows() const noexcept;

  Grid grid_;
  Cursor cursor_;
  Cursor saved_;
  std::size_t region_top_ = 0;
  std::size_t region_bottom_ = kRows - 1;
  std::optional<Primary> primary_;  // while the alternate screen is active
  std::uint64_t next_alternate_row_;
  std::string spare_;  // the buffer of the row dropped last, for the next one

  State state_ = State::ground;
  Sequence sequence_;
  std::array<char, 4> partial_{};  // the beginning of a UTF-8 sequence
  std::size_t partial_size_ = 0;
  char32_t last_printed_ = 0;  // for REP, which must follow it directly

  std::string replies_;
  std::uint32_t revision_ = 0;
  std::uint64_t lost_lines_ = 0;
  std::uint64_t lost_end_ = 0;
};

}  // namespace sandkey::agent
