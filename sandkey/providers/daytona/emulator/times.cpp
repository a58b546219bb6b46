#include "sandkey/providers/daytona/emulator/times.h"

#include <chrono>

namespace sandkey::daytona::emulator {

std::string to_iso(sandkey::emulator::Time time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::floor<std::chrono::milliseconds>(time - whole).count();
  std::string text = sandkey::emulator::to_rfc3339(whole);
  text.pop_back();  // its Z
  const std::string digits = std::to_string(rest);
  return text + "." + std::string(3 - digits.size(), '0') + digits + "Z";
}

}  // namespace sandkey::daytona::emulator
