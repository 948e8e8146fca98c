"""What a run gave: counts, failures and where it stands, in memory and as the JSON report."""

from __future__ import annotations

import collections
import functools
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.judge import STATUSES, Failure, Verdict
from npconv.oracle.probe import Finding
from npconv.oracle.protocol import OPS

#: At most this many failures are kept with their details; all are counted.
KEPT = 1000

COUNTS = STATUSES

Range = tuple[int, int]
#: A position, the verdict on each operation (none where it was not asked), seconds in the target.
Result = tuple[int, Sequence[tuple[str, Verdict]], float]


def _no_counts() -> dict[str, dict[str, int]]:
    return {op: dict.fromkeys(COUNTS, 0) for op in OPS}


@dataclass
class Tally:
    """Counts per operation, failures, the stretches of the suite that are done, seconds.

    The one record of the oracle that is not frozen: results are added up into it.
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

    @classmethod
    def of(cls, results: Iterable[Result], busy_seconds: float) -> Tally:
        """Sum up results, each of one position."""
        tally = cls(busy_seconds=busy_seconds)
        failures = []
        for _, verdicts, target_seconds in results:
            for op, verdict in verdicts:
                tally.counts[op][verdict.status] += 1
                if verdict.failure is not None:
                    failures.append(verdict.failure)
            tally.cases += bool(verdicts)
            tally.target_seconds += target_seconds
        tally.failures, tally.failures_total = kept(failures), len(failures)
        tally.done = merged([(position, position + 1) for position, _, _ in results])
        return tally

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

    @property
    def ok(self) -> bool:
        """Whether the run was not interrupted, results were judged, and none of them failed."""
        tally = self.tally
        return not self.interrupted and tally.failures_total == 0 and tally.total("passed") > 0

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
            "shard": [1, 1],
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
            "arithmetic": {
                op: {dtype: finding.name for dtype, finding in found.items()}
                for op, found in self.findings.items()
            },
            "arithmetic_says": {
                op: {dtype: finding.says for dtype, finding in found.items()}
                for op, found in self.findings.items()
            },
            "diagnoses": [],
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON report; a reader never sees half of one."""
        text = json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"
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


def read_tally(path: str | os.PathLike[str], now: Report, length: int) -> Tally:
    """Read the tally of an earlier report on the same as `now`; raise ValueError for another."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        tally = Tally(
            {op: {name: int(found["ops"][op][name]) for name in COUNTS} for op in OPS},
            kept([_read_failure(failure) for failure in found["failures"]]),
            int(found["failures_total"]),
            merged([(int(start), int(stop)) for start, stop in found["done"]]),
            int(found["cases"]),
            *(float(found[name]) for name in ("seconds", "busy_seconds", "target_seconds")),
        )
        if tally.total("failed") != tally.failures_total:
            raise ValueError("its counts contradict each other")
        if tally.done and not 0 <= tally.done[0][0] <= tally.done[-1][1]:
            raise ValueError("it is done with what does not exist")
        then = {**found, "engine": found["environment"]["target"]}
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is not a report of npconv check ({type(error).__name__}: {error})"
        ) from None
    current = {**now.as_dict(), "engine": now.environment["target"]}
    for key, what in (
        ("npconv", "npconv"),
        ("target", "target"),
        ("engine", "target"),
        ("suite", "suite"),
        ("suite_digest", "cases, operations or dtypes, suite_digest"),
    ):
        if then.get(key) != current[key]:
            raise ValueError(
                f"{path} is of another run: {what} {then.get(key)!r}, not {current[key]!r}"
            )
    if tally.done and tally.done[-1][1] > length:
        raise ValueError(f"{path} is done with case {tally.done[-1][1]:,} of {length:,}")
    return tally


def _read_failure(found: Mapping[str, Any]) -> Failure:
    index = found["index"]
    return Failure(**{**found, "index": None if index is None else tuple(index)})


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
