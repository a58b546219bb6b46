# Daytona's newest Python SDK, in both of its forms, drives the emulator, which starts this with its variables.
import asyncio
import inspect
import io
import json
import re
import sys
import time
import typing
import warnings
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from daytona import (AsyncDaytona, CodeRunParams, CreateSandboxFromImageParams, CreateSandboxFromSnapshotParams, CreateSnapshotParams,
                     Daytona, DaytonaAuthenticationError, DaytonaBadRequestError, DaytonaConfig, DaytonaConflictError, DaytonaError,
                     DaytonaForbiddenError, DaytonaFileNotFoundError, DaytonaGoneError,
                     DaytonaInternalServerError, DaytonaNotFoundError, DaytonaRateLimitError, DaytonaServiceUnavailableError,
                     DaytonaTimeoutError, DaytonaUnprocessableEntityError, FileDownloadRequest, FileUpload, Image,
                     ListSandboxesQuery, Resources, SandboxState, SessionExecuteRequest, VolumeMount)
from daytona.common.pty import PtySize
from daytona_api_client import (ApiKeysApi, ConfigApi, HealthApi, OrganizationsApi, RegionsApi, SandboxApi, SnapshotsApi, UsersApi,
                                VolumesApi)
from daytona_api_client.exceptions import NotFoundException, UnauthorizedException
from daytona_toolbox_api_client import (ComputerUseApi, FileSystemApi, GitAddRemoteRequest, GitApi, GitAuthenticateRequest,
                                        GitConfigureUserRequest, GitInitRequest, GitResetRequest, GitRestoreRequest,
                                        GitSetConfigRequest, InfoApi, InitializeRequest, LspApi, PortApi, ProcessApi,
                                        PtyCreateRequest, ServerApi)
from daytona_toolbox_api_client.exceptions import ApiException
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
from kit import Emulated, admin, alive, check, finish, raw, same, thrown, until  # noqa: E402

warnings.filterwarnings("ignore", message="Polling-only mode", category=DeprecationWarning)
emulated = Emulated("daytona")
accounts, fault = emulated.accounts, emulated.fault
NOBODY = "00000000-0000-4000-8000-000000000000"


def account(name, **more):
    """Asks for a state ten times a second; what it does by default has its own case."""
    return Daytona(DaytonaConfig(api_key=accounts[name], use_deprecated_polling=True, **more))


daytona = account("valid")


def ids(who=daytona, **query):
    return [each.id for each in who.list(ListSandboxesQuery(**query))]


def create(who=daytona, **params):
    return who.create(CreateSandboxFromSnapshotParams(**params))


def listed(wanted, **query):
    """Lists tell later what is so: for what has just changed they are asked until they show it."""
    try:
        until("the list", lambda: ids(**query) == wanted)
    except AssertionError:
        same(ids(**query), wanted)


def gone(sandbox, who=daytona):
    sandbox.delete(wait=True)
    thrown(DaytonaNotFoundError, lambda: who.get(sandbox.id))


def raw_status(url, headers={}):
    return raw(url, headers=headers)[0]


# ---- Accounts


@check("accounts: keys that are refused")
def _():
    for name in ("malformed", "unknown", "revoked", "expired"):
        stranger = account(name)
        for work in (lambda: ids(stranger), stranger.create, lambda: stranger.get(NOBODY), stranger.snapshot.list,
                     stranger.volume.list):
            same(thrown(DaytonaAuthenticationError, work, "Invalid credentials$").status_code, 401)


@check("accounts: without scopes, suspended, over its quota")
def _():
    looker, suspended = account("scopeless"), account("suspended")
    same((ids(looker), ids(suspended)), ([], []))
    thrown(DaytonaForbiddenError, looker.create, "Access denied")
    thrown(DaytonaForbiddenError, lambda: looker.volume.create("no"), "Access denied")
    thrown(DaytonaForbiddenError, suspended.create, "Organization is suspended")
    thrown(DaytonaBadRequestError, account("over_quota").create, "limit exceeded")
    thrown(DaytonaServiceUnavailableError, account("maintenance").create, "(?i)maintenance")


@check("accounts: nobody sees what is another's")
def _():
    mine, other = daytona.create(), account("second")
    same(ids(other), [])
    thrown(DaytonaNotFoundError, lambda: other.get(mine.id))
    gone(mine)


# ---- Create, list


@check("create: what is asked for is what it is")
def _():
    made = create(name="judged-python", labels={"k 1": "v&=ü", "b": ""}, env_vars={"FOO": "bar"}, auto_stop_interval=0,
                  auto_archive_interval=60, auto_delete_interval=120, network_block_all=True)
    seen = daytona.get("judged-python")
    same((seen.id, seen.state, seen.env), (made.id, SandboxState.STARTED, {"FOO": "bar"}))
    same(seen.labels, {"k 1": "v&=ü", "b": "", "code-toolbox-language": "python"})
    same((seen.auto_stop_interval, seen.auto_archive_interval, seen.auto_delete_interval), (0, 60, 120))
    same((seen.public, seen.network_block_all, seen.user), (False, True, "daytona"))
    thrown(DaytonaConflictError, lambda: create(name="judged-python"), "already exists")
    thrown(DaytonaBadRequestError, lambda: create(snapshot="no-such-snapshot"), "no-such-snapshot")
    gone(made)


@check("create: of an image, with logs of its build")
def _():
    lines = []
    made = daytona.create(CreateSandboxFromImageParams(image=Image.base("alpine:3.20").run_commands("apk add git"),
                                                       resources=Resources(cpu=2, memory=4, disk=6)),
                          on_snapshot_create_logs=lines.append)
    assert "RUN apk add git" in "\n".join(lines), lines
    same((made.cpu, made.memory, made.disk), (2, 4, 6))
    assert "RUN apk add git" in made.build_info.dockerfile_content
    gone(made)


@check("create: ephemeral")
def _():
    made = create(ephemeral=True)
    same(made.auto_delete_interval, 0)
    made.stop()
    until("its end", lambda: made.id not in alive())


@check("create: with events, as it is by default")
def _():
    listening = Daytona()
    made = listening.create()
    made.stop()
    same(made.state, SandboxState.STOPPED)
    made.delete(wait=True)
    same(made.state, SandboxState.DESTROYED)


@check("list: labels, states, sizes, time, order, pages")
def _():
    group = {"group": 'a b&c=d%/+"'}
    made = [create(name=f"listed-{n}", labels={**group, "n": str(n)}) for n in range(3)]
    wanted = [each.id for each in made]
    oldest = {"sort": "createdAt", "order": "asc"}
    listed(wanted, labels=group, **oldest)
    same(ids(labels=group, limit=1, **oldest), wanted)
    same(ids(labels=group, limit=2, sort="createdAt", order="desc"), wanted[::-1])
    same(ids(labels={**group, "n": "1"}), wanted[1:2])
    same(ids(name="listed-1"), wanted[1:2])
    made[1].stop()
    listed(wanted[1:2], labels=group, states=[SandboxState.STOPPED])
    same(sorted(ids(labels=group, states=[SandboxState.STOPPED, SandboxState.STARTED])), sorted(wanted))
    same(ids(labels=group, min_cpu=99), [])
    later = datetime.fromisoformat(made[1].created_at.replace("Z", "+00:00")) + timedelta(milliseconds=1)
    same(ids(labels=group, created_at_after=later), wanted[2:])
    for each in made:
        gone(each)
    listed([], labels=group)


# ---- Life


@check("life: stop, start, archive, recover")
def _():
    made = daytona.create()
    made.fs.upload_file(b"kept", "kept.txt")
    made.stop()
    same(made.state, SandboxState.STOPPED)
    thrown(DaytonaBadRequestError, made.stop)
    thrown(DaytonaError, lambda: made.process.exec("echo"))
    made.archive()
    until("it is archived", lambda: daytona.get(made.id).state == SandboxState.ARCHIVED)
    made.start()
    same((made.state, made.fs.download_file("kept.txt")), (SandboxState.STARTED, b"kept"))
    thrown(DaytonaUnprocessableEntityError, made.pause)
    thrown(DaytonaUnprocessableEntityError, made.fork)
    gone(made)


@check("life: errors, and the way back")
def _():
    error = thrown(DaytonaError, lambda: create(name="mended", snapshot="emulator-recoverable"), "error reason: .")
    assert "error" in str(error)
    made = daytona.get("mended")
    same((made.state, made.recoverable), (SandboxState.ERROR, True))
    made.recover()
    same(made.process.exec("echo back").result.strip(), "back")
    gone(made)


@check("life: labels, intervals, public, network")
def _():
    made = daytona.create()
    same(made.set_labels({"new": "2"}), {"new": "2"})
    made.set_autostop_interval(30)
    made.set_auto_archive_interval(0)
    made.set_auto_delete_interval(90)
    made.set_public(True)
    made.update_network_settings(network_allow_list="10.0.0.0/8")
    made.refresh_activity()
    seen = daytona.get(made.id)
    same((seen.auto_stop_interval, seen.auto_archive_interval, seen.auto_delete_interval), (30, 43200, 90))
    same((seen.labels, seen.public, seen.network_allow_list), ({"new": "2"}, True, "10.0.0.0/8"))
    gone(made)
    for work in (made.start, made.stop, made.archive, lambda: made.set_labels({}), lambda: made.get_preview_link(80)):
        thrown(DaytonaNotFoundError, work)


@check("life: SSH")
def _():
    made = daytona.create()
    access = made.create_ssh_access(5)
    same((len(access.token), access.sandbox_id), (32, made.id))
    made.revoke_ssh_access(access.token)
    gone(made)


# ---- One sandbox for what happens inside

sandbox = create(env_vars={"FOO": "bar"})
process, files, interpreter, git = sandbox.process, sandbox.fs, sandbox.code_interpreter, sandbox.git


@check("ports: preview links, signed ones")
def _():
    process.create_session("web")
    process.execute_session_command("web", SessionExecuteRequest(
        command="cd /tmp && echo served > page && python3 -m http.server 8000", run_async=True))
    link = sandbox.get_preview_link(8000)
    page = link.url.rstrip("/") + "/page"
    token = {"x-daytona-preview-token": link.token}
    until("the server", lambda: raw_status(page, token) == 200)
    same(raw_status(page), 307)
    signed = sandbox.create_signed_preview_url(8000, 600)
    same(raw_status(signed.url.rstrip("/") + "/page"), 200)
    sandbox.expire_signed_preview_url(8000, signed.token)
    until("its end", lambda: raw_status(signed.url.rstrip("/") + "/page") != 200)
    toolbox = sandbox._toolbox_api
    assert 8000 in PortApi(toolbox).get_ports().ports
    same(PortApi(toolbox).is_port_in_use(8000).is_in_use, True)
    same(PortApi(toolbox).is_port_in_use(8001).is_in_use, False)
    process.delete_session("web")


@check("commands: output, environment, failure, time")
def _():
    done = process.exec("echo hi $FOO $A; echo no >&2; pwd; exit 3", cwd="/tmp", env={"A": "1"})
    same((done.exit_code, done.result.rstrip()), (3, "hi bar 1\nno\n/tmp"))
    same(process.exec("pwd", cwd="/nowhere").exit_code, -1)
    thrown(DaytonaTimeoutError, lambda: process.exec("sleep 60", timeout=1))
    same(len(process.exec("head -c 2000000 /dev/zero | tr '\\0' x").result), 2_000_000)


@check("info: how busy it is; variables for all that come")
def _():
    assert sandbox.get_metrics_latest().mem_total > 0
    sandbox.update_env({"SHADE": "dark"}, unset=["FOO"])
    same(process.exec('echo "<$FOO|$SHADE>"').result.rstrip(), "<|dark>")
    sandbox.update_env({"FOO": "bar"}, unset=["SHADE"])
    ServerApi(sandbox._toolbox_api).initialize(InitializeRequest(token="for telemetry"))


@check("code: run, and charts")
def _():
    done = process.code_run("import sys, os\nprint(6 * 7, os.environ['A'], sys.argv[1:])\nsys.exit(4)",
                            params=CodeRunParams(argv=["one"], env={"A": "b"}))
    same((done.exit_code, done.result.rstrip()), (4, "42 b ['one']"))
    chart = '{"type": "chart", "value": {"type": "line", "title": "T", "png": "aGk=", "elements": []}}'
    drawn = process.code_run(f"print('before')\nprint('dtn_artifact_k39fd2:' + {chart!r})")
    same((drawn.result.rstrip(), [each.title for each in drawn.artifacts.charts]), ("before", ["T"]))


@check("sessions: one shell, both outputs, followed, input")
def _():
    process.create_session("s")
    thrown(DaytonaConflictError, lambda: process.create_session("s"))

    def execute(command, **more):
        return process.execute_session_command("s", SessionExecuteRequest(command=command, **more))

    first = execute("cd /tmp; echo out; echo err >&2")
    same((first.exit_code, first.stdout.rstrip(), first.stderr.rstrip()), (0, "out", "err"))
    same(execute("pwd").stdout.rstrip(), "/tmp")
    same(process.get_session_command_logs("s", first.cmd_id).stdout.rstrip(), "out")
    same(process.get_session_command("s", first.cmd_id).exit_code, 0)
    same(len(process.get_session("s").commands), 2)
    same([each.session_id for each in process.list_sessions()], ["s"])
    later = execute("for i in 1 2; do echo o$i; echo e$i >&2; sleep 0.05; done; (exit 6)", run_async=True)
    out, err = [], []
    asyncio.run(process.get_session_command_logs_async("s", later.cmd_id, out.append, err.append))
    same(("".join(out), "".join(err)), ("o1\no2\n", "e1\ne2\n"))
    same(process.get_session_command("s", later.cmd_id).exit_code, 6)
    asks = execute('read a; echo "<$a>"', run_async=True, suppress_input_echo=True)
    process.send_session_command_input("s", asks.cmd_id, "one")
    until("its end", lambda: process.get_session_command("s", asks.cmd_id).exit_code == 0)
    same(process.get_session_command_logs("s", asks.cmd_id).stdout.rstrip(), "<one>")
    thrown(DaytonaGoneError, lambda: process.send_session_command_input("s", asks.cmd_id, "late"))
    process.delete_session("s")
    thrown(DaytonaNotFoundError, lambda: process.get_session("s"))


@check("sessions: that of the entrypoint")
def _():
    same(process.get_entrypoint_session().session_id, "entrypoint")
    assert process.get_entrypoint_logs().output is not None


@check("interpreter: output, state, errors, contexts, time")
def _():
    seen = []
    done = interpreter.run_code("import sys\nx = 5\nprint('a')\nprint('b', file=sys.stderr)",
                                on_stdout=lambda message: seen.append(message.output))
    same((done.stdout, done.stderr, done.error, "".join(seen)), ("a\n", "b\n", None, "a\n"))
    same(interpreter.run_code("print(x * 2)").stdout, "10\n")
    same(interpreter.run_code("1/0").error.name, "ZeroDivisionError")
    context = interpreter.create_context(cwd="/tmp")
    same(interpreter.run_code("import os; print(os.getcwd())", context=context).stdout, "/tmp\n")
    same([each.id for each in interpreter.list_contexts()], [context.id])
    thrown(DaytonaTimeoutError, lambda: interpreter.run_code("while True: pass", context=context, timeout=1))
    interpreter.delete_context(context)
    same(interpreter.list_contexts(), [])


@check("terminals: size, variables, input, how it ended")
def _():
    terminal = process.create_pty_session("t", cwd="/tmp", envs={"T": "ü v"}, pty_size=PtySize(rows=33, cols=91))
    same([each.id for each in process.list_pty_sessions()], ["t"])
    terminal.send_input('stty size; pwd; echo "<$T>"\n')
    said = bytearray()
    for data in terminal:
        said += data
        if "<ü v>".encode() in said:
            break
    assert re.search(rb"33 91\r?\n/tmp\r?\n", said), said
    same(terminal.resize(PtySize(rows=40, cols=120)).cols, 120)
    same(process.get_pty_session_info("t").rows, 40)
    terminal.send_input("stty size; exit 3\n")
    same(terminal.wait(on_data=said.extend, timeout=20).exit_code, 3)
    assert b"40 120" in said, said


@check("terminals: made first, connected to later, killed")
def _():
    same(ProcessApi(sandbox._toolbox_api).create_pty_session(PtyCreateRequest(id="u")).session_id, "u")
    terminal = process.connect_pty_session("u")
    terminal.send_input("echo still $((40 + 2))\n")
    said = bytearray()
    for data in terminal:
        said += data
        if b"still 42" in said:
            break
    process.kill_pty_session("u")
    thrown(DaytonaNotFoundError, lambda: process.get_pty_session_info("u"))


@check("files: up and down, of every kind")
def _():
    files.upload_file("hello ü".encode(), "a/b ü.txt")
    same(files.download_file("a/b ü.txt"), "hello ü".encode())
    large = bytes(range(251)) * 20_000
    files.upload_file(large, "/tmp/large")
    same(files.download_file("/tmp/large"), large)
    same(b"".join(files.download_file_stream("/tmp/large")), large)
    files.upload_file_stream(io.BytesIO(b"stream"), "stream")
    same(files.download_file("stream"), b"stream")
    files.upload_files([FileUpload(b"1", "m/1"), FileUpload(b"two", "/tmp/m/2")])
    got = files.download_files([FileDownloadRequest(source=name) for name in ("m/1", "/tmp/m/2", "m/none")])
    same([each.result for each in got], [b"1", b"two", None])
    thrown(DaytonaFileNotFoundError, lambda: files.download_file("none"))
    thrown(DaytonaError, lambda: files.upload_file(b"x", "/usr/no"))


@check("files: folders, listed, moved, permissions, deleted")
def _():
    files.create_folder("l/x", "755")
    files.upload_file(b"22", "l/f")
    same(sorted((each.name, each.is_dir) for each in files.list_files("l")), [("f", False), ("x", True)])
    files.set_file_permissions("l/f", mode="600")
    info = files.get_file_info("l/f")
    same((info.size, info.permissions, info.mode), (2, "0600", "-rw-------"))
    files.move_files("l/f", "l/x/g")
    thrown(DaytonaNotFoundError, lambda: files.get_file_info("l/f"))
    files.delete_file("l/x/g")
    thrown(DaytonaBadRequestError, lambda: files.delete_file("l"))
    files.delete_file("l", recursive=True)
    thrown(DaytonaNotFoundError, lambda: files.list_files("l"))


@check("files: searched, found in, replaced in")
def _():
    files.upload_files([FileUpload(f"head\nneedle in {name}\n".encode(), f"q/d/{name}") for name in ("one.txt", "two.md")])
    same([Path(each).name for each in files.search_files("q", "*.txt").files], ["one.txt"])
    same(sorted((Path(each.file).name, each.line) for each in files.find_files("q", "needle")), [("one.txt", 2), ("two.md", 2)])
    [replaced] = files.replace_in_files(["q/d/one.txt"], "needle", "pin")
    same((replaced.success, files.download_file("q/d/one.txt")), (True, b"head\npin in one.txt\n"))


@check("files: signed addresses, and the plain ones")
def _():
    files.upload_file(b"signed", "s.txt")
    same(raw(sandbox.download_url("s.txt")), (200, b"signed"))
    same(raw(sandbox.upload_url("up.txt", 60), "POST", b"sent", {"Content-Type": "application/octet-stream"})[0], 200)
    same(files.download_file("up.txt"), b"sent")
    api = FileSystemApi(sandbox._toolbox_api)
    same(bytes(api.download_file("s.txt")), b"signed")
    api.upload_file("plain.txt", file=b"plain")
    same(files.download_file("plain.txt"), b"plain")


@check("git")
def _():
    home = sandbox.get_user_home_dir()
    process.exec(f"git init --bare -b main {home}/origin.git && git clone {home}/origin.git {home}/made")
    files.upload_file(b"1\n", "made/file")
    git.add("made", ["file"])
    assert re.fullmatch("[0-9a-f]{40}", git.commit("made", "First", "A B", "a@b.example").sha)
    same(GitApi(sandbox._toolbox_api).get_commit_history("made")[0].message.strip(), "First")
    git.create_branch("made", "side")
    git.checkout_branch("made", "side")
    status = git.status("made")
    same((status.current_branch, status.file_status or []), ("side", []))
    same(sorted(git.branches("made").branches), ["main", "side"])
    git.checkout_branch("made", "main")
    git.delete_branch("made", "side")
    git.push("made")
    git.clone(f"{home}/origin.git", "cloned")
    same(files.download_file("cloned/file"), b"1\n")
    git.pull("cloned")


@check("git: beginning, remotes, what is undone, configuration")
def _():
    api = GitApi(sandbox._toolbox_api)
    api.init_repository(GitInitRequest(path="begun", initial_branch="trunk"))
    api.add_remote(GitAddRemoteRequest(path="begun", name="up", url="/nowhere"))
    api.add_remote(GitAddRemoteRequest(path="begun", name="up", url="/elsewhere", overwrite=True))
    same([(each.name, each.url) for each in api.list_remotes("begun").remotes], [("up", "/elsewhere")])
    files.upload_file(b"1\n", "begun/file")
    git.add("begun", ["file"])
    git.commit("begun", "First", "A B", "a@b.example")
    files.upload_file(b"2\n", "begun/file")
    git.add("begun", ["file"])
    api.reset_changes(GitResetRequest(path="begun"))
    same(git.status("begun").file_status[0].worktree, "Modified")
    api.restore_files(GitRestoreRequest(path="begun", files=["file"]))
    same((git.status("begun").current_branch, git.status("begun").file_status), ("trunk", []))
    api.configure_user(GitConfigureUserRequest(name="Me", email="me@here.example"))
    api.set_git_config(GitSetConfigRequest(key="core.editor", value="ed", scope="local", path="begun"))
    same([api.get_git_config(*each).value for each in (("user.name",), ("core.editor", "begun", "local"), ("user.none",))],
         ["Me", "ed", None])
    api.authenticate(GitAuthenticateRequest(username="u", password="p", host="git.example"))
    same(process.exec("printf 'protocol=https\\nhost=git.example\\n\\n' | git credential fill | grep -c '=[up]$'").result.strip(), "2")


def filled(parameter):
    """An argument of the type that the generated client's annotation asks for."""
    kinds = [parameter]
    while kinds:
        kind = kinds.pop()
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            made = {name: filled(field.annotation) for name, field in kind.model_fields.items() if field.is_required()}
            return kind(**made)
        if inspect.isclass(kind) and issubclass(kind, Enum):
            return next(iter(kind))
        for plain, value in ((str, "python"), (bool, True), (int, 1), (float, 1.0), (list, []), (dict, {})):
            if kind is plain or typing.get_origin(kind) is plain:
                return value
        kinds += reversed(typing.get_args(kind))
    raise TypeError(f"no argument for {parameter}")


@check("a desktop and language servers, which are not there")
def _():
    for api, statuses in ((ComputerUseApi(sandbox._toolbox_api), {503}), (LspApi(sandbox._toolbox_api), {400, 500})):
        for name, method in inspect.getmembers(api, inspect.ismethod):
            if name.startswith("_") or name.endswith(("_with_http_info", "_without_preload_content")):
                continue
            wanted = [each for each in inspect.signature(method).parameters.values()
                      if not each.name.startswith("_") and each.default is inspect.Parameter.empty]
            error = thrown(ApiException, lambda: method(*(filled(each.annotation) for each in wanted)))
            assert error.status in statuses, f"{name}: {error}"



# ---- Snapshots, volumes


@check("snapshots: made, used, deactivated, activated, deleted")
def _():
    made = daytona.snapshot.create(CreateSnapshotParams(name="judged-python", image="alpine:3.20", resources=Resources(cpu=2, memory=2, disk=5)))
    same((made.state, made.cpu, made.mem, made.disk), ("active", 2, 2, 5))
    assert made.id in [each.id for each in daytona.snapshot.list().items]
    one = create(snapshot="judged-python")
    same((one.cpu, one.snapshot), (2, "judged-python"))
    gone(one)
    api = SnapshotsApi(daytona._api_client)
    api.deactivate_snapshot(made.id)
    same(daytona.snapshot.get("judged-python").state, "inactive")
    thrown(DaytonaBadRequestError, lambda: create(snapshot="judged-python"))
    daytona.snapshot.activate(made)
    until("it is active", lambda: daytona.snapshot.get("judged-python").state == "active")
    daytona.snapshot.delete(made)
    until("its end", lambda: made.id not in [each.id for each in daytona.snapshot.list().items])
    thrown(DaytonaNotFoundError, lambda: daytona.snapshot.get("judged-python"))


@check("snapshots: of a sandbox")
def _():
    files.upload_file(b"kept", "kept.txt")
    sandbox.create_snapshot("judged-python-copy")
    until("it is there", lambda: daytona.snapshot.get("judged-python-copy").state == "active")
    copy = create(snapshot="judged-python-copy")
    same(copy.fs.download_file("kept.txt"), b"kept")
    gone(copy)
    daytona.snapshot.delete("judged-python-copy")


@check("volumes")
def _():
    volume = daytona.volume.get("judged-python", create=True)
    until("it is ready", lambda: daytona.volume.get("judged-python").state == "ready")
    same(VolumesApi(daytona._api_client).get_volume(volume.id).name, "judged-python")
    one = create(volumes=[VolumeMount(volume_id=volume.id, mount_path="/workspace/data")])
    same([each.volume_id for each in one.volumes], [volume.id])
    thrown(DaytonaConflictError, lambda: daytona.volume.delete(volume))
    gone(one)
    daytona.volume.delete(volume)
    until("its end", lambda: daytona.volume.list() == [])


# ---- What goes wrong on the way


@check("faults: statuses, rates, maintenance, answers that are lost")
def _():
    for status, kind in ((429, DaytonaRateLimitError), (500, DaytonaInternalServerError)):
        fault("GET /api/sandbox", {"kind": "status", "status": status, "body": {"statusCode": status, "message": "made up"}})
        same(thrown(kind, ids, "made up").status_code, status)
    fault("POST /api/sandbox", {"kind": "status", "status": 429, "headers": {"Retry-After-sandbox-create": "7"},
                            "body": {"statusCode": 429, "message": "ThrottlerException: Too Many Requests"}})
    headers = {name.lower(): value for name, value in thrown(DaytonaRateLimitError, daytona.create).headers.items()}
    same(headers["retry-after-sandbox-create"], "7")
    fault("POST /api/sandbox", {"kind": "half"})
    thrown(DaytonaError, lambda: create(name="lost"))
    gone(daytona.get("lost"))


# ---- The asynchronous SDK


@check("async: many at once, from create to delete")
async def _():
    async with AsyncDaytona(DaytonaConfig(use_deprecated_polling=True)) as client:
        async def one(n):
            made = await client.create(CreateSandboxFromSnapshotParams(labels={"n": str(n)}))
            same((await made.process.exec("echo $DAYTONA_SANDBOX_ID")).result.strip(), made.id)
            await made.fs.upload_file(str(n).encode(), "f")
            same(await made.fs.download_file("f"), str(n).encode())
            same((await client.get(made.id)).labels["n"], str(n))
            while [each.id async for each in client.list(ListSandboxesQuery(labels={"n": str(n)}))] != [made.id]:
                await asyncio.sleep(0.05)
            await made.delete(wait=True)

        await asyncio.gather(*(one(n) for n in range(8)))


@check("async: sessions followed, code, terminals")
async def _():
    async with AsyncDaytona(DaytonaConfig(use_deprecated_polling=True)) as client:
        made = await client.create()
        async with asyncio.timeout(20):
            await made.process.create_session("s")
            begun = await made.process.execute_session_command("s", SessionExecuteRequest(command="echo o; echo e >&2", run_async=True))
            out, err = [], []
            await made.process.get_session_command_logs_async("s", begun.cmd_id, out.append, err.append)
            same(("".join(out), "".join(err)), ("o\n", "e\n"))
            same((await made.code_interpreter.run_code("print(6 * 7)")).stdout, "42\n")
            said = bytearray()
            terminal = await made.process.create_pty_session("t", on_data=said.extend, pty_size=PtySize(rows=33, cols=91))
            await terminal.send_input("stty size; exit\n")
            same((await terminal.wait()).exit_code, 0)
            assert b"33 91" in said, said
        await made.delete(wait=True)


# ---- What the SDK's own description of the API holds beside what its classes use


@check("the key itself, regions, configuration, its toolbox")
def _():
    key = ApiKeysApi(daytona._api_client).get_current_api_key()
    assert key.permissions and re.fullmatch(r"dtn\*{20}.{3}", key.value), key
    regions = OrganizationsApi(daytona._api_client).list_available_regions()
    assert sandbox.target in [each.id for each in regions]
    config = ConfigApi(daytona._api_client).config_controller_get_config()
    assert config.default_snapshot in [each.name for each in daytona.snapshot.list().items]
    api = SandboxApi(daytona._api_client)
    same(api.get_toolbox_proxy_url(sandbox.id).url, sandbox.toolbox_proxy_url)
    assert InfoApi(sandbox._toolbox_api).get_version()["version"]
    same(HealthApi(daytona._api_client).health_controller_live_with_http_info().status_code, 200)


@check("what keys are not for, and what people may")
def _():
    for refused in (ApiKeysApi(daytona._api_client).list_api_keys, UsersApi(daytona._api_client).get_authenticated_user,
                    OrganizationsApi(daytona._api_client).list_organizations,
                    lambda: OrganizationsApi(daytona._api_client).get_organization(sandbox.organization_id),
                    RegionsApi(daytona._api_client).list_shared_regions):
        thrown(UnauthorizedException, refused, "Invalid credentials")
    person = Daytona(DaytonaConfig(jwt_token=accounts["jwt"], organization_id=sandbox.organization_id, use_deprecated_polling=True))
    client = person._api_client
    same(ApiKeysApi(client).list_api_keys(), [])
    assert UsersApi(client).get_authenticated_user().id
    # The generated client reads no organization that was never suspended.
    organization = OrganizationsApi(client).get_organization_without_preload_content(sandbox.organization_id)
    same((organization.status, json.loads(organization.data)["id"]), (200, sandbox.organization_id))
    organizations = OrganizationsApi(client).list_organizations_without_preload_content()
    same([each["id"] for each in json.loads(organizations.data)], [sandbox.organization_id])
    assert RegionsApi(client).list_shared_regions()
    thrown(UnauthorizedException, ApiKeysApi(client).get_current_api_key)


@check("relatives, backups, logs of a build")
def _():
    api = SandboxApi(daytona._api_client)
    same((api.get_sandbox_forks(sandbox.id), api.get_sandbox_ancestors(sandbox.id)), ([], []))
    thrown(NotFoundException, lambda: api.get_sandbox_parent(sandbox.id))
    same(api.create_backup_with_http_info(sandbox.id).status_code, 201)
    thrown(NotFoundException, lambda: api.get_build_logs_url(sandbox.id))
    built = daytona.create(CreateSandboxFromImageParams(image="alpine:3.20"))
    assert built.id in api.get_build_logs_url(built.id).url
    same(api.get_build_logs_with_http_info(built.id).status_code, 200)
    gone(built)


@check("the end: nothing is left")
def _():
    gone(sandbox)
    until("nothing", lambda: alive() == [])


finish()
