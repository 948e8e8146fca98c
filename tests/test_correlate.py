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

#: Buffers so small that batch, rows, columns, channels, groups and planes all have to be split.
LIMITS = (1, 3, 9, 17, 40, 128, 300, 777, 2000, 5000, 40_000)

CARRIERS = (formats.FLOAT64, formats.UINT64, formats.OBJECT)

#: Wide enough that every limit splits something.
SPLIT = (
    Case(3, 2, 4, 3, (9, 11), (3, 2), (2, 1), ((1, 2), (0, 1)), (1, 3)),
    Case(2, 1, 5, 4, (6, 13), (2, 3), (1, 3), ((3, 0), (2, 2)), (2, 1)),
    Case(4, 3, 1, 2, (7, 8), (1, 4), (3, 2), ((-1, 2), (4, -2)), (1, 2)),
    Case(2, 1, 70, 2, (3, 2), (2, 2), (1, 1), ((1, 0), (0, 0)), (1, 1)),
    Case(2, 1, 2, 70, (3, 2), (2, 1), (1, 2), ((0, 0), (1, 2)), (1, 1)),
)


def assembled(
    blocks: Iterable[tuple[Any, Array]], shape: tuple[int, ...], *, sparse: bool = False
) -> tuple[Array, list[tuple[int, ...]]]:
    """Put blocks together, each element exactly once; also return the blocks' shapes.

    Of a sparse result some elements may be in no block, and are zero.
    """
    result, times, shapes = np.zeros(shape, object), np.zeros(shape, int), []
    for where, sums in blocks:
        assert result[where].shape == sums.shape
        result[where] = sums.view(np.int64) if sums.dtype == np.uint64 else sums
        times[where] += 1
        shapes.append(sums.shape)
    assert (times == 1).all() or (sparse and (times <= 1).all())
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
    return [
        assembled(blocks, shape, sparse=i == 1)[0].reshape(joined)
        for i, (blocks, shape, joined) in enumerate(grouped)
    ]


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


@pytest.mark.parametrize("buffer", LIMITS)
def test_contraction_does_not_depend_on_the_blocks(
    monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    """Any size of buffer gives the same integers, for each carrier, in each operation."""
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    for seed, case in enumerate((*SPLIT, *SECOND_GRID[::23])):
        x, w, _, g = case.arrays(seed)
        x, g = batched(case, x), batched(case, g)
        expected = literal(x, w, g, case)
        for actual, wanted in zip(
            contracted(x, w, g, case, CARRIERS[seed % 3]), expected, strict=True
        ):
            assert np.array_equal(actual, wanted), (case, buffer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), seed=st.integers(0, 99), buffer=st.integers(1, 3000))
def test_contraction_is_the_formulas_for_any_case_and_blocks(
    monkeypatch: pytest.MonkeyPatch, case: Case, seed: int, buffer: int
) -> None:
    """The same for cases and limits that Hypothesis draws."""
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    x, w, _, g = case.arrays(seed)
    x, g = batched(case, x), batched(case, g)
    expected = literal(x, w, g, case)
    for actual, wanted in zip(contracted(x, w, g, case, formats.FLOAT64), expected, strict=True):
        assert np.array_equal(actual, wanted)


@pytest.mark.parametrize("case", OTHER_AXES, ids=range(len(OTHER_AXES)))
@pytest.mark.parametrize("buffer", [2**20, 50])
@pytest.mark.parametrize("dtype", ["int64", "complex128"])
def test_contraction_holds_for_one_and_three_axes(
    monkeypatch: pytest.MonkeyPatch, case: Case, buffer: int, dtype: str
) -> None:
    """On one and three spatial axes it equals a sum term by term, conjugates included."""
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    x, w, _, g = case.arrays(5, dtype)
    carried = formats.COMPLEX128 if dtype == "complex128" else formats.FLOAT64
    for actual, expected in zip(
        contracted(x, w, g, case, carried), loops(x, w, g, case), strict=True
    ):
        assert np.array_equal(actual, expected)


def operations(case: Case) -> dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]]:
    """Each contraction of a case with the shape of its result, and axes that it can split."""
    x, w, _, g = case.arrays(0, "float64")
    c = case.geometry
    unbounded = np.where(w == w.flat[0], np.inf, w)
    inputs = (c.batch, c.groups, c.group_in, *c.extents)
    return {
        "forward": (
            lambda: correlate.forward(x, w, c, formats.FLOAT64),
            (c.batch, c.groups, c.group_out, *c.out),
            (0, 1, 2, 3, 4),
        ),
        "input": (
            lambda: correlate.input_gradient(w, g, c, formats.FLOAT64),
            inputs,
            (0, 1, 2, 3, 4),
        ),
        "scattered": (
            lambda: correlate.input_gradient(unbounded, g, c, formats.FLOAT64),
            inputs,
            (0, 1, 2, 3),
        ),
        "weight": (
            lambda: correlate.weight_gradient(x, g, c, formats.FLOAT64),
            (c.groups, c.group_out, c.group_in, *c.kernel),
            (0, 1, 2),
        ),
    }


@np.errstate(invalid="ignore")
def quietly_assembled(call: Any, shape: tuple[int, ...]) -> tuple[Array, list[tuple[int, ...]]]:
    """Put the blocks of a call together; infinite weights make NaN in silence, as in conv."""
    return assembled(call(), shape, sparse=True)


def test_limits_split_every_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits above split each axis that can be split, of the results and of the reduction."""
    case = SPLIT[0]
    gathered: set[tuple[int, ...]] = set()
    gather = correlate.gather

    def spy(part: Array, geometry: Any, outputs: Any, *rest: Any) -> Array:
        gathered.add((*part.shape[:3], *(o.stop - o.start for o in outputs)))
        return gather(part, geometry, outputs, *rest)

    monkeypatch.setattr(correlate, "gather", spy)
    for name, (call, shape, axes) in operations(case).items():
        split: set[int] = set()
        gathered.clear()
        for buffer in LIMITS:
            monkeypatch.setattr(correlate, "BUFFER", buffer)
            for part in quietly_assembled(call, shape)[1]:
                split |= {
                    axis
                    for axis, (size, whole) in enumerate(zip(part, shape, strict=True))
                    if size < whole
                }
        assert split == set(axes), name
        if name in ("forward", "weight"):
            whole = (3, 2, 4, *case.geometry.out)
            for axis, size in enumerate(whole):
                assert {part[axis] for part in gathered} >= {1, size}, name


@pytest.mark.parametrize("buffer", [400, 2000, 20_000])
def test_buffers_are_bounded(monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    """No buffer is larger than its share, or than one position's rows where those are more."""
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    taken: dict[str, int] = {}
    take = correlate.Room.take

    def spy(room: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        taken[name] = max(taken.get(name, 0), math.prod(shape))
        return take(room, name, shape, dtype)

    monkeypatch.setattr(correlate.Room, "take", spy)
    seen = set()
    for case in SPLIT:
        c = case.geometry
        least = math.prod(c.kernel) * max(c.group_in, c.group_out)
        for call, shape, _ in operations(case).values():
            taken.clear()
            quietly_assembled(call, shape)
            for name, size in taken.items():
                share = 2 if len(shape) == 5 and shape[1:3] == (c.group_out, c.group_in) else 1
                assert size <= max(share * buffer, least), (case, name)
            assert taken.get("band", 0) <= taken.get("columns", 0) // 2
            seen |= set(taken)
    assert seen == {"band", "columns", "errors", "part", "sums"}


def test_taps_far_apart_are_read_one_by_one() -> None:
    """What lies between the taps of a long dilation takes no room, in any operation."""
    far = 10**8
    case = Case(1, 1, 1, 1, (2, 3), (2, 2), (1, 1), ((0, far), (0, far)), (far, far))
    x, w, _, g = case.arrays(1)
    y, dx, dw = contracted(x, w, g, case, formats.FLOAT64)
    # Each window's first tap alone meets the input.
    assert np.array_equal(y, w[0, 0, 0, 0] * x)
    assert np.array_equal(dx, w[0, 0, 0, 0] * g)
    assert dw.tolist() == [[[[(x * g).sum(), 0], [0, 0]]]]


def test_blocks_may_lie_in_the_result() -> None:
    """Given a result of the carried dtype, blocks of one image are computed in their place."""
    case = Case(2, 2, 3, 4, (9, 11), (3, 2), (1, 1), (1, 1), (1, 2))
    x, w, _, g = case.arrays(0, "float64")
    c, inside = case.geometry, 0
    for contraction, arrays, shape in (
        (correlate.forward, (x, w), (c.batch, c.groups, c.group_out, *c.out)),
        (correlate.input_gradient, (w, g), (c.batch, c.groups, c.group_in, *c.extents)),
    ):
        for buffer in (2**20, 2000):
            out = np.full(shape, np.nan)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(correlate, "BUFFER", buffer)
                for where, sums in contraction(*arrays, c, formats.FLOAT64, out):
                    if np.may_share_memory(sums, out):
                        inside += 1
                        assert sums.ctypes.data == out[where].ctypes.data
                        assert sums.strides[1:] == out[where].strides[1:]
                    else:
                        out[where] = sums
            wanted = literal(x, w, g, case)[contraction is correlate.input_gradient]
            assert np.array_equal(out.reshape(wanted.shape), wanted)
    assert inside


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
    monkeypatch.setattr(correlate, "BUFFER", 100)
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


@pytest.mark.parametrize("buffer", [1, 2**20])
def test_an_infinite_weight_of_any_filter_meets_no_zeros(
    monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    """The first element, which only the first tap meets, stays finite, whichever filter has one."""
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    case = Case(1, 1, 2, 3, (4, 5), (2, 2), (1, 1), (0, 0), (1, 1))
    _, w, _, g = case.arrays(2, "float64", low=1)
    for position in range(3):
        unbounded = w.copy()
        unbounded[position, 0, 1, 1] = np.inf
        dx = contracted_input(unbounded, g, case)
        assert np.array_equal(dx[0, 0, 0, 0], (w[:, 0, 0, 0] * g[0, :, 0, 0]).sum())
        assert np.isinf(dx[0, 0, 1, 1])


@np.errstate(invalid="ignore")
def contracted_input(w: Array, g: Array, case: Case) -> Array:
    """The input gradient alone, as floats."""
    c = case.geometry
    blocks = correlate.input_gradient(w, g, c, formats.FLOAT64)
    dx, _ = assembled(blocks, (c.batch, c.groups, c.group_in, *c.extents), sparse=True)
    return dx.reshape(case.input_shape).astype(float)
