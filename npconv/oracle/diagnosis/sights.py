"""What is seen of a failing case: the result, what is right, and the arrays that went in."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npconv.compare import Reference, compare
from npconv.oracle.cases import Case
from npconv.oracle.data import operands
from npconv.oracle.judge import Failure, Verdict
from npconv.oracle.protocol import Implementation
from npconv.oracle.suspects.fault import Problem
from npconv.oracle.trial import Outcome, run_case

Array = np.ndarray[Any, np.dtype[Any]]

#: An array is looked into that has at most so many times the right one's elements, and some more.
_TIMES, _AT_LEAST = 100, 1_000_000
#: Names of axes, by operation.
AXES = {
    "forward": ("image", "channel", "row", "column"),
    "grad_input": ("image", "channel", "row", "column"),
    "grad_weight": ("output channel", "input channel", "kernel row", "kernel column"),
    "grad_bias": ("channel",),
}


@dataclass(frozen=True, eq=False)
class Sight:
    """One failing result.

    Attributes
    ----------
    case, op, failure
        What failed, and how.
    problem : Problem
        The arrays and parameters that went in.
    got : numpy.ndarray or None
        What came out; None where that is no array, or none to be compared.
    right : Reference
        What is right, with its bound.
    unread : tuple of int or None
        The shape of an array that came out, and is not looked into.
    """

    case: Case
    op: str
    failure: Failure
    problem: Problem
    got: Array | None
    right: Reference
    unread: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """The kind of failure."""
        return self.failure.kind

    @property
    def want(self) -> Array:
        """The right result."""
        return self.right.values

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of what came out; None where that is no array."""
        return self.unread if self.got is None else self.got.shape

    @property
    def compares(self) -> bool:
        """Whether what came out can be compared element by element."""
        return self.got is not None and self.got.shape == self.want.shape

    @property
    def tells(self) -> bool:
        """Whether a fault that gives this result is told by it: NaN alone may come of anything."""
        got = self.got
        return got is not None and (
            got.size == 0 or got.dtype.kind in "iu" or not np.isnan(got).all()
        )

    def is_given_by(self, other: Array | None) -> bool:
        """Whether this is what came out: to the bit, or within the bound and still wrong."""
        got = self.got
        if got is None or other is None or other.shape != got.shape:
            return False
        if other.dtype.newbyteorder("=") != got.dtype.newbyteorder("="):
            return False
        if other.size == 0:
            return self.kind in ("shape", "dtype")
        with np.errstate(all="ignore"):
            if equal(other, got).all():
                return True
            bound = self.right.bound
            if bound is None or bound.size == 0:
                return False
            if bound.shape != got.shape:
                # Of a wrong shape: the largest bound serves all elements.
                near = np.abs(other - got) <= 2 * np.max(bound[np.isfinite(bound)], initial=0)
                return bool((near | equal(other, got)).all())
            # Of another dtype it is wrong whatever its numbers.
            if self.kind != "dtype" and not compare(other, self.right).wrong.any():
                return False
            near = replace(self.right, values=other.astype(self.want.dtype), bound=2 * bound)
            return not compare(got, near).wrong.any()


@dataclass(frozen=True, slots=True)
class Unread:
    """An array that is not looked into: of a dtype that is no number's, or far too large."""

    shape: tuple[int, ...]


def is_comparable(array: Array, size: int) -> bool:
    """Whether an array can be compared element by element with one of so many elements."""
    # An array that repeats one element is as large as its shape where it is worked on.
    if array.size > _TIMES * size + _AT_LEAST:
        return False
    return array.dtype.kind in "biufc" or array.dtype.name == "bfloat16"


def _kept(outcome: Outcome, op: str) -> Any:
    """Return a copy of a result, as an implementation may write to what it returned before."""
    result = outcome.results[op]
    if not isinstance(result, np.ndarray):
        return result
    references = {} if outcome.expected is None else outcome.expected.references
    size = references[op].values.size if op in references else 0
    return result.copy() if is_comparable(result, size) else Unread(result.shape)


@dataclass
class Bench:
    """Runs cases for a diagnosis, each once, until a time."""

    implementation: Implementation
    ops: tuple[str, ...]
    arithmetic: str | None
    deadline: float
    outcomes: dict[Case, Outcome] = field(default_factory=dict)
    #: Seconds of the slowest case so far.
    slowest: float = 0.0

    @property
    def spent(self) -> bool:
        """Whether there is no time for another case."""
        return time.perf_counter() + self.slowest > self.deadline

    def run(self, case: Case) -> Outcome:
        """Run a case, or recall it."""
        found = self.outcomes.get(case)
        if found is None:
            began = time.perf_counter()
            found = run_case(self.implementation, case, self.ops, self.arithmetic)
            results = {op: _kept(found, op) for op in found.results}
            found = replace(found, results=results)
            self.slowest = max(self.slowest, time.perf_counter() - began)
            self.outcomes[case] = found
        return found

    def verdict(self, case: Case, op: str) -> Verdict | None:
        """Return the verdict on one operation of a case; None where it is not asked."""
        return dict(self.run(case).verdicts).get(op)

    def sight(self, case: Case, op: str) -> Sight | None:
        """Return what is seen of a failing result; None where it does not fail."""
        outcome = self.run(case)
        verdict = dict(outcome.verdicts).get(op)
        if verdict is None or verdict.failure is None or outcome.expected is None:
            return None
        result = outcome.results.get(op)
        # Where the mask leaves it out, nothing is right.
        right = outcome.expected.references.get(op, Reference(np.empty(0)))
        return Sight(
            case, op, verdict.failure, Problem.of(case, operands(case)),
            result if isinstance(result, np.ndarray) else None, right,
            result.shape if isinstance(result, Unread) else None,
        )  # fmt: skip

    def asks(self, case: Case) -> bool:
        """Whether the implementation is asked this case, and it is legal."""
        return case.illegal is None and self.implementation.supports.asks(case)


def effort(case: Case) -> int:
    """Count the products and elements of a legal case."""
    geometry = case.geometry
    outputs = math.prod((geometry.batch, geometry.out_channels, *geometry.out))
    elements = math.prod(case.input_shape) + math.prod(case.weight_shape) + outputs
    return elements + outputs * geometry.forward_terms


def equal(one: Array, other: Array) -> Array:
    """Where elements are equal; NaN equals NaN, and a zero's sign is left open."""
    found = np.asarray(one == other)
    if one.dtype.kind in "iu" or other.dtype.kind in "iu":
        return found
    return found | np.asarray(np.isnan(one) & np.isnan(other))


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most `count` items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[position * len(items) // count] for position in range(count)]
