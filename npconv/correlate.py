"""The contraction behind the public calls: nowhere else but in `formulas` are elements multiplied.

Nothing is padded, dilated or flipped here. `Axis.meet` says which windows find which elements
under one tap, so elements are copied tap by tap into a buffer of columns (zero where a window
hangs over the edge) and a matrix product does the rest; for the input gradient the product
comes first and its columns are added back to the elements they belong to. The buffer is a
block of bounded size, whatever the arrays' sizes. Every function yields (where, sums) blocks,
carried in the dtype that `formats.carrier` chose, for the caller to round.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npconv import formats
from npconv.geometry import Geometry
from npconv.windows import split_groups

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]
Slices = tuple[slice, ...]

#: Elements of one buffer. Two live at a time: at 8 bytes (16 complex) each is 16 (32) MiB.
BUFFER = 2**21
#: Elements of a block of columns: small enough for the cache, large enough for the matrix product.
BLOCK = 2**18


def forward(
    input: Array, weight: Array, geometry: Geometry, carried: DType
) -> Iterator[tuple[Slices, Array]]:
    """Yield blocks (n, g, f, y, x) of the output without bias."""
    x = split_groups(input, geometry.groups, 1)
    taps = math.prod(geometry.kernel)
    kernel = _packed(weight, carried).reshape(
        geometry.groups, geometry.group_out, geometry.group_in * taps
    )
    chunk = max(1, BUFFER // 64 // (geometry.groups * taps))
    channels = list(boxes((geometry.group_in,), chunk)) or [(slice(0, 0),)]
    rows = geometry.groups * max(min(chunk, geometry.group_in) * taps, geometry.group_out)
    for n, *outputs in boxes((geometry.batch, *geometry.out), _positions(rows)):
        sums: Array | None = None
        for (c,) in channels:
            columns = gather(x[n, :, c], geometry, outputs, carried)
            part = _product(kernel[:, :, c.start * taps : c.stop * taps], columns)
            sums = part if sums is None else np.add(sums, part, out=sums)
        assert sums is not None
        sums = sums.reshape(
            geometry.groups, geometry.group_out, n.stop - n.start, *map(length, outputs)
        )
        yield (n, slice(None), slice(None), *outputs), np.moveaxis(sums, 2, 0)


def weight_gradient(
    input: Array, grad_output: Array, geometry: Geometry, carried: DType
) -> Iterator[tuple[Slices, Array]]:
    """Yield blocks (g, f, c, k, t) of the weight gradient; complex inputs are conjugated."""
    x = split_groups(input, geometry.groups, 1)
    grad = split_groups(grad_output, geometry.groups, 1)
    taps = math.prod(geometry.kernel)
    groups = geometry.groups
    for f, c in boxes((geometry.group_out, geometry.group_in), max(1, BUFFER // (groups * taps))):
        sums = np.zeros((groups, length(f), length(c) * taps), carried)
        rows = groups * max(length(c) * taps, length(f))
        for n, *outputs in boxes((geometry.batch, *geometry.out), _positions(rows)):
            columns = gather(x[n, :, c], geometry, outputs, carried)
            errors = _errors(grad[n, :, f], outputs, carried)
            sums += _product(errors, _conjugate(columns).swapaxes(1, 2))
        yield (
            (slice(None), f, c, *(slice(None) for _ in geometry.axes)),
            sums.reshape(groups, length(f), length(c), *geometry.kernel),
        )


def input_gradient(
    weight: Array, grad_output: Array, geometry: Geometry, carried: DType
) -> Iterator[tuple[Slices, Array]]:
    """Yield blocks (n, g, c, h, w) of the input gradient; complex weights are conjugated."""
    grad = split_groups(grad_output, geometry.groups, 1)
    groups, taps = geometry.groups, math.prod(geometry.kernel)
    kernel = _conjugate(formats.load(weight, carried))
    kernel = kernel.reshape(groups, geometry.group_out, geometry.group_in, taps)
    height, *rest = geometry.extents
    # A block of the gradient holds whole planes of several channels; of a plane that is
    # larger than a buffer, whole rows.
    channels = max(1, BUFFER // (groups * math.prod(geometry.extents)))
    height_limit = max(1, BUFFER // (groups * math.prod(rest)))
    for (c,) in boxes((geometry.group_in,), channels):
        transposed = np.ascontiguousarray(
            kernel[:, :, c].reshape(groups, geometry.group_out, length(c) * taps).swapaxes(1, 2)
        )
        images = max(1, BUFFER // (groups * length(c) * math.prod(geometry.extents)))
        rows = groups * max(length(c) * taps, geometry.group_out)
        for (n,), (h,) in itertools.product(
            list(boxes((geometry.batch,), images)), list(boxes((height,), height_limit))
        ):
            inputs = (h, *(slice(0, extent) for extent in rest))
            sums = np.zeros((groups, length(c), length(n), *map(length, inputs)), carried)
            reached = [
                axis.windows_over(box) for axis, box in zip(geometry.axes, inputs, strict=True)
            ]
            for m, *local in boxes((length(n), *map(length, reached)), _positions(rows)):
                outputs = [
                    slice(r.start + o.start, r.start + o.stop)
                    for r, o in zip(reached, local, strict=True)
                ]
                errors = _errors(grad[n][m], outputs, carried)
                columns = _product(transposed, errors)
                _scatter(columns, sums[:, :, m], geometry, inputs, outputs)
            yield (n, slice(None), c, *inputs), np.moveaxis(sums, 2, 0)


def bias_gradient(grad_output: Array, carried: DType) -> Array:
    """Sum (n, f, y, x) over all but the channels."""
    channels = _packed(grad_output.swapaxes(0, 1), carried)
    return np.asarray(channels.sum(axis=tuple(range(1, channels.ndim)), dtype=carried))


def gather(x: Array, geometry: Geometry, outputs: Sequence[slice], carried: DType) -> Array:
    """Copy x (n, g, c, h, w) to columns (g, c*k*t, n*y*x): what each tap of each window meets."""
    n, g, c = x.shape[:3]
    stored = formats.load_dtype(x.dtype, carried)
    columns = np.zeros((g, c, *geometry.kernel, n, *map(length, outputs)), stored)
    source = np.moveaxis(x, 0, 2)
    everything = [slice(0, extent) for extent in geometry.extents]
    for taps, there, found in _meetings(geometry, outputs, everything):
        target: Any = (slice(None), slice(None), *taps, slice(None), *there)
        columns[target] = source[:, :, :, *found]
    positions = n * math.prod(map(length, outputs))
    return columns.view(carried).reshape(g, c * math.prod(geometry.kernel), positions)


def _scatter(
    columns: Array,
    sums: Array,
    geometry: Geometry,
    inputs: Sequence[slice],
    outputs: Sequence[slice],
) -> None:
    """Add columns (g, c*k*t, n*y*x) to the elements of sums (g, c, n, h, w) that they met."""
    g, c, n = sums.shape[:3]
    columns = columns.reshape(g, c, *geometry.kernel, n, *map(length, outputs))
    for taps, there, found in _meetings(geometry, outputs, inputs):
        origin: Any = (slice(None), slice(None), *taps, slice(None), *there)
        sums[:, :, :, *found] += columns[origin]


def _meetings(
    geometry: Geometry, outputs: Sequence[slice], inputs: Sequence[slice]
) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Yield (taps, windows, elements), positions counted from the start of each block."""
    per_axis = []
    for axis, window, element in zip(geometry.axes, outputs, inputs, strict=True):
        found = []
        for tap in range(axis.kernel):
            pair = axis.meet(tap, window, element)
            if pair is not None:
                found.append((tap, _shift(pair[0], window.start), _shift(pair[1], element.start)))
        per_axis.append(found)
    for meeting in itertools.product(*per_axis):
        taps, there, elements = zip(*meeting, strict=True)
        yield taps, there, elements


def _errors(grad: Array, outputs: Sequence[slice], carried: DType) -> Array:
    """Copy a block of grad (n, g, f, y, x) to (g, f, n*y*x)."""
    block = np.moveaxis(grad[:, :, :, *outputs], 0, 2)
    return _packed(block, carried).reshape(*block.shape[:2], -1)


def _packed(array: Array, carried: DType) -> Array:
    """Load `array` packed: strides decide the order of summation, and so the last bits."""
    return np.ascontiguousarray(formats.load(array, carried))


def _product(left: Array, right: Array) -> Array:
    """Multiply stacks of matrices; complex ones part by part.

    BLAS multiplies complex sums by 1 + 0j in the end, which turns their infinities into NaN.
    """
    if left.dtype.kind != "c":
        real: Array = np.matmul(left, right)
        return real
    a, b = np.ascontiguousarray(left.real), np.ascontiguousarray(left.imag)
    c, d = np.ascontiguousarray(right.real), np.ascontiguousarray(right.imag)
    product = np.empty((*left.shape[:-1], right.shape[-1]), left.dtype)
    product.real = np.matmul(a, c) - np.matmul(b, d)
    product.imag = np.matmul(a, d) + np.matmul(b, c)
    return product


def _conjugate(array: Array) -> Array:
    return array.conj() if array.dtype.kind == "c" else array


def _positions(rows: int) -> int:
    """Return how many window positions a block of `rows` buffer rows may have."""
    return max(1, min(BUFFER, max(BLOCK, 256 * rows)) // max(1, rows))


def boxes(extents: Sequence[int], limit: int) -> Iterator[Slices]:
    """Tile `extents` with boxes of at most `limit` elements, the last axes kept whole first."""
    sizes, room = [], limit
    for extent in reversed(extents):
        size = max(1, min(extent, room))
        room //= size
        sizes.append(size)
    ranges = [
        [slice(start, min(start + size, extent)) for start in range(0, extent, size)]
        for extent, size in zip(extents, reversed(sizes), strict=True)
    ]
    return itertools.product(*ranges)


def length(part: slice) -> int:
    """Return the number of elements that a slice with step 1 takes."""
    return int(part.stop - part.start)


def _shift(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start, part.step)
