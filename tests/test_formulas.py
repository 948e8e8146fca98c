"""The literal formulas, against two independent nested loops, for any number of axes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npconv import definition, formulas
from tests.strategies_for_tests import OTHER_AXES, SECOND_GRID, Array, Case, cases, loops


def computed(x: Array, w: Array, g: Array, case: Case) -> tuple[Array, Array, Array]:
    """Output without bias, input gradient, weight gradient by the formulas; batched arrays."""
    return (
        formulas.forward(x, w, case.geometry),
        formulas.input_gradient(w, g, case.geometry),
        formulas.weight_gradient(x, g, case.geometry),
    )


def defined(x: Array, w: Array, g: Array, case: Case) -> tuple[Any, Any, Any]:
    """The same by the definition; batched arrays."""
    return (
        definition.conv2d(x, w, None, **case.parameters),
        definition.conv2d_input(x.shape, w, g, **case.parameters),
        definition.conv2d_weight(x, w.shape, g, **case.parameters),
    )


def batched(case: Case, array: Array) -> Array:
    """Give a single image its batch axis."""
    return array[None] if case.batch is None else array


@pytest.mark.parametrize("part", range(4))
def test_formulas_are_the_definition_on_the_second_grid(part: int) -> None:
    """Output and both gradients equal the nested loops exactly, on integers."""
    for seed, case in enumerate(SECOND_GRID[part::4]):
        x, w, _, g = case.arrays(seed)
        x, g = batched(case, x), batched(case, g)
        for actual, expected in zip(computed(x, w, g, case), defined(x, w, g, case), strict=True):
            assert actual.tolist() == expected, case


@given(case=cases(most_products=4000), seed=st.integers(0, 99))
def test_formulas_are_the_definition_of_any_case(case: Case, seed: int) -> None:
    """The same for cases that Hypothesis draws."""
    x, w, _, g = case.arrays(seed)
    x, g = batched(case, x), batched(case, g)
    for actual, expected in zip(computed(x, w, g, case), defined(x, w, g, case), strict=True):
        assert actual.tolist() == expected


@pytest.mark.parametrize("case", OTHER_AXES, ids=range(len(OTHER_AXES)))
@pytest.mark.parametrize("dtype", ["int64", "float64", "complex128"])
def test_formulas_hold_for_one_and_three_axes(case: Case, dtype: str) -> None:
    """On one and three spatial axes the formulas equal a sum term by term, conjugates included."""
    x, w, _, g = case.arrays(5, dtype)
    for actual, expected in zip(computed(x, w, g, case), loops(x, w, g, case), strict=True):
        assert actual.dtype == dtype
        assert np.array_equal(actual, expected)


@given(
    case=st.sampled_from((1, 3)).flatmap(lambda n: cases(spatial=n, most_products=1500)),
    seed=st.integers(0, 99),
)
def test_formulas_hold_for_any_case_on_other_axes(case: Case, seed: int) -> None:
    """The same for cases of one and three axes that Hypothesis draws."""
    x, w, _, g = case.arrays(seed)
    x, g = batched(case, x), batched(case, g)
    for actual, expected in zip(computed(x, w, g, case), loops(x, w, g, case), strict=True):
        assert np.array_equal(actual, expected)


def test_bias_gradient_sums_all_but_the_channels() -> None:
    """For one, two and three axes, the sum over batch and windows, in the array's own dtype."""
    rng = np.random.default_rng(6)
    for extents in ((5,), (5, 4), (5, 4, 3)):
        g = rng.integers(-99, 99, (2, 3, *extents))
        expected = [
            sum(g[n, f].ravel().tolist()[i] for n in range(2) for i in range(g[0, 0].size))
            for f in range(3)
        ]
        assert formulas.bias_gradient(g).tolist() == expected
    assert formulas.bias_gradient(np.full((2, 1, 9, 9), 200, np.uint8)).dtype == np.uint8


def test_formulas_leave_their_arguments_alone() -> None:
    """No formula writes to what it is given: read-only arrays do."""
    case = SECOND_GRID[30]
    x, w, _, g = case.arrays(1)
    x, g = batched(case, x), batched(case, g)
    for array in (x, w, g):
        array.flags.writeable = False
    computed(x, w, g, case)


def test_crop_before_padding_would_be_wrong() -> None:
    """Kernel 1, stride 5, padding 2, extent 1: the window reads padding, so the gradient is 0."""
    case = Case(2, 1, 1, 1, (1, 1), (1, 1), (5, 1), (2, 0), (1, 1))
    _, w, _, g = case.arrays(3, low=1)
    assert formulas.input_gradient(w, g, case.geometry).tolist() == [[[[0]]], [[[0]]]]
