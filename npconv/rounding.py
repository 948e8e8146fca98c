"""Ziv's test: which values of a tile are decided, and what becomes of the others.

Gets inner products with radii from `splitting` and returns them in the result's dtype, each
its exact value rounded once. `_special` settles infinities and NaNs before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv import formats, splitting
from npconv.operands import Tile
from npconv.splitting import Piece, Vectors

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]

#: Numbers that are looked at before the whole array is, to find the last bit of them all.
SAMPLE = 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the numbers of a call as a whole."""

    result: DType  # of each part of a complex result
    wide: bool  # products may be longer than float64, and beyond its exponents
    finite: bool
    granule: float  # of which all products and biases are multiples; 0 where it is not known


def facts(result: DType, arrays: Sequence[Array]) -> Facts:
    """Look at the two factors and the bias, if there is one."""
    given = arrays[0].dtype
    real = np.dtype(f"f{result.itemsize // 2}") if result.kind == "c" else result
    wide = given.itemsize == (16 if given.kind == "c" else 8)
    parts = [part for a in arrays for part in ((a.real, a.imag) if a.dtype.kind == "c" else (a,))]
    # The extremes of an array tell whether there is an infinity or a NaN in it.
    ends = (float(end) for part in parts if part.size for end in (part.max(), part.min()))
    finite = all(map(math.isfinite, ends))
    return Facts(real, wide, finite, _granule(arrays) if finite else 0.0)


def rounded(tile: Tile, bias: Array, facts: Facts) -> Array:
    """Return the values (g, rows, columns) of one tile."""
    if facts.finite:
        return _finite(tile, tile.pieces, bias, facts)
    special = _special(tile, bias)
    pieces = _sanitised(tile)
    values = _finite(tile, pieces, np.where(np.isfinite(bias), bias, 0.0), facts)
    np.copyto(values, special.astype(facts.result), where=special != 0)
    return values


def _finite(
    tile: Tile, pieces: Callable[[], Iterator[Piece]], bias: Array, facts: Facts
) -> Array:
    """Return the values of a tile whose operands are all finite."""
    if facts.result != formats.FLOAT64 or facts.granule:
        sums, radius = splitting.plain(
            tile.shape, pieces(), bias, facts.granule, wide=facts.wide
        )
        values, doubtful = _decide(sums, radius, facts.result)
        del sums, radius
    else:
        values, doubtful = np.zeros(tile.shape, facts.result), np.ones(tile.shape, bool)
    count = np.count_nonzero(doubtful)
    if count > PATIENCE * doubtful.size:
        where = np.nonzero(doubtful)
        high, low, radius = (part[where] for part in splitting.split(tile.shape, pieces(), bias))
        values[where], still = _decide_pair(high, low, radius, facts.result)
        doubtful[where] = still
    if doubtful.any():
        where = np.nonzero(doubtful)
        biases = np.broadcast_to(bias, tile.shape)[where]
        high, rest = splitting.exact(pieces(), biases, where, wide=facts.wide)
        values[where] = _settle(high, rest, facts.result)
    return values
