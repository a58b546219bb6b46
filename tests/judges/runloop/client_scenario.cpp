// The scenario of compare.py by our client.
#include "../frame/client_scenario.h"

#include "sandkey/providers/runloop/provider.h"

int main(int argc, char** argv) {
  return sandkey::judge::play(sandkey::runloop::kEntry, argc, argv);
}
