// The process's environment as the code below config/ sees it, replaceable by tests.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sandkey {

// The variable's value if it is set, be it empty. Never an empty function.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// The real one. Whoever calls setenv meanwhile races with it.
[[nodiscard]] Environment process_environment();

// The names of all variables there are. As above.
[[nodiscard]] std::vector<std::string> process_variables();

// The variable, where empty counts as not set: what it does to paths.
[[nodiscard]] std::optional<std::string> nonempty_variable(const Environment& environment,
                                                           const std::string& name);

}  // namespace sandkey
