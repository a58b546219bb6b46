# E2B's own Python SDK against the emulator. Started by it, with its variables. Last line: "N passed, N failed".
import asyncio
import sys
import time
import traceback

from e2b import (AsyncSandbox, AuthenticationException, CommandExitException, NotFoundException, Sandbox, SandboxQuery,
                 TimeoutException)

counts = {True: 0, False: 0}


def check(work):
    try:
        work()
        counts[True] += 1
    except Exception:
        counts[False] += 1
        print("FAILED", work.__name__, traceback.format_exc())


sandbox = Sandbox.create(metadata={"k 1": "v&"}, envs={"FOO": "bar"}, timeout=60)


@check
def a_command():
    result = sandbox.commands.run("echo hi $FOO; whoami; echo no >&2")
    assert (result.stdout, result.stderr) == ("hi bar\nuser\n", "no\n"), result


@check
def a_command_that_fails():
    try:
        sandbox.commands.run("exit 3")
        raise AssertionError("it did not fail")
    except CommandExitException as error:
        assert error.exit_code == 3


@check
def a_command_over_its_time():
    try:
        sandbox.commands.run("sleep 10", timeout=0.5)
        raise AssertionError("it was not ended")
    except TimeoutException:
        pass


@check
def output_as_it_comes():
    pieces = []
    sandbox.commands.run("for i in 1 2 3; do echo $i; sleep 0.05; done", on_stdout=pieces.append)
    assert pieces == ["1\n", "2\n", "3\n"], pieces


@check
def files():
    sandbox.files.write("/home/user/a/b.txt", "hello")
    assert sandbox.files.read("/home/user/a/b.txt") == "hello"
    large = bytes(range(256)) * 20000
    sandbox.files.write("/home/user/large", large)
    assert bytes(sandbox.files.read("/home/user/large", format="bytes")) == large
    try:
        sandbox.files.read("/home/user/none")
        raise AssertionError("it was read")
    except NotFoundException:
        pass


@check
def a_watch():
    watch = sandbox.files.watch_dir("/home/user/a")
    sandbox.files.write("/home/user/a/new", "1")
    seen = []
    for _ in range(200):
        seen += [event.name for event in watch.get_new_events()]
        if "new" in seen:
            break
        time.sleep(0.01)
    assert "new" in seen
    watch.stop()


@check
def what_is_said_of_it():
    info = sandbox.get_info()
    assert (info.end_at - info.started_at).total_seconds() == 60
    sandbox.set_timeout(120)
    assert sandbox.get_info().end_at > info.end_at
    found = Sandbox.list(query=SandboxQuery(metadata={"k 1": "v&"})).next_items()
    assert [each.sandbox_id for each in found] == [sandbox.sandbox_id]


@check
def pause_and_connect():
    sandbox.commands.run("sleep 1000", background=True)
    assert sandbox.pause() and not sandbox.is_running()
    again = Sandbox.connect(sandbox.sandbox_id)
    assert any("sleep 1000" in process.args for process in again.commands.list())


@check
def a_snapshot():
    copy = Sandbox.create(sandbox.create_snapshot().snapshot_id)
    assert copy.files.read("/home/user/a/b.txt") == "hello"
    assert copy.kill()


@check
def many_at_once():
    async def one():
        made = await AsyncSandbox.create()
        result = await made.commands.run("echo $E2B_SANDBOX_ID")
        assert result.stdout.strip() == made.sandbox_id
        assert await made.kill()

    async def all_of_them():
        await asyncio.gather(*(one() for _ in range(10)))

    asyncio.run(all_of_them())


@check
def its_end():
    assert sandbox.kill() and not sandbox.kill()
    try:
        Sandbox.create(api_key="e2b_" + "0" * 40)
        raise AssertionError("it was taken")
    except AuthenticationException:
        pass


print("%d passed, %d failed" % (counts[True], counts[False]))
sys.exit(0 if counts[False] == 0 else 1)
