# Modal's newest Python SDK drives the emulator, which starts this with its variables; with sandboxes of the kind that
# MODAL_SANDBOX_V2 says.
import asyncio
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from pathlib import Path

import modal
from google.protobuf.empty_pb2 import Empty
from grpclib.client import Channel
from modal.client import Client
from modal.exception import (AlreadyExistsError, AuthError, ConflictError, InvalidError, NotFoundError, PermissionDeniedError,
                             ResourceExhaustedError, SandboxFilesystemDirectoryNotEmptyError, SandboxFilesystemIsADirectoryError,
                             SandboxFilesystemNotADirectoryError, SandboxFilesystemNotFoundError,
                             SandboxFilesystemPathAlreadyExistsError, SandboxFilesystemPermissionError, SandboxTerminatedError,
                             SandboxTimeoutError, UnimplementedError)
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientStub

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
from kit import Emulated, admin, alive, check, finish, same, thrown, until  # noqa: E402

warnings.simplefilter("ignore")
emulated = Emulated("modal")
accounts, fault = emulated.accounts, emulated.fault
V2 = os.environ["MODAL_SANDBOX_V2"] == "1"
APP = "judged-python"


def of(route):
    return f"ModalClient/{route}{'V2' if V2 else ''}"


def account(name):
    return Client.from_credentials(*accounts[name].split(":"))


def lookup(client=None, create=True, name=APP, **more):
    return modal.App.lookup(name, create_if_missing=create, client=client, **more)


app = lookup()


def image():
    """One of its own for each: it belongs to the client that asked for it first."""
    return modal.Image.from_registry("alpine:3.20")


def create(*command, **more):
    return modal.Sandbox.create(*command, **{"app": app, "image": image(), "timeout": 120, **more})


def ids(client=None, **query):
    return [each.object_id for each in modal.Sandbox.list(client=client, **query)]


class sandbox:
    """One for a case, ended with it."""

    def __init__(self, *command, **more):
        self.made = create(*command, **more)

    def __enter__(self):
        return self.made

    def __exit__(self, *_):
        self.made.terminate()


def entries(route, since=0):
    return [each for each in admin("GET", f"journal?provider=modal&since={since}")["entries"] if each["route"] == route]


def last_number():
    found = admin("GET", "journal?provider=modal")["entries"]
    return found[-1]["number"] if found else 0


def settings(**changed):
    admin("POST", "settings?provider=modal", changed)


# ---- Accounts


@check("accounts: tokens that are refused")
def _():
    for name, message in (("malformed", "malformed"), ("swapped", "malformed"), ("unknown", "validation failed"),
                          ("revoked", "validation failed"), ("wrong_secret", "validation failed")):
        thrown(AuthError, lambda: lookup(account(name)), message)
        thrown(AuthError, lambda: account(name).hello(), message)
    id, _ = accounts["valid"].split(":")
    thrown(AuthError, lambda: lookup(Client.from_credentials(id, accounts["second"].split(":")[1])))


@check("accounts: a working one says hello, and whose it is")
def _():
    client = account("valid")
    client.hello()
    same(lookup(client).app_id, app.app_id)


@check("accounts: too old a client, one that only looks, over its quota")
def _():
    thrown(ConflictError, lambda: lookup(account("old_client")), "Old client")
    looker = account("restricted")
    same(ids(looker), [])
    thrown(PermissionDeniedError, lambda: lookup(looker))
    poor = account("over_quota")
    thrown(ResourceExhaustedError, lambda: create(app=lookup(poor), client=poor))


@check("accounts: one that is throttled waits as long as it is told")
def _():
    hasty = account("rate_limited")
    since, start = last_number(), time.monotonic()
    made = create(app=lookup(hasty), client=hasty)
    assert time.monotonic() - start >= 0.2
    first, second = entries(of("SandboxCreate"), since)
    same((first["grpc_status"], second["grpc_status"]), ("8", "0"))
    same(first["headers"]["x-idempotency-key"], second["headers"]["x-idempotency-key"])
    made.terminate()


@check("accounts: nobody sees what is another's")
def _():
    second = account("second")
    with sandbox() as made:
        same(ids(second), [])
        thrown(NotFoundError, lambda: modal.Sandbox.from_id(made.object_id, client=second))
        thrown(NotFoundError, lambda: lookup(second, create=False))


# ---- Apps, images, secrets


@check("apps: the same by name, and none that is not there")
def _():
    same(lookup(create=False).app_id, app.app_id)
    thrown(NotFoundError, lambda: lookup(create=False, name="no-such-app"))
    thrown(NotFoundError, lambda: lookup(environment_name="no-such-environment"))


@check("apps: one that lives as long as its program")
def _():
    passing = modal.App("passing")
    with passing.run():
        made = create(app=passing)
        same(ids(app_id=passing.app_id), [made.object_id])
    until("its end", lambda: made.object_id not in alive())


@check("images: of several layers, by their ids, failing")
def _():
    made = modal.Image.from_registry("debian:12").env({"COLOUR": "blue"}).workdir("/work").run_commands("true")
    with sandbox(image=made) as box:
        same(box.exec("sh", "-c", "echo $COLOUR; pwd").stdout.read(), "blue\n/work\n")
        found = modal.Image.from_id(made.object_id)
    with sandbox(image=found) as box:
        same(box.exec("pwd").stdout.read(), "/work\n")
    with sandbox(image=modal.Image.debian_slim()) as box:
        same(box.poll(), None)
    thrown(modal.exception.RemoteError, lambda: create(image=modal.Image.from_registry("registry.invalid/none")), "manifest unknown")


@check("secrets: by name, listed, deleted; of a dictionary")
def _():
    modal.Secret.objects.create("judged", {"NAMED": "n"})
    thrown(AlreadyExistsError, lambda: modal.Secret.objects.create("judged", {"NAMED": "n"}))
    same([each.name for each in modal.Secret.objects.list()], ["judged"])
    named = modal.Secret.from_name("judged")
    with sandbox(secrets=[named, modal.Secret.from_dict({"FROM": "dictionary"})], env={"OWN": "env"}) as made:
        same(made.exec("sh", "-c", "echo $NAMED $FROM $OWN").stdout.read(), "n dictionary env\n")
        extra = modal.Secret.from_dict({"EXTRA": "more"})
        same(made.exec("sh", "-c", "echo $EXTRA $NOW", secrets=[extra], env={"NOW": "x"}).stdout.read(), "more x\n")
    modal.Secret.objects.delete("judged")
    thrown(NotFoundError, lambda: create(secrets=[modal.Secret.from_name("judged")]))
    thrown(NotFoundError, lambda: create(secrets=[modal.Secret.from_name("no-such-secret")]))


# ---- Create, list, names, tags


@check("create: found again by id, by name, by tags")
def _():
    with sandbox(name="named", tags={"group": "a", "n": "1"}) as made:
        same(modal.Sandbox.from_id(made.object_id).poll(), None)
        same(modal.Sandbox.from_name(APP, "named").object_id, made.object_id)
        thrown(AlreadyExistsError, lambda: create(name="named"))
        same(ids(app_id=app.app_id, tags={"group": "a"}), [made.object_id])
        same(ids(app_id=app.app_id, tags={"group": "b"}), [])
        made.set_tags({"group": "b"})
        same(made.get_tags(), {"group": "b"})
    thrown(NotFoundError, lambda: modal.Sandbox.from_name(APP, "named"))
    same(ids(app_id=app.app_id), [])


@check("create: refused for what cannot be")
def _():
    for more in ({"workdir": "relative"}, {"name": "no good"}, {"timeout": 100000}):
        thrown(InvalidError, lambda: create(**more))


@check("create: a call whose answer is lost makes one")
def _():
    fault(of("SandboxCreate"), {"kind": "drop_after"})
    with sandbox() as made:
        same(ids(app_id=app.app_id), [made.object_id])


# ---- Commands


@check("exec: input, both outputs, folder, status")
def _():
    with sandbox() as made:
        process = made.exec("sh", "-c", "cat; pwd; echo err >&2; exit 7", workdir="/tmp")
        process.stdin.write("one\n")
        process.stdin.write("two\n")
        process.stdin.write_eof()
        process.stdin.drain()
        same((process.stdout.read(), process.stderr.read(), process.wait()), ("one\ntwo\n/tmp\n", "err\n", 7))
        same(process.poll(), 7)


@check("exec: output comes while it runs, and is kept after its end")
def _():
    with sandbox() as made:
        process = made.exec("sh", "-c", "echo first; read line; echo $line", bufsize=1)
        lines = iter(process.stdout)
        same(next(lines), "first\n")
        process.stdin.write("second\n")
        process.stdin.drain()
        same(next(lines), "second\n")
        same(process.wait(), 0)
        quick = made.exec("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x")
        quick.wait()
        same(len(quick.stdout.read()), 300000)


@check("exec: bytes, large input, signals, time limits")
def _():
    with sandbox() as made:
        data = bytes(range(256)) * 20000
        process = made.exec("cat", text=False)
        process.stdin.write(data)
        process.stdin.write_eof()
        process.stdin.drain()
        same(process.stdout.read(), data)
        same(made.exec("sh", "-c", "kill -9 $$").wait(), 137)
        same(made.exec("no-such-program").wait(), 127)
        assert made.exec("sleep", "60", timeout=1).wait() in (-1, 137)
        same(made.exec("sh", "-c", "stty size", pty=True).wait(), 0)


@check("exec: asynchronously, many at once")
async def _():
    made = await modal.Sandbox.create.aio(app=app, image=image(), timeout=120)

    async def said(n):
        process = await made.exec.aio("sh", "-c", f"echo {n}")
        return await process.stdout.read.aio()
    same(await asyncio.gather(*(said(n) for n in range(20))), [f"{n}\n" for n in range(20)])
    await made.terminate.aio()


# ---- The main process


@check("main: its input and output, and its end is the sandbox's")
def _():
    made = create("sh", "-c", "echo begun; cat; echo err >&2; exit 4")
    made.stdin.write(b"given\n")
    made.stdin.write_eof()
    made.stdin.drain()
    made.wait()
    same((made.returncode, made.poll()), (4, 4))
    same((made.stdout.read(), made.stderr.read()), ("begun\ngiven\n", "err\n"))
    thrown((ConflictError, NotFoundError), lambda: made.exec("true"))


@check("life: terminated, timed out, idle")
def _():
    made = create()
    made.terminate()
    thrown(SandboxTerminatedError, made.wait)
    same(made.returncode, 137)
    short = create(timeout=1)
    thrown(SandboxTimeoutError, short.wait)
    same(short.returncode, 124)
    idle = create(idle_timeout=1)
    idle.wait(raise_on_termination=False)
    same(idle.returncode, 0)


@check("life: ready when its probe says so")
def _():
    with sandbox("sh", "-c", "sleep 0.2; touch /tmp/ready; sleep 60",
                 readiness_probe=modal.Probe.with_exec("test", "-e", "/tmp/ready")) as made:
        made.wait_until_ready(timeout=10)
    with sandbox(readiness_probe=modal.Probe.with_tcp(8000)) as made:
        thrown(modal.exception.Error, lambda: made.wait_until_ready(timeout=1))
    with sandbox() as made:
        thrown(InvalidError, lambda: made.wait_until_ready(timeout=1))


# ---- Files


@check("files: written, read, listed, removed")
def _():
    with sandbox() as made:
        files = made.filesystem
        data = bytes(range(256)) * 12000
        files.write_bytes(data, "/tmp/a/b/data")
        same(files.read_bytes("/tmp/a/b/data"), data)
        files.write_text("text ü", "/tmp/a/text")
        same(files.read_text("/tmp/a/text"), "text ü")
        about = files.stat("/tmp/a/text")
        same((about.name, about.path, about.size, about.permissions), ("text", "/tmp/a/text", 7, "-rw-r--r--"))
        made.exec("ln", "-s", "text", "/tmp/a/link").wait()
        assert files.stat("/tmp/a/link").symlink_target.endswith("text")
        same(sorted(each.name for each in files.list_files("/tmp/a")), ["b", "link", "text"])
        files.make_directory("/tmp/a/c/d")
        files.remove("/tmp/a", recursive=True)
        thrown(SandboxFilesystemNotFoundError, lambda: files.stat("/tmp/a"))


@check("files: refusals by their kind")
def _():
    with sandbox() as made:
        files = made.filesystem
        files.write_text("x", "/tmp/a/file")
        for kind, work in ((SandboxFilesystemNotFoundError, lambda: files.read_text("/tmp/none")),
                           (SandboxFilesystemIsADirectoryError, lambda: files.read_text("/tmp/a")),
                           (SandboxFilesystemIsADirectoryError, lambda: files.write_text("x", "/tmp/a")),
                           (SandboxFilesystemNotADirectoryError, lambda: files.write_text("x", "/tmp/a/file/below")),
                           (SandboxFilesystemNotADirectoryError, lambda: files.list_files("/tmp/a/file")),
                           (SandboxFilesystemPathAlreadyExistsError,
                            lambda: files.make_directory("/tmp/a", create_parents=False)),
                           (SandboxFilesystemDirectoryNotEmptyError, lambda: files.remove("/tmp/a")),
                           (SandboxFilesystemPermissionError, lambda: files.write_text("x", "/usr/x"))):
            thrown(kind, work)


# ---- Ports

SERVER = ("python3", "-c", """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (self.path + " " + self.headers.get("X-Verified-User-Data", "nobody")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("", 8080), Handler).serve_forever()""")


def get(url, headers={}):
    context = ssl.create_default_context(cafile=os.environ["SANDKEY_EMULATOR_CA"])
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "sandkey-judge", **headers})
        with urllib.request.urlopen(request, timeout=30, context=context) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@check("tunnels: by https, plain ones, connect tokens")
def _():
    with sandbox(*SERVER, encrypted_ports=[8080], unencrypted_ports=[8081], h2_ports=[8082],
                 readiness_probe=modal.Probe.with_tcp(8080)) as made:
        made.wait_until_ready(timeout=20)
        tunnels = made.tunnels()
        same(sorted(tunnels), [8080, 8081, 8082])
        assert tunnels[8080].url.startswith("https://") and ".modal.localhost:" in tunnels[8080].url
        same(get(tunnels[8080].url + "/p?q=1"), (200, "/p?q=1 nobody"))
        same(get(tunnels[8082].url)[0], 502)
        same(tunnels[8081].tcp_socket[0], "127.0.0.1")
        granted = made.create_connect_token(user_metadata="somebody")
        same(get(granted.url)[0], 401)
        same(get(granted.url, {"Authorization": "Bearer " + granted.token}), (200, "/ somebody"))


# ---- Tokens and faults


@check("router: a token that ends is got anew")
def _():
    settings(router_token_seconds=1)
    with sandbox() as made:
        since = last_number()

        def refused():
            same(made.exec("true").wait(), 0)
            return any(each["grpc_status"] == "16" for each in entries("TaskCommandRouter/TaskExecStart", since))
        until("its end", refused)
    settings(router_token_seconds=3600)


@check("faults: a stream that is cut goes on where it was")
def _():
    with sandbox() as made:
        process = made.exec("seq", "1", "50000")
        fault("TaskCommandRouter/TaskExecStdioRead", {"kind": "cut", "bytes": 50000}, 2)
        lines = process.stdout.read().split()
        same((len(lines), lines[0], lines[-1]), (50000, "1", "50000"))


@check("faults: input that breaks off goes on where it was, and is not written twice")
def _():
    data = bytes(range(256)) * 8000
    with sandbox() as made:
        for n, broken in enumerate(({"kind": "grpc_status", "grpc_status": 14, "message": "soon"}, {"kind": "drop_after"})):
            since = last_number()
            fault("TaskCommandRouter/TaskExecStdinWriteStream", broken)
            made.filesystem.write_bytes(data, f"/tmp/{n}")
            same(made.filesystem.read_bytes(f"/tmp/{n}"), data)
            same(len(entries("TaskCommandRouter/TaskExecStdinStatus", since)), 1)
        fault("TaskCommandRouter/TaskExecStdinWrite", {"kind": "drop_after"}, 2)
        process = made.exec("cat")
        for line in ("one\n", "two\n"):
            process.stdin.write(line)
            process.stdin.drain()
        process.stdin.write_eof()
        process.stdin.drain()
        same(process.stdout.read(), "one\ntwo\n")


@check("faults: unavailable, throttled, broken off")
def _():
    fault(of("SandboxCreate"), {"kind": "grpc_status", "grpc_status": 14, "message": "soon"}, 2)
    fault(of("SandboxCreate"), {"kind": "grpc_status", "grpc_status": 8, "message": "slowly", "retry_after_milliseconds": 300})
    start = time.monotonic()
    with sandbox() as made:
        assert time.monotonic() - start >= 0.5
        for kind in ("half", "drop_before", "drop_after"):
            fault(of("SandboxTagsGet"), {"kind": kind})
            same(made.get_tags(), {})
        fault(of("SandboxTagsGet"), {"kind": "echo"})
        thrown(InvalidError, made.get_tags, "ak-")
    thrown(ResourceExhaustedError, lambda: (fault(of("SandboxCreate"), {"kind": "grpc_status", "grpc_status": 8, "message": "no"}),
                                            create()), "no")


@check("what is not served is refused as such")
def _():
    with sandbox() as made:
        thrown(UnimplementedError, lambda: made.snapshot_filesystem())
        thrown(UnimplementedError, lambda: modal.Volume.from_name("judged", create_if_missing=True).hydrate())


# ---- What the SDK has calls for and no surface


@check("calls of the generated client")
async def _():
    url = urllib.parse.urlsplit(os.environ["MODAL_SERVER_URL"])
    id, secret = accounts["valid"].split(":")
    told = {"x-modal-client-type": "1", "x-modal-client-version": "1.6.4", "x-modal-token-id": id, "x-modal-token-secret": secret}
    async with Channel(url.hostname, url.port) as channel:
        stub = ModalClientStub(channel)
        info = await stub.TokenInfoGet(api_pb2.TokenInfoGetRequest(), metadata=told)
        same((info.token_id, info.workspace_name), (id, "emulated-valid"))
        same((await stub.WorkspaceNameLookup(Empty(), metadata=told)).username, "emulated-valid")
        same([each.name for each in (await stub.EnvironmentList(Empty(), metadata=told)).items], ["main", "dev"])
        listed = await stub.AppList(api_pb2.AppListRequest(environment_name="main"), metadata=told)
        assert any(each.name == APP for each in listed.apps)
        passing = await stub.AppGetOrCreate(api_pb2.AppGetOrCreateRequest(
            app_name="stopped", object_creation_type=api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING), metadata=told)
        await stub.AppHeartbeat(api_pb2.AppHeartbeatRequest(app_id=passing.app_id), metadata=told)
        await stub.AppStop(api_pb2.AppStopRequest(app_id=passing.app_id), metadata=told)
        if not V2:
            made = await modal.Sandbox.create.aio(app=app, image=image(), timeout=120,
                                                  readiness_probe=modal.Probe.with_exec("true"))
            request = api_pb2.SandboxWaitUntilReadyRequest(sandbox_id=made.object_id, timeout=10)
            assert (await stub.SandboxWaitUntilReady(request, metadata=told)).ready_at > 0
            await made.terminate.aio()


@check("nothing is left behind")
def _():
    same(alive(), [])


finish()
