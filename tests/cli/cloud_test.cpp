// Every verb in a cloud: under the emulator, with nothing but the vendor's own variables.
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>

namespace sandkey::cli_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What differs from one cloud to the next as far as the command line shows it.
struct CloudFacts {
  std::string_view provider;
  std::string_view port_header;  // opens an exposed port
  bool pause_keeps_processes;    // and so what Python knows
  std::string_view key_variable;
  std::string_view unknown_key;
  std::string_view refusal;  // of that key
  bool can_pause = true;
  std::string_view asks_by = "GET";  // whether a key is accepted
};

void PrintTo(const CloudFacts& facts, std::ostream* stream) {
  *stream << facts.provider;
}

class CliCloud : public ::testing::TestWithParam<CloudFacts> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_sandboxes(); !why.empty()) GTEST_SKIP() << why;
    if (GetParam().provider == "modal" && SANDKEY_HAS_MODAL == 0) GTEST_SKIP() << "built without Modal";
  }
  // A script of a shell's under `sandkey emulate`, in which $S is the program and $P the provider.
  Result emulated(const std::string& script) {
    program_.environment["S"] = SANDKEY_CLI;
    program_.environment["P"] = GetParam().provider;
    program_.environment["HERE"] = here_.path();
    return program_.run({"emulate", "--", "/bin/sh", "-e", "-c", script});
  }

  TempDir here_;
  Program program_{here_};
};

INSTANTIATE_TEST_SUITE_P(
    , CliCloud,
    ::testing::Values(CloudFacts{.provider = "e2b",
                                 .port_header = "E2B-Traffic-Access-Token",
                                 .pause_keeps_processes = true,
                                 .key_variable = "E2B_API_KEY",
                                 .unknown_key = "e2b_0000000000000000000000000000000000000000",
                                 .refusal = "E2B does not know this key"},
                      CloudFacts{.provider = "daytona",
                                 .port_header = "X-Daytona-Preview-Token",
                                 .pause_keeps_processes = false,
                                 .key_variable = "DAYTONA_API_KEY",
                                 .unknown_key = "dtn_0000000000000000000000000000000000000000",
                                 .refusal = "Daytona does not know this credential"},
                      CloudFacts{.provider = "runloop",
                                 .port_header = "X-Runloop-Tunnel-Authorization",
                                 .pause_keeps_processes = false,
                                 .key_variable = "RUNLOOP_API_KEY",
                                 .unknown_key = "ak_00000000000000000000000000000000",
                                 .refusal = "Runloop does not know this key"},
                      CloudFacts{.provider = "modal",
                                 .port_header = "Authorization",
                                 .pause_keeps_processes = true,
                                 .key_variable = "MODAL_TOKEN_ID",
                                 .unknown_key = "ak-0000000000",
                                 .refusal = "Modal does not know this token",
                                 .can_pause = false,
                                 .asks_by = "POST"}),
    [](const auto& tested) { return std::string(tested.param.provider); });

TEST_P(CliCloud, EveryVerbWorks) {
  program_.environment["PORT_HEADER"] = GetParam().port_header;
  program_.environment["PAUSES"] = GetParam().can_pause ? "yes" : "no";
  const Result result = emulated(R"sh(
    $S auth check $P | grep -q accepted
    $S providers | grep -q "^$P  *yes"
    $S run --provider $P -- sh -c 'echo one; exit 3' || [ $? -eq 3 ]
    $S run --provider $P --keep --sid box -- sh -c 'echo kept >f'
    $S ls | grep -q "^box  *$P  *running"
    $S cp box:/workspace/f "$HERE/f" && cat "$HERE/f"
    mkdir "$HERE/d" && echo data >"$HERE/d/x" && $S cp "$HERE/d" box:/workspace/
    $S run --sid box -- cat d/x
    $S python --sid box 'x = 6 * 7'
    $S python --sid box 'print(x)'
    if [ $PAUSES = yes ]; then
      $S pause box
      until $S ls | grep -q "^box  *$P  *paused"; do sleep 0.05; done  # some clouds' lists lag behind
      $S resume box
    else
      $S pause box 2>&1 | grep -q 'cannot pause'
    fi
    $S python --sid box 'print("x" in dir())'
    $S run --sid box -- sh -c 'echo page >index.html; python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1'
    $S url box 8000 2>&1 | grep -q "$PORT_HEADER"
    $S forward box 0:8000 >"$HERE/forward" 2>&1 & forward=$!
    until grep -q Forwarding "$HERE/forward"; do sleep 0.05; done
    curl -s "$(grep -o 'http://[^ ]*' "$HERE/forward")/index.html"
    kill $forward && wait $forward
    $S rm box
    while $S ls --provider $P | grep -q '^box'; do sleep 0.05; done
    $S ls --provider $P --json
  )sh");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "one\nkept\ndata\n[Code executed successfully with no output]\n42\n" +
                            std::string(GetParam().pause_keeps_processes ? "True" : "False") +
                            "\npage\n"
                            "{\"sandboxes\":[],\"complete\":true,\"errors\":[]}\n")
      << result.err;
}

TEST_P(CliCloud, AShellIsATerminal) {
  TerminalProgram terminal(
      program_, {"emulate", "--", SANDKEY_CLI, "shell", "--provider", std::string(GetParam().provider)});
  terminal.type("tty; echo answer=$((6 * 7)); exit 4\n");
  const std::string shown = terminal.read_until("answer=42");
  EXPECT_EQ(terminal.process().wait(), 4);
  EXPECT_THAT(shown, HasSubstr("/dev/pts/"));
}

TEST_P(CliCloud, ProfilesKeepTheirSandboxesApart) {
  const Result result = emulated(R"sh(
    second=$(curl -s -H "X-Emulator-Key: $SANDKEY_EMULATOR_KEY" "$SANDKEY_EMULATOR_URL/_emulator/accounts" |
      sed 's/.*"'$P'":{[^}]*"second":"\([^"]*\)".*/\1/')
    export SANDKEY_CONFIG_DIR="$HERE/config"
    echo "$second" | tr : '\n' | $S auth login $P --profile second >/dev/null 2>&1
    $S run --provider $P --profile second --keep --sid theirs -- true
    $S run --provider $P --keep --sid ours -- true
    $S ls --provider $P | tail -n +2 | cut -d' ' -f1
    $S ls --provider $P --profile second | tail -n +2 | cut -d' ' -f1
    $S ls | tail -n +2 | cut -d' ' -f1 | sort
    $S rm theirs ours
    while $S ls --provider $P --profile second | grep -q '^theirs'; do sleep 0.05; done
    $S ls --provider $P --profile second --json
  )sh");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "ours\ntheirs\nours\ntheirs\n{\"sandboxes\":[],\"complete\":true,\"errors\":[]}\n")
      << result.err;
}

TEST_P(CliCloud, ARefusedKeyStopsBeforeAnythingIsMade) {
  program_.environment["REFUSED"] =
      std::string(GetParam().key_variable) + "=" + std::string(GetParam().unknown_key);
  const Result result = emulated(R"sh(
    env "$REFUSED" $S run --provider $P -- true && exit 1
    curl -s -H "X-Emulator-Key: $SANDKEY_EMULATOR_KEY" "$SANDKEY_EMULATOR_URL/_emulator/journal?provider=$P" |
      grep -o '"method":"[A-Z]*"' | sort | uniq -c | tr -s ' '
  )sh");
  EXPECT_THAT(result.out,
              ::testing::MatchesRegex(" [12] \"method\":\"" + std::string(GetParam().asks_by) + "\"\n"))
      << "at most two reads, no write";
  EXPECT_THAT(result.err, AllOf(HasSubstr(std::string(GetParam().refusal)), HasSubstr("fingerprint"),
                                HasSubstr(std::string(GetParam().key_variable) + " in the environment"),
                                HasSubstr("sandkey auth login " + std::string(GetParam().provider))));
}

}  // namespace
}  // namespace sandkey::cli_test
