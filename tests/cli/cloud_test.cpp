// Every verb in a cloud: under the emulator, with nothing but the vendor's own variables.
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sandkey::cli_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliCloud : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_sandboxes(); !why.empty()) GTEST_SKIP() << why;
  }
  // A script of a shell's under `sandkey emulate`, in which $S is the program.
  Result emulated(const std::string& script) {
    program_.environment["S"] = SANDKEY_CLI;
    program_.environment["HERE"] = here_.path();
    return program_.run({"emulate", "--", "/bin/sh", "-e", "-c", script});
  }

  TempDir here_;
  Program program_{here_};
};

TEST_F(CliCloud, EveryVerbWorksAtE2b) {
  const Result result = emulated(R"sh(
    $S auth check e2b | grep -q accepted
    $S providers | grep -q '^e2b  *yes'
    $S run --provider e2b -- sh -c 'echo one; exit 3' || [ $? -eq 3 ]
    $S run --provider e2b --keep --sid box -- sh -c 'echo kept >f'
    $S ls | grep -q '^box  *e2b  *running'
    $S cp box:/workspace/f "$HERE/f" && cat "$HERE/f"
    mkdir "$HERE/d" && echo data >"$HERE/d/x" && $S cp "$HERE/d" box:/workspace/
    $S run --sid box -- cat d/x
    $S python --sid box 'x = 6 * 7'
    $S python --sid box 'print(x)'
    $S pause box && $S ls | grep -q '^box  *e2b  *paused'
    $S resume box && $S python --sid box 'print(x + 1)'
    $S run --sid box -- sh -c 'echo page >index.html; python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1'
    $S url box 8000 2>&1 | grep -q 'E2B-Traffic-Access-Token'
    $S forward box 0:8000 >"$HERE/forward" 2>&1 & forward=$!
    until grep -q Forwarding "$HERE/forward"; do sleep 0.05; done
    curl -s "$(grep -o 'http://[^ ]*' "$HERE/forward")/index.html"
    kill $forward && wait $forward
    $S rm box
    $S ls --provider e2b --json
  )sh");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out,
            "one\nkept\ndata\n[Code executed successfully with no output]\n42\n43\npage\n"
            "{\"sandboxes\":[],\"complete\":true,\"errors\":[]}\n")
      << result.err;
}

TEST_F(CliCloud, AShellAtE2bIsATerminal) {
  TerminalProgram terminal(program_, {"emulate", "--", SANDKEY_CLI, "shell", "--provider", "e2b"});
  terminal.type("tty; echo $((6 * 7)); exit 4\n");
  const std::string shown = terminal.read_until("42");
  EXPECT_EQ(terminal.process().wait(), 4);
  EXPECT_THAT(shown, HasSubstr("/dev/pts/"));
}

TEST_F(CliCloud, ProfilesKeepTheirSandboxesApart) {
  const Result result = emulated(R"sh(
    second=$(curl -s -H "X-Emulator-Key: $SANDKEY_EMULATOR_KEY" "$SANDKEY_EMULATOR_URL/_emulator/accounts" |
      sed 's/.*"second":"\([^"]*\)".*/\1/')
    export SANDKEY_CONFIG_DIR="$HERE/config"
    echo "$second" | $S auth login e2b --profile second >/dev/null 2>&1
    $S run --provider e2b --profile second --keep --sid theirs -- true
    $S run --provider e2b --keep --sid ours -- true
    $S ls --provider e2b | tail -n +2 | cut -d' ' -f1
    $S ls --provider e2b --profile second | tail -n +2 | cut -d' ' -f1
    $S ls | tail -n +2 | cut -d' ' -f1 | sort
    $S rm theirs ours
    $S ls --provider e2b --profile second --json
  )sh");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "ours\ntheirs\nours\ntheirs\n{\"sandboxes\":[],\"complete\":true,\"errors\":[]}\n")
      << result.err;
}

TEST_F(CliCloud, ARefusedKeyStopsBeforeAnythingIsMade) {
  const Result result = emulated(R"sh(
    E2B_API_KEY=e2b_0000000000000000000000000000000000000000 $S run --provider e2b -- true && exit 1
    curl -s -H "X-Emulator-Key: $SANDKEY_EMULATOR_KEY" "$SANDKEY_EMULATOR_URL/_emulator/journal?provider=e2b" |
      grep -o '"method":"[A-Z]*"' | sort | uniq -c | tr -s ' '
  )sh");
  EXPECT_EQ(result.out, " 2 \"method\":\"GET\"\n");
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("E2B does not know this key"), HasSubstr("fingerprint"),
                    HasSubstr("E2B_API_KEY in the environment"), HasSubstr("sandkey auth login e2b")));
}

}  // namespace
}  // namespace sandkey::cli_test
