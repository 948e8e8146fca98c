"""What a diagnosis costs: seconds of a run with failures, and of its diagnosis.

``python -m conformance.diagnosis_cost`` runs a whole suite on some planted faults, one or more of
each kind, on one core, and diagnoses what fails. A run with its diagnosis takes
(run + diagnosis) / run times as long as without.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conformance.faults_table import environment
from conformance.planted import ALL, planted
from npconv.oracle.diagnosis import LEAST, diagnose
from npconv.oracle.protocol import Implementation
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run

RECORD = Path(__file__).parent / "recorded" / "diagnosis_cost.json"
COMMAND = "python -m conformance.diagnosis_cost"

#: Faults in most cases, in few, of one operation and of all, of numbers and of state, unknown ones.
FAULTS = (
    "kernel-flipped",
    "group-0s-weights-for-all",
    "output-channels-modulo-8-left-zero",
    "factors-rounded-to-tf32",
    "accumulates-onto-the-last-result",
    "plan-without-stride",
    "central-tap-missing",
    "two-faults-by-image",
)
SUITES = ("quick", "standard")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 where a diagnosis took longer than allowed."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults")
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this suite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the record")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"no faults of these names: {', '.join(sorted(unknown))}")
    entries = []
    for suite in options.suite or SUITES:
        for name in options.names or FAULTS:
            entries.append(cost(name, suite))
            print(_line(entries[-1]), flush=True)
    path = options.json or (None if options.names or options.suite else RECORD)
    if path is not None:
        record = {"command": COMMAND, "environment": environment(), "faults": entries}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(not within(entry) for entry in entries))


def cost(name: str, suite: str) -> dict[str, Any]:
    """Return what one run took, and its diagnosis."""
    plan = Plan(_planted, name, suite)
    tally = Tally()
    run(plan, tally)
    began = time.perf_counter()
    diagnoses = diagnose(plan, tally)
    return {
        "name": name,
        "suite": suite,
        "failures": tally.failures_total,
        "run": round(tally.seconds, 2),
        "diagnosis": round(time.perf_counter() - began, 2),
        "suspects": [each.suspect for each in diagnoses],
    }


def _planted(name: str) -> Implementation:
    return Implementation.of(planted(name), name)


def within(entry: dict[str, Any]) -> bool:
    """Whether a diagnosis took no longer than its run, or than the least that it may take."""
    return bool(entry["diagnosis"] <= max(LEAST, entry["run"]) * 1.05)


def _line(entry: dict[str, Any]) -> str:
    times = (entry["run"] + entry["diagnosis"]) / entry["run"]
    return (
        f"{entry['name']:40} {entry['suite']:9} {entry['failures']:7,} failures "
        f"{entry['run']:7.1f} s and {entry['diagnosis']:6.1f} s: {times:.2f} times as long"
    )


if __name__ == "__main__":
    sys.exit(main())
