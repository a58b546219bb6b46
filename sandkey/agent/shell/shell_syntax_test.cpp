#include "sandkey/agent/shell/shell_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey::agent {
namespace {

using ::testing::ElementsAre;

// The verdicts below were compared with bashlex 0.18 through OpenHands' split_bash_commands().

class OneCommand : public ::testing::TestWithParam<const char*> {};

TEST_P(OneCommand, IsOnePiece) {
  EXPECT_EQ(split_commands(GetParam()).size(), 1U) << GetParam();
}

INSTANTIATE_TEST_SUITE_P(
    ShellSyntax, OneCommand,
    ::testing::Values("a; b", "a & b", "a && \\\nb", "a &&\nb", "a |\nb", "a |\n\n# c\nb", "{ a\nb\n}",
                      "(a\nb)", "a \\\n  b \\\n  c", "\\\nls", "a \\", "a\\\n", "# only", "# one\n# two",
                      "  ls  ",
                      // quotes
                      "echo 'a\nb'", "echo \"a\nb\"", "echo \"a \\\" b\nc\"", "echo $'a\\'\nb'",
                      "echo \"$(a\nb)\"", "echo `a\nb`", "echo ${x:-a\nb}", "echo \"${x:-'}'}\nb\"",
                      "git commit -m \"a (b)\n\nc\"", "python3 -c 'import x\nprint(1)'",
                      // compound commands
                      "for i in 1 2\ndo\n  a\ndone", "for i; do a; done", "for i in a b; { c\n}",
                      "while a\ndo\nb\ndone < f", "until a; do\nb\ndone",
                      "if a\nthen b\nelif c\nthen d\nelse e\nfi", "f() {\n  a\n}", "f () (\na\n)",
                      "function f {\na\n}", "function f() { a\n} > log",
                      "while read -r x; do\n  a \"$x\"\ndone < <(b\nc)", "cd x && {\na\n} || b",
                      "diff <(a\nb) <(c)", "x=$(a\n\nb)", "! a | b", "! ! a",
                      // here-documents
                      "cat <<EOF\na\nb\nEOF", "cat <<EOF > f\n$x \"\nEOF\n", "cat <<-E\n\ta\n\tE",
                      "cat <<A <<B\na\nA\nb\nB", "cat <<EOF | grep a\nEOF x\nEOF", "(cat <<E\n)\nE\n)",
                      "x=$(cat <<E\n)\nE\n)", "cat <<E\na\\\nE\nE", "cat <<EOF\r\na\r\nEOF\r\n"));

// bash would see two commands or more here, but bashlex fails, which OpenHands takes for one.
INSTANTIATE_TEST_SUITE_P(
    NotUnderstood, OneCommand,
    ::testing::Values("[[ -f x ]]\nls", "if [[ x ]]; then a; fi\nls", "echo $((1+2))\nls",
                      "echo \"$((1+2))\"\nls", "echo $[1]\nls", "x=(1 2)\nls", "declare -A x=([a]=b)\nls",
                      "cat <<'EOF'\na\nEOF\nls", "cat <<\"EOF\"\na\nEOF\nls", "cat <<\\EOF\na\nEOF\nls",
                      "time a\nls", "a | time b\nls", "coproc a\nls", "for ((;;)); do a; done\nls",
                      "for ((;;))\nls", "select x in a; do b; done\nls", "case x in\na) b;;\nesac\nls",
                      "f() { case x in a) b;; esac; }\nls", "echo $(case x in a) b;; esac)\nls",
                      "echo `a \\`b\\``\nls", "echo $()\nls", "echo !(a)\nls"));

// And these are none to bash either.
INSTANTIATE_TEST_SUITE_P(Broken, OneCommand,
                         ::testing::Values("echo 'unclosed\nls", "echo \"unclosed\nls", "echo `unclosed\nls",
                                           "echo $(unclosed\nls", "echo ${unclosed\nls",
                                           "echo \"${x:-'}\"\nls", "cat <<EOF\na\nls", "cat <<EOF", "a\n&& b",
                                           "a\n| b", "&& a\nb", "a &&", "a ;; b\nc", "a; ; b\nc", "if a\nb",
                                           "while", "for", "for x", "do\nb", "fi\nb", "}\nb", "a; }\nb",
                                           "f(){\n", "(a\nb", "a)\nb", "a (b)\nc", "(a) b\nc", "{ a; } b\nc",
                                           "a >\nb", "a <<\nb", "echo $((1", "!", "\\"));

struct Split {
  const char* input;
  std::vector<std::string> pieces;
};

class SeveralCommands : public ::testing::TestWithParam<Split> {};

TEST_P(SeveralCommands, AreCutBetweenThem) {
  EXPECT_EQ(split_commands(GetParam().input), GetParam().pieces);
}

INSTANTIATE_TEST_SUITE_P(
    ShellSyntax, SeveralCommands,
    ::testing::Values(
        Split{"a\nb", {"a", "b"}}, Split{"a;\nb", {"a;", "b"}}, Split{"a &\nb", {"a &", "b"}},
        Split{"a; b\nc", {"a; b", "c"}}, Split{"\n\n  a  \n\n\n  b\n", {"a", "b"}},
        Split{"a\r\nb\r\n", {"a", "b"}}, Split{"a\r\n\r\nb\r\n\r\n", {"a", "b"}},
        Split{"# c\nls", {"# c", "ls"}}, Split{"#a\n#b\nls\n#c", {"#a\n#b", "ls\n#c"}},
        Split{"a # x\nb", {"a # x", "b"}}, Split{"a\n\n# x\nb", {"a\n\n# x", "b"}},
        Split{"# x \\\na\nb", {"# x \\", "a", "b"}}, Split{"a \\\n b\nc", {"a \\\n b", "c"}},
        Split{"\\\na\nb", {"\\\na", "b"}}, Split{"cat <<EOF\nx\nEOF\nls", {"cat <<EOF\nx\nEOF", "ls"}},
        Split{"cat <<EOF; a\n$((1+2)) '\nEOF\n\nls", {"cat <<EOF; a\n$((1+2)) '\nEOF", "ls"}},
        Split{"cat <<EOF\na\\\\\nEOF\nls", {"cat <<EOF\na\\\\\nEOF", "ls"}},
        Split{"f(){ a; }\nf", {"f(){ a; }", "f"}}, Split{"f()\n{\na\n}\n\nf", {"f()\n{\na\n}", "f"}},
        Split{"((i++))\nls", {"((i++))", "ls"}}, Split{"echo \xC3\xA9\nls", {"echo \xC3\xA9", "ls"}},
        Split{"if a; then b; fi\nls", {"if a; then b; fi", "ls"}},
        Split{"for i in 1 2; do a; done > f 2>&1\nls", {"for i in 1 2; do a; done > f 2>&1", "ls"}},
        Split{"{ a; } 2>f\nb", {"{ a; } 2>f", "b"}}, Split{"[ x ] && a\nb", {"[ x ] && a", "b"}},
        Split{"echo '$((1))'\nb", {"echo '$((1))'", "b"}},
        Split{"echo ${x:-$((1))}\nb", {"echo ${x:-$((1))}", "b"}},
        Split{"echo \"it's\"\nb", {"echo \"it's\"", "b"}}, Split{"echo a\\'b\nc", {"echo a\\'b", "c"}},
        Split{"find . -exec a {} \\;\nb", {"find . -exec a {} \\;", "b"}},
        Split{"echo if then fi\nb", {"echo if then fi", "b"}}, Split{"'if' a\nb", {"'if' a", "b"}},
        Split{"exec 3<>f {x}>g 2>&-\nb", {"exec 3<>f {x}>g 2>&-", "b"}},
        Split{"a &> f <<< x\nb", {"a &> f <<< x", "b"}},
        Split{"echo a#b $# ${#x}\nc", {"echo a#b $# ${#x}", "c"}},
        Split{"x=1\nexport y=2", {"x=1", "export y=2"}},
        Split{"echo $(a # )\n)\nb", {"echo $(a # )\n)", "b"}}, Split{"echo $'\\''\nb", {"echo $'\\''", "b"}},
        Split{"echo $\nb", {"echo $", "b"}}));

TEST(ShellSyntax, BlankInputIsOneEmptyPiece) {
  EXPECT_THAT(split_commands(""), ElementsAre(""));
  EXPECT_THAT(split_commands(" \n\t\r\n"), ElementsAre(""));
}

TEST(ShellSyntax, WhatItCannotParseStaysAsItIs) {
  EXPECT_THAT(split_commands("  echo 'a \n"), ElementsAre("  echo 'a \n"));
  EXPECT_THAT(split_commands(" # a \n"), ElementsAre(" # a \n"));
}

TEST(ShellSyntax, DeepNestingIsGivenUpWithoutHarm) {
  const auto nested = [](const std::string& open, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += open;
    return text;
  };
  for (const char* open : {"(", "{ ", "$(", "\"$(", "${x:-", "if ", "f() ", "a && (", "<(", "\"${x:-"}) {
    EXPECT_EQ(split_commands(nested(open, 100'000) + "\nb").size(), 1U) << open;
  }
  EXPECT_EQ(split_commands(nested("(", 20) + "a" + nested(")", 20) + "\nb").size(), 2U);
}

TEST(ShellSyntax, LongInputTakesLinearTime) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "echo \"$(a $(b)) ${x}\" 'c' <<E\nx\nE\n";
  EXPECT_EQ(split_commands(text).size(), 20'000U);
}

TEST(ControlKey, IsThreeBytesBeginningWithC) {
  for (const char* key : {"C-c", "C-D", "C-z", "C-1", "C-\\"}) EXPECT_TRUE(is_special_key(key)) << key;
  for (const char* key : {"", "C", "C-", "c-c", "C-cc", "C c", "^C", " C-c", "M-x"}) {
    EXPECT_FALSE(is_special_key(key)) << key;
    EXPECT_EQ(control_key(key), std::nullopt) << key;
  }
}

TEST(ControlKey, SendsOneByte) {
  EXPECT_EQ(control_key("C-c"), '\x03');
  EXPECT_EQ(control_key("C-C"), '\x03');
  EXPECT_EQ(control_key("C-d"), '\x04');
  EXPECT_EQ(control_key("C-z"), '\x1a');
  EXPECT_EQ(control_key("C-["), '\x1b');
  EXPECT_EQ(control_key("C-\\"), '\x1c');
  EXPECT_EQ(control_key("C-@"), '\0');
  EXPECT_EQ(control_key("C- "), '\0');
  EXPECT_EQ(control_key("C-2"), '\0');
  EXPECT_EQ(control_key("C-3"), '\x1b');
  EXPECT_EQ(control_key("C-7"), '\x1f');
  EXPECT_EQ(control_key("C-8"), '\x7f');
  EXPECT_EQ(control_key("C-?"), '\x7f');
  EXPECT_EQ(control_key("C-1"), std::nullopt);
  EXPECT_EQ(control_key("C-\xC3"), std::nullopt);
}

}  // namespace
}  // namespace sandkey::agent
