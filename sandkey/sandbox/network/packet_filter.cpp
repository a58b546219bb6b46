#include "sandkey/sandbox/network/packet_filter.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace sandkey::sandbox {
namespace {

constexpr std::string_view kTable = "sandkey";
constexpr std::string_view kChain = "out";
constexpr std::uint32_t kLoopbackIndex = 1;  // in every network namespace

using Bytes = std::span<const std::uint8_t>;

// Builds one rule: first matches, all of which must hold, then a verdict.
class Rule {
 public:
  Rule(NetlinkMessages& out, int family) : out_(out) {
    out_.begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK);
    out_.put(
        nfgenmsg{.nfgen_family = static_cast<std::uint8_t>(family), .version = NFNETLINK_V0, .res_id = 0});
    out_.attribute(NFTA_RULE_TABLE, kTable);
    out_.attribute(NFTA_RULE_CHAIN, kChain);
    expressions_ = out_.enter(NFTA_RULE_EXPRESSIONS);
  }

  Rule& leaving_by(std::uint32_t interface) {
    const Expression expression(out_, "meta");
    out_.attribute_be32(NFTA_META_KEY, NFT_META_OIF);
    out_.attribute_be32(NFTA_META_DREG, NFT_REG_1);
    expression.end();
    return equals(Bytes(reinterpret_cast<const std::uint8_t*>(&interface), sizeof(interface)));
  }

  Rule& to(const AddressBlock& block) {
    const std::size_t offset = block.family == AF_INET ? offsetof(iphdr, daddr) : offsetof(ip6_hdr, ip6_dst);
    load(NFT_PAYLOAD_NETWORK_HEADER, offset, block.size());

    std::array<std::uint8_t, 16> mask{};
    for (unsigned bit = 0; bit < block.prefix; ++bit) {
      mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 0x80U >> bit % 8);
    }
    const Expression expression(out_, "bitwise");
    out_.attribute_be32(NFTA_BITWISE_SREG, NFT_REG_1);
    out_.attribute_be32(NFTA_BITWISE_DREG, NFT_REG_1);
    out_.attribute_be32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(block.size()));
    data(NFTA_BITWISE_MASK, Bytes(mask).first(block.size()));
    constexpr std::array<std::uint8_t, 16> kNothing{};
    data(NFTA_BITWISE_XOR, Bytes(kNothing).first(block.size()));
    expression.end();
    return equals(Bytes(block.address).first(block.size()));
  }

  Rule& to_port(std::uint16_t port) {
    load(NFT_PAYLOAD_TRANSPORT_HEADER, sizeof(port), sizeof(port));
    const std::uint16_t ordered = htons(port);
    return equals(Bytes(reinterpret_cast<const std::uint8_t*>(&ordered), sizeof(ordered)));
  }

  void then(std::uint32_t verdict) {
    const Expression expression(out_, "immediate");
    out_.attribute_be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    const std::size_t value = out_.enter(NFTA_IMMEDIATE_DATA);
    const std::size_t inner = out_.enter(NFTA_DATA_VERDICT);
    out_.attribute_be32(NFTA_VERDICT_CODE, verdict);
    out_.leave(inner);
    out_.leave(value);
    expression.end();
    out_.leave(expressions_);
    out_.end();
  }

 private:
  class Expression {
   public:
    Expression(NetlinkMessages& out, std::string_view name) : out_(out), element_(out.enter(NFTA_LIST_ELEM)) {
      out_.attribute(NFTA_EXPR_NAME, name);
      data_ = out_.enter(NFTA_EXPR_DATA);
    }
    void end() const {
      out_.leave(data_);
      out_.leave(element_);
    }

   private:
    NetlinkMessages& out_;
    std::size_t element_;
    std::size_t data_ = 0;
  };

  void load(std::uint32_t header, std::size_t offset, std::size_t size) {
    const Expression expression(out_, "payload");
    out_.attribute_be32(NFTA_PAYLOAD_DREG, NFT_REG_1);
    out_.attribute_be32(NFTA_PAYLOAD_BASE, header);
    out_.attribute_be32(NFTA_PAYLOAD_OFFSET, static_cast<std::uint32_t>(offset));
    out_.attribute_be32(NFTA_PAYLOAD_LEN, static_cast<std::uint32_t>(size));
    expression.end();
  }
  Rule& equals(Bytes value) {
    const Expression expression(out_, "cmp");
    out_.attribute_be32(NFTA_CMP_SREG, NFT_REG_1);
    out_.attribute_be32(NFTA_CMP_OP, NFT_CMP_EQ);
    data(NFTA_CMP_DATA, value);
    expression.end();
    return *this;
  }
  void data(std::uint16_t type, Bytes value) {
    const std::size_t entered = out_.enter(type);
    out_.attribute(NFTA_DATA_VALUE, value);
    out_.leave(entered);
  }

  NetlinkMessages& out_;
  std::size_t expressions_ = 0;
};

void put_batch_mark(NetlinkMessages& out, std::uint16_t type) {
  out.begin(type, 0);
  out.put(
      nfgenmsg{.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)});
  out.end();
}

}  // namespace

NetlinkMessages packet_filter(int family, const std::vector<AddressBlock>& refused,
                              const AddressBlock& resolver) {
  const nfgenmsg of_family{
      .nfgen_family = static_cast<std::uint8_t>(family), .version = NFNETLINK_V0, .res_id = 0};
  NetlinkMessages out;
  put_batch_mark(out, NFNL_MSG_BATCH_BEGIN);

  out.begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK);
  out.put(of_family);
  out.attribute(NFTA_TABLE_NAME, kTable);
  out.end();

  out.begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_ACK);
  out.put(of_family);
  out.attribute(NFTA_CHAIN_TABLE, kTable);
  out.attribute(NFTA_CHAIN_NAME, kChain);
  const std::size_t hook = out.enter(NFTA_CHAIN_HOOK);
  out.attribute_be32(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
  out.attribute_be32(NFTA_HOOK_PRIORITY, 0);
  out.leave(hook);
  out.attribute_be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
  out.attribute(NFTA_CHAIN_TYPE, "filter");
  out.end();

  Rule(out, family).leaving_by(kLoopbackIndex).then(NF_ACCEPT);
  constexpr std::uint16_t kDomain = 53;
  if (resolver.family == family) Rule(out, family).to(resolver).to_port(kDomain).then(NF_ACCEPT);
  for (const AddressBlock& block : refused) {
    if (block.family == family) Rule(out, family).to(block).then(NF_DROP);
  }

  put_batch_mark(out, NFNL_MSG_BATCH_END);
  return out;
}

}  // namespace sandkey::sandbox
