"""Each operation as inner products: elements are gathered into vectors here, never computed on.

Every element of a result is one inner product of a vector of the first factor with a vector of
the second, both real: complex numbers enter by their two parts. A `Tile` is a block of the
result, all inner products of some left vectors with some right ones; long vectors come in
several pieces. All sizes are bounded, whatever the arrays' are.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from npconv import formats
from npconv.correlate import boxes, gather, length
from npconv.geometry import Axis, Geometry
from npconv.splitting import Piece, Vectors
from npconv.windows import split_groups

Array = np.ndarray[Any, np.dtype[Any]]
Slices = tuple[slice, ...]
DType = np.dtype[Any]
T = TypeVar("T")
U = TypeVar("U")

#: Numbers in the vectors of one side of a piece, and in a tile of the result.
SIDE = 2**18
TILE = 2**17
#: Length of a vector in one piece, at the most: it sets how many bits a slice can have.
LENGTH = 2**13


@dataclass(frozen=True, slots=True)
class Tile:
    """The part `where` of the result; `pieces` yields, afresh at each call, what it is made of.

    Values come in `shape` (g, rows, columns), the parts of complex ones as rows. `rows` says
    which groups and channels these are, `spread` what the columns are in the result; its first
    axis is the batch, which the result has in front, where `batch_first`.
    """

    where: Slices
    rows: Slices
    shape: tuple[int, int, int]
    spread: tuple[int, ...]
    batch_first: bool
    pieces: Callable[[], Iterator[Piece]]

    def shaped(self, values: Array) -> Array:
        """View values (g, rows, columns) as the part of the result that they are."""
        values = values.reshape(*values.shape[:2], *self.spread)
        return np.moveaxis(values, 2, 0) if self.batch_first else values


def forward(input: Array, weight: Array, geometry: Geometry) -> Iterator[Tile]:
    """Yield tiles of the output (n, g, f, y, x): kernels times windows of the padded input."""
    x = split_groups(input, geometry.groups, 1)
    w = split_groups(weight, geometry.groups, 0)
    carried, parts = _carried(weight)
    taps = math.prod(geometry.kernel)
    channels = _chunks(geometry.group_in, LENGTH // (taps * parts))

    def kernels(g: slice, f: slice, c: slice) -> Vectors:
        block = formats.load(w[g, f, c], carried)
        return _left(block.reshape(length(g), length(f), length(c) * taps))

    def windows(g: slice, place: Slices, c: slice) -> Vectors:
        n, *outputs = place
        return _right(gather(x[n, g, c], geometry, outputs, carried).swapaxes(1, 2))

    terms = length(channels[0]) * taps * parts
    groups, rows, positions = _plan(geometry.groups, geometry.group_out * parts, terms)
    for g, place, f, pieces in _pieces(
        _chunks(geometry.groups, groups),
        list(boxes((geometry.batch, *geometry.out), positions)),
        _chunks(geometry.group_out, rows // parts),
        channels,
        kernels,
        windows,
    ):
        n, *outputs = place
        spread = tuple(map(length, place))
        shape = (length(g), length(f) * parts, math.prod(spread))
        yield Tile((n, g, f, *outputs), (g, f), shape, spread, True, pieces)


def input_gradient(weight: Array, grad_output: Array, geometry: Geometry) -> Iterator[Tile]:
    """Yield tiles of the input gradient (n, g, c, h, w): conjugated kernels times errors.

    Elements that agree modulo the stride meet the same taps, so there is one correlation with
    a part of the kernel for each residue. Elements that no tap meets are in no tile.
    """
    e = split_groups(grad_output, geometry.groups, 1)
    w = split_groups(weight, geometry.groups, 0)
    for residues in itertools.product(*map(_residues, geometry.axes)):
        yield from _residue_tiles(e, w, geometry, residues)


def weight_gradient(input: Array, grad_output: Array, geometry: Geometry) -> Iterator[Tile]:
    """Yield tiles of the weight gradient (g, f, c, k, t): errors times conjugated windows."""
    x = split_groups(input, geometry.groups, 1)
    e = split_groups(grad_output, geometry.groups, 1)
    carried, parts = _carried(input)
    taps = math.prod(geometry.kernel)

    def errors(g: slice, f: slice, place: Slices) -> Vectors:
        block = formats.load(np.moveaxis(e[place[0], g, f, *place[1:]], 0, 2), carried)
        return _left(block.reshape(length(g), length(f), -1))

    def windows(g: slice, c: slice, place: Slices) -> Vectors:
        n, *outputs = place
        return _right(gather(x[n, g, c], geometry, outputs, carried).conj())

    rows = min(geometry.group_out * parts, 2**9)
    channels = max(1, min(geometry.group_in, TILE // rows // taps))
    size = max(rows, channels * taps)
    groups = max(1, min(geometry.groups, 2**9 // size))
    terms = max(1, min(LENGTH, SIDE // (groups * size)) // parts)
    for g, c, f, pieces in _pieces(
        _chunks(geometry.groups, groups),
        _chunks(geometry.group_in, channels),
        _chunks(geometry.group_out, rows // parts),
        list(boxes((geometry.batch, *geometry.out), terms)),
        errors,
        windows,
    ):
        where = (g, f, c, *(slice(0, count) for count in geometry.kernel))
        shape = (length(g), length(f) * parts, length(c) * taps)
        yield Tile(where, (g, f), shape, (length(c), *geometry.kernel), False, pieces)


def bias_gradient(grad_output: Array) -> Iterator[Tile]:
    """Yield tiles of the bias gradient (1, f): errors times ones, the parts of complex apart."""
    _, parts = _carried(grad_output)

    def errors(_: slice, f: slice, place: Slices) -> Vectors:
        block = np.moveaxis(grad_output[place[0], f, *place[1:]], 1, 0)
        flat = block.reshape(1, length(f), -1)
        halves = (flat.real, flat.imag) if parts == 2 else (flat,)
        return Vectors(np.concatenate([formats.load(h, formats.FLOAT64) for h in halves], 1))

    def ones(_: slice, __: slice, place: Slices) -> Vectors:
        return Vectors(np.ones((1, 1, math.prod(map(length, place)))))

    batch, features, *extents = grad_output.shape
    rows = min(features, 2**6)
    for _, __, f, pieces in _pieces(
        [slice(0, 1)],
        [slice(0, 1)],
        _chunks(features, rows),
        list(boxes((batch, *extents), min(LENGTH, SIDE // rows))),
        errors,
        ones,
    ):
        where = (slice(0, 1), f)
        yield Tile(where, where, (1, length(f) * parts, 1), (), False, pieces)


def _pieces(
    groups: Sequence[slice],
    columns: Sequence[T],
    rows: Sequence[slice],
    steps: Sequence[U],
    left: Callable[[slice, slice, U], Vectors],
    right: Callable[[slice, T, U], Vectors],
    present: Callable[[T, U], Array] | None = None,
) -> Iterator[tuple[slice, T, slice, Callable[[], Iterator[Piece]]]]:
    """Yield every (groups, columns, rows) with a function that yields its pieces, step by step."""
    last_left, last_right = _Last(left), _Last(right)

    def pieces(g: slice, column: T, row: slice) -> Iterator[Piece]:
        for step in steps:
            exists = None if present is None else functools.partial(present, column, step)
            yield Piece(last_left(g, row, step), last_right(g, column, step), exists)

    for g, column, row in itertools.product(groups, columns, rows):
        yield g, column, row, functools.partial(pieces, g, column, row)


class _Last(Generic[T]):
    """A function that remembers its last result."""

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._made: tuple[Any, T] | None = None

    def __call__(self, *key: Any) -> T:
        if self._made is None or self._made[0] != key:
            # What is remembered goes first: two of them would not fit the budget.
            self._made = None
            self._made = key, self._make(*key)
        return self._made[1]


@dataclass(frozen=True, slots=True)
class _Residue:
    """Elements ``first + stride * m`` of an axis, m from 0 to count - 1, and the taps they meet."""

    axis: Axis
    first: int
    count: int
    taps: tuple[int, ...]

    def elements(self, places: slice) -> slice:
        """Return the elements at `places`."""
        start = self.first + self.axis.stride * places.start
        stop = self.first + self.axis.stride * (places.stop - 1) + 1
        return slice(start, stop, self.axis.stride)

    def meetings(self, places: slice) -> Iterator[tuple[int, slice, slice]]:
        """Yield (index of tap, places counted from the start, windows) that meet."""
        inside = self.elements(places)
        for index, tap in enumerate(self.taps):
            pair = self.axis.meet(tap, slice(0, self.axis.out), slice(inside.start, inside.stop))
            if pair is not None:
                start = (pair[1].start - inside.start) // self.axis.stride
                yield index, slice(start, start + length(pair[0])), pair[0]


def _residues(axis: Axis) -> list[_Residue]:
    """Return the residues modulo the stride that some tap meets."""
    taps: dict[int, list[int]] = {}
    for tap in range(axis.kernel):
        taps.setdefault((tap * axis.dilation - axis.before) % axis.stride, []).append(tap)
    return [
        _Residue(axis, first, -(-(axis.extent - first) // axis.stride), tuple(found))
        for first, found in sorted(taps.items())
        if first < axis.extent
    ]


def _residue_tiles(
    e: Array, w: Array, geometry: Geometry, residues: tuple[_Residue, ...]
) -> Iterator[Tile]:
    """Yield tiles of the input gradient for one residue on each axis."""
    carried, parts = _carried(w)
    taps = math.prod(len(residue.taps) for residue in residues)
    features = _chunks(geometry.group_out, LENGTH // (taps * parts))

    def kernels(g: slice, c: slice, f: slice) -> Vectors:
        block = np.moveaxis(w[g, f, c], 2, 1)
        for position, residue in enumerate(residues):
            block = block.take(residue.taps, 3 + position)
        block = formats.load(block, carried).conj()
        return _left(block.reshape(length(g), length(c), length(f) * taps))

    def errors(g: slice, place: Slices, f: slice) -> Vectors:
        return _right(_met(e[place[0], g, f], residues, place[1:], carried).swapaxes(1, 2))

    def present(place: Slices, f: slice) -> Array:
        ones = np.ones((length(place[0]), 1, length(f) * parts, *geometry.out))
        return _met(ones, residues, place[1:], formats.FLOAT64).swapaxes(1, 2)

    terms = length(features[0]) * taps * parts
    groups, rows, positions = _plan(geometry.groups, geometry.group_in * parts, terms)
    for g, place, c, pieces in _pieces(
        _chunks(geometry.groups, groups),
        list(boxes((geometry.batch, *(residue.count for residue in residues)), positions)),
        _chunks(geometry.group_in, rows // parts),
        features,
        kernels,
        errors,
        present,
    ):
        n, *places = place
        where = [residue.elements(m) for residue, m in zip(residues, places, strict=True)]
        spread = tuple(map(length, place))
        shape = (length(g), length(c) * parts, math.prod(spread))
        yield Tile((n, g, c, *where), (g, c), shape, spread, True, pieces)


def _met(e: Array, residues: Sequence[_Residue], places: Slices, carried: DType) -> Array:
    """Copy e (n, g, f, y, x) to (g, f*k*t, n*places): the error that each tap brings, or zero."""
    n, g, f = e.shape[:3]
    taps = [len(residue.taps) for residue in residues]
    columns = np.zeros((g, f, *taps, n, *map(length, places)), carried)
    source = np.moveaxis(e, 0, 2)
    axes = (list(r.meetings(p)) for r, p in zip(residues, places, strict=True))
    for meeting in itertools.product(*axes):
        index, there, found = zip(*meeting, strict=True)
        columns[:, :, *index, :, *there] = source[:, :, :, *found]
    return columns.reshape(g, f * math.prod(taps), n * math.prod(map(length, places)))


def _plan(groups: int, rows: int, terms: int) -> tuple[int, int, int]:
    """Return how many groups, rows and columns a tile has whose vectors have `terms` numbers."""
    terms = max(1, terms)
    together = max(1, min(groups, SIDE // (terms * 2**8)))
    rows = max(1, min(rows, SIDE // (together * terms)))
    positions = max(1, min(2 * SIDE // (together * terms), TILE // (together * rows)))
    return together, rows, positions


def _chunks(extent: int, size: int) -> list[slice]:
    """Cut a range into parts of at most `size`; an empty range into one empty part."""
    return [part for (part,) in boxes((extent,), max(1, size))] or [slice(0, 0)]


def _carried(array: Array) -> tuple[DType, int]:
    """Return the dtype that elements are gathered in, and how many parts each has."""
    if formats.family(array.dtype) == "complex":
        return formats.COMPLEX128, 2
    return formats.FLOAT64, 1


def _left(block: Array) -> Vectors:
    """Make vectors of (g, rows, K); complex ones as rows (re, -im), then rows (im, re)."""
    if block.dtype.kind != "c":
        return Vectors(block)
    re, im = block.real, block.imag
    return Vectors(np.block([[re, -im], [im, re]]))


def _right(block: Array) -> Vectors:
    """Make vectors of (g, columns, K); of complex ones the real parts, then the imaginary."""
    if block.dtype.kind != "c":
        return Vectors(block)
    swapped = block.strides[1] < block.strides[2]
    halves = [half.swapaxes(1, 2) if swapped else half for half in (block.real, block.imag)]
    joined = np.concatenate(halves, 1 if swapped else 2)
    return Vectors(joined.swapaxes(1, 2) if swapped else joined)
