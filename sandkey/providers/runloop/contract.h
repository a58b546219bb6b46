// What the contract suite has to know of this provider.
#pragma once

#include "tests/contract/facts.h"

namespace sandkey::runloop {

inline const contract::Facts kContract{
    // A restricted key may lack the right to ask for its account; then a short list proves it.
    .routes = {.probes = {"GET /v1/accounts/me", "GET /v1/devboxes"}, .create = "POST /v1/devboxes"},
    // Runloop alone decides what a key looks like, so one of another shape is asked about, too.
    .refused = {{"malformed", ErrorCode::unauthenticated},
                {"unknown", ErrorCode::unauthenticated},
                {"revoked", ErrorCode::unauthenticated}},
    .cannot_create = {{"blocked", ErrorCode::permission_denied},
                      {"trial_over", ErrorCode::permission_denied},
                      {"read_only", ErrorCode::permission_denied},
                      {"over_quota", ErrorCode::permission_denied},
                      {"at_limit", ErrorCode::quota_exceeded}},
    .image = "base",
    .missing_image = "sandkey-no-such-blueprint",
};

}  // namespace sandkey::runloop
