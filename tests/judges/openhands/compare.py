"""Runs the table of `actions.py` against both servers and compares every field of every observation.

    compare.py run KIND --out FILE [--agent PATH] [--only SEQUENCE[,SEQUENCE]]     run the table, record it
    compare.py diff REFERENCE OURS [--reviewed FILE]                               compare two records
    compare.py all [--agent PATH] [--reference FILE] [--keep DIRECTORY]            both, then compare

Every difference must stand in the reviewed list together with what our side may answer; an entry that no longer
explains anything is a failure too, so the list stays true.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import actions
import servers
from servers import Server, ServerError, end_with_parent, make_server

HERE = Path(__file__).resolve().parent
ABSENT = "<absent>"


# ---- recording --------------------------------------------------------------------------------------------------------


def _fill(value: Any, where: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in where.items():
            value = value.replace(name, text)
        return value
    if isinstance(value, dict):
        return {k: _fill(v, where) for k, v in value.items()}
    return value


def _file_fields(directory: Path, names: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in names:
        path = directory / name
        try:
            mode = oct(path.lstat().st_mode)
        except OSError as error:
            fields[f"file:{name}"] = type(error).__name__
            continue
        fields[f"file:{name}:mode"] = mode
        if path.is_file():
            data = path.read_bytes()
            text = data.decode(errors="backslashreplace")
            fields[f"file:{name}"] = text if len(text) < 2000 else hashlib.sha256(data).hexdigest()
    return fields


def _observe(runtime: Any, step: actions.Step, where: dict[str, str]) -> dict[str, Any]:
    """One action through OpenHands' client: what it made of the reply, and what stood in the raw reply."""
    from client import make_action
    from openhands.events.serialization import event_to_dict

    action = make_action(step.kind, _fill(step.args, where), step.timeout, step.blocking)
    began = time.monotonic()
    result: dict[str, Any] = {}
    try:
        observation = getattr(runtime, step.kind)(action)
        result["parsed"] = event_to_dict(observation)
    except Exception as error:  # noqa: BLE001 - whatever the client raises is what its user sees
        result["raised"] = f"{type(error).__name__}: {getattr(error, 'detail', None) or error}"
    result["raw"] = runtime.last_reply
    result["seconds"] = round(time.monotonic() - began, 4)
    if step.kind == "run_ipython" and _failed_cell(result["raw"]):
        time.sleep(0.15)  # the reference answers at the error message; a cell that comes at once is dropped by its kernel
    return result


def _failed_cell(raw: Any) -> bool:
    content = raw.get("content", "") if isinstance(raw, dict) else ""
    return "Error" in content or "Traceback" in content or "SystemExit" in content or "timed out" in content


def _enter(runtime: Any, directory: Path) -> None:
    """Bring the shell to the sequence's directory, whatever the last sequence left running."""
    from openhands.events.action import CmdRunAction

    answer = None
    for attempt in range(4):
        action = CmdRunAction(command=f"cd '{directory}'")
        action.set_hard_timeout(10, blocking=True)
        answer = runtime.run(action)
        if getattr(answer, "exit_code", None) == 0:
            return
        for key in ("C-c", "C-d")[: attempt + 1]:
            stop = CmdRunAction(command=key, is_input=True)
            stop.set_hard_timeout(5, blocking=False)
            runtime.run(stop)
    raise ServerError(f"the shell does not get to {directory}: {answer}")


def record(server: Server, only: set[str] | None = None, verbose: bool = False) -> dict[str, Any]:
    from client import JudgeRuntime

    runtime = JudgeRuntime(server.url, server.key, sid=f"table-{server.name}")
    asyncio.run(runtime.connect())
    results: dict[str, Any] = {}
    for sequence in actions.SEQUENCES:
        if only and sequence.name not in only:
            continue
        began = time.monotonic()
        directory = server.work / sequence.name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        sequence.prepare(directory)
        try:
            _enter(runtime, directory)
        except Exception as error:  # noqa: BLE001 - the whole sequence is then unusable, which is a result
            for step in sequence.steps:
                results[step.id] = {"raised": f"sequence not started: {error}", "raw": None, "seconds": 0.0}
            continue
        where = {"@D@": str(directory), "@W@": str(server.work)}
        for step in sequence.steps:
            results[step.id] = _observe(runtime, step, where)
            results[step.id]["files"] = _file_fields(directory, step.files)
            if verbose:
                print(f"# {server.name} {step.id} {results[step.id]['seconds']:.2f}s", file=sys.stderr, flush=True)
        if verbose:
            print(f"# {server.name} {sequence.name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    runtime.close()
    return {"server": server.name, "work": str(server.work), "home": str(server.home), "results": results}


# ---- comparing --------------------------------------------------------------------------------------------------------

# Only what cannot be the same twice: process numbers, addresses, random names. Nothing else is smoothed over.
_NORMAL: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\b0x[0-9a-fA-F]{6,}"), "0x<ADDRESS>"),
    (re.compile(r"\S*/ipykernel_\d+/\d+\.py"), "<CELL FILE>"),
    (re.compile(r"(\[Jupyter Python interpreter: [^\]]*/bin/python)[0-9.]*\]"), r"\1]"),  # python, python3, python3.12
    (re.compile(r"(?m)^(\[\d+\][+-]? ) *\d+$"), r"\1<PID>"),  # "[1] 12345": a job was started
    (re.compile(r"(?m)^(bash: (?:line \d+: )?) *\d+ (Killed|Terminated|Segmentation)"), r"\1<PID> \2"),
    (re.compile(r"\b\d+(\.\d+)? (ns|us|µs|ms) ±"), "<TIME> ±"),
]


def _normal(value: Any, work: list[str]) -> Any:
    """`work`: the working directories, the same for both servers, so that the reviewed list can name them."""
    if isinstance(value, str):
        for directory in work:
            value = value.replace(directory, "@W@")
        for pattern, text in _NORMAL:
            value = pattern.sub(text, value)
    return value


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if prefix else key, inner, into)
    else:
        into[prefix] = value


def _follows(name: str, fields: dict[str, Any]) -> bool:
    """Whether a field says nothing but what others say, in the reference's own way: it is then not reported twice."""
    code = fields.get("extras.metadata.exit_code")
    value = fields.get(name, ABSENT)
    if fields.get("observation") != "run":
        return value == ABSENT or (name == "message" and value == fields.get("content"))
    return (
        (name == "message" and value == f"Command `{fields.get('extras.command')}` executed with exit code {code}.")
        or (name == "success" and value == (code == 0))
        or (name == "extras.metadata.suffix" and value == f"\n[The command completed with exit code {code}.]")
    )


def fields_of(result: dict[str, Any], work: list[str]) -> dict[str, Any]:
    """Everything that is compared about one action."""
    fields: dict[str, Any] = {}
    if "raised" in result:
        fields["raised"] = result["raised"]
    if isinstance(result.get("raw"), dict):
        _flatten("", result["raw"], fields)
    parsed: dict[str, Any] = {}
    _flatten("", result.get("parsed") or {}, parsed)
    for name, value in parsed.items():  # only where the client's view is not simply the raw reply
        if name in ("timestamp", "id", "cause", "source"):
            continue
        if fields.get(name, ABSENT) != value:
            fields[f"parsed.{name}"] = value
    fields.update(result.get("files") or {})
    if isinstance(fields.get("extras.metadata.pid"), int) and fields["extras.metadata.pid"] > 0:
        fields["extras.metadata.pid"] = "<PID>"
    return {name: _normal(value, work) for name, value in fields.items()}


class Reviewed:
    """One entry of the reviewed list: actions, the reason, and for every field what we answer (and what they do)."""

    KINDS = ("ours", "ours_re", "reference", "reference_re")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.actions: list[str] = raw.get("actions", [])
        self.reason: str = raw.get("reason", "").strip()
        self.varies: bool = raw.get("reference_varies", False)
        self.values = {kind: self._by_field(raw.get(kind, {})) for kind in self.KINDS}
        self.fields = [*self.values["ours"], *self.values["ours_re"]]
        self.used: set[tuple[str, str]] = set()
        if unknown := set(raw) - {"actions", "reason", "reference_varies", *self.KINDS}:
            self._wrong(f"unknown key {sorted(unknown)}")
        if not self.actions or not self.reason:
            self._wrong("actions and reason are needed")
        if unknown := set(self.actions) - {step.id for sequence in actions.SEQUENCES for step in sequence.steps}:
            self._wrong(f"no such action: {', '.join(sorted(unknown))}")
        if not self.fields or len(set(self.fields)) != len(self.fields):
            self._wrong("every field stands in exactly one of ours and ours_re")

    def _wrong(self, why: str) -> None:
        raise SystemExit(f"reviewed_differences.toml: {', '.join(self.actions) or self.reason}: {why}")

    @staticmethod
    def _by_field(table: dict[str, Any]) -> dict[str, Any]:
        return {field.strip(): value for fields, value in table.items() for field in fields.split(",")}

    def _fits(self, side: str, field: str, value: Any) -> bool:
        text = value if isinstance(value, str) else json.dumps(value)
        if field in self.values[side]:
            return value == self.values[side][field]
        if field in self.values[f"{side}_re"]:
            return re.fullmatch(self.values[f"{side}_re"][field], text, re.DOTALL) is not None
        return side == "reference"  # what they answer may be left open

    def explains(self, action: str, field: str, reference: Any, ours: Any) -> bool:
        if action not in self.actions or field not in self.fields:
            return False
        if not self._fits("ours", field, ours) or not self._fits("reference", field, reference):
            return False
        self.used.add((action, field))
        return True

    def unused(self, ran: set[str]) -> list[str]:
        if self.varies or not any(a in ran for a in self.actions):
            return []
        stale = [a for a in self.actions if a in ran and a not in {action for action, _ in self.used}]
        return stale + [f"field {f}" for f in self.fields if f not in {field for _, field in self.used}]


def load_reviewed(path: Path) -> list[Reviewed]:
    with open(path, "rb") as file:
        return [Reviewed(entry) for entry in tomllib.load(file).get("difference", [])]


def _short(value: Any, limit: int = 300) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]} ({len(text)} characters)"


def diff(reference: dict[str, Any], ours: dict[str, Any], reviewed: list[Reviewed], findings: Path | None) -> int:
    ran = set(reference["results"]) & set(ours["results"])
    passed = failed = explained = 0
    lines: list[str] = []
    work = [reference["work"]] if isinstance(reference["work"], str) else reference["work"]
    if reference["work"] != ours["work"]:
        raise SystemExit("the two records come from different working directories, their texts cannot be compared")
    print(f"{'action':32} {'reference':>10} {'sandkey':>10}  result")
    for sequence in actions.SEQUENCES:
        for step in sequence.steps:
            if step.id not in ran:
                continue
            left, right = reference["results"][step.id], ours["results"][step.id]
            a, b = fields_of(left, work), fields_of(right, work)
            differing = [n for n in [*a, *(n for n in b if n not in a)] if a.get(n, ABSENT) != b.get(n, ABSENT)]
            differing = [n for n in differing if not (_follows(n, a) and _follows(n, b))]
            open_fields, reasons = [], []
            for name in differing:
                matching = [r for r in reviewed if r.explains(step.id, name, a.get(name, ABSENT), b.get(name, ABSENT))]
                if matching:
                    reasons.append(f"{name}: {matching[0].reason}")
                else:
                    open_fields.append(name)
            verdict = "same" if not differing else "reviewed" if not open_fields else "DIFFERENT"
            print(f"{step.id:32} {left['seconds']*1000:8.1f}ms {right['seconds']*1000:8.1f}ms  {verdict}"
                  + (f" ({', '.join(differing)})" if differing else ""))  # fmt: skip
            explained += bool(reasons)
            if not open_fields:
                passed += 1
                continue
            failed += 1
            lines.append(f"## {step.id} ({sequence.name}, {step.kind})\n\n    {_short({**step.args, 'timeout': step.timeout}, 700)}\n")
            for name in open_fields:
                print(f"    {name}\n      expected {_short(a.get(name, ABSENT))}\n      got      {_short(b.get(name, ABSENT))}")
                lines.append(f"- `{name}`\n  - expected `{_short(a.get(name, ABSENT), 900)}`\n  - got `{_short(b.get(name, ABSENT), 900)}`")
            lines.append("")
    missing = set(reference["results"]) ^ set(ours["results"])
    for action in sorted(missing):
        failed += 1
        print(f"{action:32} ran on one server only")
    for entry in reviewed:
        if stale := entry.unused(ran):
            failed += 1
            print(f"reviewed difference explains nothing any more: {', '.join(stale)} ({entry.reason})")
            lines.append(f"## stale reviewed entry: {', '.join(stale)}\n\n{entry.reason}\n")
    if findings is not None:
        findings.write_text("\n".join(lines))
    print(f"\n{len(ran)} actions: {passed} the same or reviewed ({explained} reviewed), {failed} failures")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


# ---- command line ------------------------------------------------------------------------------------------------------


def run_table(kind: str, root: Path, agent: str | None, only: set[str] | None, verbose: bool) -> dict[str, Any]:
    for attempt in range(3):
        with make_server(kind, root, agent) as server:
            print(f"# {kind}: alive after {server.started_in:.2f} s", flush=True)
            if kind == "reference" and attempt < 2 and not _kernel_is_sound(server):
                print("# reference: its kernel lost the output of its first cell; started again", flush=True)
                continue
            began = time.monotonic()
            table = record(server, only, verbose)
            print(f"# {kind}: {len(table['results'])} actions in {time.monotonic() - began:.1f} s", flush=True)
            return table
    raise AssertionError


def _kernel_is_sound(server: Server) -> bool:
    """The reference asks its kernel once where its interpreter is, and sometimes misses the answer."""
    from client import JudgeRuntime, make_action

    runtime = JudgeRuntime(server.url, server.key, sid="probe")
    answer = runtime.run_ipython(make_action("run_ipython", {"code": "1"}, 30, False))
    runtime.close()
    return "/bin/python" in answer.content


def run_shard(kind: str, root: Path, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One half of the table in a process of its own (OpenHands keeps state per process)."""
    out = root / f"{kind}.json"
    command = [sys.executable, str(HERE / "compare.py"), "run", kind, "--root", str(root), "--out", str(out)]
    command += ["--only", ",".join(names)]
    if options.agent:
        command += ["--agent", options.agent]
    if options.verbose:
        command.append("-v")
    child = subprocess.Popen(command)
    servers.children.append(child)
    if child.wait() != 0:
        raise ServerError(f"the run against {kind} failed")
    return json.loads(out.read_text())


def run_shards(kind: str, root: Path, only: set[str] | None, options: argparse.Namespace) -> dict[str, Any]:
    shards = [[n for n in shard if only is None or n in only] for shard in actions.SHARDS]
    merged: dict[str, Any] = {"server": kind, "root": str(root), "work": [], "results": {}}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = []
        for index, names in enumerate(shards):
            if names:
                (root / str(index)).mkdir(parents=True, exist_ok=True)
                runs.append(pool.submit(run_shard, kind, root / str(index), names, options))
        for run in runs:
            part = run.result()
            merged["work"].append(part["work"])
            merged["results"].update(part["results"])
    return merged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "all"):
        sub = commands.add_parser(name)
        if name == "run":
            sub.add_argument("kind", choices=["reference", "sandkey"])
            sub.add_argument("--out", type=Path, required=True)
        else:
            sub.add_argument("--reference", type=Path, help="a recorded reference run; made there if it does not exist")
            sub.add_argument("--keep", type=Path, help="keep both records here")
        sub.add_argument("--agent", default=os.environ.get("SANDKEY_AGENT"))
        sub.add_argument("--only", help="comma-separated sequences")
        sub.add_argument("--root", type=Path, help="where work, home and logs go (default: a new temporary directory)")
        sub.add_argument("-v", "--verbose", action="store_true")
    sub = commands.add_parser("diff")
    sub.add_argument("reference", type=Path)
    sub.add_argument("ours", type=Path)
    for sub in (commands.choices["diff"], commands.choices["all"]):
        sub.add_argument("--reviewed", type=Path, default=HERE / "reviewed_differences.toml")
        sub.add_argument("--findings", type=Path, help="write the differences nobody has reviewed to this file")
    options = parser.parse_args()

    if options.command == "diff":
        tables = [json.loads(path.read_text()) for path in (options.reference, options.ours)]
        return diff(tables[0], tables[1], load_reviewed(options.reviewed), options.findings)

    end_with_parent()
    only = set(options.only.split(",")) if options.only else None
    if only and (unknown := only - {s.name for s in actions.SEQUENCES}):
        parser.error(f"no such sequence: {', '.join(sorted(unknown))}")
    if options.command == "all" and not options.agent:
        parser.error("no sandkey-agent given: set SANDKEY_AGENT or use --agent")
    temporary = borrowed = None
    if options.root is None:
        temporary = tempfile.TemporaryDirectory(prefix="sandkey-judge-", ignore_cleanup_errors=True)
        servers.scratch.append(Path(temporary.name))
    root = options.root or Path(temporary.name)  # type: ignore[union-attr]
    root.mkdir(parents=True, exist_ok=True)
    try:
        if options.command == "run":
            table = run_table(options.kind, root, options.agent, only, options.verbose)
            options.out.write_text(json.dumps(table, indent=1, ensure_ascii=False))
            return 0
        if options.reference and options.reference.exists():
            reference = json.loads(options.reference.read_text())
            root = Path(reference["root"])  # the texts hold its directories, so ours works in the same ones
            if root.exists() and any(root.iterdir()) and root != options.root:
                raise ServerError(f"the recorded run was made in {root}, which is in use")
            borrowed = None if root == options.root else root
            root.mkdir(parents=True, exist_ok=True)
        else:
            reference = run_shards("reference", root, only, options)
        ours = run_shards("sandkey", root, only, options)
        for path in [options.reference, options.keep and options.keep / "reference.json"]:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(reference, indent=1, ensure_ascii=False))
        if options.keep:
            (options.keep / "sandkey.json").write_text(json.dumps(ours, indent=1, ensure_ascii=False))
        return diff(reference, ours, load_reviewed(options.reviewed), options.findings)
    except ServerError as error:
        print(f"# {error}")
        print("0 passed, 1 failed")
        return 1
    finally:
        if temporary is not None:
            temporary.cleanup()
        if borrowed is not None:
            shutil.rmtree(borrowed, ignore_errors=True)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # OpenHands registers exit handlers and threads that would hold the process for seconds
