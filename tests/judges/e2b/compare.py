"""The same scenario by E2B's SDK and by our client, and what each put on the wire, compared step by step.

Run under the emulator: compare.py CLIENT NODE FOLDER-WITH-THE-SDKS. Twice: with the variables that the emulator gives, which
name one address for all sandboxes, and with E2B_DOMAIN alone, where each sandbox has a host's name of its own.

What differs from run to run is replaced by its meaning (ids, tokens, keys, hosts, times, our script); what differs between the
two clients is looked up in reviewed_differences.toml, and is a failure where it is not there.
"""
import base64
import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import parse_qsl, unquote

STEPS = ("authenticate", "create", "find", "list", "describe", "timeout", "pause", "pause-again", "resume", "attach", "port",
         "commands-and-upload", "kill", "kill-again")
# Of HTTP itself, not of E2B: how a body is framed, and what a connection does.
FRAMING = {"host", "connection", "content-length", "transfer-encoding", ":authority", "te", "keep-alive", "expect"}


def admin(path, method="GET"):
    request = urllib.request.Request(f"{os.environ['SANDKEY_EMULATOR_URL']}/_emulator/{path}", method=method,
                                     headers={"X-Emulator-Key": os.environ["SANDKEY_EMULATOR_KEY"]})
    with urllib.request.urlopen(request, timeout=60) as reply:
        body = reply.read()
    return json.loads(body) if body else None


class Player:
    """One side: a program that is told steps and says what came of each."""

    def __init__(self, name, command, environment):
        self.name = name
        self.session = f"judge-{name}"
        self.process = subprocess.Popen([*command, self.session], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.id = ""

    def play(self, step):
        """What came of it, and the requests it took."""
        before = admin("journal?provider=e2b")["entries"]
        since = before[-1]["number"] if before else 0
        self.process.stdin.write(step + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"FAILED  {self.name}: ended at the step {step}")
        said = json.loads(line)
        if "error" in said:
            raise SystemExit(f"FAILED  {self.name}: {step}: {said['error']}")
        if step == "create":
            self.id = said["value"]
        return said["value"], admin(f"journal?provider=e2b&since={since}")["entries"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def outcome(self, value, other):
        """What came of a step, by name; the other side's sandbox is found beside this one's."""
        if isinstance(value, list):
            value = sorted(value, key=lambda each: each != self.id)
        made = self.flat("value", json.loads(json.dumps(value).replace(other.id, "<OTHER>") if other.id else json.dumps(value)))
        return {name: re.sub("^[0-9a-f]{64}$", "<TOKEN>", each) if isinstance(each, str) else each for name, each in made.items()}

    # ---- What a request means

    def plain(self, text):
        """Without what differs from run to run."""
        text = text.replace(self.id, "<ID>") if self.id else text
        text = text.replace(self.session, "<SESSION>")
        for name in ("E2B_SANDBOX_URL", "E2B_DOMAIN"):
            text = text.replace(os.environ[name], f"<{name}>")
        return re.sub(r"agent-[0-9a-f]{8}\.part", "agent.part", text)

    def fields(self, entry):
        """Of one request, by name."""
        made = {"status": entry["status"], "key": entry["headers"].get("x-api-key", "none")}
        for name, value in parse_qsl(entry["query"].lstrip("?"), keep_blank_values=True):
            if name == "metadata":  # the server decodes it, and then each name and value of it
                for key, wanted in parse_qsl(value, keep_blank_values=True):
                    made[f"query.metadata.{unquote(key)}"] = self.plain(unquote(wanted))
            else:
                made[f"query.{name}"] = self.plain(value)
        for name, value in entry["headers"].items():
            if name not in FRAMING and name != "x-api-key":
                made[f"header.{name}"] = self.header(name, value)
        made |= self.body(entry)
        return made

    def header(self, name, value):
        if name == "user-agent":
            return re.sub(r"[0-9]+(\.[0-9]+)+\S*", "<VERSION>", value)
        if name == "connect-timeout-ms":
            return "<TIME>"
        return self.plain(value)

    def body(self, entry):
        text = entry["body"]
        kind = entry["headers"].get("content-type", "")
        if kind.startswith("application/connect+json"):
            return self.flat("message", json.loads(text[text.index("{"):]))
        if kind.startswith("application/json") and text:
            return self.flat("body", json.loads(text))
        return {"body": "<CONTENT>"} if text else {}

    def flat(self, name, value):
        if isinstance(value, dict) and value:
            made = {}
            for key, each in value.items():
                made |= self.flat(f"{name}.{key}", each)
            return made
        if isinstance(value, str):
            return {name: self.plain(value)}
        if isinstance(value, list):
            return {name: [self.plain(each) if isinstance(each, str) else each for each in value]}
        return {name: value}


def envs_and_script(fields):
    """What is run is each side's own; that something is run, and with variables, is the same."""
    made = {}
    for name, value in fields.items():
        if name.startswith("message.process.envs."):
            made["message.process.envs"] = "<VARIABLES>"
        elif name == "message.process.args":
            made[name] = [*value[:-1], "<SCRIPT>"]
        else:
            made[name] = value
    return made


class Reviewed:
    """One entry of reviewed_differences.toml."""

    def __init__(self, table):
        self.steps = table.get("steps", ["*"])
        self.requests = table.get("requests", ["*"])
        self.fields = table["fields"]
        self.ours = table.get("ours")
        self.sdk = table.get("sdk")
        self.reason = table["reason"]
        self.used = False
        if unknown := set(table) - {"steps", "requests", "fields", "ours", "sdk", "reason"}:
            raise SystemExit(f"FAILED  reviewed_differences.toml: unknown {sorted(unknown)}")

    def explains(self, step, request, field, ours, sdk):
        fits = (any(fnmatchcase(step, each) for each in self.steps)
                and any(request == each or each == "*" for each in self.requests)
                and any(fnmatchcase(field, each) for each in self.fields)
                and self.side(self.ours, ours) and self.side(self.sdk, sdk))
        self.used = self.used or fits
        return fits

    @staticmethod
    def side(wanted, value):
        """Nothing said: any value; "<absent>": none; "/.../": all of it as the expression has it; else just it."""
        if wanted is None:
            return True
        text = value if isinstance(value, str) else json.dumps(value)
        if wanted.startswith("/") and wanted.endswith("/"):
            return re.fullmatch(wanted[1:-1], text) is not None
        return text == wanted


def differences(ours, sdk):
    """Of the fields of one request."""
    for name in sorted(set(ours) | set(sdk)):
        left, right = ours.get(name, "<absent>"), sdk.get(name, "<absent>")
        if left != right:
            yield name, left, right


def pair(ours, sdk):
    """The two sides' requests of one step in their order, those of one route side by side."""
    names = [[each["route"] for each in side] for side in (ours, sdk)]
    for tag, a, b, c, d in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(ours[a:b], sdk[c:d])
        else:
            yield from ((each, None) for each in ours[a:b])
            yield from ((None, each) for each in sdk[c:d])


def compare(step, ours, sdk):
    """(request, field, our value, their value) of all that differs."""
    (our_value, our_entries), our_player = ours
    (their_value, their_entries), their_player = sdk
    left, right = our_player.outcome(our_value, their_player), their_player.outcome(their_value, our_player)
    for name, a, b in differences(left, right):
        yield "outcome", name, a, b
    for one, other in pair(our_entries, their_entries):
        route = (one or other)["route"]
        if one is None or other is None:
            yield route, "request", "sent" if one else "<absent>", "sent" if other else "<absent>"
            continue
        for name, a, b in differences(envs_and_script(our_player.fields(one)), envs_and_script(their_player.fields(other))):
            yield route, name, a, b


def play(where, environment, client, sdk, reviewed):
    """One scenario: prints a line for each step; how many failed."""
    players = [Player("ours", client, environment), Player("sdk", sdk, environment)]
    failed = 0
    for step in STEPS:
        played = [(player.play(step), player) for player in players]
        explained, open_ones = 0, []
        for request, field, a, b in compare(step, *played):
            if any([each.explains(step, request, field, a, b) for each in reviewed]):
                explained += 1
            else:
                open_ones.append(f"    {request}: {field}: ours {a!r}, theirs {b!r}")
        sent = len(played[0][0][1])
        if open_ones:
            failed += 1
            print(f"FAILED  wire, {where}: {step}", *open_ones, sep="\n")
        else:
            print(f"ok      wire, {where}: {step} ({sent} requests of ours, {explained} reviewed differences)")
    for player in players:
        player.close()
    return failed


def main():
    client, node, folder = sys.argv[1:]
    here = Path(__file__).parent
    reviewed = [Reviewed(table) for table in tomllib.loads((here / "reviewed_differences.toml").read_text())["difference"]]
    shared = dict(os.environ)
    hosts = {name: value for name, value in shared.items() if name not in ("E2B_API_URL", "E2B_SANDBOX_URL")}
    failed = 0
    for where, environment in (("one address", shared), ("hosts by name", hosts)):
        failed += play(where, environment, [client], [node, f"{folder}/scenario.mjs"], reviewed)
    passed = 2 * len(STEPS) - failed
    for each in reviewed:
        if not each.used:
            failed += 1
            print(f"FAILED  reviewed_differences.toml: explains nothing any more: {each.reason}")
    left = admin("sandboxes")["sandboxes"]
    if left:
        failed += 1
        print(f"FAILED  left behind: {left}")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
