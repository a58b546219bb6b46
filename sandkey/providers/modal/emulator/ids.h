// How Modal's ids and names look. Clients tell the two kinds of sandboxes apart by nothing else.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/rfc3339.h"

#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

// The two kinds of sandboxes there are, each with calls of its own.
enum class Backend { v1, v2 };

// "ap-" and 22 letters and digits, for apps ("ap"), images ("im"), secrets ("st"), environments ("en").
[[nodiscard]] std::string make_id(const Engine& engine, std::string_view prefix);
// v1: as above; v2: "sb-" and a ULID, which begins with the time.
[[nodiscard]] std::string make_sandbox_id(const Engine& engine, Backend backend, sandkey::emulator::Time now);
// The same with "ta-"; one of v2 ends with 'V'.
[[nodiscard]] std::string make_task_id(const Engine& engine, Backend backend, sandkey::emulator::Time now);

// What apps and sandboxes may be called: at most 64 of letters, digits, '-', '_', '.', and not like an app's
// id.
[[nodiscard]] bool is_name(std::string_view text) noexcept;
// A tag's name or value: at most 63 of the same characters, and for a name at least one.
[[nodiscard]] bool is_tag_name(std::string_view text) noexcept;
[[nodiscard]] bool is_tag_value(std::string_view text) noexcept;

}  // namespace sandkey::modal::emulator
