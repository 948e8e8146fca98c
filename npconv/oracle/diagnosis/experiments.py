"""Faults that no single result shows: state that calls leave behind, races, masks, refusals.

They are found by calls made on purpose: the same twice, two in a row that differ in one thing.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.data import Operands, operands
from npconv.oracle.diagnosis.sights import Bench, Sight, effort, equal, is_comparable
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suspects import CATALOGUE
from npconv.oracle.suspects.fault import Fault, Problem
from npconv.oracle.suspects.tools import right
from npconv.oracle.trial import printing_aside

Array = np.ndarray[Any, np.dtype[Any]]

#: How often a call is repeated to see whether its answers differ.
_REPEATED = 16
#: Products and elements of a case that experiments are made from, at the most.
_LARGEST = 5_000_000
_NAMES = {fault.name: fault for fault in CATALOGUE}
#: Sizes that no suite has, so that no call before had them: each experiment takes its own.
_FRESH = itertools.count()


@dataclass(frozen=True, slots=True)
class Recognised:
    """A fault that experiments show, None where none is known like it, and what to say."""

    fault: Fault | None
    says: str


def _known(name: str, says: str = "") -> Recognised:
    fault = _NAMES.get(name)
    return Recognised(fault, fault.says if fault is not None else says)


def is_determined(fault: Fault) -> bool:
    """Whether a fault's result follows from one call's arguments, so that it can be compared."""
    return fault.kind != "state" and fault.family != "masks" and not fault.name.endswith("-refused")


def refusal(op: str, cases: Sequence[Case], passing: Sequence[Case]) -> Recognised | None:
    """Return the fault that raises on just these legal cases."""
    for fault in CATALOGUE:
        if not fault.name.endswith("-refused") or op not in fault.ops or fault.trigger is None:
            continue
        trigger = Condition.parse(fault.trigger)
        if all(map(trigger.holds, cases)) and not any(map(trigger.holds, passing)):
            return _known(fault.name)
    return None


def on_kind(bench: Bench, sights: Sequence[Sight]) -> Recognised | None:
    """Return what failures of one kind that says nothing of values show."""
    sight = sights[0]
    if sight.kind in ("mask", "type", "shape") and sight.op != "forward":
        return _masks(bench, sight)
    if sight.kind == "mutated":
        return _mutated(bench, sight)
    if sight.kind == "aliased":
        message = sight.failure.message
        if "the memory of the first" in message:
            return _known("output-buffer-reused")
        if "its argument grad_output" in message and sight.op == "grad_bias":
            return _known("bias-gradient-is-a-view")
    return None


def on_values(
    bench: Bench, cases: Sequence[Case], op: str, failing_ops: Sequence[str]
) -> Recognised | None:
    """Return the fault of state that calls in a row show; None where calls are independent."""
    few = [case for case in cases if case.batch != 0 and case.in_channels > 0]
    few = [case for case in few if effort(case) <= _LARGEST]
    for case in few[:: max(1, len(few) // 3)][:3]:
        plain = replace(case, seed=77, data="integers")
        # Sums of several results are exact in these.
        wider = (replace(plain, dtype=dtype) for dtype in ("float64", "float32"))
        plain = next(filter(bench.asks, wider), plain)
        for experiment in (_repeated, _unwritten):
            found = experiment(bench, plain, op, failing_ops)
            if found is not None:
                return found
    return _plans(bench, few, op)


# ------------------------------------------------------------------ calls


def _call(bench: Bench, case: Case, op: str, arrays: Operands) -> Any:
    """Return what one operation gives, as it is; None where it raises, or no time is left."""
    implementation = bench.implementation
    if bench.spent:
        return None
    with printing_aside(), _whatever_is_raised():
        if op == "forward":
            return implementation.forward(case, arrays)
        mask = tuple(op == name for name in GRADIENTS)
        three = implementation.gradients(case, arrays, mask)  # type: ignore[arg-type]  # three bools
        return three[GRADIENTS.index(op)]
    return None


class _whatever_is_raised(contextlib.AbstractContextManager[None]):  # noqa: N801  # as a call
    """Go on after what the code under test raises, of any class; an interrupt is the user's."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Say whether what was raised ends here."""
        return kind is not None and not issubclass(kind, KeyboardInterrupt)


def _answers(bench: Bench, case: Case, op: str, draws: Sequence[Operands]) -> list[Array] | None:
    """Return copies of what calls in a row give; None where one gives nothing to compare."""
    sizes = math.prod(case.input_shape) + math.prod(case.weight_shape)
    sizes += math.prod(case.geometry.output_shape)
    found = []
    for arrays in draws:
        result = _call(bench, case, op, arrays)
        if not isinstance(result, np.ndarray) or not is_comparable(result, sizes):
            return None
        found.append(result.copy())
    return found


def _right(case: Case, op: str, arrays: Operands) -> Array:
    with np.errstate(all="ignore"):
        return right(Problem.of(case, arrays), op)


def _near(first: Array, second: Array) -> bool:
    """Whether arrays agree but for a few roundings."""
    if first.shape != second.shape or first.dtype.kind not in "fc":
        return _same(first, second)
    unit = float(np.finfo(first.dtype).eps) if first.dtype.kind in "fc" else 0.0
    size = float(np.max(np.abs(second), initial=0.0))
    return bool(np.all(np.abs(first - second) <= 8 * unit * size))


def _same(first: Array, second: Array) -> bool:
    return first.shape == second.shape and bool(
        np.array_equal(first, second, equal_nan=first.dtype.kind in "fc")
    )


def _fresh(case: Case) -> Case:
    """Return a case like this one, of sizes that were not called before."""
    number = next(_FRESH)
    height, width = case.extents
    return replace(
        case,
        extents=(height + 13 + number % 7, width + 29 + number % 50),
        out_channels=max(1, case.groups) * (7 + number % 50),
        data="integers",
    )


# ------------------------------------------------------------------ experiments


def _repeated(bench: Bench, case: Case, op: str, failing_ops: Sequence[str]) -> Recognised | None:
    """Call with A, A, B, A on sizes that are new: what was before shows in what comes."""
    case = _fresh(case)
    if not bench.asks(case) or effort(case) > 20 * _LARGEST:
        return None
    other = replace(case, seed=case.seed + 1)
    a, b = operands(case), operands(other)
    answers = _answers(bench, case, op, (a, a, b, a))
    if answers is None:
        return None
    one, two = _right(case, op, a), _right(case, op, b)
    if any(answer.shape != one.shape for answer in answers):
        return None
    with np.errstate(all="ignore"):
        sums = "gradients-accumulate" if "forward" not in failing_ops else (
            "accumulates-onto-the-last-result"
        )  # fmt: skip
        patterns: tuple[tuple[str, tuple[Array, ...]], ...] = (
            (sums, (one, one + one, one + one + two)),
            ("last-result-returned", (one, one, one, two)),
        )
        for name, expected in patterns:
            pairs = zip(answers, expected, strict=False)
            if all(_near(got, want.astype(got.dtype)) for got, want in pairs):
                return _known(name)
        if _near(answers[2] - two, one) and not _same(answers[0], one) and op == "grad_input":
            return _known("workspace-not-cleared")
    hits = [_same(answer, one) for answer in answers[:2]]
    again = _answers(bench, case, op, (a,) * _REPEATED)
    if again is None:
        return None
    steady = all(_same(answer, again[0]) for answer in again[1:])
    if not steady:
        # By chance memory that was never written may hold what is right.
        wrong = np.asarray(np.any([~equal(answer, one) for answer in again], 0))
        unwritten = None if wrong.all() else _end(wrong)
        if unwritten is not None:
            return _known(unwritten)
        if any(_same(answer, one) for answer in again):
            return _known(
                {"grad_weight": "race-on-the-weight-gradient"}.get(op, "race-on-the-output")
                if op in ("forward", "grad_weight")
                else "",
                "equal calls give different results, some of them right, as with a race",
            )
        return None
    if hits == [True, False] and not _same(again[0], one):
        return _known("right-at-the-first-call-only")
    if hits == [False, True] and _same(again[0], one):
        return _known("wrong-at-the-first-call-only")
    return None


def _unwritten(bench: Bench, case: Case, op: str, failing_ops: Sequence[str]) -> Recognised | None:
    """Call with A, B, A, C, A: elements that are wrong and change were not written."""
    del failing_ops
    if not bench.asks(case):
        return None
    draws = [operands(replace(case, seed=case.seed + step)) for step in range(3)]
    order = (0, 1, 0, 2, 0)
    answers = _answers(bench, case, op, [draws[i] for i in order])
    if answers is None:
        return None
    want = _right(case, op, draws[0])
    own = [answers[0], answers[2], answers[4]]
    if any(answer.shape != want.shape for answer in own):
        return None
    wrong = np.asarray(np.any([~equal(answer, want) for answer in own], 0))
    if not wrong.any() or wrong.all() or all(_same(answer, own[0]) for answer in own):
        return None
    # What changes from call to call lies where it always lies, or it is a race.
    if not all((answer != want)[wrong].any() for answer in own):
        return None
    name = _end(wrong)
    return (
        Recognised(
            None, "does not write some elements of its result, which show what the memory held"
        )
        if name is None
        else _known(name)
    )


def _end(wrong: Array) -> str | None:
    """Return the fault that leaves just these elements unwritten, at the end of its result."""
    if wrong.ndim >= 3 and not wrong[..., :-1, :].any():
        rows = wrong[..., -1, :].all()
        if rows or wrong.reshape(-1, *wrong.shape[-2:]).any((1, 2)).all():
            return "last-row-unwritten"
    marked = np.flatnonzero(wrong)
    if marked[0] >= wrong.size - max(wrong.shape[-1:]) and marked[-1] == wrong.size - 1:
        return "tail-unwritten"
    return None


def _plans(bench: Bench, cases: Sequence[Case], op: str) -> Recognised | None:
    """Call twice with one thing changed in between, and see if the second follows the first."""
    dtype = next((c.dtype for c in cases if c.dtype in ("float32", "float64")), None)
    if dtype is None:
        return None
    found = [name for name, pair in _pairs(dtype) if _follows(bench, op, pair)]
    # Cases that differ in anything have other weights and biases too.
    found = next(([name] for name in ("weight", "bias") if name in found), found)
    return _known(f"plan-without-{found[0]}") if len(found) == 1 else None


def _pairs(dtype: str) -> Iterator[tuple[str, Callable[[int], tuple[Case, Case]]]]:
    """Yield what changes, and two cases that differ in it, made fresh by a number."""

    def base(number: int, **changes: Any) -> Case:
        plain = Case(
            2, 4, 20 + 2 * number, 1, (7 + number % 10, 9 + number % 13), (3, 2), (1, 1), (1, 1),
            (1, 1), True, "111", dtype, "packed", "integers", 5,
        )  # fmt: skip
        return replace(plain, **changes)

    def sized(number: int, **changes: Any) -> tuple[Case, Case]:
        """Keep the output's size: the input's follows."""
        first = base(number)
        out, second = first.geometry.out, replace(first, **changes)
        extents = tuple(
            (o - 1) * axis.stride + axis.span - axis.before - axis.after
            for o, axis in zip(out, second.geometry.axes, strict=True)
        )
        return first, replace(second, extents=extents)  # type: ignore[arg-type]  # two ints

    for name, changes in (
        ("stride", {"stride": (2, 2)}),
        ("padding", {"padding": (0, 0)}),
        ("dilation", {"dilation": (2, 2)}),
    ):
        yield name, lambda n, c=changes: sized(n, **c)  # type: ignore[misc]
    # Kernels that no suite has: plans may be kept by the kernel's sizes alone.
    unlike = [
        {"kernel": (5 + n % 11, 6 + n % 13), "extents": (17 + n % 10, 21 + n % 7)}
        for n in range(143)
    ]
    yield "groups", lambda n: (base(n, **unlike[n]), base(n, **unlike[n], groups=2))
    yield (
        "weight",
        lambda n: (base(n, out_channels=20 + 2 * n, bias=False),
                   base(n, out_channels=20 + 2 * n, bias=False, seed=6)),
    )  # fmt: skip
    yield "bias", lambda n: (base(n), base(n, seed=6))
    other = "float32" if dtype == "float64" else "float64"
    yield "dtype", lambda n: (base(n), base(n, dtype=other))


def _follows(bench: Bench, op: str, pair: Callable[[int], tuple[Case, Case]]) -> bool:
    """Whether the second of two calls is wrong, and right when it comes alone."""
    first, second = pair(next(_FRESH) % 97)
    _, alone = pair(next(_FRESH) % 97)
    if not all(map(bench.asks, (first, second, alone))):
        return False
    if not _is_right(bench, alone, op):
        return False
    a = operands(first)
    before = _call(bench, first, op, a)
    if not isinstance(before, np.ndarray) or not _same(before, _right(first, op, a)):
        return False
    return not _is_right(bench, second, op)


def _is_right(bench: Bench, case: Case, op: str) -> bool:
    arrays = operands(case)
    got = _call(bench, case, op, arrays)
    want = _right(case, op, arrays)
    return isinstance(got, np.ndarray) and got.dtype == want.dtype and _same(got, want)


# ------------------------------------------------------------------ arguments and masks


def _mutated(bench: Bench, sight: Sight) -> Recognised | None:
    """Say what was written to an argument."""
    case, op = replace(sight.case, layout="packed"), sight.op
    arrays = operands(case)
    before = {name: array.copy() for name, array in arrays.named().items()}
    _call(bench, case, op, arrays)
    for name, array in arrays.named().items():
        was = before[name]
        if _same(array, was):
            continue
        if name == "weight" and _same(array, was[..., ::-1, ::-1]):
            return _known("weight-flipped-in-place")
        if name == "input" and op == "forward":
            return _known("input-overwritten")
        if name == "grad_output" and was.any():
            return _known("grad-output-scaled-in-place")
    return None


def _masks(bench: Bench, sight: Sight) -> Recognised | None:
    """Compare which gradients come with which were asked for, for all eight masks."""
    case = replace(sight.case, mask="111", layout="packed")
    if "conv2d_backward" not in bench.implementation.functions or case.illegal is not None:
        return None
    seen: dict[tuple[bool, ...], tuple[bool, ...]] = {}
    zeros = True
    for mask in itertools.product((True, False), repeat=3):
        with printing_aside(), _whatever_is_raised():
            three = bench.implementation.gradients(case, operands(case), mask)  # type: ignore[arg-type]
            seen[mask] = tuple(gradient is not None for gradient in three)
            zeros &= all(
                on or (isinstance(gradient, np.ndarray) and not gradient.any())
                for on, gradient in zip(mask, three, strict=True)
            )
    if len(seen) < 8:
        return None
    if zeros:
        return _known("zeros-for-what-is-masked")
    readings: dict[str, Callable[[tuple[bool, ...]], tuple[bool, ...]]] = {
        "mask-ignored": lambda _: (True, True, True),
        "mask-shifted": lambda mask: (mask[1], mask[2], mask[0]),
        "mask-reversed": lambda mask: mask[::-1],
    }
    for name, reading in readings.items():
        if all(given == reading(mask) for mask, given in seen.items()):
            return _known(name)
    return None
