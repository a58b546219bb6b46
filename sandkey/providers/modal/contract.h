// What the contract suite has to know of this provider.
#pragma once

#include "tests/contract/facts.h"

namespace sandkey::modal {

inline const contract::Facts kContract{
    .routes = {.probes = {"ModalClient/TokenInfoGet"}, .create = "ModalClient/SandboxCreateV2", .grpc = true},
    // Modal alone decides what a token looks like, so one of another shape is asked about, too.
    .refused = {{"malformed", ErrorCode::unauthenticated},
                {"unknown", ErrorCode::unauthenticated},
                {"revoked", ErrorCode::unauthenticated},
                {"wrong_secret", ErrorCode::unauthenticated},
                {"swapped", ErrorCode::unauthenticated}},
    .cannot_create = {{"restricted", ErrorCode::permission_denied},
                      {"over_quota", ErrorCode::quota_exceeded}},
    .image = "debian:12-slim",
    .missing_image = "registry.invalid/sandkey-no-such-image:1",
};

}  // namespace sandkey::modal
