#!/usr/bin/env python3
"""Our client of a cloud beside the vendor's own SDKs, all against the same emulator.

Usage, under sandkey-emulator: compare.py BIN --provider NAME [--rounds N] [--times N] [--node FOLDER] [--python PROGRAM]

Every figure is a fresh process's; contestants take turns, and figures are medians over the turns of all rounds. A ratio is
the median of each turn's own ratio, so that others' load on the machine falls on both sides of it. CPU time and memory are
the client's alone.
"""

import argparse
import collections
import http.client
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "transport"))
sys.dont_write_bytecode = True
import compare as transport  # noqa: E402

LISTED = 10  # sandboxes in the list
PROCESS_TURNS = 6  # of each whole process in a round


class Cloud:
    """An emulated cloud, by its API. Sandboxes carry our label, since of an account's we list only ours."""

    scheme = "Bearer "
    header = "Authorization"

    def __init__(self, programs):
        self.programs = programs
        self.url, self.key = (os.environ[name] for name in self.variables)
        self.path = urllib.parse.urlsplit(self.url).path
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc)
        self.ids = []

    def curl(self):
        """What `sandkey auth check` asks, by curl."""
        return ["curl", "-fsS", "-H", f"{self.header}: {self.scheme}{self.key}", self.url + self.probe]

    def ask(self, method, path, body=None):
        headers = {self.header: self.scheme + self.key, "Content-Type": "application/json"}
        self.connection.request(method, self.path + path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"compare.py: {method} {path}: {answer.status} {text.decode()}")
        return json.loads(text or "null")

    def fill(self):
        self.ids = [self.create() for _ in range(LISTED)]

    def empty(self):
        for one in self.ids:
            self.end(one)

    def time_create(self, times):
        """The cloud's own part of a create, until the sandbox runs: milliseconds."""
        walls = []
        for _ in range(times + 1):  # the first to begin with
            began = time.monotonic()
            one = self.create()
            walls.append(1000 * (time.monotonic() - began))
            self.end(one)
        return (statistics.median(walls[1:]),)


class E2b(Cloud):
    variables = ("E2B_API_URL", "E2B_API_KEY")
    header, scheme = "X-API-Key", ""
    probe = "/v2/sandboxes?state=running&limit=1"

    def create(self):
        wanted = {"templateID": "sandkey", "timeout": 3600, "metadata": {"sandkey": "true"}}
        return self.ask("POST", "/v2/sandboxes", wanted)["sandboxID"]

    def end(self, one):
        self.ask("DELETE", f"/sandboxes/{one}")


class Daytona(Cloud):
    variables = ("DAYTONA_API_URL", "DAYTONA_API_KEY")
    probe = "/api-keys/current"

    def create(self):
        one = self.ask("POST", "/sandbox", {"snapshot": "sandkey", "labels": {"sandkey": "true"}})
        while one["state"] != "started":
            one = self.ask("GET", f"/sandbox/{one['id']}")
        return one["id"]

    def end(self, one):
        self.ask("DELETE", f"/sandbox/{one}")


class Runloop(Cloud):
    variables = ("RUNLOOP_BASE_URL", "RUNLOOP_API_KEY")
    probe = "/v1/accounts/me"

    def create(self):
        wanted = {"blueprint_name": "sandkey", "metadata": {"sandkey": "true"}}
        one = self.ask("POST", "/v1/devboxes", wanted)["id"]
        self.ask("POST", f"/v1/devboxes/{one}/wait_for_status", {"statuses": ["running"]})
        return one

    def end(self, one):
        self.ask("POST", f"/v1/devboxes/{one}/shutdown")


class Modal(Cloud):
    """It speaks gRPC, of which Python has nothing to offer; so sandboxes are made by our own program, and the cloud's part of it
    is what the emulator's journal says."""

    variables = ("MODAL_SERVER_URL", "MODAL_TOKEN_ID")
    create_route = "ModalClient/SandboxCreateV2"
    empty_message = "\0" * 5  # not compressed, and no byte long

    def curl(self):
        message = pathlib.Path(os.environ["SANDKEY_STATE_DIR"]) / "empty-message"
        message.write_text(self.empty_message)
        headers = {"content-type": "application/grpc", "te": "trailers", "x-modal-client-type": "8",
                   "x-modal-client-version": "1.0.0", "x-modal-token-id": self.key,
                   "x-modal-token-secret": os.environ["MODAL_TOKEN_SECRET"]}
        command = ["curl", "-fsS", "--http2-prior-knowledge", "--data-binary", f"@{message}"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        command.append(f"{self.url}/modal.client.ModalClient/TokenInfoGet")
        # Its status is no HTTP status, and curl would not notice.
        answer = subprocess.run([*command, "-o", os.devnull, "-D", "-"], capture_output=True, text=True, check=True).stdout
        if "grpc-status: 0" not in answer:
            raise SystemExit(f"compare.py: curl is refused: {answer}")
        return command

    def sandkey(self, *arguments):
        subprocess.run([self.programs / "sandkey", *arguments], check=True, stdout=subprocess.DEVNULL)

    def create(self):
        sid = f"listed-{len(self.ids)}"
        self.sandkey("run", "--provider", "modal", "--image", "sandkey", "--keep", "--sid", sid, "--", "true")
        self.ids.append(sid)
        return sid

    def fill(self):
        for _ in range(LISTED):
            self.create()

    def end(self, one):
        self.sandkey("rm", "--provider", "modal", one)

    def journal(self, since):
        request = urllib.request.Request(f"{os.environ['SANDKEY_EMULATOR_URL']}/_emulator/journal?provider=modal&since={since}",
                                         headers={"X-Emulator-Key": os.environ["SANDKEY_EMULATOR_KEY"]})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["entries"]

    def time_create(self, times):
        entries = self.journal(0)
        last = entries[-1]["number"] if entries else 0
        subprocess.run([self.programs / "provider_bench", "modal", "create", str(times)], check=True, stdout=subprocess.DEVNULL)
        walls = [entry["took_ms"] for entry in self.journal(last) if entry["route"] == self.create_route]
        return (statistics.median(walls[1:]),)


CLOUDS = {"e2b": E2b, "daytona": Daytona, "runloop": Runloop, "modal": Modal}


def in_process(command, environment):
    figure = transport.run(command, env=environment)
    if figure is None:
        raise SystemExit("compare.py: a contestant failed")
    return figure["wall_ms"], figure["cpu_ms"], figure["memory_mb"]


def whole_process(command, environment):
    one = transport.time_process(command, environment)
    if one is None:
        raise SystemExit(f"compare.py: {' '.join(command)} failed")
    return tuple(1000 * seconds for seconds in one)


class Table:
    """Figures of contestants by what was measured; each but the first of a group beside that one."""

    def __init__(self):
        self.figures = collections.defaultdict(lambda: collections.defaultdict(list))

    def add(self, what, who, figure):
        self.figures[what][who].append(figure)

    def ratio(self, what, who, base, at):
        """The median of the turns' ratios; of wall-clock time (0), CPU time (1) or memory (2)."""
        if who not in self.figures[what]:
            return None
        return statistics.median(one[at] / other[at]
                                 for one, other in zip(self.figures[what][who], self.figures[what][base]))

    def median(self, what, who, at):
        return statistics.median(one[at] for one in self.figures[what][who])

    def print(self):
        print(f"{'':40} {'wall ms':>9} {'CPU ms':>8} {'MB':>6} {'x wall':>8} {'x CPU':>7} {'x MB':>6}")
        for what, contestants in self.figures.items():
            base = next(iter(contestants))
            for who, figures in contestants.items():
                columns = range(len(figures[0]))
                cells = [f"{self.median(what, who, at):{width}.{digits}f}"
                         for at, width, digits in zip(columns, (9, 8, 6), (1, 2, 0))]
                cells += [" " * 6] * (3 - len(cells))
                cells += [f"{self.ratio(what, who, base, at):{width}.2f}" for at, width in zip(columns, (8, 7, 6))]
                print(f"{what + ', ' + who:40} {' '.join(cells)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path, help="the folder with our programs")
    parser.add_argument("--provider", choices=CLOUDS, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=10, help="creates of one process; lists are ten times as many")
    parser.add_argument("--node", help="a folder in which the SDK for Node is installed")
    parser.add_argument("--python", help="a Python that has the SDK")
    arguments = parser.parse_args()

    if "SANDKEY_EMULATOR_URL" not in os.environ:
        raise SystemExit("compare.py: run it under sandkey-emulator")
    state = os.environ["SANDKEY_STATE_DIR"] = tempfile.mkdtemp(prefix="sandkey-bench-")
    environment = dict(os.environ)
    sdks = {}
    if arguments.node:
        environment["NODE_PATH"] = str(pathlib.Path(arguments.node).resolve() / "node_modules")
        sdks["Node SDK"] = ["node", str(HERE / "sdk.cjs"), arguments.provider]
    if arguments.python:
        sdks["Python SDK"] = [arguments.python, str(HERE / "sdk.py"), arguments.provider]

    provider = arguments.provider
    cloud = CLOUDS[provider](arguments.bin)
    bench, program = [str(arguments.bin / "provider_bench"), provider], str(arguments.bin / "sandkey")
    create, listing = "create + first command", f"list of {LISTED}"
    check, run = "whole process: auth check", "whole process: create + command"
    few, many = str(arguments.times), str(arguments.times * 10)
    rows = [(create, "sandkey", in_process, [*bench, "create", few]),
            (create, "cloud's part", lambda *_: cloud.time_create(arguments.times), None),
            *((create, who, in_process, [*sdk, "create", few]) for who, sdk in sdks.items()),
            (listing, "sandkey", in_process, [*bench, "list", many]),
            *((listing, who, in_process, [*sdk, "list", many]) for who, sdk in sdks.items()),
            (check, "sandkey", whole_process, [program, "auth", "check", provider]),
            (check, "curl", whole_process, cloud.curl()),
            *((check, who, whole_process, [*sdk, "list", "0"]) for who, sdk in sdks.items()),
            (run, "sandkey", whole_process, [program, "run", "--provider", provider, "--image", "sandkey", "--", "true"]),
            *((run, who, whole_process, [*sdk, "create", "0"]) for who, sdk in sdks.items())]
    table, loads = Table(), []
    try:
        cloud.fill()
        for _ in range(arguments.rounds):
            for wanted in dict.fromkeys(what for what, *_ in rows):
                contestants = [row for row in rows if row[0] == wanted][::-1]
                for _ in range(PROCESS_TURNS if contestants[0][2] is whole_process else 1):
                    # Forth and back, since who follows a large program finds the processor's caches empty.
                    contestants.reverse()
                    for what, who, measure, command in contestants:
                        loads.append(os.getloadavg()[0])
                        table.add(what, who, measure(command, environment))
    finally:
        cloud.empty()
        shutil.rmtree(state)

    print(f"{arguments.rounds} rounds on {os.cpu_count()} processors; load {min(loads):.1f} to {max(loads):.1f}, "
          f"median {statistics.median(loads):.1f}")
    table.print()
    addition = statistics.median(ours[0] - clouds[0] for ours, clouds in
                                 zip(table.figures[create]["sandkey"], table.figures[create]["cloud's part"]))
    print(f"what we add to the cloud's create, until the first command's result: {addition:.1f} ms (wanted: under 100)")
    print(f"auth check: {1 / table.ratio(check, 'curl', 'sandkey', 0):.2f} times curl's wall-clock, "
          f"{1 / table.ratio(check, 'curl', 'sandkey', 1):.2f} times its CPU time (wanted: within 1.3)")
    for who in sdks:
        print(f"auth check: {table.ratio(check, who, 'sandkey', 0):.0f} times faster than the {who} "
              f"({table.ratio(check, who, 'sandkey', 1):.0f} in CPU time; wanted: 20)")


if __name__ == "__main__":
    main()
