"""The contraction behind the public calls: nowhere else but in `formulas` are elements multiplied.

Nothing is padded, dilated or flipped as a whole. Block by block the elements that some windows
meet are copied to columns (zero where a window hangs over the edge), in a buffer that is used
again and again, and a matrix product does the rest. The input gradient is the same contraction,
once for each residue of the stride; only where few channels face many, or a weight is not
finite, the product comes first and its columns are added back to the elements they belong to.
Every function yields (where, sums) blocks, carried in the dtype that `formats.carrier` chose,
for the caller to round before it asks for the next; they may lie in `out`, which then needs no
more than that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npconv import formats
from npconv.geometry import Geometry, Residue
from npconv.windows import split_groups

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]
Slices = tuple[slice, ...]
Blocks = Iterator[tuple[Slices, Array]]

#: Elements of a buffer of columns or products, 4 MiB: small enough for the cache, large enough
#: for the matrix product. A block of the weight may have eight times as many, one of its gradient
#: four times. Complex numbers and Python ints take more room, and get fewer.
BUFFER = 2**19
#: Positions of a block before groups share one.
RUN = 2**10

_SHARE = {"c": 4, "O": 8}


class Room:
    """Named buffers, each used again by block after block."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: DType) -> Array:
        """Return the buffer's start as an array; what it holds is of no meaning."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.size < size or kept.dtype != dtype:
            kept = self._kept[name] = np.empty(size, dtype)
        return kept[:size].reshape(shape)


def forward(
    input: Array, weight: Array, geometry: Geometry, carried: DType, out: Array | None = None
) -> Blocks:
    """Yield blocks (n, g, f, y, x) of the output without bias."""
    x = split_groups(input, geometry.groups, 1)
    w = split_groups(weight, geometry.groups, 0)
    return _correlate(x, w, geometry, carried, out)


def input_gradient(
    weight: Array, grad_output: Array, geometry: Geometry, carried: DType, out: Array | None = None
) -> Blocks:
    """Yield blocks (n, g, c, h, w) of the input gradient, but for elements that no tap meets.

    Complex weights are conjugated. Where an element of the weight is not finite, the zeros
    around grad_output must not meet it, which is so where the products come first.
    """
    e = split_groups(grad_output, geometry.groups, 1)
    w = split_groups(weight, geometry.groups, 0)
    few = geometry.group_out > 3 * geometry.group_in and math.prod(geometry.kernel) > 1
    if few or not _finite(weight):
        yield from _scattered(e, w, geometry, carried)
        return
    for residues, part in geometry.adjoint_parts:
        flipped = w[:, :, :, *(residue.taps for residue in residues)]
        direct = out if all(axis.stride == 1 for axis in geometry.axes) else None
        for (n, g, c, *places), sums in _correlate(e, flipped, part, carried, direct, adjoint=True):
            yield (n, g, c, *map(Residue.elements, residues, places)), sums


def weight_gradient(
    input: Array, grad_output: Array, geometry: Geometry, carried: DType, _out: Array | None = None
) -> Blocks:
    """Yield blocks (g, f, c, k, t) of the weight gradient; complex inputs are conjugated.

    A result is too small for it to pay that blocks lie in it.
    """
    x = split_groups(input, geometry.groups, 1)
    e = split_groups(grad_output, geometry.groups, 1)
    taps, room = math.prod(geometry.kernel), Room()
    buffer = _buffer(carried)
    channels = max(1, min(geometry.group_in, buffer // 64 // taps))
    features = _even(geometry.group_out, 4 * buffer // (channels * taps))
    groups, positions = _plan(geometry, max(channels * taps, features), buffer)
    groups = max(1, min(groups, 4 * buffer // (features * channels * taps)))
    whole = tuple(slice(None) for _ in geometry.axes)
    for g, f, c in itertools.product(
        _parts(geometry.groups, groups),
        _parts(geometry.group_out, features),
        _parts(geometry.group_in, channels),
    ):
        shape = (length(g), length(f), length(c) * taps)
        sums: Array | None = None
        for n, *outputs in boxes((geometry.batch, *geometry.out), positions):
            columns = _conjugate(gather(x[n, g, c], geometry, outputs, carried, room))
            errors = _positions(e[n, g, f, *outputs], "errors", carried, room)
            part = room.take("sums" if sums is None else "part", shape, carried)
            _product(errors, columns.swapaxes(1, 2), part)
            sums = part if sums is None else np.add(sums, part, out=sums)
        if sums is None:
            sums = np.zeros(shape, carried)
        yield (g, f, c, *whole), sums.reshape(length(g), length(f), length(c), *geometry.kernel)


def bias_gradient(grad_output: Array, carried: DType) -> Array:
    """Sum (n, f, y, x) over all but the channels."""
    batch, features, *extents = grad_output.shape
    sums, room = np.zeros(features, carried), Room()
    for f, n, *places in boxes((features, batch, *extents), _buffer(carried)):
        rows = _positions(grad_output[n, None, f, *places], "errors", carried, room)
        sums[f] += rows[0].sum(axis=1, dtype=carried)
    return sums


def _correlate(
    x: Array,
    w: Array,
    geometry: Geometry,
    carried: DType,
    out: Array | None,
    *,
    adjoint: bool = False,
) -> Blocks:
    """Yield blocks (n, g, f, y, x) of windows of x (n, g, c, h, w) times w (g, f, c, k, t).

    The adjoint's w comes as (g, c, f, k, t), and meets the windows conjugated.
    """
    taps, room = math.prod(geometry.kernel), Room()
    buffer = _buffer(carried)
    channels = _parts(geometry.group_in, buffer // 64 // taps)
    depth = length(channels[0]) * taps
    features = _even(geometry.group_out, 8 * buffer // max(1, geometry.group_in * taps))
    groups, positions = _plan(geometry, max(depth, features), buffer)
    for g, f in itertools.product(
        _parts(geometry.groups, groups), _parts(geometry.group_out, features)
    ):
        kernel: Array | None = None
        for n, *outputs in boxes((geometry.batch, *geometry.out), positions):
            where = (n, g, f, *outputs)
            sums = _matrix(out, where)
            for c in channels:
                columns = gather(x[n, g, c], geometry, outputs, carried, room)
                if kernel is None or len(channels) > 1:
                    kernel = (
                        _adjoint(w[g, c, f], carried) if adjoint else _rows(w[g, f, c], carried)
                    )
                if sums is None:
                    shape = (length(g), length(f), columns.shape[2])
                    sums = room.take("sums", shape, carried)
                if c.start == 0:
                    _product(kernel, columns, sums)
                else:
                    part = room.take("part", sums.shape, carried)
                    sums += _product(kernel, columns, part)
            assert sums is not None
            yield where, _batch_first(sums, tuple(map(length, where)))


def _scattered(e: Array, w: Array, geometry: Geometry, carried: DType) -> Blocks:
    """Yield blocks (n, g, c, h, w) of the input gradient: products first, then added up."""
    taps, room = math.prod(geometry.kernel), Room()
    buffer = _buffer(carried)
    height, *rest = geometry.extents
    # A block holds whole planes of several channels; of a plane larger than a buffer, rows.
    plane = math.prod(geometry.extents)
    groups = max(1, min(geometry.groups, buffer // (plane * max(1, geometry.group_in))))
    channels = max(1, buffer // max(plane, geometry.group_out * taps))
    for g, c in itertools.product(
        _parts(geometry.groups, groups), _parts(geometry.group_in, channels)
    ):
        kernel = formats.load(w[g, :, c], carried).reshape(length(g), geometry.group_out, -1)
        kernel = _packed(_conjugate(kernel).swapaxes(1, 2), carried)
        images = max(1, buffer // (length(g) * max(1, length(c)) * plane))
        rows = length(g) * max(length(c) * taps, geometry.group_out)
        for (n,), (h,) in itertools.product(
            list(boxes((geometry.batch,), images)),
            list(boxes((height,), max(1, buffer // math.prod(rest)))),
        ):
            inputs = (h, *(slice(0, extent) for extent in rest))
            sums = np.zeros((length(g), length(c), length(n), *map(length, inputs)), carried)
            reached = [
                axis.windows_over(box) for axis, box in zip(geometry.axes, inputs, strict=True)
            ]
            for m, *local in boxes((length(n), *map(length, reached)), max(1, buffer // rows)):
                outputs = [
                    slice(r.start + o.start, r.start + o.stop)
                    for r, o in zip(reached, local, strict=True)
                ]
                errors = _positions(e[n][m, g, :, *outputs], "errors", carried, room)
                part = room.take("part", (*kernel.shape[:2], errors.shape[2]), carried)
                columns = _product(kernel, errors, part)
                _scatter(columns, sums[:, :, m], geometry, inputs, outputs)
            yield (n, g, c, *inputs), _batch_first(sums, tuple(map(length, (n, g, c, *inputs))))


def gather(
    x: Array,
    geometry: Geometry,
    outputs: Sequence[slice],
    carried: DType,
    room: Room | None = None,
) -> Array:
    """Return x (n, g, c, h, w) as columns (g, c*k*t, n*y*x): what each tap of each window meets.

    Where windows overlap, the band of elements that they cover is copied first: each element
    is then converted once, and a single copy makes all columns.
    """
    room = Room() if room is None else room
    n, g, c = x.shape[:3]
    kernel, sizes = geometry.kernel, tuple(map(length, outputs))
    taps, positions = math.prod(kernel), math.prod(sizes)
    if taps == 1 and (only := _met(x, geometry, outputs)) is not None:
        return _positions(only, "columns", carried, room)
    stored = formats.load_dtype(x.dtype, carried)
    columns = room.take("columns", (g, c, *kernel, n, *sizes), stored)
    bands = tuple(axis.band(o) for axis, o in zip(geometry.axes, outputs, strict=True))
    covered = tuple(map(length, bands))
    if 2 * math.prod(covered) <= taps * positions:
        band = room.take("band", (g, c, n, *covered), stored)
        _copy_band(x, geometry, bands, band)
        lead, spatial = band.strides[:3], band.strides[3:]
        steps = [
            (a.dilation * s, a.stride * s) for a, s in zip(geometry.axes, spatial, strict=True)
        ]
        strides = (*lead[:2], *(d for d, _ in steps), lead[2], *(s for _, s in steps))
        columns[...] = np.ndarray(columns.shape, stored, band, 0, strides)
    else:
        columns.fill(0)
        source = x.transpose(1, 2, 0, *range(3, x.ndim))
        everything = [slice(0, extent) for extent in geometry.extents]
        for tap, there, found in _meetings(geometry, outputs, everything):
            target: Any = (slice(None), slice(None), *tap, slice(None), *there)
            columns[target] = source[:, :, :, *found]
    return columns.view(carried).reshape(g, c * taps, n * positions)


def _copy_band(x: Array, geometry: Geometry, bands: Sequence[slice], band: Array) -> None:
    """Copy the elements of x at `bands` to band (g, c, n, h, w), zeros where there are none."""
    inside = [
        slice(max(0, b.start), max(0, b.start, min(b.stop, extent)))
        for b, extent in zip(bands, geometry.extents, strict=True)
    ]
    target = [_shift(part, b.start) for part, b in zip(inside, bands, strict=True)]
    if inside != list(bands):
        band.fill(0)
    source = x.transpose(1, 2, 0, *range(3, x.ndim))
    band[:, :, :, *target] = source[:, :, :, *inside]


def _met(x: Array, geometry: Geometry, outputs: Sequence[slice]) -> Array | None:
    """View the elements that a single tap meets; None where a window meets none."""
    found = []
    for axis, window in zip(geometry.axes, outputs, strict=True):
        pair = axis.meet(0, window, slice(0, axis.extent))
        if pair is None or pair[0] != window:
            return None
        found.append(pair[1])
    view: Array = x[:, :, :, *found]
    return view


def _positions(block: Array, name: str, carried: DType, room: Room) -> Array:
    """Return a block (n, g, f, y, x) as (g, f, n*y*x): a view of packed positions, or a copy."""
    n, g, f, *sizes = block.shape
    positions = n * math.prod(sizes)
    if n == 1 and _is_matrix(block, carried):
        return block.reshape(g, f, positions)
    stored = formats.load_dtype(block.dtype, carried)
    copy = room.take(name, (g, f, n, *sizes), stored)
    copy[...] = block.transpose(1, 2, 0, *range(3, block.ndim))
    return copy.view(carried).reshape(g, f, positions)


def _is_matrix(block: Array, carried: DType) -> bool:
    """Whether one image (1, g, f, y, x) is a stack of matrices (f, y*x) as BLAS takes them."""
    if block.dtype != carried or not block.flags.aligned:
        return False
    step = block.itemsize
    for size, stride in zip(block.shape[:2:-1], block.strides[:2:-1], strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return block.shape[2] == 1 or block.strides[2] >= step


def _matrix(out: Array | None, where: Slices) -> Array | None:
    """View the block `where` of `out` (n, g, f, y, x) as (g, f, y*x), if it is of one image."""
    if out is None or where[0].stop - where[0].start != 1:
        return None
    block = out[where]
    if not _is_matrix(block, out.dtype):
        return None
    return block.reshape(*block.shape[1:3], math.prod(block.shape[3:]))


def _batch_first(sums: Array, shape: tuple[int, ...]) -> Array:
    """View sums (g, f, n*y*x) as (n, g, f, y, x)."""
    n, g, f, *sizes = shape
    return sums.reshape(g, f, n, *sizes).transpose(2, 0, 1, *range(3, len(shape)))


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


def _packed(array: Array, carried: DType) -> Array:
    """Load `array` packed: strides decide the order of summation, and so the last bits."""
    return formats.load(array, carried, "C")


def _rows(w: Array, carried: DType) -> Array:
    """Return a kernel (g, f, c, k, t) as matrices (g, f, c*k*t)."""
    return _packed(w, carried).reshape(*w.shape[:2], math.prod(w.shape[2:]))


def _adjoint(w: Array, carried: DType) -> Array:
    """Return a kernel (g, c, f, k, t), conjugated, as matrices (g, f, c*k*t)."""
    packed = _packed(_conjugate(w).transpose(0, 1, *range(3, w.ndim), 2), carried)
    return packed.reshape(w.shape[0], math.prod(packed.shape[1:-1]), w.shape[2]).swapaxes(1, 2)


def _finite(weight: Array) -> bool:
    """Whether no element is infinite or NaN, looked at a few filters at a time."""
    if weight.dtype.kind in "iuO":
        return True
    size = max(1, BUFFER // max(1, weight[0].size))
    return all(
        np.isfinite(weight[start : start + size]).all() for start in range(0, len(weight), size)
    )


def _product(left: Array, right: Array, out: Array) -> Array:
    """Multiply stacks of matrices into `out`; complex ones part by part.

    BLAS multiplies complex sums by 1 + 0j in the end, which turns their infinities into NaN.
    """
    if left.dtype.kind != "c":
        np.matmul(left, right, out=out)
        return out
    a, b = np.ascontiguousarray(left.real), np.ascontiguousarray(left.imag)
    c, d = np.ascontiguousarray(right.real), np.ascontiguousarray(right.imag)
    out.real = np.matmul(a, c) - np.matmul(b, d)
    out.imag = np.matmul(a, d) + np.matmul(b, c)
    return out


def _conjugate(array: Array) -> Array:
    return array.conj() if array.dtype.kind == "c" else array


def _buffer(carried: DType) -> int:
    """Return how many elements a buffer holds."""
    return max(1, BUFFER // _SHARE.get(carried.kind, 1))


def _plan(geometry: Geometry, rows: int, buffer: int) -> tuple[int, int]:
    """Return how many groups, and how many positions of each, a block of columns has."""
    run = max(1, min(RUN, geometry.weight_terms))
    groups = max(1, min(geometry.groups, buffer // (max(1, rows) * run)))
    return groups, max(1, buffer // max(1, groups * rows))


def _even(extent: int, limit: int) -> int:
    """Return the size of parts of `extent`, at most `limit` each, that differ least."""
    return -(-extent // max(1, -(-extent // max(1, limit))))


def _parts(extent: int, limit: int) -> list[slice]:
    """Cut a range into parts of at most `limit`; an empty one into one empty part."""
    if extent <= limit:
        return [slice(0, extent)]
    return [part for (part,) in boxes((extent,), limit)]


def boxes(extents: Sequence[int], limit: int) -> Iterator[Slices]:
    """Tile `extents` with boxes of at most `limit` elements, the last axes kept whole first."""
    if 0 < math.prod(extents) <= limit:
        return iter([tuple([slice(0, extent) for extent in extents])])
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
    count: int = part.stop - part.start
    return count


def _shift(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start, part.step)
