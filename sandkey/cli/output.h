// What verbs print for people and programs alike.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::cli {

// All of it, or throws Error.
void write_all(int fd, std::string_view bytes);

// Columns as wide as they need to be, on stdout.
using Line = std::vector<std::string>;
void print_table(const std::vector<Line>& lines);

// "2026-11-23T02:47:29Z".
[[nodiscard]] std::string iso_time(std::chrono::system_clock::time_point time);
// The same, or null.
[[nodiscard]] json::value json_time(const std::optional<std::chrono::system_clock::time_point>& time);

}  // namespace sandkey::cli
