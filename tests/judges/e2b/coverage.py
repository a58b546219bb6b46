"""Which routes of the emulator E2B's SDKs have called, by the emulator's journal. Run under the emulator, after the judges."""
import json
import os
import sys
import tomllib
import urllib.request
from collections import Counter
from pathlib import Path


def admin(path):
    request = urllib.request.Request(f"{os.environ['SANDKEY_EMULATOR_URL']}/_emulator/{path}",
                                     headers={"X-Emulator-Key": os.environ["SANDKEY_EMULATOR_KEY"]})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


# Not every part of an SDK names it: "node" is the fetch of the code interpreter's and of the older SDKs' envd clients.
AGENTS = {"e2b-js-sdk/": "javascript", "node": "javascript", "e2b-python-sdk/": "python", "connectrpc/": "python",
          "python-httpx/": "python", "sandkey-judge": None}


def sdk(entry):
    """Whose request it was; nothing for the judge's own."""
    agent = entry["headers"].get("user-agent", "")
    for prefix, who in AGENTS.items():
        if agent.startswith(prefix):
            return who
    return f"a stranger ({agent})"


def main():
    reviewed = {each["route"]: each["reason"]
                for each in tomllib.loads((Path(__file__).parent / "coverage.toml").read_text()).get("route", [])}
    served = [each["route"] for each in admin("coverage?provider=e2b")["routes"]]
    entries = admin("journal?provider=e2b")["entries"]
    if not entries or entries[0]["number"] != 1:
        print("FAILED  the journal does not go back to the first request")
        print("0 passed, 1 failed")
        return 1
    calls = {route: Counter() for route in served}
    strange = set()
    for entry in entries:
        who = sdk(entry)
        if who in ("javascript", "python") and entry["route"] in calls:
            calls[entry["route"]][who] += 1
        elif who:
            strange.add(f"{who} called {entry['method']} {entry['path']}, which is the route {entry['route']}")
    passed = failed = 0
    for each in sorted(strange):
        failed += 1
        print(f"FAILED  {each}")
    for route, by in sorted(calls.items()):
        told = ", ".join(f"{count} by {who}" for who, count in sorted(by.items()))
        if by and route in reviewed:
            failed += 1
            print(f"FAILED  {route}: {told}; coverage.toml says that no SDK calls it")
        elif by or route in reviewed:
            passed += 1
            print(f"ok      {route}: {told or 'by none: ' + reviewed[route]}")
        else:
            failed += 1
            print(f"FAILED  {route}: no SDK called it")
    for route in sorted(set(reviewed) - set(served)):
        failed += 1
        print(f"FAILED  {route}: stands in coverage.toml, and is not served")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
