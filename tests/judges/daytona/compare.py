"""The same scenario by Daytona's SDK and by our client, and what each put on the wire, compared step by step (see frame/wire.py).

Run under the emulator: compare.py CLIENT NODE FOLDER-WITH-THE-SDKS.
"""
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
import wire  # noqa: E402

STEPS = ("authenticate", "create", "find", "list", "describe", "timeout", "pause", "pause-again", "resume", "attach", "port",
         "commands-and-upload", "kill", "kill-again")


class Daytona(wire.Player):
    provider = "daytona"

    def play(self, step):
        """Whoever waits for a state asks until it is there, or until it is no conflict; how often is a matter of chance."""
        said, entries = super().play(step)
        return said, [each for each, after in zip(entries, [*entries[1:], None])
                      if not (after and each["route"] == after["route"] and (each["method"] == "GET" or each["status"] == 409))]

    def outcome(self, value, other):
        return {name: "<TOKEN>" if name == "value.headers.X-Daytona-Preview-Token" else each
                for name, each in super().outcome(value, other).items()}

    def body(self, entry):
        """What is run is each side's own; that something is run, and with variables, is the same."""
        made = {}
        for name, value in super().body(entry).items():
            if name.startswith("body.envs."):
                made["body.envs"] = "<VARIABLES>"
            elif name == "body.command":
                made[name] = "<SCRIPT>"
            else:
                made[name] = value
        return made

    def header(self, name, value):
        if name == "x-daytona-sdk-version":
            return "<VERSION>"
        if name == "content-type":
            return re.sub("boundary=.*", "boundary=<BOUNDARY>", value)
        return super().header(name, value)


def main():
    client, node, folder = sys.argv[1:]
    wire.admin("settings?provider=daytona", {"list_delay_seconds": 0})  # whether it is seen already is a matter of chance
    return wire.judge(Daytona, STEPS, [client], [node, f"{folder}/scenario.mjs"], [("one address", dict(os.environ))],
                      Path(__file__).parent / "reviewed_differences.toml")


if __name__ == "__main__":
    sys.exit(main())
