"""Plant known faults and unknown ones, and see what suite and diagnosis make of them.

``python -m conformance.faults_table`` runs each fault of the catalogue, and those of
`conformance.planted.unlisted`, as an implementation under test: is it caught by `standard`, by
`quick`, by what others use; is the first suspect the right one; is the condition that was found
the fault's own? Correct implementations stand beside them: of these nothing may be said. What is
done is kept in ``recorded/faults.json`` and, with ``--resume``, not done again unless the code
changed; docs/faults.md is written from it. The exit status is 1 if a fault survives `standard`.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conformance.planted import ALL, UNLISTED, planted
from conformance.usual_tests import USUAL
from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.data import operands
from npconv.oracle.diagnosis import diagnose, rules
from npconv.oracle.protocol import GRADIENTS, Implementation
from npconv.oracle.report import Diagnosis, Tally
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named
from npconv.oracle.suspects import named
from npconv.oracle.suspects.fault import Problem
from npconv.oracle.trial import run_case

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "conformance" / "recorded" / "faults.json"
PAGE = ROOT / "docs" / "faults.md"
COMMAND = "python -m conformance.faults_table"

#: Cases of `standard` that one fault's run has: where its trigger holds, where it does not.
WITHIN, WITHOUT = 220, 260
#: Seconds that one diagnosis may take.
SECONDS = 20.0
CORRECT = ("definition", "formulas", "torch")
UNKNOWN = {fault.name for fault in UNLISTED}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults")
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--resume", action="store_true", help="keep what the record holds")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th fault")
    parser.add_argument("--json", type=Path, default=RECORD, metavar="FILE", help="the record")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="the page")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"no faults of these names: {', '.join(sorted(unknown))}")
    wanted = (options.names or list(ALL))[:: options.every]
    key, progress = _key(), options.json.with_suffix(".jsonl")
    known = _known(key, [options.json, progress]) if options.resume else {}
    if not options.resume:
        progress.unlink(missing_ok=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with progress.open("a", encoding="utf-8") as file:
        for entry in _run(
            options.jobs, [name for name in wanted if name not in known], fault_entry
        ):
            entry["key"] = key
            known[entry["name"]] = entry
            file.write(json.dumps(entry) + "\n")
            file.flush()
            print(_line(entry), flush=True)
        alarms = list(_run(options.jobs, [n for n in CORRECT if not options.names], alarm_entry))
    entries = [known[name] for name in wanted if name in known]
    record = {
        "command": COMMAND,
        "environment": _environment(),
        "seconds": round(time.perf_counter() - began),
        "jobs": options.jobs,
        "correct": alarms,
        "faults": entries,
    }
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = page(record)
    if not options.names and options.every == 1:
        options.page.write_text(text, encoding="utf-8")
        progress.unlink(missing_ok=True)
    print(text)
    return 1 if any(not entry["standard"] for entry in entries) else 0


def _run(
    jobs: int, names: Sequence[str], work: Callable[[str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        yield from map(work, names)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(work, names)


def _known(key: str, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return what was recorded of the same code."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        lines = (
            [json.loads(line) for line in text.splitlines()]
            if path.suffix == ".jsonl"
            else json.loads(text)["faults"]
        )
        found |= {entry["name"]: entry for entry in lines if entry.get("key") == key}
    return found


def _key() -> str:
    """Return what entries depend on: the oracle, the planted faults and this file."""
    digest = hashlib.sha256()
    for folder in ("npconv/oracle", "conformance/planted"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    for name in ("faults_table.py", "usual_tests.py"):
        digest.update((ROOT / "conformance" / name).read_bytes())
    return digest.hexdigest()[:16]


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()}-{platform.machine()}",
    }


# ------------------------------------------------------------------ one fault


@functools.cache
def _standard() -> tuple[list[Case], rules.Table, dict[int, int]]:
    """Return the suite's cases, a table of the legal ones, and where each of these is in it."""
    suite = suite_named("standard")
    cases = [suite[position] for position in range(len(suite))]
    legal = [position for position, case in enumerate(cases) if case.illegal is None]
    return cases, rules.Table([cases[p] for p in legal]), {p: i for i, p in enumerate(legal)}


def fault_entry(name: str) -> dict[str, Any]:
    """Plant one fault; return the entry of the record."""
    began = time.perf_counter()
    fault = ALL[name]
    implementation = Implementation.of(planted(name), name)
    entry: dict[str, Any] = {
        "name": name,
        "kind": getattr(fault, "kind", "unlisted"),
        "family": fault.family,
        "says": getattr(fault, "says", None) or getattr(fault, "truth", ""),
        "trigger": fault.trigger,
        "quick": _caught(Implementation.of(planted(name), name), "quick", fault.ops, fault.trigger),
        "usual": {test: finds(planted(name)) for test, finds in USUAL.items()},
    }
    chosen = _chosen(implementation, fault.ops, fault.trigger)
    plan = Plan(_itself, implementation, tuple(case.id for case in chosen), tuple(fault.ops))
    tally = Tally()
    run(plan, tally)
    entry["failures"], entry["cases"] = tally.failures_total, tally.cases
    entry["standard"] = tally.failures_total > 0 or _caught(
        Implementation.of(planted(name), name), "standard", fault.ops, fault.trigger
    )
    now = time.perf_counter()
    entry["run_seconds"] = round(now - began, 1)
    diagnoses = diagnose(plan, tally, SECONDS)
    entry["diagnosis_seconds"] = round(time.perf_counter() - now, 1)
    entry["diagnoses"] = [
        _judged(name, diagnosis, plan, tally, first)
        for op in fault.ops
        for first, diagnosis in enumerate(d for d in diagnoses if d.op == op)
    ]
    # What an operation's first diagnosis says counts; further ones are its lesser parts.
    firsts = [found for found in entry["diagnoses"] if found["rank"] == 0]
    entry["named"] = bool(firsts) and all(found["named"] for found in firsts)
    known = [found["equivalent"] for found in firsts if found["equivalent"] is not None]
    entry["equivalent"] = all(known) if known else None
    entry["seconds"] = round(time.perf_counter() - began, 1)
    return entry


def _itself(implementation: Implementation) -> Implementation:
    return implementation


def _chosen(implementation: Implementation, ops: Sequence[str], trigger: str | None) -> list[Case]:
    """Return cases of `standard`, evenly spread over where the trigger holds and where not."""
    cases, table, legal = _standard()
    within, without = [], []
    holds = np.ones(table.length, bool) if trigger is None else table.holds(trigger)
    for position, case in enumerate(cases):
        if position not in legal or implementation.supports.leaves_out(case) is not None:
            continue
        # Large cases take long; those that the trigger asks for are taken.
        (within if holds[legal[position]] else without).append(case)
    del ops
    without = [case for case in without if _size(case) < 50_000]
    small = [case for case in within if _size(case) < 50_000]
    within = small if len(small) >= WITHIN else sorted(within, key=_size)
    both = WITHIN + WITHOUT
    # Where one side is short the other one fills up.
    first = min(len(within), max(WITHIN, both - len(without)))
    return [*_spread(within, first), *_spread(without, both - first)]


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    if len(cases) <= count:
        return list(cases)
    return [cases[i * len(cases) // count] for i in range(count)]


def _size(case: Case) -> int:
    batch = 1 if case.batch is None else case.batch
    height, width = case.extents
    return max(
        batch * case.in_channels * height * width,
        case.out_channels * case.in_channels * case.kernel[0] * case.kernel[1] // case.groups
        if case.groups > 0
        else 0,
        batch * case.out_channels * height * width // max(1, case.stride[0] * case.stride[1]),
    )


def _caught(
    implementation: Implementation, suite: str, ops: Sequence[str], trigger: str | None
) -> bool:
    """Whether a suite catches it: likely cases first, up to the first that fails."""
    cases = suite_named(suite)
    every = [cases[position] for position in range(len(cases))]
    asked = [case for case in every if implementation.supports.leaves_out(case) is None]
    condition = None if trigger in (None, "True") else Condition.parse(trigger)
    asked.sort(key=lambda case: condition is not None and not condition.holds(case))
    for case in asked:
        if any(verdict.failure for _, verdict in run_case(implementation, case, ops).verdicts):
            return True
    return False


def _judged(
    name: str,
    diagnosis: Diagnosis,
    plan: Plan,
    tally: Tally,
    rank: int,
) -> dict[str, Any]:
    """Compare one diagnosis with the truth."""
    fault = ALL[name]
    found = {
        key: getattr(diagnosis, key)
        for key in (
            "op", "suspect", "says", "explains", "of", "failing", "asked", "condition", "missed",
            "extra", "shape", "smallest",
        )
    }  # fmt: skip
    found["rank"] = rank
    found["named"] = diagnosis.suspect == name or (
        diagnosis.suspect is not None and _identical(name, diagnosis.suspect, diagnosis.op, plan)
    )
    found["equivalent"] = found["alone"] = None
    if fault.trigger is not None:
        found["equivalent"] = _equivalent(
            diagnosis.condition or "True", fault.trigger, diagnosis.op
        )
        if rank == 0:
            # Without the help of the catalogue's triggers.
            rule = _alone(diagnosis.op, plan, tally)
            found["alone"] = rule
            found["alone_equivalent"] = _equivalent(rule, fault.trigger, diagnosis.op)
    return found


def _identical(name: str, other: str, op: str, plan: Plan) -> bool:
    """Whether two faults give the same result in every case of the run."""
    if other not in ALL or name in UNKNOWN:
        return False
    one, two = named(name), named(other)
    if two.name in one.same_as or one.name in two.same_as:
        return True
    if "state" in (one.kind, two.kind):
        return False
    cases = plan.cases()
    for position in range(len(cases)):
        case = cases[position]
        if case.illegal is not None:
            continue
        problem = Problem.of(case, operands(case))
        first, second = (_result(fault, problem, op) for fault in (one, two))
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        if not np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"):
            return False
    return True


def _result(fault: Any, problem: Problem, op: str) -> np.ndarray[Any, Any]:
    """Return a fault's result, the right one where it has none."""
    from npconv.oracle.suspects.tools import right

    wrong = fault.results(problem, op) if op in fault.ops else None
    return right(problem, op) if wrong is None else wrong


def _equivalent(condition: str, trigger: str, op: str) -> bool:
    """Whether two conditions agree on all legal cases of `standard` that ask for the operation."""
    _, table, _ = _standard()
    asked = np.ones(table.length, bool)
    if op != "forward":
        asked = np.array([mask[GRADIENTS.index(op)] == "1" for mask in table.columns["mask"]])
    return bool(np.array_equal(table.holds(condition)[asked], table.holds(trigger)[asked]))


def _alone(op: str, plan: Plan, tally: Tally) -> str:
    cases = plan.cases()
    failed = {p for start, stop in tally.failed.get(op, ()) for p in range(start, stop)}
    failing, passing = [], []
    for position in range(len(cases)):
        case = cases[position]
        if case.illegal is None and (op == "forward" or case.output_mask[GRADIENTS.index(op)]):
            (failing if position in failed else passing).append(case)
    found = rules.find(failing, passing)
    return found[0].text if found else "True"


def alarm_entry(name: str) -> dict[str, Any]:
    """Run a correct implementation; return what was said of it."""
    plan = Plan(adapters.load, name, "quick" if name != "definition" else "quick[::7]")
    tally = Tally()
    run(plan, tally)
    return {
        "name": name,
        "cases": tally.cases,
        "failures": tally.failures_total,
        "diagnoses": len(diagnose(plan, tally)),
    }


def _line(entry: dict[str, Any]) -> str:
    marks = "".join(
        letter if entry[key] else "-"
        for letter, key in (("q", "quick"), ("s", "standard"), ("n", "named"), ("e", "equivalent"))
    )
    firsts = [found for found in entry["diagnoses"] if found["rank"] == 0]
    said = "; ".join(f"{f['op']}: {f['suspect']} if {f['condition']}" for f in firsts)
    return f"{marks} {entry['seconds']:5.1f} s {entry['name']:45} {said}"


# ------------------------------------------------------------------ the page

_TITLES = {
    "quick": "`quick`",
    "standard": "`standard`",
    "one_shape": "one shape, `allclose` 1e-3",
    "onnx_nodes": "ONNX's node tests of Conv",
    "sum_backward": "`y.sum().backward()`",
    "gradcheck_fast": "gradcheck, fast mode",
}


def page(record: dict[str, Any]) -> str:
    """Return docs/faults.md."""
    entries = record["faults"]
    listed = [entry for entry in entries if entry["name"] not in UNKNOWN]
    unlisted = [entry for entry in entries if entry["name"] in UNKNOWN]
    lines = [
        "# What the suite catches, and what is said of it",
        "",
        f"Made by `{record['command']}`. Every fault of the catalogue (`npconv.oracle.suspects`), "  # noqa: ISC004
        "and further ones that are in no catalogue, is planted in an implementation that is right "
        "otherwise (`conformance/planted`). Does the suite catch it, is the first suspect of the "
        "diagnosis that fault, or one that gives the same results in every case of the run, and "
        "is the condition that is found the fault's own on every legal case of `standard`?",
        "",
        "## Caught",
        "",
        "| planted | " + " | ".join(_TITLES.values()) + " |",
        "|---|" + "---|" * len(_TITLES),
    ]
    groups = _by(listed, "kind")
    for title, group in [*groups.items(), ("not in the catalogue", unlisted), ("all", entries)]:
        lines.append(f"| {title} | " + " | ".join(_share(group, key) for key in _TITLES) + " |")
    lines += [
        "",
        (
            "One shape: (2, 3, 8, 8) with 3 x 3 kernels, padding 1, output and gradients. The "
            "sum's gradients and gradcheck run over six usual shapes: stride 2, dilation 2, groups "
            "and depthwise among them. `conformance/usual_tests.py` has them all."
        ),
        "",
        "## Named",
        "",
        (
            "| kind | faults | first suspect is right | condition is its own | condition found "
            "from failing and passing cases alone |"
        ),
        "|---|---|---|---|---|",
    ]
    for kind, group in [*groups.items(), ("all", listed)]:
        lines.append(
            f"| {kind} | {len(group)} | {_share(group, 'named')} | {_share(group, 'equivalent')} "
            f"| {_share([_first(entry) for entry in group], 'alone_equivalent')} |"
        )
    lines += [
        "",
        (
            "Where a suspect is found, its own trigger is among the candidate conditions; the last "
            "column does without. A trigger says outside of which parameters all is right. "
            "Faults of state have none: what a call gives depends on those before."
        ),
        "",
        "## Not in the catalogue",
        "",
        "| planted | true condition | operation | condition found | what is said |",
        "|---|---|---|---|---|",
    ]
    for entry in unlisted:
        for found in entry["diagnoses"]:
            if found["rank"] == 0:
                said = found["says"] + (f" ({found['suspect']})" if found["suspect"] else "")
                lines.append(
                    f"| {entry['name']}: {entry['says']} | {_code(entry['trigger'])} "
                    f"| {found['op']} | {_code(found['condition'])} | {said} |"
                )
    lines += ["", *_missed(listed), *_alarms(record["correct"])]
    return "\n".join(lines).rstrip() + "\n"


def _first(entry: dict[str, Any]) -> dict[str, Any]:
    return next((found for found in entry["diagnoses"] if found["rank"] == 0), {})


def _by(entries: Sequence[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry[key], []).append(entry)
    return groups


def _share(entries: Sequence[dict[str, Any]], key: str) -> str:
    values = [
        entry["usual"][key] if key in entry.get("usual", {}) else entry.get(key)
        for entry in entries
    ]
    told = [value for value in values if value is not None]
    if not told:
        return "-"
    return f"{sum(told)} of {len(told)} ({100 * sum(told) / len(told):.0f} %)"


def _code(text: str | None) -> str:
    return "always" if text in (None, "True") else f"`{text}`"


def _missed(entries: Sequence[dict[str, Any]]) -> list[str]:
    """List what went wrong."""
    lines = ["## What is missed", "", "| fault | what | instead |", "|---|---|---|"]
    count = len(lines)
    for entry in entries:
        first = _first(entry)
        if not entry["standard"]:
            lines.append(f"| {entry['name']} | not caught by `standard` | |")
        elif not entry["named"]:
            lines.append(f"| {entry['name']} | not named | {first.get('suspect') or 'nothing'} |")
        elif entry["equivalent"] is False:
            instead = f"{_code(first.get('condition'))}, not {_code(entry['trigger'])}"
            lines.append(f"| {entry['name']} | other condition | {instead} |")
    return [*lines, ""] if len(lines) > count else []


def _alarms(entries: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["## Correct implementations", "", "| implementation | cases | failures | diagnoses |",
             "|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {e['name']} | {e['cases']:,} | {e['failures']} | {e['diagnoses']} |" for e in entries
    ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
