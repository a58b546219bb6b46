// The text of worker.py, which the agent carries so that it needs no file in the image.
#pragma once

#include <string_view>

namespace sandkey::agent {

extern const std::string_view kPythonWorkerSource;

}  // namespace sandkey::agent
