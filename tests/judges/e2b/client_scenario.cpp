// The scenario of compare.py by our client.
#include "../frame/client_scenario.h"

#include "sandkey/providers/e2b/provider.h"

int main(int argc, char** argv) {
  return sandkey::judge::play(sandkey::e2b::kEntry, argc, argv);
}
