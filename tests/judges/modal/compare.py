"""The same scenario by Modal's SDK and by our client, and what each put on the wire, compared step by step (see frame/wire.py).

Run under the emulator: compare.py CLIENT NODE FOLDER-WITH-THE-SDKS.
"""
import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
import wire  # noqa: E402

STEPS = ("authenticate", "create", "find", "list", "describe", "attach", "port", "commands-and-upload", "kill", "kill-again")

IDS = ((r"\bta-\w+", "<TASK>"), (r"\bap-\w{22}\b", "<APP>"), (r"\bim-\w{22}\b", "<IMAGE>"), (r"\bst-\w{22}\b", "<SECRET>"),
       (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<UUID>"), (r"eyJ[\w-]+(\.\[[^]]*\])+", "<TOKEN>"),
       (r"\[(auth token|router token|connect token) of [^]]*\]", r"<\1>"), (r"\b[a-z0-9]{16}\.modal\.localhost:\d+", "<TUNNEL>"))


ORDER = ("Start", "StdinWrite", "StdioRead", "StdioRead 1", "Wait")


def exec_of(entry):
    """The command that a request of the router's is for."""
    found = re.search(r'"exec_id":"([^"]+)"', entry["body"])
    return found[1] if found else None


def place_of(entry):
    name = entry["route"].removeprefix("TaskCommandRouter/TaskExec") + (" 1" if '"file_descriptor"' in entry["body"] else "")
    return ORDER.index(name) if name in ORDER else entry["number"]


class Modal(wire.Player):
    provider = "modal"
    key_header = "x-modal-token-id"
    addresses = ("MODAL_SERVER_URL",)

    def play(self, step):
        """Who waits for an end asks until it is there, and input comes in pieces; how often is a matter of chance. What is done
        for one command is done at once, and is told in the order of ORDER."""
        said, entries = super().play(step)
        entries = [each for each in entries if each["route"] != "tunnel"]
        entries = [each for each, after in zip(entries, [*entries[1:], None])
                   if not (after and each["route"] == after["route"] and "SandboxWait" in each["route"])]
        commands = {}
        for each in entries:
            commands.setdefault(exec_of(each), len(commands))
        entries.sort(key=lambda each: (exec_of(each) is not None, commands[exec_of(each)], place_of(each)))
        return said, [each for each, after in zip(entries, [*entries[1:], None])
                      if not (after and each["route"] == after["route"] and each["route"].endswith("StdinWrite"))]

    def outcome(self, value, other):
        return {name: "<TOKEN>" if name == "value.headers.Authorization" else each
                for name, each in super().outcome(value, other).items()}

    def plain(self, text):
        text = super().plain(text)
        for pattern, meaning in IDS:
            text = re.sub(pattern, meaning, text)
        return text

    def fields(self, entry):
        return super().fields(entry) | {"grpc_status": entry.get("grpc_status", "none")}

    def body(self, entry):
        """All its messages; what is run and written is each side's own."""
        if entry["route"].endswith("StdinWrite"):
            return {"body": "<CONTENT>"}
        made = {}
        lines = entry["body"].splitlines()
        for line in lines:
            made |= self.flat("body", json.loads(line))
        for name in list(made):
            if name.endswith((".data", ".command_args", ".entrypoint_args")):
                made[name] = "<CONTENT>"
            if re.search(r"\.(env|contents)\.\w+$", name):
                made[re.sub(r"\.\w+$", "", name)] = "<VARIABLES>"
                del made[name]
            if name.endswith((".before_timestamp", ".offset", ".timeout")):
                made[name] = "<NUMBER>"
        return made

    def flat(self, name, value):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            made = {}
            for number, each in enumerate(value):
                made |= self.flat(f"{name}[{each.get('tag_name', number)}]", each)
            return made
        return super().flat(name, value)

    def header(self, name, value):
        if name in ("x-idempotency-key", "x-modal-timestamp", "grpc-timeout", "traceparent"):
            return f"<{name.upper()}>"
        return super().header(name, value)


def main():
    client, node, folder = sys.argv[1:]
    return wire.judge(Modal, STEPS, [client], [node, f"{folder}/scenario.mjs"], [("v2", dict(os.environ))],
                      Path(__file__).parent / "reviewed_differences.toml")


if __name__ == "__main__":
    sys.exit(main())
