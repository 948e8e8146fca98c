"""npconv against what shares no code with it: the definition, the literal formulas, the adjoint."""

import itertools
import operator
from collections import Counter
from typing import Any

import numpy as np
import pytest

import npconv
from conformance.shares import SHARES, share
from npconv import adapters, definition
from npconv.formats import available
from npconv.oracle import suites
from npconv.oracle.cases import Case
from npconv.oracle.protocol import OPS
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

Array = np.ndarray[Any, np.dtype[Any]]

#: Parts of each grid, so that workers can balance.
PARTS = 8

#: dtypes and what their integers are divided by: products of three and their sums stay exact.
NUMBERS = (("int64", 1), ("float64", 64), ("complex128", 8), ("float32", 4), ("int8", 1))

#: Every how many cases of the product the nested loops take one of a share.
SPARSE = 17


def second_grid(part: int) -> list[Case]:
    """Return a part of this run's share of the grid that goes where the product cannot."""
    number = share()
    first, every = (0, 1) if number is None else (number, SHARES)
    return [suites._wide(n) for n in range(first + every * part, suites.WIDE_SIZE, every * PARTS)]


def first_grid(part: int) -> list[Case]:
    """Return a part of a thin share of the exhaustive product, legal cases only."""
    number = share() or 0
    suite = suite_named(f"exhaustive[{number + SHARES * part}::{SHARES * PARTS * SPARSE}]")
    cases = [suite[position] for position in range(len(suite))]
    return [case for case in cases if case.illegal is None]


def arrays(case: Case, number: int, dtype: str, divisor: int = 1, top: int = 99) -> list[Array]:
    """Draw input, weight, bias and grad_output: integers up to `top` over a power of 2."""
    rng = np.random.default_rng([number, top])
    shapes = case.input_shape, case.weight_shape, (case.out_channels,), case.geometry.output_shape

    def draw(shape: tuple[int, ...]) -> Array:
        numbers = rng.integers(-top, top, shape, endpoint=True).astype(dtype)
        if numbers.dtype.kind == "c":
            numbers += 1j * rng.integers(-top, top, shape, endpoint=True)
        return (numbers / divisor).astype(dtype) if divisor > 1 else numbers

    return [draw(shape) for shape in shapes]


def results(functions: Any, case: Case, x: Array, w: Array, b: Array, g: Array) -> list[Any]:
    """Return the output with bias and the three gradients."""
    output = functions["conv2d"](x, w, b, *case.parameters)
    return [output, *functions["conv2d_backward"](g, x, w, *case.parameters, (True,) * 3)]


PUBLIC = {"conv2d": npconv.conv2d, "conv2d_backward": npconv.conv2d_backward}


def defined(case: Case, x: Array, w: Array, b: Array, g: Array) -> list[Any]:
    """Return the same by the definition: real floats as fractions, the rest in their dtype."""
    dtype = None if x.dtype.kind == "f" else x.dtype.name
    return [
        definition.conv2d(x, w, b, *case.parameters, dtype=dtype),
        *definition.conv2d_backward(g, x, w, *case.parameters, dtype=dtype),
    ]


@pytest.mark.parametrize("name", ["definition", "formulas"])
@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.once) for part in range(1, 13))]
)
def test_witnesses_agree_on_quick(name: str, part: int) -> None:
    """Every result of `quick`, in every dtype, is that of the calls, and none is left out."""
    witness, suite = adapters.load(name), suite_named(f"quick[{part}::13]")
    passed = due = 0
    for case in map(suite.__getitem__, range(len(suite))):
        assert witness.supports.asks(case)
        # The bias gradient sees nothing that is illegal.
        due += len(OPS) if case.illegal is None else 3
        for _, verdict in run_case(witness, case, OPS).verdicts:
            assert verdict.status == "passed", (verdict, case.id)
            passed += 1
    assert passed == due > 0


def test_quick_has_every_dtype() -> None:
    """The test above leaves no dtype out."""
    suite = suite_named("quick")
    assert {suite[position].dtype for position in range(len(suite))} >= set(available())


def check_exact(cases: list[Case]) -> None:
    """Compare calls, formulas and definition, exactly: integers, dyadic rationals, complex ones."""
    formulas = adapters.load("formulas").functions
    assert cases
    for number, (case, (dtype, divisor)) in enumerate(
        zip(cases, itertools.cycle(NUMBERS), strict=False)
    ):
        data = arrays(case, number, dtype, divisor)
        ours, literal = results(PUBLIC, case, *data), results(formulas, case, *data)
        for op, actual, formula, wanted in zip(
            OPS, ours, literal, defined(case, *data), strict=True
        ):
            assert actual.dtype == formula.dtype == dtype, (op, case.id)
            assert actual.tolist() == wanted, (op, case.id)
            assert np.array_equal(actual, formula), (op, case.id)


@pytest.mark.parametrize("part", range(PARTS))
def test_calls_are_the_definition_on_the_second_grid(part: int) -> None:
    """Strides to 12, padding to span + 4, extents from 1, crops: equal to the last bit."""
    check_exact(second_grid(part))


@pytest.mark.parametrize("part", range(PARTS))
def test_calls_are_the_definition_on_the_first_grid(part: int) -> None:
    """On cases of the exhaustive product too, nested loops give what the calls give."""
    check_exact(first_grid(part))


def inner(a: Array, b: Array) -> int:
    """Multiply and sum as Python ints, which neither round nor wrap."""
    left, right = (map(int, array.ravel().tolist()) for array in (a, b))
    return sum(map(operator.mul, left, right))


@pytest.mark.parametrize("part", range(PARTS))
def test_gradients_are_adjoint_on_the_second_grid(part: int) -> None:
    """<conv(x), g> = <x, dx> = <w, dw> and <b, db> exactly, for the calls and the formulas."""
    formulas = adapters.load("formulas").functions
    for number, case in enumerate(second_grid(part)):
        dtype = ("int64", "float64")[number % 2]
        x, w, b, g = arrays(case, number, dtype, top=999)
        for functions in (PUBLIC, formulas):
            y, dx, dw, db = results(functions, case, x, w, np.zeros_like(b), g)
            assert inner(y, g) == inner(x, dx) == inner(w, dw), case.id
            shifted = results(functions, case, x, w, b, g)[0]
            assert inner(shifted, g) - inner(y, g) == inner(b, db), case.id


def test_second_grid_is_where_the_product_is_not() -> None:
    """The second grid holds what it is for: each of these, at least in every hundredth case."""
    seen: Counter[str] = Counter()
    for case in map(suites._wide, range(0, suites.WIDE_SIZE, 10)):
        for axis in case.geometry.axes:
            seen["stride over the kernel's span"] += axis.stride > axis.span
            seen["stride of 12"] += axis.stride == 12
            seen["padding over the span"] += axis.before > axis.span
            seen["different sides"] += axis.before != axis.after
            seen["crop"] += min(axis.before, axis.after) < 0
            seen["crop of all before"] += -axis.before >= axis.extent
            seen["crop of all behind"] += -axis.after >= axis.extent
            seen["extent of 1"] += axis.extent == 1
            seen["a window on padding alone"] += axis.before >= axis.span
            seen["elements that no window reaches"] += axis.remainder > max(0, axis.after)
    assert len(seen) == 10
    assert min(seen.values()) >= suites.WIDE_SIZE // 10 * 2 // 100, seen


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize(
    ("row", "taps", "bias"),
    [
        ([-(2**40), 1, 5], [-(2**40), 1], 3),
        ([1, 1, 0], [1, 0], 2**63 - 1),
        ([2**62] * 3, [1] * 2, 0),
    ],
    ids=["large-negative-elements", "large-bias", "large-sum"],
)
def test_integer_sums_over_64_bits_become_floats(
    row: list[int], taps: list[int], bias: int, dtype: str
) -> None:
    """Asked for floats, integer sums that no 64 bits hold are rounded, not wrapped."""
    x, w, b = np.array([[[row]]]), np.array([[[taps]]]), np.array([bias])
    y = npconv.conv2d(x, w, b, dtype=dtype)
    assert y.tolist() == definition.conv2d(x, w, b, dtype=dtype)
    dx, dw, db = npconv.conv2d_backward(x[..., :2], x, w, dtype=dtype)
    wanted = definition.conv2d_backward(x[..., :2], x, w, dtype=dtype)
    for actual, expected in zip((dx, dw, db), wanted, strict=True):
        assert actual is not None
        assert actual.tolist() == expected
