// What the contract suite has to know of this provider.
#pragma once

#include "tests/contract/facts.h"

namespace sandkey::e2b {

inline const contract::Facts kContract{
    // Servers older than the second version of the list have the first.
    .routes = {.probes = {"GET /v2/sandboxes", "GET /sandboxes"}, .create = "POST /v2/sandboxes"},
    // E2B alone decides what a key looks like, so one of another shape is asked about, too.
    .refused = {{"malformed", ErrorCode::unauthenticated},
                {"unknown", ErrorCode::unauthenticated},
                {"revoked", ErrorCode::unauthenticated},
                {"banned", ErrorCode::permission_denied}},
    // A blocked team may still read and delete.
    .cannot_create = {{"blocked", ErrorCode::permission_denied}, {"over_quota", ErrorCode::quota_exceeded}},
    .image = "base",
    .missing_image = "sandkey-no-such-template",
};

}  // namespace sandkey::e2b
