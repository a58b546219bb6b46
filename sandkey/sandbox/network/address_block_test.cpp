#include "sandkey/sandbox/network/address_block.h"

#include "sandkey/base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace sandkey::sandbox {
namespace {

bool is_private(const std::string& address) {
  const AddressBlock one = parse_block(address);
  const auto covers = [&](const AddressBlock& block) { return overlap(block, one); };
  return std::any_of(private_blocks().begin(), private_blocks().end(), covers);
}

TEST(AddressBlock, ReadsAndWrites) {
  EXPECT_EQ(parse_block("10.1.2.3/8").text(), "10.0.0.0/8");
  EXPECT_EQ(parse_block("192.0.2.255/29").text(), "192.0.2.248/29");
  EXPECT_EQ(parse_block("192.0.2.1").text(), "192.0.2.1/32");
  EXPECT_EQ(parse_block("0.0.0.0/0").text(), "0.0.0.0/0");
  EXPECT_EQ(parse_block("fe80::1/10").text(), "fe80::/10");
  EXPECT_EQ(parse_block("2001:db8::1").text(), "2001:db8::1/128");
  for (const char* text : {"", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/8x", "::/129", "x"}) {
    EXPECT_THROW((void)parse_block(text), Error) << text;
  }
}

TEST(AddressBlock, Overlaps) {
  const AddressBlock ten = parse_block("10.0.0.0/8");
  EXPECT_TRUE(overlap(ten, parse_block("10.255.0.1")));
  EXPECT_TRUE(overlap(parse_block("10.255.0.1"), ten));
  EXPECT_TRUE(overlap(ten, parse_block("0.0.0.0/0")));
  EXPECT_FALSE(overlap(ten, parse_block("11.0.0.0/8")));
  EXPECT_FALSE(overlap(parse_block("::/0"), ten));
}

TEST(AddressBlock, KnowsWhatIsPrivate) {
  for (const char* address :
       {"0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.53", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.168.1.1", "198.19.255.255", "224.0.0.1", "255.255.255.255", "::1",
        "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00:ec2::254", "fe80::1", "ff02::1", "2002:a00:1::"}) {
    EXPECT_TRUE(is_private(address)) << address;
  }
  for (const char* address :
       {"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.167.0.1",
        "198.17.0.1", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450::1"}) {
    EXPECT_FALSE(is_private(address)) << address;
  }
}

TEST(AddressBlock, KnowsThisMachine) {
  const std::vector<AddressBlock> blocks = machine_blocks();
  EXPECT_NE(std::find(blocks.begin(), blocks.end(), parse_block("127.0.0.1")), blocks.end());
  EXPECT_NE(std::find(blocks.begin(), blocks.end(), parse_block("127.0.0.0/8")), blocks.end());
}

}  // namespace
}  // namespace sandkey::sandbox
