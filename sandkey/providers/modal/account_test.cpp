#include "sandkey/providers/modal/test_server.h"
#include "sandkey/providers/modal/web_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace sandkey::modal {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class ModalAccounts : public testing::Test {
 protected:
  std::string refusal() {
    return modal.failure([&] { (void)modal.sign_in(); });
  }
  // A call that needs the short-lived token.
  std::string ask(const ModalAccount& account) {
    ModalCall call{
        .method = "SandboxGetTaskIdV2", .operation = "asking", .deadline = modal.engine().in(seconds(5))};
    return modal.failure([&] { (void)modal.engine().wait(account.control()->call(std::move(call))); });
  }

  static grpc::Status throttled(float wait) {
    api::RPCStatus status;
    auto* detail = status.add_details();
    detail->set_type_url("type.modal.com/modal.client.RPCRetryPolicy");
    detail->mutable_value()->set_retry_after_secs(wait);
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "slow down", status.SerializeAsString()};
  }

  TestModal modal;
};

TEST_F(ModalAccounts, ATokenIsProvedWithOneRequest) {
  modal.control.token_info.mutable_expires_at()->set_seconds(2'000'000'000);
  const auto account = modal.sign_in();
  EXPECT_EQ(account->account().name, "acme/ann");
  ASSERT_TRUE(account->account().expires_at);
  EXPECT_EQ(account->account().expires_at->time_since_epoch(), seconds(2'000'000'000));
  EXPECT_THAT(modal.control.methods(), ElementsAre("TokenInfoGet"));
  const auto headers = modal.control.headers_of_last();
  EXPECT_EQ(headers.at("x-modal-token-id"), "ak-identity");
  EXPECT_EQ(headers.at("x-modal-token-secret"), "as-canary-secret");
  EXPECT_EQ(headers.at("x-modal-client-type"), "8");
  EXPECT_THAT(headers.at("user-agent"), StartsWith("sandkey/"));
  EXPECT_FALSE(headers.contains("x-modal-auth-token"));
}

// What is wrong is told by four different messages.
TEST_F(ModalAccounts, ARefusedTokenIsToldInTheServersWords) {
  modal.control.token_answers = {{grpc::StatusCode::UNAUTHENTICATED, "Token as-canary-secret is malformed"}};
  const std::string text = refusal();
  EXPECT_THAT(text,
              AllOf(StartsWith("unauthenticated: checking the credential of modal: Modal does not know "
                               "this token: it is mistyped, revoked or expired (a token with the "
                               "fingerprint "),
                    HasSubstr("from MODAL_TOKEN_ID"),
                    HasSubstr("; UNAUTHENTICATED from API, which says \"Token [redacted] is malformed\"; "
                              "make a new one at https://modal.com/settings/tokens and run: sandkey auth "
                              "login modal")));
  EXPECT_THAT(modal.control.methods(), SizeIs(1));
}

TEST_F(ModalAccounts, AnOutdatedClientIsToldAsOne) {
  modal.control.token_answers = {{grpc::StatusCode::FAILED_PRECONDITION, "Old client"}};
  EXPECT_EQ(
      refusal(),
      "unsupported: checking the credential of modal: Modal takes this version of Sandkey for an outdated "
      "client; FAILED_PRECONDITION from API, which says \"Old client\"; install a newer Sandkey");
}

TEST_F(ModalAccounts, AnUnreachableServerIsToldAsOne) {
  modal.stop();
  EXPECT_THAT(refusal(),
              AllOf(StartsWith("unavailable: checking the credential of modal: the server cannot be "
                               "reached; UNAVAILABLE from API, which says \""),
                    HasSubstr("check the network and modal_server_url")));
}

TEST_F(ModalAccounts, AMissingHalfIsToldBeforeAnythingIsSent) {
  modal.variables.erase("MODAL_TOKEN_SECRET");
  EXPECT_THAT(refusal(), StartsWith("credential_malformed: finding the credential of modal: MODAL_TOKEN_ID "
                                    "without MODAL_TOKEN_SECRET"));
  EXPECT_THAT(modal.control.methods(), IsEmpty());
}

TEST_F(ModalAccounts, AMissingModuleIsToldWithHowToGetIt) {
  modal.variables["SANDKEY_PROGRAM_DIR"] = modal.home.path().string();
  // One that was loaded before is there; the loader is asked for another.
  GrpcDestination elsewhere = modal_destination();
  elsewhere.module = "libsandkey-none.so";
  const auto open = [&] {
    (void)modal.engine().wait(
        GrpcChannel::open(modal.engine(), Endpoint::parse("http://127.0.0.1:1"), elsewhere));
  };
  EXPECT_THAT(modal.failure(open), AllOf(StartsWith("unsupported: loading libsandkey-none.so: "),
                                         HasSubstr("apt-get install libgrpc++1.51")));
}

TEST_F(ModalAccounts, WhatTheServerAsksToWaitIsWaited) {
  modal.control.token_answers = {throttled(0.3F)};
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(modal.sign_in()->account().name, "acme/ann");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(300));
  EXPECT_EQ(modal.control.headers_of_last().at("x-retry-attempt"), "1");
}

// Many who were told to come back come one after the other: that is no failure.
TEST_F(ModalAccounts, AndAsOftenAsItAsks) {
  modal.control.token_answers.assign(8, throttled(0.1F));
  EXPECT_EQ(refusal(), "");
  EXPECT_THAT(modal.control.methods(), SizeIs(9));
}

TEST_F(ModalAccounts, WhatTheServerAsksToWaitTooLongIsNot) {
  modal.control.token_answers = {throttled(86400)};
  EXPECT_THAT(refusal(), AllOf(StartsWith("rate_limited: "), HasSubstr("it asks to wait for 86400 s")));
}

TEST_F(ModalAccounts, AServerThatFailsIsAskedAgain) {
  modal.control.token_answers = {{grpc::StatusCode::UNAVAILABLE, "restarting"},
                                 {grpc::StatusCode::INTERNAL, "restarting"}};
  EXPECT_EQ(refusal(), "");
  EXPECT_THAT(modal.control.methods(), SizeIs(3));
}

TEST_F(ModalAccounts, WarningsAreToldOnce) {
  modal.control.trailers = {{"x-modal-warning", "it%20ends%20soon,  old%2C too,it%20ends%20soon"}};
  const auto account = modal.sign_in();
  EXPECT_THAT(account->account().warnings, ElementsAre("it ends soon", "old, too"));
  EXPECT_THAT(account->control()->take_warnings(), IsEmpty());
}

TEST_F(ModalAccounts, OtherCallsCarryAShortLivedTokenThatIsKept) {
  const auto account = modal.sign_in();
  EXPECT_EQ(ask(*account), "");
  EXPECT_EQ(ask(*account), "");
  EXPECT_THAT(modal.control.methods(),
              ElementsAre("TokenInfoGet", "AuthTokenGet", "SandboxGetTaskIdV2", "SandboxGetTaskIdV2"));
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-auth-token"), "auth-token");
}

TEST_F(ModalAccounts, TheShortLivedTokenIsRenewedInTime) {
  const auto account = modal.sign_in();
  EXPECT_EQ(ask(*account), "");
  modal.control.auth_token = "auth-token-2";
  modal.skew = std::chrono::minutes(11);  // of twenty, since it does not say
  EXPECT_EQ(ask(*account), "");
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-auth-token"), "auth-token-2");
  // One that cannot be renewed is used on, even after its end; and not asked for each time.
  modal.control.auth_answer = {grpc::StatusCode::UNAVAILABLE, "busy"};
  modal.skew = std::chrono::minutes(60);
  EXPECT_EQ(ask(*account), "");
  EXPECT_EQ(ask(*account), "");
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-auth-token"), "auth-token-2");
  EXPECT_THAT(modal.control.methods(), SizeIs(8));
  modal.control.auth_answer = {grpc::StatusCode::UNAUTHENTICATED, "revoked"};
  modal.skew = std::chrono::minutes(62);
  EXPECT_THAT(ask(*account), AllOf(StartsWith("unauthenticated: getting a short-lived token of modal"),
                                   HasSubstr("\"revoked\"")));
}

TEST_F(ModalAccounts, ATokenThatWasChangedAtItsSourceIsTakenUp) {
  const auto account = modal.sign_in();
  modal.variables["MODAL_TOKEN_SECRET"] = "as-another-secret";
  modal.control.auth_answer = {grpc::StatusCode::UNAUTHENTICATED, "revoked"};
  EXPECT_THAT(ask(*account), StartsWith("unauthenticated: "));
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-token-secret"), "as-another-secret");
}

TEST_F(ModalAccounts, SoIsOneThatWasChangedWhileAShortLivedOneWasKept) {
  const auto account = modal.sign_in();
  EXPECT_EQ(ask(*account), "");
  modal.control.revoked_secret = modal.variables["MODAL_TOKEN_SECRET"];
  modal.control.auth_token = "auth-token-2";
  modal.variables["MODAL_TOKEN_SECRET"] = "as-another-secret";
  modal.skew = std::chrono::minutes(11);  // the short-lived one is to be renewed
  EXPECT_EQ(ask(*account), "");
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-token-secret"), "as-another-secret");
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-auth-token"), "auth-token-2");
}

// Whatever the clock here says of it.
TEST_F(ModalAccounts, AShortLivedTokenThatIsRefusedIsReplaced) {
  const auto account = modal.sign_in();
  EXPECT_EQ(ask(*account), "");
  modal.control.revoked_auth_token = "auth-token";
  modal.control.auth_token = "auth-token-2";
  EXPECT_EQ(ask(*account), "");
  EXPECT_EQ(modal.control.headers_of_last().at("x-modal-auth-token"), "auth-token-2");
  EXPECT_TRUE(account->control()->accepted());
  modal.control.revoked_auth_token = "auth-token-2";
  EXPECT_THAT(ask(*account), StartsWith("unauthenticated: asking: "));
}

TEST_F(ModalAccounts, AShortLivedTokenThatIsNoTextIsNotSent) {
  const auto account = modal.sign_in();
  modal.control.auth_token = "auth\x01token";
  EXPECT_THAT(ask(*account), AllOf(StartsWith("protocol: calling "), HasSubstr("x-modal-auth-token")));
}

TEST(ModalWebToken, TellsItsEnd) {
  const auto at = [](long long s) { return std::chrono::system_clock::time_point(seconds(s)); };
  EXPECT_EQ(expiry_of("e30.eyJleHAiOjE3MDAwMDAwMDB9.x"), at(1'700'000'000));
  EXPECT_EQ(expiry_of("e30.eyJleHAiOjE3MDAwMDAwMDAuNX0.x"), at(1'700'000'000));
  for (const char* none : {"", "a.b", "e30.e30.x", "e30.!!.x", "e30.eyJleHAiOiJ4In0.x",
                           "e30.eyJleHAiOjFlOTl9.x", "e30.W10.x", "e30.eyJleHAiOi0xfQ.x"}) {
    EXPECT_EQ(expiry_of(none), std::nullopt) << none;
  }
}

}  // namespace
}  // namespace sandkey::modal
