#include "sandkey/providers/runloop/emulator/emulator.h"

namespace sandkey::runloop::emulator {

sandkey::emulator::Mask mask() {
  return {.prefixes = {"RUNLOOP_"}, .files = {}, .folders = {}};
}

}  // namespace sandkey::runloop::emulator
