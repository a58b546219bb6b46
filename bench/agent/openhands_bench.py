"""Latency of an action execution server, measured the same way for OpenHands' own and for ours.

    openhands_bench.py reference [--seconds 8]                 OpenHands' server, exactly as released
    openhands_bench.py sandkey --agent PATH [--unix]           ours, over TCP or a Unix socket
    openhands_bench.py url http://HOST:PORT --key-file FILE    any server that is already running
    openhands_bench.py ipython                                 the yardstick: importing IPython and running a cell

Run with the judge's Python (tests/judges/openhands/setup prints it). One JSON object a line:
    {"server", "transport", "client", "what", "samples", "median_ms", "p90_ms", "min_ms", "max_ms"}

`what`: start (process to /alive), first_cell (first cell as soon as the server is alive; --restarts of them), run_true,
cell (a trivial Python cell). `client`: `http` is one kept-alive connection of
Python's http.client, so it hardly hides the server; `openhands` is OpenHands' ActionExecutionClient (--with-client).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "judges" / "openhands"))
sys.dont_write_bytecode = True

from servers import ReferenceServer, SandkeyServer, Server  # noqa: E402

RUN_TRUE = {"action": {"action": "run", "args": {"command": "true"}, "timeout": 30}}
CELL = {"action": {"action": "run_ipython", "args": {"code": "1", "include_extra": False}, "timeout": 30}}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class TcpConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class UnixSandkeyServer(SandkeyServer):
    """Ours on a Unix socket; TCP stays open beside it for the wait until it is alive and for OpenHands' client."""

    def command(self) -> list[str]:
        return [*super().command(), "--listen", f"unix:{self.socket_path}"]

    @property
    def socket_path(self) -> str:
        return str(self.root / "agent.sock")


class Target:
    """Where the requests go: one kept-alive connection."""

    def __init__(self, connection: http.client.HTTPConnection, key: str | None) -> None:
        self.connection = connection
        self.headers = {"Content-Type": "application/json"}
        if key:
            self.headers["X-Session-API-Key"] = key

    def post(self, body: dict[str, object]) -> dict[str, object]:
        self.connection.request("POST", "/execute_action", json.dumps(body), self.headers)
        reply = self.connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{reply.status} {text[:300]!r}")
        return json.loads(text)


def milliseconds(body: Callable[[], object]) -> float:
    began = time.perf_counter()
    body()
    return (time.perf_counter() - began) * 1000


def repeat(body: Callable[[], object], samples: int, seconds: float) -> list[float]:
    taken: list[float] = []
    end = time.monotonic() + seconds
    while len(taken) < samples and (time.monotonic() < end or len(taken) < 5):
        taken.append(milliseconds(body))
    return taken


def report(labels: dict[str, str], what: str, taken: list[float]) -> None:
    ordered = sorted(taken)
    print(
        json.dumps(
            {
                **labels,
                "what": what,
                "samples": len(ordered),
                "median_ms": round(statistics.median(ordered), 3),
                "p90_ms": round(ordered[int(len(ordered) * 0.9)] if len(ordered) > 1 else ordered[0], 3),
                "min_ms": round(ordered[0], 3),
                "max_ms": round(ordered[-1], 3),
            }
        ),
        flush=True,
    )


def expect_run(answer: dict[str, object]) -> None:
    if answer["extras"]["metadata"]["exit_code"] != 0:  # type: ignore[index]
        raise RuntimeError(f"run(true) failed: {answer}")


def expect_cell(answer: dict[str, object]) -> None:
    # The reference sometimes loses a cell's output (it stops reading at the kernel's reply): both texts are accepted.
    if answer["observation"] != "run_ipython" or "Error" in str(answer["content"]):
        raise RuntimeError(f"the cell failed: {answer}")


def measure(target: Target, labels: dict[str, str], options: argparse.Namespace) -> None:
    labels = {**labels, "client": "http"}
    for _ in range(3):
        expect_run(target.post(RUN_TRUE))
    report(labels, "run_true", repeat(lambda: target.post(RUN_TRUE), options.samples, options.seconds))
    for _ in range(3):
        expect_cell(target.post(CELL))
    report(labels, "cell", repeat(lambda: target.post(CELL), options.samples, options.seconds))


def measure_with_client(url: str, key: str | None, labels: dict[str, str], options: argparse.Namespace) -> None:
    from client import JudgeRuntime, make_action

    labels = {**labels, "client": "openhands"}
    runtime = JudgeRuntime(url, key, sid="bench")
    for what, kind, args in (("run_true", "run", {"command": "true"}), ("cell", "run_ipython", {"code": "1"})):
        one = lambda: getattr(runtime, kind)(make_action(kind, args, 30, False))  # noqa: E731, B023
        for _ in range(3):
            one()
        report(labels, what, repeat(one, options.samples, options.seconds))
    runtime.close()


def launch(options: argparse.Namespace, root: Path) -> tuple[Server, Callable[[], http.client.HTTPConnection]]:
    if options.server == "reference":
        server: Server = ReferenceServer(root, paced=False)
    elif options.unix:
        server = UnixSandkeyServer(root, options.agent, options=options.agent_option)
        return server, lambda: UnixConnection(server.socket_path)  # type: ignore[attr-defined]
    else:
        server = SandkeyServer(root, options.agent, options=options.agent_option)
    return server, lambda: TcpConnection("127.0.0.1", server.port, timeout=60)


def bench_server(options: argparse.Namespace) -> None:
    labels = {"server": options.server, "transport": "unix" if options.unix else "tcp"}
    starts: list[float] = []
    firsts: list[float] = []
    for number in range(options.restarts):
        with tempfile.TemporaryDirectory(prefix="sandkey-bench-", ignore_cleanup_errors=True) as root:
            server, connect = launch(options, Path(root))
            with server:
                starts.append(server.started_in * 1000)
                target = Target(connect(), server.key)
                firsts.append(milliseconds(lambda: expect_cell(target.post(CELL))))
                if number + 1 == options.restarts:
                    measure(target, labels, options)
                    if options.with_client:
                        measure_with_client(server.url, server.key, labels, options)
    report({**labels, "client": "http"}, "start", starts)
    report({**labels, "client": "http"}, "first_cell", firsts)


def bench_url(options: argparse.Namespace) -> None:
    key = Path(options.key_file).read_text().split("\n")[0].strip() if options.key_file else None
    labels = {"server": options.label or options.url, "transport": "unix" if options.url.startswith("unix:") else "tcp"}
    if options.url.startswith("unix:"):
        connection: http.client.HTTPConnection = UnixConnection(options.url[5:])
    else:
        host, _, port = options.url.removeprefix("http://").rstrip("/").rpartition(":")
        connection = TcpConnection(host, int(port), timeout=60)
    target = Target(connection, key)
    report({**labels, "client": "http"}, "first_cell", [milliseconds(lambda: expect_cell(target.post(CELL)))])
    measure(target, labels, options)
    if options.with_client and not options.url.startswith("unix:"):
        measure_with_client(options.url, key, labels, options)


def bench_ipython(options: argparse.Namespace) -> None:
    """A new process that imports IPython, makes its shell and runs one cell, as little as that can be."""
    code = (
        "import time; began = time.perf_counter()\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(); made = time.perf_counter(); shell.run_cell('1')\n"
        "print('\\n', (made - began) * 1000, (time.perf_counter() - began) * 1000)"
    )
    with tempfile.TemporaryDirectory(prefix="sandkey-bench-") as home:
        env = {**os.environ, "HOME": home, "IPYTHONDIR": f"{home}/ipython"}
        for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"):  # or every process compiles it all again
            env.pop(name, None)
        inside: list[float] = []
        outside: list[float] = []
        for number in range(options.restarts + 1):
            began = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
            if number:  # the first one makes the profile and warms the disk
                outside.append((time.perf_counter() - began) * 1000)
                inside.append(float(done.stdout.split()[-1]))
    labels = {"server": "ipython", "transport": "none", "client": "none"}
    report(labels, "import_instance_cell", inside)
    report(labels, "process", outside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", choices=["reference", "sandkey", "url", "ipython"])
    parser.add_argument("url", nargs="?", help="with `url`: http://HOST:PORT or unix:PATH")
    parser.add_argument("--agent", default=os.environ.get("SANDKEY_AGENT"))
    parser.add_argument("--unix", action="store_true", help="ours over a Unix socket")
    parser.add_argument("--agent-option", action="append", default=[], help="passed on to sandkey-agent (repeatable)")
    parser.add_argument("--key-file")
    parser.add_argument("--label", help="with `url`: the server's name in the report")
    parser.add_argument("--samples", type=int, default=500, help="at most so many of each")
    parser.add_argument("--seconds", type=float, default=8, help="and for at most so long (but at least 5 of each)")
    parser.add_argument("--restarts", type=int, help="fresh servers for start and first_cell (reference 1, ours 7)")
    parser.add_argument("--with-client", action="store_true", help="also through OpenHands' own client")
    options = parser.parse_args()
    if options.restarts is None:
        options.restarts = 1 if options.server == "reference" else 7
    if options.server == "url":
        if not options.url:
            parser.error("url: which one?")
        bench_url(options)
    elif options.server == "ipython":
        bench_ipython(options)
    elif options.server == "sandkey" and not options.agent:
        parser.error("no sandkey-agent given: set SANDKEY_AGENT or use --agent")
    else:
        bench_server(options)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # OpenHands registers exit handlers and threads that would hold the process for seconds
