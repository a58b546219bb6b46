// The packet filter of a network namespace.
#pragma once

#include "sandkey/sandbox/network/address_block.h"
#include "sandkey/sandbox/network/netlink.h"

#include <vector>

namespace sandkey::sandbox {

// An nftables table for one family: what leaves by another interface than lo for one of these blocks is
// dropped, but not what goes to port 53 of `resolver` (one address; of the other family: none).
[[nodiscard]] NetlinkMessages packet_filter(int family, const std::vector<AddressBlock>& refused,
                                            const AddressBlock& resolver);

}  // namespace sandkey::sandbox
