#!/usr/bin/env python3
"""Our transport beside bare libcurl, and the vendors' Node SDKs where they are installed, on one loopback server.

Usage: compare.py TRANSPORT_BENCH [--rounds N] [--patience SECONDS] [--node FOLDER] [--results FILE]
                  [--process NAME=COMMAND]...

Every row is a fresh process; rounds are interleaved, and figures are medians over them. What is compared is CPU time, and
a ratio is the median of each round's own ratio, so that others' load on the machine falls on both sides of it. A round
waits for the machine to be quiet, but not for ever.

At the end whole processes are timed, from their start to their end: curl, the SDK of E2B, and those given by --process,
in whose commands {url} stands for the server and {key} for a key, as in
  --process 'auth check=env E2B_API_URL={url} E2B_API_KEY={key} build/release/bin/sandkey auth check e2b'
"""

import argparse
import collections
import json
import os
import pathlib
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent

SANDBOX = {
    "templateID": "rki5dems9wqfm4r03t7g", "alias": "base", "clientID": "6532622b", "cpuCount": 2, "memoryMB": 512,
    "diskSizeMB": 1024, "envdVersion": "0.2.4", "startedAt": "2026-01-01T00:00:00.000Z",
    "endAt": "2026-01-01T00:05:00.000Z", "state": "running", "metadata": {"sandkey": "bench"},
}
E2B_LIST = json.dumps([{**SANDBOX, "sandboxID": f"i{n:019d}"} for n in range(10)], separators=(",", ":"))
DEVBOX = json.dumps({
    "id": "dbx_1", "status": "running", "create_time_ms": 1, "name": "bench", "blueprint_id": "bp_1",
    "metadata": {"sandkey": "bench"}, "capabilities": [], "state_transitions": [], "launch_parameters": {},
})
DAYTONA = json.dumps({
    "id": "i1", "organizationId": "o1", "name": "i1", "snapshot": "base", "user": "daytona", "env": {}, "labels": {},
    "public": False, "networkBlockAll": False, "target": "us", "cpu": 1, "gpu": 0, "memory": 1, "disk": 3,
    "state": "started", "desiredState": "started", "errorReason": None, "backupState": "None", "autoStopInterval": 15,
    "autoArchiveInterval": 10080, "autoDeleteInterval": -1, "createdAt": "2026-01-01T00:00:00.000Z",
    "updatedAt": "2026-01-01T00:00:00.000Z", "runnerId": "r1", "toolboxProxyUrl": "http://127.0.0.1:9/toolbox",
})


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Nginx:
    """One worker with static JSON, on HTTP/1.1 and on TLS with HTTP/2."""

    def __init__(self, folder):
        self.plain, self.tls = free_port(), free_port()
        self.folder = folder
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            cwd=folder, check=True, capture_output=True)
        (folder / "list").write_text(E2B_LIST)
        (folder / "devbox").write_text(DEVBOX)
        (folder / "daytona").write_text(DAYTONA)
        files = "".join(
            f"location = {path} {{ default_type application/json; alias {folder}/{name}; "
            f"add_header X-Request-Id 0123456789abcdef; }}\n"
            for path, name in (("/v2/sandboxes", "list"), ("/v1/devboxes/dbx_1", "devbox"),
                               ("/api/sandbox/i1", "daytona")))
        (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile off; tcp_nodelay on; open_file_cache max=16; open_file_cache_valid 1h;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  server {{ listen 127.0.0.1:{self.plain} backlog=4096; {files} }}
  server {{ listen 127.0.0.1:{self.tls} ssl http2; ssl_certificate cert.pem; ssl_certificate_key key.pem; {files} }}
}}""")
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.plain)).close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit("nginx does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def busy_share(seconds):
    """The share of all processors' time in which somebody did something."""
    def sample():
        fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(fields), fields[3] + fields[4]
    total, idle = sample()
    time.sleep(seconds)
    total_after, idle_after = sample()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def wait_for_quiet(limit):
    """True if the machine was nine tenths idle within the limit."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if busy_share(0.5) < 0.10:
            return True
    return False


def run(command, **extra):
    done = subprocess.run(command, capture_output=True, text=True, **extra)
    if done.returncode != 0:
        print(f"{' '.join(map(str, command))}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().split("\n")[-1])


KEY = "e2b_0123456789abcdef0123456789abcdef01234567"
PROCESS_RUNS = 20  # of each whole process in a round


def time_process(command, environment):
    """Wall-clock and CPU seconds of the process from its start to its end; nothing if it failed."""
    with open(os.devnull, "r+b") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), fd) for fd in (0, 1, 2)]
        began = time.monotonic()
        pid = os.posix_spawnp(command[0], command, environment, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
    if status != 0:
        return None
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def whole_processes(rows, rounds, environment):
    """Medians of wall-clock and CPU milliseconds by name; rounds and rows are interleaved."""
    times = collections.defaultdict(list)
    failed = set()
    for _ in range(rounds * PROCESS_RUNS):
        for name, command in rows:
            if name in failed:
                continue
            one = time_process(command, environment)
            if one is None:
                print(f"{name} failed: {shlex.join(command)}", file=sys.stderr)
                failed.add(name)
            else:
                times[name].append(one)
    return {name: [statistics.median(one[i] for one in all_) * 1000 for i in (0, 1)]
            for name, all_ in times.items() if name not in failed}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patience", type=float, default=20, help="seconds to wait for a quiet machine, each time")
    parser.add_argument("--node", help="a folder in which the vendors' SDKs are installed")
    parser.add_argument("--results")
    parser.add_argument("--process", action="append", default=[], metavar="NAME=COMMAND",
                        help="another whole process to time")
    arguments = parser.parse_args()
    if not os.path.exists("/usr/sbin/nginx"):
        raise SystemExit("nginx is not installed (nginx-light)")

    folder = pathlib.Path(tempfile.mkdtemp(prefix="sandkey-bench-"))
    nginx = Nginx(folder)
    plain = f"http://127.0.0.1:{nginx.plain}"
    tls = f"https://localhost:{nginx.tls}"
    ca = str(folder / "cert.pem")
    listing = plain + "/v2/sandboxes"
    rows = []  # (name, command)
    for in_flight, requests in ((1, 8000), (64, 40000), (1000, 40000)):
        for client in ("curl", "sandkey", "observed", "decoded"):
            rows.append((f"{client} x{in_flight}", [arguments.bench, client, str(in_flight), str(requests), listing]))
    for in_flight, requests in ((1, 5000), (64, 20000)):
        for client in ("curl", "sandkey"):
            rows.append((f"{client} tls+h2 x{in_flight}",
                         [arguments.bench, client, str(in_flight), str(requests), tls + "/v2/sandboxes", ca]))
    if arguments.node:
        for sdk, path in (("e2b", "/v2/sandboxes"), ("daytona", "/api/sandbox/i1"), ("runloop", "/v1/devboxes/dbx_1")):
            for in_flight, requests in ((1, 1500), (64, 3000)):
                # The same call by us, with its answer read.
                rows.append((f"sandkey {sdk} x{in_flight}",
                             [arguments.bench, "decoded", str(in_flight), str(requests * 4), plain + path]))
                rows.append((f"node {sdk} x{in_flight}",
                             ["node", str(HERE / "node_sdk.cjs"), sdk, str(in_flight), str(requests), plain]))
    figures = collections.defaultdict(list)
    noisy = 0
    try:
        for _ in range(arguments.rounds):
            for name, command in list(rows):
                if not wait_for_quiet(arguments.patience):
                    noisy += 1
                extra = {}
                if name.startswith("node"):
                    extra["env"] = {**os.environ, "NODE_PATH": str(pathlib.Path(arguments.node) / "node_modules")}
                figure = run(command, **extra)
                if figure is None:
                    rows = [row for row in rows if row[0] != name]  # once is enough
                else:
                    figures[name].append(figure)
        processes = [("curl", ["curl", "-fsS", "-H", f"X-API-Key: {KEY}", listing])]
        environment = dict(os.environ)
        if arguments.node:
            environment["NODE_PATH"] = str(pathlib.Path(arguments.node) / "node_modules")
            processes.append(("node e2b", ["node", str(HERE / "node_sdk.cjs"), "e2b", "1", "0", plain]))
        for entry in arguments.process:
            name, _, command = entry.partition("=")
            processes.append((name, shlex.split(command.replace("{url}", plain).replace("{key}", KEY))))
        whole = whole_processes(processes, arguments.rounds, environment)
        idle = run([arguments.bench, "idle", "1", "200", listing])
        idle_tls = run([arguments.bench, "idle", "1", "100", tls + "/v2/sandboxes", ca])
    finally:
        nginx.stop()
        shutil.rmtree(folder)

    def median(name, key):
        return statistics.median(f[key] for f in figures[name])

    def ratio(name, base):
        if name not in figures or base not in figures:
            return f"{'':>10}"
        pairs = zip(figures[name], figures[base])
        return f"{statistics.median(one['cpu_us'] / other['cpu_us'] for one, other in pairs):10.2f}"

    def spread(name, key):
        values = [f[key] for f in figures[name]]
        return f"{min(values):.1f}-{max(values):.1f}"

    print(f"reply {len(E2B_LIST)} bytes; {arguments.rounds} rounds; {noisy} of {sum(map(len, figures.values()))} "
          "measurements on a machine that was not quiet")
    print(f"{'':24} {'req/s':>8} {'CPU us':>8} {'(spread)':>15} {'p50 us':>8} {'p99 us':>8} {'x libcurl':>10} {'x sandkey':>10}")
    for name, _ in rows:
        if name not in figures:
            continue
        how = name.split(" ", 1)[1]
        ratios = f" {ratio(name, f'curl {how}')} {ratio(name, f'sandkey {how}')}"
        print(f"{name:24} {median(name, 'per_second'):8.0f} {median(name, 'cpu_us'):8.2f} {spread(name, 'cpu_us'):>15} "
              f"{median(name, 'p50_us'):8.0f} {median(name, 'p99_us'):8.0f}{ratios}")
    for what, figure in (("idle client", idle), ("idle client, TLS", idle_tls)):
        if figure:
            print(f"{what}: {figure['kilobytes_each']:.1f} KB each, with its kept connection")
    for name, (wall, cpu) in whole.items():
        base_wall, base_cpu = whole.get("curl", (wall, cpu))
        print(f"whole process {name:16} {wall:7.1f} ms wall-clock ({wall / base_wall:.2f} x curl), "
              f"{cpu:7.1f} ms CPU ({cpu / base_cpu:.2f} x curl)")
    if arguments.results:
        pathlib.Path(arguments.results).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
