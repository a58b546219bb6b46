# E2B's newest Python SDK, in both of its forms, drives the emulator, which starts this with its variables.
import asyncio
import json
import os
import re
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from e2b import (AsyncSandbox, AuthenticationException, CommandExitException, FileNotFoundException,
                 InvalidArgumentException, PtySize, RateLimitException, Sandbox, SandboxException,
                 SandboxNotFoundException, SandboxQuery, SandboxState, Template, TimeoutException)
from e2b.api.client.api.sandboxes import (get_sandboxes, get_sandboxes_metrics, get_sandboxes_sandbox_id_logs,
                                          get_v_2_sandboxes_sandbox_id_logs, post_sandboxes,
                                          post_sandboxes_sandbox_id_connect, post_sandboxes_sandbox_id_refreshes,
                                          post_sandboxes_sandbox_id_resume)
from e2b.api.client.api.tags import (get_templates_template_id_tags_count, get_templates_template_id_tags_exists,
                                     get_templates_template_id_tags_groups,
                                     get_templates_template_id_tags_tag_assignments)
from e2b.api.client.api.templates import (get_default_templates, get_templates, get_templates_template_id,
                                          get_templates_template_id_builds_build_id_logs,
                                          get_templates_template_id_builds_build_id_status,
                                          get_templates_template_id_files_hash, get_v2_templates,
                                          patch_templates_template_id, patch_v_2_templates_template_id,
                                          post_v_2_templates_template_id_builds_build_id)
from e2b.api.client.models import (ConnectSandbox, NewSandbox, ResumedSandbox, SandboxRefreshRequest, TemplateBuildStartV2,
                                   TemplateUpdateRequest)
from e2b.api.client_sync import get_api_client
from e2b.connection_config import ConnectionConfig
from e2b_code_interpreter import Sandbox as Interpreter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
from kit import Emulated, admin, alive, check, finish, raw, same, thrown, until  # noqa: E402

emulated = Emulated("e2b")
accounts, fault = emulated.accounts, emulated.fault
NOBODY = "i00000000000000000000"


def every(paginator):
    found = []
    while paginator.has_next:
        found += paginator.next_items()
    return found


# ---- Accounts


@check("accounts: keys that are refused")
def _():
    for account, message in (("malformed", "malformed"), ("not_hex", "Invalid API key format"), ("unknown", "Cannot get the team"),
                             ("revoked", "Cannot get the team")):
        key = accounts[account]
        thrown(AuthenticationException, lambda: Sandbox.create(api_key=key), message)
        thrown(AuthenticationException, lambda: Sandbox.list(api_key=key).next_items(), message)
        thrown(AuthenticationException, lambda: Sandbox.kill(NOBODY, api_key=key), message)
    thrown(SandboxException, lambda: Sandbox.list(api_key=accounts["banned"]).next_items(), "^403: team is banned")


@check("accounts: blocked, over its quota, and another's")
def _():
    same(Sandbox.list(api_key=accounts["blocked"]).next_items(), [])
    thrown(SandboxException, lambda: Sandbox.create(api_key=accounts["blocked"]), "^403: team is blocked")
    thrown(RateLimitException, lambda: Sandbox.create(api_key=accounts["over_quota"]), "maximum number of concurrent")
    mine = Sandbox.create()
    same(Sandbox.list(api_key=accounts["second"]).next_items(), [])
    same(Sandbox.kill(mine.sandbox_id, api_key=accounts["second"]), False)
    thrown(SandboxNotFoundException, lambda: Sandbox.connect(mine.sandbox_id, api_key=accounts["second"]))
    same(mine.kill(), True)


# ---- Create, list

sandbox = Sandbox.create(metadata={"k 1": "v&=ü", "n": "0"}, envs={"FOO": "bar"}, timeout=600, allow_internet_access=False)


@check("create: what is asked for is what it is")
def _():
    info = sandbox.get_info()
    same((info.end_at - info.started_at).total_seconds(), 600)
    same(info.metadata, {"k 1": "v&=ü", "n": "0"})
    same((info.state, info.name, info.allow_internet_access), (SandboxState.RUNNING, "base", False))
    assert info.cpu_count > 0 and info.memory_mb > 0
    thrown(SandboxException, lambda: Sandbox.create("no-such-template"), "^404")


@check("create: its network, shown and changed")
def _():
    made = Sandbox.create(network={"allow_out": ["1.1.1.1"], "deny_out": ["0.0.0.0/0"], "allow_public_traffic": False})
    assert re.fullmatch("[0-9a-f]{64}", made.traffic_access_token)
    shown = made.get_info().network
    same((shown["allow_out"], shown["deny_out"], shown["allow_public_traffic"]), (["1.1.1.1"], ["0.0.0.0/0"], False))
    made.update_network({"deny_out": ["8.8.8.8"]})
    same(made.get_info().network["deny_out"], ["8.8.8.8"])
    made.kill()


@check("list: metadata, states, template, time, order, pages")
def _():
    group = {"group": "a b&c=d%/+"}
    made = [Sandbox.create(metadata={**group, "n": str(n)}) for n in range(3)]
    wanted = [each.sandbox_id for each in made]

    def find(order="asc", limit=None, **query):
        return [each.sandbox_id for each in every(Sandbox.list(SandboxQuery(**query), order=order, limit=limit))]

    same(find(metadata=group), wanted)
    same(find(metadata=group, limit=1), wanted)
    same(find(metadata=group, limit=2, order="desc"), wanted[::-1])
    same(find(metadata={**group, "n": "1"}), wanted[1:2])
    made[1].pause()
    same(find(metadata=group, state=[SandboxState.PAUSED]), wanted[1:2])
    same(find(metadata=group, state=[SandboxState.RUNNING]), [wanted[0], wanted[2]])
    same(find(metadata=group, template="small"), [])
    same(find(metadata=group, started_after=made[1].get_info().started_at + timedelta(milliseconds=1)), wanted[2:])
    same([each.kill() for each in made], [True] * 3)
    same(find(metadata=group), [])


# ---- Commands


@check("commands: output, environment, failure")
def _():
    result = sandbox.commands.run("echo hi $FOO $A; whoami; pwd; echo no >&2", envs={"A": "1"})
    same((result.stdout, result.stderr, result.exit_code), ("hi bar 1\nuser\n/home/user\n", "no\n", 0))
    same(sandbox.commands.run("pwd", cwd="/tmp").stdout, "/tmp\n")
    error = thrown(CommandExitException, lambda: sandbox.commands.run("echo out; exit 3"))
    same((error.exit_code, error.stdout), (3, "out\n"))
    thrown(InvalidArgumentException, lambda: sandbox.commands.run("pwd", cwd="/nowhere"), "does not exist")
    thrown(AuthenticationException, lambda: sandbox.commands.run("pwd", user="mallory"))


@check("commands: output as it comes")
def _():
    pieces = []
    sandbox.commands.run("for i in 1 2 3; do echo $i; sleep 0.05; done; echo e >&2", on_stdout=pieces.append,
                         on_stderr=lambda line: pieces.append("E" + line))
    same(pieces, ["1\n", "2\n", "3\n", "Ee\n"])
    same(len(sandbox.commands.run("head -c 2000000 /dev/zero | tr '\\0' x").stdout), 2_000_000)


@check("commands: time runs out")
def _():
    thrown(TimeoutException, lambda: sandbox.commands.run("sleep 60", timeout=0.4))
    until("its end", lambda: sandbox.commands.list() == [])


@check("commands: in the background, listed, killed")
def _():
    handle = sandbox.commands.run("sleep 60", background=True, cwd="/tmp")
    [listed] = sandbox.commands.list()
    same((listed.pid, listed.cmd, listed.args, listed.cwd), (handle.pid, "/bin/bash", ["-l", "-c", "sleep 60"], "/tmp"))
    same(handle.kill(), True)
    error = thrown(CommandExitException, handle.wait)
    same((error.exit_code, error.error), (-1, "signal: killed"))
    same(sandbox.commands.kill(handle.pid), False)


@check("commands: stdin, in pieces and as a stream")
def _():
    handle = sandbox.commands.run("cat; echo end", background=True, stdin=True)
    sandbox.commands.send_stdin(handle.pid, "one\n")
    sandbox.commands.stream_input(handle.pid, iter(["two\n", "three ü\n"]))
    sandbox.commands.close_stdin(handle.pid)
    same(handle.wait().stdout, "one\ntwo\nthree ü\nend\n")


@check("commands: left, and connected to by another")
def _():
    handle = sandbox.commands.run("read x; echo got $x", background=True, stdin=True)
    handle.disconnect()
    other = Sandbox.connect(sandbox.sandbox_id)
    second = other.commands.connect(handle.pid)
    other.commands.send_stdin(handle.pid, "it\n")
    same(second.wait().stdout, "got it\n")


@check("terminals: size, input, another size")
def _():
    said = bytearray()
    terminal = sandbox.pty.create(PtySize(rows=33, cols=91))
    sandbox.pty.resize(terminal.pid, PtySize(rows=40, cols=120))
    sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
    sandbox.pty.stream_input(terminal.pid, [b"exit", b" 3\n"])
    same(thrown(CommandExitException, lambda: terminal.wait(on_pty=said.extend)).exit_code, 3)
    assert b"40 120" in said, said
    again = sandbox.pty.create(PtySize(rows=24, cols=80))
    sandbox.pty.connect(again.pid).disconnect()
    same(sandbox.pty.kill(again.pid), True)
    same(sandbox.pty.kill(again.pid), False)


# ---- Files


@check("files: written and read in every form")
def _():
    same(sandbox.files.write("a/b ü.txt", "hello ü").path, "/home/user/a/b ü.txt")
    same(sandbox.files.read("a/b ü.txt"), "hello ü")
    same(bytes(sandbox.files.read("a/b ü.txt", format="bytes")), "hello ü".encode())
    same(b"".join(sandbox.files.read("a/b ü.txt", format="stream")), "hello ü".encode())
    large = bytes(range(256)) * 20_000
    sandbox.files.write("large", large)
    same(bytes(sandbox.files.read("large", format="bytes")), large)
    same(bytes(sandbox.files.read("large", format="bytes", gzip=True)), large)
    sandbox.files.write_files([{"path": "m/1", "data": "one"}, {"path": "/tmp/2", "data": b"two"}])
    same((sandbox.files.read("m/1"), sandbox.files.read("/tmp/2")), ("one", "two"))
    sandbox.files.write("g", "x" * 100_000, gzip=True)
    same(sandbox.files.read("g"), "x" * 100_000)
    sandbox.files.write("md", "x", metadata={"Author": "me"})
    same(sandbox.files.get_info("md").metadata, {"author": "me"})


@check("files: listed, looked at, moved, removed")
def _():
    sandbox.files.write("l/a/b", "22")
    same([(each.name, each.path) for each in sandbox.files.list("l")], [("a", "/home/user/l/a")])
    same(sorted(each.path for each in sandbox.files.list("l", depth=2)), ["/home/user/l/a", "/home/user/l/a/b"])
    info = sandbox.files.get_info("l/a/b")
    same((info.size, info.mode, info.permissions, info.owner), (2, 0o644, "-rw-r--r--", "user"))
    same(sandbox.files.rename("l/a/b", "/tmp/deep/c").path, "/tmp/deep/c")
    same((sandbox.files.exists("l/a/b"), sandbox.files.exists("/tmp/deep/c")), (False, True))
    same((sandbox.files.make_dir("d/e"), sandbox.files.make_dir("d/e")), (True, False))
    sandbox.files.remove("d")
    sandbox.files.remove("d")
    same(sandbox.files.exists("d"), False)
    thrown(FileNotFoundException, lambda: sandbox.files.read("none"))
    thrown(FileNotFoundException, lambda: sandbox.files.list("none"))
    thrown(InvalidArgumentException, lambda: sandbox.files.read("/tmp"))


@check("files: watched by asking")
def _():
    sandbox.files.make_dir("w")
    watch = sandbox.files.watch_dir("w", recursive=True)
    sandbox.files.write("w/new", "1")
    sandbox.files.remove("w/new")
    seen = []

    def complete():
        seen.extend(f"{event.type.value} {event.name}" for event in watch.get_new_events())
        return {"create new", "write new", "remove new"} <= set(seen)

    until("all events", complete)
    watch.stop()
    thrown(SandboxException, watch.get_new_events)
    thrown(FileNotFoundException, lambda: sandbox.files.watch_dir("none"))


@check("signed: down and up, forged, too late")
def _():
    sandbox.files.write("s ü+.txt", "signed")
    same(raw(sandbox.download_url("s ü+.txt")), (200, b"signed"))
    up = sandbox.upload_url("up.txt", use_signature_expiration=60)
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nsent\r\n--b--\r\n'
    same(raw(up, "POST", body, {"Content-Type": "multipart/form-data; boundary=b"})[0], 200)
    same(sandbox.files.read("up.txt"), "sent")
    inside = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
    late = sandbox.download_url("s ü+.txt", use_signature_expiration=1)
    same(raw(late.replace("v1_", "v1_x"), headers=inside)[0], 401)
    until("its end", lambda: raw(late, headers=inside)[0] == 401)


# ---- Life


@check("life: timeouts")
def _():
    one = Sandbox.create(timeout=100)
    left = lambda: (one.get_info().end_at - datetime.now(timezone.utc)).total_seconds()
    one.set_timeout(500)
    assert abs(left() - 500) < 3
    Sandbox.set_timeout(one.sandbox_id, 50)
    assert abs(left() - 50) < 3
    one.connect(timeout=10)
    assert abs(left() - 50) < 3
    one.set_timeout(1)
    until("its end", lambda: one.sandbox_id not in alive())
    same(one.is_running(), False)
    thrown(SandboxNotFoundException, one.get_info)
    thrown(SandboxNotFoundException, lambda: one.set_timeout(5))
    thrown(SandboxException, lambda: one.commands.run("echo"))
    same(one.kill(), False)


@check("life: paused and connected, with a process that lives on")
def _():
    sandbox.commands.run("sleep 1000", background=True, timeout=0).disconnect()
    same((sandbox.pause(), sandbox.is_running(), sandbox.pause()), (True, False, False))
    same(sandbox.get_info().state, SandboxState.PAUSED)
    thrown(TimeoutException, lambda: sandbox.files.read("md"))
    again = Sandbox.connect(sandbox.sandbox_id)
    [process] = [each for each in again.commands.list() if "sleep 1000" in each.args]
    same(again.commands.kill(process.pid), True)
    same(again.files.read("md"), "x")


@check("life: paused at its end, awake for a command")
def _():
    one = Sandbox.create(timeout=1, lifecycle={"on_timeout": "pause", "auto_resume": True})
    until("its pause", lambda: one.get_info().state == SandboxState.PAUSED)
    same(one.commands.run("echo woke").stdout, "woke\n")
    one.kill()


@check("life: a machine that fails")
def _():
    one = Sandbox.create()
    handle = one.commands.run("sleep 60", background=True)
    admin("POST", f"sandboxes/{one.sandbox_id}/kill")
    thrown(TimeoutException, handle.wait, "(?i)sandbox")
    same(one.is_running(), False)


@check("life: one that was never there")
def _():
    for work in (lambda: Sandbox.connect(NOBODY), lambda: Sandbox.get_info(NOBODY), lambda: Sandbox.set_timeout(NOBODY, 1),
                 lambda: Sandbox.pause(NOBODY), lambda: Sandbox.create_snapshot(NOBODY)):
        thrown(SandboxNotFoundException, work)
    same(Sandbox.kill(NOBODY), False)


@check("snapshots and forks")
def _():
    snapshot = sandbox.create_snapshot(name="judged-python")
    same([each.snapshot_id for each in every(sandbox.list_snapshots())], [snapshot.snapshot_id])
    copy = Sandbox.create(snapshot.snapshot_id)
    forks = copy.fork(count=2)
    for each in (copy, *forks):
        same(each.files.read("md"), "x")
        same(each.kill(), True)
    same((Sandbox.delete_snapshot(snapshot.snapshot_id), Sandbox.delete_snapshot(snapshot.snapshot_id)), (True, False))


@check("a rate limit is waited for; an answer is lost")
def _():
    fault("POST /v2/sandboxes", {"kind": "status", "status": 429, "headers": {"Retry-After": "1"},
                                 "body": {"code": 429, "message": "Rate limit exceeded"}})
    start = time.monotonic()
    one = Sandbox.create()
    assert time.monotonic() - start > 0.9
    one.kill()
    before = alive()
    fault("POST /v2/sandboxes", {"kind": "drop_after"})
    thrown(Exception, Sandbox.create)
    [left] = [each for each in alive() if each not in before]
    same(Sandbox.kill(left), True)


# ---- The asynchronous SDK


@check("async: many at once, from create to kill")
async def _():
    async def one(n):
        made = await AsyncSandbox.create(metadata={"n": str(n)})
        result = await made.commands.run("echo $E2B_SANDBOX_ID")
        same(result.stdout.strip(), made.sandbox_id)
        await made.files.write("f", str(n))
        same(await made.files.read("f"), str(n))
        same((await made.get_info()).metadata, {"n": str(n)})
        same(await made.kill(), True)

    await asyncio.gather(*(one(n) for n in range(8)))


@check("async: streams, stdin, watches, terminals")
async def _():
    made = await AsyncSandbox.create()
    handle = await made.commands.run("cat", background=True, stdin=True)
    async with asyncio.timeout(20):
        stream = made.commands.stream_input(handle.pid)
        for piece in ("one\n", "two\n"):
            await stream.send(piece)
            await asyncio.sleep(0.02)
        await stream.close()
        await made.commands.close_stdin(handle.pid)
        same((await handle.wait()).stdout, "one\ntwo\n")
        seen = asyncio.Event()
        await made.files.make_dir("w")
        watch = await made.files.watch_dir("w", on_event=lambda event: seen.set())
        await made.files.write("w/new", "1")
        await seen.wait()
        await watch.stop()
        said = bytearray()
        terminal = await made.pty.create(PtySize(rows=33, cols=91), on_data=said.extend)
        await made.pty.send_stdin(terminal.pid, b"stty size; exit\n")
        await terminal.wait()
        assert b"33 91" in said
        same(await made.pause(), True)
        again = await AsyncSandbox.connect(made.sandbox_id)
        same(await again.files.read("w/new"), "1")
        same(await again.kill(), True)


# ---- Code interpreter


@check("the code interpreter")
def _():
    made = Interpreter.create()
    lines = []
    execution = made.run_code('print("hi")\n6 * 7', on_stdout=lambda message: lines.append(message.line))
    same((execution.text, lines, execution.error), ("42", ["hi\n"], None))
    same(made.run_code("1/0").error.name, "ZeroDivisionError")
    context = made.create_code_context(cwd="/tmp")
    same(made.run_code("import os; os.getcwd()", context=context).text, "/tmp")
    assert context.id in [each.id for each in made.list_code_contexts()]
    made.restart_code_context(context)
    made.remove_code_context(context)
    thrown(TimeoutException, lambda: made.run_code("import time; time.sleep(30)", timeout=0.5))
    start = time.monotonic()
    same(made.run_code("40 + 2").text, "42")
    assert time.monotonic() - start < 4  # it was the client's leaving that ended it
    made.kill()


# ---- What the SDK's own description of the API holds beside what its classes use

client = get_api_client(ConnectionConfig())


@check("the first version of create, list, connect; resume, refresh")
def _():
    made = post_sandboxes.sync(client=client, body=NewSandbox(template_id="base", timeout=100))
    id = made.sandbox_id
    assert not made.envd_access_token and made.client_id and made.envd_version
    assert id in [each.sandbox_id for each in get_sandboxes.sync(client=client)]
    same(post_sandboxes_sandbox_id_connect.sync(id, client=client, body=ConnectSandbox(timeout=10)).sandbox_id, id)
    same(post_sandboxes_sandbox_id_refreshes.sync_detailed(
        id, client=client, body=SandboxRefreshRequest(duration=200)).status_code, 204)
    left = (Sandbox.get_info(id).end_at - datetime.now(timezone.utc)).total_seconds()
    assert abs(left - 200) < 3, left
    same(post_sandboxes_sandbox_id_resume.sync_detailed(id, client=client, body=ResumedSandbox(timeout=60)).status_code, 409)
    Sandbox.pause(id)
    assert id not in [each.sandbox_id for each in get_sandboxes.sync(client=client)]
    resumed = post_sandboxes_sandbox_id_resume.sync_detailed(id, client=client, body=ResumedSandbox(timeout=60))
    same((resumed.status_code, resumed.parsed.sandbox_id), (201, id))
    same(Sandbox.kill(id), True)


@check("metrics and logs")
def _():
    assert sandbox.get_metrics()[0].mem_total > 0
    many = get_sandboxes_metrics.sync(client=client, sandbox_ids=[sandbox.sandbox_id])
    assert many.sandboxes[sandbox.sandbox_id]["memTotal"] > 0
    first = get_sandboxes_sandbox_id_logs.sync(sandbox.sandbox_id, client=client, limit=5)
    assert first.logs and first.log_entries and json.loads(first.logs[0].line)
    second = get_v_2_sandboxes_sandbox_id_logs.sync(sandbox.sandbox_id, client=client, limit=1)
    same(len(second.logs), 1)
    assert second.logs[0].message and second.logs[0].timestamp


@check("templates")
def _():
    same((Template.exists("base"), Template.exists("no-such-template")), (True, False))
    same([each.tag for each in Template.get_tags("base")], ["default"])
    same(get_templates.sync(client=client), [])  # the account has none of its own
    same(get_v2_templates.sync_detailed(client=client).status_code, 200)
    theirs = get_api_client(ConnectionConfig(api_key=accounts["second"]))
    [private] = get_templates.sync(client=theirs)
    assert any("private-of-second" in name for name in private.names), private
    described = get_templates_template_id.sync(private.template_id, client=theirs)
    same((described.template_id, [str(each.status) for each in described.builds]), (private.template_id, ["ready"]))


@check("what the emulator does not do, it says")
def _():
    template = {"template_id": "base", "client": client}
    for answer in (
            get_default_templates.sync_detailed(client=client),
            get_templates_template_id_files_hash.sync_detailed(hash_="0" * 64, **template),
            get_templates_template_id_builds_build_id_status.sync_detailed(build_id="b", **template),
            get_templates_template_id_builds_build_id_logs.sync_detailed(build_id="b", **template),
            post_v_2_templates_template_id_builds_build_id.sync_detailed(build_id="b", body=TemplateBuildStartV2(), **template),
            patch_templates_template_id.sync_detailed(body=TemplateUpdateRequest(public=True), **template),
            patch_v_2_templates_template_id.sync_detailed(body=TemplateUpdateRequest(public=True), **template),
            get_templates_template_id_tags_count.sync_detailed(**template),
            get_templates_template_id_tags_groups.sync_detailed(**template),
            get_templates_template_id_tags_tag_assignments.sync_detailed(tag="default", **template),
            get_templates_template_id_tags_exists.sync_detailed(tag="default", **template)):
        same(answer.status_code, 501)
        assert "does not do this" in json.loads(answer.content)["message"]


@check("the end: nothing is left")
def _():
    same(sandbox.kill(), True)
    same(alive(), [])


finish()
