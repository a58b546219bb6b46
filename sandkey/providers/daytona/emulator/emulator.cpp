#include "sandkey/providers/daytona/emulator/emulator.h"

namespace sandkey::daytona::emulator {

sandkey::emulator::Mask mask() {
  return {.prefixes = {"DAYTONA_"}, .files = {}, .folders = {"DAYTONA_CONFIG_DIR"}};
}

}  // namespace sandkey::daytona::emulator
