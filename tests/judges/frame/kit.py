"""What the Python judges share: cases, the emulator's other side, and requests that are no SDK's."""
import asyncio
import json
import os
import re
import socket
import sys
import time
import traceback
import urllib.error
import urllib.request

resolve = socket.getaddrinfo
# Names below .localhost are this machine: not every system's resolver knows that.
socket.getaddrinfo = lambda host, *rest, **more: resolve(
    "127.0.0.1" if isinstance(host, str) and host.endswith(".localhost") else host, *rest, **more)

counts = {"passed": 0, "failed": 0}


def check(name):
    """One case: runs at once, and says whether it passed."""
    def run(work):
        start = time.monotonic()
        try:
            asyncio.run(work()) if asyncio.iscoroutinefunction(work) else work()
            counts["passed"] += 1
            print(f"ok      {name} ({1000 * (time.monotonic() - start):.0f} ms)", flush=True)
        except Exception:
            counts["failed"] += 1
            print(f"FAILED  {name}: {traceback.format_exc()}", flush=True)
    return run


def same(got, wanted):
    assert got == wanted, f"{got!r} instead of {wanted!r}"


def finish():
    print("%(passed)d passed, %(failed)d failed" % counts)
    sys.exit(0 if counts["failed"] == 0 else 1)


def thrown(kind, work, message=""):
    try:
        work()
    except kind as error:
        assert re.search(message, str(error)), f"{error!r} says nothing of {message!r}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def until(what, holds):
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError(f"it never came true: {what}")


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


opener = urllib.request.build_opener(Stay)


def raw(url, method="GET", body=None, headers={}):
    """A request of the judge's own, which counts for no SDK: status and body. A redirection is an answer."""
    request = urllib.request.Request(url, body, {"User-Agent": "sandkey-judge", **headers}, method=method)
    try:
        with opener.open(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def admin(method, path, body=None):
    status, answer = raw(f"{os.environ['SANDKEY_EMULATOR_URL']}/_emulator/{path}", method,
                         None if body is None else json.dumps(body).encode(),
                         {"X-Emulator-Key": os.environ["SANDKEY_EMULATOR_KEY"]})
    assert status < 300, answer
    return json.loads(answer) if answer else None


def alive():
    return [each["id"] for each in admin("GET", "sandboxes")["sandboxes"]]


class Emulated:
    """One cloud of the emulator: its accounts, and faults on its routes."""

    def __init__(self, provider):
        self.provider = provider
        self.accounts = admin("GET", "accounts")[provider]

    def fault(self, route, made, times=1):
        admin("POST", "faults", {"provider": self.provider, "route": route, "times": times, "fault": made})
