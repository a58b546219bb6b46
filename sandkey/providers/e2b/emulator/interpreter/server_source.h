// server.py as text.
#pragma once

#include <string_view>

namespace sandkey::e2b_interpreter {

extern const std::string_view kServerSource;

}  // namespace sandkey::e2b_interpreter
