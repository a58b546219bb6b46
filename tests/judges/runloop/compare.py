"""The same scenario by Runloop's SDK and by our client, and what each put on the wire, compared step by step (see frame/wire.py).

Run under the emulator: compare.py CLIENT NODE FOLDER-WITH-THE-SDKS.
"""
import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
import wire  # noqa: E402

STEPS = ("authenticate", "create", "find", "list", "describe", "timeout", "pause", "pause-again", "resume", "attach", "port",
         "commands-and-upload", "kill", "kill-again")


class Runloop(wire.Player):
    provider = "runloop"

    def play(self, step):
        """How far a devbox has come when it is looked at, and how often a wait is told to ask again, is a matter of chance."""
        while step == "describe" and {"id": self.id, "state": "running"} not in [
                {"id": each["id"], "state": each["state"]} for each in wire.admin("sandboxes")["sandboxes"]]:
            time.sleep(0.01)
        said, entries = super().play(step)
        return said, [each for each in entries if each["status"] != 408]

    def outcome(self, value, other):
        """The tunnel's key and token are each side's own."""
        made = {}
        for name, each in super().outcome(value, other).items():
            if isinstance(each, str):
                each = re.sub(r"8000-[a-z0-9]+\.tunnel", "8000-<KEY>.tunnel", each)
                each = re.sub(r"Bearer [A-Za-z0-9]+", "Bearer <TOKEN>", each)
            made[name] = each
        return made

    def body(self, entry):
        """What is run is each side's own; that something is run is the same."""
        return {name: "<SCRIPT>" if name == "body.command" else "<ID>" if name == "body.command_id" else each
                for name, each in super().body(entry).items()}

    def header(self, name, value):
        if name == "x-request-id":
            return re.sub("[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}", "<ID>", value)
        if name == "content-type":
            return re.sub("boundary=.*", "boundary=<BOUNDARY>", value)
        return super().header(name, value)


def main():
    client, node, folder = sys.argv[1:]
    return wire.judge(Runloop, STEPS, [client], [node, f"{folder}/scenario.mjs"], [("one address", dict(os.environ))],
                      Path(__file__).parent / "reviewed_differences.toml")


if __name__ == "__main__":
    sys.exit(main())
