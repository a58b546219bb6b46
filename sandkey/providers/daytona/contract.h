// What the contract suite has to know of this provider.
#pragma once

#include "tests/contract/facts.h"

namespace sandkey::daytona {

inline const contract::Facts kContract{
    .routes = {.probes = {"GET /api/api-keys/current", "GET /api/sandbox"}, .create = "POST /api/sandbox"},
    // Daytona alone decides what a key looks like, so one of another shape is asked about, too.
    .refused = {{"malformed", ErrorCode::unauthenticated},
                {"unknown", ErrorCode::unauthenticated},
                {"revoked", ErrorCode::unauthenticated},
                {"expired", ErrorCode::unauthenticated}},
    .cannot_create = {{"read_only", ErrorCode::permission_denied},
                      {"suspended", ErrorCode::permission_denied},
                      {"over_quota", ErrorCode::quota_exceeded}},
    .image = "daytona-small",
    .missing_image = "sandkey-no-such-snapshot",
};

}  // namespace sandkey::daytona
