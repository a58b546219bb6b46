"""Which routes of the emulator a cloud's SDKs have called, by the emulator's journal. Run under the emulator, after the judges.

    coverage.py JUDGE

The cloud is named as the judge's folder is. Its coverage.toml has the routes that no SDK calls, each with the reason, and in the
table `agents` whose SDK a request is, by what its User-Agent begins with.
"""
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


def sdk(entry, agents):
    """Whose request it was; nothing for the judge's own."""
    agent = entry["headers"].get("user-agent", "(none)")
    if agent.startswith("sandkey-judge"):
        return None
    for prefix, who in agents.items():
        if agent.startswith(prefix):
            return who
    return f"a stranger ({agent})"


def main():
    judge = Path(sys.argv[1])
    told = tomllib.loads((judge / "coverage.toml").read_text())
    agents = told["agents"]
    reviewed = {each["route"]: each["reason"] for each in told.get("route", [])}
    served = [each["route"] for each in admin(f"coverage?provider={judge.name}")["routes"]]
    entries = admin(f"journal?provider={judge.name}")["entries"]
    if not entries or entries[0]["number"] != 1:
        print("FAILED  the journal does not go back to the first request")
        print("0 passed, 1 failed")
        return 1
    calls = {route: Counter() for route in served}
    strange = set()
    for entry in entries:
        who = sdk(entry, agents)
        if who in agents.values() and entry["route"] in calls:
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
