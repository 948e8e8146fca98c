"""Moving elements: padding and cropping, dilating, flipping, splitting, sliding."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npconv import geometry, windows
from tests.strategies_for_tests import AXES, Array, axes

DTYPES = ("float64", "int16", "complex64", "object", ">f4")


def surrounded(array: Array) -> Array:
    """View of `array` inside a larger one that is NaN elsewhere: whatever reads outside shows."""
    base = np.full([2 * size + 3 for size in array.shape], np.nan)
    view = base[tuple(slice(2, 2 + size) for size in array.shape)]
    view[...] = array
    return view


def test_pad_or_crop_holds_its_rule_for_all_signs() -> None:
    """Element i is array[i - before] where that exists, else 0, in crops past the end too."""
    seen = set()
    for extent, before, after in itertools.product(range(1, 5), range(-7, 8), range(-7, 8)):
        if before + extent + after < 1:
            continue
        array = np.arange(1.0, extent + 1)
        expected = [
            array[i - before] if 0 <= i - before < extent else 0.0
            for i in range(before + extent + after)
        ]
        assert windows.pad_or_crop(array, [(before, after)]).tolist() == expected
        longer = -before > extent or -after > extent
        seen.add(((before > 0) - (before < 0), (after > 0) - (after < 0), longer))
    assert seen == {
        *itertools.product((-1, 0, 1), (-1, 0, 1), (False,)),
        (-1, 1, True),
        (1, -1, True),
    }


def test_pad_or_crop_pads_before_it_crops() -> None:
    """Kernel 1, stride 5, padding 2, extent 1: pads (-2, 2) drop the one element."""
    (axis,) = geometry.parse((1, 1, 1), (1, 1, 1), 5, 2, 1, 1, spatial=1).axes
    assert axis.adjoint_pads == (-2, 2)
    assert windows.pad_or_crop(np.array([7.0]), [axis.adjoint_pads]).tolist() == [0.0]


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(-6, 6), st.integers(-6, 6)), min_size=1, max_size=3
    )
)
def test_pad_or_crop_holds_its_rule_on_several_axes(drawn: list[tuple[int, int, int]]) -> None:
    """Each axis follows the rule by itself, and axes in front of the padded ones are left alone."""
    extents = tuple(extent for extent, _, _ in drawn)
    pads = [(before, max(after, 1 - before - extent)) for extent, before, after in drawn]
    array = np.arange(1, 1 + 2 * np.prod(extents)).reshape(2, *extents)
    result = windows.pad_or_crop(array, pads)
    assert result.shape == (2, *(b + e + a for e, (b, a) in zip(extents, pads, strict=True)))
    for index, value in np.ndenumerate(result):
        lead, place = index[0], tuple(i - b for i, (b, _) in zip(index[1:], pads, strict=True))
        exists = all(0 <= i < e for i, e in zip(place, extents, strict=True))
        assert value == (array[lead, *place] if exists else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pad_or_crop_and_dilate_keep_the_dtype_and_copy(dtype: str) -> None:
    """The dtype stays, and the result shares no memory with the array, even if nothing changes."""
    array = np.arange(1, 7).reshape(1, 2, 3).astype(dtype)
    for result in (windows.pad_or_crop(array, [(0, 0), (0, 0)]), windows.dilate(array, (1, 1))):
        assert result.dtype == array.dtype
        assert result.tolist() == array.tolist()
        assert not np.shares_memory(result, array)


def test_dilate_puts_zeros_between_neighbours_only() -> None:
    """Element i lands at i*step, everything else is 0, and nothing stands behind the last one."""
    array = np.arange(1.0, 13.0).reshape(2, 2, 3)
    result = windows.dilate(array, (3, 2))
    assert result.shape == (2, 4, 5)
    for (n, i, j), value in np.ndenumerate(result):
        expected = array[n, i // 3, j // 2] if i % 3 == 0 and j % 2 == 0 else 0.0
        assert value == expected


def test_flip_reverses_the_last_axes_alone() -> None:
    """Flip is a view with only the last axes reversed."""
    array = np.arange(24.0).reshape(2, 3, 4)
    assert windows.flip(array, 2).tolist() == [
        [row[::-1] for row in plane[::-1]] for plane in array.tolist()
    ]
    assert np.shares_memory(windows.flip(array, 1), array)


@pytest.mark.parametrize("axis", [0, 1])
def test_split_groups_views_any_layout(axis: int) -> None:
    """Channel g*size + c becomes (g, c) without a copy, whatever the strides."""
    base = np.arange(6 * 6 * 4 * 5.0).reshape(6, 6, 4, 5)
    layouts = (
        base,
        base[::-1, ::-1],
        base.transpose(1, 0, 3, 2),
        base[:, :, ::2, 1::3],
        np.broadcast_to(base[:1, :1], base.shape),
        np.asfortranarray(base),
    )
    for array in layouts:
        split = windows.split_groups(array, 3, axis)
        assert np.shares_memory(split, array)
        for g, c in itertools.product(range(3), range(2)):
            assert np.array_equal(split.take(g, axis).take(c, axis), array.take(2 * g + c, axis))


def test_split_groups_takes_zero_channels() -> None:
    """No channels make groups of no channels."""
    assert windows.split_groups(np.empty((2, 0, 4, 5)), 3, 1).shape == (2, 3, 0, 4, 5)


def test_swap_channels_exchanges_inputs_and_outputs() -> None:
    """(g, f, c, ...) becomes (g, c, f, ...), as a view."""
    weight = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert windows.swap_channels(weight)[1, 3, 2, 4] == weight[1, 2, 3, 4]
    assert np.shares_memory(windows.swap_channels(weight), weight)


def slide_by_hand(array: Array, spans: Any, strides: Any, dilations: Any) -> Array:
    """Windows of the last axes, element by element."""
    count = len(spans)
    lead, extents = array.shape[:-count], array.shape[-count:]
    outs = [(e - s) // step + 1 for e, s, step in zip(extents, spans, strides, strict=True)]
    taps = [(s - 1) // d + 1 for s, d in zip(spans, dilations, strict=True)]
    result = np.empty((*lead, *outs, *taps), array.dtype)
    for index in np.ndindex(*outs, *taps):
        window, tap = index[:count], index[count:]
        source = [o * s + k * d for o, s, k, d in zip(window, strides, tap, dilations, strict=True)]
        result[..., *index] = array[..., *source]
    return result


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_slide_is_every_stride_th_window_with_every_dilation_th_element(spatial: int) -> None:
    """Window o, tap k is element o*stride + k*dilation, for unequal strides and dilations."""
    rng = np.random.default_rng(0)
    array = surrounded(rng.integers(-99, 99, (2, *(11, 9, 7)[:spatial])).astype(float))
    spans, strides, dilations = (5, 4, 3)[:spatial], (3, 2, 4)[:spatial], (2, 3, 1)[:spatial]
    result = windows.slide(array, spans, strides, dilations)
    assert np.array_equal(result, slide_by_hand(array, spans, strides, dilations))


def test_windows_takes_spans_strides_and_dilations_of_the_geometry() -> None:
    """Windows follow each axis' own numbers, read nothing outside, and can't be written."""
    for first, second in itertools.pairwise(AXES):
        (h, kh, sh, dh, ph), (w, kw, sw, dw, pw) = first, second
        g = geometry.parse((2, 1, h, w), (1, 1, kh, kw), (sh, sw), (ph, pw), (dh, dw), 1)
        array = np.arange(1.0, 1 + 2 * h * w).reshape(2, h, w)
        padded = surrounded(windows.pad_or_crop(array, [(a.before, a.after) for a in g.axes]))
        view = windows.windows(padded, g)
        assert view.shape == (2, *g.out, kh, kw)
        spans = tuple(a.span for a in g.axes)
        assert np.array_equal(view, slide_by_hand(padded, spans, (sh, sw), (dh, dw)))
        assert not view.flags.writeable
        assert np.shares_memory(view, padded)


@given(axes())
def test_slide_holds_for_any_axis(axis: Any) -> None:
    """The same for an axis that Hypothesis draws, padded by the rule."""
    extent, kernel, stride, dilation, pads = axis
    span = dilation * (kernel - 1) + 1
    padded = surrounded(windows.pad_or_crop(np.arange(1.0, extent + 1), [pads]))
    view = windows.slide(padded, (span,), (stride,), (dilation,))
    assert np.array_equal(view, slide_by_hand(padded, (span,), (stride,), (dilation,)))
