"""OpenHands' own ActionExecutionClient uses a server the way OpenHands does, from connect to close.

    judge_client.py sandkey [--agent PATH]      our agent
    judge_client.py reference                   the control: OpenHands' own server must pass the same checks
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import servers
from servers import Server, ServerError, end_with_parent, make_server

if __name__ == "__main__":
    end_with_parent()  # before the imports that take seconds

import httpx
from client import JudgeRuntime
from openhands.core.config import OpenHandsConfig
from openhands.events import EventSource, EventStream, EventStreamSubscriber
from openhands.events.action import (
    AgentThinkAction,
    BrowseURLAction,
    CmdRunAction,
    FileEditAction,
    FileReadAction,
    FileWriteAction,
    IPythonRunCellAction,
    NullAction,
)
from openhands.events.event import FileReadSource
from openhands.events.observation import (
    AgentThinkObservation,
    CmdOutputObservation,
    ErrorObservation,
    FileEditObservation,
    FileReadObservation,
    FileWriteObservation,
    IPythonRunCellObservation,
    Observation,
)
from openhands.runtime.utils.request import RequestHTTPError
from openhands.storage.memory import InMemoryFileStore


class Judge:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.passed = 0
        self.failed = 0
        self.host = Path(tempfile.mkdtemp(prefix="sandkey-judge-host-"))
        self.runtime = JudgeRuntime(server.url, server.key, sid="judge", env_vars={"JUDGE_TOKEN": "plain-value"})

    def check(self, name: str, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception as error:  # noqa: BLE001 - a failing check must not end the others
            self.failed += 1
            where = traceback.extract_tb(error.__traceback__)
            line = next((f for f in reversed(where) if f.filename == __file__), where[-1])
            print(f"not ok - {name}: {type(error).__name__}: {error} (line {line.lineno}: {line.line})", flush=True)
        else:
            self.passed += 1
            print(f"ok - {name}", flush=True)

    # ---- small helpers ----------------------------------------------------------------------------------------------
    def run(self, command: str, **args: Any) -> CmdOutputObservation:
        answer = self.runtime.run(CmdRunAction(command=command, **args))
        assert isinstance(answer, CmdOutputObservation), answer
        return answer

    def cell(self, code: str) -> str:
        answer = self.runtime.run_ipython(IPythonRunCellAction(code=code))
        assert isinstance(answer, IPythonRunCellObservation), answer
        return answer.content

    def request(self, method: str, path: str, key: str | None = "", **args: Any) -> httpx.Response:
        headers = {} if key is None else {"X-Session-API-Key": key or self.server.key}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.request(method, self.server.url + path, headers=headers, **args)

    # ---- the checks --------------------------------------------------------------------------------------------------
    def all(self) -> None:
        groups = ("check_", "ours_") if self.server.name == "sandkey" else ("check_",)
        for name in [n for n in type(self).__dict__ if n.startswith(groups)]:
            method = getattr(self, name)
            self.check((method.__doc__ or name).strip(), method)
        shutil.rmtree(self.host, ignore_errors=True)

    def check_alive(self) -> None:
        """check_if_alive, before connect"""
        self.runtime.check_if_alive()
        assert self.request("GET", "/alive", None).json() == {"status": "ok"}

    def check_connect(self) -> None:
        """connect: set-up of the environment, status READY"""
        seen: list[str] = []
        self.runtime.status_callback = lambda level, status, message: seen.append(status.value)
        asyncio.run(self.runtime.connect())
        assert self.runtime.runtime_initialized
        assert seen == ["STATUS$STARTING_RUNTIME", "STATUS$READY"], seen

    def check_env_shell(self) -> None:
        """connect: environment variables reach the shell"""
        assert self.run("printenv JUDGE_TOKEN").content == "plain-value"

    def check_env_python(self) -> None:
        """connect: environment variables reach Python"""
        assert self.cell("import os; os.environ['JUDGE_TOKEN']").startswith("'plain-value'")

    def check_env_bashrc(self) -> None:
        """connect: environment variables reach fresh shells through .bashrc"""
        assert self.run("printenv JUDGE_TOKEN", is_static=True).content == "plain-value"

    def check_git_identity(self) -> None:
        """connect: the git identity is set"""
        answer = self.run("git config --global user.name && git config --global user.email")
        assert answer.content == "openhands\nopenhands@all-hands.dev", answer.content

    def check_add_env_vars(self) -> None:
        """add_env_vars after connect"""
        self.runtime.add_env_vars({"judge_late": 'with "quotes" and blanks'})
        assert self.run("printenv JUDGE_LATE").content == 'with "quotes" and blanks'

    def check_run(self) -> None:
        """run: output, exit code, directory"""
        answer = self.run("mkdir -p one && cd one && echo here; false")
        assert (answer.content, answer.exit_code) == ("here", 1), answer
        assert answer.metadata.working_dir == str(self.server.work / "one"), answer.metadata
        assert answer.metadata.username and answer.metadata.hostname, answer.metadata
        assert answer.metadata.suffix == "\n[The command completed with exit code 1.]"
        assert self.run("cd ..").exit_code == 0

    def check_run_soft_timeout(self) -> None:
        """run: soft timeout, C-c, then the next command"""
        action = CmdRunAction(command="echo started; sleep 60")
        action.set_hard_timeout(20, blocking=False)
        answer = self.runtime.run(action)
        assert isinstance(answer, CmdOutputObservation)
        assert answer.content == "started" and answer.exit_code == -1, answer
        assert f"no new output after {self.server.soft_timeout} seconds" in answer.metadata.suffix
        stopped = self.run("C-c", is_input=True)
        assert stopped.exit_code == 130 and "CTRL+C was sent" in stopped.metadata.suffix, stopped
        assert self.run("echo next").content == "next"

    def check_run_hidden(self) -> None:
        """run: hidden output is complete"""
        answer = self.run("seq 1 9000", hidden=True)
        assert answer.hidden and len(answer.content) == len("\n".join(map(str, range(1, 9001))))

    def check_run_error(self) -> None:
        """run: several commands are refused with an error observation"""
        answer = self.runtime.run(CmdRunAction(command="echo a\necho b"))
        assert isinstance(answer, ErrorObservation), answer
        assert "Cannot execute multiple commands at once" in answer.content

    def ours_hidden_refusal(self) -> None:
        """ours only: a refused hidden command does not break the client (theirs answers what it cannot read)"""
        answer = self.runtime.run(CmdRunAction(command="echo a\necho b", hidden=True))
        assert "Cannot execute multiple commands at once" in answer.content, answer

    def ours_shell_recovers(self) -> None:
        """ours only: after `exit` the next command gets a new shell (theirs never answers again)"""
        assert self.run("exit 3").exit_code == 3
        assert self.run("echo new shell").content == "new shell"

    def ours_output_in_order(self) -> None:
        """ours only: 300 commands in a row, each with its own output and no other"""
        for number in range(300):
            answer = self.run(f"echo line {number}; echo to stderr {number} >&2")
            assert answer.content == f"line {number}\nto stderr {number}", (number, answer.content)

    def ours_large_output(self) -> None:
        """ours only: large output is complete when the command is"""
        for size in (1000, 5000, 9000) * 5:
            answer = self.run(f"seq 1 {size}", hidden=True)
            assert answer.content == "\n".join(map(str, range(1, size + 1))), (size, len(answer.content))
            assert self.run("true").content == ""

    def ours_session_key_unseen(self) -> None:
        """ours only: the session key is nowhere a command can look"""
        answer = self.run("env; cat /proc/$PPID/environ /proc/$PPID/cmdline 2>/dev/null | tr '\\0' '\\n'")
        assert self.server.key not in answer.content
        assert self.server.key not in self.cell("import os; print(dict(os.environ))")

    def check_ipython(self) -> None:
        """run_ipython: state, output, error, image"""
        self.cell("judge = 20")
        assert self.cell("judge + 1").startswith("21\n[Jupyter current working directory: ")
        time.sleep(0.1)
        assert "ZeroDivisionError" in self.cell("1/0")
        time.sleep(0.2)  # the reference drops a cell that follows an error at once
        png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        answer = self.runtime.run_ipython(
            IPythonRunCellAction(
                code=f"import base64\nfrom IPython.display import Image\nImage(data=base64.b64decode('{png}'))"
            )
        )
        assert isinstance(answer, IPythonRunCellObservation)
        assert answer.image_urls == [f"data:image/png;base64,{png}"], answer.image_urls

    def check_write_read(self) -> None:
        """write and read, absolute and relative"""
        path = str(self.server.work / "notes.txt")
        answer = self.runtime.write(FileWriteAction(path=path, content="alpha\nbeta"))
        assert isinstance(answer, FileWriteObservation) and answer.path == path, answer
        back = self.runtime.read(FileReadAction(path=path))
        assert isinstance(back, FileReadObservation) and back.content == "alpha\nbeta\n", back
        relative = self.runtime.read(FileReadAction(path="notes.txt", start=1))
        assert relative.content == "beta\n" and relative.path == path, relative

    def check_read_missing(self) -> None:
        """read: a missing file is an error observation"""
        answer = self.runtime.read(FileReadAction(path=str(self.server.work / "nowhere")))
        assert isinstance(answer, ErrorObservation) and answer.content.startswith("File not found: "), answer

    def check_edit(self) -> None:
        """edit: create, str_replace, insert, undo_edit, and read through the editor"""
        path = str(self.server.work / "edited.py")
        make = self.runtime.edit(FileEditAction(path=path, command="create", file_text="a = 1\nb = 2\n"))
        assert isinstance(make, FileEditObservation), make
        assert make.content == f"File created successfully at: {path}", make
        replace = self.runtime.edit(FileEditAction(path=path, command="str_replace", old_str="b = 2", new_str="b = 3"))
        assert f"The file {path} has been edited." in replace.content and "+b = 3" in (replace.diff or ""), replace
        self.runtime.edit(FileEditAction(path=path, command="insert", insert_line=0, new_str="# top"))
        assert Path(path).read_text() == "# top\na = 1\nb = 3\n"
        self.runtime.edit(FileEditAction(path=path, command="undo_edit"))
        view = self.runtime.read(FileReadAction(path=path, impl_source=FileReadSource.OH_ACI, view_range=[2, 2]))
        assert view.content.endswith("     2\tb = 3\n"), view
        wrong = self.runtime.edit(FileEditAction(path=path, command="str_replace", old_str="zzz", new_str="y"))
        assert isinstance(wrong, FileEditObservation) and wrong.content.startswith("ERROR:\n"), wrong

    def check_list_files(self) -> None:
        """list_files: order, hidden names, relative and missing directories"""
        base = self.server.work / "listing"
        for name in ("zdir", "Adir", ".dotdir"):
            (base / name).mkdir(parents=True)
        for name in ("b.txt", "A.txt", ".hidden"):
            (base / name).write_text("")
        expected = [".dotdir/", "Adir/", "zdir/", ".hidden", "A.txt", "b.txt"]
        assert self.runtime.list_files(str(base)) == expected, self.runtime.list_files(str(base))
        assert self.runtime.list_files("listing") == expected
        assert "listing/" in self.runtime.list_files()
        assert self.runtime.list_files(str(base / "nothing")) == []
        assert self.runtime.list_files(str(base / "b.txt")) == []

    def check_copy_to_file(self) -> None:
        """copy_to: a file, into a directory that does not exist yet"""
        source = self.host / "däta file.bin"
        source.write_bytes(os.urandom(3_000_001))
        target = self.server.work / "uploads" / "deep"
        self.runtime.copy_to(str(source), str(target))
        assert (target / source.name).read_bytes() == source.read_bytes()

    def check_copy_to_directory(self) -> None:
        """copy_to: a directory"""
        tree = self.host / "project"
        (tree / "src" / "deep").mkdir(parents=True)
        (tree / "README.md").write_text("# read me\n")
        (tree / "src" / "deep" / "ünï.txt").write_text("é\n")
        (tree / "src" / "empty.txt").write_text("")
        target = self.server.work / "copied"
        self.runtime.copy_to(str(tree), str(target), recursive=True)
        assert (target / "project" / "README.md").read_text() == "# read me\n"
        assert (target / "project" / "src" / "deep" / "ünï.txt").read_text() == "é\n"
        assert (target / "project" / "src" / "empty.txt").read_bytes() == b""
        assert sorted(os.listdir(target)) == ["project"], os.listdir(target)

    def check_copy_to_zip(self) -> None:
        """copy_to: a plain .zip is unpacked, as the reference does"""
        source = self.host / "bundle.zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("inside/a.txt", "zipped " * 100)
        target = self.server.work / "unzipped"
        self.runtime.copy_to(str(source), str(target))
        assert (target / "inside" / "a.txt").read_text() == "zipped " * 100
        assert not (target / "bundle.zip").exists()

    def check_copy_to_missing(self) -> None:
        """copy_to: a missing source"""
        try:
            self.runtime.copy_to(str(self.host / "nothing"), str(self.server.work))
        except FileNotFoundError:
            return
        raise AssertionError("no FileNotFoundError")

    def check_copy_from(self) -> None:
        """copy_from: a directory comes back byte for byte"""
        source = self.server.work / "results"
        (source / "sub").mkdir(parents=True)
        (source / "big.bin").write_bytes(os.urandom(2_500_000))
        (source / "sub" / "ünï.txt").write_text("é\n")
        (source / "sub" / ".hidden").write_text("h")
        archive = self.runtime.copy_from(str(source))
        with zipfile.ZipFile(archive) as opened:
            names = sorted(n for n in opened.namelist() if not n.endswith("/"))
            assert names == ["big.bin", "sub/.hidden", "sub/ünï.txt"], names
            assert opened.read("big.bin") == (source / "big.bin").read_bytes()
            assert opened.read("sub/ünï.txt").decode() == "é\n"
            assert opened.testzip() is None
        archive.unlink()

    def check_round_trip(self) -> None:
        """copy_to and copy_from: 40 MB up and down"""
        source = self.host / "large.bin"
        block = os.urandom(1 << 20)
        with open(source, "wb") as out:
            for index in range(40):
                out.write(index.to_bytes(8, "big") + block[8:])
        target = self.server.work / "large"
        self.runtime.copy_to(str(source), str(target))
        archive = self.runtime.copy_from(str(target))
        with zipfile.ZipFile(archive) as opened:
            digest = hashlib.sha256(opened.read("large.bin")).hexdigest()
        archive.unlink()
        assert digest == hashlib.sha256(source.read_bytes()).hexdigest()
        shutil.rmtree(target)

    def check_git_changes(self) -> None:
        """get_git_changes and get_git_diff: static hidden commands and copied scripts"""
        repository = self.server.work / "repository"
        self.run(f"git init -q -b main {repository} && cd {repository} && echo one > kept.txt && git add . && "
                 "git commit -q -m first && echo two > kept.txt && echo new > added.txt")  # fmt: skip
        self.run("cd -")
        changes = self.runtime.get_git_changes(str(repository))
        # No remote: OpenHands' script compares with the empty tree, so both files count as added.
        assert sorted((c["status"], c["path"]) for c in changes or []) == [("A", "added.txt"), ("A", "kept.txt")], changes
        difference = self.runtime.get_git_diff("kept.txt", str(repository))
        assert difference["modified"].strip() == "two" and difference["original"] == "", difference

    def check_browse(self) -> None:
        """browse: a clear error observation"""
        answer = self.runtime.browse(BrowseURLAction(url="http://127.0.0.1:1"))
        assert isinstance(answer, ErrorObservation), answer
        assert answer.content == "Browser functionality is not supported or disabled.", answer

    def check_vscode(self) -> None:
        """vscode/connection_token: null"""
        assert self.request("GET", "/vscode/connection_token").json() == {"token": None}

    def check_mcp(self) -> None:
        """update_mcp_server: an empty list is accepted"""
        answer = self.request("POST", "/update_mcp_server", json=[])
        assert answer.status_code == 200 and answer.json()["detail"] == "MCP server updated successfully", answer.text

    def check_server_info(self) -> None:
        """server_info: open, with uptime, idle time and resources"""
        info = self.request("GET", "/server_info", None).json()
        assert set(info) == {"uptime", "idle_time", "resources"}, info
        assert set(info["resources"]) == {"cpu_percent", "memory", "disk", "io"}, info
        assert set(info["resources"]["memory"]) == {"rss", "vms", "percent"}, info

    def check_wrong_key(self) -> None:
        """wrong key: 403 through the client, and nothing is run"""
        marker = self.server.work / "must-not-exist"
        other = JudgeRuntime(self.server.url, "wrong-" + secrets.token_hex(8), sid="wrong", jupyter=False)
        other.check_if_alive()
        try:
            other.run(CmdRunAction(command=f"touch {marker}"))
        except RequestHTTPError as error:
            assert error.response.status_code == 403 and error.detail == "Invalid API Key", error
        else:
            raise AssertionError("a wrong key was accepted")
        finally:
            other.close()
        for method, path in (("POST", "/execute_action"), ("POST", "/list_files"), ("GET", "/download_files?path=/etc"),
                             ("POST", "/upload_file?destination=/tmp"), ("GET", "/vscode/connection_token"),
                             ("POST", "/update_mcp_server")):  # fmt: skip
            for key in (None, "x", self.server.key[:-1], self.server.key + "0"):
                assert self.request(method, path, key).status_code == 403, (method, path, key)
        assert not marker.exists()

    def check_bad_requests(self) -> None:
        """bad requests: refused, with the reason, and the server goes on"""
        post = lambda path, **a: self.request("POST", path, **a)  # noqa: E731
        # The reference answers 500 to whatever goes wrong; ours tells the request's faults (4xx) from its own. Their
        # clients treat all of them alike.
        refused = (500,) if self.server.name == "reference" else (400, 404)
        assert post("/execute_action", json={}).status_code == 422
        assert post("/execute_action", content=b"{not json").status_code == 422
        for action in ({}, {"action": "no_such_action", "args": {}}, {"action": "run", "args": {"nope": 1}}):
            answer = post("/execute_action", json={"action": action})
            assert answer.status_code in refused, (action, answer.status_code)
            assert answer.json()["detail"], answer.text
        answer = post("/upload_file?destination=relative", files={"file": ("a.txt", b"x")})
        assert answer.status_code in refused and "absolute path" in answer.json()["detail"], answer.text
        answer = self.request("GET", "/download_files", params={"path": "/no/such/place"})
        assert answer.status_code in refused and answer.json()["detail"], answer.text
        answer = self.request("GET", "/download_files", params={"path": "relative"})
        assert answer.status_code in refused and "absolute path" in answer.json()["detail"], answer.text
        assert self.request("GET", "/download_files").status_code == 422
        assert self.request("GET", "/no/such/route").status_code == 404
        assert self.request("GET", "/execute_action").status_code == 405
        assert self.run("echo goes on").content == "goes on"

    def check_think(self) -> None:
        """actions the client answers itself"""
        assert isinstance(self.runtime.run_action(AgentThinkAction(thought="hm")), AgentThinkObservation)

    def check_event_stream(self) -> None:
        """event stream: actions are consumed, observations published with their cause"""
        stream = EventStream("judge-stream", InMemoryFileStore())
        seen: list[Observation] = []
        enough = threading.Event()

        def on_event(event: Any) -> None:
            if isinstance(event, Observation):
                seen.append(event)
                if len(seen) == 3:
                    enough.set()

        stream.subscribe(EventStreamSubscriber.TEST, on_event, "judge")
        runtime = JudgeRuntime(self.server.url, self.server.key, sid="judge-stream", event_stream=stream)
        asyncio.run(runtime.connect())
        ids = []
        for action in (
            CmdRunAction(command="echo through the stream"),
            NullAction(),  # answered with nothing
            IPythonRunCellAction(code="'cell'"),
            FileReadAction(path=str(self.server.work / "notes.txt")),
        ):
            stream.add_event(action, EventSource.AGENT)
            ids.append(action.id)
        assert enough.wait(30), seen
        del ids[1]
        assert [o.cause for o in seen] == ids, [o.cause for o in seen]
        assert [type(o) for o in seen] == [CmdOutputObservation, IPythonRunCellObservation, FileReadObservation], seen
        assert seen[0].content == "through the stream"
        runtime.close()
        threading.Thread(target=stream.close, daemon=True).start()

    def check_attach(self) -> None:
        """attach_to_existing: the same shell and Python, no new set-up"""
        self.run("judge_shell_variable=kept")
        other = JudgeRuntime(self.server.url, self.server.key, sid="judge", attach_to_existing=True, env_vars={"JUDGE_NOT": "1"})
        asyncio.run(other.connect())
        answer = other.run(CmdRunAction(command='echo "$judge_shell_variable ${JUDGE_NOT-unset}"'))
        assert answer.content == "kept unset", answer
        assert other.run_ipython(IPythonRunCellAction(code="judge")).content.startswith("20\n")
        other.close()

    def check_one_at_a_time(self) -> None:
        """two clients at once: actions queue, none is lost"""
        others = [JudgeRuntime(self.server.url, self.server.key, sid=f"p{n}", attach_to_existing=True) for n in range(4)]
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda r=r, n=n: answers.append(r.run(CmdRunAction(command=f"echo from {n}")).content))
            for n, r in enumerate(others)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == [f"from {n}" for n in range(4)], answers
        for other in others:
            other.close()

    def check_default_config(self) -> None:
        """the action timeout comes from the configuration"""
        config = OpenHandsConfig()
        config.sandbox.timeout = 1
        runtime = JudgeRuntime(self.server.url, self.server.key, sid="short", config=config, attach_to_existing=True)
        answer = runtime.run(CmdRunAction(command="sleep 30"))
        assert isinstance(answer, CmdOutputObservation) and "timed out after 1" in answer.metadata.suffix, answer
        stop = CmdRunAction(command="C-c", is_input=True)
        stop.set_hard_timeout(10)
        assert runtime.run(stop).exit_code == 130
        runtime.close()

    def check_close(self) -> None:
        """close: twice is fine, and the server goes on for the next client"""
        self.runtime.close()
        self.runtime.close()
        other = JudgeRuntime(self.server.url, self.server.key, sid="next", attach_to_existing=True)
        other.check_if_alive()
        assert other.run(CmdRunAction(command="echo again")).content == "again"
        other.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["reference", "sandkey"])
    parser.add_argument("--agent", default=os.environ.get("SANDKEY_AGENT"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sandkey-judge-", ignore_cleanup_errors=True) as root:
        servers.scratch.append(Path(root))
        try:
            server = make_server(options.kind, Path(root), options.agent)
            with server:
                judge = Judge(server)
                servers.scratch.append(judge.host)
                judge.all()
                if options.kind == "sandkey":
                    judge.check("SIGTERM: ends by itself and leaves no process behind", lambda: ends_cleanly(judge, server))
        except ServerError as error:
            print(f"not ok - {error}\n0 passed, 1 failed")
            return 1
    print(f"{judge.passed} passed, {judge.failed} failed")
    return 1 if judge.failed else 0


def ends_cleanly(judge: Judge, server: Server) -> None:
    runtime = JudgeRuntime(server.url, server.key, sid="last", attach_to_existing=True)
    runtime.run(CmdRunAction(command="sleep 300 &"))
    runtime.close()
    status = server.terminate(10)
    assert status is not None, "it had to be killed"
    deadline = time.monotonic() + 3
    while server.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in server.leftovers()]
    assert not names, names


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # OpenHands registers exit handlers and threads that would hold the process for seconds
