"""The same scenario by a cloud's own SDK and by our client, and what each put on the wire, compared step by step.

A judge's compare.py says what is its cloud's: a kind of Player, and the scenario's steps. What differs from run to run is replaced
by its meaning (ids, tokens, keys, hosts, times, our script); what differs between the two clients is looked up in the judge's
reviewed_differences.toml, and is a failure where it is not there.
"""
import json
import os
import re
import subprocess
import tomllib
import urllib.request
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

# Of HTTP itself, not of a cloud: how a body is framed, and what a connection does.
FRAMING = {"host", "connection", "content-length", "transfer-encoding", ":authority", "te", "keep-alive", "expect"}


def admin(path, body=None):
    request = urllib.request.Request(f"{os.environ['SANDKEY_EMULATOR_URL']}/_emulator/{path}",
                                     data=None if body is None else json.dumps(body).encode(),
                                     headers={"X-Emulator-Key": os.environ["SANDKEY_EMULATOR_KEY"]})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer = reply.read()
    return json.loads(answer) if answer else None


class Player:
    """One side: a program that is told steps and says what came of each."""

    provider = ""  # as the journal names it
    key_header = "authorization"  # where the credential is, of which the journal says whose it is
    addresses = ()  # variables whose values are addresses of this run

    def __init__(self, name, command, environment):
        self.name = name
        self.session = f"judge-{name}"
        self.process = subprocess.Popen([*command, self.session], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.id = ""

    def journal(self, since=None):
        return admin(f"journal?provider={self.provider}" + ("" if since is None else f"&since={since}"))["entries"]

    def play(self, step):
        """What came of it, and the requests it took."""
        before = self.journal()
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
        return said["value"], self.journal(since)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def outcome(self, value, other):
        """What came of a step, by name; the other side's sandbox is found beside this one's."""
        if isinstance(value, list):
            value = sorted(value, key=lambda each: each != self.id)
        return self.flat("value", json.loads(json.dumps(value).replace(other.id, "<OTHER>") if other.id else json.dumps(value)))

    # ---- What a request means

    def plain(self, text):
        """Without what differs from run to run."""
        text = text.replace(self.id, "<ID>") if self.id else text
        text = text.replace(self.session, "<SESSION>")
        for name in self.addresses:
            text = text.replace(os.environ[name], f"<{name}>")
        return re.sub(r"agent-[0-9a-f-]+\.part", "agent.part", text)

    def fields(self, entry):
        """Of one request, by name."""
        made = {"status": entry["status"], "key": entry["headers"].get(self.key_header, "none")}
        for name, value in parse_qsl(entry["query"].lstrip("?"), keep_blank_values=True):
            made |= self.query(name, value)
        for name, value in entry["headers"].items():
            if name not in FRAMING and name != self.key_header:
                made[f"header.{name}"] = self.header(name, value)
        return made | self.body(entry)

    def query(self, name, value):
        return {f"query.{name}": self.plain(value)}

    def header(self, name, value):
        if name == "user-agent":
            return re.sub(r"[0-9]+(\.[0-9]+)+\S*", "<VERSION>", value)
        return self.plain(value)

    def body(self, entry):
        text = entry["body"]
        if entry["headers"].get("content-type", "").startswith("application/json") and text:
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


def compare(ours, sdk):
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
        for name, a, b in differences(our_player.fields(one), their_player.fields(other)):
            yield route, name, a, b


def play(where, players, steps, reviewed):
    """One scenario: prints a line for each step; how many failed."""
    failed = 0
    for step in steps:
        played = [(player.play(step), player) for player in players]
        explained, open_ones = 0, []
        for request, field, a, b in compare(*played):
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


def judge(kind, steps, client, sdk, scenarios, reviewed):
    """Plays every scenario, (what it is called, environment), with two players of that kind; the exit status."""
    reviewed = [Reviewed(table) for table in tomllib.loads(reviewed.read_text())["difference"]]
    failed = 0
    for where, environment in scenarios:
        failed += play(where, [kind("ours", client, environment), kind("sdk", sdk, environment)], steps, reviewed)
    passed = len(scenarios) * len(steps) - failed
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
