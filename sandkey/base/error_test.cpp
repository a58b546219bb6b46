#include "sandkey/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace sandkey {
namespace {

TEST(Error, CarriesItsCodeAndContextThroughACopy) {
  const Error error(ErrorCode::rate_limited, "listing sandboxes: slow down",
                    {.provider = "e2b",
                     .operation = "list",
                     .phase = {},
                     .request_id = "r-1",
                     .retry_after = std::chrono::seconds(3),
                     .processed = Processed::no});
  const Error copy = error;
  EXPECT_EQ(copy.code(), ErrorCode::rate_limited);
  EXPECT_STREQ(copy.what(), "listing sandboxes: slow down");
  EXPECT_EQ(copy.context().retry_after, std::chrono::seconds(3));
  EXPECT_EQ(to_string(copy.context().processed), "no");
}

TEST(Error, ThrowErrorKeepsTheKind) {
  ErrorContext context;
  context.operation = "list";
  const Error value(ErrorCode::unauthenticated, "no", context);
  try {
    throw_error(value);
  } catch (const AuthenticationError& error) {
    EXPECT_EQ(error.code(), ErrorCode::unauthenticated);
    EXPECT_EQ(error.context().operation, "list");
  }
  try {
    throw_error(ErrorCode::not_found, "gone");
  } catch (const Error& error) {
    EXPECT_EQ(dynamic_cast<const AuthenticationError*>(&error), nullptr);
  }
}

TEST(Error, SystemErrorsNameTheCause) {
  const Error error = system_error("opening /x", ENOENT);
  EXPECT_EQ(error.code(), ErrorCode::not_found);
  EXPECT_STREQ(error.what(), "opening /x: No such file or directory");
  EXPECT_EQ(system_error("x", EACCES).code(), ErrorCode::permission_denied);
  EXPECT_EQ(system_error("x", EIO).code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace sandkey
