// The scenario of compare.py by our client.
#include "../frame/client_scenario.h"

#include "sandkey/providers/daytona/provider.h"

int main(int argc, char** argv) {
  return sandkey::judge::play(sandkey::daytona::kEntry, argc, argv);
}
