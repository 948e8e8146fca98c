"""The blocked contraction: the formulas' results, whatever the blocks, carrier, number of axes."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npconv import correlate, formats, formulas
from tests.strategies_for_tests import OTHER_AXES, SECOND_GRID, Array, Case, cases, loops

#: Buffers and blocks so small that batch, rows, columns, channels and planes all have to be split.
LIMITS = (
    (1, 1),
    (3, 1),
    (9, 5),
    (17, 2),
    (40, 1),
    (128, 16),
    (300, 7),
    (777, 100),
    (5000, 64),
    (40_000, 500),
    (400, 10_000),
)

CARRIERS = (formats.FLOAT64, formats.UINT64, formats.OBJECT)

#: Wide enough that every limit splits something.
SPLIT = (
    Case(3, 2, 4, 3, (9, 11), (3, 2), (2, 1), ((1, 2), (0, 1)), (1, 3)),
    Case(2, 1, 5, 4, (6, 13), (2, 3), (1, 3), ((3, 0), (2, 2)), (2, 1)),
    Case(4, 3, 1, 2, (7, 8), (1, 4), (3, 2), ((-1, 2), (4, -2)), (1, 2)),
    Case(2, 1, 70, 2, (3, 2), (2, 2), (1, 1), ((1, 0), (0, 0)), (1, 1)),
    Case(2, 1, 2, 70, (3, 2), (2, 1), (1, 2), ((0, 0), (1, 2)), (1, 1)),
)


def limited(monkeypatch: pytest.MonkeyPatch, buffer: int, block: int) -> None:
    """Shrink the buffers."""
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    monkeypatch.setattr(correlate, "BLOCK", block)


def assembled(
    blocks: Iterable[tuple[Any, Array]], shape: tuple[int, ...]
) -> tuple[Array, list[tuple[int, ...]]]:
    """Put blocks together, each element exactly once; also return the blocks' shapes."""
    result, times, shapes = np.empty(shape, object), np.zeros(shape, int), []
    for where, sums in blocks:
        assert result[where].shape == sums.shape
        result[where] = sums.view(np.int64) if sums.dtype == np.uint64 else sums
        times[where] += 1
        shapes.append(sums.shape)
    assert (times == 1).all()
    return result, shapes


def contracted(x: Array, w: Array, g: Array, case: Case, carried: Any) -> list[Array]:
    """Output without bias, input gradient, weight gradient from correlate, for batched arrays."""
    c = case.geometry
    grouped = (
        (correlate.forward(x, w, c, carried), (c.batch, c.groups, c.group_out, *c.out), g.shape),
        (
            correlate.input_gradient(w, g, c, carried),
            (c.batch, c.groups, c.group_in, *c.extents),
            x.shape,
        ),
        (
            correlate.weight_gradient(x, g, c, carried),
            (c.groups, c.group_out, c.group_in, *c.kernel),
            w.shape,
        ),
    )
    return [assembled(blocks, shape)[0].reshape(joined) for blocks, shape, joined in grouped]


def literal(x: Array, w: Array, g: Array, case: Case) -> list[Array]:
    """The same from the formulas."""
    return [
        formulas.forward(x, w, case.geometry),
        formulas.input_gradient(w, g, case.geometry),
        formulas.weight_gradient(x, g, case.geometry),
    ]


def batched(case: Case, array: Array) -> Array:
    """Give a single image its batch axis."""
    return array[None] if case.batch is None else array


def test_contraction_is_the_formulas_on_the_second_grid() -> None:
    """Output and gradients equal the formulas exactly on integers, whatever carries the sums."""
    for seed, case in enumerate(SECOND_GRID):
        x, w, _, g = case.arrays(seed)
        x, g = batched(case, x), batched(case, g)
        expected = literal(x, w, g, case)
        for actual, wanted in zip(
            contracted(x, w, g, case, CARRIERS[seed % 3]), expected, strict=True
        ):
            assert np.array_equal(actual, wanted), case


@pytest.mark.parametrize(("buffer", "block"), LIMITS)
def test_contraction_does_not_depend_on_the_blocks(
    monkeypatch: pytest.MonkeyPatch, buffer: int, block: int
) -> None:
    """Any size of buffer and block gives the same integers, for each carrier, in each operation."""
    limited(monkeypatch, buffer, block)
    for seed, case in enumerate((*SPLIT, *SECOND_GRID[::23])):
        x, w, _, g = case.arrays(seed)
        x, g = batched(case, x), batched(case, g)
        expected = literal(x, w, g, case)
        for actual, wanted in zip(
            contracted(x, w, g, case, CARRIERS[seed % 3]), expected, strict=True
        ):
            assert np.array_equal(actual, wanted), (case, buffer, block)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=cases(), seed=st.integers(0, 99), buffer=st.integers(1, 3000), block=st.integers(1, 300)
)
def test_contraction_is_the_formulas_for_any_case_and_blocks(
    monkeypatch: pytest.MonkeyPatch, case: Case, seed: int, buffer: int, block: int
) -> None:
    """The same for cases and limits that Hypothesis draws."""
    limited(monkeypatch, buffer, block)
    x, w, _, g = case.arrays(seed)
    x, g = batched(case, x), batched(case, g)
    expected = literal(x, w, g, case)
    for actual, wanted in zip(contracted(x, w, g, case, formats.FLOAT64), expected, strict=True):
        assert np.array_equal(actual, wanted)


@pytest.mark.parametrize("case", OTHER_AXES, ids=range(len(OTHER_AXES)))
@pytest.mark.parametrize(("buffer", "block"), [(2**21, 2**18), (50, 3)])
@pytest.mark.parametrize("dtype", ["int64", "complex128"])
def test_contraction_holds_for_one_and_three_axes(
    monkeypatch: pytest.MonkeyPatch, case: Case, buffer: int, block: int, dtype: str
) -> None:
    """On one and three spatial axes it equals a sum term by term, conjugates included."""
    limited(monkeypatch, buffer, block)
    x, w, _, g = case.arrays(5, dtype)
    carried = formats.COMPLEX128 if dtype == "complex128" else formats.FLOAT64
    for actual, expected in zip(
        contracted(x, w, g, case, carried), loops(x, w, g, case), strict=True
    ):
        assert np.array_equal(actual, expected)


def test_limits_split_every_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits above split each axis that can be split, of the results and of the reduction."""
    x, w, _, g = SPLIT[0].arrays(0)
    c = SPLIT[0].geometry
    results = {
        "forward": (
            lambda: correlate.forward(x, w, c, formats.FLOAT64),
            (3, 2, 3, *c.out),
            (0, 3, 4),
        ),
        "input": (
            lambda: correlate.input_gradient(w, g, c, formats.FLOAT64),
            (3, 2, 4, 9, 11),
            (0, 2, 3),
        ),
        "weight": (
            lambda: correlate.weight_gradient(x, g, c, formats.FLOAT64),
            (2, 3, 4, 3, 2),
            (1, 2),
        ),
    }
    gathered: list[tuple[int, ...]] = []
    gather = correlate.gather

    def spy(part: Array, geometry: Any, outputs: Any, carried: Any) -> Array:
        gathered.append((*part.shape[:3], *(o.stop - o.start for o in outputs)))
        return gather(part, geometry, outputs, carried)

    monkeypatch.setattr(correlate, "gather", spy)
    for call, shape, axes in results.values():
        split = set()
        for buffer, block in LIMITS:
            limited(monkeypatch, buffer, block)
            for part in assembled(call(), shape)[1]:
                split |= {
                    axis
                    for axis, (size, whole) in enumerate(zip(part, shape, strict=True))
                    if size < whole
                }
        assert split == set(axes)
    whole = (3, 2, 4, *c.out)
    for axis in (0, 2, 3, 4):
        assert {part[axis] for part in gathered} >= {1, whole[axis]}


@pytest.mark.parametrize(("buffer", "block"), [(400, 10), (2000, 50), (20_000, 1000)])
def test_buffers_are_bounded(monkeypatch: pytest.MonkeyPatch, buffer: int, block: int) -> None:
    """No columns are larger than the buffer, or than one position's rows where those are more."""
    limited(monkeypatch, buffer, block)
    sizes: list[int] = []
    gather, scatter = correlate.gather, correlate._scatter

    def spy_gather(*args: Any) -> Array:
        columns = gather(*args)
        sizes.append(columns.size)
        return columns

    def spy_scatter(columns: Array, *args: Any) -> None:
        sizes.append(columns.size)
        scatter(columns, *args)

    monkeypatch.setattr(correlate, "gather", spy_gather)
    monkeypatch.setattr(correlate, "_scatter", spy_scatter)
    for case in SPLIT:
        x, w, _, g = case.arrays(0)
        contracted(x, w, g, case, formats.FLOAT64)
        c = case.geometry
        assert max(sizes) <= max(
            buffer, c.groups * math.prod(c.kernel) * max(c.group_in, c.group_out)
        )
        sizes.clear()


def tiles(extents: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of correlate, checked for size on the way."""
    for box in correlate.boxes(extents, limit):
        assert 1 <= math.prod(part.stop - part.start for part in box) <= max(1, limit)
        yield box


def test_boxes_tile_without_gap_or_overlap() -> None:
    """Boxes of any limit hold every position exactly once, and none where an extent is 0."""
    for extents in itertools.product((0, 1, 3, 4), (1, 2, 5), (1, 3, 7)):
        for limit in (0, 1, 2, 3, 5, 7, 8, 20, 21, 22, 1000):
            times = np.zeros(extents, int)
            for box in tiles(extents, limit):
                times[box] += 1
            assert (times == 1).all()


@pytest.mark.parametrize(("batch", "group_in"), [(0, 2), (2, 0), (0, 0)])
def test_empty_axes_give_empty_sums_or_zeros(batch: int, group_in: int) -> None:
    """No images, or no channels: blocks still tile each result, with zeros for empty sums."""
    case = Case(batch, 2, group_in, 3, (5, 4), (2, 3), (2, 1), (1, 0), (1, 1))
    x, w, _, g = case.arrays(0)
    y, dx, dw = contracted(x, w, g, case, formats.FLOAT64)
    assert (y == 0).all()
    assert y.shape == g.shape
    assert dx.size == 0
    assert (dw == 0).all()


def test_sums_modulo_64_bits_wrap_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements near 2**63 give the exact sums modulo 2**64, with bias gradients too."""
    limited(monkeypatch, 100, 4)
    case = SPLIT[0]
    rng = np.random.default_rng(9)
    x, w, g = (
        rng.integers(-(2**63), 2**63 - 1, shape, endpoint=True)
        for shape in (case.input_shape, case.weight_shape, case.geometry.output_shape)
    )
    exact = literal(x.astype(object), w.astype(object), g.astype(object), case)
    for actual, wanted in zip(contracted(x, w, g, case, formats.UINT64), exact, strict=True):
        assert (actual == (wanted + 2**63) % 2**64 - 2**63).all()
    total = g.astype(object).sum(axis=(0, 2, 3))
    assert correlate.bias_gradient(g, formats.UINT64).tolist() == [int(t) % 2**64 for t in total]
    assert correlate.bias_gradient(g, formats.OBJECT).tolist() == total.tolist()
