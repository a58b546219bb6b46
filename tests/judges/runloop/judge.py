# Runloop's newest Python SDK, in both of its forms, drives the emulator, which starts this with its variables.
import asyncio
import json
import os
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from runloop_api_client import (APIConnectionError, APIStatusError, AsyncRunloopSDK, AuthenticationError, BadRequestError,
                                ConflictError, InternalServerError, PermissionDeniedError, RateLimitError, Runloop, RunloopError,
                                RunloopSDK)
from runloop_api_client.lib.polling import PollingConfig, PollingTimeout

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
from kit import Emulated, admin, alive, check, finish, raw, same, thrown, until  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)  # what is deprecated is judged as well
emulated = Emulated("runloop")
accounts, fault = emulated.accounts, emulated.fault
NOBODY = "dbx_nonexistent12345"
STREAM = "GET /v1/devboxes/{id}/executions/{execution_id}/stream_stdout_updates"

sdk = RunloopSDK()
api = sdk.api
devboxes = api.devboxes
executions = devboxes.executions


def account(name):
    """What is refused is not asked for again: by default the SDK waits half a minute over a 409, a 429 or a 5xx."""
    return Runloop(bearer_token=accounts[name], max_retries=0)


once = account("valid")


def gone(id, client=api):
    same(client.devboxes.shutdown(id).status, "shutdown")


def run(id, command):
    return devboxes.execute_and_await_completion(id, command=command).stdout


def last_request(route):
    return [each for each in admin("GET", "journal?provider=runloop")["entries"] if each["route"] == route][-1]


# ---- Accounts


@check("accounts: whose key it is")
def _():
    me = api.accounts.me()
    same((me.account_status, me.tier, me.billing.account_billing_type), ("ACCOUNT_STATUS_ENABLED", "ACCOUNT_TIER_PRO", "STRIPE"))
    assert me.id and me.name and me.id != account("second").accounts.me().id


@check("accounts: keys that are refused")
def _():
    for name in ("malformed", "unknown", "revoked"):
        stranger = account(name)
        for work in (stranger.accounts.me, lambda: stranger.devboxes.list(limit=1), stranger.devboxes.create,
                     stranger.blueprints.list, stranger.secrets.list, stranger.devboxes.disk_snapshots.list):
            error = thrown(AuthenticationError, work, "Unauthorized")
            assert error.status_code == 401 and accounts[name] not in str(error)


@check("accounts: disabled, restricted, at their limit")
def _():
    for name, status in (("blocked", "DISABLED_BY_ADMIN"), ("trial_over", "TRIAL_CANCELLED"), ("over_quota", "DISABLED_QUOTA_REACHED")):
        disabled = account(name)
        same(disabled.accounts.me().account_status, "ACCOUNT_STATUS_" + status)
        same(disabled.devboxes.list().devboxes, [])
        thrown(PermissionDeniedError, disabled.devboxes.create, "disabled")
    thrown(PermissionDeniedError, account("restricted").accounts.me, "RESOURCE_TYPE_ACCOUNT")
    same(account("restricted").devboxes.list(status="running").devboxes, [])
    thrown(PermissionDeniedError, account("read_only").devboxes.create, "ACCESS_LEVEL_WRITE")
    thrown(PermissionDeniedError, account("account_only").devboxes.list, "RESOURCE_TYPE_DEVBOXES")
    thrown(RateLimitError, account("at_limit").devboxes.create, "at once")


@check("accounts: nobody sees what is another's")
def _():
    made = devboxes.create()
    other = account("second")
    same(other.devboxes.list().devboxes, [])
    thrown(BadRequestError, lambda: other.devboxes.retrieve(made.id), "was not found")
    thrown(BadRequestError, lambda: other.devboxes.shutdown(made.id), "was not found")
    gone(made.id)


# ---- Create, list, life


@check("create: what is asked for is what it is")
def _():
    made = devboxes.create(name="judged", metadata={"k 1": "v&=ü"}, environment_variables={"COLOUR": "blue"},
                           file_mounts={"/home/user/one.txt": "one ü"},
                           mounts=[{"type": "file_mount", "target": "/home/user/two.txt", "content": "two"}],
                           launch_parameters={"resource_size_request": "SMALL", "launch_commands": ["echo launched > ~/launched"]})
    same(made.status, "provisioning")
    seen = devboxes.await_running(made.id)
    same((seen.name, seen.metadata, seen.end_time_ms), ("judged", {"k 1": "v&=ü"}, None))
    same([each.status for each in seen.state_transitions], ["provisioning", "initializing", "running"])
    same(seen.launch_parameters.resource_size_request, "SMALL")
    same(run(made.id, 'echo "$COLOUR"; cat one.txt two.txt launched'), "blue\none ütwolaunched\n")
    gone(made.id)


@check("create: sizes, and what is refused")
def _():
    custom = {"resource_size_request": "CUSTOM_SIZE", "custom_cpu_cores": 2, "custom_gb_memory": 8, "custom_disk_size": 10}
    made = devboxes.create_and_await_running(launch_parameters=custom)
    same((made.launch_parameters.custom_cpu_cores, made.launch_parameters.custom_gb_memory), (2, 8))
    gone(made.id)
    for wrong in ({"launch_parameters": {**custom, "custom_cpu_cores": 3}}, {"blueprint_id": "bpt_none"},
                  {"blueprint_name": "base", "snapshot_id": "snp_none"}, {"secrets": {"TOKEN": "NO_SUCH"}}):
        thrown(BadRequestError, lambda: devboxes.create(**wrong))
    thrown(BadRequestError, lambda: devboxes.retrieve(NOBODY), "was not found")


@check("create: those that fail, and one that never runs")
def _():
    for reason in ("out_of_memory", "out_of_disk", "execution_failed", "health_check_failed"):
        made = devboxes.create(blueprint_name=f"fails_{reason}")
        thrown(RunloopError, lambda: devboxes.await_running(made.id), "failure")
        same(devboxes.retrieve(made.id).failure_reason, reason)
    stuck = devboxes.create(blueprint_name="stuck")
    thrown(PollingTimeout, lambda: devboxes.await_running(stuck.id, polling_config=PollingConfig(timeout_seconds=0.3)))
    same(json.loads(last_request("POST /v1/devboxes/{id}/wait_for_status")["body"])["statuses"], ["running", "failure", "shutdown"])
    gone(stuck.id)


@check("create: made once, whatever becomes of the answer")
def _():
    before = len(alive())
    fault("POST /v1/devboxes", {"kind": "drop_after"})
    made = devboxes.create(name="once")
    same(len(alive()), before + 1)
    assert last_request("POST /v1/devboxes")["headers"]["x-request-id"].startswith("stainless-python-retry-")
    gone(made.id)
    fault("POST /v1/devboxes", {"kind": "drop_before"})
    thrown(APIConnectionError, once.devboxes.create)


@check("list: pages, states, how many")
def _():
    made = [devboxes.create(name=f"listed-{n}").id for n in range(3)]
    for id in made:
        devboxes.await_running(id)
    page = devboxes.list(limit=2, status="running")
    same(([each.id for each in page.devboxes], page.has_more), (made[:0:-1], True))
    assert page.total_count >= 3
    same([each.id for each in devboxes.list(limit=2, status="running")], made[::-1])
    same(devboxes.list(limit=1, include_total_count=False).total_count, None)
    seen = devboxes.update(made[0], name="", metadata={"b": "2"})
    same((seen.name or "", seen.metadata), ("", {"b": "2"}))
    same(len(sdk.devbox.list(limit=2)), 2)
    for id in made:
        gone(id)


@check("life: suspended, resumed, kept alive, used, ended")
def _():
    with sdk.devbox.create(name="life") as devbox:
        devbox.file.write(file_path="kept.txt", contents="kept")
        same(devbox.suspend().status, "suspended")
        thrown(BadRequestError, lambda: devbox.cmd.exec("echo"), "not running")
        same(devbox.resume().status, "running")
        same(devbox.file.read(file_path="kept.txt"), "kept")
        same(devbox.keep_alive(), {})
        usage = devboxes.retrieve_resource_usage(devbox.id)
        assert usage.total_elapsed_seconds >= usage.total_active_seconds >= 0
    same(devbox.get_info().shutdown_reason, "api_shutdown")
    devbox.shutdown()


@check("life: idle, and over")
def _():
    idle = sdk.devbox.create(launch_parameters={"lifecycle": {"after_idle": {"idle_time_seconds": 1, "on_idle": "shutdown"}}})
    until("its end", lambda: idle.get_info().status == "shutdown")
    same(idle.get_info().shutdown_reason, "idle")
    with devboxes.watch_evictions(extra_headers={"Accept": "text/event-stream"}) as stream:
        same(stream.response.status_code, 200)


# ---- Inside

devbox = sdk.devbox.create(tunnel={"auth_mode": "authenticated"})
id = devbox.id


@check("commands: outputs, status, waits")
def _():
    done = devbox.cmd.exec("echo out; echo err >&2; exit 42")
    same((done.exit_code, done.success, done.failed, done.stdout(), done.stderr()), (42, False, True, "out\n", "err\n"))
    begun = devboxes.execute(id, command="sleep 0.3; echo slow", command_id="019a0000-0000-7000-8000-000000000002", optimistic_timeout=0)
    same((begun.status, begun.stdout), ("running", None))
    waited = dict(devbox_id=id, statuses=["completed"])
    error = thrown(APIStatusError, lambda: once.devboxes.wait_for_command(begun.execution_id, timeout_seconds=0, **waited))
    same((error.status_code, error.response.headers["x-should-retry"]), (408, "true"))
    same(devboxes.wait_for_command(begun.execution_id, **waited).stdout, "slow\n")
    same(executions.await_completed(begun.execution_id, id).exit_status, 0)
    same(executions.retrieve(begun.execution_id, devbox_id=id).stdout, "slow\n")
    thrown(BadRequestError, lambda: executions.retrieve("none", devbox_id=id), "was not found")
    same(devboxes.execute_sync(id, command="echo old").stdout, "old\n")


@check("commands: the last lines, and all of them")
def _():
    five = devboxes.execute(id, command="seq 5", command_id="019a0000-0000-7000-8000-000000000003", last_n="3")
    same((five.stdout, five.stdout_truncated), ("3\n4\n5\n", True))
    many = devbox.cmd.exec("seq 1000; seq 2000 >&2")
    same((many.stdout(), many.stdout(num_lines=2)), ("".join(f"{n}\n" for n in range(1, 1001)), "999\n1000"))
    same(len(many.stderr().splitlines()), 2000)


@check("streams: as it comes, from an offset, opened again")
def _():
    out, err, both = [], [], []
    done = devbox.cmd.exec("for i in 1 2 3; do echo o$i; echo e$i >&2; sleep 0.05; done; exit 4",
                           stdout=out.append, stderr=err.append, output=both.append)
    same(("".join(out), "".join(err), done.exit_code, len("".join(both))), ("o1\no2\no3\n", "e1\ne2\ne3\n", 4, 18))
    ended = devboxes.execute_and_await_completion(id, command="echo first; echo second").execution_id
    words = lambda **more: "".join(each.output for each in executions.stream_stdout_updates(ended, devbox_id=id, **more))  # noqa: E731
    same((words(), words(offset="6")), ("first\nsecond\n", "second\n"))
    for code in (408, "408"):
        body = f'data: {{"output":"first\\n","offset":6}}\n\nevent: error\ndata: {json.dumps({"code": code, "message": "idle"})}\n\n'
        fault(STREAM, {"kind": "status", "status": 200, "headers": {"Content-Type": "text/event-stream"}, "body": body})
        same(words(), "first\nsecond\n")
        same(last_request(STREAM)["query"].lstrip("?"), "offset=6")
    same([each.output for each in executions.stream_stderr_updates(ended, devbox_id=id)], [])


@check("input, its end, an interrupt, kill")
def _():
    cat = devbox.cmd.exec_async("cat; echo end", attach_stdin=True)
    cat.send_std_in("one ü\n")
    cat.close_std_in()
    same(cat.result().stdout(), "one ü\nend\n")
    thrown(RunloopError, lambda: cat.send_std_in("late"), "stdin")
    trap = devbox.cmd.exec_async('trap "exit 5" INT; touch ~/ready; while :; do sleep 0.05; done', attach_stdin=True)
    until("it is ready", lambda: devbox.cmd.exec("test -e ~/ready").success)
    same(executions.send_std_in(trap.execution_id, devbox_id=id, signal="INTERRUPT").success, True)
    same(trap.result().exit_code, 5)
    sleeps = devbox.cmd.exec_async("sleep 300")
    same(sleeps.get_state().status, "running")
    sleeps.kill()
    same(sleeps.result().exit_code, 137)
    same(executions.kill(sleeps.execution_id, devbox_id=id, kill_process_group=True).status, "completed")


@check("files: text and bytes, both ways, and what cannot be")
def _():
    same(devbox.file.write(file_path='a ü "b".txt', contents="one\ntwo ü\n").exit_status, 0)
    same(devbox.file.read(file_path='~/a ü "b".txt'), "one\ntwo ü\n")
    large = bytes(range(251)) * 10_000
    same(devbox.file.upload(path="/tmp/large", file=("name.bin", large)), {})
    same(devbox.file.download(path="/tmp/large"), large)
    devboxes.upload_file(id, path="plain", file=b"plain")
    same(devbox.file.read(file_path="/home/user/plain"), "plain")
    thrown(BadRequestError, lambda: devbox.file.read(file_path="none"))
    thrown(BadRequestError, lambda: devbox.file.download(path="/tmp"))
    assert devbox.file.write(file_path="/usr/no", contents="x").exit_status != 0


@check("logs: all, of one command")
def _():
    done = devbox.cmd.exec("echo logged; exit 7")
    own = devbox.logs(execution_id=done.execution_id).logs
    same(([each.cmd for each in own if each.cmd], own[-1].exit_code, own[-1].source), (["echo logged; exit 7"], 7, "exec"))
    assert len(devbox.logs().logs) > len(own)


@check("tunnels: with the token only, removed, opened")
def _():
    tunnel = devbox.get_tunnel()
    same((tunnel.auth_mode, devbox.get_tunnel_url(8000)), ("authenticated", f"https://8000-{tunnel.tunnel_key}.tunnel.127.0.0.1"))
    devbox.cmd.exec_async("cd /tmp && echo served > page && exec python3 -m http.server 8000")

    def fetch(tunnel, headers={}):
        return raw(f"http://8000-{tunnel.tunnel_key}.tunnel.localhost:{urlsplit(os.environ['RUNLOOP_BASE_URL']).port}/page", headers=headers)

    bearer = {"X-Runloop-Tunnel-Authorization": f"Bearer {tunnel.auth_token}"}
    until("the server", lambda: fetch(tunnel, bearer) == (200, b"served\n"))
    same((fetch(tunnel)[0], fetch(tunnel, {"Authorization": f"Bearer {accounts['valid']}"})[0]), (401, 401))
    same(devbox.net.remove_tunnel(), {})
    same((devbox.get_tunnel(), fetch(tunnel, bearer)[0]), (None, 404))
    other = devbox.net.enable_tunnel(auth_mode="open")
    same(fetch(other), (200, b"served\n"))


# ---- Snapshots, blueprints, secrets


@check("snapshots: made at once and later, used, listed, changed, deleted")
def _():
    devbox.file.write(file_path="kept.txt", contents="kept")
    now = devboxes.snapshot_disk(id, name="now", metadata={"k": "v"}, commit_message="first")
    same((now.name, now.metadata, now.source_devbox_id), ("now", {"k": "v"}, id))
    later = devbox.snapshot_disk(name="later")
    same(later.get_info().status, "complete")
    same([each.id for each in devboxes.disk_snapshots.list(devbox_id=id, limit=1)], [later.id, now.id])
    same([each.id for each in devboxes.list_disk_snapshots(extra_query={"metadata[k]": "v"})], [now.id])
    same(later.update(name="renamed").name, "renamed")
    with sdk.devbox.create_from_snapshot(now.id) as copy:
        same((copy.get_info().snapshot_id, copy.file.read(file_path="kept.txt")), (now.id, "kept"))
    slow = devbox.snapshot_disk_async(name="slow")
    same(slow.get_info().status, "in_progress")
    thrown(ConflictError, lambda: once.devboxes.shutdown(id), "snapshot")
    for each in (now.id, later.id, slow.id):
        devboxes.disk_snapshots.delete(each)
    same(sdk.snapshot.list(devbox_id=id), [])
    thrown(RunloopError, lambda: devbox.snapshot_disk(name="fails"), "fails|failed")


@check("blueprints: built, used, told of, deleted")
def _():
    blueprint = sdk.blueprint.create(name="judged-python", system_setup_commands=["echo built > ~/built"], metadata={"k": "v"})
    info = blueprint.get_info()
    same((info.status, info.state, info.parameters.name), ("build_complete", "created", "judged-python"))
    assert any("echo built" in each.message for each in blueprint.logs().logs)
    with blueprint.create_devbox() as one, sdk.devbox.create_from_blueprint_name("judged-python") as two:
        same((run(one.id, "cat built"), two.get_info().blueprint_id), ("built\n", blueprint.id))
    same([each.id for each in api.blueprints.list(name="judged-python")], [blueprint.id])
    assert all(each.is_public for each in api.blueprints.list_public())
    same(api.blueprints.preview(name="p", dockerfile="FROM debian:12").dockerfile, "FROM debian:12\n")
    blueprint.delete()
    same(blueprint.get_info().state, "deleted")
    thrown(RunloopError, lambda: sdk.blueprint.create(name="fails"), "failed")


@check("secrets: by name, and by id")
def _():
    secret = sdk.secret.create(name="JUDGED_PYTHON", value="judge-of-python")
    same((secret.name, secret.get_info().id), ("JUDGED_PYTHON", secret.id))
    thrown(ConflictError, lambda: once.secrets.create(name="JUDGED_PYTHON", value="again"))
    exact = sdk.secret.from_id(secret.id)
    same(exact.get_info().name, "JUDGED_PYTHON")
    secret.update("second-of-python")
    with sdk.devbox.create(secrets={"TOKEN": "JUDGED_PYTHON"}) as one:
        same(run(one.id, "echo $TOKEN"), "second-of-python\n")
    same(exact.update("third-of-python").id, secret.id)
    with sdk.devbox.create(secrets={"TOKEN": "JUDGED_PYTHON"}) as one:
        same(run(one.id, "echo $TOKEN"), "third-of-python\n")
    same([each.name for each in sdk.secret.list()], ["JUDGED_PYTHON"])
    same(exact.delete().name, "JUDGED_PYTHON")
    thrown(BadRequestError, exact.get_info, "was not found")
    thrown(BadRequestError, secret.get_info, "was not found")
    sdk.secret.create(name="JUDGED_PYTHON", value="fourth-of-python").delete()
    same(sdk.secret.list(), [])


# ---- What goes wrong on the way


@check("faults: statuses, waits that are cut, what is not emulated")
def _():
    fault("GET /v1/devboxes", {"kind": "status", "status": 429, "headers": {"Retry-After": "0.05"}, "body": {"message": "Slow down"}})
    assert devboxes.list(limit=1).devboxes
    fault("GET /v1/devboxes", {"kind": "status", "status": 500, "headers": {"X-Should-Retry": "false"}, "body": {"message": "made up"}})
    thrown(InternalServerError, devboxes.list, "made up")
    made = devboxes.create()
    fault("POST /v1/devboxes/{id}/wait_for_status", {"kind": "status", "status": 408, "body": {"message": "Not yet"}}, 2)
    fault("POST /v1/devboxes/{id}/wait_for_status", {"kind": "drop_before"})
    same(devboxes.await_running(made.id).status, "running")
    gone(made.id)
    for work in (devbox.net.create_ssh_key, api.apikeys.create, api.objects.list, api.network_policies.list):
        same(thrown(InternalServerError, work, "is not emulated").status_code, 501)


# ---- The asynchronous SDK


@check("async: many at once, from create to shutdown")
async def _():
    async with AsyncRunloopSDK() as client:
        async def one(n):
            async with await client.devbox.create(metadata={"n": str(n)}) as made:
                done = await made.cmd.exec(f"echo {n}; exit {n}")
                same((done.exit_code, await done.stdout()), (n, f"{n}\n"))
                await made.file.upload(path="f", file=str(n).encode())
                same(await made.file.download(path="f"), str(n).encode())
                same((await made.get_info()).metadata, {"n": str(n)})

        await asyncio.gather(*(one(n) for n in range(6)))


@check("async: streams, input, life, snapshots")
async def _():
    async with AsyncRunloopSDK() as client, await client.devbox.create() as made:
        out = []
        done = await made.cmd.exec("echo o; echo e >&2; exit 3", stdout=out.append)
        same((out, done.exit_code, await done.stderr()), (["o\n"], 3, "e\n"))
        cat = await made.cmd.exec_async("cat", attach_stdin=True)
        await cat.send_std_in("in\n")
        await cat.close_std_in()
        same(await (await cat.result()).stdout(), "in\n")
        same((await made.net.enable_tunnel()).auth_mode, "open")
        await made.file.write(file_path="kept", contents="kept")
        snapshot = await made.snapshot_disk(name="async")
        await made.suspend()
        same((await made.await_suspended()).status, "suspended")
        same((await made.resume()).status, "running")
        same(await made.file.read(file_path="kept"), "kept")
        await snapshot.delete()
        same([each.id async for each in client.api.devboxes.list(limit=1, status="running")][0], made.id)


@check("the end: nothing is left")
def _():
    devboxes.shutdown(id, force="true")
    until("nothing", lambda: alive() == [])


finish()
