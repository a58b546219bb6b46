#include "sandkey/providers/modal/emulator/emulator.h"

namespace sandkey::modal::emulator {

sandkey::emulator::Mask mask() {
  return {.prefixes = {"MODAL_"}, .files = {"MODAL_CONFIG_PATH"}, .folders = {}};
}

}  // namespace sandkey::modal::emulator
