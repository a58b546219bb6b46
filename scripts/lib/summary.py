"""Counts test cases in the reports scripts/test collects: ctest's JUnit files and, beside each, a folder of the
GoogleTest programs' own, which count single cases. Prints what was skipped and why, then one line of numbers;
fails if a test failed."""

import collections
import pathlib
import sys
import xml.etree.ElementTree as xml


def cases_of(path):
    """(outcome, name, reason) of each case of a GoogleTest report; None if it is not complete."""
    try:
        root = xml.parse(path).getroot()
    except (OSError, xml.ParseError):
        return None  # the program crashed
    cases = []
    for case in root.iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None:
            cases.append(("failed", name, ""))
        elif skipped is not None:
            # "file:line\nreason"
            cases.append(("skipped", name, (skipped.get("message") or "").strip().split("\n")[-1]))
        elif case.get("status") == "notrun":
            cases.append(("skipped", name, "disabled"))
        else:
            cases.append(("passed", name, ""))
    return cases


def main():
    results = pathlib.Path(sys.argv[1])
    counts = collections.Counter()
    skips = collections.defaultdict(list)
    for report in sorted(results.glob("*.xml")):
        for test in xml.parse(report).getroot().iter("testcase"):
            name, status = test.get("name"), test.get("status")
            cases = cases_of(results / f"{report.stem}.cases" / f"{name}.xml")
            if status == "fail":
                outcome = "failed"
                # A crash leaves no report, or one in which nothing failed.
                if cases and not any(case[0] == "failed" for case in cases):
                    counts["failed"] += 1
            elif status == "run":
                outcome = "passed"
            else:
                outcome = "skipped"
                output = (test.findtext("system-out") or "").strip().split("\n")[-1]
                reason = output or (test.find("skipped").get("message") if test.find("skipped") is not None else status)
                cases = None
            if cases is None:
                cases = [(outcome, name, reason if outcome == "skipped" else "")]
            for outcome, case, reason in cases:
                counts[outcome] += 1
                if outcome == "skipped":
                    skips[reason].append(f"{report.stem}/{case}")
    for reason, names in sorted(skips.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"skipped: {names[0]}{more}: {reason}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
