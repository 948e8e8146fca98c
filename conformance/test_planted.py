"""Planted faults: each can be planted, is caught by 'standard', and is right elsewhere.

This is a share that takes a minute: every fault stops at the first case that fails.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
import pytest

import conformance.planted
from conformance.planted import ALL, UNLISTED, planted
from conformance.planted.implementation import Plantable, Planted
from conformance.planted.stateful import STATEFUL
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.data import operands
from npconv.oracle.protocol import Implementation
from npconv.oracle.suites import suite_named
from npconv.oracle.suspects import CATALOGUE, Problem
from npconv.oracle.suspects.fault import NoArrayError
from npconv.oracle.suspects.tools import OPS, right
from npconv.oracle.trial import run_case

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

STANDARD = suite_named("standard")
#: What needs numbers that a share of the suite rarely has.
SINGLE = "n1c2f3g1-4x5-k4x5-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0"

#: What tells rare faults beside the catalogue from those in it.
TELLING = (
    "n2c3f3g1-5x6-k3x3-s1x1-p1x1-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c6f9g3-5x6-k2x3-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c6f3g3-6x7-k2x3-s1x2-p1x1-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c3f4g1-6x9-k2x3-s1x1-p1x0-d1x2-bias-m111-float64-packed-integers-seed0",
)


class Nothing:
    """A fault that is none."""

    name, family, trigger, ops = "nothing", "empties", None, ()

    def results(self, problem: Problem, op: str) -> None:
        """Return nothing wrong."""


@functools.cache
def spread() -> tuple[Case, ...]:
    """Return small cases from all over the suite."""
    found = []
    for position in range(0, len(STANDARD), 61):
        case = STANDARD[position]
        if case.illegal is None and math.prod(case.input_shape) < 2000:
            found.append(case)
    return tuple(found)


def tried(fault: Plantable) -> Iterator[Case]:
    """Yield cases in which the fault may show."""
    condition = Condition.parse(fault.trigger or "True")
    yield from (case for case in spread() if condition.holds(case))
    for position in range(len(STANDARD)):
        case = STANDARD[position]
        if case.illegal is None and condition.holds(case):
            yield case
    yield Case.from_id(SINGLE)


def failing(implementation: Implementation, case: Case) -> list[str]:
    """Return the operations that fail."""
    found = run_case(implementation, case, OPS).verdicts
    return [op for op, verdict in found if verdict.status == "failed"]


def implementation(fault: Plantable) -> Implementation:
    """Return a planted fault, read as any implementation is."""
    return Implementation.of(planted(fault), fault.name)


def test_names_are_unique() -> None:
    """No fault beside the catalogue has the name of one in it; at least 30 are beside it."""
    assert len(ALL) == len(CATALOGUE) + len(UNLISTED)
    assert len(UNLISTED) >= 30
    assert set(STATEFUL) <= set(ALL)


def test_every_fault_can_be_planted() -> None:
    """Each is an implementation that is asked every dtype, form of padding and layout."""
    for fault in ALL.values():
        supports = implementation(fault).supports
        assert supports.asks(Case.from_id(SINGLE)), fault.name
        assert supports.unbatched
        assert supports.padding == ("pair", "string", "four-sided")


def test_faults_are_attributes() -> None:
    """`conformance.planted:NAME` finds a fault by its name with underscores, and no other."""
    found = conformance.planted.kernel_not_flipped
    assert isinstance(found, Planted)
    assert found.fault.name == "kernel-not-flipped"
    assert "kernel_not_flipped" in dir(conformance.planted)
    with pytest.raises(AttributeError, match="'no_such_fault'"):
        conformance.planted.no_such_fault  # noqa: B018  # it raises


def test_faults_without_results_are_planted_by_hand() -> None:
    """What no single result shows has an implementation of its own."""
    for fault in CATALOGUE:
        if fault.results.args[0] is None:  # type: ignore[attr-defined]  # a partial of compute
            assert fault.name in STATEFUL, fault.name


def test_nothing_planted_conforms() -> None:
    """Without a fault the implementation passes: what fails elsewhere is the fault."""
    nothing = Implementation.of(Planted(Nothing()), "nothing")
    assert [case.id for case in spread()[::3] if failing(nothing, case)] == []


@pytest.mark.parametrize("name", sorted(STATEFUL))
def test_stateful_fault_is_caught(name: str) -> None:
    """A fault with memory, or of the protocol, fails a case within the first 150 that may show."""
    faulty = implementation(ALL[name])
    assert any(
        failing(faulty, case)
        for case, _ in zip(
            (case for case in tried(ALL[name]) if faulty.supports.asks(case)),
            range(150),
            strict=False,
        )
    )


@pytest.mark.parametrize("name", [fault.name for fault in UNLISTED])
def test_unlisted_fault_is_caught(name: str) -> None:
    """A fault beside the catalogue fails a case, in operations that it touches alone."""
    fault = ALL[name]
    faulty = implementation(fault)
    caught = next(found for found in (failing(faulty, case) for case in tried(fault)) if found)
    assert set(caught) <= set(fault.ops)


@pytest.mark.parametrize("name", [fault.name for fault in UNLISTED])
def test_unlisted_fault_is_right_outside_its_trigger(name: str) -> None:
    """Where the trigger of a fault beside the catalogue does not hold, nothing fails."""
    fault = ALL[name]
    condition = Condition.parse(fault.trigger or "True")
    faulty = implementation(fault)
    cases = [case for case in spread() if not condition.holds(case)][:25]
    assert [case.id for case in cases if faulty.supports.asks(case) and failing(faulty, case)] == []


def _bytes(fault: Plantable, problem: Problem, op: str) -> bytes:
    try:
        wrong = fault.results(problem, op)
    except NoArrayError:
        return b"raised"
    return (right(problem, op) if wrong is None else wrong).tobytes()


def test_unlisted_faults_are_not_in_the_catalogue() -> None:
    """No fault of the catalogue gives all the results of one beside it."""
    exact = [case for case in spread() if case.data == "integers" and case.dtype == "float64"]
    cases = exact[:: max(1, len(exact) // 15)]
    cases += [Case.from_id(text) for text in TELLING]
    problems = [Problem.of(case, operands(case)) for case in cases]

    def seen(fault: Plantable, op: str) -> list[bytes]:
        return [_bytes(fault, p, op) for p in problems]

    good = {op: [right(p, op).tobytes() for p in problems] for op in OPS}
    listed = {op: {tuple(seen(fault, op)) for fault in CATALOGUE if op in fault.ops} for op in OPS}
    known = [
        fault.name
        for fault in UNLISTED
        if not any(tuple(seen(fault, op)) not in {*listed[op], tuple(good[op])} for op in fault.ops)
    ]
    assert known == []


def test_output_mask_is_respected() -> None:
    """A planted fault that is not about masks returns None where the mask is False."""
    text = "n2c4f6g2-6x7-k3x2-s2x1-p1x1-d1x2-bias-m111-float64-packed-integers-seed0"
    case = Case.from_id(text)
    for fault in ALL.values():
        if fault.family == "masks":
            continue
        arrays = operands(case)
        for mask in ((True, False, False), (False, True, True), (False, False, False)):
            found = planted(fault).conv2d_backward(
                np.array(arrays.grad_output), np.array(arrays.input), np.array(arrays.weight),
                *case.parameters, mask,
            )  # fmt: skip
            assert [gradient is not None for gradient in found] == list(mask), fault.name
