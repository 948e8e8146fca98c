"""Each operation as sums of products of vectors: elements are gathered here, never computed on.

Every element of a result is one inner product of a vector of the first factor with a vector of
the second, both real: a complex number contributes its two parts. A `Tile` is a block of the
result whose elements are the inner products of all `left` vectors with all `right` vectors; a
long inner product comes in several pieces. All sizes are bounded, whatever the arrays' are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from npconv import formats
from npconv.correlate import _boxes as boxes
from npconv.correlate import _gather as gather
from npconv.correlate import _length as length
from npconv.geometry import Axis, Geometry
from npconv.splitting import Vectors
from npconv.windows import split_groups

Array = np.ndarray[Any, np.dtype[Any]]
Slices = tuple[slice, ...]
P = ParamSpec("P")
R = TypeVar("R")

#: Numbers in the vectors of one side of a piece, and in a tile of the result.
SIDE = 2**18
TILE = 2**17
#: Length of a vector in one piece, at the most: it sets how many bits a slice can have.
LENGTH = 2**13


@dataclass(frozen=True, slots=True)
class Piece:
    """Vectors (g, rows, K) and (g, columns, K); `present` says which of `right` are operands."""

    left: Vectors
    right: Vectors
    present: Callable[[], Array] | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """The part `where` of the result, and the pieces (afresh at each call) that make it.

    Values (g, rows, columns) are in `where`'s order once columns are split into `spread` and,
    for tiles with a batch axis, its first axis goes to the front.
    """

    where: Slices
    rows: slice
    spread: tuple[int, ...]
    batch_first: bool
    pieces: Callable[[], Iterator[Piece]]

    def shaped(self, values: Array) -> Array:
        """View values (g, rows, columns) as the part of the result that they are."""
        values = values.reshape(*values.shape[:2], *self.spread)
        return np.moveaxis(values, 2, 0) if self.batch_first else values


def forward(input: Array, weight: Array, geometry: Geometry) -> Iterator[Tile]:
    """Yield tiles of the output (n, g, f, y, x): kernels times windows, padding included."""
    x = split_groups(input, geometry.groups, 1)
    w = split_groups(weight, geometry.groups, 0)
    carried = _carried(input)
    taps = math.prod(geometry.kernel)
    channels = _parts(geometry.group_in, max(1, LENGTH // taps))

    def kernels(g: slice, f: slice, c: slice) -> Vectors:
        return _left(formats.load(w[g, f, c], carried).reshape(length(g), length(f), -1))

    def windows(g: slice, c: slice, n: slice, outputs: Sequence[slice]) -> Vectors:
        return _right(gather(x[n, g, c], geometry, outputs, carried), 1)

    terms = length(channels[0]) * taps
    for g, rows, positions in _sizes(geometry.groups, geometry.group_out, terms, input):
        left, right = _Last(kernels), _Last(windows)
        for n, *outputs in boxes((geometry.batch, *geometry.out), positions):
            for f in _parts(geometry.group_out, rows):

                def pieces(
                    f: slice = f, n: slice = n, outputs: Sequence[slice] = outputs, g: slice = g
                ) -> Iterator[Piece]:
                    for c in channels:
                        yield Piece(left(g, f, c), right(g, c, n, outputs))

                spread = (length(n), *map(length, outputs))
                yield Tile((n, g, f, *outputs), f, spread, True, pieces)


def weight_gradient(input: Array, grad_output: Array, geometry: Geometry) -> Iterator[Tile]:
    """Yield tiles of the weight gradient (g, f, c, k, t): errors times conjugated windows."""
    x = split_groups(input, geometry.groups, 1)
    e = split_groups(grad_output, geometry.groups, 1)
    carried = _carried(input)
    taps = math.prod(geometry.kernel)

    def errors(g: slice, f: slice, n: slice, outputs: Sequence[slice]) -> Vectors:
        block = np.moveaxis(e[n, g, f, *outputs], 0, 2)
        return _left(formats.load(block, carried).reshape(length(g), length(f), -1))

    def windows(g: slice, c: slice, n: slice, outputs: Sequence[slice]) -> Vectors:
        return _right(gather(x[n, g, c], geometry, outputs, carried), 2, conjugate=True)

    everything = tuple(slice(0, taps) for taps in geometry.kernel)
    channels = max(1, geometry.group_in)
    for g, columns, positions in _sizes(geometry.groups, channels * taps, 1, input):
        step = max(1, min(columns, TILE // length(g)) // taps)
        rows = max(1, TILE // (length(g) * step * taps))
        size = max(min(step, channels) * taps, min(rows, geometry.group_out))
        terms = max(1, min(LENGTH, positions, 2 * SIDE // (length(g) * size)))
        left, right = _Last(errors), _Last(windows)
        blocks = list(boxes((geometry.batch, *geometry.out), terms))
        for f, c in itertools.product(
            _parts(geometry.group_out, rows), _parts(geometry.group_in, step)
        ):

            def pieces(f: slice = f, c: slice = c, g: slice = g) -> Iterator[Piece]:
                for n, *outputs in blocks:
                    yield Piece(left(g, f, n, outputs), right(g, c, n, outputs))

            yield Tile((g, f, c, *everything), f, (length(c), *geometry.kernel), False, pieces)
