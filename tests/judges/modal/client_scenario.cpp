// The scenario of compare.py by our client.
#include "../frame/client_scenario.h"

#include "sandkey/providers/modal/provider.h"

int main(int argc, char** argv) {
  return sandkey::judge::play(sandkey::modal::kEntry, argc, argv);
}
