// The `diff` of an edit observation.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::agent::files {

// Above these the diff is still right, but made in the plainest way: what lies between the common lines at
// the top and at the bottom is one replacement. Together they bound a call to about a second, and to 50 MB
// plus four bytes a line.
inline constexpr std::size_t kMaxDiffLines = 200'000;            // in either text
inline constexpr std::size_t kMaxDiffComparisons = 100'000'000;  // line pairs looked at

// A unified diff without context lines: "--- path", "+++ path", then for each change its "@@" line and lines;
// each line without white space at its end, joined by \n. Empty if the texts are equal. Texts must be shorter
// than 4 GiB. Which lines are paired up follows Python's difflib.SequenceMatcher, as the reference's diffs
// do: it is not always the shortest diff.
[[nodiscard]] std::string unified_diff(std::string_view old_text, std::string_view new_text,
                                       std::string_view path);

}  // namespace sandkey::agent::files
