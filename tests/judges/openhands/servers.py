"""Starting and stopping the two servers the judge compares.

`ReferenceServer` is OpenHands' own action execution server, run directly on this machine (no container), and
`SandkeyServer` is `sandkey-agent`. Both get the same environment, the same working directory and the same home, so the
texts of their observations can be compared byte for byte.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SOFT_TIMEOUT_SECONDS = 2


class ServerError(RuntimeError):
    """The server did not start; the message holds the end of its log."""


def free_port() -> int:
    """A port that is free now. The reference also looks for a second one in the thousand above it."""
    for _ in range(100):
        port = 20000 + secrets.randbelow(20000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError("no free port found")


def _alive_with_marker(marker: str) -> list[int]:
    """Every process that carries the marker in its environment, however far it has moved from its parent."""
    wanted = f"SANDKEY_JUDGE_SESSION={marker}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as env:
                if wanted not in env.read().split(b"\0"):
                    continue
            with open(f"/proc/{entry}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    continue
        except OSError:
            continue
        found.append(int(entry))
    return found


class Server:
    """Common half: environment, wait until alive, clean end."""

    name = "server"
    start_seconds = 60.0

    def __init__(self, root: Path, soft_timeout: int = SOFT_TIMEOUT_SECONDS, keep_files: bool = False) -> None:
        self.root = root
        self.work = root / "work"
        self.home = root / "home"
        self.tmp = root / "tmp"
        self.log_path = root / f"{self.name}.log"
        self.key = secrets.token_hex(16)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.soft_timeout = soft_timeout
        self.keep_files = keep_files
        self.marker = secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_in = 0.0

    # ---- to be given by the two servers -----------------------------------------------------------------------------
    def command(self) -> list[str]:
        raise NotImplementedError

    def extra_env(self) -> dict[str, str]:
        return {}

    def end_helpers(self) -> None:
        """End what the server itself leaves behind."""

    # ---- life ---------------------------------------------------------------------------------------------------------
    def environment(self) -> dict[str, str]:
        venv_bin = str(Path(sys.executable).parent)
        env = {
            "PATH": f"{venv_bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "USER": os.environ.get("USER") or _user_name(),
            "LOGNAME": os.environ.get("USER") or _user_name(),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "NO_CHANGE_TIMEOUT_SECONDS": str(self.soft_timeout),
            "SANDKEY_JUDGE_SESSION": self.marker,
            "MPLCONFIGDIR": str(self.home / ".matplotlib"),
        }
        env.update(self.extra_env())
        return env

    def start(self) -> "Server":
        if not self.keep_files:
            for directory in (self.work, self.home, self.tmp):
                shutil.rmtree(directory, ignore_errors=True)
        for directory in (self.work, self.home, self.tmp):
            directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        _running.append(self)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_alive(began + self.start_seconds)
        except BaseException:
            self.stop()
            raise
        self.started_in = time.monotonic() - began
        return self

    def _wait_until_alive(self, deadline: float) -> None:
        assert self.process is not None
        last = "no answer yet"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(
                    f"{self.name}: the process ended with status {self.process.returncode} before it was alive\n{self.log_tail()}"
                )
            try:
                with opener.open(f"{self.url}/alive", timeout=5) as reply:
                    body = reply.read().decode(errors="replace")
                    if reply.status == 200 and '"ok"' in body:
                        return
                    last = f"{reply.status} {body}"
            except (urllib.error.URLError, OSError) as error:
                last = str(error)
            time.sleep(0.02 if time.monotonic() + self.start_seconds < deadline + 2 else 0.2)
        raise ServerError(f"{self.name}: not alive after {self.start_seconds:.0f} s, last: {last}\n{self.log_tail()}")

    def log_tail(self, lines: int = 30) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def leftovers(self) -> list[int]:
        """Processes of this server (and of what it ran) that are still there."""
        return _alive_with_marker(self.marker)

    def terminate(self, seconds: float = 10.0) -> int | None:
        """Ask the server to end; its exit status, or None where it had to be killed."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return None
        return self.process.returncode

    def stop(self) -> None:
        self.terminate()
        self.end_helpers()
        for attempt in range(50):
            left = self.leftovers()
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGTERM if attempt == 0 else signal.SIGKILL)
            time.sleep(0.1)
        if self in _running:
            _running.remove(self)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


_running: list[Server] = []  # to be stopped when a signal ends us
children: list[subprocess.Popen[bytes]] = []  # programs like this one that we started, told to end first
scratch: list[Path] = []  # directories removed in the end


def _end_all(*_: object) -> None:
    for child in children:
        child.terminate()
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)
    for server in list(_running):
        server.stop()
    for directory in scratch:
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(128 + signal.SIGTERM)


def end_with_parent() -> None:
    """For programs that start servers: SIGTERM, sent to us or because our parent died, ends the servers too."""
    signal.signal(signal.SIGTERM, _end_all)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() == 1 and "SANDKEY_JUDGE_RUN" in os.environ:  # it died before we got here
        sys.exit(128 + signal.SIGTERM)


def _user_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


class ReferenceServer(Server):
    """OpenHands' action execution server with Jupyter, without browser, as the current user."""

    name = "reference"
    start_seconds = 180.0

    def __init__(self, root: Path, paced: bool = True, **options: object) -> None:
        super().__init__(root, **options)  # type: ignore[arg-type]
        self.paced = paced

    def command(self) -> list[str]:
        paced = str(Path(__file__).resolve().parent / "paced_reference.py")
        return [
            sys.executable, "-u", *([paced] if self.paced else ["-m", "openhands.runtime.action_execution_server"]), str(self.port),
            "--working-dir", str(self.work),
            "--plugins", "agent_skills", "jupyter",
            "--username", _user_name(),
            "--user-id", str(os.getuid()),
            "--no-enable-browser",
        ]  # fmt: skip

    def extra_env(self) -> dict[str, str]:
        import openhands

        sockets = self.root / "tmux"
        sockets.mkdir(parents=True, exist_ok=True)
        return {
            # A tmux server of our own: one that the user may have running is neither used nor ended.
            "TMUX_TMPDIR": str(sockets),
            # Start the kernel with this interpreter instead of the container's micromamba, and no `su`.
            "LOCAL_RUNTIME_MODE": "1",
            "OPENHANDS_REPO_PATH": str(Path(openhands.__path__[0]).parent),
            "SU_TO_USER": "false",
            "SESSION_API_KEY": self.key,
            "LOG_LEVEL": "WARNING",
        }

    def end_helpers(self) -> None:
        env = {"TMUX_TMPDIR": str(self.root / "tmux"), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        with contextlib.suppress(OSError):
            subprocess.run(["tmux", "kill-server"], env=env, capture_output=True, check=False)


class SandkeyServer(Server):
    """Our agent, on loopback TCP since OpenHands' client cannot reach a Unix socket."""

    name = "sandkey"
    start_seconds = 20.0

    def __init__(self, root: Path, agent: str, options: list[str] | None = None, **others: object) -> None:
        super().__init__(root, **others)  # type: ignore[arg-type]
        self.agent = agent
        self.options = options or []

    def command(self) -> list[str]:
        key_file = self.root / "session-key"
        with open(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(self.key)
        return [
            self.agent,
            "--listen", f"127.0.0.1:{self.port}",
            "--working-dir", str(self.work),
            "--session-key-file", str(key_file),
            *self.options,
        ]  # fmt: skip


def make_server(kind: str, root: Path, agent: str | None, **options: object) -> Server:
    if kind == "reference":
        return ReferenceServer(root, **options)  # type: ignore[arg-type]
    if kind == "sandkey":
        if not agent:
            raise ServerError("no sandkey-agent given: set SANDKEY_AGENT or use --agent")
        return SandkeyServer(root, agent, **options)
    raise ValueError(kind)


def main() -> int:
    """servers.py reference|sandkey -- COMMAND...: run COMMAND beside a fresh server; its status is ours."""
    import tempfile

    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print(main.__doc__, file=sys.stderr)
        return 2
    end_with_parent()
    with tempfile.TemporaryDirectory(prefix="sandkey-judge-", ignore_cleanup_errors=True) as root:
        scratch.append(Path(root))
        try:
            with make_server(sys.argv[1], Path(root), os.environ.get("SANDKEY_AGENT")) as server:
                key_file = Path(root) / "judge-key"
                with open(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                    out.write(server.key)
                given = {
                    "SANDKEY_JUDGE_URL": server.url,
                    "SANDKEY_JUDGE_KEY": server.key,
                    "SANDKEY_JUDGE_KEY_FILE": str(key_file),
                    "SANDKEY_JUDGE_WORK": str(server.work),
                    "SANDKEY_AGENT": server.url,  # what our command line reads
                    "SANDKEY_SESSION_KEY_FILE": str(key_file),
                }
                children.append(subprocess.Popen(sys.argv[3:], env={**os.environ, **given}))
                return children[0].wait()
        except ServerError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
