"""The catalogue: no fault is dead, none stands twice, each is right where its trigger says so."""

import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from npconv import conv2d
from npconv.formats import FLOATS
from npconv.oracle.cases import LAYOUTS, Case
from npconv.oracle.conditions import Condition
from npconv.oracle.data import operands
from npconv.oracle.judge import Expected, expect, judge
from npconv.oracle.suites import suite_named
from npconv.oracle.suspects import CATALOGUE, Fault, Problem, channels, kernels, named, windows
from npconv.oracle.suspects.fault import KINDS, NoArrayError
from npconv.oracle.suspects.tools import OPS, SLIDING, memory, over, positions, read, right

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

Array = np.ndarray[Any, np.dtype[Any]]

#: Cases with one axis of 125 elements each: tiles of 4, 8, 16, 32 and 64 end at different places.
LONG = (
    "n2c3f125g1-5x4-k2x3-s1x1-p0x1-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c125f3g1-4x5-k1x1-s1x1-p0x0-d1x1-nobias-m111-float64-packed-integers-seed0",
    "n2c2f3g1-125x6-k3x2-s1x1-p1x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c3f2g1-6x125-k2x3-s1x1-p0x1-d1x1-nobias-m111-float64-packed-integers-seed0",
)
#: Sizes at which indices of 8 or 16 bits end, and other rare ones.
RARE = (
    "n1c1f65539g1-2x1-k1x1-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n1c1f2g1-65539x2-k2x1-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c1f1g1-181x183-k1x1-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c1f2g1-301x3-k259x2-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c1f2g1-1x1-k3x2-s1x1-p1x1-d1x1-bias-m111-float64-packed-integers-seed0",
    "n1c2f3g1-4x5-k2x3-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n0c2f3g1-4x5-k2x3-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c0f3g1-4x5-k2x3-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0",
    "n2c3f4g1-6x7-k3x3-s1x1-p0x0-d1x1-bias-m111-float32-packed-reals-seed0",
    *(
        f"n2c4f6g2-6x7-k3x2-s2x1-p1x1-d1x2-bias-m111-float64-{layout}-integers-seed0"
        for layout in LAYOUTS
    ),
)
#: Real numbers tell short factors apart that overflow on long integers alike.
REAL = tuple(
    f"n2c3f4g1-5x6-k3x3-s1x1-p0x0-d1x1-bias-m111-{dtype}-packed-{data}-seed0"
    for dtype in ("float64", "float32", "float16")
    for data in ("reals", "micro")
)

STANDARD = suite_named("standard")
RESULTS = [
    fault
    for fault in CATALOGUE
    if fault.results.args[0] is not None  # type: ignore[attr-defined]  # a partial of compute
]
NAMES = [fault.name for fault in RESULTS]


@functools.lru_cache(maxsize=256)
def expected(case: Case) -> Expected:
    """The right results of a case."""
    return expect(case, operands(case))


@functools.lru_cache(maxsize=256)
def problem(case: Case) -> Problem:
    """The calls of a case."""
    return Problem.of(case, operands(case))


def size(case: Case) -> int:
    """Return the number of elements of input, weight and output."""
    geometry = case.geometry
    shapes = (geometry.input_shape, geometry.weight_shape, geometry.output_shape)
    return sum(map(math.prod, shapes)) if all(map(math.prod, shapes)) else 0


@functools.cache
def sample() -> tuple[Case, ...]:
    """Return a spread of legal cases whose results are exact, and the long ones."""
    found = []
    for position in range(0, len(STANDARD), max(1, len(STANDARD) // 150)):
        case = STANDARD[position]
        whole = case.data in ("integers", "probe") or case.dtype.strip("u").startswith("int")
        if case.illegal is None and whole and 0 < size(case) < 3000:
            found.append(case)
    return (*found[:40], *(Case.from_id(text) for text in (*LONG, *RARE[4:6], *RARE[9:])))


def result_of(fault: Fault, given: Problem, op: str) -> Array | NoArrayError | None:
    """Return what a fault makes of an operation, or raises."""
    try:
        return fault.results(given, op)
    except NoArrayError as raised:
        return raised


def same(first: Array | NoArrayError | None, second: Array) -> bool:
    """Whether a result is another one, in shape, dtype and every element."""
    if first is None or isinstance(first, NoArrayError):
        return first is None
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and np.array_equal(first, second, equal_nan=first.dtype.kind in "fc")
    )


@functools.cache
def signature(fault: Fault, cases: tuple[Case, ...]) -> tuple[tuple[int, ...], ...]:
    """Hashes of a fault's wrong results, by case and operation; 0 where right."""
    found = []
    for case in cases:
        given = problem(case)
        row = []
        for op in OPS:
            result = result_of(fault, given, op)
            if isinstance(result, NoArrayError):
                row.append(1)
            elif result is None or same(result, right(given, op)):
                row.append(0)
            else:
                row.append(hash((result.shape, result.tobytes())))
        found.append(tuple(row))
    return tuple(found)


def test_catalogue_is_large_and_varied() -> None:
    """At least 100 faults that differ in more than a number, of every kind and many families."""
    distinct = {fault.series or fault.name for fault in CATALOGUE}
    assert len(distinct) >= 100
    assert {fault.kind for fault in CATALOGUE} == set(KINDS)
    families = {fault.family for fault in CATALOGUE}
    assert families >= {
        "layout", "tails", "groups", "stride", "padding", "dilation", "orientation", "bias",
        "masks", "batch", "empties", "sizes", "numerics", "dtypes", "state",
    }  # fmt: skip


def test_faults_are_well_formed() -> None:
    """Names are unique and in kebab-case; each fault has a sentence, sources, a trigger."""
    counts = Counter(fault.name for fault in CATALOGUE)
    assert max(counts.values()) == 1
    for fault in CATALOGUE:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.name), fault.name
        assert fault.says[0].islower(), fault.name
        assert not fault.says.endswith("."), fault.name
        assert fault.ops, fault.name
        assert set(fault.ops) <= set(OPS), fault.name
        assert fault.sources, fault.name
        for source in fault.sources:
            assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/[1-9]\d*", source)
        if fault.trigger is not None:
            Condition.parse(fault.trigger)


def test_sentences_are_unique() -> None:
    """No two faults are described by the same sentence."""
    counts = Counter(fault.says for fault in CATALOGUE)
    assert [says for says, count in counts.items() if count > 1] == []


def test_a_series_has_members() -> None:
    """A series has two faults or more, of one family."""
    members = defaultdict(list)
    for fault in CATALOGUE:
        if fault.series is not None:
            members[fault.series].append(fault)
    for series, faults in members.items():
        assert len(faults) > 1, series
        assert len({fault.family for fault in faults}) == 1, series


def test_named_finds_each_fault() -> None:
    """`named` returns the fault of a name, and raises KeyError for another name."""
    assert all(named(fault.name) is fault for fault in CATALOGUE)
    with pytest.raises(KeyError):
        named("no-such-fault")


def candidates(fault: Fault) -> Iterator[Case]:
    """Yield cases of 'standard' in which a fault may show, those with exact results first."""
    condition = None if fault.trigger is None else Condition.parse(fault.trigger)
    kinds = ("special",) if fault.kind == "structure" else ("reals", "micro", "special")
    first = [case for case in sample() if case.dtype in FLOATS or "int" in fault.name]
    yield from (case for case in first if condition is None or condition.holds(case))
    tried = 0
    for position in range(len(STANDARD)):
        case = STANDARD[position]
        if case.illegal is None and (condition is None or condition.holds(case)):
            exact = case.data in (*kinds, "integers") or case.dtype not in FLOATS
            if exact and size(case) < 300_000:
                tried += 1
                yield case
            if tried > 150:
                return


def shows(fault: Fault, case: Case) -> bool:
    """Whether a result of the fault is judged wrong."""
    given = problem(case)
    for op, result in ((op, result_of(fault, given, op)) for op in fault.ops):
        if result is None or isinstance(result, NoArrayError) or same(result, right(given, op)):
            continue
        known = expected(case)
        if op in known.references and judge(case, op, result, known).status == "failed":
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_a_case_shows_the_fault(name: str) -> None:
    """Some case of 'standard', or one of rare sizes, finds the fault's results wrong."""
    fault = named(name)
    rare = (Case.from_id(text) for text in (*LONG, *RARE))
    assert any(shows(fault, case) for case in candidates(fault)) or any(
        shows(fault, case) for case in rare
    )


@pytest.mark.parametrize("name", NAMES)
def test_right_outside_the_trigger(name: str) -> None:
    """Where the trigger does not hold, each result is the right one."""
    fault = named(name)
    if fault.trigger is None:
        return
    condition = Condition.parse(fault.trigger)
    for case, row in zip(sample(), signature(fault, sample()), strict=True):
        if not condition.holds(case):
            assert not any(row), case.id


def test_faults_differ() -> None:
    """No two faults give the same results over all of the sample, unless that is declared."""
    reals = tuple(Case.from_id(text) for text in REAL)

    def seen(fault: Fault) -> tuple[tuple[int, ...], ...]:
        return signature(fault, sample()) + signature(fault, reals)

    groups = defaultdict(set)
    for fault in RESULTS:
        if any(map(any, seen(fault))):
            groups[seen(fault)].add(fault.name)
    for names in groups.values():
        for name in names:
            assert names - {name} <= set(named(name).same_as), names
    for fault in CATALOGUE:
        for other in fault.same_as:
            assert seen(fault) == seen(named(other)), (fault.name, other)


def test_faults_touch_only_their_operations() -> None:
    """Outside its operations a fault has no result, and there is none of them without effect."""
    for fault in RESULTS:
        for case in sample()[:8]:
            for op in set(OPS) - set(fault.ops):
                assert fault.results(problem(case), op) is None, fault.name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_leave_arguments_alone(layout: str) -> None:
    """No fault's result writes to the arrays of a problem, nor shares their memory."""
    case = Case.from_id(
        f"n2c4f6g2-6x7-k3x2-s2x1-p1x1-d1x2-bias-m111-float64-{layout}-integers-seed3"
    )
    given = problem(case)
    arrays = operands(case).named()
    before = {name: array.copy() for name, array in arrays.items()}
    for fault in CATALOGUE:
        for op in fault.ops:
            result = result_of(fault, given, op)
            if isinstance(result, np.ndarray) and fault.kind != "state":
                for array in (given.input, given.weight, given.bias, given.grad_output):
                    assert array is None or not np.shares_memory(result, array), fault.name
    for name, array in before.items():
        assert np.array_equal(getattr(given, name), array), name


@pytest.mark.parametrize("name", NAMES)
def test_unbatched_is_a_batch_of_one(name: str) -> None:
    """On one image without a batch axis a fault does what it does on a batch of it."""
    fault = named(name)
    text = "c4f6g2-6x7-k3x2-s2x1-p1x1-d1x2-bias-m111-float64-packed-integers-seed0"
    given = problem(Case.from_id(text))
    assert given.grad_output is not None
    batched = replace(given, input=given.input[None], grad_output=given.grad_output[None])
    for op in fault.ops:
        result, wanted = result_of(fault, given, op), result_of(fault, batched, op)
        if not isinstance(wanted, np.ndarray):
            assert type(result) is type(wanted)
        elif op in ("forward", "grad_input") and wanted.ndim == 4:
            assert same(result, wanted[0])
        else:
            assert same(result, wanted)


def linear(fault: Fault) -> bool:
    """Whether a fault computes all of a bilinear form and its gradients, only another one."""
    exceptions = (
        # These divide, or are no gradients of what they compute.
        "mean-over-taps",
        "height-and-width-of-the-result-swapped",
    )
    return fault.ops == SLIDING and fault.name not in exceptions


@pytest.mark.parametrize(
    "name",
    [fault.name for fault in (*windows.FAULTS, *kernels.FAULTS, *channels.FAULTS) if linear(fault)],
)
def test_consistent_faults_are_adjoint(name: str) -> None:
    """A fault of forward and gradients alike gives the gradients of its own wrong output.

    <y, g> = <x, dx> = <w, dw> modulo 2**64, to the bit.
    """
    fault = named(name)
    for text in (
        "n2c4f6g2-7x9-k3x2-s2x3-p2x1-d1x2-nobias-m111-int64-packed-integers-seed0",
        "n2c6f3g3-9x6-k2x4-s3x1-p1x3-d3x1-nobias-m111-int64-packed-integers-seed0",
        "n3c3f4g1-6x8-k3x3-s1x2-p-1_2x3_-2-d1x2-nobias-m111-int64-packed-integers-seed0",
        "n2c2f5g1-1x1-k3x2-s1x1-p2x1-d1x1-nobias-m111-int64-packed-integers-seed0",
        "n2c3f5g1-4x6-k1x1-s2x3-p1x2-d1x1-nobias-m111-int64-packed-integers-seed0",
    ):
        given = problem(Case.from_id(text))
        forms = []
        factors = (given.grad_output, given.input, given.weight)
        for op, factor in zip(SLIDING, factors, strict=True):
            result = fault.results(given, op)
            result = right(given, op) if result is None else result
            assert factor is not None
            forms.append(int((result * factor).sum()))
        assert forms[0] == forms[1] == forms[2], text


@pytest.mark.parametrize(("top", "left"), [(0, 0), (2, 1), (-1, 3), (5, -2)])
def test_windows_by_index_are_windows(top: int, left: int) -> None:
    """Windows moved by index give what conv2d gives with that much more padding in front."""
    case = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float64-packed-integers-seed0")
    given = problem(case)
    rows, columns = given.geometry.axes
    found = over(given, "forward", positions(rows, before=top), positions(columns, before=left))
    pads = tuple(
        (before, axis.before + axis.after - before)
        for axis, before in ((rows, top), (columns, left))
    )
    want = conv2d(given.input, given.weight, given.bias, given.stride, pads, given.dilation, 2)  # type: ignore[arg-type]  # two pairs
    assert found is not None
    assert np.array_equal(found, want)


def test_right_windows_have_no_result() -> None:
    """Windows where they belong are no fault."""
    case = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float64-packed-integers-seed0")
    rows, columns = problem(case).geometry.axes
    for op in OPS:
        assert over(problem(case), op, positions(rows), positions(columns)) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_is_read_as_strides_say(layout: str) -> None:
    """What `memory` finds, read with its own offset and strides, is the array."""
    case = Case.from_id(
        f"n2c4f6g2-6x7-k3x2-s2x1-p1x1-d1x2-bias-m111-float64-{layout}-integers-seed3"
    )
    for array in operands(case).named().values():
        held = memory(array)
        assert held is not None
        flat, offset, strides = held
        assert np.array_equal(read(array, offset, strides, flat), array)
