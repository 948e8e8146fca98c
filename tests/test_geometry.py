"""Sizes, pads and meetings of windows with elements, against enumeration in plain Python."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npconv.geometry import Axis, Geometry, integer, parse, shape, shown
from tests.strategies_for_tests import axes

EXTENTS = (1, 2, 3, 5, 8)
KERNELS = (1, 2, 3, 4)
STRIDES = (1, 2, 3, 5, 12)
DILATIONS = (1, 2, 3)
PADS = (
    (0, 0),
    (1, 0),
    (0, 2),
    (3, 3),
    (5, 4),
    (-1, 0),
    (0, -2),
    (-1, -1),
    (4, -3),
    (-4, 6),
    (-9, 12),
    (12, -9),
)

ONE_AXIS = tuple(
    Axis(extent, kernel, stride, dilation, before, after)
    for extent, kernel, stride, dilation, (before, after) in itertools.product(
        EXTENTS, KERNELS, STRIDES, DILATIONS, PADS
    )
    if before + extent + after >= dilation * (kernel - 1) + 1
)
#: A share of them whose every sub-range is tried.
FEW_AXES = ONE_AXIS[::5]


def positions(axis: Axis) -> list[list[int]]:
    """Padded positions under each window, window by window, found by sliding the kernel."""
    padded = axis.before + axis.extent + axis.after
    found = []
    start = 0
    while True:
        taps = [start + tap * axis.dilation for tap in range(axis.kernel)]
        if taps[-1] >= padded:
            return found
        found.append(taps)
        start += axis.stride


def pairs(axis: Axis) -> set[tuple[int, int, int]]:
    """All (window, tap, element) that meet."""
    return {
        (window, tap, position - axis.before)
        for window, taps in enumerate(positions(axis))
        for tap, position in enumerate(taps)
        if 0 <= position - axis.before < axis.extent
    }


def ranges(extent: int) -> list[slice]:
    """Every non-empty range of an extent."""
    return [slice(a, b) for a in range(extent) for b in range(a + 1, extent + 1)]


def parsed(
    extents: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> Geometry:
    """Parse with one channel and one image."""
    return parse(
        (1, 1, *extents), (1, 1, *kernel), stride, padding, dilation, 1, spatial=len(extents)
    )


def test_axis_counts_windows_by_sliding() -> None:
    """Out counts the windows that fit the padded axis, remainder what lies behind the last."""
    assert {axis.remainder for axis in ONE_AXIS} >= {0, 1, 2, 3, 4, 11}
    for axis in ONE_AXIS:
        found = positions(axis)
        assert axis.out == len(found), axis
        assert axis.span == found[0][-1] + 1, axis
        assert axis.remainder == axis.before + axis.extent + axis.after - 1 - found[-1][-1], axis
        assert axis.padded == axis.remainder + found[-1][-1] + 1, axis
        assert axis.dilated_out == found[-1][0] + 1, axis


def test_axis_adjoint_pads_turn_windows_into_elements() -> None:
    """Dilated windows under flipped taps, padded so, meet the elements of windows under taps."""
    for axis in ONE_AXIS:
        before, after = axis.adjoint_pads
        assert before + axis.dilated_out + after == axis.extent + axis.span - 1, axis
        met = set()
        for element in range(axis.extent):
            for tap in range(axis.kernel):
                flipped = (axis.kernel - 1 - tap) * axis.dilation
                dilated = element + flipped - before
                if 0 <= dilated < axis.dilated_out and dilated % axis.stride == 0:
                    met.add((dilated // axis.stride, tap, element))
        assert met == pairs(axis), axis


def check_meet(axis: Axis, outputs: slice, inputs: slice) -> None:
    """Compare Axis.meet with the enumeration, restricted to both ranges."""
    met = set()
    for tap in range(axis.kernel):
        found = axis.meet(tap, outputs, inputs)
        if found is None:
            continue
        windows = range(found[0].start, found[0].stop)
        elements = range(found[1].start, found[1].stop, found[1].step)
        assert len(windows) == len(elements) > 0, (axis, tap, outputs, inputs)
        met |= {(window, tap, element) for window, element in zip(windows, elements, strict=True)}
    expected = {
        (window, tap, element)
        for window, tap, element in pairs(axis)
        if outputs.start <= window < outputs.stop and inputs.start <= element < inputs.stop
    }
    assert met == expected, (axis, outputs, inputs)


def test_meet_finds_every_pair_on_whole_axes() -> None:
    """Over the whole axis, meet yields each (window, tap, element) that exists, and no other."""
    for axis in ONE_AXIS:
        check_meet(axis, slice(0, axis.out), slice(0, axis.extent))


def test_meet_finds_every_pair_in_every_sub_range() -> None:
    """Restricted to any range of windows and of elements, meet yields the pairs inside both."""
    for axis in FEW_AXES:
        for outputs, inputs in itertools.product(ranges(axis.out), ranges(axis.extent)):
            check_meet(axis, outputs, inputs)


@given(axes(), st.data())
def test_meet_finds_every_pair_of_any_axis(axis: tuple[Any, ...], data: st.DataObject) -> None:
    """The same for axes and ranges that Hypothesis draws."""
    extent, kernel, stride, dilation, (before, after) = axis
    drawn = Axis(extent, kernel, stride, dilation, before, after)
    outputs = data.draw(st.sampled_from(ranges(min(drawn.out, 9))))
    inputs = data.draw(st.sampled_from(ranges(min(extent, 9))))
    check_meet(drawn, outputs, inputs)


def test_windows_over_holds_every_window_that_reaches() -> None:
    """Windows that reach a range of elements lie in windows_over, as wide as their spans."""
    for axis in ONE_AXIS:
        starts = [taps[0] - axis.before for taps in positions(axis)]
        found = pairs(axis)
        for inputs in ranges(axis.extent):
            windows = axis.windows_over(inputs)
            assert windows.start <= windows.stop, axis
            assert windows.start >= 0, axis
            inside = range(windows.start, windows.stop)
            reaching = {w for w, _, e in found if inputs.start <= e < inputs.stop}
            assert reaching <= set(inside), (axis, inputs)
            spanning = [
                w for w, s in enumerate(starts) if s < inputs.stop and s + axis.span > inputs.start
            ]
            assert list(inside) == spanning, (axis, inputs)


def test_geometry_properties_are_those_of_the_arrays() -> None:
    """Shapes and numbers of terms of a grouped case with unequal everything, worked out by hand."""
    geometry = parse((2, 6, 9, 11), (4, 3, 3, 2), (2, 3), ((1, 0), (2, 4)), (2, 1), 2)
    assert geometry.axes == (Axis(9, 3, 2, 2, 1, 0), Axis(11, 2, 3, 1, 2, 4))
    assert geometry.input_shape == (2, 6, 9, 11)
    assert geometry.weight_shape == (4, 3, 3, 2)
    assert geometry.output_shape == (2, 4, 3, 6)
    assert (geometry.extents, geometry.kernel, geometry.out) == ((9, 11), (3, 2), (3, 6))
    assert (geometry.group_in, geometry.group_out) == (3, 2)
    assert (geometry.forward_terms, geometry.input_terms, geometry.weight_terms) == (18, 12, 36)


def test_geometry_of_a_single_image_has_no_batch_axis() -> None:
    """Unbatched shapes lack the first axis, and the batch counts 1."""
    geometry = parse((6, 9, 11), (4, 6, 3, 2), 1, 0, 1, 1)
    assert geometry.batch == 1
    assert not geometry.batched
    assert geometry.input_shape == (6, 9, 11)
    assert geometry.output_shape == (4, 7, 10)


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_parse_reads_any_number_of_spatial_axes(spatial: int) -> None:
    """One int serves all axes, a sequence one each, in the order of the axes."""
    extents, kernel = (7, 8, 9)[:spatial], (1, 2, 3)[:spatial]
    each = tuple(range(1, spatial + 1))
    geometry = parsed(extents, kernel, each, [n - 1 for n in each], each[::-1])
    for position, axis in enumerate(geometry.axes):
        assert axis == Axis(
            extents[position],
            kernel[position],
            position + 1,
            spatial - position,
            position,
            position,
        )
    assert {axis.stride for axis in parsed(extents, kernel, 2, 1, 3).axes} == {2}
    assert {axis.dilation for axis in parsed(extents, kernel, [2], (1,), [3]).axes} == {3}
    assert {(axis.before, axis.after) for axis in parsed(extents, kernel, [2], (1,), [3]).axes} == {
        (1, 1)
    }


def test_parse_reads_four_sides_in_order() -> None:
    """Pads are ((top, bottom), (left, right))."""
    rows, columns = parsed((9, 8), (2, 3), 1, ((1, -2), [3, 4]), 1).axes
    assert (rows.before, rows.after, columns.before, columns.after) == (1, -2, 3, 4)


def test_same_is_torch_rule() -> None:
    """Stride 1: 'same' is dilation*(kernel-1) zeros, an odd one at the end; extents stay."""
    for extent, kernel, dilation in itertools.product(EXTENTS, KERNELS, DILATIONS):
        rows, columns = parsed((extent, extent + 1), (kernel, 2), 1, "same", (dilation, 1)).axes
        total = dilation * (kernel - 1)
        assert (rows.before, rows.after) == (total // 2, total - total // 2)
        assert (columns.before, columns.after) == (0, 1)
        assert (rows.out, columns.out) == (extent, extent + 1)


def test_same_upper_and_lower_are_tensorflow_and_onnx_rules() -> None:
    """Pads of any stride follow TensorFlow's rule for SAME, and ONNX's auto_pad in `lower`."""
    for extent, kernel, stride, dilation in itertools.product(EXTENTS, KERNELS, STRIDES, DILATIONS):
        span = dilation * (kernel - 1) + 1
        total = max(span - (extent % stride or stride), 0)
        for name, before in (("same_upper", total // 2), ("same_lower", total - total // 2)):
            axis, plain = parsed((extent, 1), (kernel, 1), (stride, 1), name, (dilation, 1)).axes
            assert (axis.before, axis.after) == (before, total - before), (
                name,
                extent,
                kernel,
                stride,
                dilation,
            )
            assert axis.out == -(-extent // stride)
            assert (plain.before, plain.after) == (0, 0)


def test_valid_is_no_padding() -> None:
    """'valid' and 0 parse to the same geometry."""
    assert parsed((9, 7), (3, 2), (2, 3), "valid", (1, 2)) == parsed(
        (9, 7), (3, 2), (2, 3), 0, (1, 2)
    )


class Indexable:
    """An int by `__index__` alone."""

    def __index__(self) -> int:
        """Return 3."""
        return 3


def test_integer_takes_whatever_is_an_index() -> None:
    """Objects with __index__ become plain ints."""
    assert integer("groups", Indexable(), least=1) == 3
    assert type(integer("groups", Indexable(), least=1)) is int


def test_integer_holds_exactly_64_bits() -> None:
    """2**63 - 1 passes, 2**63 does not, nor does what lies under the least."""
    assert integer("groups", 2**63 - 1, least=1) == 2**63 - 1
    with pytest.raises(ValueError, match=r"^groups=9223372036854775808 must fit in 64 bits$"):
        integer("groups", 2**63, least=1)
    with pytest.raises(ValueError, match=r"^groups=1 must be at least 2$"):
        integer("groups", 1, least=2)


def test_shape_takes_any_ordered_sequence() -> None:
    """Tuples, lists and ranges of sizes become tuples; zero is a size."""
    assert shape("input_size", [2, 0, 5]) == shape("input_size", (2, 0, 5)) == (2, 0, 5)
    assert shape("input_size", range(3)) == (0, 1, 2)


def test_shown_is_one_line_of_bounded_length() -> None:
    """Values in messages have no line breaks and no endless text, whatever their repr does."""

    class Lines:
        def __repr__(self) -> str:
            return "first\n   second"

    assert shown((1, "a")) == "(1, 'a')"
    assert shown(Lines()) == "first second"
    assert shown(10**5000) == "<int>"
    assert shown(list(range(999))).endswith("...")
    assert len(shown(list(range(999)))) == 120
    assert shown("x" * 118) == repr("x" * 118)


def test_parse_counts_bytes_of_the_padded_input_exactly() -> None:
    """Sizes pass up to where 16 bytes an element leave 64 bits, and not one row further."""
    limit = (2**63 - 1) // 16
    assert parsed((limit, 1), (1, 1), (2**40, 1), 0, 1).axes[0].extent == limit
    with pytest.raises(ValueError, match=r"would take more bytes than 64 bits can count$"):
        parsed((limit + 1, 1), (1, 1), (2**40, 1), 0, 1)


@pytest.mark.parametrize(
    ("input_size", "weight_size", "stride"),
    [
        ((0, 1, 2**40, 2**40), (1, 1, 1, 1), 2**20),
        ((1, 2**40, 1, 1), (2**40, 2**40, 1, 1), 1),
        ((1, 0, 2**40, 2**40), (1, 0, 1, 1), 2**20),
    ],
)
def test_parse_refuses_sizes_that_only_numpy_would(
    input_size: tuple[int, ...], weight_size: tuple[int, ...], stride: int
) -> None:
    """Products that overflow are refused here, also where an axis is empty, as NumPy counts."""
    with pytest.raises(ValueError, match=r"would take more bytes than 64 bits can count$"):
        parse(input_size, weight_size, stride, 0, 1, 1)


def test_residues_are_the_meetings_of_an_axis() -> None:
    """Each meeting of an element and a tap is one of a residue's windows, once, and no other is."""
    grid = itertools.product(
        range(1, 8), range(1, 5), range(1, 5), range(1, 5), (-2, 0, 1, 3, 7), (-1, 0, 2)
    )
    for extent, kernel, stride, dilation, before, after in grid:
        axis = Axis(extent, kernel, stride, dilation, before, after)
        if axis.padded < axis.span:
            continue
        met = {
            (o * stride + k * dilation - before, k, o)
            for o in range(axis.out)
            for k in range(kernel)
            if 0 <= o * stride + k * dilation - before < extent
        }
        found = []
        elements: list[int] = []
        for residue in axis.residues:
            inner, taps = residue.axis, range(kernel)[residue.taps]
            assert inner.out == len(range(residue.first, extent, stride))
            assert (inner.extent, inner.kernel, inner.stride) == (axis.out, len(taps), 1)
            elements += range(extent)[residue.elements(slice(0, inner.out))]
            for m in range(inner.out):
                for j, tap in enumerate(taps):
                    o = m + j * inner.dilation - inner.before
                    if 0 <= o < axis.out:
                        found.append((residue.first + m * stride, tap, o))
        assert len(found) == len(set(found))
        assert set(found) == met, axis
        assert len(elements) == len(set(elements))


def test_band_holds_what_windows_cover() -> None:
    """The band of some windows goes from the first tap of the first to the last tap of the last."""
    for kernel, stride, dilation, before in itertools.product(
        (1, 2, 4), (1, 3), (1, 2), (-1, 0, 2)
    ):
        axis = Axis(20, kernel, stride, dilation, before, 3)
        for start, stop in ((0, 1), (1, 4), (2, 3)):
            covered = [
                o * stride + k * dilation - before
                for o in range(start, stop)
                for k in range(kernel)
            ]
            assert axis.band(slice(start, stop)) == slice(min(covered), max(covered) + 1)


def test_what_was_parsed_before_excuses_nothing() -> None:
    """True and 1.0 equal 1, but are refused also after 1 was accepted, alone and in a pair."""
    shapes = (2, 4, 5, 6), (6, 4, 3, 2)
    for good, values in ((1, (True, 1.0)), ((1, 1), ((True, 1), (1, 1.0)))):
        parse(*shapes, good, good, good, 1)
        for value in values:
            for position in range(3):
                parameters: list[Any] = [good] * 3
                parameters[position] = value
                with pytest.raises(TypeError):
                    parse(*shapes, *parameters, 1)
    for value in (True, 1.0):
        with pytest.raises(TypeError):
            parse(*shapes, 1, 1, 1, value)
