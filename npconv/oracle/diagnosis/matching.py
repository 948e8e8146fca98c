"""Which known faults give the results that were seen. Nothing is run here."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.diagnosis.sights import Sight, equal
from npconv.oracle.suspects.fault import Fault, NoArrayError, Problem
from npconv.oracle.suspects.tools import right

Array = np.ndarray[Any, np.dtype[Any]]

#: Failing results that every fault is tried on; on further ones those that were right before,
#: and all of them where none is.
_ALL = 5


@dataclass(frozen=True, slots=True)
class Match:
    """A fault, the failing results that it gives, and passing cases that it would make fail."""

    fault: Fault
    explains: frozenset[int]
    contradicted: int
    #: Faults that explain the same, and are as well in line with what passes.
    others: tuple[Fault, ...] = ()


def match(
    sights: Sequence[Sight],
    passing: Sequence[tuple[Case, Problem]],
    faults: Sequence[Fault],
    deadline: float = float("inf"),
    raised: Sequence[Sight] = (),
) -> list[Match]:
    """Return faults that together give the failing results of one operation, each its own part.

    The fault that gives most comes first, then the one that gives most of the rest; of faults
    that give the same, one that may have `raised` too.
    """
    explained = _explained(sights, faults, deadline)
    rest = frozenset(range(len(sights)))
    found: list[Match] = []
    while rest and explained:
        most = max(len(given & rest) for given in explained.values())
        if most < _enough(len(sights), len(rest)):
            break
        op = sights[0].op
        near = {
            fault: given
            for fault, given in explained.items()
            if len(given & rest) >= 0.9 * most
        }  # fmt: skip
        against = {fault: contradictions(fault, op, passing) for fault in near}
        failed = {fault: sum(raises(fault, sight) for sight in raised) for fault in near}
        order = {fault: number for number, fault in enumerate(faults)}
        keys = {
            fault: (
                # A condition may keep a fault from passing cases; it is worth less than a result.
                0.3 * against[fault] / max(1, len(passing)) - len(given & rest) / len(rest),
                # Within the bound of inexact data several may be; to the bit it is seldom chance.
                -sum(_to_the_bit(fault, sights[number]) for number in given & rest),
                -failed[fault],
                -len(given),
                fault.series is not None,
                len(fault.ops),
                order[fault],
            )
            for fault, given in near.items()
        }
        ranked = sorted(near, key=keys.__getitem__)
        best = ranked[0]
        equal = tuple(
            fault
            for fault in ranked[1:]
            if explained[fault] & rest == explained[best] & rest
            and (against[fault], failed[fault]) == (against[best], failed[best])
        )
        found.append(Match(best, explained[best] & rest, against[best], equal))
        rest -= explained[best]
    return found


def _enough(total: int, rest: int) -> int:
    """Return how many of the rest a further fault must give: one alone may be chance."""
    return 1 if total <= 3 or rest == total <= 5 else max(2, total // 20)


def _explained(
    sights: Sequence[Sight], faults: Sequence[Fault], deadline: float
) -> dict[Fault, frozenset[int]]:
    given: dict[Fault, set[int]] = {}
    for number, sight in enumerate(sights):
        if sight.got is None:
            continue
        likely = [fault for fault in faults if fault in given]
        seen = [fault for fault in likely if gives(fault, sight)]
        if number < _ALL or not seen:
            for fault in faults:
                if time.perf_counter() > deadline:
                    break
                if fault not in given and sight.op in fault.ops and gives(fault, sight):
                    seen.append(fault)
                    # What it gives of those before.
                    given[fault] = {
                        before for before in range(_ALL, number) if gives(fault, sights[before])
                    }
        for fault in seen:
            given.setdefault(fault, set()).add(number)
        if time.perf_counter() > deadline:
            break
    return {
        fault: frozenset(numbers)
        for fault, numbers in given.items()
        if any(sights[number].tells for number in numbers)
    }


@functools.cache
def _trigger(text: str) -> Condition:
    return Condition.parse(text)


def _meets(fault: Fault, case: Case) -> bool:
    """Whether a fault may show: outside of its trigger it gives what is right."""
    return fault.trigger is None or _trigger(fault.trigger).holds(case)


def gives(fault: Fault, sight: Sight) -> bool:
    """Whether a fault gives a failing result."""
    if sight.op not in fault.ops or not _meets(fault, sight.case):
        return False
    found = _results(fault, sight.problem, sight.op)
    if isinstance(found, NoArrayError):
        return sight.kind == "raised"
    return sight.is_given_by(found)


def raises(fault: Fault, sight: Sight) -> bool:
    """Whether a kernel with a fault may raise as it was seen to: where it reads beyond the input.

    What is raised tells nothing by itself; a fault that results show may raise too.
    """
    if sight.kind != "raised" or sight.op not in fault.ops or not _meets(fault, sight.case):
        return False
    return gives(fault, sight) or (fault.leaves is not None and fault.leaves(sight.problem))


def _to_the_bit(fault: Fault, sight: Sight) -> bool:
    """Whether a fault that gives a failing result gives each of its bits."""
    found = _results(fault, sight.problem, sight.op)
    return isinstance(found, np.ndarray) and bool(equal(found, np.asarray(sight.got)).all())


def contradictions(fault: Fault, op: str, passing: Sequence[tuple[Case, Problem]]) -> int:
    """Count the passing cases that a fault would make fail."""
    count = 0
    for case, problem in passing:
        if not _meets(fault, case):
            continue
        found = _results(fault, problem, op)
        if found is None:
            continue
        if isinstance(found, NoArrayError):
            count += 1
            continue
        with np.errstate(all="ignore"):
            want = right(problem, op)
        count += found.shape != want.shape or not np.array_equal(
            found, want, equal_nan=want.dtype.kind in "fc"
        )
    return count


def shows(fault: Fault, op: str, case: Case, problem: Problem) -> bool:
    """Whether a fault makes this operation of a case wrong."""
    return contradictions(fault, op, [(case, problem)]) > 0


def _results(fault: Fault, problem: Problem, op: str) -> Array | NoArrayError | None:
    try:
        return fault.results(problem, op)
    except NoArrayError as raised:
        return raised
    except (
        ArithmeticError, AssertionError, LookupError, MemoryError, TypeError, ValueError
    ):  # fmt: skip
        # A fault need not have a result on what it was not made for.
        return None
