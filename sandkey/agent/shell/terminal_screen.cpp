#include "sandkey/agent/shell/terminal_screen.h"

#include "sandkey/agent/shell/character_width.h"
#include "sandkey/base/utf8.h"

#include <algorithm>
#include <utility>

namespace sandkey::agent {
namespace {

constexpr unsigned char byte(char c) noexcept {
  return static_cast<unsigned char>(c);
}

constexpr char kEscape = '\x1b';
constexpr char kBell = '\x07';
constexpr char kCancel = '\x18';
constexpr char kSubstitute = '\x1a';

// Rows of alternate screens are numbered from here, so that no mark can mean a row of the other screen.
constexpr std::uint64_t kAlternateRows = std::uint64_t{1} << 63U;

// A row's buffer is handed on only if it is about as small as most lines are.
constexpr std::size_t kSpareCapacity = 256;

// Dropped rows pile up to this many before the rest is moved down over them.
constexpr std::size_t kMaxDead = 4096;

constexpr std::uint64_t hash(std::string_view text) noexcept {  // FNV-1a
  std::uint64_t h = 0xcbf29ce484222325U;
  for (const char c : text) h = (h ^ byte(c)) * 0x100000001b3U;
  return h;
}

constexpr bool printable(char c) noexcept {
  return c >= 0x20 && c < 0x7F;
}

void strip_blanks(std::string& text, std::size_t from) {
  const std::size_t last = text.find_last_not_of(' ');
  text.resize(last == std::string::npos || last < from ? from : last + 1);
}

}  // namespace

// Keeps the account of bytes and the revision right while a row is changed.
class TerminalScreen::Edit {
 public:
  Edit(TerminalScreen& screen, Row& row) : screen_(screen), row_(row), before_(row.text.size()) {
    row.revision = screen.revision_;
  }
  ~Edit() { screen_.grid_.bytes += row_.text.size() - before_; }
  Edit(const Edit&) = delete;
  Edit& operator=(const Edit&) = delete;

 private:
  TerminalScreen& screen_;
  Row& row_;
  std::size_t before_;
};

TerminalScreen::TerminalScreen() : next_alternate_row_(kAlternateRows) {}

void TerminalScreen::reset() {
  const Grid& grid = primary_ ? primary_->grid : grid_;
  const std::uint64_t first = grid.first + std::max(grid.count(), grid.top + kRows);
  const std::uint64_t next_alternate = std::max(next_alternate_row_, primary_ ? grid_.first + 2 * kRows : 0);
  const std::uint32_t revision = revision_;
  *this = TerminalScreen();
  grid_.first = first;
  next_alternate_row_ = next_alternate;
  revision_ = revision;
}

std::size_t TerminalScreen::size() const noexcept {
  return grid_.bytes + (primary_ ? primary_->grid.bytes : 0);
}

std::string TerminalScreen::take_replies() {
  return std::exchange(replies_, {});
}

// ---- Parsing
// -------------------------------------------------------------------------------------------------

void TerminalScreen::feed(std::string_view bytes) {
  ++revision_;
  while (!bytes.empty()) {
    if (partial_size_ != 0) {
      if (complete_partial(bytes.front())) bytes.remove_prefix(1);
      continue;
    }
    if (state_ == State::ground) {
      bytes.remove_prefix(feed_ground(bytes));
      continue;
    }
    const unsigned char c = byte(bytes.front());
    if (c >= 0x80 && state_ != State::string) {  // no escape sequence has such bytes: it was broken off
      state_ = State::ground;
      continue;
    }
    bytes.remove_prefix(1);
    switch (state_) {
      case State::escape:
        feed_escape(c);
        break;
      case State::charset:
        state_ = State::ground;
        break;
      case State::csi:
        feed_csi(c);
        break;
      case State::string:
      case State::string_escape:
        feed_string(c);
        break;
      case State::ground:
        break;
    }
  }
  trim();
}

std::size_t TerminalScreen::feed_ground(std::string_view bytes) {
  std::size_t i = 0;
  while (i < bytes.size()) {
    const char c = bytes[i];
    if (printable(c)) {
      std::size_t end = i + 1;
      while (end < bytes.size() && printable(bytes[end])) ++end;
      put_ascii(bytes.substr(i, end - i));
      i = end;
    } else if (byte(c) < 0x80) {
      ++i;
      feed_control(byte(c));
      if (state_ != State::ground) return i;
    } else {
      const std::string_view rest = bytes.substr(i);
      const utf8::Decoded step = utf8::decode(rest);
      if (!step.valid && step.length == rest.size() && utf8::incomplete_tail(rest) == rest.size()) {
        std::copy(rest.begin(), rest.end(), partial_.begin());
        partial_size_ = rest.size();
        return bytes.size();
      }
      put(step.code_point);
      i += step.length;
    }
  }
  return i;
}

// Whether `next` belonged to the character begun earlier.
bool TerminalScreen::complete_partial(char next) {
  partial_[partial_size_++] = next;
  const std::string_view sequence(partial_.data(), partial_size_);
  const utf8::Decoded step = utf8::decode(sequence);
  if (!step.valid && utf8::incomplete_tail(sequence) == sequence.size()) return true;
  partial_size_ = 0;
  put(step.code_point);
  return step.valid;
}

void TerminalScreen::feed_control(unsigned char c) {
  if (c != byte(kEscape)) last_printed_ = 0;
  switch (c) {
    case '\n':
    case '\v':
    case '\f':
      line_feed();
      break;
    case '\r':
      cursor_.column = 0;
      break;
    case '\b':
      if (cursor_.column > 0) {
        --cursor_.column;
      } else if (cursor_.row > 0 && cursor_index() < grid_.count() && grid_.at(cursor_index()).continues) {
        --cursor_.row;  // as tmux: line editors rub out a wrapped line this way
        cursor_.column = kColumns - 1;
      }
      break;
    case '\t':
      if (cursor_.column < kColumns - 1) {
        cursor_.column = std::min((cursor_.column / 8 + 1) * 8, kColumns - 1);
      }
      break;
    case byte(kEscape):
      state_ = State::escape;
      break;
    default:
      break;
  }
}

void TerminalScreen::feed_escape(unsigned char c) {
  if (c < 0x20) {
    if (c == byte(kCancel) || c == byte(kSubstitute)) {
      state_ = State::ground;
    } else {
      feed_control(c);
    }
    return;
  }
  state_ = State::ground;
  if (c != '[') last_printed_ = 0;
  switch (c) {
    case '[':
      sequence_ = {};
      state_ = State::csi;
      break;
    case ']':  // OSC
    case 'P':  // DCS
    case '_':  // APC
    case '^':  // PM
    case 'X':  // SOS
    case 'k':  // screen's window title
      sequence_ = {};
      state_ = State::string;
      break;
    // Character sets are not translated, nor are they by `capture-pane`.
    case ' ':
    case '#':
    case '%':
    case '(':
    case ')':
    case '*':
    case '+':
    case '-':
    case '.':
    case '/':
      state_ = State::charset;
      break;
    case '7':
      saved_ = cursor_;
      break;
    case '8':
      cursor_ = saved_;
      break;
    case 'D':
      line_feed();
      break;
    case 'E':
      cursor_.column = 0;
      line_feed();
      break;
    case 'M':
      reverse_line_feed();
      break;
    case 'Z':
      reply("\x1b[?1;2c");
      break;
    case 'c':
      region_top_ = 0;
      region_bottom_ = kRows - 1;
      clear_screen();
      cursor_ = saved_ = {};
      break;
    default:
      break;
  }
}

void TerminalScreen::feed_csi(unsigned char c) {
  if (c < 0x20) {
    if (c == byte(kCancel) || c == byte(kSubstitute)) {
      state_ = State::ground;
    } else {
      feed_control(c);  // executed in the middle of the sequence, as a terminal does; ESC begins a new one
    }
  } else if (c < 0x30) {
    sequence_.intermediate = static_cast<char>(c);
  } else if (c <= '9') {
    if (sequence_.count == 0) sequence_.count = 1;
    if (sequence_.count <= kMaxParameters) {
      std::uint16_t& value = sequence_.parameters[sequence_.count - 1];
      value = static_cast<std::uint16_t>(std::min(value * 10 + (c - '0'), 9999));
    }
  } else if (c <= ';') {
    sequence_.count = std::min(std::max<std::size_t>(sequence_.count, 1) + 1, kMaxParameters + 1);
  } else if (c < 0x40) {
    sequence_.marker = static_cast<char>(c);
  } else if (c < 0x7F) {
    state_ = State::ground;
    dispatch_csi(static_cast<char>(c));
  }
}

void TerminalScreen::feed_string(unsigned char c) {
  if (state_ == State::string_escape) {
    state_ = State::ground;
    if (c != '\\') {  // not the terminator: the string was broken off by another sequence
      state_ = State::escape;
      feed_escape(c);
    }
    return;
  }
  if (c == byte(kEscape)) {
    state_ = State::string_escape;
  } else if (c == byte(kBell) || c == byte(kCancel) || c == byte(kSubstitute) ||
             ++sequence_.swallowed >= kMaxStringSequence) {
    state_ = State::ground;
  }
}

std::size_t TerminalScreen::parameter(std::size_t index, std::size_t fallback) const {
  const std::size_t value = index < kMaxParameters ? sequence_.parameters[index] : 0;
  return value == 0 ? fallback : value;
}

void TerminalScreen::reply(std::string_view text) {
  if (replies_.size() + text.size() <= kMaxReplyBytes) replies_.append(text);
}

void TerminalScreen::dispatch_csi(char final) {
  if (final != 'b') last_printed_ = 0;
  const char marker = sequence_.marker;
  if (sequence_.intermediate != 0) return;
  if (marker != 0) {
    if (marker == '?' && (final == 'h' || final == 'l')) set_mode(final == 'h');
    if (marker == '?' && final == 'J') erase_display(parameter(0, 0));
    if (marker == '?' && final == 'K') erase_line(parameter(0, 0));
    if (marker == '>' && final == 'c') reply("\x1b[>84;0;0c");  // what tmux says
    return;
  }
  const std::size_t n = parameter(0, 1);
  // Up and down stop at the scrolling region's edge if they start within it.
  const std::size_t ceiling = cursor_.row >= region_top_ ? region_top_ : 0;
  const std::size_t floor = cursor_.row <= region_bottom_ ? region_bottom_ : kRows - 1;
  const std::size_t up = cursor_.row - std::min(n, cursor_.row - ceiling);
  const std::size_t down = std::min(cursor_.row + n, floor);
  switch (final) {
    case 'A':
      move_to(up, cursor_.column);
      break;
    case 'B':
    case 'e':
      move_to(down, cursor_.column);
      break;
    case 'C':
    case 'a':
      move_to(cursor_.row, cursor_.column + n);
      break;
    case 'D':
      cursor_.column -= std::min(n, cursor_.column);
      break;
    case 'E':
      move_to(down, 0);
      break;
    case 'F':
      move_to(up, 0);
      break;
    case 'G':
    case '`':
      move_to(cursor_.row, n - 1);
      break;
    case 'H':
    case 'f':
      move_to(n - 1, parameter(1, 1) - 1);
      break;
    case 'I':
      move_to(cursor_.row, (cursor_.column / 8 + n) * 8);
      break;
    case 'Z': {
      const std::size_t stop = (cursor_.column + 7) / 8;
      cursor_.column = (stop - std::min(n, stop)) * 8;
      break;
    }
    case 'd':
      move_to(n - 1, cursor_.column);
      break;
    case 'J':
      erase_display(parameter(0, 0));
      break;
    case 'K':
      erase_line(parameter(0, 0));
      break;
    case 'L':
      if (cursor_.row >= region_top_ && cursor_.row <= region_bottom_) insert_lines(cursor_.row, n);
      break;
    case 'M':
      if (cursor_.row >= region_top_ && cursor_.row <= region_bottom_) delete_lines(cursor_.row, n);
      break;
    case 'S':
      scroll_up(n);
      break;
    case 'T':
      insert_lines(region_top_, n);
      break;
    case '@':
      insert_blanks(n);
      break;
    case 'P':
      delete_characters(n);
      break;
    case 'X':
      if (cursor_index() < grid_.count()) {
        Row& row = grid_.at(cursor_index());
        const std::size_t end = std::min<std::size_t>(cursor_.column + n, row.columns);
        if (cursor_.column < end) {
          overwrite(row, cursor_.column, std::string(end - cursor_.column, ' '), end - cursor_.column);
        }
      }
      break;
    case 'b':
      if (last_printed_ != 0) {
        const std::size_t room = kColumns - std::min(cursor_.column, kColumns);
        for (std::size_t i = std::min(n, room); i > 0; --i) put(last_printed_);
      }
      break;
    case 'c':
      if (parameter(0, 0) == 0) reply("\x1b[?1;2c");
      break;
    case 'n':
      if (parameter(0, 0) == 5) reply("\x1b[0n");
      if (parameter(0, 0) == 6) {
        reply("\x1b[" + std::to_string(cursor_.row + 1) + ';' +
              std::to_string(std::min(cursor_.column + 1, kColumns)) + 'R');
      }
      break;
    case 't':
      if (parameter(0, 0) == 18) {
        reply("\x1b[8;" + std::to_string(kRows) + ';' + std::to_string(kColumns) + 't');
      }
      break;
    case 'r': {
      const std::size_t top = n - 1;
      const std::size_t bottom = std::min(parameter(1, kRows), kRows) - 1;
      if (top >= bottom) break;
      region_top_ = top;
      region_bottom_ = bottom;
      cursor_ = {};
      break;
    }
    case 's':
      saved_ = cursor_;
      break;
    case 'u':
      cursor_ = saved_;
      break;
    default:
      break;  // colours, modes and what nobody can see in a text
  }
}

void TerminalScreen::set_mode(bool on) {
  for (std::size_t i = 0; i < std::min(sequence_.count, kMaxParameters); ++i) {
    switch (sequence_.parameters[i]) {
      case 47:
      case 1047:
      case 1049: {
        const bool with_cursor = sequence_.parameters[i] == 1049;
        if (on) {
          enter_alternate();
        } else {
          leave_alternate(with_cursor);
        }
        break;
      }
      case 1048:
        if (on) {
          saved_ = cursor_;
        } else {
          cursor_ = saved_;
        }
        break;
      default:
        break;
    }
  }
}

// ---- Rows
// ----------------------------------------------------------------------------------------------------

// Makes the first `count` rows exist.
void TerminalScreen::materialize(std::size_t count) {
  while (grid_.count() < count) {
    Row& row = grid_.rows.emplace_back();
    row.text = std::exchange(spare_, {});
    row.revision = 0;  // filling a gap changes nothing
  }
}

TerminalScreen::Row& TerminalScreen::cursor_row() {
  materialize(cursor_index() + 1);
  return grid_.at(cursor_index());
}

void TerminalScreen::remove_rows(std::size_t from, std::size_t to) {
  const auto begin = grid_.rows.begin() + static_cast<std::ptrdiff_t>(grid_.dead);
  const auto first = begin + static_cast<std::ptrdiff_t>(from);
  const auto last = begin + static_cast<std::ptrdiff_t>(to);
  std::for_each(first, last, [this](const Row& row) { grid_.bytes -= row.text.size(); });
  grid_.rows.erase(first, last);
}

void TerminalScreen::insert_rows(std::size_t at, std::size_t count) {
  grid_.rows.insert(grid_.rows.begin() + static_cast<std::ptrdiff_t>(grid_.dead + at), count, Row{});
}

void TerminalScreen::touch_rows(std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < std::min(to, grid_.count()); ++i) grid_.at(i).revision = revision_;
}

// Rows up to the last one that holds something.
std::size_t TerminalScreen::used_rows() const noexcept {
  std::size_t used = grid_.count();
  while (used > 0 && grid_.at(used - 1).text.find_first_not_of(' ') == std::string::npos) --used;
  return used;
}

void TerminalScreen::drop_first() {
  Row& row = grid_.at(0);
  grid_.bytes -= row.text.size();
  row.text.clear();
  if (row.text.capacity() <= kSpareCapacity) {
    spare_ = std::move(row.text);
  }
  row.text = {};
  ++grid_.dead;
  ++grid_.first;
  if (grid_.top > 0) --grid_.top;
  if (grid_.dead >= kMaxDead) compact();
}

void TerminalScreen::compact() {
  grid_.rows.erase(grid_.rows.begin(), grid_.rows.begin() + static_cast<std::ptrdiff_t>(grid_.dead));
  grid_.dead = 0;
}

// Drops history beyond the limits.
void TerminalScreen::trim() {
  while (grid_.top > 0 && (grid_.count() > kMaxRows || grid_.bytes > kMaxBytes)) {
    drop_first();
    lost_end_ = grid_.first;
    if (!(grid_.count() > 0 && grid_.at(0).continues)) ++lost_lines_;
  }
}

// ---- Writing
// -------------------------------------------------------------------------------------------------

void TerminalScreen::put_ascii(std::string_view run) {
  last_printed_ = byte(run.back());
  while (!run.empty()) {
    if (cursor_.column >= kColumns) wrap();
    const std::size_t n = std::min(run.size(), kColumns - cursor_.column);
    overwrite(cursor_row(), cursor_.column, run.substr(0, n), n);
    cursor_.column += n;
    run.remove_prefix(n);
  }
}

void TerminalScreen::put(char32_t code_point) {
  if (code_point >= 0x7F && code_point < 0xA0) return;  // C1 controls
  const auto width = static_cast<std::size_t>(character_width(code_point));
  if (width == 0) {
    put_combining(code_point);
    return;
  }
  if (cursor_.column + width > kColumns) wrap();
  std::string text;
  utf8::append(text, code_point);
  overwrite(cursor_row(), cursor_.column, text, width);
  cursor_.column += width;
  last_printed_ = code_point;
}

void TerminalScreen::put_combining(char32_t code_point) {
  last_printed_ = 0;
  if (cursor_.column == 0 || cursor_index() >= grid_.count()) return;
  Row& row = grid_.at(cursor_index());
  if (cursor_.column > row.columns) return;
  std::string text;
  utf8::append(text, code_point);
  if (row.text.size() + text.size() > kMaxRowBytes) return;
  const Edit edit(*this, row);
  row.text.insert(cursor_.column == row.columns ? row.text.size() : cut(row, cursor_.column), text);
}

// Puts `text`, `width` columns wide, over what is there.
void TerminalScreen::overwrite(Row& row, std::size_t column, std::string_view text, std::size_t width) {
  const Edit edit(*this, row);
  if (column >= row.columns) {
    row.text.append(column - row.columns, ' ');
    row.text.append(text);
  } else {
    const std::size_t end = std::min<std::size_t>(column + width, row.columns);
    const std::size_t first = cut(row, column);
    const std::size_t last = cut(row, end);
    row.text.replace(first, last - first, text);
  }
  row.columns = static_cast<std::uint16_t>(std::max<std::size_t>(row.columns, column + width));
}

void TerminalScreen::wrap() {
  line_feed();
  cursor_.column = 0;
  cursor_row().continues = true;
}

// The byte where the given column (at most row.columns) begins. A wide character that straddles it becomes
// blanks.
std::size_t TerminalScreen::cut(Row& row, std::size_t column) {
  if (row.ascii()) return column;
  std::string& text = row.text;
  std::size_t at = 0;
  std::size_t offset = 0;
  while (offset < text.size()) {
    const utf8::Decoded step = utf8::decode(std::string_view(text).substr(offset));
    const auto width = static_cast<std::size_t>(character_width(step.code_point));
    if (at >= column && width > 0) return offset;
    if (at < column && at + width > column) {
      text.replace(offset, step.length, "  ");
      return offset + 1;
    }
    at += width;
    offset += step.length;
  }
  return offset;
}

// ---- Editing
// -------------------------------------------------------------------------------------------------

void TerminalScreen::move_to(std::size_t row, std::size_t column) {
  cursor_.row = std::min(row, kRows - 1);
  cursor_.column = std::min(column, kColumns - 1);
}

void TerminalScreen::line_feed() {
  if (cursor_.row == region_bottom_) {
    scroll_up(1);
  } else if (cursor_.row < kRows - 1) {
    ++cursor_.row;
  }
}

void TerminalScreen::reverse_line_feed() {
  if (cursor_.row == region_top_) {
    insert_lines(region_top_, 1);
  } else if (cursor_.row > 0) {
    --cursor_.row;
  }
}

void TerminalScreen::scroll_up(std::size_t count) {
  const bool whole = region_top_ == 0 && region_bottom_ == kRows - 1;
  if (primary_ && !whole) {
    delete_lines(region_top_, count);
    return;
  }
  count = std::min(count, region_bottom_ - region_top_ + 1);
  if (primary_) {  // the alternate screen has no history
    materialize(grid_.top + count);
    for (; count > 0; --count) drop_first();
  } else if (whole) {
    materialize(grid_.top + count);
    grid_.top += count;
    trim();
  } else {
    for (; count > 0; --count) scroll_region_into_history();
  }
}

// What leaves a scrolling region becomes history, as in tmux: apt prints above its progress bar that way.
void TerminalScreen::scroll_region_into_history() {
  const std::size_t leaving = grid_.top + region_top_;
  materialize(leaving + 1);
  const auto first = grid_.rows.begin() + static_cast<std::ptrdiff_t>(grid_.dead + grid_.top);
  const auto last = first + static_cast<std::ptrdiff_t>(region_top_);
  std::rotate(first, last, last + 1);
  const std::size_t changed = region_top_ == 0 ? grid_.top + region_bottom_ : grid_.top;
  ++grid_.top;
  const std::size_t bottom = grid_.top + region_bottom_;
  if (bottom < grid_.count()) insert_rows(bottom, 1);
  touch_rows(changed + 1, grid_.count());
  trim();
}

void TerminalScreen::insert_lines(std::size_t from, std::size_t count) {
  const std::size_t begin = grid_.top + from;
  const std::size_t end = grid_.top + region_bottom_ + 1;
  if (begin >= grid_.count()) return;
  count = std::min(count, end - begin);
  const std::size_t present = grid_.count();
  remove_rows(std::min(end - count, present), std::min(end, present));
  insert_rows(begin, std::min(count, end - begin));
  touch_rows(begin, end);
}

void TerminalScreen::delete_lines(std::size_t from, std::size_t count) {
  const std::size_t begin = grid_.top + from;
  const std::size_t end = grid_.top + region_bottom_ + 1;
  const std::size_t present = grid_.count();
  if (begin >= present) return;
  count = std::min(count, end - begin);
  remove_rows(begin, std::min(begin + count, present));
  if (present > end) insert_rows(end - count, count);  // what is below the region stays where it is
  touch_rows(begin, end);
}

void TerminalScreen::insert_blanks(std::size_t count) {
  if (cursor_index() >= grid_.count()) return;
  Row& row = grid_.at(cursor_index());
  if (cursor_.column >= row.columns) return;
  const Edit edit(*this, row);
  count = std::min(count, kColumns - cursor_.column);
  const std::size_t keep = std::min<std::size_t>(row.columns, kColumns - count);
  row.text.resize(cut(row, keep));
  row.text.insert(cut(row, std::min(cursor_.column, keep)), count, ' ');
  row.columns = static_cast<std::uint16_t>(keep + count);
}

void TerminalScreen::delete_characters(std::size_t count) {
  if (cursor_index() >= grid_.count()) return;
  Row& row = grid_.at(cursor_index());
  if (cursor_.column >= row.columns) return;
  const Edit edit(*this, row);
  const std::size_t end = std::min<std::size_t>(cursor_.column + count, row.columns);
  const std::size_t first = cut(row, cursor_.column);
  row.text.erase(first, cut(row, end) - first);
  row.columns = static_cast<std::uint16_t>(row.columns - (end - cursor_.column));
}

void TerminalScreen::erase_line(std::size_t how) {
  if (how > 2 || cursor_index() >= grid_.count()) return;
  Row& row = grid_.at(cursor_index());
  if (how == 1 && cursor_.column + 1 < row.columns) {
    overwrite(row, 0, std::string(cursor_.column + 1, ' '), cursor_.column + 1);
    return;
  }
  const Edit edit(*this, row);
  const std::size_t keep = how == 0 ? std::min<std::size_t>(cursor_.column, row.columns) : 0;
  row.text.resize(cut(row, keep));
  row.columns = static_cast<std::uint16_t>(keep);
}

void TerminalScreen::erase_display(std::size_t how) {
  if (how == 3) {
    clear_history();
  } else if (how == 2 || (how == 0 && cursor_.row == 0 && cursor_.column == 0)) {
    clear_screen();
  } else if (how == 0) {
    erase_line(0);
    if (cursor_index() + 1 < grid_.count()) remove_rows(cursor_index() + 1, grid_.count());
  } else if (how == 1) {
    for (std::size_t i = grid_.top; i < std::min(cursor_index(), grid_.count()); ++i) {
      Row& row = grid_.at(i);
      const Edit edit(*this, row);
      row.text.clear();
      row.columns = 0;
      row.continues = false;
    }
    erase_line(1);
  }
}

// As tmux does with its `scroll-on-clear`: what stood on the screen becomes history.
void TerminalScreen::clear_screen() {
  const std::size_t keep = primary_ ? grid_.top : std::max(used_rows(), grid_.top);
  if (keep < grid_.count()) remove_rows(keep, grid_.count());
  grid_.top = keep;
  trim();
}

void TerminalScreen::clear_history() {
  if (primary_) {
    Grid& hidden = primary_->grid;
    std::swap(grid_, hidden);
    std::optional<Primary> aside = std::exchange(primary_, std::nullopt);
    clear_history();
    primary_ = std::move(aside);
    std::swap(grid_, primary_->grid);
    return;
  }
  const std::size_t gone = grid_.top;
  remove_rows(0, gone);
  grid_.first += gone;
  grid_.top = 0;
  compact();
  if (grid_.rows.capacity() > 4 * (grid_.count() + 16)) grid_.rows.shrink_to_fit();
}

void TerminalScreen::enter_alternate() {
  if (primary_) return;
  primary_.emplace(Primary{std::exchange(grid_, {}), cursor_, saved_});
  grid_.first = next_alternate_row_;
  region_top_ = 0;
  region_bottom_ = kRows - 1;
}

void TerminalScreen::leave_alternate(bool restore_cursor) {
  if (!primary_) return;
  next_alternate_row_ = grid_.first + 2 * kRows;
  grid_ = std::move(primary_->grid);
  if (restore_cursor) cursor_ = primary_->cursor;
  saved_ = primary_->saved;
  primary_.reset();
  region_top_ = 0;
  region_bottom_ = kRows - 1;
}

// ---- Reading
// -------------------------------------------------------------------------------------------------

std::string TerminalScreen::render(std::size_t first, std::size_t offset, TrailingLines trailing) const {
  std::size_t end = used_rows();
  if (trailing == TrailingLines::keep) end = std::max(end, cursor_index() + 1);
  std::string out;
  std::size_t line = 0;  // where the current one begins in `out`
  for (std::size_t i = first; i < end; ++i) {
    const Row* row = i < grid_.count() ? &grid_.at(i) : nullptr;
    if (i != first && !(row != nullptr && row->continues)) {
      strip_blanks(out, line);
      out.push_back('\n');
      line = out.size();
    }
    if (row == nullptr) continue;
    out.append(row->text, i == first ? std::min(offset, row->text.size()) : 0);
  }
  strip_blanks(out, line);
  return out;
}

std::string TerminalScreen::text(TrailingLines trailing) const {
  return render(0, 0, trailing);
}

TerminalScreen::Mark TerminalScreen::mark() const {
  const std::size_t used = used_rows();
  const std::size_t index = std::max(cursor_index(), used > 0 ? used - 1 : 0);
  const std::string_view text = index < grid_.count() ? std::string_view(grid_.at(index).text) : "";
  return {grid_.first + index, text.size(), hash(text), revision_};
}

std::string TerminalScreen::text_since(const Mark& mark, TrailingLines trailing) const {
  const bool foreign = (mark.row >= kAlternateRows) != primary_.has_value();
  if (!foreign && mark.row < grid_.first) return render(0, 0, trailing);
  if (foreign && primary_) return render(0, 0, trailing);

  // Something changed above the mark?
  const std::size_t index = foreign ? grid_.count() : static_cast<std::size_t>(mark.row - grid_.first);
  for (std::size_t i = 0; i < std::min(index, grid_.count()); ++i) {
    if (grid_.at(i).revision > mark.revision) return render(i, 0, trailing);
  }
  if (foreign) return {};
  if (index < grid_.count()) {
    const std::string_view text = grid_.at(index).text;
    if (text.size() >= mark.bytes && hash(text.substr(0, mark.bytes)) == mark.prefix) {
      return render(index, mark.bytes, trailing);
    }
  }
  return render(index, 0, trailing);
}

}  // namespace sandkey::agent
