"""What a run gave: counts, failures and where it stands, in memory and as the JSON report."""

from __future__ import annotations

import collections
import functools
import itertools
import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from npconv.geometry import shown
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.expectations import Expectations
from npconv.oracle.judge import STATUSES, Failure, Verdict
from npconv.oracle.probe import Finding
from npconv.oracle.protocol import OPS

#: At most this many failures are kept with their details; all are counted.
KEPT = 1000

COUNTS = STATUSES

#: At most this many reasons of what is unsupported are kept for each operation.
REASONS = 50

#: The histogram of ratios has bins of half a power of ten: bin k holds what lies above
#: 10**((k-1)/2), up to 10**(k/2) included; the first and the last one hold all beyond them too.
BINS = range(-12, 13)

Range = tuple[int, int]


class Result(NamedTuple):
    """What one position of the suite gave."""

    position: int
    case: str
    #: The verdict on each operation; none where the case was not asked.
    verdicts: Sequence[tuple[str, Verdict]] = ()
    target_seconds: float = 0.0
    #: Why it was not asked: a field of `supports`, or an option as it is written.
    left_out: str | None = None
    #: What `Expectations.apply` counted.
    expected: Mapping[str, tuple[int, int]] = MappingProxyType({})


class Worst(NamedTuple):
    """A ratio |error| / bound, and the id of its case."""

    ratio: float
    case: str


def _no_counts() -> dict[str, dict[str, int]]:
    return {op: dict.fromkeys(COUNTS, 0) for op in OPS}


def ratio_bin(ratio: float) -> int:
    """Return the bin of `BINS` that a ratio lies in.

    Examples
    --------
    >>> from npconv.oracle.report import ratio_bin
    >>> [ratio_bin(ratio) for ratio in (0.0, 0.1, 0.5, 1.0, 1.01, 10.0, 1e99)]
    [-12, -2, 0, 0, 1, 2, 12]
    """
    if not ratio > 0:
        return BINS[0]
    if math.isinf(ratio):
        return BINS[-1]
    return min(max(math.ceil(2 * math.log10(ratio)), BINS[0]), BINS[-1])


@dataclass
class Tally:
    """Counts per operation, failures, the stretches of the suite that are done, seconds.

    The one record of the oracle that is not frozen: results are added up into it. Parts give the
    same sum in whatever order they come.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=_no_counts)
    failures: list[Failure] = field(default_factory=list)
    failures_total: int = 0
    done: list[Range] = field(default_factory=list)
    cases: int = 0
    #: Elapsed; at work, in all processes together; and of that inside the implementation.
    seconds: float = 0.0
    busy_seconds: float = 0.0
    target_seconds: float = 0.0

    #: Where results fail, expected failures included, by operation; as all that follows, without
    #: operations of which there is nothing to say.
    failed: dict[str, list[Range]] = field(default_factory=dict)
    #: How many of the results that were judged by a bound lie in each bin of `BINS`.
    ratios: dict[str, dict[int, int]] = field(default_factory=dict)
    #: The largest ratio of what passed.
    worst: dict[str, Worst] = field(default_factory=dict)
    #: How often each reason was given for what is unsupported; `REASONS` of them.
    unsupported: dict[str, dict[str, int]] = field(default_factory=dict)
    #: How many cases were not asked, by what left them out.
    left_out: dict[str, int] = field(default_factory=dict)
    #: The results that each expectation speaks of, and how many of them fail, by its text.
    expected: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Where results are unsupported, by operation: neither failing nor passing.
    declined: dict[str, list[Range]] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[Result], busy_seconds: float) -> Tally:
        """Sum up results, each of one position."""
        tally = cls(busy_seconds=busy_seconds)
        failures: list[Failure] = []
        for result in results:
            stretch = (result.position, result.position + 1)
            tally.done.append(stretch)
            tally.cases += bool(result.verdicts)
            tally.target_seconds += result.target_seconds
            for op, verdict in result.verdicts:
                tally.counts[op][verdict.status] += 1
                if verdict.status == "failed" and verdict.failure is not None:
                    failures.append(verdict.failure)
                tally._place(op, verdict, result.case, stretch)
            if result.left_out is not None:
                tally.left_out = _sums(tally.left_out, {result.left_out: 1})
            if result.expected:
                tally.expected = _pair_sums(tally.expected, result.expected)
        tally.failures, tally.failures_total = kept(failures), len(failures)
        tally.failed = {op: merged(ranges) for op, ranges in tally.failed.items()}
        tally.declined = {op: merged(ranges) for op, ranges in tally.declined.items()}
        tally.unsupported = {op: _first(reasons) for op, reasons in tally.unsupported.items()}
        tally.done = merged(tally.done)
        return tally

    def _place(self, op: str, verdict: Verdict, case: str, stretch: Range) -> None:
        """Note where a result lies: among the failing, the unsupported, the ratios."""
        failing = verdict.status in ("failed", "expected_failures")
        within = verdict.status in ("passed", "not_reproducible")
        if failing:
            self.failed.setdefault(op, []).append(stretch)
        if verdict.status == "unsupported":
            self.declined.setdefault(op, []).append(stretch)
            reasons = self.unsupported.setdefault(op, {})
            reason = (verdict.reason or "").partition("\n")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
        if verdict.ratio is not None and (failing or within):
            bins = self.ratios.setdefault(op, {})
            place = ratio_bin(verdict.ratio)
            bins[place] = bins.get(place, 0) + 1
            if within:
                self.worst = _worse(self.worst, {op: Worst(float(verdict.ratio), case)})

    def add(self, other: Tally) -> None:
        """Add what another tally holds; elapsed seconds are the caller's to keep."""
        both = Tally(
            {
                op: {name: count + other.counts[op][name] for name, count in counts.items()}
                for op, counts in self.counts.items()
            },
            kept([*self.failures, *other.failures]) if other.failures else self.failures,
            self.failures_total + other.failures_total,
            merged([*self.done, *other.done]),
            self.cases + other.cases,
            self.seconds,
            self.busy_seconds + other.busy_seconds,
            self.target_seconds + other.target_seconds,
            _joined(self.failed, other.failed),
            _by_op(_sums, self.ratios, other.ratios),
            _worse(self.worst, other.worst),
            _by_op(lambda a, b: _first(_sums(a, b)), self.unsupported, other.unsupported),
            _sums(self.left_out, other.left_out),
            _pair_sums(self.expected, other.expected),
            _joined(self.declined, other.declined),
        )
        # In one step: an interrupt finds all of it added, or nothing.
        vars(self).update(vars(both))

    def total(self, name: str) -> int:
        """Sum one kind of count over the operations."""
        return sum(counts[name] for counts in self.counts.values())

    @property
    def results(self) -> int:
        """How many results there are, of all kinds."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def positions(self) -> int:
        """How many positions of the suite are done."""
        return sum(stop - start for start, stop in self.done)

    def holds(self, stretch: Range) -> bool:
        """Whether any of a stretch is done."""
        return any(start < stretch[1] and stretch[0] < stop for start, stop in self.done)


def _sums(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    """Add counts; sorted, so that they come out alike in whatever order they were added."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted({*one, *other})}


def _pair_sums(
    one: Mapping[str, tuple[int, int]], other: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    found = {}
    for key in sorted({*one, *other}):
        a, b = one.get(key, (0, 0)), other.get(key, (0, 0))
        found[key] = (a[0] + b[0], a[1] + b[1])
    return found


def _joined(
    one: Mapping[str, list[Range]], other: Mapping[str, list[Range]]
) -> dict[str, list[Range]]:
    """Join the stretches of two tallies, operation by operation."""
    return {
        op: merged([*one.get(op, ()), *other.get(op, ())]) for op in OPS if op in one or op in other
    }


def _by_op(
    join: Callable[[dict[Any, int], dict[Any, int]], dict[Any, int]],
    one: Mapping[str, dict[Any, int]],
    other: Mapping[str, dict[Any, int]],
) -> dict[str, dict[Any, int]]:
    """Join what two tallies hold, operation by operation."""
    return {op: join(one.get(op, {}), other.get(op, {})) for op in OPS if op in one or op in other}


def _first(reasons: Mapping[str, int]) -> dict[str, int]:
    """Return the first of many reasons: of parts and of the whole the same ones."""
    return dict(sorted(reasons.items())[:REASONS])


def _worse(one: Mapping[str, Worst], other: Mapping[str, Worst]) -> dict[str, Worst]:
    """Return the larger ratio of each operation; of equal ones that of the first id."""
    return {
        op: min(
            (found[op] for found in (one, other) if op in found), key=lambda w: (-w.ratio, w.case)
        )
        for op in OPS
        if op in one or op in other
    }


def kept(failures: Sequence[Failure]) -> list[Failure]:
    """Return at most `KEPT` failures: the plainest of each operation and kind, then the next.

    What is kept of parts is what would be kept of the whole, however it is parted.
    """
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    ranked = []
    for failure in sorted(failures, key=lambda f: (_plainness(f.case), OPS.index(f.op))):
        ranked.append((seen[failure.op, failure.kind], failure))
        seen[failure.op, failure.kind] += 1
    return [failure for _, failure in sorted(ranked, key=lambda pair: pair[0])[:KEPT]]


@functools.lru_cache(maxsize=4 * KEPT)
def _plainness(case: str) -> tuple[int, int, str]:
    return Case.from_id(case).plainness


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What failing results of one operation have in common.

    Attributes
    ----------
    op : str
        The operation.
    suspect : str or None
        The known fault that gives what was seen; None where none does.
    says : str
        What a kernel does that has the suspect; without one, what is true of the results.
    explains, of : int
        How many of the failing results that were looked at the suspect gives.
    failing, asked : int
        All failing results of the operation, and all results.
    condition : str or None
        The simplest rule found for which cases fail; None where no parameter tells.
    missed, extra : int
        Its exceptions among the cases looked at: failing ones outside of it, passing ones within.
    sample : int
        How many failing cases the rule is from, where these are not all.
    smallest : str
        The id of the smallest case found that shows the same.
    others : tuple of str
        Further known faults that give the same results.
    shape : str
        What is true of the wrong results besides, where there is a suspect.
    test : str
        The smallest case as a test of five lines; empty where its arrays are large.
    drawing : str
        Its arrays, drawn; empty where they are large.
    """

    op: str
    suspect: str | None
    says: str
    explains: int
    of: int
    failing: int
    asked: int
    condition: str | None
    missed: int
    extra: int
    sample: int
    smallest: str
    others: tuple[str, ...] = ()
    shape: str = ""
    test: str = ""
    drawing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as in the JSON report."""
        return asdict(self) | {"others": list(self.others)}


@dataclass(frozen=True, slots=True)
class Report:
    """A finished or interrupted run: what was asked, of what, where, and the tally.

    `ok` says whether it ran to its end and everything that was run conforms.
    """

    target: str
    suite: str
    suite_digest: str
    tally: Tally
    interrupted: bool
    environment: Mapping[str, str]
    version: str
    #: What probing found, by operation and dtype.
    findings: Mapping[str, Mapping[str, Finding]] = field(default_factory=dict)
    #: Which of how many parts of the suite was asked, from (1, 1) up.
    shard: tuple[int, int] = (1, 1)
    expectations: Expectations | None = None
    #: How many cases the whole suite has.
    length: int = 0
    #: Whether it ended early because the target crashed or hung again and again.
    gave_up: bool = False
    #: What explains the failures.
    diagnoses: Sequence[Diagnosis] = ()

    @property
    def ok(self) -> bool:
        """Whether the run was not interrupted, results were judged, and none of them failed.

        An expectation that a whole suite shows to be stale or unmatched fails too.
        """
        tally = self.tally
        return (
            not self.interrupted
            and not self.gave_up
            and tally.failures_total == 0
            and tally.total("passed") + tally.total("expected_failures") > 0
            and not self.broken
        )

    @property
    def complete(self) -> bool:
        """Whether every case of the whole suite is done, that of other shards too."""
        return self.tally.positions >= self.length

    @property
    def left(self) -> int:
        """How many cases of the shard are not done."""
        part, parts = self.shard
        asked = self.length * part // parts - self.length * (part - 1) // parts
        return asked - self.tally.positions

    @property
    def broken(self) -> list[str]:
        """A line for each expectation that no longer holds; none before the suite is complete."""
        if self.expectations is None or not self.complete:
            return []
        return self.expectations.broken(self.tally.expected)

    @property
    def failures(self) -> list[Failure]:
        """The failures kept with their details."""
        return self.tally.failures

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON report."""
        tally = self.tally
        return {
            "npconv": self.version,
            "suite_digest": self.suite_digest,
            "target": self.target,
            "suite": self.suite,
            "length": self.length,
            "shard": list(self.shard),
            "done": [list(stretch) for stretch in tally.done],
            "cases": tally.cases,
            "seconds": round(tally.seconds, 3),
            "busy_seconds": round(tally.busy_seconds, 3),
            "target_seconds": round(tally.target_seconds, 3),
            "environment": dict(self.environment),
            "ops": {op: dict(counts) for op, counts in tally.counts.items()},
            "failures": [
                # JSON has no infinity, and a ratio that is no number says nothing.
                asdict(failure) | {"ratio": _finite(failure.ratio)}
                for failure in tally.failures
            ],
            "failures_total": tally.failures_total,
            "failed": {op: [list(stretch) for stretch in tally.failed.get(op, ())] for op in OPS},
            "declined": {
                op: [list(stretch) for stretch in tally.declined.get(op, ())] for op in OPS
            },
            "ratios": {
                op: {str(place): count for place, count in tally.ratios.get(op, {}).items()}
                for op in OPS
            },
            "worst": {op: worst._asdict() for op, worst in tally.worst.items()},
            "unsupported": {op: tally.unsupported.get(op, {}) for op in OPS},
            "left_out": tally.left_out,
            "expectations": (
                None if self.expectations is None else self.expectations.as_list(tally.expected)
            ),
            "arithmetic": {
                op: {dtype: finding.name for dtype, finding in found.items()}
                for op, found in self.findings.items()
            },
            "arithmetic_says": {
                op: {dtype: finding.says for dtype, finding in found.items()}
                for op, found in self.findings.items()
            },
            "diagnoses": [diagnosis.as_dict() for diagnosis in self.diagnoses],
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON report; a reader never sees half of one."""
        write_whole(json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n", path)


def write_whole(text: str, path: str | os.PathLike[str]) -> None:
    """Write a file all at once: a reader never sees half of it."""
    target = Path(path)
    if target.exists() and not target.is_file():
        # A pipe or /dev/stdout; a folder is the caller's error.
        target.write_text(text, encoding="utf-8")
        return
    target = target.resolve()
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _finite(ratio: float | None) -> float | None:
    return None if ratio is None or not math.isfinite(ratio) else float(ratio)


#: What two reports on parts of one run share, and what is said where they do not.
_SHARED = {
    "npconv": "npconv",
    "target": "target",
    "engine": "target",
    "suite": "suite",
    "suite_digest": "cases, operations or dtypes, suite_digest",
    "length": "number of cases",
    "expects": "expectations",
}


def read_report(path: str | os.PathLike[str]) -> Report:
    """Read what `Report.write` wrote; raise ValueError for anything else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        part, parts = found["shard"]
        expected = found["expectations"]
        return Report(
            str(found["target"]),
            str(found["suite"]),
            str(found["suite_digest"]),
            _read_tally(found),
            False,
            {str(name): str(value) for name, value in found["environment"].items()},
            str(found["npconv"]),
            {
                op: {
                    dtype: Finding(str(name), str(found["arithmetic_says"][op][dtype]))
                    for dtype, name in names.items()
                }
                for op, names in found["arithmetic"].items()
            },
            (int(part), int(parts)),
            None if expected is None else Expectations.of_list(expected)[0],
            int(found["length"]),
            diagnoses=tuple(
                Diagnosis(**{**each, "others": tuple(each["others"])})
                for each in found["diagnoses"]
            ),
        )
    except (
        KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} is not a report of npconv check ({type(error).__name__}: {error})"
        ) from None


def _read_tally(found: Mapping[str, Any]) -> Tally:
    tally = Tally(
        {op: {name: int(found["ops"][op][name]) for name in COUNTS} for op in OPS},
        kept([_read_failure(failure) for failure in found["failures"]]),
        int(found["failures_total"]),
        merged([(int(start), int(stop)) for start, stop in found["done"]]),
        int(found["cases"]),
        float(found["seconds"]),
        float(found["busy_seconds"]),
        float(found["target_seconds"]),
        **_read_places(found),
    )
    counts = [count for line in tally.counts.values() for count in line.values()]
    if (
        tally.total("failed") != tally.failures_total
        or min(counts) < 0
        or not 0 <= tally.cases <= tally.positions
    ):
        raise ValueError("its counts contradict each other")
    length = int(found["length"])
    if tally.done and not 0 <= tally.done[0][0] <= tally.done[-1][1] <= length:
        raise ValueError(f"it is done with what does not exist, case {tally.done[-1][1]:,}")
    str(found["environment"]["target"])
    return tally


def _unlike(path: str | os.PathLike[str], then: Report, now: Report) -> None:
    """Raise ValueError where two reports are not on parts of one run."""
    one, other = (
        {
            "npconv": report.version,
            "target": report.target,
            "engine": report.environment["target"],
            "suite": report.suite,
            "suite_digest": report.suite_digest,
            "length": report.length,
            "expects": [e.text for e in report.expectations.entries] if report.expectations else [],
        }
        for report in (then, now)
    )
    for key, what in _SHARED.items():
        if one[key] != other[key]:
            raise ValueError(
                f"{path} is of another run: {what} {shown(one[key])}, not {shown(other[key])}"
            )


def read_tally(path: str | os.PathLike[str], now: Report) -> Tally:
    """Read the tally of an earlier report on the same as `now`; raise ValueError for another."""
    then = read_report(path)
    _unlike(path, then, now)
    if then.shard != now.shard:
        raise ValueError(
            f"{path} is of another run: shard {_shard(then)}, not {_shard(now)}; "
            "npconv merge joins shards"
        )
    return then.tally


def _shard(report: Report) -> str:
    return "{}/{}".format(*report.shard)


def merge(paths: Sequence[str | os.PathLike[str]]) -> Report:
    """Join reports on parts of one run, each case in one of them.

    Seconds add up, and what differs in the environment is listed. Diagnoses that name the same are
    one; where conditions differ, it has the one that most of the kept failures fulfil.

    Raises
    ------
    OSError, ValueError
        If a file cannot be read or is no report, if two are not on the same target, suite,
        operations, dtypes, expectations and version, or if both hold a case.
    """
    reports = [(path, read_report(path)) for path in paths]
    first = reports[0][1]
    total, environments, findings = Tally(), [], [first.findings]
    holders: list[tuple[Any, Tally]] = []
    for path, report in reports:
        _unlike(path, report, first)
        for other, tally in holders:
            if any(tally.holds(stretch) for stretch in report.tally.done):
                both = next(
                    max(a, start)
                    for a, b in report.tally.done
                    for start, stop in tally.done
                    if a < stop and start < b
                )
                raise ValueError(f"{path} and {other} both hold case {both:,} of the suite")
        holders.append((path, report.tally))
        total.add(report.tally)
        total.seconds += report.tally.seconds
        environments.append(report.environment)
        findings.append(report.findings)
    return replace(
        first,
        tally=total,
        shard=(1, 1),
        environment={
            key: "; ".join(dict.fromkeys(each[key] for each in environments if key in each))
            for key in first.environment
        },
        findings={
            op: {
                dtype: finding
                for each in reversed(findings)
                for dtype, finding in each.get(op, {}).items()
            }
            for op in OPS
            if any(op in each for each in findings)
        },
        diagnoses=_joined_diagnoses([report.diagnoses for _, report in reports], total),
    )


def _joined_diagnoses(parts: Sequence[Sequence[Diagnosis]], total: Tally) -> tuple[Diagnosis, ...]:
    """Join the diagnoses of the parts of a run: those of one operation and cause are one."""
    causes: dict[tuple[str, str], list[Diagnosis]] = {}
    for diagnosis in itertools.chain.from_iterable(parts):
        illegal = "illegal" if diagnosis.condition == "illegal" else None
        cause = diagnosis.op, diagnosis.suspect or illegal or diagnosis.says
        causes.setdefault(cause, []).append(diagnosis)
    found = []
    for (op, _), alike in causes.items():
        counts = total.counts[op]
        looked = [max((d.of for d in part if d.op == op), default=0) for part in parts]
        joined = replace(
            _representative(op, alike, total),
            explains=sum(d.explains for d in alike),
            of=max(sum(looked), sum(d.of for d in alike)),
            failing=counts["failed"],
            asked=sum(counts.values()),
        )
        found.append(joined)
    return tuple(sorted(found, key=lambda d: (OPS.index(d.op), -d.explains)))


def _representative(op: str, alike: Sequence[Diagnosis], total: Tally) -> Diagnosis:
    """Return one of several diagnoses of one cause, with the condition that holds for most."""
    smallest = min((d.smallest for d in alike), key=_plainness)
    shown = next(d for d in alike if d.smallest == smallest)
    example = {name: getattr(shown, name) for name in ("smallest", "test", "drawing")}
    first = max(alike, key=lambda d: d.explains)
    if len({d.condition for d in alike}) == 1:
        missed, extra = sum(d.missed for d in alike), sum(d.extra for d in alike)
        whole = not any(d.sample for d in alike)
        sample = 0 if whole else sum(d.sample or d.failing for d in alike)
        return replace(first, missed=missed, extra=extra, sample=sample, **example)
    cases = [Case.from_id(failure.case) for failure in total.failures if failure.op == op]
    cases = [case for case in cases if case.illegal is None]

    def outside(diagnosis: Diagnosis) -> int:
        condition = Condition.parse(diagnosis.condition or "True")
        return sum(not condition.holds(case) for case in cases)

    few = 0.04 * len(cases)
    first = min(alike, key=lambda d: (outside(d) > few, d.condition is None, outside(d)))
    return replace(first, missed=outside(first), sample=len(cases), **example)


def _read_failure(found: Mapping[str, Any]) -> Failure:
    index = found["index"]
    return Failure(**{**found, "index": None if index is None else tuple(index)})


def _read_places(found: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a tally holds besides counts, failures and seconds."""
    expected = Expectations.of_list(found["expectations"] or ())[1]
    return {
        "failed": _read_ranges(found["failed"]),
        "declined": _read_ranges(found["declined"]),
        "ratios": {
            op: {int(place): int(count) for place, count in found["ratios"][op].items()}
            for op in OPS
            if found["ratios"][op]
        },
        "worst": {
            op: Worst(float(found["worst"][op]["ratio"]), str(found["worst"][op]["case"]))
            for op in OPS
            if op in found["worst"]
        },
        "unsupported": {
            op: {str(reason): int(count) for reason, count in found["unsupported"][op].items()}
            for op in OPS
            if found["unsupported"][op]
        },
        "left_out": {str(name): int(count) for name, count in found["left_out"].items()},
        "expected": {text: expected[text] for text in sorted(expected) if any(expected[text])},
    }


def _read_ranges(found: Mapping[str, Any]) -> dict[str, list[Range]]:
    return {
        op: merged([(int(start), int(stop)) for start, stop in found[op]])
        for op in OPS
        if found[op]
    }


def environment(target: str) -> dict[str, str]:
    """Return what the run's figures depend on; `target` names the engine and its version."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "target": target,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def merged(ranges: Sequence[Range]) -> list[Range]:
    """Return sorted ranges with those that touch or overlap made one."""
    result: list[Range] = []
    for start, stop in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def chunks(length: int, done: Sequence[Range], size: int) -> Iterator[Range]:
    """Cut what of range(length) is not done into ranges of at most `size`."""
    gaps, position = [], 0
    for start, stop in merged(done):
        gaps.append((position, start))
        position = stop
    gaps.append((position, length))
    for start, stop in gaps:
        for first in range(start, stop, size):
            yield first, min(first + size, stop)
