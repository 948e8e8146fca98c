"""What runs inside of Pyodide: the suites in this process, and the digests of the exact results."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from contextlib import redirect_stderr
from io import StringIO
from types import SimpleNamespace
from typing import Any

import npconv
from conformance.digests import make_exact
from npconv import cli
from npconv.adapters import definition_adapter, formulas_adapter
from npconv.oracle.cases import Case
from npconv.oracle.data import operands
from npconv.oracle.report import Report
from npconv.oracle.suites import suite_named

TARGETS = {
    "npconv": npconv,
    "formulas": SimpleNamespace(__name__="formulas", **vars(formulas_adapter.adapter())),
    "definition": SimpleNamespace(__name__="definition", **vars(definition_adapter.adapter())),
}
#: What they are asked. The definition is slow: Python's loops over Python's numbers.
ASKED = (("npconv", "quick"), ("formulas", "quick"), ("definition", "quick[::29]"))


def main(pyodide: str) -> tuple[bool, str]:
    """Run all, print a line for each; return whether all is well, and the record as JSON."""
    reports = [checked(target, suite) for target, suite in ASKED]
    same, compared, missing = digests()
    record = {
        "pyodide": pyodide,
        "pointer_bits": 64 if sys.maxsize > 2**32 else 32,
        "arrays": arrays(),
        "command": command(),
        "reports": [report.as_dict() for report in reports],
        "digests": {"compared": compared, "same": same, "without_bfloat16": missing},
    }
    passed = all(report.ok for report in reports) and 0 < same == compared
    return passed, json.dumps(record, indent=1) + "\n"


def checked(target: str, suite: str) -> Report:
    """Run a suite on a target."""
    began = time.perf_counter()
    implementation = TARGETS[target]
    report = npconv.check(implementation, suite)
    counts = [sum(c[kind] for c in report.tally.counts.values()) for kind in ("passed", "failed")]
    print(
        f"check {target} on {suite}: {counts[0]} results passed, {counts[1]} failed "
        f"({time.perf_counter() - began:.0f} s)",
        flush=True,
    )
    for failure in report.failures[:5]:
        print(f"  {failure.case} {failure.op}: {failure.message}", flush=True)
    return report


def digests() -> tuple[int, int, int]:
    """Compare the exact results' digests with those recorded, bfloat16 aside."""
    began = time.perf_counter()
    recorded = json.loads(make_exact.FILE.read_text(encoding="utf-8"))
    same = compared = missing = 0
    for name, expected in recorded.items():
        if "bfloat16" in name:
            missing += len(expected)
            continue
        dtype, result, kind = name.split()
        for number, digest in enumerate(expected):
            case = make_exact.case(dtype, kind, number)
            computed = make_exact.computed(npconv.exact, case, dtype, result)
            same += make_exact.digest(computed) == digest
            compared += 1
    print(
        f"digests of npconv.exact: {same} of {compared} are those recorded "
        f"({time.perf_counter() - began:.0f} s)",
        flush=True,
    )
    return same, compared, missing


def command() -> list[int | str]:
    """Return the exit status of `npconv check` here, and what it says."""
    said = StringIO()
    with redirect_stderr(said):
        status = cli.main(["check", "formulas", "--suite", "quick"])
    return [status, said.getvalue()]


def arrays() -> dict[str, str]:
    """Return a digest of each case's arrays, which its id alone decides, for a share of quick."""
    suite = suite_named("quick[::29]")
    cases = [suite[position] for position in range(len(suite))]
    return {case.id: digest_of(case) for case in cases if case.dtype != "bfloat16"}


def digest_of(case: Case) -> str:
    """Return the first 16 hex digits of SHA-256 over a case's arrays, as little-endian bytes."""
    found = hashlib.sha256()
    for name, array in operands(case).named().items():
        little = array.astype(array.dtype.newbyteorder("<"))
        found.update(f"{name} {array.shape}".encode() + little.tobytes())
    return found.hexdigest()[:16]


def table(record: dict[str, Any]) -> str:
    """Return the rows of docs/pyodide.md."""
    rows = []
    for report in record["reports"]:
        passed = sum(counts["passed"] for counts in report["ops"].values())
        what = f'`npconv.check({report["target"]}, suite="{report["suite"]}")`'
        rows.append(f"| {what} | {passed:,} results passed, {report['failures_total']} failed |")
    digests = record["digests"]
    rows.append(
        f"| the digests of `npconv.exact` ([exact](exact.md)), {digests['without_bfloat16']} of "
        f"bfloat16 aside | {digests['same']:,} of {digests['compared']:,} equal |"
    )
    rows.append(
        f"| the arrays of {len(record['arrays'])} cases of `quick`, byte for byte | "
        "the same as on every machine that runs the tests |"
    )
    found = record["reports"][0]["environment"]
    rows.append(
        f"| versions | Pyodide {record['pyodide']}, Python {found['python']}, "
        f"NumPy {found['numpy']} |"
    )
    return "\n".join(rows) + "\n"
