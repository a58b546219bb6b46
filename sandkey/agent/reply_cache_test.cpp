#include "sandkey/agent/reply_cache.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;

class ReplyCacheTest : public testing::Test {
 protected:
  std::shared_ptr<ReplyCache::Slot> claim_new(const std::string& key) {
    auto [slot, first] = cache_.claim(key);
    EXPECT_TRUE(first) << key;
    return slot;
  }
  void run_to_end(const std::string& key, std::string body = "reply") {
    cache_.fill(claim_new(key), {200, std::move(body)});
  }
  // The reply held for a key that is known.
  std::optional<CachedReply> held(const std::string& key) {
    const auto [slot, first] = cache_.claim(key);
    EXPECT_FALSE(first) << key << " was forgotten";
    return slot->reply;
  }

  asio::io_context io_;
  ReplyCache cache_{io_.get_executor()};
};

TEST_F(ReplyCacheTest, OnlyTheFirstClaimRuns) {
  const auto slot = claim_new("a");
  const auto [again, first] = cache_.claim("a");
  EXPECT_FALSE(first);
  EXPECT_EQ(again, slot);
  EXPECT_FALSE(again->done);
  cache_.fill(slot, {201, "made"});
  EXPECT_TRUE(again->done);
  EXPECT_EQ(held("a")->status, 201);
  EXPECT_EQ(held("a")->body, "made");
  (void)claim_new("b");
}

TEST_F(ReplyCacheTest, WhoeverWaitsIsWokenByTheReply) {
  const auto slot = claim_new("a");
  int woken = 0;
  const auto wait = [](std::shared_ptr<ReplyCache::Slot> waited, int& count) -> asio::awaitable<void> {
    while (!waited->done) (void)co_await waited->ready.wait();
    ++count;
  };
  for (int i = 0; i < 3; ++i) asio::co_spawn(io_, wait(slot, woken), asio::detached);
  while (io_.poll_one() != 0) {
  }
  EXPECT_EQ(woken, 0);
  cache_.fill(slot, {200, "x"});
  io_.restart();
  io_.run();
  EXPECT_EQ(woken, 3);
}

TEST_F(ReplyCacheTest, DropsTheOldestRepliesButKeepsTheirKeys) {
  for (std::size_t i = 0; i <= ReplyCache::kMaxReplies; ++i) run_to_end(std::to_string(i));
  EXPECT_FALSE(held("0"));  // executed, and its result is no longer held: not the same as never executed
  EXPECT_TRUE(held("1"));
  EXPECT_TRUE(held(std::to_string(ReplyCache::kMaxReplies)));
}

TEST_F(ReplyCacheTest, BoundsTheBytesItHolds) {
  const std::string half(ReplyCache::kMaxBytes / 2, 'x');
  run_to_end("a", half);
  run_to_end("b", half);
  EXPECT_TRUE(held("a"));
  run_to_end("c", "x");
  EXPECT_FALSE(held("a"));
  EXPECT_TRUE(held("b"));
  EXPECT_TRUE(held("c"));
}

TEST_F(ReplyCacheTest, TheNewestReplyStaysHoweverLarge) {
  run_to_end("small");
  run_to_end("huge", std::string(ReplyCache::kMaxBytes + 1, 'x'));
  EXPECT_FALSE(held("small"));
  EXPECT_EQ(held("huge")->body.size(), ReplyCache::kMaxBytes + 1);
  run_to_end("next");
  EXPECT_FALSE(held("huge"));
  EXPECT_TRUE(held("next"));
  for (int i = 0; i < 10; ++i) run_to_end("more" + std::to_string(i));
  EXPECT_TRUE(held("next"));  // the bytes of what was dropped no longer count
}

TEST_F(ReplyCacheTest, ForgetsTheOldestKeysThatAreDone) {
  const auto running = claim_new("running");
  for (std::size_t i = 0; i < ReplyCache::kMaxKeys - 1; ++i) run_to_end(std::to_string(i));
  (void)held("running");
  run_to_end("one more");
  EXPECT_FALSE(cache_.claim("running").second);  // never forgotten while it runs
  EXPECT_FALSE(cache_.claim("1").second);
  EXPECT_TRUE(cache_.claim("0").second);
  cache_.fill(running, {200, "late"});
  EXPECT_EQ(held("running")->body, "late");
}

TEST_F(ReplyCacheTest, HoldsAllKeysThatStillRunBeyondItsLimit) {
  std::vector<std::shared_ptr<ReplyCache::Slot>> slots;
  for (std::size_t i = 0; i < ReplyCache::kMaxKeys + 10; ++i) slots.push_back(claim_new(std::to_string(i)));
  for (std::size_t i = 0; i < slots.size(); ++i) EXPECT_FALSE(cache_.claim(std::to_string(i)).second);
  for (const auto& slot : slots) cache_.fill(slot, {200, ""});
  (void)claim_new("after");
  EXPECT_TRUE(cache_.claim("0").second);
}

}  // namespace
}  // namespace sandkey::agent
