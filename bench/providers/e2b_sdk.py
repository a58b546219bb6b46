"""E2B's SDK for Python, as its users call it: e2b_sdk.py OPERATION TIMES, both and the output as of e2b_bench; with 0 TIMES
once and nothing else, for timing the whole process."""

import json
import os
import re
import statistics
import sys
import time

from e2b import Sandbox

wall = []
cpu = 0.0


def timed(work):
    global cpu
    used, began = time.process_time(), time.monotonic()
    result = work()
    wall.append((time.monotonic() - began) * 1000)
    cpu += (time.process_time() - used) * 1000
    return result


def create():
    def work():
        sandbox = Sandbox.create("sandkey")
        sandbox.commands.run("true")
        return sandbox
    timed(work).kill()


def list_():
    if not timed(lambda: Sandbox.list().next_items()):
        raise RuntimeError("the list is empty")


def main():
    global cpu
    once, times = {"create": create, "list": list_}[sys.argv[1]], int(sys.argv[2])
    once()
    if times == 0:
        return
    wall.clear()
    cpu = 0.0
    for _ in range(times):
        once()
    with open("/proc/self/status") as status:
        memory = int(re.search(r"VmHWM:\s*(\d+)", status.read()).group(1)) / 1024
    print(json.dumps({"wall_ms": statistics.median(wall), "cpu_ms": cpu / times, "memory_mb": memory}))


main()
sys.stdout.flush()
os._exit(0)  # as the other one
