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
import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
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
#: How many times as many one has that is not in the catalogue: its condition is found from cases.
MORE = 3
#: Seconds that one diagnosis may take: more than any needs, so that a loaded machine changes none.
SECONDS = 300.0
CORRECT = ("definition", "formulas", "torch")
UNKNOWN = {fault.name for fault in UNLISTED}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help="only these faults; with --resume anew, beside what the record holds of the others",
    )  # fmt: skip
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--resume", action="store_true", help="keep what the record holds")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th fault")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with the K-th")
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="the record; of a part there is none unless it is given here",
    )  # fmt: skip
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="the page")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"no faults of these names: {', '.join(sorted(unknown))}")
    anew = set(options.names) if options.resume else set()
    wanted = (list(ALL) if anew else options.names or list(ALL))[options.first :: options.every]
    whole = wanted == list(ALL)
    if not whole and options.json is None:
        entries = list(_run(options.jobs, wanted, fault_entry, _told))
        print(page(_record(entries, [], 0.0, options.jobs)))
        return 1 if any(not entry["standard"] for entry in entries) else 0
    path = options.json or RECORD
    key, progress = _key(), path.with_suffix(".jsonl")
    known = _known(None if anew else key, [path, progress]) if options.resume else {}
    known = {
        name: entry for name, entry in known.items() if name not in anew or entry.get("key") == key
    }
    if not options.resume:
        progress.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    # What an earlier part of the same run took.
    before = sum(entry["seconds"] for entry in known.values()) / options.jobs
    with progress.open("a", encoding="utf-8") as file:

        def keep(entry: dict[str, Any]) -> None:
            entry["key"] = key
            known[entry["name"]] = entry
            file.write(json.dumps(entry) + "\n")
            file.flush()
            _told(entry)

        _run(options.jobs, [name for name in wanted if name not in known], fault_entry, keep)
    alarms = _run(options.jobs, CORRECT if whole else (), alarm_entry)
    entries = [known[name] for name in wanted]
    record = _record(entries, alarms, before + time.perf_counter() - began, options.jobs)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if whole:
        options.page.write_text(page(record), encoding="utf-8")
    progress.unlink(missing_ok=True)
    print(page(record))
    return 1 if any(not entry["standard"] for entry in entries) else 0


def _record(
    entries: Sequence[dict[str, Any]], alarms: Sequence[dict[str, Any]], seconds: float, jobs: int
) -> dict[str, Any]:
    return {
        "command": f"{COMMAND} -j {jobs}",
        "environment": environment(),
        "seconds": round(seconds),
        "jobs": jobs,
        "correct": list(alarms),
        "faults": list(entries),
    }


def _told(entry: dict[str, Any]) -> None:
    print(_line(entry), flush=True)


def _run(
    jobs: int,
    names: Sequence[str],
    work: Callable[[str], dict[str, Any]],
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return the entries of all names, each given to `keep` once it is there."""
    found = []
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with contextlib.ExitStack() as stack:
        entries: Iterable[dict[str, Any]] = map(work, names)
        if jobs > 1 and names:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(jobs))
            entries = pool.imap_unordered(work, names)
        for entry in entries:
            keep(entry)
            found.append(entry)
    return found


def _known(key: str | None, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return what was recorded of the same code, or of any where there is no key."""
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
        found |= {entry["name"]: entry for entry in lines if key in (None, entry.get("key"))}
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


def environment() -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()}-{platform.machine()}",
    }


# ------------------------------------------------------------------ one fault


@functools.cache
def _standard() -> tuple[list[Case], rules.Table]:
    """Return the legal cases of the suite, and their features."""
    suite = suite_named("standard")
    cases = [case for case in map(suite.__getitem__, range(len(suite))) if case.illegal is None]
    return cases, rules.Table(cases)


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
    chosen = _chosen(implementation, fault.trigger, MORE if name in UNKNOWN else 1)
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


def _chosen(implementation: Implementation, trigger: str | None, times: int = 1) -> list[Case]:
    """Return cases of `standard`, evenly spread over where the trigger holds and where not."""
    cases, table = _standard()
    within, without = [], []
    for case, holds in zip(cases, table.holds(trigger or "True"), strict=True):
        if implementation.supports.leaves_out(case) is None:
            (within if holds else without).append(case)
    # Large cases take long; those that the trigger asks for are taken.
    without = [case for case in without if _size(case) < 50_000]
    small = [case for case in within if _size(case) < 50_000]
    within = small if len(small) >= times * WITHIN else sorted(within, key=_size)
    both = times * (WITHIN + WITHOUT)
    # Where one side is short the other one fills up.
    first = min(len(within), max(times * WITHIN, both - len(without)))
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
    # Of state the diagnosis takes the trigger over: nothing is found that could be judged.
    if fault.trigger is not None and getattr(fault, "kind", "") != "state":
        found["equivalent"] = _equivalent(diagnosis.condition or "True", name, diagnosis.op)
        if rank == 0:
            # Without the help of the catalogue's triggers.
            rule = _alone(diagnosis.op, plan, tally)
            found["alone"] = rule
            found["alone_equivalent"] = _equivalent(rule, name, diagnosis.op)
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
        if first is None and second is None:
            continue
        if first is None or second is None:
            return False
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        if not np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"):
            return False
    return True


def _result(fault: Any, problem: Problem, op: str) -> np.ndarray[Any, Any] | None:
    """Return a fault's result, the right one where it is none of it; None where it raises."""
    from npconv.oracle.suspects.fault import NoArrayError
    from npconv.oracle.suspects.tools import right

    try:
        wrong = fault.results(problem, op) if op in fault.ops else None
    except NoArrayError:
        return None
    return right(problem, op) if wrong is None else wrong


def _equivalent(condition: str, name: str, op: str) -> bool:
    """Whether a condition is the fault's own on all cases of `standard` that ask for `op`.

    Nowhere may it hold where the trigger does not. A trigger says only outside of what all is
    right; so where it holds and the condition does not, the cases are run, and all must pass.
    """
    cases, table = _standard()
    implementation = Implementation.of(planted(name), name)
    rule, trigger = table.holds(condition), table.holds(ALL[name].trigger or "True")
    differ = [cases[place] for place in np.flatnonzero(rule != trigger)]
    asked = [
        case
        for case in differ
        if (op == "forward" or case.output_mask[GRADIENTS.index(op)])
        and implementation.supports.leaves_out(case) is None
    ]
    own = Condition.parse(condition)
    if any(map(own.holds, asked)):
        return False
    for case in sorted(asked, key=_size):
        verdict = dict(run_case(implementation, case, ALL[name].ops).verdicts).get(op)
        if verdict is not None and verdict.failure is not None:
            return False
    return True


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
    for kind, group in [*groups.items(), ("all", listed), ("not in the catalogue", unlisted)]:
        named = "-" if group is unlisted else _share(group, "named")
        lines.append(
            f"| {kind} | {len(group)} | {named} | {_share(group, 'equivalent')} "
            f"| {_share([_first(entry) for entry in group], 'alone_equivalent')} |"
        )
    lines += [
        "",
        (
            "A condition is the fault's own if it holds nowhere that the fault's trigger does not, "
            "and where it does not hold all results are right, on every legal case of `standard` "
            "that is asked. Where a suspect is found, its trigger is among the candidate "
            "conditions; the last column does without. Of faults of state the trigger is taken "
            "over, so that they are not counted."
        ),
        "",
        "## Not in the catalogue",
        "",
        (
            "Each has its true condition beside the one that was found, and whether the two are "
            "equivalent as above; what is said is a fault of the catalogue, in brackets, where one "
            "gives the results, and otherwise what is true of them."
        ),
        "",
        "| planted | true condition | operation | condition found | equivalent | what is said |",
        "|---|---|---|---|---|---|",
    ]
    for entry in unlisted:
        for found in entry["diagnoses"]:
            if found["rank"] == 0:
                said = found["says"] + (f" ({found['suspect']})" if found["suspect"] else "")
                lines.append(
                    f"| {entry['name']}: {entry['says']} | {_code(entry['trigger'])} "
                    f"| {found['op']} | {_code(found['condition'])} "
                    f"| {'yes' if found['equivalent'] else 'no'} | {said} |"
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
    # Rounded down: 100 % are all.
    return f"{sum(told)} of {len(told)} ({100 * sum(told) // len(told)} %)"


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
