"""A vendor's SDK for Python, as its users call it: sdk.py PROVIDER OPERATION TIMES, all and the output as of provider_bench; with
0 TIMES once and nothing else, for timing the whole process."""

import json
import os
import re
import statistics
import sys
import time

wall = []
cpu = 0.0


class E2b:
    def __init__(self):
        from e2b import Sandbox
        self.sandbox = Sandbox

    def create(self):
        sandbox = self.sandbox.create("sandkey")
        sandbox.commands.run("true")
        return sandbox

    def end(self, sandbox):
        sandbox.kill()

    def list(self):
        return self.sandbox.list().next_items()


class Daytona:
    def __init__(self):
        import daytona
        self.parameters = daytona.CreateSandboxFromSnapshotParams(snapshot="sandkey")
        self.client = daytona.Daytona()

    def create(self):
        sandbox = self.client.create(self.parameters)
        sandbox.process.exec("true")
        return sandbox

    def end(self, sandbox):
        sandbox.delete()

    def list(self):
        return list(self.client.list())


class Runloop:
    def __init__(self):
        import runloop_api_client
        self.devboxes = runloop_api_client.Runloop().devboxes

    def create(self):
        devbox = self.devboxes.create_and_await_running(blueprint_name="sandkey")
        self.devboxes.execute_sync(devbox.id, command="true")
        return devbox

    def end(self, devbox):
        self.devboxes.shutdown(devbox.id)

    def list(self):
        return self.devboxes.list(status="running", limit=100).devboxes


class Modal:
    def __init__(self):
        import modal
        self.sandbox = modal.Sandbox
        self.app = modal.App.lookup("sandkey", create_if_missing=True)
        self.image = modal.Image.from_registry("sandkey")

    def create(self):
        sandbox = self.sandbox.create("sleep", "3600", app=self.app, image=self.image)
        sandbox.exec("true").wait()
        return sandbox

    def end(self, sandbox):
        sandbox.terminate()

    def list(self):
        return list(self.sandbox.list(app_id=self.app.app_id))


def timed(work):
    global cpu
    used, began = time.process_time(), time.monotonic()
    result = work()
    wall.append((time.monotonic() - began) * 1000)
    cpu += (time.process_time() - used) * 1000
    return result


def main():
    global cpu
    cloud, times = {"e2b": E2b, "daytona": Daytona, "runloop": Runloop, "modal": Modal}[sys.argv[1]](), int(sys.argv[3])

    def create():
        cloud.end(timed(cloud.create))

    def list_():
        if not timed(cloud.list):
            raise RuntimeError("the list is empty")

    once = {"create": create, "list": list_}[sys.argv[2]]
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
