// What the contract suite has to know of this provider.
#pragma once

#include "tests/contract/facts.h"

namespace sandkey::local {

inline const contract::Facts kContract{.missing_image = "/no/such/image"};

}  // namespace sandkey::local
