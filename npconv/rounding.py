"""Ziv's test: which values of a tile are decided, and what becomes of the others.

Gets inner products with radii from `splitting` and returns them in the result's dtype, each
its exact value rounded once. `_special` settles infinities and NaNs before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv import formats, splitting
from npconv.correlate import boxes
from npconv.operands import Tile
from npconv.splitting import Piece, Vectors

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]

#: What cutting a tile and multiplying the slices costs, relative to working out each element alone.
PATIENCE = 0.01
#: Numbers looked at before all are, and at a time, to find the last bit of any.
SAMPLE, BATCH = 2**10, 2**17


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the numbers of a call as a whole."""

    result: DType  # of each part of a complex result
    wide: bool  # products may be longer than float64, and beyond its exponents
    finite: bool
    granule: float  # of which all products and biases are multiples; 0 where it is not known


def facts(result: DType, arrays: Sequence[Array]) -> Facts:
    """Look at the factors, of which there is one in plain sums, and at the bias if there is one."""
    given = arrays[0].dtype
    real = np.dtype(f"f{result.itemsize // 2}") if result.kind == "c" else result
    wide = given.itemsize == (16 if given.kind == "c" else 8)
    parts = [part for a in arrays for part in ((a.real, a.imag) if a.dtype.kind == "c" else (a,))]
    # The extremes of an array tell whether there is an infinity or a NaN in it.
    ends = (float(end) for part in parts if part.size for end in (part.max(), part.min()))
    finite = all(map(math.isfinite, ends))
    return Facts(real, wide, finite, _granule(arrays) if finite and len(arrays) > 1 else 0.0)


def rounded(tile: Tile, bias: Array, facts: Facts) -> Array:
    """Return the values (g, rows, columns) of one tile."""
    if facts.finite:
        return _finite(tile, tile.pieces, bias, facts)
    special = _special(tile, bias)
    pieces = _sanitised(tile)
    values = _finite(tile, pieces, np.where(np.isfinite(bias), bias, 0.0), facts)
    np.copyto(values, special.astype(facts.result), where=special != 0)
    return values


def _finite(tile: Tile, pieces: Callable[[], Iterator[Piece]], bias: Array, facts: Facts) -> Array:
    """Return the values of a tile whose operands are all finite."""
    if facts.result != formats.FLOAT64 or facts.granule:
        sums, radius = splitting.plain(tile.shape, pieces(), bias, facts.granule, wide=facts.wide)
        values, doubtful = _decide(sums, radius, facts.result)
        del sums, radius
        groups, rows, columns = tile.shape
        # Cutting vectors costs about what 30 inner products with each of them do.
        work = groups * (rows * columns + 30 * (rows + columns))
        if np.count_nonzero(doubtful) > PATIENCE * work:
            where = np.nonzero(doubtful)
            high, low, radius = splitting.split(tile.shape, pieces(), bias)
            values[where], doubtful[where] = _decide_pair(
                high[where], low[where], radius[where], facts.result
            )
    else:
        high, low, radius = splitting.split(tile.shape, pieces(), bias)
        values, doubtful = _decide_pair(high, low, radius, facts.result)
    if doubtful.any():
        where = np.nonzero(doubtful)
        biases = np.broadcast_to(bias, tile.shape)[where]
        high, low = splitting.exact(pieces(), biases, where, wide=facts.wide)
        values[where] = _settle(high, low, facts.result)
    return values


def _decide(sums: Array, radius: Array, result: DType) -> tuple[Array, Array]:
    """Round sums; return also which of them the radius leaves in doubt."""
    if result == formats.FLOAT64:
        return sums + 0.0, np.broadcast_to(radius != 0, sums.shape).copy()
    # Adding a radius of 0 turns -0 into 0, which an exact sum of zero is.
    values = formats.round_once(sums + radius, result)
    if not radius.any():
        return values, np.zeros(sums.shape, bool)
    below = formats.round_once(sums - radius, result)
    doubtful = np.asarray(~(values == below))
    zero = np.asarray(values == 0)
    if zero.any():
        doubtful |= zero & (radius > 0) & (np.abs(sums) <= radius)
    return values, doubtful


def _decide_pair(high: Array, low: Array, radius: Array, result: DType) -> tuple[Array, Array]:
    """Round high + low, of which high is the nearest float64; return also what is in doubt."""
    # Twice the rounding error of low - radius and low + radius.
    reach = np.where(radius == 0, 0.0, radius * 1.01 + np.abs(low) * (4 * splitting.UNIT))
    below, above = low - reach, low + reach
    if result == formats.FLOAT64:
        decided = (reach == 0) | ((high + below == high) & (high + above == high))
        return high, ~(decided & np.isfinite(high))
    ends = [splitting.two_sum(high, end) for end in (below, above)]
    lower, values = (_settle(*end, result) for end in ends)
    decided = (lower == values) & np.isfinite(high)
    decided &= (values != 0) | (reach == 0) | (np.signbit(lower) == np.signbit(values))
    return values, ~decided


def _settle(high: Array, low: Array, result: DType) -> Array:
    """Round high + low once, where high is the nearest float64 and of low the sign counts.

    Rounding to odd first keeps the second rounding from being misled (Boldo and Melquiond,
    2008): a value between two float64 goes to the one whose last bit is 1.
    """
    if result == formats.FLOAT64:
        return high
    even = (high.view(np.int64) & 1) == 0
    odd = np.where((low != 0) & even, np.nextafter(high, np.copysign(np.inf, low)), high)
    return formats.round_once(odd, result)


def _granule(arrays: Sequence[Array]) -> float:
    """Return a power of 2 of which all products and biases are multiples, or 0.

    0 also where the largest product is more than 2**53 of them: then it is of no use.
    """
    exponent = 0
    # Most arrays are refused after the first look at a few numbers.
    for look in (_sample, _batches):
        (last, top), (other_last, other_top), *bias = (_extremes(look(a)) for a in arrays)
        exponent = min(last + other_last, *(ends[0] for ends in bias), 800)
        if top + other_top - exponent > 53 + 2 or exponent < -1000:
            return 0.0
    return 2.0**exponent


def _sample(array: Array) -> Iterator[Array]:
    yield np.asarray(array.flat[:SAMPLE])


def _batches(array: Array) -> Iterator[Array]:
    for box in boxes(array.shape, BATCH):
        yield array[box].reshape(-1)


def _extremes(batches: Iterator[Array]) -> tuple[int, int]:
    """Return (last, top): all numbers are multiples of 2**last and below 2**top."""
    last, top = [1000], [-1000]
    for batch in batches:
        parts = (batch.real, batch.imag) if batch.dtype.kind == "c" else (batch,)
        for part in parts:
            numbers = part.astype(np.float64)
            mantissas, exponents = np.frexp(numbers[numbers != 0])
            if len(exponents):
                whole = (mantissas * 2.0**53).astype(np.int64)
                lowest = np.frexp((whole & -whole).astype(np.float64))[1]
                last.append(int((exponents + lowest).min()) - 54)
                top.append(int(exponents.max()))
    return min(last), max(top)


def _sanitised(tile: Tile) -> Callable[[], Iterator[Piece]]:
    """Return the pieces of a tile with 0 for what is not finite."""

    def finite(vectors: Vectors) -> Vectors:
        good = np.isfinite(vectors.values)
        return vectors if good.all() else Vectors(np.where(good, vectors.values, 0.0))

    def pieces() -> Iterator[Piece]:
        for piece in tile.pieces():
            yield Piece(finite(piece.left), finite(piece.right))

    return pieces


def _special(tile: Tile, bias: Array) -> Array:
    """Return what infinities and NaNs make of each element, 0 where they do not reach it.

    A term is NaN where a factor is, and where an infinity meets zero; else an infinity times a
    number is an infinity. A sum is NaN with a NaN among its terms or infinities of both signs.
    Terms are counted by matrix products of zeros and ones.
    """
    nan = np.broadcast_to(np.isnan(bias), tile.shape).copy()
    plus = np.broadcast_to(bias == np.inf, tile.shape).copy()
    minus = np.broadcast_to(bias == -np.inf, tile.shape).copy()
    for piece in tile.pieces():
        a, b = piece.left.values, piece.right.values
        if np.isfinite(a).all() and np.isfinite(b).all():
            continue
        present = np.ones((1, 1, 1), bool) if piece.present is None else piece.present() != 0
        up, down = (a == np.inf, b == np.inf), (a == -np.inf, b == -np.inf)
        nan |= _meet(np.isnan(a), np.broadcast_to(present, (1, *b.shape[1:])))
        nan |= _meet(np.ones(a.shape), np.isnan(b))
        nan |= _meet(np.isinf(a), (b == 0) & present) | _meet(a == 0, np.isinf(b))
        plus |= _meet(up[0], b > 0) | _meet(down[0], b < 0)
        plus |= _meet(a > 0, up[1]) | _meet(a < 0, down[1])
        minus |= _meet(up[0], b < 0) | _meet(down[0], b > 0)
        minus |= _meet(a < 0, up[1]) | _meet(a > 0, down[1])
    nan |= plus & minus
    return np.select([nan, plus, minus], [np.nan, np.inf, -np.inf], 0.0)


def _meet(left: Array, right: Array) -> Array:
    """Return which vectors (g, rows, K) and (g, columns, K) of flags have one in common."""
    counts = np.matmul(left.astype(np.float64), right.astype(np.float64).swapaxes(1, 2))
    return np.asarray(counts > 0)
