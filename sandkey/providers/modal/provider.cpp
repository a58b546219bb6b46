#include "sandkey/providers/modal/provider.h"  // compiles it; a library must have a source
