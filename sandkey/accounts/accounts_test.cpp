#include "sandkey/accounts/accounts.h"

#include "sandkey/accounts/rest_account.h"
#include "sandkey/accounts/scripted_cloud.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr std::string_view kOk200 = R"({"owner":"ann"})";

const CredentialSpec& acme_spec() {
  static const CredentialSpec spec{
      .provider = "acme",
      .forms = {{"an API key",
                 {{.name = "api_key", .config_key = "acme_api_key", .variables = {"ACME_KEY"}}}}},
      .endpoints =
          {{.name = "api_url", .config_key = "acme_api_url", .variables = {"ACME_URL"}, .default_value = ""}},
      .keys_page = "https://acme.example/keys",
  };
  return spec;
}

const RestDialect& acme_dialect() {
  static const RestDialect dialect{.credential_spec = &acme_spec,
                                   .headers = [](const Credential& credential) {
                                     HttpHeaders headers;
                                     headers.set("X-Key", credential.part("api_key"));
                                     return headers;
                                   }};
  return dialect;
}

asio::awaitable<Account> acme_probe(RestAccount& account, Deadline deadline) {
  RestCall call{.path = "/me", .operation = "checking the credential of acme", .deadline = deadline};
  const RestAnswer answer = co_await account.call(std::move(call));
  co_return Account{.name = std::string(find_string(answer.body.as_object(), "owner").value_or(""))};
}

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> acme_authenticate(SignIn sign_in) {
  std::shared_ptr<RestAccount> account =
      co_await RestAccount::authenticate(std::move(sign_in), acme_dialect(), &acme_probe);
  co_return account;
}

constexpr Cloud kAcme{.credential_spec = &acme_spec, .authenticate = &acme_authenticate};

class AccountsTest : public testing::Test {
 protected:
  AccountsTest() {
    cloud.variables["ACME_KEY"] = "first-key-0123456789";
    cloud.variables["ACME_URL"] = cloud.url();
    cloud.answer({{.status = 200, .body = std::string(kOk200)}});
  }
  std::string ask(const std::shared_ptr<AuthenticatedAccount>& account, const std::string& path = "/things") {
    auto& rest = dynamic_cast<RestAccount&>(*account);
    try {
      const RestAnswer answer = cloud.engine().wait(rest.call({.path = path, .operation = "asking"}));
      return std::to_string(answer.status);
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + cloud.shortened(error.what());
    }
  }

  ScriptedCloud cloud{kAcme};
};

TEST_F(AccountsTest, ASecondRuntimeCostsNoRequest) {
  const auto first = cloud.sign_in();
  EXPECT_EQ(first->account().name, "ann");
  EXPECT_EQ(cloud.sign_in(), first);
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /me"));
}

TEST_F(AccountsTest, ThoseWhoComeAtOnceShareOneRequest) {
  constexpr int kMany = 32;
  std::vector<std::shared_ptr<AuthenticatedAccount>> accounts(kMany);
  const auto enter = [](Engine& engine,
                        std::shared_ptr<AuthenticatedAccount>& account) -> asio::awaitable<void> {
    OpenHandsConfig config;
    account = co_await engine.shared<Accounts>()->sign_in(kAcme, std::move(config));
  };
  TaskGroup tasks(cloud.engine());
  for (auto& account : accounts) tasks.spawn(enter(cloud.engine(), account));
  cloud.engine().wait(tasks.join());
  EXPECT_THAT(accounts, testing::Each(accounts.front()));
  EXPECT_THAT(cloud.lines(), SizeIs(1));
}

TEST_F(AccountsTest, AnotherKeyOrPlaceIsAnotherAccount) {
  const auto first = cloud.sign_in();
  OpenHandsConfig other;
  other.set("acme_api_key", Secret("second-key-0123456789"));
  const auto second = cloud.sign_in(other);
  EXPECT_NE(first, second);
  EXPECT_NE(first->credential()->fingerprint(), second->credential()->fingerprint());
  cloud.variables["ACME_URL"] = cloud.url() + "/v2";
  EXPECT_NE(cloud.sign_in(), first);
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /me", "GET /me", "GET /v2/me"));
}

TEST_F(AccountsTest, AProfileIsAnAccountOfItsOwn) {
  cloud.home.write(
      "config/credentials.toml",
      fmt::format("[work.acme]\napi_key = \"work-key-0123456789\"\napi_url = \"{}\"\n", cloud.url()));
  OpenHandsConfig work;
  work.profile = "work";
  EXPECT_THAT(cloud.sign_in(work)->credential()->described(), HasSubstr("from profile 'work'"));
  EXPECT_THAT(cloud.sign_in()->credential()->described(), HasSubstr("from ACME_KEY in the environment"));
}

TEST_F(AccountsTest, ARefusalIsToldWithItsSourceAndNotRemembered) {
  cloud.answer({{.status = 401, .body = R"({"message":"bad key first-key-0123456789"})"},
                {.status = 200, .body = std::string(kOk200)}});
  const std::string refusal = cloud.refusal();
  EXPECT_THAT(refusal,
              AllOf(HasSubstr("unauthenticated: checking the credential of acme: it does not accept the "
                              "credential (an API key with the fingerprint "),
                    HasSubstr(", from ACME_KEY in the environment); HTTP 401 from API, which says \"bad key "
                              "[redacted]\"; make a new one at https://acme.example/keys and run: sandkey "
                              "auth login acme"),
                    Not(HasSubstr("first-key"))));
  EXPECT_EQ(cloud.refusal(), "");
  EXPECT_THAT(cloud.lines(), SizeIs(2));
}

TEST_F(AccountsTest, ARefusalThrowsAnAuthenticationError) {
  cloud.answer({{.status = 401}});
  EXPECT_THROW((void)cloud.sign_in(), AuthenticationError);
}

TEST_F(AccountsTest, AnAccountThatIsRefusedLaterIsAskedForAgain) {
  const auto account = cloud.sign_in();
  EXPECT_TRUE(account->accepted());
  cloud.answer({{.status = 401}});
  EXPECT_THAT(ask(account), HasSubstr("unauthenticated: asking: "));
  EXPECT_FALSE(account->accepted());
  EXPECT_THAT(cloud.refusal(), HasSubstr("unauthenticated: "));
  cloud.answer({{.status = 200, .body = std::string(kOk200)}});
  EXPECT_NE(cloud.sign_in(), account);
}

TEST_F(AccountsTest, AcceptanceIsAskedForAgainAfterAWhile) {
  const auto account = cloud.sign_in();
  cloud.skew = kAcceptanceLasts - 1s;
  EXPECT_EQ(cloud.sign_in(), account);
  cloud.skew = kAcceptanceLasts + 1s;
  EXPECT_NE(cloud.sign_in(), account);
  EXPECT_THAT(cloud.lines(), SizeIs(2));
}

TEST_F(AccountsTest, AKeyRotatedAtItsSourceIsTakenUp) {
  const auto profile = [&](const std::string& key) {
    cloud.home.write("config/credentials.toml",
                     fmt::format("[default.acme]\napi_key = \"{}\"\napi_url = \"{}\"\n", key, cloud.url()));
  };
  cloud.variables.erase("ACME_KEY");
  cloud.variables.erase("ACME_URL");
  profile("old-key-0123456789");
  const auto account = cloud.sign_in();
  const std::string before = account->credential()->fingerprint();
  profile("new-key-0123456789");
  cloud.answer({{.status = 401}, {.status = 200, .body = std::string(kOk200)}});
  EXPECT_EQ(ask(account), "200");
  EXPECT_TRUE(account->accepted());
  EXPECT_NE(account->credential()->fingerprint(), before);
  EXPECT_THAT(cloud.heads(), ElementsAre(HasSubstr("old-key"), HasSubstr("old-key"), HasSubstr("new-key")));
  // Both are known as secrets from now on.
  cloud.answer({{.status = 400, .body = R"({"message":"old-key-0123456789 new-key-0123456789"})"}});
  EXPECT_THAT(ask(account), HasSubstr("which says \"[redacted] [redacted]\""));
}

TEST_F(AccountsTest, AKeyRotatedForAnotherPlaceIsNot) {
  cloud.variables.erase("ACME_KEY");
  cloud.variables.erase("ACME_URL");
  const auto profile = [&](const std::string& key, const std::string& url) {
    cloud.home.write("config/credentials.toml",
                     fmt::format("[default.acme]\napi_key = \"{}\"\napi_url = \"{}\"\n", key, url));
  };
  profile("old-key-0123456789", cloud.url());
  const auto account = cloud.sign_in();
  profile("new-key-0123456789", "https://other.example");
  cloud.answer({{.status = 401}});
  EXPECT_THAT(ask(account), HasSubstr("unauthenticated: "));
  EXPECT_THAT(cloud.heads(), testing::Each(HasSubstr("old-key")));
}

TEST_F(AccountsTest, ARequestThatFailsSaysWhatTheProviderSaid) {
  const auto account = cloud.sign_in();
  cloud.answer({{.status = 404, .body = R"({"message":"no thing 7"})"}});
  EXPECT_EQ(ask(account),
            "not_found: asking: there is no such thing; HTTP 404 from API, which says \"no thing 7\"");
  cloud.answer({{.status = 429, .body = "{}", .headers = "Retry-After: 3600\r\n"}});
  EXPECT_EQ(ask(account),
            "rate_limited: asking: it was asked too often; HTTP 429 from API; it asks to wait for 3600 s; "
            "try again "
            "later");
  cloud.answer({{.status = 302, .body = "", .headers = "Location: https://elsewhere.example/x\r\n"}});
  EXPECT_THAT(ask(account), HasSubstr("protocol: asking: "));
  cloud.answer({{.status = 200, .body = "<html>"}});
  EXPECT_THAT(ask(account), HasSubstr("protocol: "));
  cloud.answer({{.status = 200, .body = ""}});
  EXPECT_EQ(ask(account), "200");
}

TEST_F(AccountsTest, QuotesOfAProviderAreBounded) {
  const auto account = cloud.sign_in();
  const auto& rest = dynamic_cast<RestAccount&>(*account);
  EXPECT_EQ(rest.quoted(std::string(kMaxQuoted, 'x')), std::string(kMaxQuoted, 'x'));
  EXPECT_EQ(rest.quoted(std::string(kMaxQuoted + 1, 'x')), std::string(kMaxQuoted, 'x') + "...");
  EXPECT_EQ(rest.quoted("\xff"), "\xef\xbf\xbd");
}

TEST_F(AccountsTest, NobodyWaitsLongerThanItsOwnDeadline) {
  cloud.answer({});  // reads the request and closes without a word, so it is asked again and again
  const auto wait = [&](Deadline deadline) {
    return cloud.engine().wait(
        cloud.engine().shared<Accounts>()->sign_in(kAcme, OpenHandsConfig{}, deadline));
  };
  try {
    (void)wait(cloud.engine().in(50ms));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
    EXPECT_THAT(error.what(), HasSubstr("signing in to acme"));
  }
}

TEST_F(AccountsTest, AMissingCredentialAsksNobody) {
  cloud.variables.erase("ACME_KEY");
  EXPECT_THAT(cloud.refusal(),
              HasSubstr("credential_missing: finding the credential of acme: no source has one"));
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(AccountsTest, ACloudThatCannotBeAskedYetIsUnsupported) {
  constexpr Cloud kLater{.credential_spec = &acme_spec, .authenticate = nullptr};
  try {
    (void)cloud.engine().wait(cloud.engine().shared<Accounts>()->sign_in(kLater, OpenHandsConfig{}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
  }
}

TEST_F(AccountsTest, TheLogHearsOfEveryRequestWithoutItsKey) {
  std::mutex mutex;
  std::vector<std::string> lines;
  cloud.engine().shared<Accounts>()->set_log([&](const HttpRecord& record) {
    const std::lock_guard lock(mutex);
    lines.push_back(to_string(record));
  });
  const auto account = cloud.sign_in();
  (void)ask(account, "/first-key-0123456789");
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_THAT(lines, testing::Each(Not(HasSubstr("first-key"))));
}

}  // namespace
}  // namespace sandkey
