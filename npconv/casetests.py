"""Cases as tests of a test framework: which are asked, and what each comes to."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.check import dtypes_named, ops_named, suite_key
from npconv.oracle.conditions import left_out_by
from npconv.oracle.expectations import Expectations
from npconv.oracle.judge import Verdict
from npconv.oracle.protocol import Implementation
from npconv.oracle.run import Plan
from npconv.oracle.trial import Raised, run_case


class CaseFailedError(AssertionError):
    """A case fails; the message is the whole of what is to be shown."""


#: What a case comes to by the first of these statuses that one of its results has.
_ENDS = {
    "expected_failures": "xfailed",
    "passed": "passed",
    "not_reproducible": "passed",
    "undecided": "skipped",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a case came to: 'passed', 'failed', 'xfailed' or 'skipped', with what is to be said."""

    outcome: str
    message: str = ""
    #: Results and failures of each expectation that speaks of the case.
    counts: Mapping[str, tuple[int, int]] | None = None

    def tell_pytest(self) -> None:
        """Raise what pytest takes for a failure, an expected failure or a skip."""
        __tracebackhide__ = True
        if self.outcome == "passed":
            return
        if self.outcome == "failed":
            raise CaseFailedError(self.message)
        import pytest

        if self.outcome == "xfailed":
            pytest.xfail(self.message)
        pytest.skip(self.message)


@dataclass(frozen=True, slots=True)
class CaseTest:
    """A case to be called: it returns nothing, or raises what pytest reports."""

    tests: CaseTests
    case: Case

    def __call__(self) -> None:
        """Run the case."""
        __tracebackhide__ = True
        self.tests.run(self.case).tell_pytest()

    def __repr__(self) -> str:
        """Return the case's id."""
        return self.case.id


@dataclass(frozen=True)
class CaseTests:
    """What is run on an implementation: the plan, and how a single case is repeated."""

    plan: Plan
    implementation: Implementation
    #: The command that repeats a case, up to its id.
    repeat: str

    @classmethod
    def of(
        cls,
        target: Any,
        suite: str | Sequence[str] = "standard",
        *,
        ops: Sequence[str] | None = None,
        dtypes: Sequence[str] | None = None,
        arithmetic: str | None = None,
        without: Sequence[str] = (),
        expectations: Expectations | None = None,
    ) -> CaseTests:
        """Read what a user gives: a TARGET of the command line as text, or an implementation."""
        from npconv.bounds import parse

        named = isinstance(target, str)
        name = target if named else getattr(target, "__name__", type(target).__name__)
        for text in without:
            left_out_by(text)
        plan = Plan(
            adapters.load if named else functools.partial(Implementation.of, name=name),
            target,
            suite_key(suite),
            ops_named(ops),
            dtypes_named(dtypes),
            None if arithmetic is None else parse(arithmetic).name,
            without=tuple(without),
            expectations=expectations,
        )
        command = f"npconv check {shlex.quote(target)} --case" if named else "pytest -k"
        return cls(plan, plan.implementation(), command)

    def asked(self) -> Iterator[Case]:
        """Yield the cases that are asked, in the suite's order."""
        suite, supports = self.plan.cases(), self.implementation.supports
        for position in range(len(suite)):
            case = suite[position]
            if self.plan.leaves_out(case, supports) is None:
                yield case

    def run(self, case: Case) -> Ended:
        """Run a case, and say in one what its operations came to: the worst of them decides."""
        plan = self.plan
        outcome = run_case(self.implementation, case, plan.ops, plan.arithmetic)
        verdicts: Sequence[tuple[str, Verdict]] = outcome.verdicts
        counts: Mapping[str, tuple[int, int]] = {}
        if plan.expectations is not None:
            verdicts, counts = plan.expectations.apply(case, verdicts)
        by_status: dict[str, list[tuple[str, Verdict]]] = {}
        for op, verdict in verdicts:
            by_status.setdefault(verdict.status, []).append((op, verdict))
        failing, stale = by_status.get("failed", []), self._stale(case, counts)
        if failing or stale:
            told: set[int] = set()
            lines = [
                line
                for op, verdict in failing
                for line in _failure_lines(op, verdict, outcome.results.get(op), told)
            ]
            lines += [*stale, f"repeat: {self.repeat} {case.id}"]
            return Ended("failed", "\n".join(lines), counts)
        for status, ended in _ENDS.items():
            if status in by_status:
                reasons = [v.reason or status for _, v in by_status[status]]
                return Ended(ended, "" if ended == "passed" else _once(reasons), counts)
        reasons = [f"unsupported: {v.reason}" for _, v in by_status.get("unsupported", [])]
        return Ended("skipped", _once(reasons) or "none of the operations asked for", counts)

    def _stale(self, case: Case, counts: Mapping[str, tuple[int, int]]) -> list[str]:
        """Return a line for each expectation of this very case that does not fail."""
        known = self.plan.expectations
        if known is None or not counts:
            return []
        own = (entry for entry in known.on(case) if entry.condition is None)
        stale = (entry for entry in own if counts[entry.text][0] and not counts[entry.text][1])
        return Expectations(tuple(stale)).broken(counts)


def _once(reasons: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))


def _failure_lines(op: str, verdict: Verdict, result: Any, told: set[int]) -> Iterator[str]:
    """Yield what is wrong with a result; a traceback that was `told` before is not repeated."""
    failure = verdict.failure
    if failure is None:
        return
    error = "" if failure.ratio is None else f" (|error| is {failure.ratio:.3g} times the bound)"
    yield f"{op}: {failure.kind}: {failure.message}{error}"
    if isinstance(result, Raised) and result.error is not None and id(result.error) not in told:
        told.add(id(result.error))
        yield adapters.traceback_of(result.error)
