#include "sandkey/providers/modal/tags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

namespace sandkey::modal {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(ModalTags, HoldPlainTextsAsTheyAre) {
  EXPECT_THAT(to_tags({{"sandkey", "true"}, {"sandkey-directory", "/workspace"}}),
              ElementsAre(Pair("sandkey", "true"), Pair("sandkey-directory", ".2Fworkspace")));
}

TEST(ModalTags, HoldEveryTextAndGiveItBack) {
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  for (const std::string& text :
       {std::string(), std::string("."), std::string("a.2Fb"), std::string(".."), std::string(63, 'x'),
        std::string(64, 'x'), std::string(1000, '/'), every}) {
    const auto tags = to_tags({{"sandkey-sid", text}, {"sandkey", "true"}});
    for (const auto& [name, value] : tags) {
      for (const std::string& part : {name, value}) {
        EXPECT_FALSE(part.empty());
        EXPECT_LE(part.size(), 63U);
        EXPECT_TRUE(std::all_of(part.begin(), part.end(), [](unsigned char c) {
          return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
        })) << part;
      }
    }
    EXPECT_EQ(labels_of(tags), (Labels{{"sandkey-sid", text}, {"sandkey", "true"}}));
  }
}

TEST(ModalTags, TakeWhatOthersWroteAsItIs) {
  EXPECT_EQ(labels_of({{"team", "a.b"}, {"x.1", "lone"}, {"odd", ".zz."}}),
            (Labels{{"odd", ".zz."}, {"team", "a.b"}}));
}

TEST(ModalTags, TravelAsPairs) {
  const json::object message{{"tags", to_json({{"a", "b"}, {"c", "d"}})}};
  EXPECT_THAT(tags_in(message), ElementsAre(Pair("a", "b"), Pair("c", "d")));
}

}  // namespace
}  // namespace sandkey::modal
