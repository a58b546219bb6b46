#include "sandkey/base/json.h"

#include "sandkey/base/error.h"

#include <gtest/gtest.h>

namespace sandkey {
namespace {

TEST(Json, SaysWhereItStopsBeingJsonWithoutQuotingIt) {
  try {
    (void)parse_json("{\"key\": canary}", "the reply");
    FAIL() << "parsed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::protocol);
    EXPECT_EQ(std::string(error.what()).find("canary"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).rfind("the reply is not valid JSON (byte", 0), 0U) << error.what();
  }
}

TEST(Json, RefusesTextAfterTheDocumentAndAnEmptyOne) {
  EXPECT_THROW((void)parse_json("{} x", "x"), Error);
  EXPECT_THROW((void)parse_json("", "x"), Error);
  EXPECT_NO_THROW((void)parse_json(" {} \n", "x"));
}

TEST(Json, BoundsTheDepth) {
  EXPECT_NO_THROW((void)parse_json(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']'), "x"));
  EXPECT_THROW(
      (void)parse_json(std::string(kMaxJsonDepth + 1, '[') + std::string(kMaxJsonDepth + 1, ']'), "x"),
      Error);
}

TEST(Json, FindsMembersOfTheRightTypeOnly) {
  const json::value value = parse_json(R"({"s":"x","i":3,"d":3.0,"f":3.5,"b":true})", "x");
  const json::object& object = value.get_object();
  EXPECT_EQ(find_string(object, "s"), "x");
  EXPECT_EQ(find_string(object, "i"), std::nullopt);
  EXPECT_EQ(find_integer(object, "i"), 3);
  EXPECT_EQ(find_integer(object, "d"), 3);
  EXPECT_EQ(find_integer(object, "f"), std::nullopt);
  EXPECT_EQ(find_number(object, "f"), 3.5);
  EXPECT_EQ(find_bool(object, "b"), true);
  EXPECT_EQ(find(object, "none"), nullptr);
}

}  // namespace
}  // namespace sandkey
