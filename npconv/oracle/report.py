"""What a run gave: counts, failures and where it stands, in memory and as the JSON report."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npconv.oracle.judge import Failure
from npconv.oracle.protocol import OPS

#: At most this many failures are kept with their details; all are counted.
KEPT = 1000

COUNTS = ("passed", "failed", "unsupported", "expected_failures", "undecided", "not_reproducible")

Range = tuple[int, int]


def _no_counts() -> dict[str, dict[str, int]]:
    return {op: dict.fromkeys(COUNTS, 0) for op in OPS}


@dataclass(slots=True)
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

    def record(
        self, position: int, verdicts: Sequence[tuple[str, Any]], target_seconds: float
    ) -> None:
        """Add the verdicts on the case at `position`; none where it was not asked."""
        for op, verdict in verdicts:
            if isinstance(verdict, Failure):
                self.counts[op]["failed"] += 1
                self.failures_total += 1
                if len(self.failures) < KEPT:
                    self.failures.append(verdict)
            else:
                self.counts[op][verdict or "passed"] += 1
        self.cases += bool(verdicts)
        self.target_seconds += target_seconds
        if self.done and self.done[-1][1] == position:
            self.done[-1] = (self.done[-1][0], position + 1)
        else:
            self.done = merged([*self.done, (position, position + 1)])

    def add(self, other: Tally) -> None:
        """Add what a worker did; elapsed seconds are the caller's to keep."""
        for op, counts in other.counts.items():
            for name, count in counts.items():
                self.counts[op][name] += count
        self.failures = sorted([*self.failures, *other.failures], key=lambda f: (f.case, f.op))[
            :KEPT
        ]
        self.failures_total += other.failures_total
        self.done = merged([*self.done, *other.done])
        self.cases += other.cases
        self.busy_seconds += other.busy_seconds
        self.target_seconds += other.target_seconds

    def total(self, name: str) -> int:
        """Sum one kind of count over the operations."""
        return sum(counts[name] for counts in self.counts.values())

    @property
    def positions(self) -> int:
        """How many positions of the suite are done."""
        return sum(stop - start for start, stop in self.done)


@dataclass(frozen=True, slots=True)
class Report:
    """A finished or interrupted run: what was asked, of what, where, and the tally.

    `ok` says whether everything that was run conforms and anything was judged at all.
    """

    target: str
    suite: str
    suite_digest: str
    tally: Tally
    interrupted: bool
    environment: Mapping[str, str]
    version: str

    @property
    def ok(self) -> bool:
        """Whether results were judged and none of them failed."""
        return self.tally.failures_total == 0 and self.tally.total("passed") > 0

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
            "ops": tally.counts,
            "failures": [asdict(failure) for failure in tally.failures],
            "failures_total": tally.failures_total,
            "arithmetic": {},
            "diagnoses": [],
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON report; a reader never sees half of one."""
        target = Path(path)
        draft = target.with_name(target.name + ".part")
        draft.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        draft.replace(target)


def read_tally(path: str | os.PathLike[str], target: str, suite: str, digest: str) -> Tally:
    """Read the tally of an earlier report; raise ValueError for another target's or suite's."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        counts, done = found["ops"], [(int(start), int(stop)) for start, stop in found["done"]]
        known = (found["target"], found["suite"], found["suite_digest"])
        failures = [
            Failure(
                **{
                    **failure,
                    "index": None if failure["index"] is None else tuple(failure["index"]),
                }
            )
            for failure in found["failures"]
        ]
        tally = Tally(
            {op: {name: int(counts[op][name]) for name in COUNTS} for op in OPS},
            failures,
            int(found["failures_total"]),
            merged(done),
            int(found["cases"]),
            float(found["seconds"]),
            float(found["busy_seconds"]),
            float(found["target_seconds"]),
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a report of npconv check ({type(error).__name__}: {error})"
        ) from None
    if known != (target, suite, digest):
        raise ValueError(f"{path} reports on {known}, not on {(target, suite, digest)}")
    return tally


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
