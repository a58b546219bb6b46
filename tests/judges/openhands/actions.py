"""The table: sequences of actions that are sent to both servers.

A sequence starts in a directory of its own (`@D@`, below the working directory `@W@`), prepared by `prepare`; its shell
actions run one after the other in the one persistent shell, its cells in the one persistent Python. A sequence leaves
shell and Python ready for the next one, except the last, which ends the shell.
"""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    id: str
    kind: str
    args: dict[str, Any]
    timeout: float | None = None
    blocking: bool = False
    files: tuple[str, ...] = ()  # files (relative to @D@) whose bytes and mode are compared after the action


@dataclass
class Sequence:
    name: str
    steps: list[Step]
    prepare: Callable[[Path], None] = field(default=lambda directory: None)


def sh(id: str, command: str, *, timeout: float | None = None, files: tuple[str, ...] = (), **args: Any) -> Step:
    return Step(id, "run", {"command": command, **args}, timeout, bool(args.get("blocking", False)), files)


def typed(id: str, text: str, **args: Any) -> Step:
    return sh(id, text, is_input=True, **args)


def py(id: str, code: str, *, timeout: float | None = None, **args: Any) -> Step:
    return Step(id, "run_ipython", {"code": code, **args}, timeout)


def rd(id: str, path: str, **args: Any) -> Step:
    return Step(id, "read", {"path": path, **args})


def view(id: str, path: str, view_range: list[int] | None = None) -> Step:
    return Step(id, "read", {"path": path, "impl_source": "oh_aci", "view_range": view_range})


def wr(id: str, path: str, content: str, *, files: tuple[str, ...] = (), **args: Any) -> Step:
    return Step(id, "write", {"path": path, "content": content, **args}, files=files)


def ed(id: str, command: str, path: str, *, files: tuple[str, ...] = (), **args: Any) -> Step:
    return Step(id, "edit", {"command": command, "path": path, **args}, files=files)


def _png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x20\x80\xff" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = _png()
PNG_TEXT = base64.b64encode(PNG).decode()


# ---- shell ------------------------------------------------------------------------------------------------------------

BASIC = Sequence(
    "shell-basic",
    [
        sh("echo", "echo hello world"),
        sh("pwd", "pwd"),
        sh("true", "true"),
        sh("false", "false"),
        sh("exit-code-7", "(exit 7)"),
        sh("exit-code-42", "bash -c 'exit 42'"),
        sh("status-variable", "echo $?"),
        sh("killed-by-signal", "bash -c 'kill -9 $$'"),
        sh("not-found", "nonexistent_command"),
        sh("not-executable", "./plain.txt"),
        sh("no-such-file", "ls /no/such/place"),
        sh("stderr", "echo to-stderr >&2"),
        sh("both-streams", "echo out; echo err >&2; echo out2"),
        sh("surrounding-blanks", "   echo trimmed   "),
        sh("cd-root", "cd /"),
        sh("cd-root-pwd", "pwd"),
        sh("cd-back", "cd -"),
        sh("cd-missing", "cd /no/such/place"),
        sh("cd-nested", "mkdir -p a/b && cd a/b && pwd"),
        sh("cd-spaces", "mkdir -p 'with space' && cd 'with space'"),
        sh("cd-up", "cd ../../.."),
        sh("cd-quote", "mkdir -p 'q\"uo' && cd 'q\"uo'; cd @D@"),
        sh("umask-ls", "touch f1 f2 && ls"),
        sh("hostname-in-prompt", "echo \"$USER\""),
        sh("argument-count", "bash -c 'echo $# $1' x 'a b' c"),
    ],
    prepare=lambda d: (d / "plain.txt").write_text("x\n") and None,
)

ENVIRONMENT = Sequence(
    "shell-environment",
    [
        sh("env-export", "export JUDGE_A='a b  c'"),
        sh("env-echo", 'echo "[$JUDGE_A]"'),
        sh("env-child", "bash -c 'echo \"<$JUDGE_A>\"'"),
        sh("env-local", "judge_b=1; bash -c 'echo \"<$judge_b>\"'"),
        sh("env-prefix", "JUDGE_C=x printenv JUDGE_C"),
        sh("env-unset", 'unset JUDGE_A; echo "[${JUDGE_A-unset}]"'),
        sh("env-dollar", "export JUDGE_D='$HOME `id`'; printenv JUDGE_D"),
        sh("env-home", "echo ~; echo $HOME"),
        sh("env-path-python", "command -v python"),
        sh("env-term", 'echo "columns ${#COLUMNS}"; test -t 1 && echo terminal'),
        sh("env-arith", "declare -i n=5; n+=3; echo $n $((2**10)) $((7/2))"),
        sh("env-session-key", 'echo "[${SESSION_API_KEY-not there}]"'),
        sh("env-array", 'arr=(one "two three" four); echo "${#arr[@]}:${arr[1]}"'),
    ],
)

PIPES = Sequence(
    "shell-pipes",
    [
        sh("pipe-sort", r"printf '3\n1\n2\n' | sort | head -2"),
        sh("pipe-status", "false | true"),
        sh("pipe-array", 'false | true | (exit 3); echo "${PIPESTATUS[@]}"'),
        sh("pipe-fail", "set -o pipefail; false | true"),
        sh("pipe-fail-off", "set +o pipefail"),
        sh("redirect-out", "echo into > out.txt; echo more >> out.txt; cat out.txt", files=("out.txt",)),
        sh("redirect-in", "cat < out.txt"),
        sh("redirect-err", "ls /no/such 2>/dev/null; echo $?"),
        sh("process-substitution", "cat <(echo a) <(echo b)"),
        sh("here-string", "cat <<< 'hello there'"),
        sh("heredoc", "cat <<EOF\nline $((1+1))\n  indented\nEOF"),
        sh("heredoc-quoted", "cat <<'EOF'\nliteral $HOME `id` \\n\nEOF"),
        sh("heredoc-to-file", "cat > doc.txt <<EOF\nalpha\nbeta\nEOF", files=("doc.txt",)),
        sh("and-or", "true && echo yes || echo no; false && echo yes || echo no"),
        sh("backslash-newline", "echo one \\\n  two"),
        sh("quoted-newline", "echo 'first\nsecond'"),
        sh("double-quoted-newline", 'echo "first\nsecond"'),
        sh("tee", "echo twice | tee copy.txt; cat copy.txt"),
    ],
)

UNICODE = Sequence(
    "shell-unicode",
    [
        sh("unicode-latin", "echo 'é ü ñ ß'"),
        sh("unicode-cjk", "echo '日本語 한국어'"),
        sh("unicode-emoji", "echo '🙂 ok'"),
        sh("unicode-combining", "printf 'e\\u0301x\\n'"),
        sh("unicode-file", "touch 'ä ö.txt' && ls"),
        sh("unicode-length", "v='äöü'; echo ${#v}"),
        sh("unicode-invalid", "printf 'a\\xff\\xfeb\\n'"),
        sh("unicode-cd", "mkdir -p 'дир' && cd 'дир' && pwd"),
        sh("unicode-cd-back", "cd .."),
    ],
)

TERMINAL = Sequence(
    "shell-terminal",
    [
        sh("tab-output", "printf 'a\\tb\\n\\tc\\n'"),
        sh("tab-columns", "printf '1234567\\tx\\n12345678\\tx\\n'"),
        sh("trailing-blanks", "printf 'a   \\n  b  \\n\\n\\n'"),
        sh("inner-blank-lines", "printf 'a\\n\\n\\nb\\n'"),
        sh("leading-blanks", "printf '\\n\\n    indented\\n'"),
        sh("no-final-newline", "printf 'no newline'"),
        sh("progress-bar", "printf '10%%\\r50%%\\r100%%\\n'"),
        sh("progress-shorter", "printf 'abcdef\\rXY\\n'"),
        sh("carriage-newline", "printf 'one\\r\\ntwo\\r\\n'"),
        sh("backspace", "printf 'abc\\b\\bX\\n'"),
        sh("colour", "printf '\\033[31mred\\033[0m plain \\033[1;32mgreen\\033[0m\\n'"),
        sh("colour-256", "printf '\\033[38;5;196mdeep\\033[48;2;1;2;3mback\\033[m\\n'"),
        sh("window-title", "printf '\\033]0;a title\\007after\\n'"),
        sh("bell", "printf 'ding\\a dong\\n'"),
        sh("cursor-forward", "printf 'a\\033[3Cb\\n'"),
        sh("erase-line", "printf 'abc\\r\\033[Kxyz\\n'"),
        sh("ls-colour", "mkdir -p sub; ls --color=always -p"),
        sh("long-line", "printf 'x%.0s' {1..1500}; echo"),
        sh("long-line-words", "seq -s ' ' 1 400"),
        sh("many-lines", "seq 1 500"),
        sh("truncated", "seq 1 9000"),
        sh("truncated-wide", "for i in $(seq 1 40); do printf 'y%.0s' {1..990}; echo; done"),
        sh("clear-screen", "clear; echo cleared"),
        sh("stty-size", "stty size | wc -w"),
    ],
)

SOFT = Sequence(
    "shell-soft-timeout",
    [
        sh("soft-sleep", "sleep 3; echo slept"),
        sh("soft-poll", ""),
        sh("soft-with-output", "echo begin; sleep 5; echo end"),
        sh("soft-refused", "echo not-run"),
        sh("soft-refused-special", "C-c"),
        typed("soft-interrupt", "C-c"),
        sh("soft-after", "echo ready"),
        sh("soft-growing", "for i in 1 2 3 4 5; do echo tick $i; sleep 1; done"),
        sh("blocking-no-soft", "sleep 3; echo blocked", timeout=20, blocking=True),
        sh("nothing-running-empty", ""),
        typed("nothing-running-input", "hello"),
        typed("nothing-running-key", "C-c"),
        sh("idle-special-key", "C-c"),
        sh("idle-special-after", "echo still fine"),
    ],
)

HARD = Sequence(
    "shell-hard-timeout",
    [
        sh("hard-silent", "sleep 30", timeout=1),
        sh("hard-poll-soft", "", timeout=1),
        typed("hard-interrupt", "C-c"),
        sh("hard-output", "echo before; sleep 30", timeout=1.5),
        typed("hard-output-interrupt", "C-c"),
        sh("hard-blocking", "echo x; sleep 20", timeout=3, blocking=True),
        sh("hard-refused", "pwd"),
        typed("hard-blocking-interrupt", "C-c"),
        sh("hard-not-reached", "sleep 0.2; echo quick", timeout=5),
        sh("hard-after", "echo after-hard"),
    ],
)

INPUT = Sequence(
    "shell-input",
    [
        sh("cat-start", "cat"),
        typed("cat-line", "hello"),
        typed("cat-second", "second line"),
        typed("cat-empty", ""),
        typed("cat-end", "C-d"),
        sh("read-prompt", 'read -p "Name: " name && echo "Hello $name"'),
        typed("read-answer", "John Doe"),
        sh("python-input", "python -c 'a=input(\"first? \"); b=input(\"second? \"); print(a, b)'"),
        typed("python-first", "one"),
        typed("python-second", "two"),
        sh("python-repl", "python -q -S -E"),
        typed("python-repl-eval", "print(6*7)"),
        typed("python-repl-exit", "raise SystemExit(3)"),
        sh("interrupt-python", "python -c 'import time\ntry:\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  print(\"caught\"); raise SystemExit(5)'"),
        typed("interrupt-python-key", "C-c"),
        sh("trap-int", "bash -c 'trap \"echo trapped; exit 9\" INT; while :; do sleep 0.1; done'"),
        typed("trap-int-key", "C-c"),
        sh("quit-key-start", "sleep 60"),
        typed("quit-key", "C-\\"),
        sh("input-after", "echo done-input"),
    ],
)

JOBS = Sequence(
    "shell-jobs",
    [
        sh("job-background", "sleep 60 &"),
        sh("job-list", "jobs"),
        sh("job-kill", "kill %1; wait 2>/dev/null; echo waited"),
        sh("job-list-empty", "jobs"),
        sh("job-stop", "sleep 60"),
        typed("job-stop-key", "C-z"),
        sh("job-stopped-list", "jobs"),
        sh("job-foreground", "fg"),
        typed("job-foreground-interrupt", "C-c"),
        sh("job-output", "(sleep 0.2; echo from-background) & wait"),
        sh("job-disown", "sleep 0.1 & disown; echo gone"),
        sh("job-wait-status", "(exit 6) & wait $!"),
        sh("job-nohup", "nohup true > /dev/null 2>&1; echo $?"),
        sh("job-quiet", "{ sleep 60 & } 2>/dev/null; kill $!; wait $! 2>/dev/null; echo $?"),
    ],
)

MULTIPLE = Sequence(
    "shell-multiple",
    [
        sh("multi-two", "echo a\necho b"),
        sh("multi-three", "echo a\n\necho b\necho c"),
        sh("multi-semicolon-newline", "echo a;\necho b"),
        sh("multi-ampersand-newline", "sleep 0.1 &\necho b"),
        sh("multi-comment-first", "# a comment\nls"),
        sh("multi-heredoc-then", "cat <<EOF\nx\nEOF\necho after"),
        sh("multi-function-then-call", "f() { echo in f; }\nf"),
        sh("multi-case-then", "case x in x) echo one;; esac\necho two"),
        sh("multi-unicode", "echo é\necho b"),
        sh("multi-crlf", "echo a\r\necho b"),
        sh("multi-cd", "cd /\npwd"),
        sh("multi-comment-between", "echo a\n# between\necho b # end"),
        sh("multi-quotes", "echo 'a\nb'\necho c"),
        sh("multi-hidden", "echo a\necho b", hidden=True),
        sh("single-semicolon", "echo a; echo b"),
        sh("single-and-newline", "echo a &&\necho b"),
        sh("single-or-newline", "false ||\necho b"),
        sh("single-pipe-newline", "echo a |\ncat"),
        sh("single-group", "{ echo a\necho b\n}"),
        sh("single-subshell", "(echo a\necho b)"),
        sh("single-for", "for i in 1 2; do\n  echo n$i\ndone"),
        sh("single-while-one", "while read -r l; do\n  echo \"<$l>\"\ndone < lines.txt"),
        sh("single-if", "if true; then\n  echo yes\nelse\n  echo no\nfi"),
        sh("single-function", "judge_fn() {\n  echo \"fn $1\"\n  return 4\n}"),
        sh("single-function-call", "judge_fn x"),
        sh("single-case", "case abc in\n  a*) echo starts;;\n  *) echo other;;\nesac"),
        sh("single-trailing-newlines", "echo trailing\n\n"),
        sh("single-comment-after", "echo commented # ignored"),
        sh("lenient-conditional", "[[ a == a ]]\necho second"),
        sh("lenient-arithmetic", "echo $((1+2))\necho two"),
        sh("lenient-array", "lst=(1 2)\necho ${lst[1]}"),
        sh("lenient-quoted-heredoc", "cat <<'EOF'\nquoted $x\nEOF\necho after"),
        sh("lenient-while", "n=0\nwhile [ $n -lt 2 ]; do n=$((n+1)); done"),
        sh("multi-after", "pwd"),
    ],
    prepare=lambda d: (d / "lines.txt").write_text("one\ntwo\n") and None,
)

STATIC = Sequence(
    "shell-static",
    [
        sh("static-variable", "export JUDGE_STATIC=main"),
        sh("static-pwd", "pwd", is_static=True),
        sh("static-cwd", "pwd; ls", is_static=True, cwd="@D@/inner"),
        sh("static-no-export", 'echo "[${JUDGE_STATIC-unset}]"', is_static=True),
        sh("static-cd", "cd / && pwd", is_static=True),
        sh("static-main-unmoved", "pwd"),
        sh("static-exit-code", "exit_with() { return 3; }; exit_with", is_static=True),
        sh("static-hidden", "echo secret", is_static=True, hidden=True),
        sh("static-multi", "echo a\necho b", is_static=True),
        sh("static-sleep", "sleep 1; echo slept", is_static=True),
    ],
    prepare=lambda d: ((d / "inner").mkdir(), (d / "inner" / "file").write_text("")) and None,
)

HIDDEN = Sequence(
    "shell-hidden",
    [
        sh("hidden-echo", "echo hidden", hidden=True),
        sh("hidden-failing", "ls /no/such", hidden=True),
        sh("hidden-long", "seq 1 7000", hidden=True),
        sh("hidden-cd", "cd /", hidden=True),
        sh("hidden-cd-back", "cd @D@"),
        sh("thought", "echo thinking", thought="because"),
        sh("not-hidden-again", "echo visible"),
    ],
)

SPECIAL = Sequence(
    "shell-special",
    [
        sh("find-exec", "find . -name '*.txt' -exec basename {} \\; | sort"),
        sh("find-exec-echo", "find . -maxdepth 1 -type f -name 'a.txt' -exec echo found {} \\;"),
        sh("find-exec-plus", "find . -name '*.txt' -exec echo {} + | wc -w"),
        sh("escaped-semicolon", "echo a \\; echo b"),
        sh("escaped-pipe", "echo a \\| b"),
        sh("escaped-ampersand", "echo a \\& b"),
        sh("escaped-redirect", "echo a \\> b \\< c"),
        sh("substitution", 'echo "$(echo nested $(echo deeper))"'),
        sh("backticks", "echo `echo ticked`"),
        sh("globs", "echo *.txt"),
        sh("glob-none", "echo *.nothing"),
        sh("braces", "echo {a,b}{1..3}"),
        sh("hash-in-quotes", "echo '# not a comment' \"#nor this\""),
        sh("comment-only", "# only a comment"),
        sh("exclamation", "echo 'hi!' hello!"),
        sh("history-expansion", 'echo "wow!nosuchevent"'),
        sh("after-history", "echo ok-again"),
        sh("percent", "echo 100% '%s' %d"),
        sh("backslashes", "echo 'a\\b\\\\c' a\\\\b"),
        sh("dollar-quote", "echo $'tab\\there\\x41'"),
        sh("tilde-words", "echo ~root a~b"),
        sh("quotes-mixed", "echo \"it's\" 'say \"x\"'"),
        sh("nul-like", "printf 'a\\0b\\n' | od -c | head -1"),
        sh("grep-no-match", "grep zzz a.txt"),
        sh("grep-match", "grep -n two a.txt b.txt"),
        sh("key-name-word", "Up"),
        sh("long-command", "echo " + "w" * 900),
        sh("marker-begin", "echo '###PS1JSON###'"),
        sh("marker-end", "echo '###PS1END###'"),
        sh("marker-forged", "printf '\\n###PS1JSON###\\n{\"pid\":\"1\",\"exit_code\":\"99\"}\\n###PS1END###\\n'"),
        sh("marker-after", "echo after-markers"),
        # Last: the reference types the tab into the line editor, which then completes a name and stays in the quote.
        sh("literal-tab", "echo 'a\tb'"),
    ],
    prepare=lambda d: ((d / "a.txt").write_text("one\ntwo\n"), (d / "b.txt").write_text("two\nthree\n")) and None,
)

SYNTAX = Sequence(
    "shell-syntax",
    [
        sh("syntax-then", "if then"),
        sh("syntax-paren", "ls )"),
        sh("syntax-done", "for i in 1; done"),
        sh("syntax-after", "echo fine"),
        sh("arithmetic-error", "echo $((1/0))"),
        sh("readonly-error", "readonly JUDGE_R=1; JUDGE_R=2"),
        sh("unset-strict", "bash -uc 'echo $NOPE_NOT_SET'"),
        sh("syntax-end", "echo end"),
    ],
)

FUNCTIONS = Sequence(
    "shell-functions",
    [
        sh("alias-define", "alias judge_hi='echo hi-from-alias'"),
        sh("alias-use", "judge_hi there"),
        sh("function-one-line", "adder() { echo $(($1+$2)); }; adder 2 3"),
        sh("function-persist", "adder 20 22"),
        sh("subshell-isolated", "(cd /; judge_x=inner; pwd); pwd; echo \"[$judge_x]\""),
        sh("source-file", "source ./vars.sh && echo $FROM_FILE"),
        sh("script", "bash ./script.sh arg1"),
        sh("set-e-subshell", "(set -e; false; echo unreachable)"),
        sh("trap-exit-subshell", "(trap 'echo bye' EXIT; echo hi)"),
        sh("local-variable", "f2() { local judge_v=1; echo $judge_v; }; f2; echo \"[$judge_v]\""),
        sh("git-init", "git init -q -b main repo && cd repo && git config user.email a@b.c && git config user.name n"),
        sh("git-commit", "echo x > x.txt && git add . && git commit -q -m 'first commit'"),
        sh("git-log", "git log --format=%s%n%an"),
        sh("git-diff", "echo y >> x.txt; git diff | tail -3"),
        sh("git-no-pager", "seq 1 200 > big.txt && git add -A && git commit -q -m big && git show --stat --format=%s HEAD"),
        sh("pager-free-git", "git log -p --format=%s | wc -l; git diff --stat HEAD~1"),
        sh("make-missing", "make -f nothing.mk"),
    ],
    prepare=lambda d: (
        (d / "vars.sh").write_text("FROM_FILE='sourced value'\n"),
        (d / "script.sh").write_text('echo "script $1"\nexit 12\n'),
    )
    and None,
)


NESTED = Sequence(
    "shell-nested",
    [
        sh("nested-bash", "bash --norc --noprofile"),
        sh("nested-bash-command", "echo level $((SHLVL > 1))"),
        sh("nested-bash-exit", "exit 4"),
        sh("nested-bash-after", "echo back"),
    ],
)

UNFINISHED = Sequence(
    "shell-unfinished",
    [
        sh("unclosed-quote", "echo 'never closed"),
        typed("unclosed-quote-interrupt", "C-c"),
        sh("unclosed-brace", "if true; then"),
        typed("unclosed-brace-finish", "echo closed; fi"),
        sh("unclosed-substitution", "echo $(echo inner"),
        typed("unclosed-substitution-interrupt", "C-c"),
        sh("unclosed-heredoc", "cat <<EOF\nnever ended"),
        typed("unclosed-heredoc-interrupt", "C-c"),
        sh("unclosed-after", "echo after-unclosed"),
    ],
)


# ---- files ------------------------------------------------------------------------------------------------------------


def _prepare_read(d: Path) -> None:
    (d / "ten.txt").write_text("".join(f"{n}\n" for n in range(10)))
    (d / "crlf.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (d / "cr.txt").write_bytes(b"one\rtwo\rthree")
    (d / "no-newline.txt").write_text("first\nlast")
    (d / "empty.txt").write_text("")
    (d / "latin1.txt").write_bytes("d\xe9j\xe0 vu, caf\xe9\n".encode("latin-1"))
    (d / "utf8.txt").write_text("é 日本 🙂\n")
    (d / "bom.txt").write_bytes(b"\xef\xbb\xbfwith bom\n")
    (d / "form-feed.txt").write_text("a\fb\vc\x1cd\u2028e\n")
    (d / "binary.bin").write_bytes(bytes(range(256)) * 8)
    (d / "picture.png").write_bytes(PNG)
    (d / "text.png").write_text("not a picture\n")
    (d / "paper.pdf").write_bytes(b"%PDF-1.4\n%text only\n")
    (d / "clip.mp4").write_text("pretend\n")
    (d / "some-dir").mkdir()
    (d / "long.txt").write_text("".join(f"line number {n}\n" for n in range(5000)))


READ = Sequence(
    "file-read",
    [
        rd("read-all", "@D@/ten.txt"),
        rd("read-relative", "ten.txt"),
        rd("read-dot-relative", "./some-dir/../ten.txt"),
        rd("read-0-3", "@D@/ten.txt", start=0, end=3),
        rd("read-2-5", "@D@/ten.txt", start=2, end=5),
        rd("read-5-5", "@D@/ten.txt", start=5, end=5),
        rd("read-9-10", "@D@/ten.txt", start=9, end=10),
        rd("read-20-30", "@D@/ten.txt", start=20, end=30),
        rd("read-20-end", "@D@/ten.txt", start=20, end=-1),
        rd("read-0-0", "@D@/ten.txt", start=0, end=0),
        rd("read-negative-start", "@D@/ten.txt", start=-3, end=2),
        rd("read-negative-end", "@D@/ten.txt", start=2, end=-5),
        rd("read-5-3", "@D@/ten.txt", start=5, end=3),
        rd("read-3-end", "@D@/ten.txt", start=3),
        rd("read-empty-range", "@D@/empty.txt", start=0, end=2),
        rd("read-crlf", "@D@/crlf.txt"),
        rd("read-cr", "@D@/cr.txt"),
        rd("read-no-newline", "@D@/no-newline.txt"),
        rd("read-empty", "@D@/empty.txt"),
        rd("read-latin1", "@D@/latin1.txt"),
        rd("read-utf8", "@D@/utf8.txt"),
        rd("read-bom", "@D@/bom.txt"),
        rd("read-form-feed", "@D@/form-feed.txt", start=0, end=1),
        rd("read-missing", "@D@/missing.txt"),
        rd("read-missing-relative", "missing.txt"),
        rd("read-directory", "@D@/some-dir"),
        rd("read-binary", "@D@/binary.bin"),
        rd("read-binary-relative", "binary.bin"),
        rd("read-picture", "@D@/picture.png"),
        rd("read-picture-relative", "picture.png"),
        rd("read-text-png", "@D@/text.png"),
        rd("read-pdf", "@D@/paper.pdf"),
        rd("read-video", "@D@/clip.mp4"),
        rd("read-long", "@D@/long.txt"),
    ],
    prepare=_prepare_read,
)


def _prepare_write(d: Path) -> None:
    for name in ("replace.txt", "range.txt", "top.txt", "beyond.txt", "tail.txt"):
        (d / name).write_text("a\nb\nc\nd\n")
    (d / "mode.sh").write_text("#!/bin/sh\n")
    (d / "mode.sh").chmod(0o755)
    (d / "a-dir").mkdir()
    (d / "crlf.txt").write_bytes(b"a\r\nb\r\n")
    (d / "latin1.txt").write_bytes(b"caf\xe9\n")
    (d / "target.txt").write_text("old\n")
    (d / "link.txt").symlink_to("target.txt")


WRITE = Sequence(
    "file-write",
    [
        wr("write-new", "@D@/new.txt", "one\ntwo", files=("new.txt",)),
        wr("write-new-newline", "@D@/new2.txt", "one\ntwo\n", files=("new2.txt",)),
        wr("write-empty", "@D@/new3.txt", "", files=("new3.txt",)),
        wr("write-relative", "relative.txt", "here", files=("relative.txt",)),
        wr("write-parents", "@D@/deep/er/file.txt", "deep", files=("deep/er/file.txt", "deep")),
        wr("write-replace", "@D@/replace.txt", "X", files=("replace.txt",)),
        wr("write-range", "@D@/range.txt", "X\nY", start=1, end=2, files=("range.txt",)),
        wr("write-top", "@D@/top.txt", "X", start=0, end=0, files=("top.txt",)),
        wr("write-tail", "@D@/tail.txt", "X", start=2, end=-1, files=("tail.txt",)),
        wr("write-beyond", "@D@/beyond.txt", "X", start=50, end=60, files=("beyond.txt",)),
        wr("write-keeps-mode", "@D@/mode.sh", "echo hi", files=("mode.sh",)),
        wr("write-directory", "@D@/a-dir", "x"),
        wr("write-unicode", "@D@/uni.txt", "é 日本 🙂", files=("uni.txt",)),
        wr("write-crlf", "@D@/crlf.txt", "X", start=1, end=2, files=("crlf.txt",)),
        wr("write-crlf-content", "@D@/crlf-new.txt", "a\r\nb", files=("crlf-new.txt",)),
        wr("write-latin1", "@D@/latin1.txt", "X", start=0, end=1, files=("latin1.txt",)),
        wr("write-symlink", "@D@/link.txt", "through", files=("link.txt", "target.txt")),
        rd("write-read-back", "@D@/new.txt"),
        sh("write-shell-sees", "cat new.txt range.txt"),
    ],
    prepare=_prepare_write,
)


def _prepare_view(d: Path) -> None:
    (d / "three.txt").write_text("one\ntwo\nthree\n")
    (d / "no-newline.txt").write_text("one\ntwo")
    (d / "empty.txt").write_text("")
    (d / "tabs.py").write_text("def f():\n\treturn 1\n")
    (d / "latin1.txt").write_bytes(("déjà vu à la crème brûlée, où êtes-vous passés\n" * 6).encode("latin-1"))
    (d / "utf16.txt").write_text("wide text\nsecond\n", encoding="utf-16")
    (d / "utf8.txt").write_text("naïve 日本語\n" * 4)
    (d / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    (d / "binary.bin").write_bytes(bytes(range(256)) * 8)
    (d / "huge.txt").write_bytes(b"x" * 99 + b"\n" if False else (b"x" * 99 + b"\n") * 115344)
    (d / "long.txt").write_text("".join(f"this is line number {n:05d}\n" for n in range(1000)))
    (d / "wide.txt").write_text("z" * 17000 + "\n")
    tree = d / "tree"
    for name in ("sub/deeper/deepest", "Another", ".hidden-dir"):
        (tree / name).mkdir(parents=True)
    for name in ("b.txt", "A.txt", ".hidden", "sub/inner.txt", "sub/deeper/too-deep.txt", "sub/.inner-hidden"):
        (tree / name).write_text("x\n")
    os.symlink("sub", tree / "link-to-sub")
    (d / "empty-dir").mkdir()
    (d / "one-hidden").mkdir()
    (d / "one-hidden" / ".only").write_text("")


VIEW = Sequence(
    "editor-view",
    [
        view("view-file", "@D@/three.txt"),
        view("view-no-newline", "@D@/no-newline.txt"),
        view("view-empty", "@D@/empty.txt"),
        view("view-tabs", "@D@/tabs.py"),
        view("view-crlf", "@D@/crlf.txt"),
        view("view-latin1", "@D@/latin1.txt"),
        view("view-utf16", "@D@/utf16.txt"),
        view("view-utf8", "@D@/utf8.txt"),
        view("view-range", "@D@/three.txt", [2, 3]),
        view("view-range-one", "@D@/three.txt", [1, 1]),
        view("view-range-end", "@D@/three.txt", [2, -1]),
        view("view-range-past", "@D@/three.txt", [2, 99]),
        view("view-range-start-out", "@D@/three.txt", [5, 6]),
        view("view-range-zero", "@D@/three.txt", [0, 2]),
        view("view-range-reversed", "@D@/three.txt", [3, 2]),
        view("view-range-short", "@D@/three.txt", [2]),
        view("view-range-long", "@D@/three.txt", [1, 2, 3]),
        view("view-range-on-directory", "@D@/tree", [1, 2]),
        view("view-directory", "@D@/tree"),
        view("view-directory-slash", "@D@/tree/"),
        view("view-empty-directory", "@D@/empty-dir"),
        view("view-one-hidden", "@D@/one-hidden"),
        view("view-missing", "@D@/missing.txt"),
        view("view-relative", "three.txt"),
        view("view-relative-suggestion", "editor-view/three.txt"),
        view("view-binary", "@D@/binary.bin"),
        view("view-huge", "@D@/huge.txt"),
        view("view-clipped", "@D@/long.txt"),
        view("view-clipped-range", "@D@/long.txt", [10, 900]),
        view("view-clipped-wide", "@D@/wide.txt"),
        ed("edit-view", "view", "@D@/three.txt"),
        ed("edit-view-binary", "view", "@D@/binary.bin"),
        ed("edit-view-directory", "view", "@D@/tree"),
    ],
    prepare=_prepare_view,
)


def _prepare_edit(d: Path) -> None:
    (d / "three.txt").write_text("one\ntwo\nthree\n")
    (d / "twice.txt").write_text("same\nother\nsame\n")
    (d / "code.py").write_text("".join(f"def f{n}():\n    return {n}\n\n" for n in range(20)))
    (d / "undo.txt").write_text("v0\n")
    (d / "crlf.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (d / "latin1.txt").write_bytes(("déjà vu à la crème brûlée, où êtes-vous passés\n" * 6).encode("latin-1"))
    (d / "insert.txt").write_text("one\ntwo\nthree\n")
    (d / "glue.txt").write_text("one\ntwo")
    (d / "mode.sh").write_text("#!/bin/sh\necho old\n")
    (d / "mode.sh").chmod(0o755)
    (d / "empty.txt").write_text("")
    (d / "binary.bin").write_bytes(bytes(range(256)) * 8)
    (d / "report.docx").write_bytes(b"PK\x03\x04 not really\n")
    (d / "huge.txt").write_bytes((b"x" * 99 + b"\n") * 115344)
    (d / "blank.txt").write_text("  padded  \nx\n")
    (d / "a-dir").mkdir()


EDIT = Sequence(
    "editor-edit",
    [
        ed("create", "create", "@D@/made.txt", file_text="hello\nworld\n", files=("made.txt",)),
        ed("create-empty", "create", "@D@/made-empty.txt", file_text="", files=("made-empty.txt",)),
        ed("create-no-newline", "create", "@D@/made-bare.txt", file_text="bare", files=("made-bare.txt",)),
        ed("create-unicode", "create", "@D@/made-uni.txt", file_text="é 日本 🙂\n", files=("made-uni.txt",)),
        ed("create-exists", "create", "@D@/three.txt", file_text="x"),
        ed("create-directory-exists", "create", "@D@/a-dir", file_text="x"),
        ed("create-no-text", "create", "@D@/none.txt"),
        ed("create-missing-parent", "create", "@D@/no/parent.txt", file_text="x"),
        ed("create-relative", "create", "rel.txt", file_text="x"),
        ed("replace", "str_replace", "@D@/three.txt", old_str="two", new_str="TWO", files=("three.txt",)),
        ed("replace-lines", "str_replace", "@D@/three.txt", old_str="TWO\n", new_str="2a\n2b\n", files=("three.txt",)),
        ed("replace-delete", "str_replace", "@D@/three.txt", old_str="2a\n", new_str="", files=("three.txt",)),
        ed("replace-null-new", "str_replace", "@D@/three.txt", old_str="2b\n", files=("three.txt",)),
        ed("replace-missing-text", "str_replace", "@D@/three.txt", old_str="nowhere", new_str="x"),
        ed("replace-twice", "str_replace", "@D@/twice.txt", old_str="same", new_str="x", files=("twice.txt",)),
        ed("replace-equal", "str_replace", "@D@/three.txt", old_str="one", new_str="one"),
        ed("replace-no-old", "str_replace", "@D@/three.txt", new_str="x"),
        ed("replace-empty-old", "str_replace", "@D@/three.txt", old_str="", new_str="x"),
        ed("replace-stripped", "str_replace", "@D@/three.txt", old_str="  three \n\n", new_str="  drei ", files=("three.txt",)),
        ed("replace-middle", "str_replace", "@D@/code.py", old_str="    return 9\n", new_str="    x = 9\n    return x\n", files=("code.py",)),
        ed("replace-first-line", "str_replace", "@D@/code.py", old_str="def f0", new_str="def zero", files=("code.py",)),
        ed("replace-last-line", "str_replace", "@D@/code.py", old_str="    return 19", new_str="    return 'nineteen'", files=("code.py",)),
        ed("replace-regex-characters", "str_replace", "@D@/code.py", old_str="f1():", new_str="f1(*a, **k): # \\1 $&", files=("code.py",)),
        ed("replace-crlf", "str_replace", "@D@/crlf.txt", old_str="two", new_str="TWO", files=("crlf.txt",)),
        ed("replace-latin1", "str_replace", "@D@/latin1.txt", old_str="vu à la crème brûlée, où êtes-vous passés\ndéjà vu à la crème brûlée, où êtes-vous passés\ndéjà vu à la crème brûlée, où êtes-vous passés\ndéjà vu à la crème brûlée, où êtes-vous passés\ndéjà vu à la crème brûlée, où êtes-vous passés\ndéjà", new_str="très", files=("latin1.txt",)),
        ed("replace-keeps-mode", "str_replace", "@D@/mode.sh", old_str="old", new_str="new", files=("mode.sh",)),
        ed("replace-padded", "str_replace", "@D@/blank.txt", old_str="padded", new_str="PADDED", files=("blank.txt",)),
        ed("insert-top", "insert", "@D@/insert.txt", insert_line=0, new_str="zero", files=("insert.txt",)),
        ed("insert-middle", "insert", "@D@/insert.txt", insert_line=2, new_str="a\nb", files=("insert.txt",)),
        ed("insert-end", "insert", "@D@/insert.txt", insert_line=6, new_str="last", files=("insert.txt",)),
        ed("insert-newline-text", "insert", "@D@/insert.txt", insert_line=1, new_str="with newline\n", files=("insert.txt",)),
        ed("insert-numeric-string", "insert", "@D@/insert.txt", insert_line="1", new_str="from string", files=("insert.txt",)),
        ed("insert-bad-string", "insert", "@D@/insert.txt", insert_line="two", new_str="x"),
        ed("insert-out-of-range", "insert", "@D@/insert.txt", insert_line=99, new_str="x"),
        ed("insert-negative", "insert", "@D@/insert.txt", insert_line=-1, new_str="x"),
        ed("insert-no-line", "insert", "@D@/insert.txt", new_str="x"),
        ed("insert-no-text", "insert", "@D@/insert.txt", insert_line=1),
        ed("insert-empty-file", "insert", "@D@/empty.txt", insert_line=0, new_str="first", files=("empty.txt",)),
        ed("insert-without-final-newline", "insert", "@D@/glue.txt", insert_line=2, new_str="three", files=("glue.txt",)),
        ed("insert-keeps-mode", "insert", "@D@/mode.sh", insert_line=1, new_str="# added", files=("mode.sh",)),
        ed("undo-none", "undo_edit", "@D@/undo.txt"),
        ed("undo-edit-1", "str_replace", "@D@/undo.txt", old_str="v0", new_str="v1"),
        ed("undo-edit-2", "insert", "@D@/undo.txt", insert_line=1, new_str="v2"),
        ed("undo-last", "undo_edit", "@D@/undo.txt", files=("undo.txt",)),
        ed("undo-again", "undo_edit", "@D@/undo.txt", files=("undo.txt",)),
        ed("undo-empty", "undo_edit", "@D@/undo.txt", files=("undo.txt",)),
        ed("undo-create", "undo_edit", "@D@/made.txt", files=("made.txt",)),
        ed("unknown-command", "rewrite", "@D@/three.txt"),
        ed("empty-command", "", "@D@/three.txt"),
        ed("edit-missing", "str_replace", "@D@/missing.txt", old_str="a", new_str="b"),
        ed("insert-missing", "insert", "@D@/missing.txt", insert_line=0, new_str="b"),
        ed("undo-missing", "undo_edit", "@D@/missing.txt"),
        ed("edit-directory", "str_replace", "@D@/a-dir", old_str="a", new_str="b"),
        ed("edit-binary", "str_replace", "@D@/binary.bin", old_str="a", new_str="b"),
        ed("edit-document", "str_replace", "@D@/report.docx", old_str="a", new_str="b"),
        ed("edit-huge", "str_replace", "@D@/huge.txt", old_str="a", new_str="b"),
        ed("edit-relative", "str_replace", "three.txt", old_str="a", new_str="b"),
        ed("edit-relative-suggestion", "str_replace", "editor-edit/three.txt", old_str="a", new_str="b"),
    ],
    prepare=_prepare_edit,
)


# ---- Python ----------------------------------------------------------------------------------------------------------

PYTHON = Sequence(
    "python-basic",
    [
        py("py-print", "print('hello')"),
        py("py-expression", "6 * 7"),
        py("py-nothing", "x = 41"),
        py("py-state", "x + 1"),
        py("py-multi-line", "total = 0\nfor i in range(4):\n    total += i\ntotal"),
        py("py-print-and-value", "print('out')\n'value'"),
        py("py-stderr", "import sys\nprint('to stderr', file=sys.stderr)"),
        py("py-both-streams", "import sys\nprint('a'); print('b', file=sys.stderr); print('c')"),
        py("py-no-newline", "print('no newline', end='')"),
        py("py-trailing-blanks", "print('text   \\n\\n')"),
        py("py-semicolon", "5;"),
        py("py-none", "None"),
        py("py-string", "'a\\nb'"),
        py("py-bytes", "b'\\x00\\xff'"),
        py("py-dict", "{n: 'v' * n for n in range(30)}"),
        py("py-long-list", "list(range(2000))"),
        py("py-unicode", "print('é 日本 🙂')"),
        py("py-ansi", "print('\\x1b[31mred\\x1b[0m plain')"),
        py("py-carriage-return", "print('10%\\r100%')"),
        py("py-empty", ""),
        py("py-comment", "# nothing"),
        py("py-no-extra", "print('bare')", include_extra=False),
        py("py-no-extra-nothing", "y = 1", include_extra=False),
        py("py-function", "def square(n):\n    '''doc'''\n    return n * n\nsquare(12)"),
        py("py-class-repr", "class P:\n    def __repr__(self):\n        return '<P here>'\nP()"),
        py("py-last-underscore", "_ if '_' in dir() else 'no underscore'"),
        py("py-large-output", "print('z' * 40000)"),
        py("py-future-annotations", "import __main__\n__name__, __main__.__name__"),
        py("py-async", "import asyncio\nawait asyncio.sleep(0.01)\n'awaited'"),
        py("py-thread-output", "import threading\nt = threading.Thread(target=lambda: print('from thread'))\nt.start(); t.join()"),
        py("py-subprocess", "import subprocess\nsubprocess.run(['echo', 'child'], capture_output=True, text=True).stdout"),
        py("py-subprocess-inherited", "import subprocess\nsubprocess.run(['sh', '-c', 'echo inherited; echo err >&2; exit 3']).returncode"),
        py("py-os-system", "import os\nos.system('echo through-system')"),
        py("py-input", "input('name? ')"),
        py("py-environ", "import os\nos.environ['JUDGE_PY'] = 'set'\nos.environ['JUDGE_PY']"),
        sh("py-environ-shell", 'echo "[${JUDGE_PY-unset}]"'),
    ],
)

ERRORS = Sequence(
    "python-errors",
    [
        py("err-zero", "1/0"),
        py("err-name", "undefined_name"),
        py("err-syntax", "def broken(:\n    pass"),
        py("err-indentation", "if True:\nprint('x')"),
        py("err-nested", "def outer():\n    return inner()\ndef inner():\n    raise ValueError('deep down')\nouter()"),
        py("err-partial-output", "print('before')\nraise RuntimeError('stop')\nprint('after')"),
        py("err-chained", "try:\n    {}['k']\nexcept KeyError as e:\n    raise TypeError('second') from e"),
        py("err-context", "try:\n    int('x')\nexcept ValueError:\n    [][1]"),
        py("err-custom", "class MyError(Exception):\n    pass\nraise MyError('own', 2)"),
        py("err-library", "import json\njson.loads('{bad')"),
        py("err-import", "import no_such_module_here"),
        py("err-assert", "assert 1 == 2, 'math'"),
        py("err-exit", "raise SystemExit(3)"),
        py("err-exit-call", "import sys\nsys.exit('message')"),
        py("err-keyboard", "raise KeyboardInterrupt"),
        py("err-recursion", "def r():\n    return r()\ntry:\n    r()\nexcept RecursionError as e:\n    print(type(e).__name__)"),
        py("err-unicode", "raise ValueError('é 日本')"),
        py("err-multi-line-message", "raise ValueError('first\\nsecond')"),
        py("err-group", "raise ExceptionGroup('many', [ValueError('a'), TypeError('b')])"),
        py("err-repr", "class B:\n    def __repr__(self):\n        raise ValueError('no repr')\nB()"),
        py("err-syntax-unclosed", "print('unclosed"),
        py("err-warning", "import warnings\nwarnings.warn('careful')"),
        py("err-after", "'still alive', x if 'x' in dir() else None"),
    ],
)

DISPLAY = Sequence(
    "python-display",
    [
        py("img-png", f"import base64\nfrom IPython.display import Image, display\npng = base64.b64decode('{PNG_TEXT}')\nImage(data=png)"),
        py("img-display", "display(Image(data=png))\nprint('shown')"),
        py("img-two", "display(Image(data=png)); display(Image(data=png))"),
        py("img-no-extra", "Image(data=png)", include_extra=False),
        py("disp-html", "from IPython.display import HTML\nHTML('<b>bold</b>')"),
        py("disp-markdown", "from IPython.display import Markdown\ndisplay(Markdown('# title'))"),
        py("disp-several", "display(1, 'two', [3])"),
        py("disp-json", "from IPython.display import JSON\nJSON({'a': 1})"),
        py("disp-clear", "from IPython.display import clear_output\nprint('gone'); clear_output(); print('kept')"),
        py("disp-update", "h = display('first', display_id=True)\nh.update('second')"),
        py("disp-mimebundle", "class M:\n    def _repr_mimebundle_(self, **kw):\n        return {'text/plain': 'plain form', 'text/html': '<i>h</i>'}\nM()"),
        py("disp-pretty", "class R:\n    def _repr_pretty_(self, p, cycle):\n        p.text('pretty form')\nR()"),
        py("magic-time", "%timeit -n1 -r1 -q pass"),
        py("magic-env", "%env JUDGE_MAGIC=yes"),
        py("magic-cd", "%pwd"),
        py("magic-bang", "!echo from the shell"),
        py("magic-bang-capture", "files = !echo a b\nfiles"),
        py("magic-bang-status", "!exit 3\n_exit_code"),
        py("magic-cell-bash", "%%bash\necho in bash cell\necho second"),
        py("magic-cell-writefile", "%%writefile made.py\nVALUE = 5"),
        py("magic-cell-capture", "%%capture cap\nprint('captured')"),
        py("magic-captured", "cap.stdout"),
        py("magic-who", "judge_only = 1\n%who_ls int"),
        py("magic-unknown", "%no_such_magic"),
        py("magic-help", "len?"),
        py("magic-run", "%run made.py\nVALUE"),
        py("plt-agg", "import matplotlib\nmatplotlib.get_backend().split('.')[-1].split(':')[-1]"),
        py("plt-figure", "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(1, 1))\nax.plot([1, 2])\nplt.show()\nprint('drawn')"),
        py("plt-value", "fig = plt.figure(figsize=(1, 1))\nplt.plot([1, 2, 3])"),
        py("pandas-frame", "import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})"),
        py("numpy-array", "import numpy as np\nnp.arange(6).reshape(2, 3) / 2"),
    ],
)

PYTHON_CWD = Sequence(
    "python-cwd",
    [
        py("cwd-start", "import os\nos.getcwd()"),
        sh("cwd-shell-cd", "mkdir -p shell-went && cd shell-went"),
        py("cwd-follows", "os.getcwd()"),
        py("cwd-python-chdir", "os.chdir('/')\nos.getcwd()"),
        py("cwd-python-stays", "os.getcwd()"),
        sh("cwd-shell-unmoved", "pwd"),
        py("cwd-still-python", "os.getcwd()"),
        sh("cwd-shell-up", "cd .."),
        py("cwd-follows-again", "os.getcwd()"),
        py("cwd-relative-file", "open('from_python.txt', 'w').write('x\\n')"),
        sh("cwd-file-visible", "cat from_python.txt"),
        rd("cwd-read-relative", "from_python.txt"),
        sh("cwd-quote-dir", "mkdir -p \"it's\" && cd \"it's\""),
        py("cwd-quote-follows", "os.getcwd()"),
        sh("cwd-quote-back", "cd .."),
        py("slow-interrupted", "import time\nprint('started')\ntime.sleep(30)", timeout=1),
        py("slow-state-kept", "'kept', 'time' in dir()"),
        py("slow-busy-loop", "while True:\n    pass", timeout=1.5),
        py("slow-after", "print('after interrupt')"),
        py("slow-within", "time.sleep(0.3)\n'in time'", timeout=5),
    ],
)

EXIT = Sequence(
    "shell-exit",
    [
        sh("exit-shell", "exit 3"),
        sh("exit-then-command", "echo alive again"),
        sh("exit-then-pwd", "pwd"),
    ],
)

SEQUENCES: list[Sequence] = [
    BASIC, ENVIRONMENT, PIPES, UNICODE, TERMINAL, HIDDEN, SPECIAL, SYNTAX, FUNCTIONS, NESTED, UNFINISHED,
    MULTIPLE, STATIC,
    SOFT, HARD, INPUT, JOBS,
    READ, WRITE, VIEW, EDIT,
    PYTHON, ERRORS, DISPLAY, PYTHON_CWD,
    EXIT,
]  # fmt: skip

# Two halves of about the same length in the reference, so that they can run side by side. The order within a half is kept:
# later sequences see the shell and the Python state of earlier ones.
_SECOND_HALF = SEQUENCES.index(MULTIPLE)
SHARDS: list[list[str]] = [[s.name for s in SEQUENCES[:_SECOND_HALF]], [s.name for s in SEQUENCES[_SECOND_HALF:]]]

_ids = [step.id for sequence in SEQUENCES for step in sequence.steps]
assert len(_ids) == len(set(_ids)), sorted(i for i in _ids if _ids.count(i) > 1)


if __name__ == "__main__":
    for sequence in SEQUENCES:
        print(f"{len(sequence.steps):4d}  {sequence.name}")
    print(f"{len(_ids):4d}  actions")
