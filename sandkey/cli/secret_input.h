// Keys, typed or piped in: never a part of the command line, which everybody on the machine can read.
#pragma once

#include "sandkey/base/secret.h"

#include <string>
#include <vector>

namespace sandkey::cli {

// One secret for each name, in their order. On a terminal each is asked for, with `what` (an API key of e2b)
// in the question and nothing echoed; else standard input has one a line. Throws Error(invalid_argument) for
// too few or too many lines, or too much input, and Error(cancelled) where the terminal ended instead of
// answering.
[[nodiscard]] std::vector<Secret> read_secrets(const std::vector<std::string>& names,
                                               const std::string& what);

}  // namespace sandkey::cli
