"""The same scenario by E2B's SDK and by our client, and what each put on the wire, compared step by step (see frame/wire.py).

Run under the emulator: compare.py CLIENT NODE FOLDER-WITH-THE-SDKS. Twice: with the variables that the emulator gives, which
name one address for all sandboxes, and with E2B_DOMAIN alone, where each sandbox has a host's name of its own.
"""
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frame"))
import wire  # noqa: E402

STEPS = ("authenticate", "create", "find", "list", "describe", "timeout", "pause", "pause-again", "resume", "attach", "port",
         "commands-and-upload", "kill", "kill-again")


class E2b(wire.Player):
    provider = "e2b"
    key_header = "x-api-key"
    addresses = ("E2B_SANDBOX_URL", "E2B_DOMAIN")

    def outcome(self, value, other):
        return {name: re.sub("^[0-9a-f]{64}$", "<TOKEN>", each) if isinstance(each, str) else each
                for name, each in super().outcome(value, other).items()}

    def query(self, name, value):
        if name != "metadata":
            return super().query(name, value)
        # The server decodes it, and then each name and value of it.
        return {f"query.metadata.{unquote(key)}": self.plain(unquote(wanted))
                for key, wanted in parse_qsl(value, keep_blank_values=True)}

    def header(self, name, value):
        return "<TIME>" if name == "connect-timeout-ms" else super().header(name, value)

    def body(self, entry):
        if not entry["headers"].get("content-type", "").startswith("application/connect+json"):
            return super().body(entry)
        text = entry["body"]
        return self.envs_and_script(self.flat("message", json.loads(text[text.index("{"):])))

    @staticmethod
    def envs_and_script(fields):
        """What is run is each side's own; that something is run, and with variables, is the same."""
        made = {}
        for name, value in fields.items():
            if name.startswith("message.process.envs."):
                made["message.process.envs"] = "<VARIABLES>"
            elif name == "message.process.args":
                made[name] = [*value[:-1], "<SCRIPT>"]
            else:
                made[name] = value
        return made


def main():
    client, node, folder = sys.argv[1:]
    shared = dict(os.environ)
    hosts = {name: value for name, value in shared.items() if name not in ("E2B_API_URL", "E2B_SANDBOX_URL")}
    return wire.judge(E2b, STEPS, [client], [node, f"{folder}/scenario.mjs"], [("one address", shared), ("hosts by name", hosts)],
                      Path(__file__).parent / "reviewed_differences.toml")


if __name__ == "__main__":
    sys.exit(main())
