#include "sandkey/agent/files/line_diff.h"

#include "sandkey/agent/files/python_text.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sandkey::agent::files {
namespace {

using Index = std::uint32_t;

// A text as its lines, split at \n only: "a\n" is two of them.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    starts_.push_back(0);
    for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
      starts_.push_back(static_cast<Index>(at + 1));
    }
  }
  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(starts_.size()); }
  [[nodiscard]] std::string_view operator[](Index i) const noexcept {
    const std::size_t end = i + 1 < starts_.size() ? starts_[i + 1] - 1 : text_.size();
    return text_.substr(starts_[i], end - starts_[i]);
  }

 private:
  std::string_view text_;
  std::vector<Index> starts_;
};

// Lines a[begin_a, end_a) against b[begin_b, end_b).
struct Region {
  Index begin_a, end_a, begin_b, end_b;
};

// a[a, a + size) equals b[b, b + size).
struct Block {
  Index a, b, size;
  bool operator<(const Block& other) const noexcept { return a != other.a ? a < other.a : b < other.b; }
};

// The plain way to pair up lines: those that agree at the top of the region and at its bottom.
template <typename Sequence>
void pair_ends(const Sequence& a, const Sequence& b, const Region& region, std::vector<Block>& found) {
  const Index shorter = std::min(region.end_a - region.begin_a, region.end_b - region.begin_b);
  Index top = 0;
  while (top < shorter && a[region.begin_a + top] == b[region.begin_b + top]) ++top;
  Index bottom = 0;
  while (bottom < shorter - top && a[region.end_a - 1 - bottom] == b[region.end_b - 1 - bottom]) ++bottom;
  if (top > 0) found.push_back({region.begin_a, region.begin_b, top});
  if (bottom > 0) found.push_back({region.end_a - bottom, region.end_b - bottom, bottom});
}

// Pairs up lines as difflib does: take the longest run of lines common to both (the first of equals), then do
// the same above and below it. Runs start from lines that are not too frequent in `b` and are then widened
// over any line.
class Matcher {
 public:
  Matcher(const Lines& a, const Lines& b) {
    std::unordered_map<std::string_view, Index> ids;
    const auto number = [&ids](const Lines& lines) {
      std::vector<Index> out(lines.size());
      for (Index i = 0; i < lines.size(); ++i) {
        out[i] = ids.try_emplace(lines[i], static_cast<Index>(ids.size())).first->second;
      }
      return out;
    };
    b_ = number(b);
    a_ = number(a);
    index_positions(ids.size());
    row_.assign(b_.size() + 1, 0);
    next_row_.assign(b_.size() + 1, 0);
  }

  [[nodiscard]] std::vector<Block> blocks() {
    std::vector<Block> found;
    std::vector<Region> todo = {{0, static_cast<Index>(a_.size()), 0, static_cast<Index>(b_.size())}};
    while (!todo.empty()) {
      const Region region = todo.back();
      todo.pop_back();
      const Block block = longest(region);
      if (comparisons_ > kMaxDiffComparisons) {
        pair_ends(a_, b_, region, found);
        continue;
      }
      if (block.size == 0) continue;
      found.push_back(block);
      if (region.begin_a < block.a && region.begin_b < block.b) {
        todo.push_back({region.begin_a, block.a, region.begin_b, block.b});
      }
      if (block.a + block.size < region.end_a && block.b + block.size < region.end_b) {
        todo.push_back({block.a + block.size, region.end_a, block.b + block.size, region.end_b});
      }
    }
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  // positions_[first_[id], first_[id + 1]) are the places of that line in b, ascending. From 200 lines on, a
  // line that makes up more than one percent has none: blank lines and lone braces align nothing and cost
  // most of the time.
  void index_positions(std::size_t ids) {
    std::vector<Index> counts(ids, 0);
    for (const Index id : b_) ++counts[id];
    const std::size_t n = b_.size();
    const std::size_t frequent = n >= 200 ? n / 100 + 1 : n;
    for (Index& count : counts) {
      if (count > frequent) count = 0;
    }
    first_.assign(ids + 1, 0);
    for (std::size_t id = 0; id < ids; ++id) first_[id + 1] = first_[id] + counts[id];
    positions_.resize(first_.back());
    std::vector<Index> cursor(first_.begin(), first_.end() - 1);
    for (Index j = 0; j < n; ++j) {
      if (counts[b_[j]] != 0) positions_[cursor[b_[j]]++] = j;
    }
  }

  // The positions of line `id` within b[begin, end).
  [[nodiscard]] std::pair<const Index*, const Index*> places(Index id, const Region& region) const {
    const Index* begin = positions_.data() + first_[id];
    const Index* end = positions_.data() + first_[id + 1];
    begin = std::lower_bound(begin, end, region.begin_b);
    return {begin, std::lower_bound(begin, end, region.end_b)};
  }

  [[nodiscard]] Block longest(const Region& region) {
    Block best{region.begin_a, region.begin_b, 0};
    // row_[j + 1] is the length of the common run that ends at the previous line of a and at b[j].
    std::pair<const Index*, const Index*> previous{nullptr, nullptr};
    const auto clear = [](std::vector<Index>& row, std::pair<const Index*, const Index*> used) {
      for (const Index* j = used.first; j != used.second; ++j) row[*j + 1] = 0;
    };
    for (Index i = region.begin_a; i < region.end_a && comparisons_ <= kMaxDiffComparisons; ++i) {
      const auto here = places(a_[i], region);
      for (const Index* j = here.first; j != here.second; ++j) {
        const Index size = row_[*j] + 1;
        next_row_[*j + 1] = size;
        if (size > best.size) best = {i + 1 - size, *j + 1 - size, size};
      }
      comparisons_ += static_cast<std::size_t>(here.second - here.first) + 1;
      clear(row_, previous);
      std::swap(row_, next_row_);
      previous = here;
    }
    clear(row_, previous);

    while (best.a > region.begin_a && best.b > region.begin_b && a_[best.a - 1] == b_[best.b - 1]) {
      --best.a, --best.b, ++best.size;
    }
    while (best.a + best.size < region.end_a && best.b + best.size < region.end_b &&
           a_[best.a + best.size] == b_[best.b + best.size]) {
      ++best.size;
    }
    return best;
  }

  std::vector<Index> a_, b_;  // each line as the number of its text
  std::vector<Index> positions_, first_;
  std::vector<Index> row_, next_row_;
  std::size_t comparisons_ = 0;
};

// "12", "12,3", or for an empty range the line before it.
std::string range_text(std::size_t begin, std::size_t end) {
  const std::size_t length = end - begin;
  if (length == 1) return std::to_string(begin + 1);
  return std::to_string(length == 0 ? begin : begin + 1) + "," + std::to_string(length);
}

class Output {
 public:
  explicit Output(std::string_view path) : path_(path) {}

  void line(std::string_view sign, std::string_view text) {
    if (!out_.empty()) out_ += '\n';
    const std::string_view stripped = strip_right(text);
    out_ += stripped.empty() ? strip_right(sign) : sign;
    out_ += stripped;
  }
  void change(std::size_t begin_a, std::size_t end_a, std::size_t begin_b, std::size_t end_b) {
    if (out_.empty()) {
      line("--- ", path_);
      line("+++ ", path_);
    }
    line("@@ -", range_text(begin_a, end_a) + " +" + range_text(begin_b, end_b) + " @@");
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string_view path_;
  std::string out_;
};

}  // namespace

std::string unified_diff(std::string_view old_text, std::string_view new_text, std::string_view path) {
  if (old_text == new_text) return {};
  const Lines a(old_text);
  const Lines b(new_text);
  std::vector<Block> blocks;
  if (a.size() <= kMaxDiffLines && b.size() <= kMaxDiffLines) {
    blocks = Matcher(a, b).blocks();
  } else {
    pair_ends(a, b, {0, a.size(), 0, b.size()}, blocks);
  }
  blocks.push_back({a.size(), b.size(), 0});
  Output out(path);
  Index i = 0;
  Index j = 0;
  for (const Block& block : blocks) {
    if (i < block.a || j < block.b) {
      out.change(i, block.a, j, block.b);
      for (; i < block.a; ++i) out.line("-", a[i]);
      for (; j < block.b; ++j) out.line("+", b[j]);
    }
    i = block.a + block.size;
    j = block.b + block.size;
  }
  return out.take();
}

}  // namespace sandkey::agent::files
